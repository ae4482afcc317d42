#include "ctl/find/find.h"

#include "ctl/kit/kafka.h"
#include "ctl/kit/terminal.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/wechatpay/endpoint.h"
#include "presignd/wire/event.h"
#include "presignd/wire/outcome.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_WIDTH = 200 };

/* The members of an event, in the order in which they are shown. */
static const char *const members[] = {
    "event",
    "timestamp",
    "id",
    "source",
    "endpoint",
    "mchid",
    "out_contract_code",
    "state",
    "instance",
    "held_by",
    "until",
    "attempts",
    "next_attempt_at",
    "last",
    "outcomes",
};

void found_init(struct found *found, const char *code, const char *mchid)
{
    *found = (struct found){.code = code, .mchid = mchid, .events = json_object()};
}

void found_deinit(struct found *found)
{
    json_decref(found->events);
    *found = (struct found){0};
}

size_t found_count(const struct found *found)
{
    return json_object_size(found->events);
}

/* The event's object, new if needed; NULL: there are too many. Borrowed. */
static json_t *event_of(struct found *found, const char *id)
{
    json_t *event = json_object_get(found->events, id);
    if (event == NULL && found_count(found) >= FOUND_MAX) {
        found->left_out++;
        return NULL;
    }
    if (event == NULL) {
        event = json_object();
        (void)json_object_set_new(event, "event", json_string(id));
        (void)json_object_set_new(event, "out_contract_code", json_string(found->code));
        (void)json_object_set_new(found->events, id, event);
    }
    return event;
}

static void set_text(json_t *event, const char *name, const char *text)
{
    if (text_is_given(text)) {
        (void)json_object_set_new(event, name, json_string(text));
    }
}

static void set_timestamp(json_t *event, const rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t kind;
    char time[TEXT_TIME_SIZE];
    int64_t wall_ms = rd_kafka_message_timestamp(message, &kind);
    if (wall_ms >= 0) {
        text_time(time, wall_ms, true);
        set_text(event, "timestamp", time);
    }
}

/* --- Requests --- */

static void take_event(struct found *found, const rd_kafka_message_t *message,
                       const struct event *decoded)
{
    const char *code = json_text(decoded->data, "out_contract_code");
    if (strcmp(code, found->code) != 0) {
        return;
    }
    AUTO_FREE char *id = ctl_message_id(message);
    const struct endpoint *endpoint =
        decoded->type == NULL ? NULL : endpoint_of_type(decoded->type);
    json_t *event = event_of(found, id);
    if (event != NULL) {
        set_timestamp(event, message);
        set_text(event, "id", decoded->id);
        set_text(event, "source", decoded->source);
        set_text(event, "endpoint", endpoint == NULL ? NULL : endpoint->name);
        set_text(event, "mchid", decoded->mchid);
    }
}

void found_take_request(struct found *found, const rd_kafka_message_t *message)
{
    struct record record = {
        .topic = "", .timestamp_ms = -1, .value = message->payload, .value_len = message->len};
    /* Almost every record is of another contract. The code needs no escape in JSON. */
    if (message->payload == NULL ||
        memmem(message->payload, message->len, found->code, strlen(found->code)) == NULL) {
        return;
    }
    AUTO_FREE struct record_header *headers = ctl_message_headers(message, &record.header_count);
    record.headers = headers;
    struct event decoded = {0};
    struct violations errors = {0};
    const char *why = NULL;
    (void)!event_decode(&record, SIZE_MAX, &decoded, &errors, &why);
    take_event(found, message, &decoded);
    event_deinit(&decoded);
    violations_deinit(&errors);
}

/* --- Outcomes --- */

static json_t *outcome_row(const rd_kafka_message_t *message, const json_t *outcome)
{
    const json_t *data = json_object_get(outcome, "data");
    json_t *row =
        json_pack("{s:s, s:i, s:I}", "topic", rd_kafka_topic_name(message->rkt), "partition",
                  (int)message->partition, "offset", (json_int_t)message->offset);
    set_text(row, "type", json_text(outcome, "type"));
    set_text(row, "time", json_text(outcome, "time"));
    set_text(row, "issued_at", json_text(data, "issued_at"));
    set_text(row, "expires_at", json_text(data, "expires_at"));
    set_text(row, "reason", json_text(data, "reason"));
    return row;
}

static void add_outcome(json_t *event, json_t *row)
{
    json_t *outcomes = json_object_get(event, "outcomes");
    if (outcomes == NULL) {
        outcomes = json_array();
        (void)json_object_set_new(event, "outcomes", outcomes);
    }
    (void)json_array_append_new(outcomes, row);
}

/* The request may be older than what was read, or gone. */
static void fill_from_outcome(json_t *event, const json_t *data)
{
    const json_t *request = json_object_get(data, "event");
    if (json_object_get(event, "timestamp") == NULL) {
        set_text(event, "timestamp", json_text(request, "timestamp"));
        set_text(event, "id", json_text(request, "id"));
        set_text(event, "source", json_text(request, "source"));
    }
    set_text(event, "endpoint", json_text(data, "endpoint"));
    set_text(event, "mchid", json_text(data, "mchid"));
    if (json_object_get(data, "attempts") != NULL) {
        (void)json_object_set(event, "attempts", json_object_get(data, "attempts"));
    }
}

