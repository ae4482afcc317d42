#include "presignd/wire/outcome.h"

#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/schema/schema.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define H(name, text)                \
    {                                \
        name, text, sizeof(text) - 1 \
    }

static const struct record record_of_tests = {
    .topic = "presign.requests",
    .partition = 3,
    .offset = 41,
    .timestamp_ms = 1795420800120, /* 2026-11-23T08:00:00.120Z */
    .value = "{}",
    .value_len = 2,
};

static const struct event event_of_tests = {
    .id = (char *)"7f1c",
    .source = (char *)"/orders",
    .type = (char *)"wechatpay.presign.app.requested",
    .traceparent = (char *)"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    .tracestate = (char *)"rojo=1",
};

static const struct outcome_common common_of_tests = {
    .cluster_id = "MkU3OEVBNTcwNTJENDM2Qg",
    .group_id = "presignd",
    .record = &record_of_tests,
    .event = &event_of_tests,
    .completed_ms = 1795420800345,
    .endpoint = "app",
    .mchid = "1900007291",
    .out_contract_code = "wxwtdk20200910100000",
    .attempts = 1,
};

static const struct outcome_failure failure_of_tests = {
    .reason = "invalid_request",
    .call_state = "not_sent",
    .message = "data does not match app.request.json",
    .original = true,
};

static struct schema_set *set;
static const struct schema *result_schema, *failure_schema;

static void load_schemas(void)
{
    char *error = NULL;
    set = schema_set_new(SCHEMA_ASSERT_FORMATS | SCHEMA_INTEGERS_AS_WRITTEN);
    cr_assert(schema_set_add_dir(set, PRESIGND_SOURCE_DIR "/schemas", &error), "%s", error);
    result_schema = schema_compile(set, SCHEMA_BASE "result.json", &error);
    cr_assert_not_null(result_schema, "%s", error);
    failure_schema = schema_compile(set, SCHEMA_BASE "failure.json", &error);
    cr_assert_not_null(failure_schema, "%s", error);
}

static void free_schemas(void)
{
    set = schema_set_free(set);
}

TestSuite(outcome, .init = load_schemas, .fini = free_schemas);

