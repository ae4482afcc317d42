/* Kafka clients for commands: a sender and a reader that leave the daemon alone.
 *
 * They use the daemon's brokers and credentials, but no transactional.id and no group: nothing
 * is fenced, no partition moves, no offset is committed. One thread; every wait is bounded.
 */
#ifndef PRESIGND_CTL_KAFKA_H
#define PRESIGND_CTL_KAFKA_H

#include "presignd/base/record.h"
#include "presignd/kafka/properties.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Headers of one record that is sent. */
#define CTL_KAFKA_HEADERS_MAX 8192

struct ctl_kafka;

/* `timeout_ms` bounds each delivery, and the search for a broker. NULL and a reason (free()). */
struct ctl_kafka *ctl_kafka_sender(const struct kafka_property *properties, size_t count,
                                   int64_t timeout_ms, char **error)
    __attribute__((warn_unused_result));
struct ctl_kafka *ctl_kafka_reader(const struct kafka_property *properties, size_t count,
                                   int64_t timeout_ms, char **error)
    __attribute__((warn_unused_result));
/* For ctl_kafka_seek() and ctl_kafka_read(): a place that is not there is an error to it, and
 * the end of a partition an event. */
struct ctl_kafka *ctl_kafka_scanner(const struct kafka_property *properties, size_t count,
                                    int64_t timeout_ms, char **error)
    __attribute__((warn_unused_result));
/* Drops what was not delivered yet. Accepts NULL, returns NULL. */
struct ctl_kafka *ctl_kafka_free(struct ctl_kafka *kafka);

/* For what this interface lacks: the client itself, and its time-out in ms. */
rd_kafka_t *ctl_kafka_handle(struct ctl_kafka *kafka);
int ctl_kafka_timeout(const struct ctl_kafka *kafka);
/* A property as the daemon's consumer has it, defaults and all; NULL when unset (free()). */
char *ctl_kafka_property(const struct kafka_property *properties, size_t count, const char *name)
    __attribute__((warn_unused_result));

/* How many partitions the topic has; -1 and a reason (free()) when no broker answers in time,
 * or there is no such topic. */
int ctl_kafka_partitions(struct ctl_kafka *kafka, const char *topic, char **error)
    __attribute__((warn_unused_result));

/* What became of one record. `error` and the rest count once `done` is set. */
struct ctl_delivery {
    bool done;
    rd_kafka_resp_err_t error;
    bool maybe_written; /* with an error: the broker may have it all the same */
    int32_t partition;
    int64_t offset;
};

/* Hands a record's key, value and headers over (copied); `delivery` is filled in during later
 * calls and has to live until then. Waits for room, within the time-out. False, a reason
 * (free()) and `delivery->error` when the record cannot be sent at all. */
bool ctl_kafka_send(struct ctl_kafka *kafka, const char *topic, const struct record *record,
                    struct ctl_delivery *delivery, char **error)
    __attribute__((warn_unused_result));
/* Waits until this record is delivered or failed: the time-out bounds it. */
void ctl_kafka_await(struct ctl_kafka *kafka, const struct ctl_delivery *delivery);
/* Why a delivery failed, with the client's last complaint (free()). */
char *ctl_kafka_reason(const struct ctl_kafka *kafka, const struct ctl_delivery *delivery)
    __attribute__((warn_unused_result));

/* Reads every partition of the topic, from its first record on or only what comes from now on.
 * How many partitions; -1 and a reason (free()). */
int ctl_kafka_follow(struct ctl_kafka *kafka, const char *topic, bool from_beginning, char **error)
    __attribute__((warn_unused_result));
/* The next visible record of the followed topics (rd_kafka_message_destroy()), NULL when none
 * came in time. Complaints of the client are no records: ctl_kafka_trouble() has the last. */
rd_kafka_message_t *ctl_kafka_next(struct ctl_kafka *kafka, int timeout_ms)
    __attribute__((warn_unused_result));

/* The first offset that the partition still has, and one above the last that a reader can see
 * (behind which transactions may be open). False and a reason (free()). */
bool ctl_kafka_ends(struct ctl_kafka *kafka, const char *topic, int32_t partition, int64_t *low,
                    int64_t *high, char **error) __attribute__((warn_unused_result));
/* Begins to read one partition, from that offset on; ends what was read before. */
bool ctl_kafka_seek(struct ctl_kafka *kafka, const char *topic, int32_t partition, int64_t offset,
                    char **error) __attribute__((warn_unused_result));

enum ctl_read {
    CTL_READ_RECORD, /* rd_kafka_message_destroy() */
    CTL_READ_END,    /* of what a reader can see */
    CTL_READ_GONE,   /* the offset is not in the topic (any more) */
    CTL_READ_FAILED, /* with a reason (free()); nothing came in time, for one */
};
enum ctl_read ctl_kafka_read(struct ctl_kafka *kafka, rd_kafka_message_t **message, char **error)
    __attribute__((warn_unused_result));

/* The client's last complaint; "" when it had none. */
const char *ctl_kafka_trouble(const struct ctl_kafka *kafka);

#endif
