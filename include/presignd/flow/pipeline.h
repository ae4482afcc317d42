/* The way of an event:
 * admit -> decode -> validate -> route -> sign -> call -> verify -> complete -> publish -> commit
 *
 * pipeline_step() does all the work. Records, answers and ends of transactions only change lists,
 * which the next step reads. One thread.
 *
 * Bounds:
 * - calls in flight: limits.in_flight
 * - unfinished offsets of a partition: its window (WINDOW_SPAN, or less if the broker accepts less
 *   metadata)
 * - memory of a partition's events: its share of PIPELINE_BYTES_MAX (flow/share.h)
 * A partition at one of its bounds is paused alone, and resumes by itself. While the in-flight
 * limit is reached and twice as many events wait, no record is wanted; after
 * PIPELINE_PAUSE_AFTER_MS of that, each partition is paused with its first record.
 *
 * Each stage of a step that may find thousands of events has a time budget, PIPELINE_BUDGET_MS. If
 * that is spent, pipeline_next_ms() asks for the next step at once.
 */
#ifndef PRESIGND_FLOW_PIPELINE_H
#define PRESIGND_FLOW_PIPELINE_H

#include "presignd/flow/hold.h"
#include "presignd/flow/job.h"
#include "presignd/flow/pause.h"
#include "presignd/flow/ports.h"
#include "presignd/flow/window.h"
#include "presignd/kafka/consumer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Returned by pipeline_next_ms() if a step has left work. */
#define PIPELINE_AT_ONCE INT64_C(0)

struct merchant_queue;
struct partition;
struct pipeline;

struct pipeline *pipeline_new(const struct pipeline_ports *ports,
                              const struct pipeline_observer *observer,
                              const struct pipeline_rules *rules);
/* Discards all jobs. Publisher and caller must have been freed before. */
struct pipeline *pipeline_free(struct pipeline *pipeline);
/* New rules for events that come, and calls that begin, from now on. Events whose merchant was
 * removed fail as unknown_merchant. */
void pipeline_configure(struct pipeline *pipeline, const struct pipeline_rules *rules);

/* From the consumer, as in kafka/consumer.h. */
void pipeline_assigned(struct pipeline *pipeline, struct group_metadata *group_metadata,
                       const int32_t *partitions, size_t count);
void pipeline_positions(struct pipeline *pipeline, const struct consumer_position *positions,
                        size_t count);
void pipeline_revoking(struct pipeline *pipeline);
void pipeline_lost(struct pipeline *pipeline);
/* False if the time budget for admissions is spent: the consumer must pause until the next step. */
bool pipeline_record(struct pipeline *pipeline, const struct record *record);
/* From the caller: moves body and id_value out of the answer. */
void pipeline_answered(struct pipeline *pipeline, void *cookie, struct answer *answer);
/* A fetch of that merchant's certificates has ended, with or without success. `changed`: its keys
 * are others than before. Events that waited for it are called again. */
void pipeline_keys_changed(struct pipeline *pipeline, const char *mchid, bool changed);
/* From the publisher. */
void pipeline_batch_ended(struct pipeline *pipeline, const struct transaction_end *end);

/* How many bytes of metadata the broker accepts in a commit. That limits the span of the windows,
 * which is WINDOW_SPAN before the first call. If no set fits, no record is accepted. */
void pipeline_limit_metadata(struct pipeline *pipeline, size_t bytes);

/* Does the work that can be done now, within the time budgets. */
void pipeline_step(struct pipeline *pipeline);
/* When the next step is due, on the monotonic clock, even if nothing comes from outside. INT64_MAX:
 * never. PIPELINE_AT_ONCE: the last step has left work. */
int64_t pipeline_next_ms(const struct pipeline *pipeline);
/* How many records the consumer may hand over now. */
size_t pipeline_wants(struct pipeline *pipeline);

/* Begins a pause (flow/pause.h), or replaces the one of the same scope and name, which keeps its
 * begin. Copies `pause`. False: no merchant or endpoint has that name. A pause ends by a resume, at
 * its until_ms, or when a reload removes its merchant. */
bool pipeline_pause(struct pipeline *pipeline, const struct pause *pause)
    __attribute__((warn_unused_result));