/* Every outcome is strict JSON and matches its schema. */
static json_t *parse(const struct outcome_bytes *out)
{
    json_error_t error;
    cr_assert(text_utf8_valid(out->value.data, out->value.len));
    json_t *value = json_loadb(out->value.data, out->value.len,
                               JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    cr_assert_not_null(value, "%s at %d", error.text, error.position);
    bool failed = strstr(json_string_value(json_object_get(value, "type")), "failed") != NULL;
    struct violations found = {0};
    cr_expect(schema_validate(failed ? failure_schema : result_schema, value, &found), "%s %s %s",
              found.items[0].instance_location, found.items[0].keyword_location,
              found.items[0].error);
    violations_deinit(&found);
    return value;
}

static const json_t *data_of(const json_t *outcome)
{
    return json_object_get(outcome, "data");
}

static const char *text_at(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? "(none)" : text;
}

static void expect_header(const struct outcome_bytes *out, size_t i, const char *name,
                          const char *value)
{
    cr_assert_lt(i, out->header_count);
    cr_expect_str_eq(out->headers[i].name, name);
    cr_expect_str_eq(out->headers[i].value, value);
    cr_expect_eq(out->headers[i].value_len, strlen(value));
}

/* --- the documented records ---------------------------------------------------------------- */

Test(outcome, a_result_byte_for_byte)
{
    AUTO_JSON json_t *data =
        json_pack("{s:s, s:s, s:I, s:s}", "sp_appid", "wx8888888888888888", "sub_mchid",
                  "1900000109", "plan_id", (json_int_t)12535, "out_contract_code", "x");
    static const char response[] = "{\"pre_entrustweb_id\" : \"202011201900110001\",\"n\":1.50,"
                                   "\"new\":[null]}";
    struct outcome_common common = common_of_tests;
    common.endpoint = "partner-mini-program";
    AUTO_FREE char *members = outcome_request_members(data);
    struct outcome_result result = {
        .request_members = members,
        .id_field = "pre_entrustweb_id",
        .id_value = "202011201900110001",
        .response = response,
        .response_len = strlen(response),
        .issued_ms = 1795420800000,
        .expires_ms = 1795421400000,
        .host = "api.mch.weixin.qq.com",
        .request_id = "08F7",
        .wechatpay_serial = "PUB_KEY_ID_01",
    };
    struct outcome_bytes out;
    outcome_result_write(&out, &common, &result);
    cr_expect_str_eq(
        out.value.data,
        "{\"specversion\":\"1.0\",\"id\":\"presign.requests/3/41\","
        "\"source\":\"/presignd/MkU3OEVBNTcwNTJENDM2Qg/presignd\","
        "\"type\":\"wechatpay.presign.partner-mini-program.succeeded\","
        "\"subject\":\"wxwtdk20200910100000\",\"time\":\"2026-11-23T08:00:00.345Z\","
        "\"datacontenttype\":\"application/json\",\"expirytime\":\"2026-11-23T08:10:00Z\","
        "\"traceparent\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\","
        "\"tracestate\":\"rojo=1\",\"data\":{"
        "\"event\":{\"id\":\"7f1c\",\"source\":\"/orders\","
        "\"type\":\"wechatpay.presign.app.requested\",\"topic\":\"presign.requests\","
        "\"partition\":3,\"offset\":41,\"timestamp\":\"2026-11-23T08:00:00.120Z\"},"
        "\"endpoint\":\"partner-mini-program\",\"mchid\":\"1900007291\","
        "\"sub_mchid\":\"1900000109\",\"appid\":\"wx8888888888888888\",\"plan_id\":12535,"
        "\"out_contract_code\":\"wxwtdk20200910100000\","
        "\"pre_entrustweb_id\":\"202011201900110001\","
        "\"response\":{\"pre_entrustweb_id\" : \"202011201900110001\",\"n\":1.50,"
        "\"new\":[null]},"
        "\"issued_at\":\"2026-11-23T08:00:00Z\",\"expires_at\":\"2026-11-23T08:10:00Z\","
        "\"attempts\":1,\"host\":\"api.mch.weixin.qq.com\",\"request_id\":\"08F7\","
        "\"wechatpay_serial\":\"PUB_KEY_ID_01\"}}");
    cr_expect_eq(out.header_count, 5);
    expect_header(&out, 0, "content-type", "application/cloudevents+json");
    expect_header(&out, 1, "ce_type", "wechatpay.presign.partner-mini-program.succeeded");
    expect_header(&out, 2, "ce_id", "presign.requests/3/41");
    expect_header(&out, 3, "ce_source", "/presignd/MkU3OEVBNTcwNTJENDM2Qg/presignd");
    expect_header(&out, 4, "ce_subject", "wxwtdk20200910100000");
    AUTO_JSON json_t *parsed = parse(&out);
    cr_expect_not_null(parsed);
    outcome_bytes_deinit(&out);
}

Test(outcome, a_direct_result_omits_absent_members)
{
    AUTO_JSON json_t *data =
        json_pack("{s:s, s:I}", "appid", "wxd678efh567hg6787", "plan_id", (json_int_t)1);
    AUTO_FREE char *members = outcome_request_members(data);
    struct outcome_result result = {.request_members = members,
                                    .id_field = "redirect_url",
                                    .id_value = "https://example.com/\"x\"",
                                    .response = "{}",
                                    .response_len = 2,
                                    .issued_ms = 0,
                                    .expires_ms = 600000,
                                    .host = "h",
                                    .wechatpay_serial = "PUB_KEY_ID_01"};
    struct outcome_bytes out;
    outcome_result_write(&out, &common_of_tests, &result);
    AUTO_JSON json_t *outcome = parse(&out);
    const json_t *inner = data_of(outcome);
    cr_expect_str_eq(text_at(inner, "appid"), "wxd678efh567hg6787");
    cr_expect_str_eq(text_at(inner, "redirect_url"), "https://example.com/\"x\"");
    cr_expect_null(json_object_get(inner, "sub_mchid"));
    cr_expect_null(json_object_get(inner, "request_id"));
    outcome_bytes_deinit(&out);
}

Test(outcome, a_failure_without_a_call)
{
    static const struct record_header headers[] = {H("ce_id", "7f1c")};
    struct record record = record_of_tests;
    record.headers = headers;
    record.header_count = 1;
    struct outcome_common common = common_of_tests;
    common.record = &record;
    common.mchid = NULL;
    common.attempts = 0;
    struct violations errors = {0};
    violations_add(&errors, "/plan_id", "/properties/plan_id/type",
                   "is a string, must be an integer");
    violations_add_attribute(&errors, "mchid", "is not 1 to 32 digits");
    struct outcome_failure failure = failure_of_tests;
    failure.errors = &errors;
    struct outcome_bytes out;
    outcome_failure_write(&out, &common, &failure);
    const char *from = strstr(out.value.data, "\"endpoint\"");
    cr_assert_not_null(from);
    cr_expect_str_eq(
        from, "\"endpoint\":\"app\",\"out_contract_code\":\"wxwtdk20200910100000\","
              "\"reason\":\"invalid_request\",\"retryable\":false,\"call_state\":\"not_sent\","
              "\"attempts\":0,\"message\":\"data does not match app.request.json\","
              "\"errors\":[{\"instanceLocation\":\"/plan_id\","
              "\"keywordLocation\":\"/properties/plan_id/type\","
              "\"error\":\"is a string, must be an integer\"},"
              "{\"attribute\":\"mchid\",\"error\":\"is not 1 to 32 digits\"}],"
              "\"original\":{\"value\":\"{}\",\"headers\":[{\"name\":\"ce_id\","
              "\"value\":\"7f1c\"}]}}}");
    cr_expect_null(strstr(out.value.data, "expirytime"));
    AUTO_JSON json_t *parsed = parse(&out);
    cr_expect_not_null(parsed);
    outcome_bytes_deinit(&out);
    violations_deinit(&errors);
}

Test(outcome, a_failure_rejected_after_a_retry)
{
    static const struct outcome_attempt attempts[] = {
        {1795420800000, "h", 38, 503, NULL, "unavailable"},
        {1795420800100, "h:8443", 0, 0, NULL, "unavailable"},
        {1795420800250, "h", 21, 400, "PARAM_ERROR", "rejected"},
    };
    struct outcome_failure failure = {.reason = "rejected",
                                      .retryable = false,
                                      .call_state = "unknown",
                                      .message = "400 PARAM_ERROR: no such plan",
                                      .answered = true,
                                      .status = 400,
                                      .code = "PARAM_ERROR",
                                      .answer_message = "no such plan",
                                      .answer_signed = true,
                                      .attempts = attempts,
                                      .attempt_count = 3};
    struct outcome_bytes out;
    outcome_failure_write(&out, &common_of_tests, &failure);
    const char *from = strstr(out.value.data, "\"reason\"");
    cr_assert_not_null(from);
    cr_expect_str_eq(
        from,
        "\"reason\":\"rejected\",\"retryable\":false,\"call_state\":\"unknown\",\"attempts\":1,"
        "\"message\":\"400 PARAM_ERROR: no such plan\","
        "\"answer\":{\"status\":400,\"code\":\"PARAM_ERROR\",\"message\":\"no such plan\","
        "\"signed\":true},"
        "\"attempt_log\":[{\"at\":\"2026-11-23T08:00:00.000Z\",\"host\":\"h\","
        "\"duration_ms\":38,\"status\":503,\"ended\":\"unavailable\"},"
        "{\"at\":\"2026-11-23T08:00:00.100Z\",\"host\":\"h:8443\",\"duration_ms\":0,"
        "\"ended\":\"unavailable\"},"
        "{\"at\":\"2026-11-23T08:00:00.250Z\",\"host\":\"h\",\"duration_ms\":21,"
        "\"status\":400,\"code\":\"PARAM_ERROR\",\"ended\":\"rejected\"}]}}");
    cr_expect_null(strstr(out.value.data, "original"), "failure_original = false leaves it out");
    AUTO_JSON json_t *parsed = parse(&out);
    cr_expect_not_null(parsed);
    outcome_bytes_deinit(&out);
}

/* --- the envelope -------------------------------------------------------------------------- */

Test(outcome, an_outcome_of_an_unreadable_event)
{
    struct record record = {.topic = "t", .timestamp_ms = -1};
    struct event unknown = {.expirytime_ms = -1};
    struct outcome_common common = {
        .cluster_id = "c", .group_id = "g", .record = &record, .event = &unknown};
    struct outcome_failure failure = failure_of_tests;
    failure.reason = "empty_event";
    struct outcome_bytes out;
    outcome_failure_write(&out, &common, &failure);
    cr_expect_eq(out.header_count, 4, "no subject");
    expect_header(&out, 1, "ce_type", "wechatpay.presign.failed");
    cr_expect_not_null(strstr(out.value.data, "\"type\":\"wechatpay.presign.failed\",\"time\""));
    cr_expect_not_null(
        strstr(out.value.data,
               "\"data\":{\"event\":{\"topic\":\"t\",\"partition\":0,\"offset\":0},\"reason\""));
    cr_expect_not_null(strstr(out.value.data, "\"original\":{\"value\":null,\"headers\":[]}}}"));
    AUTO_JSON json_t *parsed = parse(&out);
    cr_expect_not_null(parsed);
    outcome_bytes_deinit(&out);
}

Test(outcome, the_source_is_a_uri_reference)
{
    static const struct {
        const char *group, *source;
    } cases[] = {
        {"presignd", "/presignd/c/presignd"},
        {"pay team/eu", "/presignd/c/pay%20team%2Feu"},
        {"100%?#[]", "/presignd/c/100%25%3F%23%5B%5D"},
        {"a-b.c_d~e!$&'()*+,;=:@", "/presignd/c/a-b.c_d~e!$&'()*+,;=:@"},
        {"组", "/presignd/c/%E7%BB%84"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct outcome_common common = common_of_tests;
        common.cluster_id = "c";
        common.group_id = cases[i].group;
        struct outcome_bytes out;
        outcome_failure_write(&out, &common, &failure_of_tests);
        AUTO_JSON json_t *outcome = parse(&out);
        cr_expect_str_eq(text_at(outcome, "source"), cases[i].source);
        expect_header(&out, 3, "ce_source", cases[i].source);
        outcome_bytes_deinit(&out);
    }
}

Test(outcome, times_outside_rfc_3339_are_omitted)
{
    static const struct {
        int64_t timestamp_ms;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {-1, "(none)"},
        {INT64_MIN, "(none)"},
        {INT64_C(253402300799999), "9999-12-31T23:59:59.999Z"},
        {INT64_C(253402300800000), "(none)"},
        {INT64_MAX, "(none)"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct record record = record_of_tests;
        record.timestamp_ms = cases[i].timestamp_ms;
        struct outcome_common common = common_of_tests;
        common.record = &record;
        struct outcome_bytes out;
        outcome_failure_write(&out, &common, &failure_of_tests);
        AUTO_JSON json_t *outcome = parse(&out);
        cr_expect_str_eq(text_at(json_object_get(data_of(outcome), "event"), "timestamp"),
                         cases[i].text);
        outcome_bytes_deinit(&out);
    }
}

Test(outcome, strings_that_are_not_utf8_are_cleaned)
{
    struct outcome_failure failure = failure_of_tests;
    failure.message = "caf\xe9";
    failure.answered = true;
    failure.status = 400;
    failure.request_id = "\xed\xa0\x80\n";
    failure.answer_message = "\"微信\"\n";
    struct outcome_bytes out;
    outcome_failure_write(&out, &common_of_tests, &failure);
    AUTO_JSON json_t *outcome = parse(&out);
    const json_t *answer = json_object_get(data_of(outcome), "answer");
    cr_expect_str_eq(text_at(data_of(outcome), "message"), "caf\xef\xbf\xbd");
    cr_expect_str_eq(text_at(answer, "message"), "\"微信\"\n");
    cr_expect(
        text_utf8_valid(text_at(answer, "request_id"), strlen(text_at(answer, "request_id"))));
    outcome_bytes_deinit(&out);
}

/* --- originals ----------------------------------------------------------------------------- */

static json_t *original_of(const struct record *record)
{
    struct outcome_common common = common_of_tests;
    common.record = record;
    struct outcome_bytes out;
    outcome_failure_write(&out, &common, &failure_of_tests);
    cr_expect_lt(out.value.len, 1000000, "a broker takes no more by default");
    AUTO_JSON json_t *outcome = parse(&out);
    outcome_bytes_deinit(&out);
    return json_incref(json_object_get(data_of(outcome), "original"));
}

static void expect_bytes(const char *what, const void *a, size_t a_len, const void *b, size_t b_len)
{
    cr_expect_eq(a == NULL, b == NULL, "%s: null", what);
    cr_expect_eq(a_len, b_len, "%s: length", what);
    cr_expect(a_len != b_len || a_len == 0 || memcmp(a, b, a_len) == 0, "%s: bytes", what);
}

/* Writes an original and reads it back. */
static void expect_round_trip(const struct record *record)
{
    AUTO_JSON json_t *original = original_of(record);
    AUTO_FREE char *reason = NULL;
    struct record_owned *owned = outcome_original_read(original, &reason);
    cr_assert_not_null(owned, "%s", reason);
    expect_bytes("value", owned->record.value, owned->record.value_len, record->value,
                 record->value_len);
    cr_expect_eq(owned->record.header_count, record->header_count);
    for (size_t i = 0; i < record->header_count; i++) {
        const struct record_header *was = &record->headers[i], *is = &owned->record.headers[i];
        cr_expect_str_eq(is->name, was->name);
        expect_bytes(was->name, is->value, is->value_len, was->value, was->value_len);
    }
    record_owned_free(owned);
}

Test(outcome, originals_come_back_byte_for_byte)
{
    static const struct record_header headers[] = {
        H("ce_id", "7f1c"),    {"null", NULL, 0},           {"empty", "", 0}, H("ce_id", "again"),
        H("bytes", "\xff\0x"), H("text", "微信\0\x01\"\\"), H("", "no name")};
    static const struct {
        const char *value;
        size_t len;
    } values[] = {
        {NULL, 0},
        {"", 0},
        {"{\"a\":1}", 7},
        {"\xff", 1},
        {"\0", 1},
        {"caf\xe9", 4},
        {"\xf0\x9f\x98\x80\r\n\x7f", 7},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++) {
        struct record record = {.topic = "t",
                                .value = values[i].value,
                                .value_len = values[i].len,
                                .headers = headers,
                                .header_count = i % 2 == 0 ? ARRAY_LENGTH(headers) : 0};
        expect_round_trip(&record);
    }
}

Test(outcome, values_that_are_not_utf8_become_base64)
{
    static const struct record_header headers[] = {
        H("a", "text"), H("b", "\xff"), {"c", NULL, 0}, H("n\xff", "x")};
    struct record record = {
        .topic = "t", .value = "\xc3\x28", .value_len = 2, .headers = headers, .header_count = 4};
    AUTO_JSON json_t *original = original_of(&record);
    AUTO_FREE char *text = json_dumps(original, JSON_COMPACT);
    cr_expect_str_eq(text, "{\"value_base64\":\"wyg=\",\"headers\":["
                           "{\"name\":\"a\",\"value\":\"text\"},"
                           "{\"name\":\"b\",\"value_base64\":\"/w==\"},"
                           "{\"name\":\"c\",\"value\":null},"
                           "{\"name\":\"n\xef\xbf\xbd\",\"value\":\"x\"}]}");
}

/* A value of `len` bytes: `unit` repeated. */
static struct buf repeated(const char *unit, size_t len)
{
    struct buf text = {0};
    while (text.len < len) {
        buf_puts(&text, unit);
    }
    text.len = len;
    return text;
}

Test(outcome, long_originals_are_cut_between_characters)
{
    static const struct {
        const char *title, *unit;
        size_t len;
        size_t kept;
        bool truncated, base64;
    } cases[] = {
        {"just fits", "x", 65536, 65536, false, false},
        {"one too many", "x", 65537, 65536, true, false},
        {"three bytes each", "微", 65538, 65535, true, false},
        {"four bytes each", "😀", 80000, 65536, true, false},
        {"control characters", "\x01", 70000, 65536, true, false},
        {"bytes that just fit", "\xff", 65536, 65536, false, true},
        {"bytes, cut at threes", "\xff", 65537, 65535, true, true},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        AUTO_BUF struct buf value = repeated(cases[i].unit, cases[i].len);
        struct record record = {.topic = "t", .value = value.data, .value_len = value.len};
        AUTO_JSON json_t *original = original_of(&record);
        AUTO_BUF struct buf kept = {0};
        const json_t *text = json_object_get(original, "value");
        const json_t *base64 = json_object_get(original, "value_base64");
        cr_expect_eq(base64 != NULL, cases[i].base64, "%s", cases[i].title);
        if (text != NULL) {
            buf_append(&kept, json_string_value(text), json_string_length(text));
        } else {
            cr_expect(
                text_base64_decode(&kept, json_string_value(base64), json_string_length(base64)));
        }
        cr_expect_eq(kept.len, cases[i].kept, "%s: %zu", cases[i].title, kept.len);
        cr_expect(memcmp(kept.data, value.data, kept.len) == 0, "%s", cases[i].title);
        cr_expect_eq(json_is_true(json_object_get(original, "truncated")), cases[i].truncated, "%s",
                     cases[i].title);
    }
}

Test(outcome, headers_that_do_not_fit_are_omitted_from_the_end)
{
    AUTO_BUF struct buf value = repeated("x", 65500);
    static const struct record_header headers[] = {H("first", "12345678901"),
                                                   H("second", "1234"),
                                                   H("third", "123456789012345678901234567890"),
                                                   {"e", NULL, 0}};
    struct record record = {.topic = "t",
                            .value = value.data,
                            .value_len = value.len,
                            .headers = headers,
                            .header_count = 2};
    AUTO_JSON json_t *whole = original_of(&record);
    cr_expect_eq(json_array_size(json_object_get(whole, "headers")), 2);
    cr_expect_null(json_object_get(whole, "truncated"));
    record.header_count = 4;
    AUTO_JSON json_t *cut = original_of(&record);
    cr_expect_eq(json_array_size(json_object_get(cut, "headers")), 2, "none after an omitted one");
    cr_expect(json_is_true(json_object_get(cut, "truncated")));
}

Test(outcome, no_outcome_exceeds_a_brokers_default_size)
{
    enum { COUNT = 100000 };
    struct record_header *headers = mem_zalloc(COUNT, sizeof *headers);
    for (size_t i = 0; i < COUNT; i++) {
        headers[i] = (struct record_header){"", NULL, 0};
    }
    AUTO_BUF struct buf value = repeated("\x01", 3000000);
    AUTO_BUF struct buf id = repeated("\"", 3000000);
    id.data[id.len] = '\0';
    struct event event = {.id = id.data, .source = id.data, .type = id.data};
    struct record record = {.topic = "t",
                            .value = value.data,
                            .value_len = value.len,
                            .headers = headers,
                            .header_count = COUNT};
    struct outcome_common common = common_of_tests;
    common.record = &record;
    common.event = &event;
    struct outcome_bytes out;
    outcome_failure_write(&out, &common, &failure_of_tests);
    cr_expect_lt(out.value.len, 1000000, "%zu", out.value.len);
    AUTO_JSON json_t *outcome = parse(&out);
    const json_t *original = json_object_get(data_of(outcome), "original");
    cr_expect(json_is_true(json_object_get(original, "truncated")));
    cr_expect_leq(json_array_size(json_object_get(original, "headers")),
                  OUTCOME_ORIGINAL_HEADERS_MAX);
    outcome_bytes_deinit(&out);
    free(headers);
}

Test(outcome, originals_of_another_form_are_rejected)
{
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"[]", "original is not an object"},
        {"{}", "original: value must be given once, plain or as base64"},
        {"{\"value\":\"\",\"value_base64\":\"\"}",
         "original: value must be given once, plain or as base64"},
        {"{\"value\":5}", "original: value is not a string"},
        {"{\"value_base64\":null}", "original: value is not a string"},
        {"{\"value_base64\":\"x\"}", "original: value is not base64"},
        {"{\"value\":\"\",\"key\":5}", "original: key is not a string"},
        {"{\"value\":\"\",\"headers\":{}}", "original: headers is not an array"},
        {"{\"value\":\"\",\"headers\":[{\"name\":\"a\",\"value\":\"\"},5]}",
         "original: header 2 has no name"},
        {"{\"value\":\"\",\"headers\":[{\"value\":\"\"}]}", "original: header 1 has no name"},
        {"{\"value\":\"\",\"headers\":[{\"name\":\"a\\u0000\",\"value\":\"\"}]}",
         "original: header 1 has no name"},
        {"{\"value\":\"\",\"headers\":[{\"name\":\"a\"}]}",
         "original: header 1 must be given once, plain or as base64"},
        {"{\"value\":\"\",\"truncated\":true}",
         "original is truncated: fetch the record by topic, partition, offset"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        AUTO_JSON json_t *original = json_loads(cases[i].text, JSON_ALLOW_NUL, NULL);
        AUTO_FREE char *reason = NULL;
        struct record_owned *owned = outcome_original_read(original, &reason);
        cr_expect_null(owned, "%s", cases[i].text);
        cr_expect_str_eq(reason == NULL ? "" : reason, cases[i].reason, "%s: %s", cases[i].text,
                         reason);
        record_owned_free(owned);
    }
}

Test(outcome, a_key_is_read_if_present)
{
    AUTO_JSON json_t *original =
        json_loads("{\"key_base64\":\"AP8=\",\"value\":null,\"headers\":[]}", 0, NULL);
    AUTO_FREE char *reason = NULL;
    struct record_owned *owned = outcome_original_read(original, &reason);
    cr_assert_not_null(owned);
    expect_bytes("key", owned->record.key, owned->record.key_len, "\0\xff", 2);
    cr_expect_null(owned->record.value);
    cr_expect_null(record_owned_free(owned));
}
