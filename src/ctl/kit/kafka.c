/* Readers use librdkafka's legacy consumer (rd_kafka_consume_start_queue()): it works without
 * group.id, and so needs no coordinator, no membership and no ACL on a group. All partitions feed
 * one queue.
 */
#include "ctl/kit/kafka.h"

#include "ctl/kit/command.h"
#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/kafka/client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TOPICS_MAX = 8,
    SLICE_MS = 100, /* of one blocking call */
    /* A topic that the broker creates automatically is unknown for a moment. */
    UNKNOWN_MAX_MS = 2000,
    DOWN_ASK_MS = 1000,
    DOWN_ANSWER_MS = 500,
};

struct followed {
    rd_kafka_topic_t *topic;
    int partitions; /* from 0 on that are being read */
    int64_t *read;  /* by partition: the records below it were read */
    int64_t *stop;  /* by partition: where to stop; NULL: never */
};

struct ctl_kafka {
    rd_kafka_t *handle;
    rd_kafka_queue_t *queue; /* a reader's */
    int64_t timeout_ms;
    struct followed followed[TOPICS_MAX];
    size_t followed_count;
    rd_kafka_topic_t *scanned; /* a scanner's; NULL: nothing */
    int32_t scanned_partition;
    struct last_error last_error;
    bool down;        /* no broker is connected */
    int64_t asked_ms; /* mono: when one was asked whether that is still so */
};

static void on_error(rd_kafka_t *, int error, const char *reason, void *opaque)
{
    struct ctl_kafka *kafka = opaque;
    kafka->down = kafka->down || error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN;
    /* "All brokers are down" comes last and says less than the errors before it. */
    if (error != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || kafka->last_error.text[0] == '\0') {
        last_error_set(&kafka->last_error, "%s", reason);
    }
}

/* Called by rd_kafka_poll(), on our thread, once for each queued record. */
static void on_delivery(rd_kafka_t *, const rd_kafka_message_t *message, void *)
{
    struct ctl_delivery *delivery = message->_private;
    delivery->done = true;
    delivery->error = message->err;
    delivery->maybe_written =
        rd_kafka_message_status(message) == RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED;
    delivery->partition = message->partition;
    delivery->offset = message->offset;
}

/* without_keys leaves an @NAME unresolved when no credentials directory has it. */
static char *check_credentials(const struct kafka_property *properties, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (properties[i].value[0] == '@') {
            return mem_printf("kafka.%s is a credential: set $CREDENTIALS_DIRECTORY to its "
                              "directory, or give the value with --set",
                              properties[i].name);
        }
    }
    return NULL;
}

struct ctl_kafka *ctl_kafka_new(enum ctl_kafka_use use, const struct kafka_property *properties,
                                size_t count, int64_t timeout_ms, char **error)
{
    bool reads = use != CTL_KAFKA_SENDER;
    *error = check_credentials(properties, count);
    if (*error != NULL) {
        return NULL;
    }
    rd_kafka_conf_t *conf =
        kafka_properties_plain(reads ? KAFKA_CONSUMER : KAFKA_PRODUCER, properties, count, error);
    if (conf == NULL) {
        return NULL;
    }
    char text[24];
    (void)snprintf(text, sizeof text, "%lld", (long long)timeout_ms);
    if (!reads) {
        (void)rd_kafka_conf_set(conf, "message.timeout.ms", text, NULL, 0);
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    } else {
        (void)rd_kafka_conf_set(conf, "enable.partition.eof", "true", NULL, 0);
    }
    if (use == CTL_KAFKA_SCANNER) {
        (void)rd_kafka_conf_set(conf, "auto.offset.reset", "error", NULL, 0);
        /* Otherwise the broker waits for more records at a partition's end. */
        (void)rd_kafka_conf_set(conf, "fetch.wait.max.ms", "5", NULL, 0);
    }
    rd_kafka_conf_set_error_cb(conf, on_error);
    /* Connection errors are reported once, by the call that fails. */
    log_level_set(LOG_WARNING);
    struct ctl_kafka *kafka = mem_zalloc(1, sizeof *kafka);
    kafka->timeout_ms = timeout_ms;
    kafka->handle = client_new(reads ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER, conf, kafka, error);
    if (kafka->handle == NULL) {
        free(kafka);
        return NULL;
    }
    kafka->queue = reads ? rd_kafka_queue_new(kafka->handle) : NULL;
    return kafka;
}

