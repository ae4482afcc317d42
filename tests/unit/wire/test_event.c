#include "presignd/wire/event.h"

#include "presignd/base/buf.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MAX_OF_TESTS 65536
#define HEADERS_OF_CASE   8

#define PARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
#define OTHER  "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"

/* A header with a text, with bytes, with null. */
#define H(name, text)                \
    {                                \
        name, text, sizeof(text) - 1 \
    }
#define H_NULL(name)  \
    {                 \
        name, NULL, 0 \
    }

#define BINARY                                                                 \
    H("ce_specversion", "1.0"), H("ce_id", "7f1c"), H("ce_source", "/orders"), \
        H("ce_type", "wechatpay.presign.app.requested")
#define REQUIRED                                                      \
    "\"specversion\":\"1.0\",\"id\":\"7f1c\",\"source\":\"/orders\"," \
    "\"type\":\"wechatpay.presign.app.requested\""

/* The result of event_decode(). */
struct seen {
    enum event_status status;
    struct event event;
    struct violations errors;
    const char *message;
};

static void seen_deinit(struct seen *seen)
{
    event_deinit(&seen->event);
    violations_deinit(&seen->errors);
}
#define AUTO_SEEN __attribute__((cleanup(seen_deinit)))

static size_t count_headers(const struct record_header *headers)
{
    size_t count = 0;
    while (headers != NULL && count < HEADERS_OF_CASE && headers[count].name != NULL) {
        count++;
    }
    return count;
}

/* Copies `value` (may be NULL) to the heap without a NUL, so that sanitizers see overreads. */
static struct seen decode_bytes(const char *value, size_t len, const struct record_header *headers,
                                size_t header_count)
{
    AUTO_FREE char *copy = mem_alloc(len);
    if (len > 0) {
        memcpy(copy, value, len);
    }
    struct record record = {.topic = "presign.requests",
                            .value = value == NULL ? NULL : copy,
                            .value_len = len,
                            .headers = headers,
                            .header_count = header_count};
    struct seen seen = {0};
    seen.status =
        event_decode(&record, SIZE_MAX_OF_TESTS, &seen.event, &seen.errors, &seen.message);
    cr_expect_not_null(seen.message);
    return seen;
}

static struct seen decode(const char *value, const struct record_header *headers)
{
    return decode_bytes(value, value == NULL ? 0 : strlen(value), headers, count_headers(headers));
}

static bool blames(const struct seen *seen, const char *attribute, const char *error)
{
    for (size_t i = 0; i < seen->errors.count; i++) {
        const struct violation *item = &seen->errors.items[i];
        if (item->attribute != NULL && strcmp(item->attribute, attribute) == 0) {
            return strcmp(item->error, error) == 0;
        }
    }
    return false;
}

/* --- mode ---------------------------------------------------------------------------------- */

Test(event, the_documented_event_is_decoded)
{
    AUTO_SEEN struct seen seen =
        decode("{\"specversion\": \"1.0\", \"id\": \"7f1c\", \"source\": \"/orders\","
               " \"type\": \"wechatpay.presign.app.requested\", \"mchid\": \"1900007291\","
               " \"expirytime\": \"2026-11-23T16:00:00.5+08:00\", \"traceparent\": \"" PARENT "\","
               " \"tracestate\": \"rojo=1\", \"subject\": \"ignored\","
               " \"data\": {\"appid\": \"wxd678efh567hg6787\", \"plan_id\": 12535}}",
               NULL);
    cr_assert_eq(seen.status, EVENT_OK, "%s", seen.message);
    cr_expect_str_eq(seen.event.id, "7f1c");
    cr_expect_str_eq(seen.event.source, "/orders");
    cr_expect_str_eq(seen.event.type, "wechatpay.presign.app.requested");
    cr_expect_str_eq(seen.event.mchid, "1900007291");
    cr_expect_str_eq(seen.event.traceparent, PARENT);
    cr_expect_str_eq(seen.event.tracestate, "rojo=1");
    cr_expect_eq(seen.event.expirytime_ms, 1795420800500);
    cr_expect_eq(json_integer_value(json_object_get(seen.event.data, "plan_id")), 12535);
}

