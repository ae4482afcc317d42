#include "presignd/kafka/refusal.h"

#include "presignd/base/mem.h"

#include <assert.h>
#include <librdkafka/rdkafka.h>
#include <stddef.h>

static const struct refusal_row rows[] = {
#define REFUSAL(id, name, scope, ...) {name, REFUSAL_OF_##scope, __VA_ARGS__},
#include "presignd/kafka/refusal_rows.h"
};

static const struct {
    rd_kafka_resp_err_t code;
    enum refusal refusal;
} codes[] = {
    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, REFUSAL_SIZE},
    {RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, REFUSAL_SIZE},
    {RD_KAFKA_RESP_ERR_INVALID_RECORD, REFUSAL_RECORD},
    {RD_KAFKA_RESP_ERR_INVALID_MSG, REFUSAL_RECORD}, /* a null key, before 2.4 */
    {RD_KAFKA_RESP_ERR_POLICY_VIOLATION, REFUSAL_RECORD},
    {RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, REFUSAL_TIMESTAMP},
    {RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, REFUSAL_NO_LEADER},
    {RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, REFUSAL_NO_LEADER},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, REFUSAL_NO_REPLICAS},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, REFUSAL_NO_REPLICAS},
    {RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, REFUSAL_SILENT},
    {RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, REFUSAL_SILENT},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, REFUSAL_NO_TOPIC},
    {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, REFUSAL_NO_TOPIC},
    {RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, REFUSAL_NO_TOPIC},
    {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, REFUSAL_NO_RIGHT},
    {RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT, REFUSAL_FORMAT},
    {RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE, REFUSAL_FORMAT},
};

const struct refusal_row *refusal_row(enum refusal refusal)
{
    assert(refusal < REFUSAL_COUNT);
    return &rows[refusal];
}

enum refusal refusal_of_code(int code)
{
    for (size_t i = 0; i < ARRAY_LENGTH(codes); i++) {
        if ((int)codes[i].code == code) {
            return codes[i].refusal;
        }
    }
    return REFUSAL_NONE;
}
