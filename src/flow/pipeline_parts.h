/* The state of the pipeline and the functions of its parts; private to src/flow. Only pipeline.c
 * knows the order of the stages. Each part knows its own stage:
 *
 *   backpressure.c  how many records to read, which partitions to pause
 *   job_state.c     the only place that moves a job between states; timers, memory, key order
 *   dispatch.c      which call begins next, and what an answer leads to
 *   pausing.c       which pauses there are, and which events they hold
 *   relieve.c       fails held events early when they fill a partition
 *   batch.c         the content of a transaction
 *   publish.c       when a transaction begins; outcomes that Kafka does not accept
 *   assign.c        partitions are assigned, revoked and lost
 *   progress.c      whether all stages make progress
 *   age.c           the oldest events, and which are late
 */
#ifndef PRESIGND_FLOW_PIPELINE_PARTS_H
#define PRESIGND_FLOW_PIPELINE_PARTS_H

#include "flow/commit_interval.h"
#include "flow/suspects.h"
#include "presignd/flow/hold.h"
#include "presignd/flow/merchant_queue.h"
#include "presignd/flow/partitions.h"
#include "presignd/flow/pause.h"
#include "presignd/flow/ports.h"
#include "presignd/kafka/consumer.h"
#include "presignd/kafka/transaction.h"

/* The time that one stage of a step has, PIPELINE_BUDGET_MS. All zero: it begins with the first
 * call of budget_spent(). */
struct time_budget {
    bool begun;
    int64_t end_ms;
};

/* The content of a transaction: outcomes, and the base offset and set of each partition. There is
 * one at a time; its arrays are reused. All zero: empty. */
struct batch {
    struct transaction_batch out;
    struct transaction_record *records;
    struct transaction_position *positions;
    struct buf *metadata; /* of each position; the publisher borrows it */
    struct record_metadata *record_metadata;
    enum refusal *refusals;
    bool *delivered;
    size_t record_cap, position_cap;
    size_t deferred; /* outcomes that would have made a set too wide; a lower bound */
};

/* Moments are of the monotonic clock. */
struct pipeline {
    struct pipeline_ports ports;
    struct pipeline_observer observer;
    struct pipeline_rules rules;

    struct partitions partitions;
    struct group_metadata *group_metadata; /* NULL: nothing is assigned */
    struct map *queues;                    /* by mchid */
    struct merchant_queue **queue_table;
    size_t queue_count;
    size_t queues_busy;   /* with unfinished jobs */
    struct list rotation; /* queues in which events wait */
    struct key_order key_order;
    struct heap due;      /* timers of jobs */
    struct heap ages;     /* jobs without a merchant, by their records' timestamps */
    struct heap punctual; /* jobs that are not late, likewise */
    uint64_t late;        /* since the start */
    struct hold hold;
    struct pauses pauses;
    /* Since when all and each endpoint are paused; -1: they are not. Merchants: paused_ms of their
     * queues. */
    int64_t all_paused_ms, endpoint_paused_ms[ENDPOINT_COUNT];
    size_t paused_jobs[ENDPOINT_COUNT]; /* JOB_PAUSED, by endpoint */
    int64_t pause_end_ms;               /* when a pause may end by itself; INT64_MAX: never */

    /* By state. JOB_NEW is in the partitions, JOB_WAITING in the merchants' queues. */
    struct list jobs[JOB_STATE_COUNT];
    size_t waiting;   /* JOB_WAITING, of all queues */
    size_t in_flight; /* including orphans */
    struct shares memory;

    struct batch batch;
    bool publishing;  /* the publisher has the batch */
    uint64_t commits; /* since the start */
    int64_t span;     /* of the windows, as the broker's metadata limit permits */
    size_t deferred;  /* of JOB_COMPLETED: those that the last batch could not take */
    struct commit_interval commit_interval;
    int64_t next_batch_ms;
    int64_t stable_ms; /* the publisher can begin the next transaction about then */
    int64_t abort_pause_ms;
    int64_t one_topic_until_ms; /* until then a batch has outcomes of one topic only */
    struct suspects suspects;   /* the cases of JOB_REFUSED */
    uint32_t batch_case;        /* the case whose outcomes the batch has; 0: none */

    bool revoking, draining;
    int64_t revoke_end_ms;
    int64_t
        backlog_since_ms; /* no call begins because of the publish backlog; -1: calls may begin */
    int64_t backlog_ms;   /* total of earlier times of that */
    int64_t reopen_ms;    /* when the first queue may open without an answer */
    size_t look_steps;    /* see pipeline_status */
    int64_t stalled_since_ms; /* steps left work that should have been done; -1: none */
    int64_t stopped_since_ms; /* no record has been wanted; -1: records are wanted */
    bool all_paused; /* no records are wanted: of each partition only the first one is read */
    struct time_budget admission; /* of new records and of overflow */
    int64_t relief_ms;            /* next check of full partitions; INT64_MAX: in each step */
    size_t relief_first;          /* counts the checks: a different partition is first each time */
    bool work_left;               /* a time budget was spent before the work was done */
};