Test(event, the_same_event_in_binary_mode)
{
    static const struct record_header headers[] = {
        BINARY,
        H("ce_mchid", "1900007291"),
        H("ce_traceparent", PARENT),
        H("content-type", "application/json; charset=UTF-8"),
        {0}};
    AUTO_SEEN struct seen seen = decode("{\"plan_id\":12535}", headers);
    cr_assert_eq(seen.status, EVENT_OK, "%s", seen.message);
    cr_expect_str_eq(seen.event.id, "7f1c");
    cr_expect_str_eq(seen.event.mchid, "1900007291");
    cr_expect_str_eq(seen.event.traceparent, PARENT);
    cr_expect_eq(seen.event.expirytime_ms, -1);
    cr_expect_eq(json_integer_value(json_object_get(seen.event.data, "plan_id")), 12535);
}

Test(event, the_message_says_that_an_attribute_is_missing_or_wrong)
{
    AUTO_SEEN struct seen seen = decode("{\"specversion\": \"1.0\"}", NULL);
    cr_expect_eq(seen.status, EVENT_INVALID_CLOUDEVENT);
    cr_expect_str_eq(seen.message, "an attribute is missing or wrong");
}

struct decode_case {
    const char *title;
    struct record_header headers[HEADERS_OF_CASE];
    const char *value;
    enum event_status status;
};

static void check_all(const struct decode_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        AUTO_SEEN struct seen seen = decode(cases[i].value, cases[i].headers);
        cr_expect_eq(seen.status, cases[i].status, "%s: status %d, %s", cases[i].title,
                     (int)seen.status, seen.message);
        cr_expect_eq(seen.status == EVENT_OK, seen.message[0] == '\0');
        cr_expect(seen.status == EVENT_INVALID_CLOUDEVENT || seen.errors.total == 0,
                  "%s: errors are attributes'", cases[i].title);
    }
}

Test(event, headers_decide_the_mode_first)
{
    static const struct decode_case cases[] = {
        {"structured by header",
         {H("content-type", "application/cloudevents+json")},
         "{" REQUIRED "}",
         EVENT_OK},
        {"in any case",
         {H("Content-Type", "Application/CloudEvents+JSON; charset=\"UTF-8\"")},
         "{" REQUIRED "}",
         EVENT_OK},
        {"bare", {H("content-type", "application/cloudevents")}, "{" REQUIRED "}", EVENT_OK},
        {"bare with parameters",
         {H("content-type", "application/cloudevents; x=y")},
         "{" REQUIRED "}",
         EVENT_OK},
        {"structured, ce_ headers are ignored",
         {H("content-type", "application/cloudevents+json"), H("ce_id", "a"), H("ce_id", "b"),
          H_NULL("ce_type")},
         "{" REQUIRED "}",
         EVENT_OK},
        {"structured, though ce_ comes first",
         {H("ce_id", "a"), H("content-type", "application/cloudevents+json")},
         "{" REQUIRED "}",
         EVENT_OK},
        {"structured, and binary headers do not help",
         {BINARY, H("content-type", "application/cloudevents+json")},
         "{\"data\":{}}",
         EVENT_INVALID_CLOUDEVENT},
        {"a batch",
         {H("content-type", "application/cloudevents-batch+json")},
         "[{" REQUIRED "}]",
         EVENT_INVALID_CLOUDEVENT},
        {"avro, looked at no further",
         {H("content-type", "application/cloudevents+avro")},
         "\x01\x02 no JSON",
         EVENT_INVALID_CLOUDEVENT},
        {"another charset",
         {H("content-type", "application/cloudevents+json; charset=gbk")},
         "{" REQUIRED "}",
         EVENT_INVALID_CLOUDEVENT},
        {"avro, but empty first",
         {H("content-type", "application/cloudevents+avro")},
         "",
         EVENT_EMPTY},
        {"specversion in the value", {{0}}, "{" REQUIRED "}", EVENT_OK},
        {"whatever content-type says",
         {H("content-type", "application/json")},
         "{" REQUIRED "}",
         EVENT_OK},
        {"even text",
         {H("content-type", "text/plain"), H_NULL("content-type")},
         "{" REQUIRED "}",
         EVENT_OK},
        {"one ce_ header makes it binary",
         {H("CE_time", "2026-11-23T08:00:00Z")},
         "{" REQUIRED "}",
         EVENT_INVALID_CLOUDEVENT},
        {"binary", {BINARY}, "{}", EVENT_OK},
        {"binary in any case",
         {H("CE_SpecVersion", "1.0"), H("Ce_Id", "1"), H("cE_source", "s"), H("CE_TYPE", "t")},
         "{}",
         EVENT_OK},
    };
    check_all(cases, ARRAY_LENGTH(cases));
}

