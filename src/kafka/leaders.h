/* The partitions and leaders of an output topic, as the brokers last reported them, and the
 * partition of a key.
 *
 * The producer chooses the partition of each record itself. So it knows before a transaction begins
 * whether the record can be sent. A transaction with a partition that has no leader cannot end, and
 * blocks the transactional.id.
 */
#ifndef PRESIGND_KAFKA_LEADERS_H
#define PRESIGND_KAFKA_LEADERS_H

#include "presignd/kafka/refusal.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values of librdkafka's property `partitioner`. */
#define PARTITIONERS(ROW)                                   \
    ROW(PARTITIONER_RANDOM, "random")                       \
    ROW(PARTITIONER_CONSISTENT, "consistent")               \
    ROW(PARTITIONER_CONSISTENT_RANDOM, "consistent_random") \
    ROW(PARTITIONER_MURMUR2, "murmur2")                     \
    ROW(PARTITIONER_MURMUR2_RANDOM, "murmur2_random")       \
    ROW(PARTITIONER_FNV1A, "fnv1a")                         \
    ROW(PARTITIONER_FNV1A_RANDOM, "fnv1a_random")

enum partitioner {
#define VALUE(id, name) id,
    PARTITIONERS(VALUE)
#undef VALUE
};

/* False when there is no such partitioner. */
bool partitioner_parse(const char *name, enum partitioner *out) __attribute__((warn_unused_result));
/* The partition of a key among `count` > 0, as librdkafka's partitioner of that name chooses it; -1
 * when any will do (no key, or a random partitioner). */
int32_t partitioner_of_key(enum partitioner partitioner, const void *key, size_t key_len,
                           int32_t count);

struct topic_leaders {
    enum refusal refusal; /* of the topic; REFUSAL_NONE: it exists */
    int32_t count;        /* of partitions; 0: not known yet */
    int32_t led;          /* partitions with a leader */
    enum refusal *partitions;
};

void topic_leaders_deinit(struct topic_leaders *leaders);
/* `metadata` is of one topic. */
void topic_leaders_read(struct topic_leaders *leaders, const struct rd_kafka_metadata *metadata);
/* The partition of a record. `refusal`: why it cannot be sent there, or REFUSAL_NONE. Without a
 * key, `random` chooses among the partitions that have a leader. */
int32_t topic_leaders_choose(const struct topic_leaders *leaders, enum partitioner partitioner,
                             const void *key, size_t key_len, uint32_t random,
                             enum refusal *refusal);

#endif
