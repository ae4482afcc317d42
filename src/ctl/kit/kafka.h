/* Kafka clients for commands: they send and read without affecting the daemon.
 *
 * They use the daemon's brokers and credentials, but no transactional.id and no group: they fence
 * nothing, cause no rebalance and commit no offset. One thread; every wait is bounded.
 */
#ifndef PRESIGND_CTL_KAFKA_H
#define PRESIGND_CTL_KAFKA_H

#include "presignd/base/mem.h"
#include "presignd/base/record.h"
#include "presignd/kafka/properties.h"
#include "presignd/setup/setup.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Headers of one record to send. */
#define CTL_KAFKA_HEADERS_MAX 8192

struct ctl_kafka;

enum ctl_kafka_use {
    CTL_KAFKA_SENDER,
    CTL_KAFKA_READER,  /* for ctl_kafka_follow(), ctl_kafka_stop_at() and ctl_kafka_next() */
    CTL_KAFKA_SCANNER, /* for ctl_kafka_offset_at(), ctl_kafka_seek() and ctl_kafka_read(): reports
                        * a missing offset and a partition's end */
};

/* `timeout_ms` bounds each delivery, and the search for a broker. NULL and an error (free()). */
struct ctl_kafka *ctl_kafka_new(enum ctl_kafka_use use, const struct kafka_property *properties,
                                size_t count, int64_t timeout_ms, char **error)
    __attribute__((warn_unused_result));
/* The same with the properties of the setup. NULL after an error was printed; the command then ends
 * with EX_CONFIG. */
struct ctl_kafka *ctl_kafka_open(enum ctl_kafka_use use, const struct setup *setup,
                                 int64_t timeout_ms) __attribute__((warn_unused_result));
/* Discards undelivered records. Accepts NULL, returns NULL. */
struct ctl_kafka *ctl_kafka_free(struct ctl_kafka *kafka);
void ctl_kafka_free_at(struct ctl_kafka **kafka);
#define AUTO_CTL_KAFKA AUTO(ctl_kafka_free_at)

/* librdkafka's client, for calls that this interface does not have, and the time-out in ms. */
rd_kafka_t *ctl_kafka_handle(struct ctl_kafka *kafka);
int ctl_kafka_timeout(const struct ctl_kafka *kafka);
/* "TEXT: LAST", LAST being the client's last error; only TEXT when it has had none (free()). */
char *ctl_kafka_explain(const struct ctl_kafka *kafka, const char *text)
    __attribute__((warn_unused_result));
/* A property with the value that the daemon's consumer has, default or not; NULL when unset
 * (free()). */
char *ctl_kafka_property(const struct setup *setup, const char *name)
    __attribute__((warn_unused_result));

/* The topic's number of partitions. -1 and an error (free()) when no broker answers in time, or
 * the topic does not exist. */
int ctl_kafka_partitions(struct ctl_kafka *kafka, const char *topic, char **error)
    __attribute__((warn_unused_result));

/* The result of an Admin API call (rd_kafka_event_destroy()). NULL and an error (free()) when it
 * failed, or none came in time. */
rd_kafka_event_t *ctl_kafka_await_event(struct ctl_kafka *kafka, rd_kafka_queue_t *queue,
                                        char **error) __attribute__((warn_unused_result));

/* The delivery report of one record. The other members are valid once `done` is set. */
struct ctl_delivery {
    bool done;
    rd_kafka_resp_err_t error;
    bool maybe_written; /* after an error: the broker may have written it all the same */
    int32_t partition;
    int64_t offset;
};

/* Queues a copy of the record's key, value and headers. Later calls fill in `delivery`, which must
 * live until then. Waits for room in the queue, within the time-out. False, an error (free()) and
 * `delivery->error` when the record cannot be queued. */
bool ctl_kafka_send(struct ctl_kafka *kafka, const char *topic, const struct record *record,
                    struct ctl_delivery *delivery, char **error)
    __attribute__((warn_unused_result));
/* Waits, within the time-out, until this record is delivered or failed. */
void ctl_kafka_await(struct ctl_kafka *kafka, const struct ctl_delivery *delivery);
/* Why a delivery failed, with the client's last error (free()). */
char *ctl_kafka_reason(const struct ctl_kafka *kafka, const struct ctl_delivery *delivery)
    __attribute__((warn_unused_result));

/* Starts reading all partitions of the topic: from the first record, from now on, or from the first
 * record whose timestamp is that wall clock or later. Returns how many partitions there are; -1 and
 * an error (free()). */
#define CTL_KAFKA_BEGINNING INT64_MIN
#define CTL_KAFKA_END       INT64_MAX
int ctl_kafka_follow(struct ctl_kafka *kafka, const char *topic, int64_t from_ms, char **error)
    __attribute__((warn_unused_result));
/* Reads on to the records that are visible now, and only to those before the wall clock `until_ms`
 * (CTL_KAFKA_END: all); then ctl_kafka_stopped() is true. ctl_kafka_next() leaves out later ones.
 * False and an error (free()) when a broker does not answer. */
bool ctl_kafka_stop_at(struct ctl_kafka *kafka, int64_t until_ms, char **error)
    __attribute__((warn_unused_result));
bool ctl_kafka_stopped(const struct ctl_kafka *kafka);
/* The next visible record of the followed topics (rd_kafka_message_destroy()); NULL when none
 * came in time, or a partition's end was reached. ctl_kafka_explain() has the client's errors. */
rd_kafka_message_t *ctl_kafka_next(struct ctl_kafka *kafka, int timeout_ms)
    __attribute__((warn_unused_result));
/* No broker is connected, and none answers. Asks once a second, for up to half a second, while that
 * lasts. */
bool ctl_kafka_is_down(struct ctl_kafka *kafka);

/* The partition's first offset, and the last stable offset: readers see the records below it.
 * False and an error (free()). */
bool ctl_kafka_ends(struct ctl_kafka *kafka, const char *topic, int32_t partition, int64_t *low,
                    int64_t *high, char **error) __attribute__((warn_unused_result));
/* The offset of the partition's first record at that wall clock or later; RD_KAFKA_OFFSET_END:
 * none. False and an error (free()). */
bool ctl_kafka_offset_at(struct ctl_kafka *kafka, const char *topic, int32_t partition,
                         int64_t at_ms, int64_t *offset, char **error)
    __attribute__((warn_unused_result));
/* Starts reading one partition at the offset, and stops reading the one before. */
bool ctl_kafka_seek(struct ctl_kafka *kafka, const char *topic, int32_t partition, int64_t offset,
                    char **error) __attribute__((warn_unused_result));

enum ctl_read {
    CTL_READ_RECORD, /* rd_kafka_message_destroy() */
    CTL_READ_END,    /* the end of the visible records */
    CTL_READ_GONE,   /* the topic does not have the offset (any more) */
    CTL_READ_FAILED, /* with an error (free()); for example, no record came in time */
};
enum ctl_read ctl_kafka_read(struct ctl_kafka *kafka, rd_kafka_message_t **message, char **error)
    __attribute__((warn_unused_result));

/* TOPIC/PARTITION/OFFSET, which is also how an outcome names its event (free()). */
char *ctl_record_id(const char *topic, int32_t partition, int64_t offset)
    __attribute__((warn_unused_result));
char *ctl_message_id(const rd_kafka_message_t *message) __attribute__((warn_unused_result));
/* The record's headers (free()); names and values are the message's. */
struct record_header *ctl_message_headers(const rd_kafka_message_t *message, size_t *count)
    __attribute__((warn_unused_result));

#endif
