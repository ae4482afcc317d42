#include "ctl/redrive/redrive.h"

#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void read_event(struct failure *failure)
{
    const json_t *event = json_object_get(failure->data, "event");
    const json_t *partition = json_object_get(event, "partition");
    const json_t *offset = json_object_get(event, "offset");
    failure->event_topic = json_text(event, "topic");
    failure->event_partition = (int32_t)json_integer_value(partition);
    failure->event_offset = json_is_integer(partition) && json_is_integer(offset)
                                ? (int64_t)json_integer_value(offset)
                                : -1;
    (void)snprintf(failure->event_id, sizeof failure->event_id, "%s",
                   json_text(failure->outcome, "id"));
}

void failure_read(struct failure *failure, rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t kind;
    *failure = (struct failure){.message = message, .event_topic = "", .event_offset = -1};
    (void)snprintf(failure->id, sizeof failure->id, "%s/%" PRId32 "/%" PRId64,
                   rd_kafka_topic_name(message->rkt), message->partition, message->offset);
    failure->outcome = outcome_read(message->payload, message->len);
    failure->data = json_object_get(failure->outcome, "data");
    failure->reason = json_text(failure->data, "reason");
    failure->mchid = json_text(failure->data, "mchid");
    failure->code = json_text(failure->data, "out_contract_code");
    failure->retryable = json_is_true(json_object_get(failure->data, "retryable"));
    failure->time_ms = rd_kafka_message_timestamp(message, &kind);
    const char *time = json_text(failure->outcome, "time");
    (void)!text_rfc3339(time, strlen(time), &failure->time_ms);
    read_event(failure);
}

void failure_deinit(struct failure *failure)
{
    json_decref(failure->outcome);
    if (failure->message != NULL) {
        rd_kafka_message_destroy(failure->message);
    }
    *failure = (struct failure){0};
}

/* --- The event --- */

/* An outcome has its event's key. A different key means that the topic was recreated. */
static bool same_key(const rd_kafka_message_t *event, const rd_kafka_message_t *failure)
{
    if (event->key == NULL || failure->key == NULL) {
        return event->key == failure->key;
    }
    return event->key_len == failure->key_len &&
           memcmp(event->key, failure->key, event->key_len) == 0;
}

/* Reads the event from the configured requests topic. A failure that names another topic is not
 * trusted. */
static bool fetch(struct redriven *redriven, struct ctl_kafka *fetcher, const char *requests_topic,
                  bool *gone, char **error)
{
    const struct failure *failure = &redriven->failure;
    if (failure->event_offset < 0 || strcmp(failure->event_topic, requests_topic) != 0) {
        *gone = true;
        *error = mem_printf("it does not contain the whole event, which was in topic %s",
                            *failure->event_topic == '\0' ? "(unknown)" : failure->event_topic);
        return false;
    }
    int partitions = ctl_kafka_partitions(fetcher, requests_topic, error);
    enum ctl_read read = CTL_READ_FAILED;
    if (partitions < 0) {
        return false;
    }
    if (failure->event_partition < 0 || failure->event_partition >= partitions) {
        read = CTL_READ_GONE; /* the topic had more partitions before */
    } else if (ctl_kafka_seek(fetcher, requests_topic, failure->event_partition,
                              failure->event_offset, error)) {
        read = ctl_kafka_read(fetcher, &redriven->fetched, error);
    }
    if (read == CTL_READ_FAILED) {
        return false;
    }
    bool there = read == CTL_READ_RECORD && redriven->fetched->offset == failure->event_offset;
    if (there && same_key(redriven->fetched, failure->message)) {
        return true;
    }
    *gone = true;
    *error = mem_printf("it does not contain the whole event, and the requests topic has %s",
                        there ? "another event at its offset" : "no record at its offset");
    return false;
}

/* Sets the headers: the event's, without those of an earlier run, then presignredrive's. */
static void set_headers(struct redriven *redriven, const struct record_header *headers,
                        size_t count)
{
    size_t kept = 0;
    redriven->headers = mem_zalloc(count + 2, sizeof *redriven->headers);
    for (size_t i = 0; i < count; i++) {
        AUTO_FREE char *value = mem_dup(headers[i].value == NULL ? "" : headers[i].value,
                                        headers[i].value == NULL ? 0 : headers[i].value_len);
        if (strcmp(headers[i].name, REDRIVE_HEADER_COUNT) == 0) {
            (void)!text_int(value, 0, INT32_MAX, &redriven->count);
        } else if (strcmp(headers[i].name, REDRIVE_HEADER) != 0) {
            redriven->headers[kept++] = headers[i];
        }
    }
    redriven->count++;
    (void)snprintf(redriven->count_text, sizeof redriven->count_text, "%" PRId64, redriven->count);
    redriven->headers[kept++] =
        (struct record_header){REDRIVE_HEADER, redriven->failure.id, strlen(redriven->failure.id)};
    redriven->headers[kept++] = (struct record_header){REDRIVE_HEADER_COUNT, redriven->count_text,
                                                       strlen(redriven->count_text)};
    redriven->record.headers = redriven->headers;
    redriven->record.header_count = kept;
}

bool redriven_make(struct redriven *redriven, struct failure *failure, struct ctl_kafka *fetcher,
                   const char *requests_topic, bool *gone, char **error)
{
    *redriven = (struct redriven){.failure = *failure};
    *failure = (struct failure){0};
    *gone = false;
    const json_t *original = json_object_get(redriven->failure.data, "original");
    AUTO_FREE char *incomplete = NULL;
    redriven->owned = outcome_original_read(original, &incomplete);
    if (redriven->owned != NULL) {
        redriven->record = redriven->owned->record;
        set_headers(redriven, redriven->record.headers, redriven->record.header_count);
    } else if (fetch(redriven, fetcher, requests_topic, gone, error)) {
        size_t count;
        AUTO_FREE struct record_header *headers = ctl_message_headers(redriven->fetched, &count);
        redriven->record.value = redriven->fetched->payload;
        redriven->record.value_len = redriven->fetched->len;
        set_headers(redriven, headers, count);
    } else {
        return false;
    }
    redriven->record.topic = requests_topic;
    redriven->record.key = redriven->failure.message->key;
    redriven->record.key_len = redriven->failure.message->key_len;
    return true;
}

void redriven_deinit(struct redriven *redriven)
{
    record_owned_free(redriven->owned);
    if (redriven->fetched != NULL) {
        rd_kafka_message_destroy(redriven->fetched);
    }
    free(redriven->headers);
    failure_deinit(&redriven->failure);
    *redriven = (struct redriven){0};
}
