#include "presignd/ops/control.h"

#include "presignd/base/mem.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const struct control_member by = {"by", CONTROL_TEXT, 0, CONTROL_BY_MAX};

int control_error(struct buf *answer, int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    AUTO_FREE char *text = mem_vprintf(format, arguments);
    va_end(arguments);
    answer->len = 0;
    buf_putc(answer, '{');
    buf_json_member(answer, "error", text);
    buf_puts(answer, "}\n");
    return status;
}

static const struct control_member *member_of(const struct control_lever *lever, const char *name)
{
    const struct control_member *member = lever->members;
    while (member != NULL && member->name != NULL) {
        if (strcmp(member->name, name) == 0) {
            return member;
        }
        member++;
    }
    return strcmp(name, by.name) == 0 ? &by : NULL;
}

static bool plain_text(const json_t *value, int64_t max)
{
    const char *text = json_string_value(value);
    if (text == NULL || json_string_length(value) > (size_t)max) {
        return false;
    }
    for (size_t i = 0; i < json_string_length(value); i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

/* Writes what is wrong with the value. */
static bool fits(const struct control_member *member, const json_t *value, struct buf *answer)
{
    bool ok = false;
    switch (member->type) {
    case CONTROL_TEXT:
        ok = plain_text(value, member->max);
        if (!ok) {
            control_error(answer, 400,
                          "%s is not a text of at most %" PRId64
                          " bytes without control characters",
                          member->name, member->max);
        }
        break;
    case CONTROL_NUMBER:
        ok = json_is_integer(value) && json_integer_value(value) >= member->min &&
             json_integer_value(value) <= member->max;
        if (!ok) {
            control_error(answer, 400, "%s is not an integer from %" PRId64 " to %" PRId64,
                          member->name, member->min, member->max);
        }
        break;
    case CONTROL_TRUE:
        ok = json_is_true(value);
        if (!ok) {
            control_error(answer, 400, "%s can only be true", member->name);
        }
        break;
    case CONTROL_FLAG:
        ok = json_is_boolean(value);
        if (!ok) {
            control_error(answer, 400, "%s is neither true nor false", member->name);
        }
        break;
    }
    return ok;
}

/* An unknown member is not quoted: it may be as long as the body. */
static bool check(const struct control_lever *lever, json_t *body, struct buf *answer)
{
    const char *name;
    json_t *value;
    json_object_foreach (body, name, value) {
        const struct control_member *member = member_of(lever, name);
        if (member == NULL) {
            control_error(answer, 400, "the body has a member that this request does not have");
            return false;
        }
        if (!fits(member, value, answer)) {
            return false;
        }
    }
    return true;
}

static json_t *read_body(const struct buf *body, const char **why)
{
    return body->len == 0 ? json_object()
                          : json_read(body->data, body->len, JSON_NESTING_MAX, 0, why);
}

int control_answer(void *context, const struct http_request *request, struct buf *answer)
{
    const struct control_lever *lever = request->data;
    const char *why = NULL;
    AUTO_JSON json_t *body = read_body(request->body, &why);
    if (body == NULL) {
        return control_error(answer, 400, "the body is %s", why);
    }
    if (!json_is_object(body)) {
        return control_error(answer, 400, "the body is not a JSON object");
    }
    if (!check(lever, body, answer)) {
        return 400;
    }
    const struct control_request checked = {
        .body = body, .by = json_text(body, "by"), .uid = request->uid};
    return lever->pull(context, &checked, answer);
}