static inline struct moment now_of(const struct pipeline *p)
{
    return clock_now(p->ports.clock);
}

/* Called after each event. Reading the clock costs less than an event. True: the next step does the
 * rest. */
static inline bool budget_spent(struct pipeline *p, struct time_budget *budget)
{
    int64_t now_ms = now_of(p).mono_ms;
    if (!budget->begun) {
        *budget = (struct time_budget){.begun = true, .end_ms = now_ms + PIPELINE_BUDGET_MS};
    }
    p->work_left = p->work_left || now_ms >= budget->end_ms;
    return now_ms >= budget->end_ms;
}

#define OBSERVE(p, member, ...)                                       \
    do {                                                              \
        if ((p)->observer.member != NULL) {                           \
            (p)->observer.member((p)->observer.context, __VA_ARGS__); \
        }                                                             \
    } while (0)

/* --- job_state.c: move jobs only through these functions, or the counters leak */

/* Moves the job to the back or the front of the state's list, and stops its timer. Keeps a
 * merchant's queue in the rotation while jobs wait in it. */
void job_state_move(struct pipeline *p, struct job *job, enum job_state state);
void job_state_move_front(struct pipeline *p, struct job *job, enum job_state state);
/* Assigns the job to the merchant's queue, which is made for the first job. */
void job_state_set_queue(struct pipeline *p, struct job *job, struct merchant *merchant);
/* Charges the job's partition with its current size. Called after every change of that. */
void job_state_charge(struct pipeline *p, struct job *job);
/* Sets the job's timer: its next attempt, or the end of its time. Called after every change of its
 * state. */
void job_state_arm(struct pipeline *p, struct job *job, struct moment now);
/* Or JOB_PAUSED, if a pause holds the job. */
void job_state_enqueue(struct pipeline *p, struct job *job, struct moment now);
/* A pause holds the job from now on; `first`: before the others. Its retry time stands still. */
void job_state_pause(struct pipeline *p, struct job *job, bool first, struct moment now);
/* No pause holds it any more: it waits before the others, or for the time of its next attempt. */
void job_state_unpause(struct pipeline *p, struct job *job, struct moment now);
/* When its retry time ends, as far as is known now; INT64_MAX: no limit yet. */
int64_t job_state_deadline_ms(const struct pipeline *p, const struct job *job, struct moment now);
/* Total time in which retry time was paused for the job's merchant or for all. */
int64_t job_state_paused_ms(const struct pipeline *p, const struct job *job, struct moment now);
/* Detaches the job from its partition and its partition's memory. */
void job_state_orphan(struct pipeline *p, struct job *job);
/* Frees the job. The next job of its key may be called. */
void job_state_discard(struct pipeline *p, struct job *job, struct moment now);
/* Without a time budget: PIPELINE_BYTES_MAX bounds a list to about 16,000 jobs. */
void job_state_discard_all(struct pipeline *p, struct list *list, struct moment now);
/* The job has its outcome. The next job of its key may be called, before the commit. */
void job_state_complete(struct pipeline *p, struct job *job, struct moment now);
/* Completes it as a failure; `message` as in complete_failure(). */
void job_state_fail(struct pipeline *p, struct job *job, enum reason reason, const char *message,
                    struct moment now);
/* Fails it if it has expired. True if so. */
bool job_state_expire(struct pipeline *p, struct job *job, struct moment now);
/* Handles the timers that are due. */
void job_state_wake_due(struct pipeline *p, struct moment now);

/* --- dispatch.c */

/* Begins every call that may begin now. Sets p->reopen_ms. */
void dispatch_start(struct pipeline *p, struct moment now);
/* Reads the answers that have come. */
void dispatch_read(struct pipeline *p, struct moment now);
/* That merchant's keys may be others now: applies it to its hold, and lets the events continue that
 * wait for it. */
void dispatch_keys_changed(struct pipeline *p, struct merchant_queue *queue, bool changed,
                           struct moment now);
/* True if no call may begin, since too many outcomes wait for a transaction. */
bool dispatch_backlog_full(const struct pipeline *p);

/* --- pausing.c */

void pausing_init(struct pipeline *p);
/* Whether a pause holds events like that admitted job. */
bool pausing_holds(const struct pipeline *p, const struct job *job);
/* Since when: the first pause that does. -1: none does. */
int64_t pausing_since_ms(const struct pipeline *p, const struct merchant_queue *queue,
                         size_t endpoint);
