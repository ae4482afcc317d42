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

/* The names of violations are cut there anyway. */
enum { NAME_CLEAN_MAX = 256, MCHID_LEN_MAX = 32 };

enum mode {
    MODE_STRUCTURED, /* content-type says so */
    MODE_BINARY,     /* ce_ headers say so */
    MODE_UNTOLD      /* neither; the value may still be a structured event */
};

/* An attribute as the record gives it, before it is judged. Bytes are borrowed. */
struct given {
    const char *bytes; /* NULL when absent */
    size_t len;
    const char *wrong; /* how it was given wrongly, or NULL */
};

/* Rows of the attribute table. */
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

/* One record on its way to an event. */
struct reading {
    const struct record *record;
    struct event *event;
    struct violations *errors;
    const char *message;
    enum mode mode;
    bool format_wrong; /* MODE_STRUCTURED, in a format that is not JSON */
    struct given given[ATTRIBUTE_COUNT];
    struct given content_type;
    struct given bare_traceparent;
    struct buf bare_tracestate;
    json_t *root; /* what `given` points into, in structured mode */
};

/* --- judging single attributes: NULL, or what is wrong ------------------------------------- */

static uint32_t utf8_next(const unsigned char **at)
{
    const unsigned char *p = *at;
    if (p[0] < 0x80) {
        *at += 1;
        return p[0];
    }
    if (p[0] < 0xe0) {
        *at += 2;
        return (p[0] & 0x1fU) << 6 | (p[1] & 0x3fU);
    }
    if (p[0] < 0xf0) {
        *at += 3;
        return (p[0] & 0x0fU) << 12 | (p[1] & 0x3fU) << 6 | (p[2] & 0x3fU);
    }
    *at += 4;
    return (p[0] & 0x07U) << 18 | (p[1] & 0x3fU) << 12 | (p[2] & 0x3fU) << 6 | (p[3] & 0x3fU);
}

/* CloudEvents, "Type System": no control characters, no noncharacters. Valid UTF-8 is given. */
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
        return "holds a character that CloudEvents does not allow";
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

static const char *read_specversion(struct event *event, const char *bytes, size_t len)
{
    (void)event;
    return len == 3 && memcmp(bytes, "1.0", 3) == 0 ? NULL : "is not 1.0";
}

static const char *read_datacontenttype(struct event *event, const char *bytes, size_t len)
{
    (void)event;
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
    /* Below zero means absent; any time before 1970 has passed as surely as 1970 itself. */
    event->expirytime_ms = wall_ms < 0 ? 0 : wall_ms;
    return NULL;
}

/* The two of Trace Context never fail an event: a malformed one is left out. */
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
    /* Trace Context allows tabs around members, a CloudEvents string does not. */
    for (char *tab = event->tracestate; (tab = strchr(tab, '\t')) != NULL;) {
        *tab = ' ';
    }
    return NULL;
}

static const struct attribute {
    const char *name;
    bool required;
    bool tolerated; /* whatever it holds, the event does not fail for it */
    const char *(*read)(struct event *event, const char *bytes, size_t len);
} attributes[ATTRIBUTE_COUNT] = {
    [SPECVERSION] = {"specversion", true, false, read_specversion},
    [ID] = {"id", true, false, read_id},
    [SOURCE] = {"source", true, false, read_source},
    [TYPE] = {"type", true, false, read_type},
    [DATACONTENTTYPE] = {"datacontenttype", false, false, read_datacontenttype},
    [MCHID] = {"mchid", false, false, read_mchid},
    [EXPIRYTIME] = {"expirytime", false, false, read_expirytime},
    [TRACEPARENT] = {"traceparent", false, true, read_traceparent},
    [TRACESTATE] = {"tracestate", false, true, read_tracestate},
};

/* --- headers ------------------------------------------------------------------------------- */

static bool is_given(const struct given *given)
{
    return given->bytes != NULL || given->wrong != NULL;
}

static const char *header_error(const struct record_header *header)
{
    if (header->value == NULL) {
        return "is null";
    }
    return text_utf8_valid(header->value, header->value_len) ? NULL : "is not UTF-8";
}

static void give_header(struct given *given, const struct record_header *header)
{
    const char *wrong = is_given(given) ? "is given twice" : header_error(header);
    *given = (struct given){.bytes = wrong == NULL ? header->value : NULL,
                            .len = wrong == NULL ? header->value_len : 0,
                            .wrong = wrong};
}

static bool is_ce_header(const char *name)
{
    return text_prefix_nocase(name, strlen(name), "ce_");
}

static void note_content_type(struct reading *reading, const struct record_header *header)
{
    give_header(&reading->content_type, header);
    const char *value = header->value;
    size_t len = header->value_len;
    if (value != NULL && text_prefix_nocase(value, len, "application/cloudevents")) {
        bool taken = media_type_is(value, len, "application/cloudevents+json", true) ||
                     media_type_is(value, len, "application/cloudevents", true);
        reading->mode = MODE_STRUCTURED;
        reading->format_wrong = reading->format_wrong || !taken;
    }
}

