/* Schemas and documents repeat the endpoints of wechatpay/endpoint.h and the reasons of
 * flow/reason.h. schemas/names.json and parts of schemas/asyncapi.yaml are generated from these
 * tables: PRESIGND_UPDATE=1 writes them. */
#include "presignd/base/buf.h"
#include "presignd/flow/reason.h"
#include "presignd/schema/schema.h"
#include "presignd/wechatpay/endpoint.h"

#include "unit/committed.h"

static const char *name_of(size_t i)
{
    size_t count;
    return endpoint_table(&count)[i].name;
}

/* ---- Generated: schemas/names.json ---- */

static void put_enum(struct buf *out, const char *name, const char *description)
{
    buf_printf(out, "    \"%s\": {\n      \"description\": \"%s\",\n      \"enum\": [\n", name,
               description);
}

static void put_types(struct buf *out, const char *ending)
{
    for (size_t i = 0; i < ENDPOINT_COUNT; i++) {
        buf_printf(out, "        \"wechatpay.presign.%s.%s\"%s\n", name_of(i), ending,
                   i + 1 < ENDPOINT_COUNT ? "," : "\n      ]\n    },");
    }
}

static void put_endpoints(struct buf *out)
{
    put_enum(out, "endpoint", "An endpoint of the pre-sign API.");
    for (size_t i = 0; i < ENDPOINT_COUNT; i++) {
        buf_printf(out, "        \"%s\"%s\n", name_of(i), i + 1 < ENDPOINT_COUNT ? "," : "");
    }
    buf_puts(out, "      ]\n    },\n");
    put_enum(out, "requested", "Type of a request event.");
    put_types(out, "requested");
    put_enum(out, "succeeded", "Type of a result.");
    put_types(out, "succeeded");
    put_enum(out, "failed", "Type of a failure; without an endpoint when it is unknown.");
    buf_puts(out, "        \"wechatpay.presign.failed\",\n");
    put_types(out, "failed");
}

static void put_request_data(struct buf *out)
{
    buf_puts(out, "    \"request_data\": {\n"
                  "      \"description\": \"The data of a request event matches the schema of its "
                  "endpoint.\",\n"
                  "      \"allOf\": [\n");
    for (size_t i = 0; i < ENDPOINT_COUNT; i++) {
        buf_printf(out,
                   "        {\n"
                   "          \"if\": {\"properties\": {\"type\": {\"const\": "
                   "\"wechatpay.presign.%s.requested\"}}},\n"
                   "          \"then\": {\"properties\": {\"data\": {\"$ref\": "
                   "\"%s.request.json\"}}}\n"
                   "        }%s\n",
                   name_of(i), name_of(i), i + 1 < ENDPOINT_COUNT ? "," : "");
    }
    buf_puts(out, "      ]\n    },\n");
}

static void put_reasons(struct buf *out)
{
    put_enum(out, "reason",
             "Why an event ended as a failure. Later versions may add "
             "reasons: judge an unknown one by retryable.");
    for (enum reason reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
        buf_printf(out, "        \"%s\"%s\n", reason_name(reason),
                   reason + 1 < REASON_COUNT ? "," : "");
    }
    buf_puts(out, "      ]\n    }\n");
}

Test(names, the_schema_of_names_is_generated)
{
    AUTO_BUF struct buf text = {0};
    buf_puts(&text, "{\n"
                    "  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
                    "  \"$id\": \"" SCHEMA_BASE "names.json\",\n"
                    "  \"$comment\": \"Generated from the tables of endpoints "
                    "(presignd/wechatpay/endpoint.h) and reasons "
                    "(presignd/flow/reason.h). Do "
                    "not edit. PRESIGND_UPDATE=1 ctest --preset dev -R schema.names writes it.\",\n"
                    "  \"title\": \"Names of endpoints, event types and reasons\",\n"
                    "  \"$defs\": {\n");
    put_endpoints(&text);
    put_request_data(&text);
    put_reasons(&text);
    buf_puts(&text, "  }\n}\n");
    committed_check("schemas/names.json", NULL, NULL, &text);
}

/* ---- Generated: parts of schemas/asyncapi.yaml ---- */

static void put_reference(struct buf *out, const char *endpoint, const char *ending)
{
    const char *dot = endpoint[0] == '\0' ? "" : ".";
    buf_printf(out, "      %s%s%s: {$ref: '#/components/messages/%s%s%s'}\n", endpoint, dot, ending,
               endpoint, dot, ending);
}

static void put_message(struct buf *out, const char *endpoint, const char *ending)
{
    const char *dot = endpoint[0] == '\0' ? "" : ".";
    bool request = strcmp(ending, "requested") == 0;
    const char *payload = request                            ? "request"
                          : strcmp(ending, "succeeded") == 0 ? "result"
                                                             : "failure";
    buf_printf(out,
               "    %s%s%s:\n"
               "      name: wechatpay.presign.%s%s%s\n"
               "      traits: [{$ref: '#/components/messageTraits/%s'}]\n"
               "      payload: {$ref: '#/components/schemas/%s'}\n",
               endpoint, dot, ending, endpoint, dot, ending, request ? "request" : "outcome",
               payload);
}

