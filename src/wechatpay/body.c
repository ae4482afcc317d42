#include "presignd/wechatpay/body.h"

#include "presignd/base/text.h"

#include <string.h>

static enum body_fault fault_of(const json_error_t *error)
{
    switch (json_error_code(error)) {
    case json_error_invalid_utf8:
        return BODY_NOT_UTF8;
    case json_error_duplicate_key:
        return BODY_TWICE;
    case json_error_numeric_overflow:
        return BODY_NUMBER;
    default:
        return BODY_SYNTAX;
    }
}

static json_t *parse(const char *body, size_t len, enum body_fault *fault)
{
    if (len == 0 || text_json_nesting(body, len) > BODY_DEPTH_MAX) {
        *fault = len == 0 ? BODY_EMPTY : BODY_NESTED;
        return NULL;
    }
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    json_error_t error;
    json_t *root = json_loadb(body, len, flags, &error);
    if (root == NULL && json_error_code(&error) == json_error_numeric_overflow) {
        root = json_loadb(body, len, flags | JSON_DECODE_INT_AS_REAL, &error);
    }
    if (root == NULL) {
        *fault = fault_of(&error);
        return NULL;
    }
    if (!json_is_object(root)) {
        json_decref(root);
        *fault = BODY_NO_OBJECT;
        return NULL;
    }
    *fault = BODY_FINE;
    return root;
}

json_t *body_parse(const char *body, size_t len, enum body_fault *fault)
{
    enum body_fault ignored;
    return parse(body, len, fault == NULL ? &ignored : fault);
}

const char *body_string(const json_t *object, const char *name)
{
    const json_t *member = json_object_get(object, name);
    const char *value = json_string_value(member);
    if (value == NULL || value[0] == '\0' || strlen(value) != json_string_length(member)) {
        return NULL;
    }
    return value;
}

void body_decref_at(json_t **body)
{
    json_decref(*body);
}