/* What pipeline_pause() would return, without a pause. `name` is "" for PAUSE_ALL. */
bool pipeline_may_pause(const struct pipeline *pipeline, enum pause_scope scope, const char *name);
/* Ends that pause; PAUSE_ALL ends every pause. Returns how many ended. */
size_t pipeline_resume(struct pipeline *pipeline, enum pause_scope scope, const char *name);
/* Borrowed until the next change. */
const struct pauses *pipeline_pauses(const struct pipeline *pipeline);
/* How many events that pause holds. An event may be held by several pauses. */
size_t pipeline_pause_events(const struct pipeline *pipeline, const struct pause *pause);
/* Whether all calls of that merchant are paused. */
bool pipeline_is_paused(const struct pipeline *pipeline, const char *mchid);

/* For a stop, or before leaving the group: no further call begins; calls in flight may end and are
 * published. Waiting events are discarded; their next owner reads them again. */
void pipeline_drain(struct pipeline *pipeline);
/* The opposite. Only while nothing is assigned: discarded events of an assignment are not read
 * again before the next one. */
void pipeline_undrain(struct pipeline *pipeline);
/* True if no call is in flight and no outcome is unpublished. */
bool pipeline_idle(const struct pipeline *pipeline);
/* With delivery = at_least_once: true while outcomes may be visible whose positions are not
 * committed. A process that ends now publishes them again after its next start. */
bool pipeline_half_published(const struct pipeline *pipeline);

/* For metrics, the status page and tests. */
struct pipeline_status {
    size_t jobs[JOB_STATE_COUNT];
    size_t refused[OUTPUT_TOPIC_COUNT][REFUSAL_COUNT]; /* of JOB_REFUSED, by cause */
    size_t in_flight;                                  /* including orphans */
    int64_t oldest_call_ms; /* monotonic clock: when the oldest of them began; INT64_MAX: none */
    size_t bytes;
    size_t partitions;
    size_t partitions_full; /* paused because their window or their share is full */
    size_t merchants_held;  /* by 401 or unverifiable answers */
    /* Events in queues, by what holds their merchant; HOLD_WHY_PAUSED: those in JOB_PAUSED. */
    size_t held[HOLD_WHY_COUNT];
    size_t merchants_limited; /* with events that wait for their limit or rate */
    /* Events that should make progress. These are not counted: held events, events between two
     * attempts or behind another one of their key, outcomes that Kafka does not accept or that no
     * transaction can take yet. */
    size_t unexplained;
    size_t deferred;   /* outcomes that wait until their window is narrow enough */
    uint64_t commits;  /* committed transactions */
    uint64_t late;     /* events that passed slo_ms without a visible outcome, since the start. One
                        * that is read again after that counts again */
    int64_t oldest_ms; /* wall clock: the earliest timestamp of the events read whose outcome is not
                        * visible; INT64_MAX: none */
    size_t look_steps; /* partitions and calls that the last progress_moves() visited */
    bool endpoint_down;
    bool draining, revoking;
    bool all_paused; /* by an operator: PAUSE_ALL */
};
void pipeline_status(const struct pipeline *pipeline, struct pipeline_status *status);
/* Borrowed until the next step: the `index`th of status.partitions partitions; a merchant's queue,
 * NULL before its first event; the holds of all hosts. */
const struct partition *pipeline_partition(const struct pipeline *pipeline, size_t index);
const struct merchant_queue *pipeline_queue(const struct pipeline *pipeline, const char *mchid);
const struct hold *pipeline_hold(const struct pipeline *pipeline);

/* The state of one event, for `presignctl find`. Texts are borrowed until the visit returns; NULL
 * or "": not known. Moments are of the wall clock; PIPELINE_FOUND_NONE: none. */
struct pipeline_found {
    const struct record *record; /* topic, partition, offset and timestamp */
    const struct admission *admission;
    const char *state;   /* waiting | held | calling | retry | completed */
    const char *held_by; /* held: a hold's name, `paused` or `key`; else NULL */
    int64_t until_ms;    /* when the hold or the pause ends by itself */
    unsigned attempts;   /* calls made */
    int64_t next_attempt_at_ms;
    int status;       /* of the last answer; 0: none */
    const char *code; /* of the last answer; "": none */
};
#define PIPELINE_FOUND_NONE INT64_C(-1)
/* Most events that one pipeline_find() visits. */
#define PIPELINE_FIND_MAX 64
/* Visits the unfinished events with that out_contract_code, by partition and offset. Looks at each
 * unfinished event once; PIPELINE_BYTES_MAX bounds them. Returns how many it visited. */
size_t pipeline_find(const struct pipeline *pipeline, const char *out_contract_code,
                     void (*visit)(void *context, const struct pipeline_found *found),
                     void *context);

#endif
