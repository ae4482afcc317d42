#include "presignd/remote/body.h"

#include <stdbool.h>
#include <string.h>

/* The parser recurses, so depth is bounded before it begins. Brackets inside strings do not
 * count; text that is no JSON may be judged either way, the parser refuses it anyhow. */
static bool nests_too_deep(const char *body, size_t len)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = body[i];
        if (in_string && c == '\\') {
            i++;
        } else if (c == '"') {
            in_string = !in_string;
        } else if (!in_string && (c == '{' || c == '[') && ++depth > BODY_DEPTH_MAX) {
            return true;
        } else if (!in_string && (c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

json_t *body_parse(const char *body, size_t len)
{
    if (len == 0 || nests_too_deep(body, len)) {
        return NULL;
    }
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    json_error_t error;
    json_t *root = json_loadb(body, len, flags, &error);
    if (root == NULL && json_error_code(&error) == json_error_numeric_overflow) {
        root = json_loadb(body, len, flags | JSON_DECODE_INT_AS_REAL, &error);
    }
    if (!json_is_object(root)) {
        json_decref(root);
        return NULL;
    }
    return root;
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
