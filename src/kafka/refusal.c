#include "presignd/kafka/refusal.h"

#include "presignd/base/mem.h"

#include <assert.h>
#include <librdkafka/rdkafka.h>
#include <stddef.h>

static const struct refusal_row rows[REFUSAL_COUNT] = {
    [REFUSAL_NONE] = {"none", REFUSAL_OF_NOBODY, "", "", ""},
    [REFUSAL_SIZE] = {"size", REFUSAL_OF_RECORD, "is larger than its topic takes",
                      "max.message.bytes",
                      "raise the topic's max.message.bytes, and its segment.bytes above that"},
    [REFUSAL_RECORD] = {"record", REFUSAL_OF_RECORD, "is not taken by its topic",
                        "cleanup.policy, no key",
                        "a topic with cleanup.policy=compact takes no record without a key: set "
                        "cleanup.policy=delete, or give events a key"},
    [REFUSAL_TIMESTAMP] = {"timestamp", REFUSAL_OF_RECORD,
                           "has a time that its topic does not take", "message.timestamp.*",
                           "look at the clocks of this host and of the brokers, and at the topic's "
                           "message.timestamp.before.max.ms and message.timestamp.after.max.ms"},
    [REFUSAL_NO_LEADER] = {"no_leader", REFUSAL_OF_PARTITION, "has no leader", "no leader",
                           "bring its brokers back; a replication.factor of 3 keeps a leader "
                           "when one is lost"},
    [REFUSAL_NO_REPLICAS] = {"no_replicas", REFUSAL_OF_PARTITION,
                             "has fewer replicas in sync than min.insync.replicas",
                             "min.insync.replicas",
                             "bring its brokers back, or lower the topic's min.insync.replicas"},
    [REFUSAL_SILENT] = {"silent", REFUSAL_OF_PARTITION, "does not answer", "broker silent",
                        "look at the broker that leads it"},
    [REFUSAL_NO_TOPIC] = {"no_topic", REFUSAL_OF_TOPIC, "is not there", "no such topic",
                          "create it: presignctl topics --create"},
    [REFUSAL_NO_RIGHT] = {"no_right", REFUSAL_OF_TOPIC, "may not be written to by us",
                          "no right to write", "allow Write on it to the user of [kafka]"},
    [REFUSAL_FORMAT] = {"format", REFUSAL_OF_TOPIC, "does not take our format", "compression.type",
                        "look at the compression.type of [kafka.producer] and at the topic's "
                        "message.format.version"},
};

static const struct {
    rd_kafka_resp_err_t code;
    enum refusal refusal;
} codes[] = {
    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, REFUSAL_SIZE},
    {RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, REFUSAL_SIZE},
    {RD_KAFKA_RESP_ERR_INVALID_RECORD, REFUSAL_RECORD},
    {RD_KAFKA_RESP_ERR_INVALID_MSG, REFUSAL_RECORD}, /* brokers before 2.4 say so of a null key */
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
