#include "presignd/sign/permit.h"

#include "presignd/sign/sign.h"

#include <string.h>

/* 2001 to 2286. */
enum { TIMESTAMP_DIGITS = 10 };

/* A line without its LF. */
struct line {
    const char *text;
    size_t len;
};

/* Takes the next line off the text; false when there is no LF. */
static bool take_line(struct line *rest, struct line *line)
{
    const char *end = rest->len == 0 ? NULL : memchr(rest->text, '\n', rest->len);
    if (end == NULL) {
        return false;
    }
    *line = (struct line){rest->text, (size_t)(end - rest->text)};
    rest->text = end + 1;
    rest->len -= line->len + 1;
    return true;
}

static bool is(const struct line *line, const char *text)
{
    return line->len == strlen(text) && memcmp(line->text, text, line->len) == 0;
}

/* Not by isdigit(3) and the like: they ask the locale. */
static bool all_of(const struct line *line, size_t len, bool letters)
{
    for (size_t i = 0; i < line->len; i++) {
        char c = line->text[i];
        if (!((c >= '0' && c <= '9') || (letters && c >= 'A' && c <= 'Z'))) {
            return false;
        }
    }
    return line->len == len;
}

bool sign_is_permitted(const char *message, size_t len, sign_path_fn *may_post)
{
    struct line body = {message, len}, method, path, timestamp, nonce;
    if (!take_line(&body, &method) || !take_line(&body, &path) || !take_line(&body, &timestamp) ||
        !take_line(&body, &nonce) || body.len == 0 || body.text[body.len - 1] != '\n') {
        return false;
    }
    bool called = is(&method, "POST")
                      ? body.len > 1 && may_post(path.text, path.len)
                      : is(&method, "GET") && body.len == 1 && is(&path, SIGN_GET_PATH);
    return called && all_of(&timestamp, TIMESTAMP_DIGITS, false) &&
           all_of(&nonce, SIGN_NONCE_LENGTH, true);
}