static void put_each(struct buf *out, const char *ending,
                     void (*put)(struct buf *out, const char *endpoint, const char *ending))
{
    if (strcmp(ending, "failed") == 0) {
        put(out, "", ending);
    }
    for (size_t i = 0; i < ENDPOINT_COUNT; i++) {
        put(out, name_of(i), ending);
    }
}

Test(names, the_messages_of_asyncapi_are_generated)
{
    static const char *const endings[] = {"requested", "succeeded", "failed"};
    AUTO_BUF struct buf messages = {0};
    for (size_t i = 0; i < ARRAY_LENGTH(endings); i++) {
        AUTO_BUF struct buf text = {0};
        AUTO_FREE char *begin = mem_printf("      # generated: %s\n", endings[i]);
        AUTO_FREE char *end = mem_printf("      # end: %s\n", endings[i]);
        put_each(&text, endings[i], put_reference);
        committed_check("schemas/asyncapi.yaml", begin, end, &text);
        put_each(&messages, endings[i], put_message);
    }
    committed_check("schemas/asyncapi.yaml", "    # generated: messages\n", "    # end: messages\n",
                    &messages);
}

/* ---- Checked ---- */

static json_t *document(const char *endpoint, const char *kind)
{
    AUTO_FREE char *path = mem_printf("%s/schemas/%s.%s.json", PRESIGND_SOURCE_DIR, endpoint, kind);
    json_t *schema = json_load_file(path, 0, NULL);
    cr_expect_not_null(schema,
                       "schemas/%s.%s.json is missing or no JSON: the endpoint %s has a row"
                       " in wechatpay/endpoint.h",
                       endpoint, kind, endpoint);
    return schema;
}

static bool holds(const json_t *array, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach (array, i, item) {
        if (strcmp(json_string_value(item), name) == 0) {
            return true;
        }
    }
    return false;
}

Test(names, every_endpoint_has_its_two_schemas)
{
    size_t count;
    const struct endpoint *table = endpoint_table(&count);
    for (size_t i = 0; i < count; i++) {
        json_decref(document(table[i].name, "request"));
        json_t *response = document(table[i].name, "response");
        const json_t *required = json_object_get(response, "required");
        size_t fields = 0;
        for (; table[i].required[fields] != NULL; fields++) {
            cr_expect(response == NULL || holds(required, table[i].required[fields]),
                      "schemas/%s.response.json does not require %s, wechatpay/endpoint.h does",
                      table[i].name, table[i].required[fields]);
        }
        cr_expect(response == NULL || json_array_size(required) == fields,
                  "schemas/%s.response.json requires %zu members, wechatpay/endpoint.h %zu",
                  table[i].name, json_array_size(required), fields);
        json_decref(response);
    }
}

static void expect_in(const char *file, const char *text)
{
    AUTO_FREE char *path = mem_printf("%s/%s", PRESIGND_SOURCE_DIR, file);
    AUTO_BUF struct buf page = {0};
    committed_read(path, &page);
    cr_expect_not_null(strstr(page.data, text), "%s lacks a row that begins with: %s", file,
                       text + strspn(text, "\n"));
}

/* "`a`, `b`" in the table's order. */
static char *names_of_mode(enum merchant_mode mode, const char *separator)
{
    struct buf names = {0};
    size_t count;
    const struct endpoint *table = endpoint_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (table[i].mode == mode) {
            buf_printf(&names, "%s`%s`", names.len == 0 ? "" : separator, table[i].name);
        }
    }
    return buf_take(&names);
}

Test(names, the_pages_of_events_name_every_endpoint)
{
    for (enum merchant_mode mode = MODE_DIRECT; mode <= MODE_PARTNER; mode++) {
        AUTO_FREE char *english = names_of_mode(mode, ", ");
        AUTO_FREE char *chinese = names_of_mode(mode, "、");
        AUTO_FREE char *row = mem_printf("\n| %s | %s |\n", merchant_mode_name(mode), english);
        AUTO_FREE char *zh_row = mem_printf(" | %s |\n", chinese);
        expect_in("docs/events.md", row);
        expect_in("docs/events.zh-CN.md", zh_row);
    }
}

Test(names, the_pages_of_events_have_a_row_for_every_reason)
{
    for (enum reason reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
        const struct reason_row *row = reason_row(reason);
        AUTO_FREE char *english =
            mem_printf("\n| `%s` | %s | ", row->name, row->retryable ? "yes" : "no");
        AUTO_FREE char *chinese =
            mem_printf("\n| `%s` | %s | ", row->name, row->retryable ? "是" : "否");
        expect_in("docs/events.md", english);
        expect_in("docs/events.zh-CN.md", chinese);
    }
}
