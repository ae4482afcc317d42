/* librdkafka's Admin API, one blocking question at a time. */
#include "topics.h"

#include "presignd/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* An answer of the Admin API; NULL and a reason (free()) when none came, or it is an error. */
static rd_kafka_event_t *await(struct ctl_kafka *kafka, rd_kafka_queue_t *queue, char **error)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ctl_kafka_timeout(kafka));
    if (event != NULL && rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        return event;
    }
    const char *trouble = ctl_kafka_trouble(kafka);
    *error = mem_printf("%s%s%s",
                        event == NULL ? "no answer in time" : rd_kafka_event_error_string(event),
                        *trouble == '\0' ? "" : ": ", trouble);
    if (event != NULL) {
        rd_kafka_event_destroy(event);
    }
    return NULL;
}

int topics_brokers(struct ctl_kafka *kafka, char **error)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t failed =
        rd_kafka_metadata(ctl_kafka_handle(kafka), 0, NULL, &metadata, ctl_kafka_timeout(kafka));
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR) {
        (void)rd_kafka_poll(ctl_kafka_handle(kafka), 0); /* for the client's complaint */
        const char *trouble = ctl_kafka_trouble(kafka);
        *error = mem_printf("no broker has answered within %d ms: %s", ctl_kafka_timeout(kafka),
                            *trouble == '\0' ? rd_kafka_err2str(failed) : trouble);
        return -1;
    }
    int brokers = metadata->broker_cnt;
    rd_kafka_metadata_destroy(metadata);
    return brokers;
}

/* Existence, partitions and replicas. */
static bool ask_metadata(struct ctl_kafka *kafka, struct topic *topic, char **error)
{
    rd_kafka_t *handle = ctl_kafka_handle(kafka);
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *local = rd_kafka_topic_new(handle, topic->name, NULL);
    rd_kafka_resp_err_t failed =
        local == NULL ? rd_kafka_last_error()
                      : rd_kafka_metadata(handle, 0, local, &metadata, ctl_kafka_timeout(kafka));
    if (local != NULL) {
        rd_kafka_topic_destroy(local);
    }
    if (failed == RD_KAFKA_RESP_ERR_NO_ERROR && metadata != NULL) {
        const struct rd_kafka_metadata_topic *found = &metadata->topics[0];
        failed = metadata->topic_cnt == 1 ? found->err : RD_KAFKA_RESP_ERR_UNKNOWN;
        topic->exists = failed == RD_KAFKA_RESP_ERR_NO_ERROR && found->partition_cnt > 0;
        topic->partitions = topic->exists ? found->partition_cnt : 0;
        topic->replicas = topic->exists ? found->partitions[0].replica_cnt : 0;
        for (int i = 1; topic->exists && i < found->partition_cnt; i++) {
            int replicas = found->partitions[i].replica_cnt;
            topic->replicas = replicas < topic->replicas ? replicas : topic->replicas;
        }
        rd_kafka_metadata_destroy(metadata);
    }
    if (failed == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
        failed == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) {
        failed = RD_KAFKA_RESP_ERR_NO_ERROR; /* not there */
    }
    *error = failed == RD_KAFKA_RESP_ERR_NO_ERROR
                 ? NULL
                 : mem_printf("topic %s: %s", topic->name, rd_kafka_err2str(failed));
    return failed == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Only those that the table has a row for. */
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

static bool take_resource(struct topic *topic, rd_kafka_event_t *event, char **error)
{
    size_t count;
    const rd_kafka_ConfigResource_t **resources = rd_kafka_DescribeConfigs_result_resources(
        rd_kafka_event_DescribeConfigs_result(event), &count);
    rd_kafka_resp_err_t failed =
        count == 1 ? rd_kafka_ConfigResource_error(resources[0]) : RD_KAFKA_RESP_ERR_UNKNOWN;
    if (failed == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
        topic->exists = false; /* this broker has not heard of it yet */
        return true;
    }
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR) {
        *error = mem_printf("the settings of topic %s cannot be read: %s", topic->name,
                            rd_kafka_err2str(failed));
        return false;
    }
    take_values(topic, resources[0]);
    return true;
}

static bool ask_settings(struct ctl_kafka *kafka, struct topic *topic, char **error)
{
    rd_kafka_t *handle = ctl_kafka_handle(kafka);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic->name);
    rd_kafka_DescribeConfigs(handle, &resource, 1, NULL, queue);
    rd_kafka_event_t *event = await(kafka, queue, error);
    bool well = event != NULL && take_resource(topic, event, error);
    if (event != NULL) {
        rd_kafka_event_destroy(event);
    }
    rd_kafka_ConfigResource_destroy(resource);
    rd_kafka_queue_destroy(queue);
    return well;
}

bool topic_describe(struct ctl_kafka *kafka, struct topic *topic, char **error)
{
    return ask_metadata(kafka, topic, error) &&
           (!topic->exists || ask_settings(kafka, topic, error));
}

static rd_kafka_NewTopic_t *new_topic(const struct topic *topic, const struct topic_wish *wish,
                                      char **error)
{
    char reason[512];
    rd_kafka_NewTopic_t *made = rd_kafka_NewTopic_new(topic->name, (int)wish->partitions,
                                                      (int)wish->replicas, reason, sizeof reason);
    if (made == NULL) {
        *error = mem_printf("topic %s: %s", topic->name, reason);
        return NULL;
    }
    const struct topic_setting *setting;
    for (size_t i = 0; (setting = topic_setting(topic->role, i)) != NULL; i++) {
        AUTO_BUF struct buf value = {0};
        topic_best(setting, topic, wish, &value);
        (void)rd_kafka_NewTopic_set_config(made, setting->name, value.data);
    }
    return made;
}

static bool take_created(struct topic *topic, rd_kafka_event_t *event, char **error)
{
    size_t count;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    rd_kafka_resp_err_t failed =
        count == 1 ? rd_kafka_topic_result_error(results[0]) : RD_KAFKA_RESP_ERR_UNKNOWN;
    topic->created = failed == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (topic->created || failed == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
        return true;
    }
    const char *more = count == 1 ? rd_kafka_topic_result_error_string(results[0]) : NULL;
    *error = mem_printf("topic %s cannot be created: %s", topic->name,
                        more != NULL ? more : rd_kafka_err2str(failed));
    return false;
}

bool topic_create(struct ctl_kafka *kafka, struct topic *topic, const struct topic_wish *wish,
                  char **error)
{
    rd_kafka_NewTopic_t *made = new_topic(topic, wish, error);
    if (made == NULL) {
        return false;
    }
    rd_kafka_t *handle = ctl_kafka_handle(kafka);
    char ignored[64];
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(handle, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    /* Until every broker has heard of it, so that what is asked next finds it. */
    (void)rd_kafka_AdminOptions_set_operation_timeout(options, ctl_kafka_timeout(kafka) / 2,
                                                      ignored, sizeof ignored);
    rd_kafka_CreateTopics(handle, &made, 1, options, queue);
    rd_kafka_event_t *event = await(kafka, queue, error);
    bool well = event != NULL && take_created(topic, event, error);
    if (event != NULL) {
        rd_kafka_event_destroy(event);
    }
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_NewTopic_destroy(made);
    rd_kafka_queue_destroy(queue);
    return well;
}

void topic_deinit(struct topic *topic)
{
    for (size_t i = 0; i < topic->value_count; i++) {
        free(topic->values[i].value);
    }
}
