/* The way of an event, in one place:
 * admit -> decode -> validate -> route -> sign -> call -> verify -> complete -> publish -> commit
 *
 * Everything happens in pipeline_step(); what comes from outside (records, answers, ends of
 * transactions) only changes lists that the next step reads. One thread. The world is reached
 * through the ports, so the same code runs under virtual time.
 *
 * Bounds: calls in flight (limits.in_flight), and for each partition the unfinished offsets
 * (WINDOW_SPAN, or what the broker takes) and its share of PIPELINE_BYTES_MAX (flow/share.h), in
 * which every unfinished event counts, whatever it waits for. A partition at one of its bounds
 * is paused alone and goes on by itself. While all places in flight are taken and twice as many
 * events wait, consumer is not asked for more; after PIPELINE_PAUSE_AFTER_MS of that, all
 * partitions are paused.
 *
 * A step works in slices: each stage that may find thousands of events stops after
 * PIPELINE_SLICE_MS, and pipeline_next_ms() asks to come again at once.
 */
#ifndef PRESIGND_FLOW_PIPELINE_H
#define PRESIGND_FLOW_PIPELINE_H

#include "presignd/flow/hold.h"
#include "presignd/flow/job.h"
#include "presignd/flow/ports.h"
#include "presignd/flow/window.h"
#include "presignd/kafka/consumer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What pipeline_next_ms() gives when a step left work for the next one. */
#define PIPELINE_AT_ONCE INT64_C(0)

struct merchant_queue;
struct partition;
struct pipeline;

struct pipeline *pipeline_new(const struct pipeline_ports *ports,
                              const struct pipeline_observer *observer,
                              const struct pipeline_rules *rules);
/* Drops all unfinished events; the publisher and the caller must be gone already. */
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
    size_t deferred;   /* outcomes that wait for their window to become narrow enough */
    uint64_t commits;  /* transactions that were committed */
    size_t look_steps; /* partitions and calls that the last progress_moves() visited */
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
