/* The transactional producer: outcomes and offsets out, atomically, on a thread of its own.
 *
 * One batch at a time: begin, produce, send offsets with the session's group metadata
 * (KIP-447), commit. A batch's end is told once. Within a batch the thread repeats what
 * librdkafka calls retriable; after an abort the owner gives the outcomes again in the next
 * batch. A commit whose end is unknown is settled before it is told: the producer is made anew
 * (which ends the old transaction one way or the other) and the committed offsets are read
 * back; a batch always moves some partition's offset or metadata, so equality tells.
 *
 * A record that its topic does not take, a partition without a leader and a topic that is not
 * there are told by the record, so that the owner can leave them out of the next batch.
 */
#ifndef PRESIGND_KAFKA_OUTLET_H
#define PRESIGND_KAFKA_OUTLET_H

#include "presignd/base/loop.h"
#include "presignd/base/record.h"
#include "presignd/kafka/group_metadata.h"
#include "presignd/kafka/properties.h"
#include "presignd/kafka/refusal.h"
#include "presignd/kafka/renewal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A batch's bounds; the owner keeps to them. */
#define OUTLET_RECORDS_MAX 2000
#define OUTLET_BYTES_MAX   ((size_t)4 * 1024 * 1024)
/* Twice what the longest call may take by its own time-outs. */
#define OUTLET_STUCK_MS 30000
/* The broker's default for offset.metadata.max.bytes. */
#define OUTLET_METADATA_MAX 4096
/* With less, presignd does not work. */
#define OUTLET_METADATA_MIN 512

enum outlet_topic { OUTLET_RESULTS, OUTLET_FAILURES, OUTLET_TOPIC_COUNT };

struct outlet_record {
    enum outlet_topic topic;
    const void *key; /* NULL for null */
    size_t key_len;
    const void *value;
    size_t value_len;
    const struct record_header *headers;
    size_t header_count;
};

/* Of the requests topic. */
struct outlet_position {
    int32_t partition;
    int64_t offset;
    const char *metadata;
};

/* Where a record of a committed batch lies; of one that was refused, the partition alone is
 * meant. */
struct outlet_place {
    int32_t partition;
    int64_t offset;
};

/* Borrowed until its end was told. */
struct outlet_batch {
    struct group_metadata *group_metadata;
    const struct outlet_record *records;
    size_t record_count;
    const struct outlet_position *positions;
    size_t position_count;
    /* Written, one for each record. */
    struct outlet_place *places; /* NULL: nobody asks */
    enum refusal *refusals;      /* NULL: nobody asks */
};

/* "results" or "failures", as in metrics and log fields; the topics' own names are configured. */
const char *outlet_topic_name(enum outlet_topic topic);

enum outlet_verdict {
    OUTLET_COMMITTED,
    OUTLET_ABORTED,  /* nothing is visible; give it again, after a pause when it recurs */
    OUTLET_NOT_OURS, /* the group has moved on: the partitions are another's or about to be */
    /* Aborted, or not begun, because of some of the records: batch.refusals says which. */
    OUTLET_RECORDS_REFUSED,
    OUTLET_FENCED, /* another process has our transactional.id: stop for good */
    OUTLET_VERDICT_COUNT
};

const char *outlet_verdict_name(enum outlet_verdict verdict); /* as in metrics: "committed" … */

struct outlet_end {
    enum outlet_verdict verdict;
    size_t refused; /* OUTLET_RECORDS_REFUSED: how many of them */
    /* OUTLET_ABORTED because of one of the topics, and it was not said which: give the next
     * batches records of one topic only. */
    bool mixed;
    /* OUTLET_ABORTED because the broker does not take so much metadata. */
    bool metadata_refused;
    const char *trouble; /* what went wrong, cleaned; NULL for OUTLET_COMMITTED. Borrowed */
    int64_t duration_ms;
};

/* On the loop's thread, once for each outlet_submit(). */
typedef void outlet_ended_fn(void *context, const struct outlet_end *end);

struct outlet_config {
    const char *instance;
    const char *requests_topic;
    const char *topics[OUTLET_TOPIC_COUNT];
    const struct kafka_property *properties;
    size_t property_count;
    int64_t stuck_ms;      /* a call without end is given up after that; 0: OUTLET_STUCK_MS */
    size_t metadata_bytes; /* of a position, at most; what outlet_measure() tries first */
};

/* How we stand with the transactional.id. */
enum outlet_standing {
    OUTLET_WAITING, /* asked for, or about to be; also while Kafka is away */
    OUTLET_HELD,
    OUTLET_REFUSED, /* a broker says that we may not have it; asked for again every second */
};

/* On the loop's thread, once for each outlet_probe(). */
typedef void outlet_probed_fn(void *context, enum renewal_hold hold);

/* What outlet_measure() found: */
#define OUTLET_MEASURED_NOTHING (-1) /* no answer, or one that tells nothing of it */
/* Bytes of metadata that the broker takes: the configuration's, or less, but OUTLET_METADATA_MIN at
 * least; 0: fewer than that. On the loop's thread, once for each outlet_measure(). */
typedef void outlet_measured_fn(void *context, int64_t bytes);

struct outlet;

/* Starts the thread, which takes hold of the transactional.id (and so fences and ends what an
 * earlier process of this instance left open) before its first batch. NULL and a reason. */
struct outlet *outlet_new(struct loop *loop, const struct outlet_config *config,
                          outlet_ended_fn *ended, void *context, char **error)
    __attribute__((warn_unused_result));
/* Ends the thread within `timeout_ms`; a batch in hand is aborted. A thread that sits in a call
 * which does not return is left behind (detached_wait()); it reads nothing of the batch any more.
 * Accepts NULL. */
void outlet_free(struct outlet *outlet, int64_t timeout_ms);

/* Any batch may be submitted before the transactional.id is held. */
enum outlet_standing outlet_standing(const struct outlet *outlet);
/* What went wrong last with taking hold of it, cleaned, into `text`; "" for nothing. */
void outlet_trouble(const struct outlet *outlet, char *text, size_t size);
/* Leaves thread and producer behind and takes new ones, which takes hold of the transactional.id
 * anew. Does not wait. A batch in hand is told as aborted, from inside this call, or, when it may
 * be visible, settled first. A probe that was asked for is asked by the new one. */
void outlet_renew(struct outlet *outlet);
/* Finds out who holds the transactional.id, under a session's group, when the batch in hand, if
 * any, has ended. One at a time. */
void outlet_probe(struct outlet *outlet, struct group_metadata *group_metadata,
                  outlet_probed_fn *probed);
/* Finds out how much metadata the broker takes with an offset of the requests topic, by
 * transactions that are aborted, under a session's group, when the batch in hand, if any, has
 * ended. One at a time. */
void outlet_measure(struct outlet *outlet, struct group_metadata *group_metadata,
                    const struct outlet_position *position, outlet_measured_fn *measured);
/* One batch at a time; an assertion guards it. */
void outlet_submit(struct outlet *outlet, const struct outlet_batch *batch);
/* The partition that a record with this key goes to; -1 when that is not known yet, or any will
 * do. */
int32_t outlet_route(const struct outlet *outlet, enum outlet_topic topic, const void *key,
                     size_t key_len);
/* Microseconds since the thread last did something or was idle; for the watchdog. */
int64_t outlet_stalled_us(const struct outlet *outlet);

#endif
