/* One event with its coordinates, its attempts and its outcome. */
#ifndef PRESIGND_FLOW_JOB_H
#define PRESIGND_FLOW_JOB_H

#include "presignd/base/heap.h"
#include "presignd/base/list.h"
#include "presignd/base/record.h"
#include "presignd/flow/admit.h"
#include "presignd/flow/hold.h"
#include "presignd/flow/key_order.h"
#include "presignd/flow/output.h"
#include "presignd/flow/reason.h"
#include "presignd/kafka/refusal.h"
#include "presignd/wechatpay/answer.h"
#include "presignd/wire/outcome.h"

#include <stdbool.h>
#include <stdint.h>

/* Each state with its name in metrics. A state is a list: only flow/job_state.c moves a job, and it
 * picks the list from the state. */
#define JOB_STATES(ROW)                                                                     \
    ROW(NEW, "new")               /* read, not yet admitted: its window is full, or no */   \
                                  /* records are wanted */                                  \
    ROW(BLOCKED, "blocked")       /* behind an earlier event with the same contract code */ \
    ROW(WAITING, "waiting")       /* waits for its merchant, or for the in-flight limit */  \
    ROW(CALLING, "calling")       /* in flight */                                           \
    ROW(ANSWERED, "answered")     /* its answer came; the next step reads it */             \
    ROW(RETRY, "retry")           /* waits for its next attempt */                          \
    ROW(PAUSED, "paused")         /* held by a pause (flow/pause.h) */                      \
    ROW(COMPLETED, "completed")   /* has its outcome, waits for a transaction */            \
    ROW(PUBLISHING, "publishing") /* in the transaction */                                  \
    ROW(REFUSED, "refused")       /* Kafka did not accept its outcome, or accepts none there */

#define JOB_STATE(state, name) JOB_##state,
enum job_state { JOB_STATES(JOB_STATE) JOB_STATE_COUNT };
#undef JOB_STATE
const char *job_state_name(enum job_state state);

/* How long an event waits at most for its merchant's certificates, which are fetched because an
 * answer named one that is not known. */
#define JOB_KEYS_WAIT_MS 60000

/* One call, kept for `attempt_log`. */
struct job_attempt {
    int64_t at_ms; /* wall clock */
    int64_t duration_ms;
    int status;
    enum answer_kind kind;
    char host[96];
    char code[ANSWER_CODE_MAX + 1];
};

struct partition;
struct merchant_queue;

/* Moments are of the monotonic clock, unless noted otherwise. */
struct job {
    struct list_link link;
    struct list_link mine; /* in its partition's list, in the order of offsets */
    struct list *in;       /* the list that contains `link` */
    enum job_state state;
    struct heap_slot due;      /* its timer */
    struct heap_slot age;      /* by its record's timestamp; see flow/age.c */
    struct heap_slot punctual; /* as `age`, while it is not late */
    struct key_order_entry key_entry;

    struct record record; /* points into `bytes` */
    void *bytes;
    size_t copied;               /* size of the record in `bytes` */
    size_t parsed;               /* estimated size of the admission and of the call */
    size_t size;                 /* charged to its partition; see job_state_charge() */
    struct partition *partition; /* NULL: an orphan, its partition was taken away */
    struct admission admission;
    struct merchant_queue *queue;

    unsigned attempts;                 /* calls made */
    unsigned counted_attempts;         /* those that count against max_attempts */
    bool re_signed;                    /* was answered 401 and signed again */
    bool own_401;                      /* was answered 401 while its merchant was not */
    bool held_alone;                   /* waits because of own_401; its retry time is paused */
    bool awaits_keys;                  /* JOB_RETRY: its merchant's certificates are fetched */
    int64_t first_401_ms, last_401_ms; /* 0: none */
    int64_t outage_ms;                 /* its last outage; 0: none */
    int64_t first_ms; /* begin of the first attempt, plus the time in which it was held alone */
    int64_t paused_before_ms;  /* job_state_paused_ms() at the first attempt */
    int64_t began_ms;          /* begin of the current attempt */
    int64_t end_ms;            /* when that attempt times out; a reload does not change it */
    int64_t began_wall_ms;     /* wall clock: begin of the current attempt */
    int64_t retry_ms;          /* the next attempt */
    int64_t pause_age_ms;      /* JOB_PAUSED: its retry time used up when the pause began */
    struct hold_ticket ticket; /* of the last call */
    enum call_state worst_call_state;
    struct answer answer;    /* the last one */
    struct job_attempt *log; /* ring of OUTCOME_ATTEMPTS_MAX; NULL before the first failure */

    enum reason reason;    /* REASON_NONE: a result */
    bool without_original; /* the failure omits the event to be smaller */
    int32_t out_partition; /* of its outcome; -1: not known yet, or any */
    uint32_t suspect;      /* JOB_REFUSED: its case (flow/suspects.h); 0: none */
    enum refusal refusal;  /* why Kafka did not accept it the last time */
    bool reported;         /* the observer was told that its topic does not accept it */
    bool delivered;        /* at_least_once: it is visible, and its position is not committed */
    bool rerouted;         /* without a key, and tried in a second partition */
    struct outcome_bytes outcome;
};

/* Copies the record. */
struct job *job_new(const struct record *record) __attribute__((warn_unused_result));
/* Its current size in memory. */
size_t job_bytes(const struct job *job);
/* Where its outcome goes, and how many bytes it has there. */
enum output_topic job_topic(const struct job *job);
size_t job_outcome_bytes(const struct job *job);
/* Its outcome is written: frees what only calls and an `original` need. Keeps the key, and what a
 * smaller failure is written from. */
void job_keep_outcome(struct job *job);
/* The job must be in no list, heap or key order. Accepts NULL, returns NULL. */
struct job *job_free(struct job *job);

static inline struct job *job_of(struct list_link *link)
{
    return CONTAINER_OF(link, struct job, link);
}

/* Adds the current attempt to the log, with job->answer. */
void job_log_attempt(struct job *job);

#endif