struct ctl_kafka *ctl_kafka_open(enum ctl_kafka_use use, const struct setup *setup,
                                 int64_t timeout_ms)
{
    AUTO_FREE char *error = NULL;
    struct ctl_kafka *kafka =
        ctl_kafka_new(use, setup->properties, setup->property_count, timeout_ms, &error);
    if (kafka == NULL) {
        command_fail(EX_CONFIG, "%s", error);
    }
    return kafka;
}

void ctl_kafka_free_at(struct ctl_kafka **kafka)
{
    ctl_kafka_free(*kafka);
}

static void scan_stop(struct ctl_kafka *kafka)
{
    if (kafka->scanned != NULL) {
        (void)rd_kafka_consume_stop(kafka->scanned, kafka->scanned_partition);
        rd_kafka_topic_destroy(kafka->scanned);
        kafka->scanned = NULL;
    }
}

struct ctl_kafka *ctl_kafka_free(struct ctl_kafka *kafka)
{
    if (kafka == NULL) {
        return NULL;
    }
    scan_stop(kafka);
    for (size_t i = 0; i < kafka->followed_count; i++) {
        struct followed *followed = &kafka->followed[i];
        for (int partition = 0; partition < followed->partitions; partition++) {
            (void)rd_kafka_consume_stop(followed->topic, partition);
        }
        rd_kafka_topic_destroy(followed->topic);
        free(followed->read);
        free(followed->stop);
    }
    if (kafka->queue != NULL) {
        rd_kafka_queue_destroy(kafka->queue);
    } else {
        (void)rd_kafka_purge(kafka->handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    }
    rd_kafka_destroy(kafka->handle);
    free(kafka);
    return NULL;
}

rd_kafka_t *ctl_kafka_handle(struct ctl_kafka *kafka)
{
    return kafka->handle;
}

int ctl_kafka_timeout(const struct ctl_kafka *kafka)
{
    return (int)kafka->timeout_ms;
}

char *ctl_kafka_property(const struct setup *setup, const char *name)
{
    AUTO_FREE char *error = NULL;
    rd_kafka_conf_t *conf = kafka_properties_apply(KAFKA_CONSUMER, "presignctl", setup->properties,
                                                   setup->property_count, &error);
    char *value = conf == NULL ? NULL : client_property(conf, name);
    if (conf != NULL) {
        rd_kafka_conf_destroy(conf);
    }
    return value;
}

char *ctl_kafka_explain(const struct ctl_kafka *kafka, const char *text)
{
    return kafka->last_error.text[0] == '\0' ? mem_strdup(text)
                                             : mem_printf("%s: %s", text, kafka->last_error.text);
}

/* Without any broker the error is "Local: Broker transport failure"; the last error says more. */
static char *metadata_reason(const struct ctl_kafka *kafka, rd_kafka_resp_err_t error)
{
    if (error != RD_KAFKA_RESP_ERR__TRANSPORT && error != RD_KAFKA_RESP_ERR__TIMED_OUT) {
        return mem_strdup(rd_kafka_err2str(error));
    }
    AUTO_FREE char *text =
        mem_printf("no broker has answered within %lld ms", (long long)kafka->timeout_ms);
    return ctl_kafka_explain(kafka, text);
}

/* One request; 0 when the topic does not exist (yet). */
static int ask_partitions(struct ctl_kafka *kafka, rd_kafka_topic_t *topic, int timeout_ms,
                          char **error)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t failed = rd_kafka_metadata(kafka->handle, 0, topic, &metadata, timeout_ms);
    (void)rd_kafka_poll(kafka->handle, 0); /* for on_error() */
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR) {
        *error = metadata_reason(kafka, failed);
        return -1;
    }
    failed = metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN;
    int partitions = failed == RD_KAFKA_RESP_ERR_NO_ERROR ? metadata->topics[0].partition_cnt : 0;
    rd_kafka_metadata_destroy(metadata);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR && failed != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART &&
        failed != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) {
        *error = mem_printf("topic %s: %s", rd_kafka_topic_name(topic), rd_kafka_err2str(failed));
        return -1;
    }
    return partitions;
}

