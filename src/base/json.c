#include "presignd/base/json.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <stdlib.h>
#include <string.h>

void json_decref_at(json_t **value)
{
    json_decref(*value);
    *value = NULL;
}

/* Running out of memory says nothing about the text, so it must not become a verdict on it. */
static const char *reason_of(const json_error_t *error)
{
    static const struct {
        enum json_error_code code;
        const char *reason;
    } reasons[] = {
        {json_error_invalid_utf8, "not JSON: not UTF-8"},
        {json_error_premature_end_of_input, "not JSON: ends too early"},
        {json_error_end_of_input_expected, "not JSON: more text behind its end"},
        {json_error_null_character, "JSON with the character U+0000"},
        {json_error_null_byte_in_key, "JSON with the character U+0000"},
        {json_error_duplicate_key, "JSON with a member given twice"},
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

json_t *json_read(const char *bytes, size_t len, size_t nesting_max, const char **reason)
{
    if (len >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) {
        *reason = "not JSON: begins with a byte order mark";
        return NULL;
    }
    if (text_json_nesting(bytes, len) > nesting_max) {
        *reason = "JSON that is nested too deep";
        return NULL;
    }
    json_error_t error;
    json_t *value = json_loadb(bytes, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (value == NULL) {
        *reason = reason_of(&error);
    }
    return value;
}
