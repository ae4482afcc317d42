/* A consumer's thread for calls that block: it creates the client, reads committed offsets, and
 * destroys the client.
 *
 * The Admin API of librdkafka reads committed offsets asynchronously. But it keeps asking a
 * broker that is no longer the group's coordinator, as nothing removes the entry from its cache.
 * rd_kafka_committed() uses the consumer's own coordinator, and blocks.
 */
#ifndef PRESIGND_KAFKA_LOOKUP_H
#define PRESIGND_KAFKA_LOOKUP_H

#include "presignd/base/loop.h"
#include "presignd/kafka/client.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

struct lookup;

/* Takes over `conf` and begins to create a consumer with it. Wakes the loop when it is there. NULL
 * when the system gives no thread. */
struct lookup *lookup_new(struct loop *loop, rd_kafka_conf_t *conf, void *opaque)
    __attribute__((warn_unused_result));
/* The thread destroys the consumer and ends (detached_wait()). Do not use the consumer any more.
 * Accepts NULL, returns NULL. */
struct lookup *lookup_free(struct lookup *lookup);

/* The consumer, which the lookup owns; NULL until it is created. Creation is tried every second;
 * `last_error` gets the last error of that. */
rd_kafka_t *lookup_handle(struct lookup *lookup, struct last_error *last_error);

/* Reads the offsets of these partitions (taken over) until all are known. Wakes the loop when some
 * are. Asks for all at once, and then for the missing ones one by one, so that an open transaction
 * delays only its own partition. Cancels an earlier lookup; NULL does nothing else. */
void lookup_start(struct lookup *lookup, rd_kafka_topic_partition_list_t *partitions);
/* The partitions that became known since the last call, with offsets and metadata; the caller
 * destroys the list. NULL when there are none. */
rd_kafka_topic_partition_list_t *lookup_take(struct lookup *lookup);
/* The error of the last attempt, and how many partitions are not known yet. No error when all are
 * known. */
rd_kafka_resp_err_t lookup_error(struct lookup *lookup, size_t *left);

/* Fetches the topic's metadata every second until it has no error; then wakes the loop. NULL stops
 * that. Lookups of partitions go first. */
void lookup_topic(struct lookup *lookup, const char *topic);
/* True once after that. */
bool lookup_topic_readable(struct lookup *lookup);

#endif
