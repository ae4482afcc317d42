#include "presignd/wire/outcome.h"

#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    CLEANED_MAX = 4096,   /* bytes of a string that is not UTF-8 */
    TYPICAL_BYTES = 1400, /* of a result */
};
/* 9999-12-31T23:59:59.999Z: RFC 3339 has four digits for the year. */
static const int64_t TIME_MAX_MS = INT64_C(253402300799999);

/* --- members ------------------------------------------------------------------------------- */

/* Writes at most `max` bytes of a string from outside; nothing for NULL. */
static void member_text(struct buf *json, const char *name, const char *value, size_t max)
{
    if (value == NULL) {
        return;
    }
    size_t len = strlen(value);
    buf_json_name(json, name);
    if (text_utf8_valid(value, len)) {
        buf_json_string(json, value, text_utf8_cut(value, len, max));
        return;
    }
    AUTO_BUF struct buf clean = {0};
    text_clean(&clean, value, len, CLEANED_MAX);
    buf_json_string(json, clean.len == 0 ? "" : clean.data, clean.len);
}

static void member_string(struct buf *json, const char *name, const char *value)
{
    member_text(json, name, value, SIZE_MAX);
}

static void member_time(struct buf *json, const char *name, int64_t wall_ms, bool millis)
{
    if (wall_ms >= 0 && wall_ms <= TIME_MAX_MS) {
        char text[TEXT_TIME_SIZE];
        text_time(text, wall_ms, millis);
        buf_json_member(json, name, text);
    }
}

static void begin(struct buf *json, const char *name, char bracket)
{
    buf_json_name(json, name);
    buf_putc(json, bracket);
}

/* Begins the next object of an array. */
static void begin_item(struct buf *json)
{
    if (json->data[json->len - 1] != '[') {
        buf_putc(json, ',');
    }
    buf_putc(json, '{');
}

/* --- envelope ------------------------------------------------------------------------------ */

/* Percent-encodes a segment of a path: RFC 3986, section 3.3 (pchar). */
static void append_segment(struct buf *out, const char *segment)
{
    static const char allowed[] = "-._~!$&'()*+,;=:@";
    for (const char *c = segment == NULL ? "" : segment; *c != '\0'; c++) {
        bool plain = text_is_alpha(*c) || text_is_digit(*c) || strchr(allowed, *c) != NULL;
        if (plain) {
            buf_putc(out, *c);
        } else {
            buf_printf(out, "%%%02X", (unsigned char)*c);
        }
    }
}

static void add_header(struct outcome_bytes *out, const char *name, const char *value)
{
    out->headers[out->header_count++] =
        (struct record_header){.name = name, .value = value, .value_len = strlen(value)};
}

/* Makes the attributes that both the headers and the value have, in one buffer of strings. */
static void write_headers(struct outcome_bytes *out, const struct outcome_common *common,
                          const char *ending)
{
    struct buf text = {0};
    buf_printf(&text, "wechatpay.presign.%s%s%s", common->endpoint == NULL ? "" : common->endpoint,
               common->endpoint == NULL ? "" : ".", ending);
    buf_putc(&text, '\0');
    size_t id = text.len;
    const struct record *record = common->record;
    buf_printf(&text, "%s/%" PRId32 "/%" PRId64, record->topic, record->partition, record->offset);
    buf_putc(&text, '\0');
    size_t source = text.len;
    buf_puts(&text, "/presignd/");
    append_segment(&text, common->cluster_id);
    buf_putc(&text, '/');
    append_segment(&text, common->group_id);
    buf_putc(&text, '\0');
    size_t subject = text.len;
    buf_puts(&text, common->out_contract_code == NULL ? "" : common->out_contract_code);
    out->strings = buf_take(&text);
    add_header(out, "content-type", "application/cloudevents+json");
    add_header(out, "ce_type", out->strings);
    add_header(out, "ce_id", out->strings + id);
    add_header(out, "ce_source", out->strings + source);
    if (common->out_contract_code != NULL) {
        add_header(out, "ce_subject", out->strings + subject);
    }
}

