/* The pipeline's state and the parts that work on it; private to src/flow. The order of the
 * stages is pipeline.c's; a part knows its own stage only:
 *
 *   backpressure.c    how many records are asked for
 *   job_state.c     where a job is: queues, turns, timers, completed
 *   dispatch.c  which call begins, and what its answer leads to
 *   relieve.c   held events that end early, because they fill a partition
 *   batch.c     the content of a transaction
 *   publish.c   transactions
 *   assign.c    partitions that come and go
 *   progress.c  whether it all moves
 */
#ifndef PRESIGND_FLOW_PIPELINE_PARTS_H
#define PRESIGND_FLOW_PIPELINE_PARTS_H

#include "flow/commit_interval.h"
#include "flow/suspects.h"
#include "presignd/flow/hold.h"
#include "presignd/flow/merchant_queue.h"
#include "presignd/flow/partitions.h"
#include "presignd/flow/ports.h"
#include "presignd/kafka/consumer.h"
#include "presignd/kafka/transaction.h"

/* The time that one stage of a step has (PIPELINE_SLICE_MS). All zero has not begun: it begins with
 * the first look at it. */
struct time_budget {
    bool begun;
    int64_t end_ms;
};

/* A transaction's content: outcomes from the completed list, and where each partition then stands.
 * One at a time; its arrays are used again. All zero is an empty one. */
struct batch {
    struct transaction_batch out;
    struct transaction_record *records;
    struct transaction_position *positions;
    struct buf *metadata; /* of each position: the publisher borrows it, partitions may go */
    struct record_metadata *record_metadata;
    enum refusal *refusals;
    size_t record_cap, position_cap;
    size_t deferred; /* outcomes that would have made a partition's set too wide; at least */
};

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
    struct heap due;
    struct hold hold;

    /* By state. JOB_NEW lies in the partitions, JOB_WAITING in the merchants' queues. */
    struct list jobs[JOB_STATE_COUNT];
    struct batch batch;
    bool publishing;
    size_t deferred;  /* outcomes in `completed` that no transaction could take the last time */
    int64_t span;     /* of the windows: what the broker takes of metadata; WINDOW_SPAN or less */
    uint64_t commits; /* since the start */
    struct commit_interval commit_interval;
    struct suspects suspects;   /* what is known of those in JOB_REFUSED */
    uint32_t batch_case;        /* the case that the batch is of; 0: none */
    int64_t one_topic_until_ms; /* until then a transaction has outcomes of one topic only */
    size_t waiting;             /* JOB_WAITING of all queues */
    struct shares memory;
    size_t in_flight; /* orphans included */

    bool revoking, draining;
    int64_t revoke_end_ms;
    int64_t next_batch_ms;
    int64_t abort_pause_ms;
    int64_t backlog_since_ms; /* no call begins until outcomes are published; -1: they may */
    int64_t backlog_ms;       /* for how long it was so before */
    int64_t reopen_ms;        /* earliest moment at which something closed opens by itself */
    size_t look_steps;        /* of the last look: partitions and calls visited */
    int64_t stalled_since_ms; /* something could go on and did not after a step: since; -1 */
    int64_t stopped_since_ms; /* nothing was wanted since then; -1: something is */
    bool all_paused;
    struct time_budget admission; /* of records that come, and of those that had to wait */
    int64_t relief_ms;   /* when full partitions are looked at next; INT64_MAX: in each step */
    size_t relief_first; /* the partition that is looked at first, counted on */
    bool work_left;      /* the step's slices were over before its work was */
};

static inline struct moment now_of(const struct pipeline *p)
{
    return clock_now(p->ports.clock);
}

/* Asked after each event, whose work costs more than this reading of the clock. True when the rest
 * is left to the next step. */
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

/* --- job_state.c */

/* To the back or the front of the state's list, the one way in which a job changes its state. Stops
 * its timer. A merchant's queue is in the rotation while jobs wait in it. */
void job_state_move(struct pipeline *p, struct job *job, enum job_state state);
void job_state_move_front(struct pipeline *p, struct job *job, enum job_state state);
/* Into the merchant's hands: its queue is made when it is the first time. */
void job_state_set_queue(struct pipeline *p, struct job *job, struct merchant *merchant);
/* Charges its partition with what the job takes now. Called after every change of that. */
void job_state_charge(struct pipeline *p, struct job *job);
/* Sets when the job must be looked at though nothing comes: its next attempt, or the end of its
 * time. Anew after every change of its state. */
