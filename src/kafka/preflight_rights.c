/* The rights to write outcomes, which no other check shows. The brokers list what this client's
 * user may do (KIP-430). librdkafka 2.3 and newer can ask for it; with an older one the rights are
 * unknown.
 */
#include "kafka/preflight_parts.h"

static void write_unknown(struct look *look, const char *topic, const char *why)
{
    look_right(look, PREFLIGHT_UNKNOWN, "Write", "--topic", topic, why);
}

#if RD_KAFKA_VERSION >= 0x020300ff

enum { REQUEST_MS = 2000 };

static void topic_rights(struct look *look, const rd_kafka_TopicDescription_t *description)
{
    size_t count = 0;
    const char *name = rd_kafka_TopicDescription_name(description);
    const rd_kafka_error_t *error = rd_kafka_TopicDescription_error(description);
    const rd_kafka_AclOperation_t *operations =
        rd_kafka_TopicDescription_authorized_operations(description, &count);
    bool may_write = false;
    for (size_t i = 0; i < count; i++) {
        may_write = may_write || operations[i] == RD_KAFKA_ACL_OPERATION_WRITE;
    }
    if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        write_unknown(look, name, rd_kafka_error_string(error));
    } else if (operations == NULL || count == 0) {
        write_unknown(look, name, "the broker does not list rights");
    } else {
        look_right(look, may_write ? PREFLIGHT_PASSED : PREFLIGHT_MISSING, "Write", "--topic", name,
                   may_write ? "granted" : "not granted");
    }
}

static void take_rights(struct look *look, rd_kafka_event_t *event)
{
    size_t count = 0;
    const rd_kafka_TopicDescription_t **topics =
        rd_kafka_DescribeTopics_result_topics(rd_kafka_event_DescribeTopics_result(event), &count);
    for (size_t i = 0; i < count; i++) {
        topic_rights(look, topics[i]);
    }
}

static rd_kafka_event_t *ask_rights(struct look *look, const char **names, size_t count)
{
    char ignored[64];
    AUTO_KAFKA_QUEUE rd_kafka_queue_t *queue = rd_kafka_queue_new(look->reader);
    rd_kafka_TopicCollection_t *topics = rd_kafka_TopicCollection_of_topic_names(names, count);
    AUTO_KAFKA_OPTIONS rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(look->reader, RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
    (void)rd_kafka_AdminOptions_set_request_timeout(options, REQUEST_MS, ignored, sizeof ignored);
    rd_kafka_error_destroy(rd_kafka_AdminOptions_set_include_authorized_operations(options, 1));
    rd_kafka_DescribeTopics(look->reader, topics, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, REQUEST_MS);
    rd_kafka_TopicCollection_destroy(topics);
    return event;
}

static void rights_ask(struct look *look, const char **names, size_t count)
{
    AUTO_KAFKA_EVENT rd_kafka_event_t *event = ask_rights(look, names, count);
    if (event != NULL && rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        take_rights(look, event);
    } else {
        for (size_t i = 0; i < count; i++) {
            write_unknown(look, names[i],
                          event == NULL ? "no answer" : rd_kafka_event_error_string(event));
        }
    }
}

#else

static void rights_ask(struct look *look, const char **names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        write_unknown(look, names[i], "librdkafka before 2.3 cannot ask for it");
    }
}

#endif

void look_rights(struct look *look)
{
    const struct producer *producer = look->producer;
    const char *names[TRANSACTION_TOPICS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < producer->topic_count; i++) {
        const struct preflight_finding *topic =
            preflight_find(look->found, PREFLIGHT_TOPICS, producer->topic_names[i]);
        if (topic != NULL && topic->state == PREFLIGHT_PASSED) {
            names[count++] = producer->topic_names[i];
        }
    }
    if (count > 0) {
        rights_ask(look, names, count);
    }
}