static int await_partitions(struct ctl_kafka *kafka, rd_kafka_topic_t *topic, char **error)
{
    int64_t start_ms = clock_mono_ms();
    for (;;) {
        int64_t passed_ms = clock_mono_ms() - start_ms;
        int64_t left_ms = kafka->timeout_ms - passed_ms;
        int partitions =
            ask_partitions(kafka, topic, left_ms < SLICE_MS ? SLICE_MS : (int)left_ms, error);
        if (partitions != 0) {
            return partitions;
        }
        if (passed_ms >= UNKNOWN_MAX_MS || left_ms <= 0) {
            *error = mem_printf("topic %s does not exist", rd_kafka_topic_name(topic));
            return -1;
        }
        (void)rd_kafka_poll(kafka->handle, SLICE_MS);
    }
}

int ctl_kafka_partitions(struct ctl_kafka *kafka, const char *topic, char **error)
{
    rd_kafka_topic_t *handle = rd_kafka_topic_new(kafka->handle, topic, NULL);
    if (handle == NULL) {
        *error = mem_printf("topic %s: %s", topic, rd_kafka_err2str(rd_kafka_last_error()));
        return -1;
    }
    int partitions = await_partitions(kafka, handle, error);
    rd_kafka_topic_destroy(handle);
    return partitions;
}

rd_kafka_event_t *ctl_kafka_await_event(struct ctl_kafka *kafka, rd_kafka_queue_t *queue,
                                        char **error)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ctl_kafka_timeout(kafka));
    if (event != NULL && rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        return event;
    }
    *error = ctl_kafka_explain(kafka, event == NULL ? "no answer in time"
                                                    : rd_kafka_event_error_string(event));
    if (event != NULL) {
        rd_kafka_event_destroy(event);
    }
    return NULL;
}

/* --- Sending --- */

static rd_kafka_resp_err_t produce(struct ctl_kafka *kafka, const char *topic,
                                   const struct record *record, struct ctl_delivery *delivery)
{
    rd_kafka_headers_t *headers = client_headers(record->headers, record->header_count);
    rd_kafka_resp_err_t error = rd_kafka_producev(
        kafka->handle, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_KEY(record->key, record->key_len),
        RD_KAFKA_V_VALUE((void *)record->value, record->value_len), RD_KAFKA_V_HEADERS(headers),
        RD_KAFKA_V_OPAQUE(delivery), RD_KAFKA_V_END);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) { /* otherwise librdkafka owns them */
        rd_kafka_headers_destroy(headers);
    }
    return error;
}

bool ctl_kafka_send(struct ctl_kafka *kafka, const char *topic, const struct record *record,
                    struct ctl_delivery *delivery, char **error)
{
    int64_t end_ms = clock_mono_ms() + kafka->timeout_ms;
    *delivery = (struct ctl_delivery){0};
    if (record->header_count > CTL_KAFKA_HEADERS_MAX) {
        delivery->error = RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
        *error = mem_printf("has more than %d headers", CTL_KAFKA_HEADERS_MAX);
        return false;
    }
    rd_kafka_resp_err_t failed;
    while ((failed = produce(kafka, topic, record, delivery)) == RD_KAFKA_RESP_ERR__QUEUE_FULL &&
           clock_mono_ms() < end_ms) {
        (void)rd_kafka_poll(kafka->handle, SLICE_MS);
    }
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR) {
        delivery->error = failed;
        *error = ctl_kafka_reason(kafka, delivery);
        return false;
    }
    (void)rd_kafka_poll(kafka->handle, 0);
    return true;
}

void ctl_kafka_await(struct ctl_kafka *kafka, const struct ctl_delivery *delivery)
{
    while (!delivery->done) { /* message.timeout.ms bounds it */
        (void)rd_kafka_poll(kafka->handle, SLICE_MS);
    }
}

char *ctl_kafka_reason(const struct ctl_kafka *kafka, const struct ctl_delivery *delivery)
{
    if (delivery->error != RD_KAFKA_RESP_ERR__MSG_TIMED_OUT) {
        return mem_strdup(rd_kafka_err2str(delivery->error));
    }
    AUTO_FREE char *text = mem_printf(
        "not acknowledged within %lld ms, %s", (long long)kafka->timeout_ms,
        delivery->maybe_written ? "the topic may have it or not" : "the topic does not have it");
    return ctl_kafka_explain(kafka, text);
}

/* --- Reading --- */

static rd_kafka_topic_partition_list_t *all_partitions(const char *topic, int partitions)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    rd_kafka_topic_partition_list_add_range(list, topic, 0, partitions - 1);
    return list;
}

