/* librdkafka's Admin API, one blocking request at a time. */
#include "ctl/topics/topics.h"

#include "presignd/base/mem.h"
#include "presignd/kafka/client.h"

#include <stdlib.h>
#include <string.h>

int topics_brokers(struct ctl_kafka *kafka, char **error)
{
    AUTO_FREE char *reason = NULL;
    int brokers = topic_brokers(ctl_kafka_handle(kafka), ctl_kafka_timeout(kafka), &reason);
    if (brokers < 0) {
        (void)rd_kafka_poll(ctl_kafka_handle(kafka), 0); /* for the client's last error */
        AUTO_FREE char *text =
            mem_printf("no broker has answered within %d ms", ctl_kafka_timeout(kafka));
        *error = ctl_kafka_explain(kafka, text);
    }
    return brokers;
}

bool topics_describe(struct ctl_kafka *kafka, struct topic *topic, char **error)
{
    AUTO_FREE char *reason = NULL;
    if (topic_describe(ctl_kafka_handle(kafka), ctl_kafka_timeout(kafka), topic, &reason) ==
        TOPIC_KNOWN) {
        return true;
    }
    *error = ctl_kafka_explain(kafka, reason);
    return false;
}

static rd_kafka_NewTopic_t *new_topic(const struct topic *topic,
                                      const struct topic_required *required, char **error)
{
    char reason[512];
    rd_kafka_NewTopic_t *made = rd_kafka_NewTopic_new(
        topic->name, (int)required->partitions, (int)required->replicas, reason, sizeof reason);
    if (made == NULL) {
        *error = mem_printf("topic %s: %s", topic->name, reason);
        return NULL;
    }
    const struct topic_setting *setting;
    for (size_t i = 0; (setting = topic_setting(topic->role, i)) != NULL; i++) {
        AUTO_BUF struct buf value = {0};
        topic_recommended(setting, topic, required, &value);
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

bool topic_create(struct ctl_kafka *kafka, struct topic *topic,
                  const struct topic_required *required, char **error)
{
    rd_kafka_NewTopic_t *made = new_topic(topic, required, error);
    if (made == NULL) {
        return false;
    }
    rd_kafka_t *handle = ctl_kafka_handle(kafka);
    char ignored[64];
    AUTO_KAFKA_QUEUE rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    AUTO_KAFKA_OPTIONS rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(handle, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    /* Wait until every broker knows the topic, so that the next request finds it. */
    (void)rd_kafka_AdminOptions_set_operation_timeout(options, ctl_kafka_timeout(kafka) / 2,
                                                      ignored, sizeof ignored);
    rd_kafka_CreateTopics(handle, &made, 1, options, queue);
    AUTO_KAFKA_EVENT rd_kafka_event_t *event = ctl_kafka_await_event(kafka, queue, error);
    rd_kafka_NewTopic_destroy(made);
    return event != NULL && take_created(topic, event, error);
}