/* Since when that merchant is paused by a pause of its own; -1: it is not. */
int64_t pausing_merchant_ms(const struct pipeline *p, const char *mchid);
/* Ends the pauses whose time is over. */
void pausing_end_due(struct pipeline *p, struct moment now);
/* The rules are new: ends the pauses of merchants that are gone. */
void pausing_configure(struct pipeline *p, struct moment now);

/* --- relieve.c */

/* An outcome of that job was written. */
void relieve_note_outcome(struct pipeline *p, const struct job *job, struct moment now);
/* Fails held events early where flow/relief.h permits it, at most RELIEF_STEP_MAX. */
void relieve_full(struct pipeline *p, struct moment now);

/* --- batch.c */

void batch_deinit(struct batch *batch);

/* Which outcomes a batch takes, oldest first. */
struct batch_selection {
    uint32_t suspect; /* those of that case; 0: those in JOB_COMPLETED */
    size_t count;     /* at most */
    bool one_topic;   /* only those of the first one's topic */
};

/* Moves selected jobs to JOB_PUBLISHING, within the bounds of kafka/transaction.h, and prepares the
 * pending windows of their partitions. The batch must be empty. An outcome that makes the set of
 * its partition wider than the window's span is deferred until the base offset has moved. If a set
 * is too wide already, all outcomes of that partition are deferred, unless they make it narrow
 * together. So the batch may remain empty. */
void batch_fill(struct pipeline *p, const struct batch_selection *selection);
/* After a commit: the windows become what the pending windows are. */
void batch_commit(struct pipeline *p);
/* The publisher no longer uses the batch: releases the group metadata. */
void batch_end(struct batch *batch);
/* Nothing was published: moves the jobs back to the front of their lists, in their order. */
void batch_undo(struct pipeline *p);

/* --- publish.c */

void publish_begin(struct pipeline *p, struct moment now);
/* The job's outcome is written, or can be sent again: moves it to JOB_COMPLETED, or to JOB_REFUSED
 * if a parked case says that Kafka will not accept it. */
void publish_take(struct pipeline *p, struct job *job, struct moment now);
/* How many outcomes a transaction can take; without the deferred ones. */
size_t publish_ready(const struct pipeline *p);
/* How many results wait because their whole topic accepts nothing. */
size_t publish_blocked_results(const struct pipeline *p);
/* When the next transaction is due, possibly in the past; INT64_MAX: none. */
int64_t publish_next_ms(const struct pipeline *p);
void publish_ended(struct pipeline *p, const struct transaction_end *end);
/* Without transactions: some outcomes are visible, and their positions are not committed. */
bool publish_half_done(const struct pipeline *p);
/* When a transaction of JOB_COMPLETED is due, if there are any; possibly in the past. */
int64_t publish_due_ms(const struct pipeline *p);

/* --- assign.c */

void assign_begin(struct pipeline *p, struct group_metadata *group_metadata,
                  const int32_t *partitions, size_t count);
/* Applies p->span to all windows. */
void assign_limit(struct pipeline *p);
/* Loads the windows. Ignores partitions that are not assigned any more. */
void assign_positions(struct pipeline *p, const struct consumer_position *positions, size_t count);
void assign_revoke(struct pipeline *p);
/* The assignment has ended: discards its jobs. */
void assign_drop(struct pipeline *p, struct moment now);
/* Discards jobs that are neither in flight nor completed. */
void assign_drop_waiting(struct pipeline *p, struct moment now);
/* As pipeline_idle(). Calls of earlier assignments do not count. */
bool assign_idle(const struct pipeline *p);
/* Releases revoked partitions when all is committed, or when PIPELINE_REVOKE_GRACE_MS is over. */
void assign_release(struct pipeline *p, struct moment now);

/* --- progress.c */

/* After a step: notes whether it left work that should have been done. */
void progress_note(struct pipeline *p, struct moment now);

/* --- age.c */

/* The job was read; it has a merchant now; it is dropped, or another process's now. */
void age_enter(struct pipeline *p, struct job *job);
void age_set_queue(struct pipeline *p, struct job *job);
void age_leave(struct pipeline *p, struct job *job);
/* The job's outcome is visible. Instead of age_leave(). */
void age_visible(struct pipeline *p, struct job *job, struct moment now);
/* Counts the events that are late now. */
void age_count_late(struct pipeline *p, struct moment now);
/* As pipeline_status.oldest_ms. */
int64_t age_oldest_ms(const struct pipeline *p);

/* --- backpressure.c */

/* As pipeline_wants(). */
size_t backpressure_wants(struct pipeline *p);
/* After a change of the partition's window or share: pauses or resumes it. */
void backpressure_update(struct pipeline *p, struct partition *partition);

#endif