/* RFC 9110, section 5.3: a list that comes in several headers is one list. */
static void note_tracestate(struct reading *reading, const struct record_header *header)
{
    struct buf *list = &reading->bare_tracestate;
    if (list->len <= TRACE_STATE_MAX && header->value != NULL) {
        buf_append(list, ",", list->len > 0);
        buf_append(list, header->value, header->value_len);
    }
}

static void note_headers(struct reading *reading)
{
    const struct record *record = reading->record;
    for (size_t i = 0; i < record->header_count; i++) {
        const struct record_header *header = &record->headers[i];
        if (text_equal_nocase(header->name, "content-type")) {
            note_content_type(reading, header);
        } else if (text_equal_nocase(header->name, "traceparent")) {
            give_header(&reading->bare_traceparent, header);
        } else if (text_equal_nocase(header->name, "tracestate")) {
            note_tracestate(reading, header);
        } else if (is_ce_header(header->name) && reading->mode == MODE_UNTOLD) {
            reading->mode = MODE_BINARY;
        }
    }
}

/* --- binary mode --------------------------------------------------------------------------- */

/* The row of a ce_ header, or ATTRIBUTE_COUNT. datacontenttype comes as content-type here. */
static size_t attribute_of_header(const char *name)
{
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        if (i != DATACONTENTTYPE && text_equal_nocase(name + 3, attributes[i].name)) {
            return i;
        }
    }
    return ATTRIBUTE_COUNT;
}

static void give_headers(struct reading *reading)
{
    const struct record *record = reading->record;
    for (size_t i = 0; i < record->header_count; i++) {
        const struct record_header *header = &record->headers[i];
        size_t row = is_ce_header(header->name) ? attribute_of_header(header->name)
                                                : (size_t)ATTRIBUTE_COUNT;
        if (row < ATTRIBUTE_COUNT) {
            give_header(&reading->given[row], header);
        }
    }
    reading->given[DATACONTENTTYPE] = reading->content_type;
}

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static int compare_nocase(const void *a, const void *b)
{
    const char *left = *(const char *const *)a, *right = *(const char *const *)b;
    while (*left != '\0' && lower(*left) == lower(*right)) {
        left++;
        right++;
    }
    return (unsigned char)lower(*left) - (unsigned char)lower(*right);
}

static void blame_header(struct reading *reading, const char *name, const char *error)
{
    AUTO_BUF struct buf clean = {0};
    text_clean(&clean, name + 3, strlen(name + 3), NAME_CLEAN_MAX);
    if (clean.len == 0) {
        buf_puts(&clean, "ce_"); /* a bare prefix: the name is for people */
    }
    for (size_t i = 0; i < clean.len; i++) {
        clean.data[i] = lower(clean.data[i]);
    }
    violations_add_attribute(reading->errors, clean.data, error);
}

/* Attributes that mean nothing to us must be well given all the same. Sorting finds those
 * given twice in n log n: a record may have thousands of headers. */
static void judge_other_headers(struct reading *reading)
{
    const struct record *record = reading->record;
    AUTO_FREE const char **names = mem_zalloc(record->header_count, sizeof *names);
    size_t count = 0;
    for (size_t i = 0; i < record->header_count; i++) {
        const struct record_header *header = &record->headers[i];
        if (!is_ce_header(header->name) || attribute_of_header(header->name) != ATTRIBUTE_COUNT) {
            continue;
        }
        names[count++] = header->name;
        const char *wrong = text_utf8_valid(header->name, strlen(header->name))
                                ? header_error(header)
                                : "has a name that is not UTF-8";
        if (wrong != NULL) {
            blame_header(reading, header->name, wrong);
        }
    }
    qsort(names, count, sizeof *names, compare_nocase);
    for (size_t i = 1; i < count; i++) {
        bool same = compare_nocase(&names[i - 1], &names[i]) == 0;
        bool told = i > 1 && compare_nocase(&names[i - 2], &names[i]) == 0;
        if (same && !told) {
            blame_header(reading, names[i], "is given twice");
        }
    }
}

/* --- structured mode ----------------------------------------------------------------------- */

/* A member that is null counts as absent: JSON Event Format, section 2.2. */
static json_t *member(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

static void give_members(struct reading *reading)
{
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        const json_t *value = member(reading->root, attributes[i].name);
        struct given *given = &reading->given[i];
        if (json_is_string(value)) {
            given->bytes = json_string_value(value);
            given->len = json_string_length(value);
        } else if (value != NULL && attributes[i].tolerated) {
            given->bytes = ""; /* there, and malformed */
        } else if (value != NULL) {
            given->wrong = "is not a string";
        }
    }
}