void found_take_outcome(struct found *found, const rd_kafka_message_t *message)
{
    if (message->payload == NULL ||
        memmem(message->payload, message->len, found->code, strlen(found->code)) == NULL) {
        return;
    }
    AUTO_JSON json_t *outcome = outcome_read(message->payload, message->len);
    const json_t *data = json_object_get(outcome, "data");
    const char *id = json_text(outcome, "id");
    bool ours = *id != '\0' && strcmp(json_text(data, "out_contract_code"), found->code) == 0;
    json_t *event = ours ? event_of(found, id) : NULL;
    if (event != NULL) {
        fill_from_outcome(event, data);
        add_outcome(event, outcome_row(message, outcome));
    }
}

/* --- Daemons --- */

void found_take_daemon(struct found *found, const json_t *events)
{
    size_t i;
    json_t *known;
    json_array_foreach (events, i, known) {
        const char *id = json_text(known, "event");
        json_t *event = *id == '\0' ? NULL : event_of(found, id);
        if (event != NULL) {
            (void)json_object_update(event, known);
        }
    }
}

/* --- The end --- */

bool found_all_known(const struct found *found)
{
    const char *id;
    json_t *event;
    json_object_foreach (found->events, id, event) {
        if (json_object_get(event, "outcomes") == NULL && *json_text(event, "state") == '\0') {
            return false;
        }
    }
    return found_count(found) > 0;
}

static const char *state_of(const json_t *event)
{
    const json_t *outcomes = json_object_get(event, "outcomes");
    const char *state = json_text(event, "state");
    for (size_t i = 0; i < json_array_size(outcomes); i++) {
        if (*json_text(json_array_get(outcomes, i), "reason") == '\0') {
            return "succeeded";
        }
    }
    if (json_array_size(outcomes) > 0) {
        return "failed";
    }
    return *state == '\0' ? "unread" : state;
}

/* What a daemon said of an event that has an outcome is over. */
static void finish(json_t *event)
{
    static const char *const passing[] = {"held_by", "until", "next_attempt_at"};
    (void)json_object_set_new(event, "state", json_string(state_of(event)));
    for (size_t i = 0; json_object_get(event, "outcomes") != NULL && i < ARRAY_LENGTH(passing);
         i++) {
        (void)json_object_del(event, passing[i]);
    }
}

/* A request need not name its merchant; its outcome and the daemon do. */
static bool is_of(const json_t *event, const char *mchid)
{
    const char *known = json_text(event, "mchid");
    return mchid == NULL || *known == '\0' || strcmp(known, mchid) == 0;
}

void found_finish(struct found *found)
{
    const char *id;
    void *next;
    json_t *event;
    json_object_foreach_safe(found->events, next, id, event)
    {
        finish(event);
        if (!is_of(event, found->mchid)) {
            (void)json_object_del(found->events, id);
        }
    }
}

void found_json(const struct found *found, struct buf *out)
{
    const char *id;
    json_t *event;
    json_object_foreach (found->events, id, event) {
        AUTO_JSON json_t *ordered = json_object();
        for (size_t i = 0; i < ARRAY_LENGTH(members); i++) {
            json_t *value = json_object_get(event, members[i]);
            if (value != NULL) {
                (void)json_object_set(ordered, members[i], value);
            }
        }
        AUTO_FREE char *text = json_dumps(ordered, JSON_COMPACT);
        buf_puts(out, text);
        buf_putc(out, '\n');
    }
}

/* " NAME VALUE" when it is known. */
static void put(struct buf *out, const json_t *object, const char *member, const char *name)
{
    const char *text = json_text(object, member);
    if (*text != '\0') {
        buf_printf(out, "%s", name);
        terminal_put(out, text, TEXT_WIDTH, false);
    }
}

static void put_count(struct buf *out, const json_t *object, const char *member, const char *name)
{
    const json_t *value = json_object_get(object, member);
    if (json_is_integer(value)) {
        buf_printf(out, "%s%" JSON_INTEGER_FORMAT, name, json_integer_value(value));
    }
}

static void put_outcomes(struct buf *out, const json_t *outcomes)
{
    size_t i;
    json_t *row;
    json_array_foreach (outcomes, i, row) {
        put(out, row, "topic", "    ");
        put_count(out, row, "partition", "/");
        put_count(out, row, "offset", "/");
        put(out, row, "time", ", ");
        put(out, row, "reason", ", ");
        put(out, row, "issued_at", ", issued ");
        put(out, row, "expires_at", ", valid until ");
        buf_putc(out, '\n');
    }
}

void found_text(const struct found *found, struct buf *out)
{
    const char *id;
    json_t *event;
    json_object_foreach (found->events, id, event) {
        put(out, event, "event", "");
        put(out, event, "state", ": ");
        put(out, event, "held_by", " by ");
        put(out, event, "until", " until ");
        put(out, event, "instance", ", instance ");
        buf_putc(out, '\n');
        put(out, event, "timestamp", "    sent ");
        put(out, event, "endpoint", ", ");
        put(out, event, "mchid", ", merchant ");
        put_count(out, event, "attempts", ", attempts ");
        put(out, event, "next_attempt_at", ", next at ");
        put_count(out, json_object_get(event, "last"), "status", ", last answer ");
        put(out, json_object_get(event, "last"), "code", " ");
        buf_putc(out, '\n');
        put_outcomes(out, json_object_get(event, "outcomes"));
    }
}
