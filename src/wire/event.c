#include "presignd/wire/event.h"

#include "presignd/base/buf.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/wire/media.h"
#include "wire/trace.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_NAME_MAX = 256, MCHID_LEN_MAX = 32 };

enum mode {
    MODE_STRUCTURED, /* by its content-type */
    MODE_BINARY,     /* by a ce_ header */
    MODE_UNKNOWN,    /* neither: structured if the value has a specversion */
};

/* An attribute in the record, not yet validated. Bytes are borrowed. */
struct raw_attribute {
    const char *bytes; /* NULL when absent */
    size_t len;
    const char *error; /* why it cannot be read, or NULL */
};

enum {
    SPECVERSION,
    ID,
    SOURCE,
    TYPE,
    DATACONTENTTYPE,
    MCHID,
    EXPIRYTIME,
    TRACEPARENT,
    TRACESTATE,
    ATTRIBUTE_COUNT
};

struct decoder {
    const struct record *record;
    struct event *event;
    struct violations *errors;
    const char *message;
    enum mode mode;
    bool is_other_format; /* structured, but not as JSON */
    struct raw_attribute raw[ATTRIBUTE_COUNT];
    struct raw_attribute content_type;
    struct raw_attribute traceparent_header;
    struct buf tracestate_headers;
    json_t *root; /* in structured mode `raw` borrows from it */
};

/* --- validation of single attributes: NULL or the error ------------------------------------ */

/* The next code point of valid UTF-8. */
static uint32_t utf8_next(const unsigned char **at)
{
    unsigned char first = *(*at)++;
    unsigned more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    uint32_t c = first & (0x7fU >> more);
    for (; more > 0; more--) {
        c = c << 6 | (*(*at)++ & 0x3fU);
    }
    return c;
}

