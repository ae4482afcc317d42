/* The transactional producer: outcomes and offsets out, atomically, on a thread of its own.
 *
 * One batch at a time: begin, produce, send offsets with the session's group metadata
 * (KIP-447), commit. A batch's end is told once. Within a batch the thread repeats what
 * librdkafka calls retriable; after an abort the owner gives the outcomes again in the next
 * batch. A commit whose end is unknown is resolved before it is told: the producer is made anew
 * (which ends the old transaction one way or the other) and the committed offsets are read
 * back; a batch always moves some partition's offset or metadata, so equality tells.
 *
 * A record that its topic does not take, a partition without a leader and a topic that is not
 * there are told by the record, so that the owner can leave them out of the next batch.
 */
#ifndef PRESIGND_KAFKA_PUBLISHER_H
#define PRESIGND_KAFKA_PUBLISHER_H

#include "presignd/base/loop.h"
#include "presignd/kafka/transaction.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Twice what the longest call may take by its own time-outs. */
#define PUBLISHER_STUCK_MS 30000
/* On the loop's thread, once for each publisher_submit(). */
typedef void publisher_ended_fn(void *context, const struct transaction_end *end);

/* On the loop's thread, once for each publisher_find_id_holder(). */
typedef void publisher_id_holder_fn(void *context, enum producer_id_holder holder);

/* Bytes of metadata that the broker takes: the configuration's, or less, but
 * TRANSACTION_METADATA_MIN at least; 0: fewer than that. On the loop's thread, once for each
 * publisher_measure_metadata(). */
typedef void publisher_metadata_fn(void *context, int64_t bytes);

struct publisher;

/* Starts the thread, which takes hold of the transactional.id (and so fences and ends what an
 * earlier process of this instance left open) before its first batch. NULL and a reason. */
struct publisher *publisher_new(struct loop *loop, const struct producer_config *config,
                                publisher_ended_fn *ended, void *context, char **error)
    __attribute__((warn_unused_result));
/* Ends the thread within `timeout_ms`; a batch in progress is aborted. A thread that sits in a call
 * which does not return is left behind (detached_wait()); it reads nothing of the batch any more.
 * Accepts NULL. */
void publisher_free(struct publisher *publisher, int64_t timeout_ms);

/* Any batch may be submitted before the transactional.id is held. */
enum producer_id_state publisher_id_state(const struct publisher *publisher);
/* What went wrong last with taking hold of it, cleaned, into `text`; "" for nothing. */
void publisher_last_error(const struct publisher *publisher, char *text, size_t size);
/* Leaves thread and producer behind and takes new ones, which takes hold of the transactional.id
 * anew. Does not wait. A batch in progress is told as aborted, from inside this call, or, when it
 * may be visible, resolved first. A probe that was asked for is asked by the new one. */
void publisher_renew(struct publisher *publisher);
/* Finds out who holds the transactional.id, under a session's group, when the batch in progress, if
 * any, has ended. One at a time. */
void publisher_find_id_holder(struct publisher *publisher, struct group_metadata *group_metadata,
                              publisher_id_holder_fn *id_holder_found);
/* Finds out how much metadata the broker takes with an offset of the requests topic, by
 * transactions that are aborted, under a session's group, when the batch in progress, if any, has
 * ended. One at a time. */
void publisher_measure_metadata(struct publisher *publisher, struct group_metadata *group_metadata,
                                const struct transaction_position *position,
                                publisher_metadata_fn *metadata_measured);
/* One batch at a time; an assertion guards it. */
void publisher_submit(struct publisher *publisher, const struct transaction_batch *batch);
/* The partition that a record with this key goes to; -1 when that is not known yet, or any will
 * do. */
int32_t publisher_route(const struct publisher *publisher, unsigned topic, const void *key,
                        size_t key_len);
/* Microseconds since the thread last did something or was idle; for the watchdog. */
int64_t publisher_stalled_us(const struct publisher *publisher);

#endif
