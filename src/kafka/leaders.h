/* What the brokers last said of the outcomes' topics: whether a topic is there, how many
 * partitions it has, and which of them have a leader; and which partition a key belongs to.
 *
 * The producer chooses each record's partition by itself, so that it is known before a
 * transaction begins whether the record can be sent: a partition that is in an open transaction
 * and has no leader keeps the transaction, and with it the transactional.id, from ending.
 */
#ifndef PRESIGND_KAFKA_LEADERS_H
#define PRESIGND_KAFKA_LEADERS_H

#include "presignd/kafka/refusal.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* librdkafka's property `partitioner`. */
enum partitioner {
    PARTITIONER_RANDOM,
    PARTITIONER_CONSISTENT,
    PARTITIONER_CONSISTENT_RANDOM,
    PARTITIONER_MURMUR2,
    PARTITIONER_MURMUR2_RANDOM,
    PARTITIONER_FNV1A,
    PARTITIONER_FNV1A_RANDOM,
};

/* False when there is no such partitioner. */
bool partitioner_parse(const char *name, enum partitioner *out) __attribute__((warn_unused_result));
/* The partition of a key, as librdkafka's own partitioner of that name has it; -1 when any will
 * do (no key, or a random one). `count` > 0. */
int32_t partitioner_of_key(enum partitioner partitioner, const void *key, size_t key_len,
                           int32_t count);

struct topic_leaders {
    enum refusal refusal; /* of the topic; REFUSAL_NONE: it is there */
    int32_t count;        /* of partitions; 0: not known yet */
    int32_t open;         /* how many of them have a leader */
    enum refusal *partitions;
};

void topic_leaders_deinit(struct topic_leaders *leaders);
/* From the broker's answer on one topic. */
void topic_leaders_read(struct topic_leaders *leaders, const struct rd_kafka_metadata *metadata);
/* Where a record goes; in `refusal` why it cannot be sent there, or REFUSAL_NONE. `random` chooses
 * among partitions that have a leader. */
int32_t topic_leaders_choose(const struct topic_leaders *leaders, enum partitioner partitioner,
                             const void *key, size_t key_len, uint32_t random,
                             enum refusal *refusal);

#endif
