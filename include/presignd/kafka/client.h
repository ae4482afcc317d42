/* What the consumer and the producer do alike: making a handle, its log, its complaints. */
#ifndef PRESIGND_KAFKA_CLIENT_H
#define PRESIGND_KAFKA_CLIENT_H

#include "presignd/base/clock.h"
#include "presignd/kafka/properties.h"

#include "presignd/base/record.h"

#include <librdkafka/rdkafka.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_TRY_MS INT64_C(10000)

/* The last complaint of a client; all zero has none. One thread only. */
struct last_error {
    char text[256];
    int64_t mono_ms;
};

/* Takes cleaned text: printf-like. */
void last_error_set(struct last_error *last_error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* As the library's error: code and text, cleaned. Destroys `error`. */
void last_error_set_error(struct last_error *last_error, const char *doing,
                          rd_kafka_error_t *error);
void last_error_clear(struct last_error *last_error);

/* Takes over `conf`, whether it succeeds or not; the library's log goes to ours, cleaned and
 * at most a few lines a second. NULL and a reason (free()). */
rd_kafka_t *client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, void *opaque, char **error)
    __attribute__((warn_unused_result));

/* Makes a handle as the daemon's consumer or publisher would, and destroys it: finds what is wrong
 * between properties, and files that the library cannot read. NULL, or why it fails (free());
 * also NULL when the system gave no thread, or when the library has not come to an end within
 * CLIENT_TRY_MS, which says nothing of the properties.
 * It is given no brokers, so that it contacts nothing: nobody is fenced, no group is joined. */
char *client_try(enum kafka_client client, const char *instance,
                 const struct kafka_property *properties, size_t count)
    __attribute__((warn_unused_result));

/* Destroys the handle on a thread of its own: that may take until a wall clock that was set back
 * has caught up. No callback comes any more. A consumer is not closed: closing would ask us to
 * revoke, and leaves the group no earlier, since a static member never says that it leaves
 * (KIP-345). Accepts NULL. */
void client_destroy_detached(rd_kafka_t *client);

/* The value that the configuration has for a property; NULL when unset (free()). */
char *client_property(const rd_kafka_conf_t *conf, const char *name)
    __attribute__((warn_unused_result));

/* What a broker says of one topic: `metadata` has that topic alone, with an error of its own, for
 * rd_kafka_metadata_destroy(). Blocks at most `timeout_ms`. Any thread. */
rd_kafka_resp_err_t client_topic(rd_kafka_t *client, const char *name, int timeout_ms,
                                 const struct rd_kafka_metadata **metadata)
    __attribute__((warn_unused_result));

/* Reads the group's committed offsets and metadata into `partitions`, waiting for open
 * transactions to end as long as the time allows (the handle has isolation.level
 * read_committed, so only stable offsets are asked for: KIP-447). Offsets that were never
 * committed become RD_KAFKA_OFFSET_INVALID. Blocks at most `timeout_ms`. Any thread. */
rd_kafka_resp_err_t client_committed(rd_kafka_t *consumer,
                                     rd_kafka_topic_partition_list_t *partitions, int timeout_ms)
    __attribute__((warn_unused_result));

/* A record's headers for producing; they become the library's when that succeeds, else
 * rd_kafka_headers_destroy(). Null and empty values are different things in Kafka, and stay so:
 * the library takes a NULL pointer for null, any other for that many bytes. */
rd_kafka_headers_t *client_headers(const struct record_header *headers, size_t count)
    __attribute__((warn_unused_result));

#endif