/* Turns wall clocks into offsets. */
static bool ask_offsets(struct ctl_kafka *kafka, const char *topic,
                        rd_kafka_topic_partition_list_t *list, char **error)
{
    rd_kafka_resp_err_t failed =
        rd_kafka_offsets_for_times(kafka->handle, list, ctl_kafka_timeout(kafka));
    for (int i = 0; failed == RD_KAFKA_RESP_ERR_NO_ERROR && i < list->cnt; i++) {
        failed = list->elems[i].err;
    }
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR) {
        AUTO_FREE char *text = metadata_reason(kafka, failed);
        *error = mem_printf("topic %s, offsets by time: %s", topic, text);
    }
    return failed == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* By partition, the offset of the first record at the wall clock or later; RD_KAFKA_OFFSET_END:
 * none (rd_kafka_topic_partition_list_destroy()). NULL and an error. */
static rd_kafka_topic_partition_list_t *offsets_at(struct ctl_kafka *kafka, const char *topic,
                                                   int partitions, int64_t at_ms, char **error)
{
    rd_kafka_topic_partition_list_t *list = all_partitions(topic, partitions);
    for (int i = 0; i < list->cnt; i++) {
        list->elems[i].offset = at_ms;
    }
    if (!ask_offsets(kafka, topic, list, error)) {
        rd_kafka_topic_partition_list_destroy(list);
        return NULL;
    }
    return list;
}

/* The end of each partition (rd_kafka_topic_partition_list_destroy()); NULL and an error. As a
 * number: librdkafka looks RD_KAFKA_OFFSET_END up after the start of reading, and would leave out
 * records that came in between. */
static rd_kafka_topic_partition_list_t *ends_now(struct ctl_kafka *kafka, const char *topic,
                                                 int partitions, char **error)
{
    rd_kafka_topic_partition_list_t *list = all_partitions(topic, partitions);
    for (int i = 0; i < list->cnt; i++) {
        int64_t low;
        if (!ctl_kafka_ends(kafka, topic, i, &low, &list->elems[i].offset, error)) {
            rd_kafka_topic_partition_list_destroy(list);
            return NULL;
        }
    }
    return list;
}

/* The ends are looked up before the offsets by time: a record in between is read. */
static rd_kafka_topic_partition_list_t *offsets_since(struct ctl_kafka *kafka, const char *topic,
                                                      int partitions, int64_t from_ms, char **error)
{
    AUTO_KAFKA_LIST rd_kafka_topic_partition_list_t *ends =
        ends_now(kafka, topic, partitions, error);
    rd_kafka_topic_partition_list_t *from =
        ends == NULL ? NULL : offsets_at(kafka, topic, partitions, from_ms, error);
    for (int i = 0; from != NULL && i < from->cnt; i++) {
        if (from->elems[i].offset < 0) { /* no record at that time or later */
            from->elems[i].offset = ends->elems[i].offset;
        }
    }
    return from;
}

