/* Publishes outcomes and offsets in transactions, on a thread of its own.
 *
 * One batch at a time: begin, offsets with the batch's group metadata (KIP-447), records, commit.
 * The thread repeats calls whose errors librdkafka reports as retriable. After an abort the owner
 * publishes the outcomes again in the next batch. When the result of a commit is unknown, the
 * producer is replaced, which ends the old transaction, and the committed offsets are read back.
 * Each batch changes the offset or the metadata of some partition, so a comparison shows whether
 * it was committed.
 *
 * Refusals are reported for each record, so that the owner can leave refused ones out.
 *
 * All on the loop's thread. Nothing blocks but publisher_free().
 */
#ifndef PRESIGND_KAFKA_PUBLISHER_H
#define PRESIGND_KAFKA_PUBLISHER_H

#include "presignd/base/loop.h"
#include "presignd/kafka/brokers.h"
#include "presignd/kafka/preflight.h"
#include "presignd/kafka/transaction.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Twice the longest time that a call may take by its own time-outs. */
#define PUBLISHER_STUCK_MS 30000

/* Once for each publisher_submit(). */
typedef void publisher_ended_fn(void *context, const struct transaction_end *end);
/* Once for each publisher_preflight(). `found` is borrowed for the call. */
typedef void publisher_preflight_fn(void *context, const struct preflight *found);
/* Once for each publisher_find_id_holder(). */
typedef void publisher_id_holder_fn(void *context, enum producer_id_holder holder);
/* Once for each publisher_measure_metadata(): bytes that the broker accepts, from
 * TRANSACTION_METADATA_MIN to the configured maximum; 0: fewer; or TRANSACTION_METADATA_UNKNOWN. */
typedef void publisher_metadata_fn(void *context, int64_t bytes);

struct publisher;

/* Starts the thread. It acquires the transactional.id before the first batch; that fences an
 * earlier process of this instance and ends its open transaction. NULL and a reason (free()). */
struct publisher *publisher_new(struct loop *loop, const struct producer_config *config,
                                publisher_ended_fn *ended, void *context, char **error)
    __attribute__((warn_unused_result));
/* Ends the thread within `timeout_ms` and aborts an unfinished batch. A thread whose call does not
 * return is abandoned (detached_wait()); it does not read the batch any more. Accepts NULL. */
void publisher_free(struct publisher *publisher, int64_t timeout_ms);

enum producer_id_state publisher_id_state(const struct publisher *publisher);
/* Why the transactional.id is not held, cleaned; "" when there is no error. */
void publisher_last_error(const struct publisher *publisher, char *text, size_t size);
/* By the producer's last statistics. */
void publisher_brokers(const struct publisher *publisher, struct client_brokers *brokers);
/* Replaces thread and producer. An unfinished batch ends as aborted, from inside this call; if it
 * may be visible, its result is found out first. A pending search for the id's holder moves to the
 * new producer. */
void publisher_renew(struct publisher *publisher);
/* Runs producer_preflight() on the thread, before the first batch. A call that does not return ends
 * as for a batch, and another thread looks again. One at a time. */
void publisher_preflight(struct publisher *publisher, struct group_metadata *group_metadata,
                         publisher_preflight_fn *found);
/* Finds out who holds the transactional.id, after the current batch. One at a time. */
void publisher_find_id_holder(struct publisher *publisher, struct group_metadata *group_metadata,
                              publisher_id_holder_fn *found);
/* Finds out how much metadata the broker accepts with an offset of the requests topic, after the
 * current batch. One at a time. */
void publisher_measure_metadata(struct publisher *publisher, struct group_metadata *group_metadata,
                                const struct transaction_position *position,
                                publisher_metadata_fn *measured);
/* One batch at a time, also before the transactional.id is held. */
void publisher_submit(struct publisher *publisher, const struct transaction_batch *batch);
/* The partition that a record with this key goes to; -1 when any will do or it is not known yet. */
int32_t publisher_route(const struct publisher *publisher, unsigned topic, const void *key,
                        size_t key_len);
/* Microseconds since the thread was active or idle, for the watchdog. */
int64_t publisher_stalled_us(const struct publisher *publisher);

#endif