/* JSON Event Format, section 3.1: `data` as it is, or `data_base64` decoded. */
static enum event_status read_data(struct reading *reading)
{
    json_t *data = member(reading->root, "data");
    const json_t *base64 = member(reading->root, "data_base64");
    if (base64 == NULL) {
        reading->event->data = json_incref(data);
        return EVENT_OK;
    }
    AUTO_BUF struct buf bytes = {0};
    const char *wrong = NULL;
    if (data != NULL) {
        wrong = "is given beside data";
    } else if (!json_is_string(base64)) {
        wrong = "is not a string";
    } else if (!text_base64_decode(&bytes, json_string_value(base64), json_string_length(base64))) {
        wrong = "is not base64";
    }
    if (wrong != NULL) {
        violations_add_attribute(reading->errors, "data_base64", wrong);
        return EVENT_OK; /* judged with the attributes */
    }
    reading->event->data =
        json_read(bytes.len == 0 ? "" : bytes.data, bytes.len, EVENT_NESTING_MAX, 0, NULL);
    reading->message = "data_base64 holds no JSON";
    return reading->event->data == NULL ? EVENT_INVALID_JSON : EVENT_OK;
}

/* --- the whole ----------------------------------------------------------------------------- */

static enum event_status check_size(struct reading *reading, size_t size_max)
{
    if (reading->record->value == NULL || reading->record->value_len == 0) {
        reading->message = "the record has no value";
        return EVENT_EMPTY;
    }
    if (record_size(reading->record) > size_max) {
        reading->message = "the record is larger than max_event_bytes";
        return EVENT_TOO_LARGE;
    }
    return EVENT_OK;
}

static enum event_status read_value(struct reading *reading)
{
    if (reading->format_wrong) {
        violations_add_attribute(reading->errors, "content-type",
                                 "is not application/cloudevents+json in utf-8");
        reading->message = "the event is in a format that is not taken";
        return EVENT_INVALID_CLOUDEVENT;
    }
    const struct record *record = reading->record;
    reading->root =
        json_read(record->value, record->value_len, EVENT_NESTING_MAX, 0, &reading->message);
    if (reading->root == NULL) {
        return EVENT_INVALID_JSON;
    }
    if (reading->mode == MODE_BINARY) {
        reading->event->data = json_incref(reading->root);
        return EVENT_OK;
    }
    if (!json_is_object(reading->root)) {
        reading->message = "the value is JSON, but no object, and there is no ce_ header";
        return EVENT_INVALID_CLOUDEVENT;
    }
    give_members(reading);
    return read_data(reading);
}

/* Fills in what is valid by itself; tells of the rest when `blame` is set. */
static void judge_attributes(struct reading *reading, bool blame)
{
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        const struct given *given = &reading->given[i];
        const char *wrong = given->wrong;
        if (given->bytes != NULL) {
            wrong = attributes[i].read(reading->event, given->bytes, given->len);
        } else if (wrong == NULL && attributes[i].required) {
            wrong = "is missing";
        }
        if (wrong != NULL && blame) {
            violations_add_attribute(reading->errors, attributes[i].name, wrong);
        }
    }
    if (blame && reading->mode == MODE_BINARY) {
        judge_other_headers(reading);
    }
}

/* The two belong together: an event that has a traceparent of its own takes no other state. */
static void read_bare_trace(struct reading *reading)
{
    const struct given *parent = &reading->bare_traceparent;
    const struct buf *state = &reading->bare_tracestate;
    if (is_given(&reading->given[TRACEPARENT]) || parent->bytes == NULL) {
        return;
    }
    (void)read_traceparent(reading->event, parent->bytes, parent->len);
    if (state->len > 0) {
        (void)read_tracestate(reading->event, state->data, state->len);
    }
}

enum event_status event_decode(const struct record *record, size_t size_max, struct event *event,
                               struct violations *errors, const char **message)
{
    struct reading reading = {
        .record = record, .event = event, .errors = errors, .message = "", .mode = MODE_UNTOLD};
    size_t errors_before = errors->total;
    event->expirytime_ms = -1;
    note_headers(&reading);
    if (reading.mode == MODE_BINARY) {
        give_headers(&reading);
    }
    enum event_status status = check_size(&reading, size_max);
    if (status == EVENT_OK) {
        status = read_value(&reading);
    }
    judge_attributes(&reading, status == EVENT_OK);
    read_bare_trace(&reading);
    if (status == EVENT_OK && errors->total > errors_before) {
        status = EVENT_INVALID_CLOUDEVENT;
        reading.message = reading.mode == MODE_UNTOLD && !is_given(&reading.given[SPECVERSION])
                              ? "there is neither a ce_ header nor a specversion member"
                              : "an attribute is missing or wrong";
    }
    *message = status == EVENT_OK ? "" : reading.message;
    json_decref(reading.root);
    buf_deinit(&reading.bare_tracestate);
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
    /* What json_read() let in can always be written; only memory can run out. */
    if (json_dump_callback(data, append_text, &body, JSON_COMPACT) != 0) {
        mem_exhausted();
    }
    *len = body.len;
    return buf_take(&body);
}