/* Writes up to `"data":{`, inclusive. */
static void begin_envelope(struct outcome_bytes *out, const struct outcome_common *common,
                           const char *ending, int64_t expiry_ms)
{
    *out = (struct outcome_bytes){0};
    write_headers(out, common, ending);
    struct buf *json = &out->value;
    buf_reserve(json, TYPICAL_BYTES);
    buf_putc(json, '{');
    buf_json_member(json, "specversion", "1.0");
    buf_json_member(json, "id", out->headers[2].value);
    buf_json_member(json, "source", out->headers[3].value);
    buf_json_member(json, "type", out->headers[1].value);
    buf_json_member(json, "subject", common->out_contract_code);
    member_time(json, "time", common->completed_ms, true);
    buf_json_member(json, "datacontenttype", "application/json");
    member_time(json, "expirytime", expiry_ms, false);
    if (common->event != NULL) {
        buf_json_member(json, "traceparent", common->event->traceparent);
        buf_json_member(json, "tracestate", common->event->tracestate);
    }
    begin(json, "data", '{');
}

static void end_envelope(struct outcome_bytes *out)
{
    buf_puts(&out->value, "}}");
}

/* `event` identifies the request. */
static void write_event(struct buf *json, const struct outcome_common *common)
{
    static const struct event unknown = {0};
    const struct event *event = common->event == NULL ? &unknown : common->event;
    const struct record *record = common->record;
    begin(json, "event", '{');
    member_text(json, "id", event->id, OUTCOME_EVENT_TEXT_MAX);
    member_text(json, "source", event->source, OUTCOME_EVENT_TEXT_MAX);
    member_text(json, "type", event->type, OUTCOME_EVENT_TEXT_MAX);
    member_string(json, "topic", record->topic);
    buf_json_member_int(json, "partition", record->partition);
    buf_json_member_int(json, "offset", record->offset);
    member_time(json, "timestamp", record->timestamp_ms, true);
    buf_putc(json, '}');
}

/* --- results ------------------------------------------------------------------------------- */

char *outcome_request_members(const json_t *data)
{
    const char *appid = json_string_value(json_object_get(data, "appid"));
    const char *sp_appid = json_string_value(json_object_get(data, "sp_appid"));
    struct buf json = {0};
    buf_reserve(&json, 0);
    member_string(&json, "sub_mchid", json_string_value(json_object_get(data, "sub_mchid")));
    member_string(&json, "appid", appid != NULL ? appid : sp_appid);
    const json_t *plan_id = json_object_get(data, "plan_id");
    if (json_is_integer(plan_id)) {
        buf_json_member_int(&json, "plan_id", json_integer_value(plan_id));
    }
    return buf_take(&json);
}

void outcome_result_write(struct outcome_bytes *out, const struct outcome_common *common,
                          const struct outcome_result *result)
{
    begin_envelope(out, common, "succeeded", result->expires_ms);
    struct buf *json = &out->value;
    write_event(json, common);
    buf_json_member(json, "endpoint", common->endpoint);
    buf_json_member(json, "mchid", common->mchid);
    if (result->request_members[0] != '\0') {
        buf_putc(json, ',');
        buf_puts(json, result->request_members);
    }
    buf_json_member(json, "out_contract_code", common->out_contract_code);
    member_string(json, result->id_field, result->id_value);
    buf_json_member_raw(json, "response", result->response, result->response_len);
    member_time(json, "issued_at", result->issued_ms, false);
    member_time(json, "expires_at", result->expires_ms, false);
    buf_json_member_int(json, "attempts", common->attempts);
    member_string(json, "host", result->host);
    member_string(json, "request_id", result->request_id);
    member_string(json, "wechatpay_serial", result->wechatpay_serial);
    end_envelope(out);
}

/* --- failures ------------------------------------------------------------------------------ */

void outcome_errors_write(struct buf *json, const struct violations *errors)
{
    if (errors == NULL || errors->count == 0) {
        return;
    }
    begin(json, "errors", '[');
    for (size_t i = 0; i < errors->count; i++) {
        const struct violation *item = &errors->items[i];
        begin_item(json);
        member_string(json, "attribute", item->attribute);
        member_string(json, "instanceLocation", item->instance_location);
        member_string(json, "keywordLocation", item->keyword_location);
        member_string(json, "error", item->error);
        buf_putc(json, '}');
    }
    buf_putc(json, ']');
}

