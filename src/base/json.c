#include "presignd/base/json.h"

#include "presignd/base/mem.h"

#include <stdbool.h>
#include <string.h>

void json_decref_at(json_t **value)
{
    json_decref(*value);
    *value = NULL;
}

/* Aborts when memory runs out, which says nothing about the text. */
static const char *reason_of(const json_error_t *error)
{
    static const struct {
        enum json_error_code code;
        const char *reason;
    } reasons[] = {
        {json_error_invalid_utf8, "not JSON: not UTF-8"},
        {json_error_premature_end_of_input, "not JSON: ends too early"},
        {json_error_end_of_input_expected, "not JSON: text after its end"},
        {json_error_null_character, "JSON with the character U+0000"},
        {json_error_null_byte_in_key, "JSON with the character U+0000"},
        {json_error_duplicate_key, "JSON with a duplicate member"},
        {json_error_numeric_overflow, "JSON with a number beyond 64 bits"},
    };
    enum json_error_code code = json_error_code(error);
    if (code == json_error_out_of_memory) {
        mem_exhausted();
    }
    for (size_t i = 0; i < ARRAY_LENGTH(reasons); i++) {
        if (reasons[i].code == code) {
            return reasons[i].reason;
        }
    }
    return "not JSON: wrong syntax";
}

/* The depth of objects and arrays, without recursion. jansson recurses; it stops at the first error
 * and reads the same strings up to there, so it never gets deeper than this. */
static size_t nesting_of(const char *bytes, size_t len)
{
    size_t depth = 0, deepest = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = bytes[i];
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            deepest = ++depth > deepest ? depth : deepest;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return deepest;
}

static json_t *load(const char *bytes, size_t len, unsigned options, const char **why)
{
    size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
    flags |= (options & JSON_READ_NUL) != 0 ? JSON_ALLOW_NUL : 0;
    json_error_t error;
    json_t *value = json_loadb(bytes, len, flags, &error);
    if (value == NULL && (options & JSON_READ_BIG_INTEGERS) != 0 &&
        json_error_code(&error) == json_error_numeric_overflow) {
        value = json_loadb(bytes, len, flags | JSON_DECODE_INT_AS_REAL, &error);
    }
    if (value == NULL) {
        *why = reason_of(&error);
    }
    return value;
}

json_t *json_read(const char *bytes, size_t len, size_t nesting_max, unsigned options,
                  const char **why)
{
    const char *ignored;
    why = why == NULL ? &ignored : why;
    if (len == 0) {
        *why = "not JSON: empty";
        return NULL;
    }
    if (len >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) {
        *why = "not JSON: begins with a byte order mark";
        return NULL;
    }
    if (nesting_of(bytes, len) > nesting_max) {
        *why = "JSON that is nested too deep";
        return NULL;
    }
    return load(bytes, len, options, why);
}

const char *json_text(const json_t *object, const char *name)
{
    const json_t *member = json_object_get(object, name);
    const char *text = json_string_value(member);
    return text == NULL || strlen(text) != json_string_length(member) ? "" : text;
}
