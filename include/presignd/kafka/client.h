/* What consumer and producer share: creating a client, its log, its last error. */
#ifndef PRESIGND_KAFKA_CLIENT_H
#define PRESIGND_KAFKA_CLIENT_H

#include "presignd/base/clock.h"
#include "presignd/base/mem.h"
#include "presignd/base/record.h"
#include "presignd/kafka/properties.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_TRY_MS INT64_C(10000)

/* The last error of a client; all zero: none. One thread only. */
struct last_error {
    char text[256];
    int64_t mono_ms;
};

/* Cleans the text. */
void last_error_set(struct last_error *last_error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The library's text and code, cleaned. Destroys `error`. */
void last_error_set_error(struct last_error *last_error, const char *doing,
                          rd_kafka_error_t *error);
void last_error_clear(struct last_error *last_error);

/* AUTO_KAFKA_LIST rd_kafka_topic_partition_list_t *list destroys the list when the variable leaves
 * its scope, unless it is NULL. The same for events, queues and options of requests. */
#define CLIENT_AUTO(function, type, destroy)           \
    static inline void function(__typeof__(type) **at) \
    {                                                  \
        if (*at != NULL) {                             \
            destroy(*at);                              \
        }                                              \
    }
CLIENT_AUTO(client_list_free_at, rd_kafka_topic_partition_list_t,
            rd_kafka_topic_partition_list_destroy)
CLIENT_AUTO(client_event_free_at, rd_kafka_event_t, rd_kafka_event_destroy)
CLIENT_AUTO(client_queue_free_at, rd_kafka_queue_t, rd_kafka_queue_destroy)
CLIENT_AUTO(client_options_free_at, rd_kafka_AdminOptions_t, rd_kafka_AdminOptions_destroy)
#define AUTO_KAFKA_LIST    AUTO(client_list_free_at)
#define AUTO_KAFKA_EVENT   AUTO(client_event_free_at)
#define AUTO_KAFKA_QUEUE   AUTO(client_queue_free_at)
#define AUTO_KAFKA_OPTIONS AUTO(client_options_free_at)

/* Takes over `conf`, also on failure. The library's log goes to ours, cleaned and rate limited.
 * NULL and a reason (free()). */
rd_kafka_t *client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, void *opaque, char **error)
    __attribute__((warn_unused_result));

/* Creates a client of the daemon and destroys it. Finds properties that contradict each other, and
 * files that the library cannot read. `instance` as in kafka_properties_apply(). Returns why it
 * fails (free()). NULL: it works, or this is not known, as the system gave no thread or the library
 * took longer than CLIENT_TRY_MS. The client has no brokers: it fences nobody and joins no group.
 */
char *client_try(enum kafka_client client, const char *instance,
                 const struct kafka_property *properties, size_t count)
    __attribute__((warn_unused_result));

/* True after a consumer of this process has joined a group whose broker does not know static
 * membership (KIP-345). Any thread. */
bool client_static_membership_missing(void);

/* A transaction is about to fail on purpose: the library's line about it is logged at debug. Any
 * thread. */
void client_expect_refusal(bool expected);

/* An error that a client of the daemon reports, other than a fatal one; counted for each kind. Any
 * thread. */
void client_error_note(enum kafka_client client);
uint64_t client_errors(enum kafka_client client);
/* The client reports its statistics to `fn` every BROKERS_INTERVAL_MS, from inside its poll. */
void client_statistics(rd_kafka_conf_t *conf,
                       int (*fn)(rd_kafka_t *client, char *json, size_t len, void *opaque));

/* Destroys the client on a thread of its own. No callback follows. It may take until a wall clock
 * that was set back has caught up. A consumer is not closed: closing calls the rebalance callback,
 * and a static member sends no LeaveGroup anyway (KIP-345). Accepts NULL. */
void client_destroy_detached(rd_kafka_t *client);

/* The value of a property (free()); NULL when unset. */
char *client_property(const rd_kafka_conf_t *conf, const char *name)
    __attribute__((warn_unused_result));

/* The metadata of one topic, which may have an error of its own. The caller calls
 * rd_kafka_metadata_destroy(). Blocks at most `timeout_ms`. Any thread. */
rd_kafka_resp_err_t client_topic(rd_kafka_t *client, const char *name, int timeout_ms,
                                 const struct rd_kafka_metadata **metadata)
    __attribute__((warn_unused_result));

/* Reads the group's committed offsets and metadata into `partitions`, once open transactions have
 * ended: with isolation.level read_committed only stable offsets are returned (KIP-447). An offset
 * that was never committed is RD_KAFKA_OFFSET_INVALID. Blocks at most `timeout_ms`. Any thread. */
rd_kafka_resp_err_t client_committed(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions,
                                     int timeout_ms) __attribute__((warn_unused_result));

/* The error of an RD_KAFKA_EVENT_OFFSET_COMMIT, or the first one of its partitions: one may be
 * committed while another is not. */
rd_kafka_resp_err_t client_commit_error(rd_kafka_event_t *event);

/* Headers to produce a record with. The library owns them after success; otherwise call
 * rd_kafka_headers_destroy(). Null values stay different from empty ones. */
rd_kafka_headers_t *client_headers(const struct record_header *headers, size_t count)
    __attribute__((warn_unused_result));

#endif