Test(event, without_headers_the_value_decides_the_mode)
{
    static const struct decode_case cases[] = {
        {"neither: not JSON", {{0}}, "hello", EVENT_INVALID_JSON},
        {"neither: JSON", {{0}}, "{\"plan_id\":1}", EVENT_INVALID_CLOUDEVENT},
        {"neither: a number", {{0}}, "7", EVENT_INVALID_CLOUDEVENT},
        {"neither: a string", {{0}}, "\"specversion\"", EVENT_INVALID_CLOUDEVENT},
        {"neither: null", {{0}}, "null", EVENT_INVALID_CLOUDEVENT},
        {"neither: a list of events", {{0}}, "[{" REQUIRED "}]", EVENT_INVALID_CLOUDEVENT},
        {"ce- is another binding's prefix", {H("ce-id", "1")}, "{}", EVENT_INVALID_CLOUDEVENT},
    };
    check_all(cases, ARRAY_LENGTH(cases));
}

Test(event, the_checks_have_an_order)
{
    static const struct decode_case cases[] = {
        {"null before all", {BINARY, H_NULL("ce_time")}, NULL, EVENT_EMPTY},
        {"empty", {BINARY}, "", EVENT_EMPTY},
        {"JSON before attributes", {H("ce_specversion", "1.0")}, "{\"a\":", EVENT_INVALID_JSON},
        {"structured likewise", {{0}}, "{\"specversion\":\"1.0\"", EVENT_INVALID_JSON},
        {"a member twice", {{0}}, "{" REQUIRED ",\"id\":\"7f1c\"}", EVENT_INVALID_JSON},
        {"binary data may be any JSON", {BINARY}, "[1,2]", EVENT_OK},
        {"a number", {BINARY}, "12", EVENT_OK},
        {"null", {BINARY}, "null", EVENT_OK},
        {"but not text", {BINARY, H("content-type", "text/plain")}, "hello", EVENT_INVALID_JSON},
    };
    check_all(cases, ARRAY_LENGTH(cases));
}

/* --- attributes ---------------------------------------------------------------------------- */

struct blame {
    const char *title;
    struct record_header headers[HEADERS_OF_CASE];
    const char *value;
    const char *attribute, *error;
};

static void tell_blames(const struct blame *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct blame *it = &table[i];
        AUTO_SEEN struct seen seen = decode(it->value, it->headers);
        cr_expect_eq(seen.status, EVENT_INVALID_CLOUDEVENT, "%s: status %d", it->title,
                     (int)seen.status);
        cr_expect_eq(seen.errors.total, 1, "%s: %zu errors", it->title, seen.errors.total);
        cr_expect(blames(&seen, it->attribute, it->error), "%s: %s %s", it->title,
                  seen.errors.count == 0 ? "no" : seen.errors.items[0].attribute,
                  seen.errors.count == 0 ? "blame" : seen.errors.items[0].error);
    }
}

#define WITHOUT_ID "\"specversion\":\"1.0\",\"source\":\"s\",\"type\":\"t\""
#define FORBIDDEN  "contains a character that CloudEvents does not allow"