static void write_answer(struct buf *json, const struct outcome_failure *failure)
{
    if (!failure->answered) {
        return;
    }
    begin(json, "answer", '{');
    buf_json_member_int(json, "status", failure->status);
    member_string(json, "code", failure->code);
    member_string(json, "message", failure->answer_message);
    member_string(json, "request_id", failure->request_id);
    buf_json_member_bool(json, "signed", failure->answer_signed);
    buf_putc(json, '}');
}

static void write_attempt(struct buf *json, const struct outcome_attempt *attempt)
{
    begin_item(json);
    member_time(json, "at", attempt->at_ms, true);
    member_string(json, "host", attempt->host);
    if (attempt->duration_ms >= 0) {
        buf_json_member_int(json, "duration_ms", attempt->duration_ms);
    }
    if (attempt->status > 0) {
        buf_json_member_int(json, "status", attempt->status);
    }
    member_string(json, "code", attempt->code);
    member_string(json, "ended", attempt->ended);
    buf_putc(json, '}');
}

static void write_attempts(struct buf *json, const struct outcome_failure *failure)
{
    if (failure->attempt_count == 0) {
        return;
    }
    begin(json, "attempt_log", '[');
    for (size_t i = 0; i < failure->attempt_count; i++) {
        write_attempt(json, &failure->attempts[i]);
    }
    buf_putc(json, ']');
}

/* Writes `value` or `value_base64`, at most `max` bytes. Returns the number of bytes. */
static size_t write_bytes(struct buf *json, const char *bytes, size_t len, size_t max)
{
    if (bytes == NULL) {
        buf_json_member_raw(json, "value", "null", 4);
        return 0;
    }
    if (text_utf8_valid(bytes, len)) {
        size_t cut = text_utf8_cut(bytes, len, max);
        buf_json_name(json, "value");
        buf_json_string(json, bytes, cut);
        return cut;
    }
    size_t cut = len <= max ? len : max - max % 3; /* no padding at the cut */
    buf_json_name(json, "value_base64");
    buf_putc(json, '"');
    text_base64(json, bytes, cut);
    buf_putc(json, '"');
    return cut;
}

/* The number of headers, from the first one, that fit into `left` bytes. */
static size_t headers_that_fit(const struct record *record, size_t left)
{
    size_t count = 0;
    while (count < record->header_count && count < OUTCOME_ORIGINAL_HEADERS_MAX) {
        const struct record_header *header = &record->headers[count];
        size_t size = strlen(header->name) + header->value_len;
        if (size > left) {
            break;
        }
        left -= size;
        count++;
    }
    return count;
}

static void write_original(struct buf *json, const struct record *record)
{
    begin(json, "original", '{');
    size_t written = write_bytes(json, record->value, record->value_len, OUTCOME_ORIGINAL_MAX);
    size_t count = headers_that_fit(record, OUTCOME_ORIGINAL_MAX - written);
    begin(json, "headers", '[');
    for (size_t i = 0; i < count; i++) {
        const struct record_header *header = &record->headers[i];
        begin_item(json);
        member_string(json, "name", header->name);
        write_bytes(json, header->value, header->value_len, OUTCOME_ORIGINAL_MAX);
        buf_putc(json, '}');
    }
    buf_putc(json, ']');
    if (written < record->value_len || count < record->header_count) {
        buf_json_member_bool(json, "truncated", true);
    }
    buf_putc(json, '}');
}

void outcome_failure_write(struct outcome_bytes *out, const struct outcome_common *common,
                           const struct outcome_failure *failure)
{
    begin_envelope(out, common, "failed", -1);
    struct buf *json = &out->value;
    write_event(json, common);
    buf_json_member(json, "endpoint", common->endpoint);
    buf_json_member(json, "mchid", common->mchid);
    buf_json_member(json, "out_contract_code", common->out_contract_code);
    buf_json_member(json, "reason", failure->reason);
    buf_json_member_bool(json, "retryable", failure->retryable);
    buf_json_member(json, "call_state", failure->call_state);
    buf_json_member_int(json, "attempts", common->attempts);
    member_string(json, "message", failure->message);
    outcome_errors_write(json, failure->errors);
    write_answer(json, failure);
    write_attempts(json, failure);
    if (failure->original) {
        write_original(json, common->record);
    }
    end_envelope(out);
}