/* CloudEvents, "Type System": no control characters, no noncharacters. `bytes` is valid UTF-8. */
static bool is_attribute_string(const char *bytes, size_t len)
{
    const unsigned char *at = (const unsigned char *)bytes, *end = at + len;
    while (at < end) {
        uint32_t c = utf8_next(&at);
        bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
        bool noncharacter = (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe;
        if (control || noncharacter) {
            return false;
        }
    }
    return true;
}

static const char *keep_string(char **field, const char *bytes, size_t len)
{
    if (len == 0) {
        return "is empty";
    }
    if (!is_attribute_string(bytes, len)) {
        return "contains a character that CloudEvents does not allow";
    }
    *field = mem_dup(bytes, len);
    return NULL;
}

static const char *read_id(struct event *event, const char *bytes, size_t len)
{
    return keep_string(&event->id, bytes, len);
}

static const char *read_source(struct event *event, const char *bytes, size_t len)
{
    return keep_string(&event->source, bytes, len);
}

static const char *read_type(struct event *event, const char *bytes, size_t len)
{
    return keep_string(&event->type, bytes, len);
}

static const char *read_specversion(struct event *, const char *bytes, size_t len)
{
    return len == 3 && memcmp(bytes, "1.0", 3) == 0 ? NULL : "is not 1.0";
}

static const char *read_datacontenttype(struct event *, const char *bytes, size_t len)
{
    return media_type_is(bytes, len, "application/json", false)
               ? NULL
               : "is not application/json in utf-8";
}

static const char *read_mchid(struct event *event, const char *bytes, size_t len)
{
    bool fits = len > 0 && len <= MCHID_LEN_MAX;
    for (size_t i = 0; fits && i < len; i++) {
        fits = bytes[i] >= '0' && bytes[i] <= '9';
    }
    if (!fits) {
        return "is not 1 to 32 digits";
    }
    event->mchid = mem_dup(bytes, len);
    return NULL;
}

static const char *read_expirytime(struct event *event, const char *bytes, size_t len)
{
    int64_t wall_ms;
    if (!text_rfc3339(bytes, len, &wall_ms)) {
        return "is not an RFC 3339 time";
    }
    /* -1 means absent. Every time before 1970 has passed, like 1970 itself. */
    event->expirytime_ms = wall_ms < 0 ? 0 : wall_ms;
    return NULL;
}

/* A malformed traceparent or tracestate is dropped and does not fail the event. */
static const char *read_traceparent(struct event *event, const char *bytes, size_t len)
{
    event->traceparent = trace_parent_valid(bytes, len) ? mem_dup(bytes, len) : NULL;
    return NULL;
}

static const char *read_tracestate(struct event *event, const char *bytes, size_t len)
{
    if (event->traceparent == NULL || !trace_state_valid(bytes, len)) {
        return NULL;
    }
    event->tracestate = mem_dup(bytes, len);
    /* Trace Context allows tabs around members, CloudEvents does not. */
    for (char *tab = event->tracestate; (tab = strchr(tab, '\t')) != NULL;) {
        *tab = ' ';
    }
    return NULL;
}

static const struct attribute {
    const char *name;
    bool required;
    bool lenient; /* a wrong value does not fail the event */
    const char *(*read)(struct event *event, const char *bytes, size_t len);
} attributes[ATTRIBUTE_COUNT] = {
    [SPECVERSION] = {.name = "specversion", .required = true, .read = read_specversion},
    [ID] = {.name = "id", .required = true, .read = read_id},
    [SOURCE] = {.name = "source", .required = true, .read = read_source},
    [TYPE] = {.name = "type", .required = true, .read = read_type},
    [DATACONTENTTYPE] = {.name = "datacontenttype", .read = read_datacontenttype},
    [MCHID] = {.name = "mchid", .read = read_mchid},
    [EXPIRYTIME] = {.name = "expirytime", .read = read_expirytime},
    [TRACEPARENT] = {.name = "traceparent", .lenient = true, .read = read_traceparent},
    [TRACESTATE] = {.name = "tracestate", .lenient = true, .read = read_tracestate},
};

/* --- headers ------------------------------------------------------------------------------- */

static bool is_present(const struct raw_attribute *raw)
{
    return raw->bytes != NULL || raw->error != NULL;
}

static const char *header_error(const struct record_header *header)
{
    if (header->value == NULL) {
        return "is null";
    }
    return text_utf8_valid(header->value, header->value_len) ? NULL : "is not UTF-8";
}

static void set_from_header(struct raw_attribute *raw, const struct record_header *header)
{
    const char *error = is_present(raw) ? "is given twice" : header_error(header);
    *raw = (struct raw_attribute){.bytes = error == NULL ? header->value : NULL,
                                  .len = error == NULL ? header->value_len : 0,
                                  .error = error};
}

static bool is_ce_header(const char *name)
{
    return text_prefix_nocase(name, strlen(name), "ce_");
}

static void read_content_type(struct decoder *decoder, const struct record_header *header)
{
    set_from_header(&decoder->content_type, header);
    const char *value = header->value;
    size_t len = header->value_len;
    if (value != NULL && text_prefix_nocase(value, len, "application/cloudevents")) {
        bool is_json = media_type_is(value, len, "application/cloudevents+json", true) ||
                       media_type_is(value, len, "application/cloudevents", true);
        decoder->mode = MODE_STRUCTURED;
        decoder->is_other_format = decoder->is_other_format || !is_json;
    }
}

/* RFC 9110, section 5.3: several headers are one list. */
static void append_tracestate(struct decoder *decoder, const struct record_header *header)
{
    struct buf *list = &decoder->tracestate_headers;
    if (list->len <= TRACE_STATE_MAX && header->value != NULL) {
        buf_append(list, ",", list->len > 0);
        buf_append(list, header->value, header->value_len);
    }
}

static void read_headers(struct decoder *decoder)
{
    const struct record *record = decoder->record;
    for (size_t i = 0; i < record->header_count; i++) {
        const struct record_header *header = &record->headers[i];
        if (text_equal_nocase(header->name, "content-type")) {
            read_content_type(decoder, header);
        } else if (text_equal_nocase(header->name, "traceparent")) {
            set_from_header(&decoder->traceparent_header, header);
        } else if (text_equal_nocase(header->name, "tracestate")) {
            append_tracestate(decoder, header);
        } else if (is_ce_header(header->name) && decoder->mode == MODE_UNKNOWN) {
            decoder->mode = MODE_BINARY;
        }
    }
}

/* --- binary mode --------------------------------------------------------------------------- */

/* The row of a ce_ header, or ATTRIBUTE_COUNT. datacontenttype is the header content-type. */
static size_t attribute_of_header(const char *name)
{
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        if (i != DATACONTENTTYPE && text_equal_nocase(name + 3, attributes[i].name)) {
            return i;
        }
    }
    return ATTRIBUTE_COUNT;
}

