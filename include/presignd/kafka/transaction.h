/* A transaction: what goes in and how it ends. */
#ifndef PRESIGND_KAFKA_TRANSACTION_H
#define PRESIGND_KAFKA_TRANSACTION_H

#include "presignd/base/record.h"
#include "presignd/kafka/delivery.h"
#include "presignd/kafka/group_metadata.h"
#include "presignd/kafka/properties.h"
#include "presignd/kafka/refusal.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Limits of a batch. Its owner keeps to them. */
#define TRANSACTION_RECORDS_MAX 2000
#define TRANSACTION_BYTES_MAX   ((size_t)4 * 1024 * 1024)
/* The broker's default for offset.metadata.max.bytes. */
#define TRANSACTION_METADATA_MAX 4096
/* With less, presignd does not work. */
#define TRANSACTION_METADATA_MIN 512
/* What some managed brokers accept. */
#define TRANSACTION_METADATA_SOME 1024
/* No answer on how much the broker accepts. */
#define TRANSACTION_METADATA_UNKNOWN (-1)
/* Output topics of one producer. */
#define TRANSACTION_TOPICS_MAX 2

struct transaction_record {
    unsigned topic;  /* index of producer_config.topics */
    const void *key; /* NULL for null */
    size_t key_len;
    const void *value;
    size_t value_len;
    const struct record_header *headers;
    size_t header_count;
};

/* Of producer_config.requests_topic. */
struct transaction_position {
    int32_t partition;
    int64_t offset;
    const char *metadata;
};

/* Where a committed record is. Of a refused record, only the partition is valid. */
struct record_metadata {
    int32_t partition;
    int64_t offset;
};

/* Borrowed until its end is reported. */
struct transaction_batch {
    struct group_metadata *group_metadata;
    const struct transaction_record *records;
    size_t record_count;
    const struct transaction_position *positions;
    size_t position_count;
    /* Output, one entry for each record; NULL: not wanted. */
    struct record_metadata *record_metadata;
    enum refusal *refusals;
    /* Input and output, without transactions only: the record is acknowledged, so it is visible and
     * not produced again. NULL: none is, and not wanted. */
    bool *delivered;
};

/* The positions of a transaction can be read about so long after its end, on brokers nearby: the
 * pause of kafka/read_back.c, and a request. A batch that is submitted earlier waits in the
 * publisher. */
#define TRANSACTION_STABLE_MS 7

/* How a batch ends, and the name of that in metrics. With delivery = at_least_once, "nothing is
 * visible" does not hold for the records that transaction_batch.delivered marks. */
#define TRANSACTION_VERDICTS(ROW)                                                               \
    ROW(TRANSACTION_COMMITTED, "committed")                                                     \
    /* Nothing is visible. Publish the batch again, after a pause if this repeats. */           \
    ROW(TRANSACTION_ABORTED, "aborted")                                                         \
    /* The group membership has ended: other members have the partitions now or soon. */        \
    ROW(TRANSACTION_STALE, "stale")                                                             \
    /* Aborted or not begun, because of some of the records: see transaction_batch.refusals. */ \
    ROW(TRANSACTION_RECORDS_REFUSED, "refused")                                                 \
    /* Another process has our transactional.id. Stop for good. */                              \
    ROW(TRANSACTION_FENCED, "fenced")

enum transaction_verdict {
#define VALUE(id, name) id,
    TRANSACTION_VERDICTS(VALUE)
#undef VALUE
        TRANSACTION_VERDICT_COUNT
};
const char *transaction_verdict_name(enum transaction_verdict verdict);
/* The batch's positions of that topic. The caller destroys the list. */
rd_kafka_topic_partition_list_t *transaction_positions(const char *topic,
                                                       const struct transaction_batch *batch)
    __attribute__((warn_unused_result));
/* The group rejects the membership: other members have the partitions now or soon. */
bool transaction_stale(rd_kafka_resp_err_t error);

struct transaction_end {
    enum transaction_verdict verdict;
    size_t refused; /* TRANSACTION_RECORDS_REFUSED: how many records */
    /* TRANSACTION_ABORTED: one of the topics is the cause, and the broker does not say which. Give
     * the next batches records of one topic only. */
    bool topic_unknown;
    bool metadata_too_large; /* TRANSACTION_ABORTED: the broker accepts less metadata */
    const char *last_error;  /* cleaned; NULL for TRANSACTION_COMMITTED. Borrowed */
    int64_t duration_ms;
};

/* The producer and its transactional.id. */
enum producer_id_state {
    PRODUCER_ID_WAITING, /* requested, or about to be; also while Kafka is unreachable */
    PRODUCER_ID_HELD,
    PRODUCER_ID_DENIED, /* a broker denies the right to it; requested again every second */
};

/* Who holds our transactional.id, as the transaction coordinator's answer shows. */
enum producer_id_holder {
    ID_HOLDER_UNKNOWN,      /* no answer */
    ID_HOLDER_NONE,         /* the producer had not acquired it */
    ID_HOLDER_US,           /* the coordinator accepts our requests */
    ID_HOLDER_US_TIMED_OUT, /* fenced, but perhaps by the coordinator: our transaction was open for
                             * longer than its time-out, or a late request of ours is possible */
    ID_HOLDER_OTHER,        /* fenced by another process */
};

/* Called from inside the producer's calls. */
struct client_brokers;

struct producer_owner {
    /* Waits that long (0: not at all). True asks the producer to stop. */
    bool (*pause)(void *context, int64_t wait_ms);
    /* May the batch be committed? Called once, right before the commit. After true the batch may
     * become visible. After false it never does. */
    bool (*may_commit)(void *context);
    /* Called with `begin` true before the batch is read, and with false afterwards. An owner that
     * takes back a batch waits for the second call; false from the first one forbids to read. No
     * blocking call of librdkafka lies in between. NULL: a batch stays valid until its end. */
    bool (*read)(void *context, bool begin);
    /* The client's statistics have come, from inside a call of the producer. NULL: not used. */
    void (*brokers)(void *context, const struct client_brokers *brokers);
};

struct producer_config {
    const char *instance;
    enum delivery delivery;
    const char *requests_topic;
    const char *topics[TRANSACTION_TOPICS_MAX]; /* NULL after the last one */
    const struct kafka_property *properties;
    size_t property_count;
    int64_t stuck_ms;      /* a call that does not return is given up after this; 0:
                            * PUBLISHER_STUCK_MS */
    size_t metadata_bytes; /* maximum of a position; publisher_measure_metadata() tries it first */
};

#endif