static const struct blame structured_blames[] = {
    {"no id", {{0}}, "{" WITHOUT_ID "}", "id", "is missing"},
    {"id null", {{0}}, "{" WITHOUT_ID ",\"id\":null}", "id", "is missing"},
    {"id empty", {{0}}, "{" WITHOUT_ID ",\"id\":\"\"}", "id", "is empty"},
    {"id a number", {{0}}, "{" WITHOUT_ID ",\"id\":7}", "id", "is not a string"},
    {"id with a line feed", {{0}}, "{" WITHOUT_ID ",\"id\":\"a\\n\"}", "id", FORBIDDEN},
    {"id with DEL", {{0}}, "{" WITHOUT_ID ",\"id\":\"\\u007f\"}", "id", FORBIDDEN},
    {"id with NEL", {{0}}, "{" WITHOUT_ID ",\"id\":\"\\u0085\"}", "id", FORBIDDEN},
    {"id with U+FFFE", {{0}}, "{" WITHOUT_ID ",\"id\":\"\\ufffe\"}", "id", FORBIDDEN},
    {"id with U+FDD0", {{0}}, "{" WITHOUT_ID ",\"id\":\"\\ufdd0\"}", "id", FORBIDDEN},
    {"id with U+10FFFF", {{0}}, "{" WITHOUT_ID ",\"id\":\"\xf4\x8f\xbf\xbf\"}", "id", FORBIDDEN},
    {"specversion null",
     {{0}},
     "{\"specversion\":null,\"id\":\"1\",\"source\":\"s\",\"type\":\"t\"}",
     "specversion",
     "is missing"},
    {"specversion 0.3",
     {{0}},
     "{\"specversion\":\"0.3\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\"}",
     "specversion",
     "is not 1.0"},
    {"specversion a number",
     {{0}},
     "{\"specversion\":1.0,\"id\":\"1\",\"source\":\"s\",\"type\":\"t\"}",
     "specversion",
     "is not a string"},
    {"mchid a number", {{0}}, "{" REQUIRED ",\"mchid\":1900007291}", "mchid", "is not a string"},
    {"mchid with a letter",
     {{0}},
     "{" REQUIRED ",\"mchid\":\"19000x\"}",
     "mchid",
     "is not 1 to 32 digits"},
    {"mchid empty", {{0}}, "{" REQUIRED ",\"mchid\":\"\"}", "mchid", "is not 1 to 32 digits"},
    {"mchid too long",
     {{0}},
     "{" REQUIRED ",\"mchid\":\"123456789012345678901234567890123\"}",
     "mchid",
     "is not 1 to 32 digits"},
    {"expirytime a day",
     {{0}},
     "{" REQUIRED ",\"expirytime\":\"2026-11-23\"}",
     "expirytime",
     "is not an RFC 3339 time"},
    {"expirytime a number",
     {{0}},
     "{" REQUIRED ",\"expirytime\":1795420800}",
     "expirytime",
     "is not a string"},
    {"another type of data",
     {{0}},
     "{" REQUIRED ",\"datacontenttype\":\"application/xml\",\"data\":\"<a/>\"}",
     "datacontenttype",
     "is not application/json in utf-8"},
    {"a type of data that is a list",
     {{0}},
     "{" REQUIRED ",\"datacontenttype\":[]}",
     "datacontenttype",
     "is not a string"},
    {"data twice",
     {{0}},
     "{" REQUIRED ",\"data\":{},\"data_base64\":\"e30=\"}",
     "data_base64",
     "is given together with data"},
    {"data_base64 an object",
     {{0}},
     "{" REQUIRED ",\"data_base64\":{}}",
     "data_base64",
     "is not a string"},
    {"data_base64 of other text",
     {{0}},
     "{" REQUIRED ",\"data_base64\":\"e30\"}",
     "data_base64",
     "is not base64"},
};

Test(event, wrong_attributes_of_structured_events)
{
    tell_blames(structured_blames, ARRAY_LENGTH(structured_blames));
}

static const struct blame binary_blames[] = {
    {"id twice", {BINARY, H("CE_ID", "7f1c")}, "{}", "id", "is given twice"},
    {"id empty",
     {H("ce_specversion", "1.0"), H("ce_id", ""), H("ce_source", "s"), H("ce_type", "t")},
     "{}",
     "id",
     "is empty"},
    {"id null",
     {H("ce_specversion", "1.0"), H_NULL("ce_id"), H("ce_source", "s"), H("ce_type", "t")},
     "{}",
     "id",
     "is null"},
    {"id Latin-1",
     {H("ce_specversion", "1.0"), H("ce_id", "\xe9"), H("ce_source", "s"), H("ce_type", "t")},
     "{}",
     "id",
     "is not UTF-8"},
    {"id with NUL",
     {H("ce_specversion", "1.0"), H("ce_id", "a\0b"), H("ce_source", "s"), H("ce_type", "t")},
     "{}",
     "id",
     FORBIDDEN},
    {"another version",
     {H("ce_specversion", "1.0.2"), H("ce_id", "1"), H("ce_source", "s"), H("ce_type", "t")},
     "{}",
     "specversion",
     "is not 1.0"},
    {"an ignored one twice",
     {BINARY, H("ce_time", "1"), H("CE_Time", "2"), H("ce_TIME", "3")},
     "{}",
     "time",
     "is given twice"},
    {"an ignored one null", {BINARY, H_NULL("ce_subject")}, "{}", "subject", "is null"},
    {"an ignored one Latin-1", {BINARY, H("ce_subject", "\xe9")}, "{}", "subject", "is not UTF-8"},
    {"ce_datacontenttype, which is not content-type",
     {BINARY, H_NULL("ce_datacontenttype")},
     "{}",
     "datacontenttype",
     "is null"},
    {"no name", {BINARY, H_NULL("ce_")}, "{}", "ce_", "is null"},
    {"a name that is not UTF-8",
     {BINARY, H("ce_\xff", "1")},
     "{}",
     "\xef\xbf\xbd",
     "has a name that is not UTF-8"},
    {"traceparent twice",
     {BINARY, H("ce_traceparent", PARENT), H("ce_traceparent", PARENT)},
     "{}",
     "traceparent",
     "is given twice"},
    {"content-type twice",
     {BINARY, H("content-type", "application/json"), H("Content-Type", "application/json")},
     "{}",
     "datacontenttype",
     "is given twice"},
    {"content-type null", {BINARY, H_NULL("content-type")}, "{}", "datacontenttype", "is null"},
    {"content-type empty",
     {BINARY, H("content-type", "")},
     "{}",
     "datacontenttype",
     "is not application/json in utf-8"},
    {"content-type of text",
     {BINARY, H("content-type", "text/json")},
     "{}",
     "datacontenttype",
     "is not application/json in utf-8"},
    {"another charset",
     {BINARY, H("content-type", "application/json;charset=gb2312")},
     "{}",
     "datacontenttype",
     "is not application/json in utf-8"},
};

