/* The traveller: one event with its coordinates, its attempts and its outcome. */
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

/* Each state is a list. Only flow/job_state.c moves a job, and it picks the list from the state. */
enum job_state {
    JOB_NEW,        /* read, not yet admitted (its partition's window is full) */
    JOB_BLOCKED,    /* behind an earlier event of its contract code */
    JOB_WAITING,    /* waits for its merchant, or for a place in flight */
    JOB_CALLING,    /* in flight */
    JOB_ANSWERED,   /* its answer came, the next step reads it */
    JOB_RETRY,      /* waits for its next attempt */
    JOB_COMPLETED,  /* has its outcome, waits for a transaction */
    JOB_PUBLISHING, /* in the transaction */
    JOB_REFUSED,    /* its outcome was not taken, or its partition or topic takes none: a suspect */
    JOB_STATE_COUNT
};
const char *job_state_name(enum job_state state);

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

struct job {
    struct list_link link;
    struct list_link mine; /* in its partition's list, in the order of offsets */
    struct list *in;       /* the list that link is in */
    enum job_state state;
    struct heap_slot due; /* when something must happen though nothing comes */
    struct key_order_entry key_entry;

    struct record record; /* points into `bytes` */
    void *bytes;
    size_t copied; /* what the record takes in `bytes` */
    size_t parsed; /* what the admission and the call make of it, as far as it is kept */
    size_t size;   /* charged to its partition; see job_state_charge() */
    struct partition *partition; /* NULL: an orphan, its partition went to another */
    struct admission admission;
    struct merchant_queue *queue;

    unsigned attempts;                 /* calls made */
    unsigned counted_attempts;         /* those that count against max_attempts */
    bool re_signed;                    /* was answered 401 and signed anew */
    bool own_401;                      /* was answered 401 though its merchant was not */
    bool held_alone;                   /* waits for that by itself: its time stands still */
    int64_t first_401_ms, last_401_ms; /* mono: of its first and last 401; 0: none */
    int64_t outage_ms;                 /* mono: of its last outage; 0: none */
    int64_t first_ms;         /* mono: begin of the first attempt, later by the time it was alone */
    int64_t paused_before_ms; /* how long retry time had stood still by then, for others' reasons */
    int64_t began_ms;         /* mono: of the present attempt */
    int64_t end_ms;           /* mono: when its time-out ends it, whatever a reload makes of that */
    int64_t began_wall_ms;
    int64_t retry_ms;          /* mono: of the next one */
    struct hold_ticket ticket; /* of the last call */
    enum call_state worst_call_state;
    struct answer answer;    /* the last one */
    struct job_attempt *log; /* a ring of OUTCOME_ATTEMPTS_MAX; NULL before the first failure */

    enum reason reason;    /* REASON_NONE: a result */
    bool without_original; /* the outcome leaves out what it can */
    int32_t out_partition; /* where the outcome goes; -1: not known yet, or anywhere */
    uint32_t suspect;      /* JOB_REFUSED: its case; 0: none */
    enum refusal refusal;  /* why it was not taken when it was offered last */
    bool reported;         /* as one that its topic refuses */
    bool rerouted;         /* has no key, and its partition did not take it: another one is tried */
    struct outcome_bytes outcome;
};

/* Copies the record. */
struct job *job_new(const struct record *record) __attribute__((warn_unused_result));
/* What it takes in memory now. */
size_t job_bytes(const struct job *job);
/* Where its outcome goes, and how many bytes it has there. */
enum output_topic job_topic(const struct job *job);
size_t job_outcome_bytes(const struct job *job);
/* Its outcome is written: lets go of all that only calls and an `original` are made of. Left are
 * the key, and what the outcome is written of once more when it has to be smaller. */
void job_keep_outcome(struct job *job);
/* Must be in no list, heap or turn. Accepts NULL, returns NULL. */
struct job *job_free(struct job *job);

static inline struct job *job_of(struct list_link *link)
{
    return CONTAINER_OF(link, struct job, link);
}

/* Puts the present attempt into the log, with the answer that job->answer holds. */
void job_log_attempt(struct job *job);

#endif
