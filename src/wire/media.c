#include "presignd/wire/media.h"

#include "presignd/base/text.h"

#include <string.h>

struct cursor {
    const char *at, *end;
};

static void skip_space(struct cursor *cursor)
{
    while (cursor->at < cursor->end && (*cursor->at == ' ' || *cursor->at == '\t')) {
        cursor->at++;
    }
}

static bool skip_char(struct cursor *cursor, char c)
{
    bool found = cursor->at < cursor->end && *cursor->at == c;
    cursor->at += found;
    return found;
}

/* RFC 9110, section 5.6.2. */
static bool is_token_char(char c)
{
    return text_is_alpha(c) || text_is_digit(c) ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static size_t skip_token(struct cursor *cursor)
{
    const char *start = cursor->at;
    while (cursor->at < cursor->end && is_token_char(*cursor->at)) {
        cursor->at++;
    }
    return (size_t)(cursor->at - start);
}

/* Skips a quoted string and gives its length without quotes. Does not resolve escapes: no accepted
 * charset has one. */
static bool skip_quoted(struct cursor *cursor, size_t *len)
{
    const char *start = cursor->at;
    while (cursor->at < cursor->end && *cursor->at != '"') {
        cursor->at += *cursor->at == '\\' && cursor->end - cursor->at > 1 ? 2 : 1;
    }
    *len = (size_t)(cursor->at - start);
    return skip_char(cursor, '"');
}

static bool equals(const char *bytes, size_t len, const char *string)
{
    return len == strlen(string) && text_prefix_nocase(bytes, len, string);
}

/* A parameter name=value. */
static bool parameter_fits(struct cursor *cursor, bool others_allowed)
{
    const char *name = cursor->at;
    size_t name_len = skip_token(cursor);
    if (name_len == 0 || !skip_char(cursor, '=')) {
        return false;
    }
    bool quoted = skip_char(cursor, '"');
    const char *value = cursor->at;
    size_t value_len = 0;
    if (quoted ? !skip_quoted(cursor, &value_len) : (value_len = skip_token(cursor)) == 0) {
        return false;
    }
    return equals(name, name_len, "charset") ? equals(value, value_len, "utf-8") : others_allowed;
}

bool media_type_is(const char *bytes, size_t len, const char *type, bool others_allowed)
{
    struct cursor cursor = {bytes, bytes + len};
    skip_space(&cursor);
    size_t left = (size_t)(cursor.end - cursor.at);
    if (!text_prefix_nocase(cursor.at, left, type)) {
        return false;
    }
    cursor.at += strlen(type);
    skip_space(&cursor);
    while (cursor.at < cursor.end) {
        if (!skip_char(&cursor, ';')) {
            return false;
        }
        skip_space(&cursor);
        /* `;` without a parameter is allowed. */
        bool empty = cursor.at == cursor.end || *cursor.at == ';';
        if (!empty && !parameter_fits(&cursor, others_allowed)) {
            return false;
        }
        skip_space(&cursor);
    }
    return true;
}