Test(event, wrong_attributes_of_binary_events)
{
    tell_blames(binary_blames, ARRAY_LENGTH(binary_blames));
}

Test(event, every_wrong_attribute_is_named)
{
    AUTO_SEEN struct seen seen =
        decode("{\"id\":\"\",\"source\":3,\"mchid\":\"x\",\"expirytime\":\"y\",\"time\":5}", NULL);
    cr_expect_eq(seen.status, EVENT_INVALID_CLOUDEVENT);
    cr_expect_eq(seen.errors.total, 6);
    cr_expect(blames(&seen, "specversion", "is missing"));
    cr_expect(blames(&seen, "id", "is empty"));
    cr_expect(blames(&seen, "source", "is not a string"));
    cr_expect(blames(&seen, "type", "is missing"));
    cr_expect(blames(&seen, "mchid", "is not 1 to 32 digits"));
    cr_expect(blames(&seen, "expirytime", "is not an RFC 3339 time"));
}

Test(event, valid_attributes)
{
    static const struct decode_case cases[] = {
        {"other scripts", {{0}}, "{" WITHOUT_ID ",\"id\":\"订单😀\"}", EVENT_OK},
        {"unset ones",
         {{0}},
         "{" REQUIRED ",\"mchid\":null,\"expirytime\":null,\"datacontenttype\":null,"
         "\"data\":null,\"data_base64\":null,\"traceparent\":null}",
         EVENT_OK},
        {"unknown ones of any kind",
         {{0}},
         "{" REQUIRED ",\"x\":{},\"y\":3,\"time\":false}",
         EVENT_OK},
        {"a time before 1970",
         {{0}},
         "{" REQUIRED ",\"expirytime\":\"1969-01-01T00:00:00Z\"}",
         EVENT_OK},
        {"ce_datacontenttype is another one",
         {BINARY, H("ce_datacontenttype", "text/xml")},
         "{}",
         EVENT_OK},
        {"any other header, twice and null", {BINARY, H("x", "\xff"), H_NULL("x")}, "{}", EVENT_OK},
    };
    check_all(cases, ARRAY_LENGTH(cases));
    AUTO_SEEN struct seen old =
        decode("{" REQUIRED ",\"expirytime\":\"1969-01-01T00:00:00Z\"}", NULL);
    cr_expect_eq(old.event.expirytime_ms, 0, "it has expired, it is not absent");
}

/* --- data ---------------------------------------------------------------------------------- */

Test(event, data_base64_is_decoded)
{
    AUTO_SEEN struct seen seen =
        decode("{" REQUIRED ",\"data_base64\":\"eyJwbGFuX2lkIjoxMjUzNX0=\"}", NULL);
    cr_assert_eq(seen.status, EVENT_OK);
    cr_expect_eq(json_integer_value(json_object_get(seen.event.data, "plan_id")), 12535);

    static const struct decode_case cases[] = {
        {"of nothing", {{0}}, "{" REQUIRED ",\"data_base64\":\"\"}", EVENT_INVALID_JSON},
        {"of half an object", {{0}}, "{" REQUIRED ",\"data_base64\":\"ew==\"}", EVENT_INVALID_JSON},
        {"of it, and without an id",
         {{0}},
         "{" WITHOUT_ID ",\"data_base64\":\"ew==\"}",
         EVENT_INVALID_JSON},
        {"of a member twice",
         {{0}},
         "{" REQUIRED ",\"data_base64\":\"eyJhIjoxLCJhIjoxfQ==\"}",
         EVENT_INVALID_JSON},
    };
    check_all(cases, ARRAY_LENGTH(cases));
}

