/* A consumer's thread, for all that may wait: it makes the handle, reads committed offsets, and
 * destroys the handle, so that the loop never waits.
 *
 * librdkafka 2.0.2 has an asynchronous call for this in its Admin API, but that one goes on
 * asking a broker that is no longer the group's coordinator: nothing evicts the entry from its
 * coordinator cache. rd_kafka_committed() uses the consumer's own coordinator, and blocks.
 */
#ifndef PRESIGND_KAFKA_LOOKUP_H
#define PRESIGND_KAFKA_LOOKUP_H

#include "presignd/base/loop.h"
#include "presignd/kafka/client.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

struct lookup;

/* Takes over `conf`, whose opaque is `opaque`, and begins to make a consumer of it; wakes the loop
 * when it is there. NULL when the system gives no thread. */
struct lookup *lookup_new(struct loop *loop, rd_kafka_conf_t *conf, void *opaque)
    __attribute__((warn_unused_result));
/* Leaves the thread to end by itself (detached_wait()), and to destroy the consumer, which is not
 * to be used any more. Accepts NULL, returns NULL. */
struct lookup *lookup_free(struct lookup *lookup);

/* NULL while it is not made; the lookup's. It is tried every second: `trouble` then says, cleaned,
 * why it failed last. */
rd_kafka_t *lookup_handle(struct lookup *lookup, struct last_error *last_error);

/* Begins to read the offsets of these partitions (taken over) and goes on until it has all of
 * them or is cancelled; wakes the loop when some are known. All are asked for at once, and those
 * that get no answer each by itself: an open transaction in one of them holds up that one alone.
 * What was under way is cancelled. */
void lookup_start(struct lookup *lookup, rd_kafka_topic_partition_list_t *partitions);
void lookup_cancel(struct lookup *lookup);
/* Those that have become known since the last call, with their offsets and metadata (the caller
 * destroys the list); NULL when there are none. */
rd_kafka_topic_partition_list_t *lookup_take(struct lookup *lookup);
/* What the last try failed with, and how many partitions are not known yet; no error when all
 * are. */
rd_kafka_resp_err_t lookup_error(struct lookup *lookup, size_t *left);

/* Asks a broker about the topic every second until it lets us see it, and wakes the loop then;
 * NULL: no more. Partitions go first. */
void lookup_topic(struct lookup *lookup, const char *topic);
/* True once after that. */
bool lookup_topic_readable(struct lookup *lookup);

#endif