static rd_kafka_topic_partition_list_t *start_offsets(struct ctl_kafka *kafka, const char *topic,
                                                      int partitions, int64_t from_ms, char **error)
{
    if (from_ms == CTL_KAFKA_END) {
        return ends_now(kafka, topic, partitions, error);
    }
    if (from_ms != CTL_KAFKA_BEGINNING) {
        return offsets_since(kafka, topic, partitions, from_ms < 0 ? 0 : from_ms, error);
    }
    rd_kafka_topic_partition_list_t *list = all_partitions(topic, partitions);
    for (int i = 0; i < list->cnt; i++) {
        list->elems[i].offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    return list;
}

static bool follow_all(struct ctl_kafka *kafka, struct followed *followed,
                       const rd_kafka_topic_partition_list_t *from, char **error)
{
    for (int32_t partition = 0; partition < from->cnt; partition++) {
        if (rd_kafka_consume_start_queue(followed->topic, partition, from->elems[partition].offset,
                                         kafka->queue) != 0) {
            *error = mem_printf("topic %s, partition %d: %s", rd_kafka_topic_name(followed->topic),
                                (int)partition, rd_kafka_err2str(rd_kafka_last_error()));
            return false;
        }
        followed->partitions = partition + 1;
    }
    return true;
}

int ctl_kafka_follow(struct ctl_kafka *kafka, const char *topic, int64_t from_ms, char **error)
{
    if (kafka->followed_count == TOPICS_MAX) {
        *error = mem_printf("more than %d topics", TOPICS_MAX);
        return -1;
    }
    int partitions = ctl_kafka_partitions(kafka, topic, error);
    AUTO_KAFKA_LIST rd_kafka_topic_partition_list_t *from =
        partitions < 0 ? NULL : start_offsets(kafka, topic, partitions, from_ms, error);
    if (from == NULL) {
        return -1;
    }
    struct followed *followed = &kafka->followed[kafka->followed_count++];
    followed->topic = rd_kafka_topic_new(kafka->handle, topic, NULL);
    followed->read = mem_zalloc((size_t)partitions, sizeof *followed->read);
    return follow_all(kafka, followed, from, error) ? partitions : -1;
}

static bool stop_topic_at(struct ctl_kafka *kafka, struct followed *followed, int64_t until_ms,
                          char **error)
{
    const char *topic = rd_kafka_topic_name(followed->topic);
    AUTO_KAFKA_LIST rd_kafka_topic_partition_list_t *until =
        until_ms == CTL_KAFKA_END ? all_partitions(topic, followed->partitions)
                                  : offsets_at(kafka, topic, followed->partitions, until_ms, error);
    int64_t *stop = mem_zalloc((size_t)followed->partitions, sizeof *stop);
    bool known = until != NULL;
    for (int32_t i = 0; known && i < followed->partitions; i++) {
        int64_t low, at = until->elems[i].offset;
        known = ctl_kafka_ends(kafka, topic, i, &low, &stop[i], error);
        stop[i] = known && at >= 0 && at < stop[i] ? at : stop[i];
    }
    if (!known) {
        free(stop);
        return false;
    }
    followed->stop = stop;
    return true;
}

bool ctl_kafka_stop_at(struct ctl_kafka *kafka, int64_t until_ms, char **error)
{
    for (size_t i = 0; i < kafka->followed_count; i++) {
        if (!stop_topic_at(kafka, &kafka->followed[i], until_ms, error)) {
            return false;
        }
    }
    return true;
}

bool ctl_kafka_stopped(const struct ctl_kafka *kafka)
{
    for (size_t i = 0; i < kafka->followed_count; i++) {
        const struct followed *followed = &kafka->followed[i];
        for (int partition = 0; partition < followed->partitions; partition++) {
            if (followed->stop == NULL || followed->read[partition] < followed->stop[partition]) {
                return false;
            }
        }
    }
    return true;
}

/* Whether it is a record before the stop. A partition's end has the offset of the next record. */
static bool note_read(struct ctl_kafka *kafka, const rd_kafka_message_t *message)
{
    const char *topic = rd_kafka_topic_name(message->rkt);
    struct followed *followed = kafka->followed;
    while (strcmp(rd_kafka_topic_name(followed->topic), topic) != 0) {
        followed++;
    }
    bool record = message->err == RD_KAFKA_RESP_ERR_NO_ERROR;
    followed->read[message->partition] = message->offset + record;
    kafka->down = false;
    return record &&
           (followed->stop == NULL || message->offset < followed->stop[message->partition]);
}

rd_kafka_message_t *ctl_kafka_next(struct ctl_kafka *kafka, int timeout_ms)
{
    (void)rd_kafka_poll(kafka->handle, 0);
    rd_kafka_message_t *message = rd_kafka_consume_queue(kafka->queue, timeout_ms);
    if (message == NULL) {
        return NULL;
    }
    bool taken = false;
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF ||
        message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        taken = note_read(kafka, message);
    } else {
        last_error_set(&kafka->last_error, "%s", rd_kafka_message_errstr(message));
    }
    if (!taken) {
        rd_kafka_message_destroy(message);
        return NULL;
    }
    return message;
}

/* librdkafka reports when all brokers are down, but not when one is back. */
bool ctl_kafka_is_down(struct ctl_kafka *kafka)
{
    int64_t now_ms = clock_mono_ms();
    (void)rd_kafka_poll(kafka->handle, 0);
    if (kafka->down && now_ms - kafka->asked_ms >= DOWN_ASK_MS) {
        const struct rd_kafka_metadata *metadata = NULL;
        kafka->down = rd_kafka_metadata(kafka->handle, 0, NULL, &metadata, DOWN_ANSWER_MS) !=
                      RD_KAFKA_RESP_ERR_NO_ERROR;
        kafka->asked_ms = clock_mono_ms();
        if (metadata != NULL) {
            rd_kafka_metadata_destroy(metadata);
        }
    }
    return kafka->down;
}