Test(event, absent_and_null_data_are_one)
{
    AUTO_SEEN struct seen absent = decode("{" REQUIRED "}", NULL);
    AUTO_SEEN struct seen null = decode("{" REQUIRED ",\"data\":null}", NULL);
    cr_expect_eq(absent.status, EVENT_OK);
    cr_expect_null(absent.event.data);
    cr_expect_eq(null.status, EVENT_OK);
    cr_expect_null(null.event.data);
}

Test(event, data_of_any_type_is_decoded)
{
    AUTO_SEEN struct seen text = decode("{" REQUIRED ",\"data\":\"{}\"}", NULL);
    cr_expect_eq(text.status, EVENT_OK);
    cr_expect(json_is_string(text.event.data));
}

/* --- Trace Context ------------------------------------------------------------------------- */

static const struct {
    const char *title;
    struct record_header headers[HEADERS_OF_CASE];
    const char *value;
    const char *parent, *state;
} trace_cases[] = {
    {"none", {{0}}, "{" REQUIRED "}", NULL, NULL},
    {"bare headers",
     {H("traceparent", PARENT), H("tracestate", "a=1")},
     "{" REQUIRED "}",
     PARENT,
     "a=1"},
    {"bare headers, any case, binary", {BINARY, H("TraceParent", PARENT)}, "{}", PARENT, NULL},
    {"a list in two headers",
     {H("tracestate", "a=1"), H("traceparent", PARENT), H("tracestate", "b=2")},
     "{" REQUIRED "}",
     PARENT,
     "a=1,b=2"},
    {"the event's own first",
     {H("traceparent", OTHER), H("tracestate", "a=1")},
     "{" REQUIRED ",\"traceparent\":\"" PARENT "\"}",
     PARENT,
     NULL},
    {"its own in binary mode",
     {BINARY, H("ce_traceparent", PARENT), H("traceparent", OTHER)},
     "{}",
     PARENT,
     NULL},
    {"its own malformed",
     {H("traceparent", OTHER)},
     "{" REQUIRED ",\"traceparent\":\"x\"}",
     NULL,
     NULL},
    {"its own no string",
     {H("traceparent", OTHER)},
     "{" REQUIRED ",\"traceparent\":5}",
     NULL,
     NULL},
    {"malformed, state and all",
     {H("traceparent", "x"), H("tracestate", "a=1")},
     "{" REQUIRED "}",
     NULL,
     NULL},
    {"twice", {H("traceparent", PARENT), H("traceparent", PARENT)}, "{" REQUIRED "}", NULL, NULL},
    {"null", {H_NULL("traceparent"), H_NULL("tracestate")}, "{" REQUIRED "}", NULL, NULL},
    {"only the state malformed",
     {H("traceparent", PARENT), H("tracestate", "A=1")},
     "{" REQUIRED "}",
     PARENT,
     NULL},
    {"a state without a parent",
     {H("tracestate", "a=1")},
     "{" REQUIRED ",\"tracestate\":\"b=1\"}",
     NULL,
     NULL},
    {"tabs become spaces",
     {H("traceparent", PARENT), H("tracestate", "a=1,\tb=2")},
     "{" REQUIRED "}",
     PARENT,
     "a=1, b=2"},
};

Test(event, trace_context_is_copied_or_dropped)
{
    for (size_t i = 0; i < ARRAY_LENGTH(trace_cases); i++) {
        AUTO_SEEN struct seen seen = decode(trace_cases[i].value, trace_cases[i].headers);
        cr_expect_eq(seen.status, EVENT_OK, "%s", trace_cases[i].title);
        const char *parent = seen.event.traceparent, *state = seen.event.tracestate;
        cr_expect_str_eq(parent == NULL ? "-" : parent,
                         trace_cases[i].parent == NULL ? "-" : trace_cases[i].parent, "%s",
                         trace_cases[i].title);
        cr_expect_str_eq(state == NULL ? "-" : state,
                         trace_cases[i].state == NULL ? "-" : trace_cases[i].state, "%s",
                         trace_cases[i].title);
    }
}

/* --- failed events ------------------------------------------------------------------------- */