static void set_from_headers(struct decoder *decoder)
{
    const struct record *record = decoder->record;
    for (size_t i = 0; i < record->header_count; i++) {
        const struct record_header *header = &record->headers[i];
        size_t row = is_ce_header(header->name) ? attribute_of_header(header->name)
                                                : (size_t)ATTRIBUTE_COUNT;
        if (row < ATTRIBUTE_COUNT) {
            set_from_header(&decoder->raw[row], header);
        }
    }
    decoder->raw[DATACONTENTTYPE] = decoder->content_type;
}

static int compare_names(const void *a, const void *b)
{
    return text_compare_nocase(*(const char *const *)a, *(const char *const *)b);
}

static void report_header(struct decoder *decoder, const char *name, const char *error)
{
    AUTO_BUF struct buf clean = {0};
    text_clean(&clean, name + 3, strlen(name + 3), HEADER_NAME_MAX);
    if (clean.len == 0) {
        buf_puts(&clean, "ce_"); /* the header is only a prefix */
    }
    for (size_t i = 0; i < clean.len; i++) {
        clean.data[i] = (char)text_lower(clean.data[i]);
    }
    violations_add_attribute(decoder->errors, clean.data, error);
}

/* Ignored attributes must be valid, too. Sorting finds duplicates in n log n: a record may have
 * thousands of headers. */
static void check_other_headers(struct decoder *decoder)
{
    const struct record *record = decoder->record;
    AUTO_FREE const char **names = mem_zalloc(record->header_count, sizeof *names);
    size_t count = 0;
    for (size_t i = 0; i < record->header_count; i++) {
        const struct record_header *header = &record->headers[i];
        if (!is_ce_header(header->name) || attribute_of_header(header->name) != ATTRIBUTE_COUNT) {
            continue;
        }
        names[count++] = header->name;
        const char *error = text_utf8_valid(header->name, strlen(header->name))
                                ? header_error(header)
                                : "has a name that is not UTF-8";
        if (error != NULL) {
            report_header(decoder, header->name, error);
        }
    }
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 1; i < count; i++) {
        bool same = compare_names(&names[i - 1], &names[i]) == 0;
        bool reported = i > 1 && compare_names(&names[i - 2], &names[i]) == 0;
        if (same && !reported) {
            report_header(decoder, names[i], "is given twice");
        }
    }
}

/* --- structured mode ----------------------------------------------------------------------- */

/* null means absent: JSON Event Format, section 2.2. */
static json_t *member(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

static void set_from_members(struct decoder *decoder)
{
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        const json_t *value = member(decoder->root, attributes[i].name);
        struct raw_attribute *raw = &decoder->raw[i];
        if (json_is_string(value)) {
            raw->bytes = json_string_value(value);
            raw->len = json_string_length(value);
        } else if (value != NULL && attributes[i].lenient) {
            raw->bytes = ""; /* present, and malformed */
        } else if (value != NULL) {
            raw->error = "is not a string";
        }
    }
}

/* JSON Event Format, section 3.1: `data` as it is, or `data_base64` decoded. */
static enum event_status read_data(struct decoder *decoder)
{
    json_t *data = member(decoder->root, "data");
    const json_t *base64 = member(decoder->root, "data_base64");
    if (base64 == NULL) {
        decoder->event->data = json_incref(data);
        return EVENT_OK;
    }
    AUTO_BUF struct buf bytes = {0};
    const char *error = NULL;
    if (data != NULL) {
        error = "is given together with data";
    } else if (!json_is_string(base64)) {
        error = "is not a string";
    } else if (!text_base64_decode(&bytes, json_string_value(base64), json_string_length(base64))) {
        error = "is not base64";
    }
    if (error != NULL) {
        violations_add_attribute(decoder->errors, "data_base64", error);
        return EVENT_OK; /* the violation fails the event */
    }
    decoder->event->data = json_read(bytes.data, bytes.len, EVENT_NESTING_MAX, 0, NULL);
    decoder->message = "data_base64 is not JSON";
    return decoder->event->data == NULL ? EVENT_INVALID_JSON : EVENT_OK;
}

/* --- the event ----------------------------------------------------------------------------- */