void outcome_bytes_deinit(struct outcome_bytes *out)
{
    buf_deinit(&out->value);
    free(out->strings);
    *out = (struct outcome_bytes){0};
}

/* --- reading of outcomes and originals ----------------------------------------------------- */

enum { OUTCOME_NESTING_MAX = 128 };

json_t *outcome_read(const char *bytes, size_t len)
{
    return json_read(bytes, len, OUTCOME_NESTING_MAX, JSON_READ_NUL | JSON_READ_BIG_INTEGERS, NULL);
}

/* Reads the member NAME (a string or null) or NAME_base64. NULL or the error. `*bytes` stays NULL
 * for null, but not for an empty value. */
static const char *read_bytes(const json_t *object, const char *name, struct buf *out,
                              const void **bytes, size_t *len)
{
    AUTO_FREE char *name_base64 = mem_printf("%s_base64", name);
    const json_t *plain = json_object_get(object, name);
    const json_t *base64 = json_object_get(object, name_base64);
    if ((plain == NULL) == (base64 == NULL)) {
        return "must be given once, plain or as base64";
    }
    if (json_is_null(plain)) {
        return NULL;
    }
    if (!json_is_string(plain == NULL ? base64 : plain)) {
        return "is not a string";
    }
    if (plain != NULL) {
        buf_append(out, json_string_value(plain), json_string_length(plain));
    } else if (!text_base64_decode(out, json_string_value(base64), json_string_length(base64))) {
        return "is not base64";
    }
    buf_reserve(out, 0);
    *bytes = out->data;
    *len = out->len;
    return NULL;
}

static const char *read_header(const json_t *item, struct record_header *header, struct buf *value)
{
    const json_t *name = json_object_get(item, "name");
    if (!json_is_string(name) || strlen(json_string_value(name)) != json_string_length(name)) {
        return "has no name";
    }
    header->name = mem_strdup(json_string_value(name));
    return read_bytes(item, "value", value, &header->value, &header->value_len);
}

static char *read_headers(const json_t *array, struct record_owned *owned)
{
    size_t count = json_array_size(array);
    owned->headers = mem_zalloc(count, sizeof *owned->headers);
    owned->header_values = mem_zalloc(count, sizeof *owned->header_values);
    owned->record.headers = owned->headers;
    owned->record.header_count = count;
    for (size_t i = 0; i < count; i++) {
        const char *error =
            read_header(json_array_get(array, i), &owned->headers[i], &owned->header_values[i]);
        if (error != NULL) {
            return mem_printf("original: header %zu %s", i + 1, error);
        }
    }
    return NULL;
}

static char *read_original(const json_t *original, struct record_owned *owned)
{
    struct record *record = &owned->record;
    if (json_is_true(json_object_get(original, "truncated"))) {
        return mem_strdup("original is truncated: fetch the record by topic, partition, offset");
    }
    const char *error =
        read_bytes(original, "value", &owned->value, &record->value, &record->value_len);
    if (error != NULL) {
        return mem_printf("original: value %s", error);
    }
    bool keyed =
        json_object_get(original, "key") != NULL || json_object_get(original, "key_base64") != NULL;
    if (keyed) {
        error = read_bytes(original, "key", &owned->key, &record->key, &record->key_len);
    }
    if (error != NULL) {
        return mem_printf("original: key %s", error);
    }
    const json_t *headers = json_object_get(original, "headers");
    if (headers != NULL && !json_is_array(headers)) {
        return mem_strdup("original: headers is not an array");
    }
    return read_headers(headers, owned);
}

struct record_owned *outcome_original_read(const json_t *original, char **error)
{
    if (!json_is_object(original)) {
        *error = mem_strdup("original is not an object");
        return NULL;
    }
    struct record_owned *owned = mem_zalloc(1, sizeof *owned);
    owned->record.timestamp_ms = -1;
    *error = read_original(original, owned);
    return *error == NULL ? owned : record_owned_free(owned);
}

struct record_owned *record_owned_free(struct record_owned *owned)
{
    if (owned == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < owned->record.header_count; i++) {
        free((void *)owned->headers[i].name);
        buf_deinit(&owned->header_values[i]);
    }
    free(owned->headers);
    free(owned->header_values);
    buf_deinit(&owned->key);
    buf_deinit(&owned->value);
    free(owned);
    return NULL;
}