void job_state_arm(struct pipeline *p, struct job *job, struct moment now);
void job_state_enqueue(struct pipeline *p, struct job *job, struct moment now);
/* When its retry time ends, holds and all, as far as is known now; INT64_MAX: not by that. */
int64_t job_state_deadline_ms(const struct pipeline *p, const struct job *job, struct moment now);
/* For how long retry time has stood still for the job's merchant, or for all. */
int64_t job_state_paused_ms(const struct pipeline *p, const struct job *job, struct moment now);
/* Its partition goes to another reader, or it ends: nothing of it is the partition's any more. */
void job_state_orphan(struct pipeline *p, struct job *job);
/* Frees the job with all that it holds; the next of its contract code moves up. */
void job_state_discard(struct pipeline *p, struct job *job, struct moment now);
/* Each of the list, at once: PIPELINE_BYTES_MAX bounds how many there can be, some 16,000. */
void job_state_discard_all(struct pipeline *p, struct list *list, struct moment now);
/* With its outcome written: its turn is over, though nothing is committed yet. */
void job_state_complete(struct pipeline *p, struct job *job, struct moment now);
/* Completes it as a failure; `message` as in complete_failure(). */
void job_state_fail(struct pipeline *p, struct job *job, enum reason reason, const char *message,
                    struct moment now);
/* Fails it when its time has passed, and says so. */
bool job_state_expire(struct pipeline *p, struct job *job, struct moment now);
/* What waited for this moment goes on. */
void job_state_wake_due(struct pipeline *p, struct moment now);

/* --- dispatch.c */

/* Begins every call that may begin now; p->queue_wait_ms is when to try again otherwise. */
void dispatch_start(struct pipeline *p, struct moment now);
/* Reads the answers that have come. */
void dispatch_read(struct pipeline *p, struct moment now);
/* So many outcomes wait for a transaction that no call begins. */
bool dispatch_backlog_full(const struct pipeline *p);

/* --- relieve.c */

/* An outcome of that job was written. */
void relieve_note_outcome(struct pipeline *p, const struct job *job, struct moment now);
/* Ends events that holds keep, where flow/relief.h says so: RELIEF_STEP_MAX of them at most. */
void relieve_full(struct pipeline *p, struct moment now);

/* --- batch.c */

void batch_deinit(struct batch *batch);

/* Which outcomes a batch takes, oldest first. */
struct batch_selection {
    uint32_t suspect; /* those of that case; 0: those in JOB_COMPLETED */
    size_t count;     /* at most */
    bool one_topic;   /* only those of the first one's topic */
};

/* Moves selected jobs to JOB_PUBLISHING, within the bounds of kafka/transaction.h, and prepares
 * their partitions' pending windows. The batch must be empty. An outcome that makes the set of its
 * partition wider than the window's span is deferred until the base offset has moved. If a set is
 * too wide already, all outcomes of that partition are deferred, unless they make it narrow
 * together. So the batch may remain empty. */
void batch_fill(struct pipeline *p, const struct batch_selection *selection);
/* After a commit: the windows take over what the pending windows said. */
void batch_commit(struct pipeline *p);
/* The publisher no longer uses the batch: releases the group metadata. */
void batch_end(struct batch *batch);
/* Nothing was published: moves the jobs back to the front of their lists, in their order. */
void batch_undo(struct pipeline *p);

/* --- publish.c */

void publish_begin(struct pipeline *p, struct moment now);
/* An outcome is written, or is to be offered again: it waits for the next transaction, or apart
 * when it is known to be refused. */
void publish_take(struct pipeline *p, struct job *job, struct moment now);
/* Outcomes that a transaction can take: those that were left out wait for others' calls. */
size_t publish_ready(const struct pipeline *p);
/* Results that wait because their whole topic takes nothing: more of them are of no use. */
size_t publish_blocked_results(const struct pipeline *p);
/* When a transaction is due, of whatever outcomes; INT64_MAX: none is. It may be past. */
int64_t publish_next_ms(const struct pipeline *p);
void publish_ended(struct pipeline *p, const struct transaction_end *end);
/* When the next transaction of `completed` should begin if one is to; it may be past. */
int64_t publish_due_ms(const struct pipeline *p);

/* --- assign.c */

void assign_begin(struct pipeline *p, struct group_metadata *group_metadata,
                  const int32_t *partitions, size_t count);
/* p->span has changed, or the partitions have. */
void assign_limit(struct pipeline *p);
/* Where partitions of the assignment begin; of others nothing is known any more. */
void assign_positions(struct pipeline *p, const struct consumer_position *positions, size_t count);
void assign_revoke(struct pipeline *p);
/* The assignment is gone, with all unfinished events. */
void assign_drop(struct pipeline *p, struct moment now);
/* Drops what is neither in flight nor completed. */
void assign_drop_waiting(struct pipeline *p, struct moment now);
/* Calls of this assignment that are in flight, or whose answer was not read yet. */
size_t assign_calls(const struct pipeline *p);
/* Gives revoked partitions back when all is committed, or time is up. */
void assign_release(struct pipeline *p, struct moment now);

/* --- progress.c */

/* After a step: whether it left something that could have gone on. */
void progress_note(struct pipeline *p, struct moment now);

/* --- backpressure.c */

/* As pipeline_wants(). */
size_t backpressure_wants(struct pipeline *p);
/* After a change of its window or its share: whether the partition is full, and so paused. */
void backpressure_update(struct pipeline *p, struct partition *partition);

#endif