/* --- Scanning --- */

bool ctl_kafka_ends(struct ctl_kafka *kafka, const char *topic, int32_t partition, int64_t *low,
                    int64_t *high, char **error)
{
    rd_kafka_resp_err_t failed = rd_kafka_query_watermark_offsets(
        kafka->handle, topic, partition, low, high, ctl_kafka_timeout(kafka));
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR) {
        AUTO_FREE char *text = metadata_reason(kafka, failed);
        *error = mem_printf("topic %s, partition %d: %s", topic, (int)partition, text);
    }
    return failed == RD_KAFKA_RESP_ERR_NO_ERROR;
}

bool ctl_kafka_offset_at(struct ctl_kafka *kafka, const char *topic, int32_t partition,
                         int64_t at_ms, int64_t *offset, char **error)
{
    AUTO_KAFKA_LIST rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = at_ms < 0 ? 0 : at_ms;
    bool known = ask_offsets(kafka, topic, list, error);
    *offset = list->elems[0].offset;
    return known;
}

bool ctl_kafka_seek(struct ctl_kafka *kafka, const char *topic, int32_t partition, int64_t offset,
                    char **error)
{
    scan_stop(kafka);
    kafka->scanned = rd_kafka_topic_new(kafka->handle, topic, NULL);
    kafka->scanned_partition = partition;
    if (kafka->scanned == NULL || rd_kafka_consume_start(kafka->scanned, partition, offset) != 0) {
        *error = mem_printf("topic %s, partition %d: %s", topic, (int)partition,
                            rd_kafka_err2str(rd_kafka_last_error()));
        return false;
    }
    return true;
}

static enum ctl_read read_error(struct ctl_kafka *kafka, const rd_kafka_message_t *message,
                                char **error)
{
    switch (message->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        return CTL_READ_END;
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        return CTL_READ_GONE;
    default:
        *error = mem_printf("topic %s, partition %d: %s", rd_kafka_topic_name(kafka->scanned),
                            (int)kafka->scanned_partition, rd_kafka_message_errstr(message));
        return CTL_READ_FAILED;
    }
}

enum ctl_read ctl_kafka_read(struct ctl_kafka *kafka, rd_kafka_message_t **message, char **error)
{
    int64_t end_ms = clock_mono_ms() + kafka->timeout_ms;
    do {
        (void)rd_kafka_poll(kafka->handle, 0);
        *message = rd_kafka_consume(kafka->scanned, kafka->scanned_partition, SLICE_MS);
        if (*message != NULL && (*message)->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            return CTL_READ_RECORD;
        }
        if (*message != NULL) {
            enum ctl_read read = read_error(kafka, *message, error);
            rd_kafka_message_destroy(*message);
            *message = NULL;
            return read;
        }
    } while (clock_mono_ms() < end_ms);
    AUTO_FREE char *text = mem_printf("topic %s, partition %d: no record came within %lld ms",
                                      rd_kafka_topic_name(kafka->scanned),
                                      (int)kafka->scanned_partition, (long long)kafka->timeout_ms);
    *error = ctl_kafka_explain(kafka, text);
    return CTL_READ_FAILED;
}

/* --- Names of records --- */

char *ctl_record_id(const char *topic, int32_t partition, int64_t offset)
{
    return mem_printf("%s/%" PRId32 "/%" PRId64, topic, partition, offset);
}

char *ctl_message_id(const rd_kafka_message_t *message)
{
    return ctl_record_id(rd_kafka_topic_name(message->rkt), message->partition, message->offset);
}

struct record_header *ctl_message_headers(const rd_kafka_message_t *message, size_t *count)
{
    rd_kafka_headers_t *list = NULL;
    size_t cap = rd_kafka_message_headers(message, &list) == RD_KAFKA_RESP_ERR_NO_ERROR
                     ? rd_kafka_header_cnt(list)
                     : 0;
    struct record_header *headers = mem_zalloc(cap + 1, sizeof *headers);
    *count = 0;
    while (*count < cap &&
           rd_kafka_header_get_all(list, *count, &headers[*count].name, &headers[*count].value,
                                   &headers[*count].value_len) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        (*count)++;
    }
    return headers;
}
