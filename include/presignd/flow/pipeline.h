/* The way of an event, in one place:
 * admit -> decode -> validate -> route -> sign -> call -> verify -> complete -> publish -> commit
 *
 * Everything happens in pipeline_step(); what comes from outside (records, answers, ends of
 * transactions) only changes lists that the next step reads. One thread. The world is reached
 * through the ports, so the same code runs under virtual time.
 *
 * Bounds: calls in flight (limits.in_flight), and for each partition the offsets in hand
 * (WINDOW_SPAN, or what the broker takes) and its share of PIPELINE_BYTES_MAX (flow/share.h), in
 * which every event counts that is in hand, whatever it waits for. A partition at one of its bounds
 * is paused alone and goes on by itself. While all places in flight are taken and twice as many
 * events wait, consumer is not asked for more; after PIPELINE_PAUSE_AFTER_MS of that, all
 * partitions are paused.
 *
 * A step works in slices: each stage that may find thousands of events stops after
 * PIPELINE_SLICE_MS, and pipeline_next_ms() asks to come again at once.
 */
#ifndef PRESIGND_FLOW_PIPELINE_H
#define PRESIGND_FLOW_PIPELINE_H

#include "presignd/base/buf.h"
#include "presignd/base/clock.h"
#include "presignd/flow/admit.h"
#include "presignd/flow/complete.h"
#include "presignd/flow/hold.h"
#include "presignd/flow/job.h"
#include "presignd/flow/retry.h"
#include "presignd/flow/window.h"
#include "presignd/kafka/consumer.h"
#include "presignd/kafka/publisher.h"
#include "presignd/wechatpay/caller.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PIPELINE_BYTES_MAX      ((size_t)48 * 1024 * 1024)
#define PIPELINE_PAUSE_AFTER_MS 1000
/* A partition whose oldest event has kept it for so long is named. */
#define PIPELINE_STILL_MS INT64_C(60000)
/* How long one stage of a step may work on what waits, before answers and timers are served
 * again. What is left comes with the next step, at once. */
#define PIPELINE_SLICE_MS 10
/* How long a revoked assignment waits for calls in flight, so that the next owner need not
 * repeat them. */
#define PIPELINE_REVOKE_GRACE_MS 3000
/* What pipeline_next_ms() gives when a step left work for the next one. */
#define PIPELINE_AT_ONCE INT64_C(0)

/* The world, as far as the pipeline touches it. */
struct pipeline_ports {
    void *consumer;
    void (*pause)(void *consumer, int32_t partition);
    void (*resume)(void *consumer, int32_t partition);
    void (*release)(void *consumer);
    void *caller;
    void (*call)(void *caller, const struct attempt *attempt, void *cookie);
    void *publisher;
    void (*submit)(void *publisher, const struct transaction_batch *batch);
    /* As publisher_route(); NULL: never known. */
    int32_t (*route)(void *publisher, enum output_topic topic, const void *key, size_t key_len);
    const struct clock *clock;
    uint64_t (*random)(void *random_context);
    void *random_context;
};

/* Told of what happens, for log and metrics; every member may be NULL. */
struct pipeline_observer {
    void *context;
    /* An attempt ended; job->answer says how. */
    void (*called)(void *context, const struct job *job);
    /* Another attempt will follow; job->retry_ms. */
    void (*retrying)(void *context, const struct job *job, enum reason reason);
    /* The outcome is committed; `job` goes after this. */
    void (*published)(void *context, const struct job *job);
    /* `outcomes`: how many of each topic were in it. */
    void (*transaction)(void *context, const struct transaction_end *end,
                        const size_t outcomes[OUTPUT_TOPIC_COUNT]);
    /* A merchant is held (true; HOLD_WHY_UNAUTHORIZED or HOLD_WHY_UNVERIFIED), or that has ended
     * (false), be it long after the hold's time was over. */
    void (*merchant_held)(void *context, const char *mchid, enum hold_why why, bool held);
    /* An event that a hold kept was ended early; see flow/relief.h. */
    void (*relieved)(void *context, const struct job *job);
    void (*endpoint_down)(void *context, bool down);
    /* A committed position's metadata could not be read. */
    void (*metadata_unreadable)(void *context, int32_t partition);
    /* The log of a partition begins anew below what was committed. */
    void (*log_restarted)(void *context, int32_t partition, int64_t offset);
    /* Its topic refuses this one outcome, even at its smallest: once for each. job->refusal says
     * why; `trouble` may be NULL. */
    void (*outcome_refused)(void *context, const struct job *job, const char *last_error);
    /* A partition of an output topic (-1: the whole topic) takes nothing, or takes outcomes again.
     */
    void (*output_shut)(void *context, enum output_topic topic, int32_t partition,
                        enum refusal refusal, const char *last_error);
    void (*output_open)(void *context, enum output_topic topic, int32_t partition,
                        enum refusal refusal);
};

struct pipeline_limits {
    unsigned in_flight; /* calls in flight, all merchants */
    unsigned host_count;
    int64_t timeout_ms; /* for each attempt */
    int64_t commit_interval_ms;
    int64_t hold_unauthorized_ms;
};

/* What a reload may change; all of it is borrowed and outlives the pipeline or the next
 * pipeline_configure(). */
