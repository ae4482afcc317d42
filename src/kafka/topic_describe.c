/* Metadata and DescribeConfigs, one blocking request at a time. */
#include "presignd/kafka/topic_settings.h"

#include "presignd/base/mem.h"
#include "presignd/kafka/client.h"

#include <stdlib.h>
#include <string.h>

int topic_brokers(rd_kafka_t *client, int timeout_ms, char **error)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t failed = rd_kafka_metadata(client, 0, NULL, &metadata, timeout_ms);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR) {
        *error = mem_strdup(rd_kafka_err2str(failed));
        return -1;
    }
    int brokers = metadata->broker_cnt;
    rd_kafka_metadata_destroy(metadata);
    return brokers;
}

static enum topic_answer answer_of(rd_kafka_resp_err_t error)
{
    switch (error) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return TOPIC_KNOWN;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return TOPIC_HIDDEN;
    default:
        return TOPIC_FAILED;
    }
}

static void take_metadata(struct topic *topic, const struct rd_kafka_metadata_topic *found)
{
    topic->exists = found->partition_cnt > 0;
    topic->partitions = found->partition_cnt;
    topic->replicas = topic->exists ? found->partitions[0].replica_cnt : 0;
    for (int i = 1; i < found->partition_cnt; i++) {
        int replicas = found->partitions[i].replica_cnt;
        topic->replicas = replicas < topic->replicas ? replicas : topic->replicas;
    }
}

/* Existence, partitions and replicas. */
static rd_kafka_resp_err_t ask_metadata(rd_kafka_t *client, int timeout_ms, struct topic *topic)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t failed = client_topic(client, topic->name, timeout_ms, &metadata);
    topic->exists = false;
    topic->partitions = topic->replicas = 0;
    if (failed == RD_KAFKA_RESP_ERR_NO_ERROR) {
        failed = metadata->topics[0].err;
        if (failed == RD_KAFKA_RESP_ERR_NO_ERROR) {
            take_metadata(topic, &metadata->topics[0]);
        }
        rd_kafka_metadata_destroy(metadata);
    }
    bool gone = failed == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
                failed == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
    return gone ? RD_KAFKA_RESP_ERR_NO_ERROR : failed;
}

/* Keeps the settings that the table has a row for. */
static void take_values(struct topic *topic, const rd_kafka_ConfigResource_t *resource)
{
    size_t count;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &count);
    const struct topic_setting *setting;
    for (size_t i = 0; (setting = topic_setting(topic->role, i)) != NULL; i++) {
        for (size_t j = 0; j < count && topic->value_count < TOPIC_VALUES_MAX; j++) {
            const char *value = rd_kafka_ConfigEntry_value(entries[j]);
            if (value != NULL &&
                strcmp(rd_kafka_ConfigEntry_name(entries[j]), setting->name) == 0) {
                topic->values[topic->value_count++] =
                    (struct topic_value){setting->name, mem_strdup(value)};
            }
        }
    }
}

static rd_kafka_resp_err_t take_answer(struct topic *topic, rd_kafka_event_t *event)
{
    size_t count;
    rd_kafka_resp_err_t failed = rd_kafka_event_error(event);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return failed;
    }
    const rd_kafka_ConfigResource_t **resources = rd_kafka_DescribeConfigs_result_resources(
        rd_kafka_event_DescribeConfigs_result(event), &count);
    failed = count == 1 ? rd_kafka_ConfigResource_error(resources[0]) : RD_KAFKA_RESP_ERR_UNKNOWN;
    if (failed == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
        topic->exists = false; /* this broker does not know it yet */
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    if (failed == RD_KAFKA_RESP_ERR_NO_ERROR) {
        take_values(topic, resources[0]);
    }
    return failed;
}

static rd_kafka_resp_err_t ask_settings(rd_kafka_t *client, int timeout_ms, struct topic *topic)
{
    AUTO_KAFKA_QUEUE rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic->name);
    rd_kafka_DescribeConfigs(client, &resource, 1, NULL, queue);
    rd_kafka_ConfigResource_destroy(resource);
    AUTO_KAFKA_EVENT rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms);
    return event == NULL ? RD_KAFKA_RESP_ERR__TIMED_OUT : take_answer(topic, event);
}

enum topic_answer topic_describe(rd_kafka_t *client, int timeout_ms, struct topic *topic,
                                 char **error)
{
    rd_kafka_resp_err_t failed = ask_metadata(client, timeout_ms, topic);
    const char *what = "";
    if (failed == RD_KAFKA_RESP_ERR_NO_ERROR && topic->exists) {
        failed = ask_settings(client, timeout_ms, topic);
        what = "the settings of ";
    }
    *error = failed == RD_KAFKA_RESP_ERR_NO_ERROR
                 ? NULL
                 : mem_printf("%stopic %s%s: %s", what, topic->name,
                              *what == '\0' ? "" : " cannot be read", rd_kafka_err2str(failed));
    return answer_of(failed);
}

void topic_deinit(struct topic *topic)
{
    for (size_t i = 0; i < topic->value_count; i++) {
        free(topic->values[i].value);
    }
}