Test(event, a_failure_can_name_its_event)
{
    static const struct {
        const char *title;
        struct record_header headers[HEADERS_OF_CASE];
        const char *value;
        const char *id, *type;
    } cases[] = {
        {"empty, binary",
         {BINARY, H("ce_time", "1")},
         NULL,
         "7f1c",
         "wechatpay.presign.app.requested"},
        {"not JSON, binary", {BINARY}, "{", "7f1c", "wechatpay.presign.app.requested"},
        {"not JSON, structured", {{0}}, "{" REQUIRED, NULL, NULL},
        {"data not JSON",
         {{0}},
         "{" REQUIRED ",\"data_base64\":\"ew==\"}",
         "7f1c",
         "wechatpay.presign.app.requested"},
        {"another attribute wrong",
         {{0}},
         "{" REQUIRED ",\"mchid\":\"x\"}",
         "7f1c",
         "wechatpay.presign.app.requested"},
        {"no specversion", {{0}}, "{\"id\":\"1\",\"type\":\"t\"}", "1", "t"},
        {"one given twice is not reported",
         {BINARY, H("ce_id", "other")},
         "{}",
         NULL,
         "wechatpay.presign.app.requested"},
        {"one that is empty neither", {H("ce_id", ""), H("ce_type", "t")}, "{}", NULL, "t"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        AUTO_SEEN struct seen seen = decode(cases[i].value, cases[i].headers);
        cr_expect_neq(seen.status, EVENT_OK, "%s", cases[i].title);
        cr_expect_str_eq(seen.event.id == NULL ? "-" : seen.event.id,
                         cases[i].id == NULL ? "-" : cases[i].id, "%s", cases[i].title);
        cr_expect_str_eq(seen.event.type == NULL ? "-" : seen.event.type,
                         cases[i].type == NULL ? "-" : cases[i].type, "%s", cases[i].title);
    }
}

/* --- bounds -------------------------------------------------------------------------------- */

static enum event_status status_of_size(size_t value_len, size_t header_len, size_t key_len)
{
    AUTO_FREE char *space = mem_alloc(SIZE_MAX_OF_TESTS);
    memset(space, ' ', SIZE_MAX_OF_TESTS);
    AUTO_BUF struct buf value = {0};
    buf_puts(&value, "{" REQUIRED "}");
    buf_append(&value, space, value_len - value.len);
    struct record_header header = {"name", space, header_len - 4};
    struct record record = {.topic = "t",
                            .key = space,
                            .key_len = key_len,
                            .value = value.data,
                            .value_len = value.len,
                            .headers = &header,
                            .header_count = 1};
    AUTO_SEEN struct seen seen = {0};
    return event_decode(&record, SIZE_MAX_OF_TESTS, &seen.event, &seen.errors, &seen.message);
}

Test(event, key_value_and_headers_count_together)
{
    cr_expect_eq(status_of_size(65000, 500, 36), EVENT_OK);
    cr_expect_eq(status_of_size(65001, 500, 36), EVENT_TOO_LARGE);
    cr_expect_eq(status_of_size(65000, 501, 36), EVENT_TOO_LARGE);
    cr_expect_eq(status_of_size(65000, 500, 37), EVENT_TOO_LARGE);
}

/* `{REQUIRED,"data":` or nothing, then `depth` nested arrays. */
static enum event_status status_at_depth(const char *before, size_t depth, const char *after,
                                         const struct record_header *headers)
{
    AUTO_BUF struct buf text = {0};
    buf_puts(&text, before);
    for (size_t i = 0; i < depth; i++) {
        buf_putc(&text, '[');
    }
    for (size_t i = 0; i < depth; i++) {
        buf_putc(&text, ']');
    }
    buf_puts(&text, after);
    AUTO_SEEN struct seen seen = decode(text.data, headers);
    return seen.status;
}

Test(event, nesting_counts_the_outermost)
{
    static const struct record_header binary[HEADERS_OF_CASE] = {BINARY};
    cr_expect_eq(status_at_depth("", 64, "", binary), EVENT_OK);
    cr_expect_eq(status_at_depth("", 65, "", binary), EVENT_INVALID_JSON);
    cr_expect_eq(status_at_depth("{" REQUIRED ",\"data\":", 63, "}", NULL), EVENT_OK);
    cr_expect_eq(status_at_depth("{" REQUIRED ",\"data\":", 64, "}", NULL), EVENT_INVALID_JSON);
    cr_expect_eq(status_at_depth("", 10000, "", binary), EVENT_INVALID_JSON);
}

Test(event, thousands_of_headers_cost_little)
{
    enum { COUNT = 20000 };
    struct record_header *headers = mem_zalloc(COUNT + 4, sizeof *headers);
    static const struct record_header required[] = {BINARY};
    memcpy(headers, required, sizeof required);
    for (size_t i = 4; i < COUNT + 4; i++) {
        headers[i].name = i % 2 == 0 ? "ce_a" : "CE_A";
        headers[i].value = "";
    }
    struct record record = {
        .topic = "t", .value = "{}", .value_len = 2, .headers = headers, .header_count = COUNT + 4};
    AUTO_SEEN struct seen seen = {0};
    seen.status = event_decode(&record, 1 << 20, &seen.event, &seen.errors, &seen.message);
    cr_expect_eq(seen.status, EVENT_INVALID_CLOUDEVENT);
    cr_expect_eq(seen.errors.total, 1, "one name, one error");
    free(headers);
}

Test(event, errors_beyond_the_limit_are_counted_only)
{
    struct record_header headers[40];
    char names[40][8];
    for (size_t i = 0; i < 40; i++) {
        snprintf(names[i], sizeof names[i], "ce_%zu", i);
        headers[i] = (struct record_header){.name = names[i]};
    }
    AUTO_SEEN struct seen seen = decode_bytes("{}", 2, headers, 40);
    cr_expect_eq(seen.status, EVENT_INVALID_CLOUDEVENT);
    cr_expect_eq(seen.errors.count, VIOLATIONS_MAX);
    cr_expect_eq(seen.errors.total, 44);
}

/* --- the body ------------------------------------------------------------------------------ */

Test(event, the_body_is_the_data_only)
{
    AUTO_SEEN struct seen seen =
        decode("{" REQUIRED ",\"data\": {\"z\": 1, \"a\": \"微信 (a/b) \\u5fae \\\"q\\\" \\u001f\","
               " \"plan_id\": 9223372036854775807,\n \"m\": {\"y\": -5, \"x\": []}}}",
               NULL);
    cr_assert_eq(seen.status, EVENT_OK);
    size_t len = 0;
    AUTO_FREE char *body = event_body(seen.event.data, &len);
    cr_expect_str_eq(body, "{\"z\":1,\"a\":\"微信 (a/b) 微 \\\"q\\\" \\u001F\","
                           "\"plan_id\":9223372036854775807,\"m\":{\"y\":-5,\"x\":[]}}");
    cr_expect_eq(len, strlen(body));
    AUTO_FREE char *again = event_body(seen.event.data, &len);
    cr_expect_str_eq(again, body);
}

/* --- random bytes -------------------------------------------------------------------------- */

/* xorshift64: the same bytes in every run. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void spoil(char *bytes, size_t len, uint64_t *random)
{
    static const unsigned char likely[] = "\"\\{}[]:,0\xff\xc3\x80u ";
    size_t changes = next_random(random) % 4;
    for (size_t i = 0; i < changes && len > 0; i++) {
        size_t at = next_random(random) % len;
        unsigned char any = next_random(random) % 256;
        memcpy(bytes + at, any < 128 ? &likely[any % sizeof likely] : &any, 1);
    }
}

Test(event, random_bytes_never_crash_it)
{
    static const char structured[] =
        "{" REQUIRED ",\"mchid\":\"1900007291\",\"expirytime\":\"2026-11-23T08:00:00Z\","
        "\"traceparent\":\"" PARENT "\",\"tracestate\":\"a=1,b=2\",\"data_base64\":\"e30=\"}";
    uint64_t random = 20261123;
    size_t by_status[EVENT_INVALID_CLOUDEVENT + 1] = {0};
    for (size_t i = 0; i < 20000; i++) {
        AUTO_FREE char *value = mem_dup(structured, sizeof structured - 1);
        char name[] = "ce_source", type[] = "application/cloudevents+json; charset=utf-8";
        spoil(value, sizeof structured - 1, &random);
        spoil(name, sizeof name - 1, &random);
        spoil(type, sizeof type - 1, &random);
        struct record_header headers[] = {{"content-type", type, sizeof type - 1},
                                          {name, value, 20}};
        size_t skip = next_random(&random) % 3;
        AUTO_SEEN struct seen seen =
            decode_bytes(value, sizeof structured - 1 - next_random(&random) % 2,
                         headers + (skip == 0 ? 0 : 1), skip == 2 ? 0 : 2 - skip);
        by_status[seen.status]++;
        cr_assert(seen.event.tracestate == NULL || seen.event.traceparent != NULL);
        cr_assert(seen.status != EVENT_OK || seen.event.id != NULL);
    }
    cr_expect_gt(by_status[EVENT_OK], 100);
    cr_expect_gt(by_status[EVENT_INVALID_JSON], 100);
    cr_expect_gt(by_status[EVENT_INVALID_CLOUDEVENT], 100);
}