struct pipeline_rules {
    const struct admit_rules *admit;
    struct retry_policy retry;
    struct pipeline_limits limits;
    const struct complete_identity *identity;
};

struct merchant_queue;
struct partition;
struct pipeline;

struct pipeline *pipeline_new(const struct pipeline_ports *ports,
                              const struct pipeline_observer *observer,
                              const struct pipeline_rules *rules);
/* Drops everything in hand; the publisher and the caller must be gone already. */
struct pipeline *pipeline_free(struct pipeline *pipeline);
/* New rules for events that come and calls that begin from now on. Events whose merchant is no
 * longer there fail as unknown_merchant. */
void pipeline_configure(struct pipeline *pipeline, const struct pipeline_rules *rules);

/* From consumer, as in kafka/consumer.h. */
void pipeline_assigned(struct pipeline *pipeline, struct group_metadata *group_metadata,
                       const int32_t *partitions, size_t count);
void pipeline_positions(struct pipeline *pipeline, const struct consumer_position *positions,
                        size_t count);
void pipeline_revoking(struct pipeline *pipeline);
void pipeline_lost(struct pipeline *pipeline);
/* False when the slice for admissions is over: answers and timers first. */
bool pipeline_record(struct pipeline *pipeline, const struct record *record);
/* From the caller: moves body and id_value out of the answer. */
void pipeline_answered(struct pipeline *pipeline, void *cookie, struct answer *answer);
/* From the publisher. */
void pipeline_batch_ended(struct pipeline *pipeline, const struct transaction_end *end);

/* A commit's metadata may have so many bytes: the windows are as wide as that allows, WINDOW_SPAN
 * at most, which they are before the first call. Too few for any set: no record is taken. */
void pipeline_limit_metadata(struct pipeline *pipeline, size_t bytes);

/* Does what can be done now, in slices. */
void pipeline_step(struct pipeline *pipeline);
/* mono_ms of the next step that is due though nothing comes; INT64_MAX: none. PIPELINE_AT_ONCE:
 * the last step has left work. */
int64_t pipeline_next_ms(const struct pipeline *pipeline);
/* How many records consumer may hand over now. */
size_t pipeline_wants(struct pipeline *pipeline);

/* No further call begins; what is in flight may end and is published. Nothing undoes it. */
void pipeline_drain(struct pipeline *pipeline);
/* True when nothing is in flight, completed or being published. */
bool pipeline_idle(const struct pipeline *pipeline);

/* For the watchdog, every second or so: true while every assigned partition moves, has nothing to
 * do, or is held for a reason that pipeline_holds() names. Else false, and in `why` what has stood
 * still for `patience_ms` though nothing holds it: a bug of ours, or a thread that hangs. */
bool pipeline_moves(struct pipeline *pipeline, int64_t patience_ms, struct buf *why);
/* What events wait for that are not in flight, in a line for the status text; nothing when none
 * does. */
void pipeline_holds(const struct pipeline *pipeline, struct buf *out);

/* The oldest event in hand of a partition; what keeps it keeps the partition's base offset. */
struct pipeline_oldest {
    int32_t partition;
    int64_t offset;
    const char *mchid; /* borrowed until the next step; NULL: it is not known yet */
    const char *state; /* a hold's reason, or as in the metrics: "calling" … */
    int64_t still_ms;  /* since the base offset was last seen to move, by pipeline_moves() */
};
/* Of the `index`th partition; false when nothing of it is in hand. */
bool pipeline_oldest(const struct pipeline *pipeline, size_t index, struct pipeline_oldest *out);

/* For metrics, the status text and tests. */
struct pipeline_status {
    size_t jobs[JOB_STATE_COUNT];
    size_t refused[OUTPUT_TOPIC_COUNT][REFUSAL_COUNT]; /* of JOB_REFUSED, why */
    size_t in_flight;                                  /* orphans included */
    int64_t oldest_call_ms; /* mono_ms when the oldest of them began; INT64_MAX: none */
    size_t bytes;
    size_t partitions;
    size_t partitions_full;      /* paused because their window or their share of bytes is full */
    size_t merchants_held;       /* by 401 or unverifiable answers */
    size_t held[HOLD_WHY_COUNT]; /* events that wait in queues, by what holds their merchant */
    size_t merchants_limited;
    /* Events that should move: none that a hold keeps, nor one between two attempts, nor one behind
     * another of its code, nor one whose outcome its topic refuses or no transaction can take yet.
     */
    size_t unexplained;
    size_t left_out;   /* outcomes that wait for their window to become narrow enough */
    uint64_t commits;  /* transactions that were committed */
    size_t look_steps; /* partitions and calls that the last pipeline_moves() visited */
    bool endpoint_down;
    bool draining, revoking;
};
void pipeline_status(const struct pipeline *pipeline, struct pipeline_status *status);
/* Looks into it, borrowed until the next step: the `index`th partition, up to status.partitions
 * of them; the queue of a merchant, NULL before its first event; what holds hosts. */
const struct partition *pipeline_partition(const struct pipeline *pipeline, size_t index);
const struct merchant_queue *pipeline_queue(const struct pipeline *pipeline, const char *mchid);
const struct hold *pipeline_hold(const struct pipeline *pipeline);

#endif
