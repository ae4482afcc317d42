/* Committed offsets, read on a thread of its own so that the loop never waits.
 *
 * librdkafka 2.0.2 has an asynchronous call for this in its Admin API, but that one goes on
 * asking a broker that is no longer the group's coordinator: nothing evicts the entry from its
 * coordinator cache. rd_kafka_committed() uses the consumer's own coordinator, and blocks.
 */
#ifndef PRESIGND_KAFKA_LOOKUP_H
#define PRESIGND_KAFKA_LOOKUP_H

#include "presignd/base/loop.h"

#include <librdkafka/rdkafka.h>

struct lookup;

/* `consumer` outlives the lookup. NULL when the system gives no thread. */
struct lookup *lookup_new(struct loop *loop, rd_kafka_t *consumer)
    __attribute__((warn_unused_result));
/* Waits for the thread: at most half a second. Accepts NULL, returns NULL. */
struct lookup *lookup_free(struct lookup *lookup);

/* Begins to read the offsets of these partitions (taken over) and repeats until it has them or
 * is cancelled; wakes the loop at its end. What was under way is cancelled. */
void lookup_start(struct lookup *lookup, rd_kafka_topic_partition_list_t *partitions);
void lookup_cancel(struct lookup *lookup);
/* The partitions with their offsets and metadata, once (the caller destroys the list); NULL
 * while there is nothing. */
rd_kafka_topic_partition_list_t *lookup_take(struct lookup *lookup);
/* What the last try failed with. */
rd_kafka_resp_err_t lookup_error(struct lookup *lookup);

#endif
