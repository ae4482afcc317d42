#include "kafka/leaders.h"

#include "presignd/base/mem.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
#define NAME(id, name) name,
    PARTITIONERS(NAME)
#undef NAME
};

bool partitioner_parse(const char *name, enum partitioner *out)
{
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (enum partitioner)i;
            return true;
        }
    }
    return false;
}

/* The library's functions use the topic only to choose at random. The caller does that instead,
 * among partitions with a leader. */
int32_t partitioner_of_key(enum partitioner partitioner, const void *key, size_t key_len,
                           int32_t count)
{
    switch (partitioner) {
    case PARTITIONER_RANDOM:
        return -1;
    case PARTITIONER_CONSISTENT_RANDOM: /* treats an empty key as none */
        return key_len == 0
                   ? -1
                   : rd_kafka_msg_partitioner_consistent(NULL, key, key_len, count, NULL, NULL);
    case PARTITIONER_CONSISTENT:
        return rd_kafka_msg_partitioner_consistent(NULL, key, key_len, count, NULL, NULL);
    case PARTITIONER_MURMUR2_RANDOM:
        return key == NULL
                   ? -1
                   : rd_kafka_msg_partitioner_murmur2(NULL, key, key_len, count, NULL, NULL);
    case PARTITIONER_MURMUR2:
        return rd_kafka_msg_partitioner_murmur2(NULL, key, key_len, count, NULL, NULL);
    case PARTITIONER_FNV1A_RANDOM:
        return key == NULL ? -1
                           : rd_kafka_msg_partitioner_fnv1a(NULL, key, key_len, count, NULL, NULL);
    case PARTITIONER_FNV1A:
        return rd_kafka_msg_partitioner_fnv1a(NULL, key, key_len, count, NULL, NULL);
    }
    return -1;
}

void topic_leaders_deinit(struct topic_leaders *leaders)
{
    free(leaders->partitions);
    *leaders = (struct topic_leaders){0};
}

/* A topic that has just been created may have no leader at all; it counts as missing. */
static void topic_refusal_set(struct topic_leaders *leaders, rd_kafka_resp_err_t error)
{
    enum refusal refusal = refusal_of_code(error);
    topic_leaders_deinit(leaders);
    leaders->refusal = refusal == REFUSAL_NONE ? REFUSAL_NO_TOPIC : refusal;
}

void topic_leaders_read(struct topic_leaders *leaders, const struct rd_kafka_metadata *metadata)
{
    if (metadata->topic_cnt != 1 || metadata->topics[0].err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        topic_refusal_set(leaders, metadata->topic_cnt == 1
                                       ? metadata->topics[0].err
                                       : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
        return;
    }
    const struct rd_kafka_metadata_topic *topic = &metadata->topics[0];
    topic_leaders_deinit(leaders);
    leaders->count = topic->partition_cnt;
    leaders->partitions = mem_zalloc((size_t)leaders->count, sizeof *leaders->partitions);
    for (int32_t i = 0; i < leaders->count; i++) {
        leaders->partitions[i] = REFUSAL_NO_LEADER;
    }
    for (int i = 0; i < topic->partition_cnt; i++) {
        int32_t id = topic->partitions[i].id;
        if (id >= 0 && id < leaders->count && topic->partitions[i].leader >= 0) {
            leaders->partitions[id] = REFUSAL_NONE;
            leaders->led++;
        }
    }
}

static int32_t nth_led(const struct topic_leaders *leaders, int32_t nth)
{
    for (int32_t i = 0; i < leaders->count; i++) {
        if (leaders->partitions[i] == REFUSAL_NONE && nth-- == 0) {
            return i;
        }
    }
    return 0;
}

int32_t topic_leaders_choose(const struct topic_leaders *leaders, enum partitioner partitioner,
                             const void *key, size_t key_len, uint32_t random,
                             enum refusal *refusal)
{
    *refusal = leaders->count == 0 ? leaders->refusal : REFUSAL_NONE;
    if (leaders->count == 0) {
        return -1;
    }
    int32_t partition = partitioner_of_key(partitioner, key, key_len, leaders->count);
    if (partition < 0 && leaders->led > 0) {
        partition = nth_led(leaders, (int32_t)(random % (uint32_t)leaders->led));
    }
    partition = partition < 0 ? 0 : partition;
    *refusal = leaders->partitions[partition];
    return partition;
}
