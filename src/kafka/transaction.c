#include "presignd/kafka/transaction.h"

#include "presignd/base/mem.h"

#include <assert.h>
#include <string.h>

const char *transaction_verdict_name(enum transaction_verdict verdict)
{
    static const char *const names[] = {
#define NAME(id, name) name,
        TRANSACTION_VERDICTS(NAME)
#undef NAME
    };
    assert(verdict < TRANSACTION_VERDICT_COUNT);
    return names[verdict];
}

rd_kafka_topic_partition_list_t *transaction_positions(const char *topic,
                                                       const struct transaction_batch *batch)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)batch->position_count);
    for (size_t i = 0; i < batch->position_count; i++) {
        const struct transaction_position *position = &batch->positions[i];
        rd_kafka_topic_partition_t *entry =
            rd_kafka_topic_partition_list_add(list, topic, position->partition);
        entry->offset = position->offset;
        entry->metadata = mem_strdup(position->metadata);
        entry->metadata_size = strlen(position->metadata);
    }
    return list;
}

bool transaction_stale(rd_kafka_resp_err_t error)
{
    switch (error) {
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST:
        return true;
    default:
        return false;
    }
}
