/* One outcome as a line: JSON, or text for people. */
#include "ctl/kit/kafka.h"
#include "ctl/kit/terminal.h"
#include "ctl/tail/tail.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/wire/outcome.h"

#include <stdlib.h>
#include <string.h>

enum {
    KIND_WIDTH = 7,
    ENDPOINT_WIDTH = 20,
    CODE_WIDTH = 32, /* the longest that the API accepts */
    DETAIL_WIDTH = 200,
};

/* Only the embedded answer can contain line breaks. They lie between JSON tokens, where they have
 * no meaning. */
void tail_json(const rd_kafka_message_t *message, struct buf *out)
{
    buf_append(out, message->payload, message->len);
    for (size_t i = 0; i < out->len; i++) {
        if (out->data[i] == '\n' || out->data[i] == '\r') {
            out->data[i] = ' ';
        }
    }
}

static void result_detail(const json_t *data, struct buf *out)
{
    static const char *const ids[] = {"pre_entrustweb_id", "redirect_url"};
    json_int_t attempts = json_integer_value(json_object_get(data, "attempts"));
    for (size_t i = 0; i < ARRAY_LENGTH(ids); i++) {
        buf_puts(out, json_text(data, ids[i])); /* a result has one of them */
    }
    if (attempts > 1) {
        buf_printf(out, " (%lld attempts)", (long long)attempts);
    }
}

/* The reason, the message and the first of `errors`, which names a location or an attribute. */
static void failure_detail(const json_t *data, struct buf *out)
{
    const json_t *first = json_array_get(json_object_get(data, "errors"), 0);
    const char *where = json_text(first, "instanceLocation");
    buf_printf(out, "%s: %s", json_text(data, "reason"), json_text(data, "message"));
    if (first != NULL) {
        buf_printf(out, ": %s%s%s", *where == '\0' ? json_text(first, "attribute") : where,
                   *where == '\0' && *json_text(first, "attribute") == '\0' ? "" : " ",
                   json_text(first, "error"));
    }
}

/* The outcome's time of day, kind, endpoint, code and detail. */
void tail_text(const rd_kafka_message_t *message, const json_t *outcome, struct buf *out)
{
    const json_t *data = json_object_get(outcome, "data");
    if (data == NULL) {
        AUTO_FREE char *id = ctl_message_id(message);
        buf_printf(out, "%s is not an outcome of presignd", id);
        return;
    }
    bool failed = json_object_get(data, "reason") != NULL;
    const char *time = strchr(json_text(outcome, "time"), 'T');
    AUTO_BUF struct buf detail = {0};
    if (failed) {
        failure_detail(data, &detail);
    } else {
        result_detail(data, &detail);
    }
    terminal_paint(out, DIM, time == NULL ? "" : time + 1, 13, true);
    buf_putc(out, ' ');
    terminal_paint(out, failed ? RED : GREEN, failed ? "failure" : "result", KIND_WIDTH, true);
    buf_putc(out, ' ');
    terminal_put(out, json_text(data, "endpoint"), ENDPOINT_WIDTH, true);
    buf_putc(out, ' ');
    terminal_put(out, json_text(data, "out_contract_code"), CODE_WIDTH, true);
    buf_putc(out, ' ');
    terminal_put(out, detail.data == NULL ? "" : detail.data, DETAIL_WIDTH, false);
}