static enum event_status check_size(struct decoder *decoder, size_t size_max)
{
    if (decoder->record->value == NULL || decoder->record->value_len == 0) {
        decoder->message = "the record has no value";
        return EVENT_EMPTY;
    }
    if (record_size(decoder->record) > size_max) {
        decoder->message = "the record is larger than max_event_bytes";
        return EVENT_TOO_LARGE;
    }
    return EVENT_OK;
}

static enum event_status read_value(struct decoder *decoder)
{
    if (decoder->is_other_format) {
        violations_add_attribute(decoder->errors, "content-type",
                                 "is not application/cloudevents+json in utf-8");
        decoder->message = "the format of the event is not supported";
        return EVENT_INVALID_CLOUDEVENT;
    }
    const struct record *record = decoder->record;
    decoder->root =
        json_read(record->value, record->value_len, EVENT_NESTING_MAX, 0, &decoder->message);
    if (decoder->root == NULL) {
        return EVENT_INVALID_JSON;
    }
    if (decoder->mode == MODE_BINARY) {
        decoder->event->data = json_incref(decoder->root);
        return EVENT_OK;
    }
    if (!json_is_object(decoder->root)) {
        decoder->message = "the value is JSON but not an object, and no header begins with ce_";
        return EVENT_INVALID_CLOUDEVENT;
    }
    set_from_members(decoder);
    return read_data(decoder);
}

/* Sets the valid attributes; adds violations for the others if `report` is set. */
static void read_attributes(struct decoder *decoder, bool report)
{
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        const struct raw_attribute *raw = &decoder->raw[i];
        const char *error = raw->error;
        if (raw->bytes != NULL) {
            error = attributes[i].read(decoder->event, raw->bytes, raw->len);
        } else if (error == NULL && attributes[i].required) {
            error = "is missing";
        }
        if (error != NULL && report) {
            violations_add_attribute(decoder->errors, attributes[i].name, error);
        }
    }
    if (report && decoder->mode == MODE_BINARY) {
        check_other_headers(decoder);
    }
}

/* Uses the headers of Trace Context, both or none: not if the event has a traceparent of its own.
 */
static void use_trace_headers(struct decoder *decoder)
{
    const struct raw_attribute *parent = &decoder->traceparent_header;
    const struct buf *state = &decoder->tracestate_headers;
    if (is_present(&decoder->raw[TRACEPARENT]) || parent->bytes == NULL) {
        return;
    }
    (void)read_traceparent(decoder->event, parent->bytes, parent->len);
    if (state->len > 0) {
        (void)read_tracestate(decoder->event, state->data, state->len);
    }
}

enum event_status event_decode(const struct record *record, size_t size_max, struct event *event,
                               struct violations *errors, const char **message)
{
    struct decoder decoder = {
        .record = record, .event = event, .errors = errors, .message = "", .mode = MODE_UNKNOWN};
    size_t errors_before = errors->total;
    event->expirytime_ms = -1;
    read_headers(&decoder);
    if (decoder.mode == MODE_BINARY) {
        set_from_headers(&decoder);
    }
    enum event_status status = check_size(&decoder, size_max);
    if (status == EVENT_OK) {
        status = read_value(&decoder);
    }
    read_attributes(&decoder, status == EVENT_OK);
    use_trace_headers(&decoder);
    if (status == EVENT_OK && errors->total > errors_before) {
        status = EVENT_INVALID_CLOUDEVENT;
        decoder.message = decoder.mode == MODE_UNKNOWN && !is_present(&decoder.raw[SPECVERSION])
                              ? "no header begins with ce_, and the value has no specversion"
                              : "an attribute is missing or wrong";
    }
    *message = status == EVENT_OK ? "" : decoder.message;
    json_decref(decoder.root);
    buf_deinit(&decoder.tracestate_headers);
    return status;
}

void event_deinit(struct event *event)
{
    free(event->id);
    free(event->source);
    free(event->type);
    free(event->mchid);
    free(event->traceparent);
    free(event->tracestate);
    json_decref(event->data);
    *event = (struct event){0};
}

static int append_text(const char *bytes, size_t len, void *context)
{
    buf_append(context, bytes, len);
    return 0;
}

char *event_body(const json_t *data, size_t *len)
{
    struct buf body = {0};
    assert(json_is_object(data));
    /* A value from json_read() can be written unless memory runs out. */
    if (json_dump_callback(data, append_text, &body, JSON_COMPACT) != 0) {
        mem_exhausted();
    }
    *len = body.len;
    return buf_take(&body);
}
