#include "presignd/base/json.h"

#include "presignd/base/buf.h"
#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <string.h>

Test(json, every_type_of_value_is_read)
{
    static const char *const texts[] = {"{\"a\":1}",
                                        "[]",
                                        "\"x\"",
                                        "-0",
                                        "9223372036854775807",
                                        "1.5e3",
                                        "true",
                                        "null",
                                        " \t\r\n{} \n",
                                        "\"\\ud83d\\ude00\"",
                                        "\"\xf0\x9f\x98\x80\""};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        const char *reason = NULL;
        AUTO_JSON json_t *value = json_read(texts[i], strlen(texts[i]), 64, 0, &reason);
        cr_expect_not_null(value, "%s: %s", texts[i], reason);
    }
}

Test(json, invalid_json_is_rejected_with_a_reason)
{
    static const struct {
        const char *title, *bytes;
        size_t len; /* 0: strlen */
        const char *reason;
    } cases[] = {
        {"nothing", "", 0, "not JSON: empty"},
        {"blanks", "  ", 0, "not JSON: ends too early"},
        {"a word", "hello", 0, "not JSON: wrong syntax"},
        {"half an object", "{\"a\":", 0, "not JSON: ends too early"},
        {"two values", "{} {}", 0, "not JSON: text after its end"},
        {"a trailing comma", "[1,]", 0, "not JSON: wrong syntax"},
        {"a comment", "{}//", 0, "not JSON: text after its end"},
        {"single quotes", "{'a':1}", 0, "not JSON: wrong syntax"},
        {"a leading zero", "012", 0, "not JSON: wrong syntax"},
        {"NaN", "NaN", 0, "not JSON: wrong syntax"},
        {"a byte order mark", "\xef\xbb\xbf{}", 0, "not JSON: begins with a byte order mark"},
        {"UTF-16", "{\0}\0", 4, "not JSON: ends too early"},
        {"a NUL after the end", "{}\0", 3, "not JSON: text after its end"},
        {"Latin-1", "\"caf\xe9\"", 0, "not JSON: not UTF-8"},
        {"an overlong slash", "\"\xc0\xaf\"", 0, "not JSON: not UTF-8"},
        {"a surrogate in UTF-8", "\"\xed\xa0\x80\"", 0, "not JSON: not UTF-8"},
        {"beyond U+10FFFF", "\"\xf4\x90\x80\x80\"", 0, "not JSON: not UTF-8"},
        {"a high surrogate alone", "\"\\ud83d\"", 0, "not JSON: wrong syntax"},
        {"a low surrogate alone", "\"\\ude00\"", 0, "not JSON: wrong syntax"},
        {"surrogates the wrong way", "\"\\ude00\\ud83d\"", 0, "not JSON: wrong syntax"},
        {"an escaped NUL", "\"a\\u0000b\"", 0, "JSON with the character U+0000"},
        {"an escaped NUL in a name", "{\"a\\u0000\":1}", 0, "JSON with the character U+0000"},
        {"a raw line feed", "\"a\nb\"", 0, "not JSON: wrong syntax"},
        {"a member twice", "{\"a\":1,\"b\":2,\"a\":1}", 0, "JSON with a duplicate member"},
        {"a member twice, escaped", "{\"a\":1,\"\\u0061\":2}", 0, "JSON with a duplicate member"},
        {"twice, further in", "[{\"x\":{\"a\":1,\"a\":1}}]", 0, "JSON with a duplicate member"},
        {"2^63", "9223372036854775808", 0, "JSON with a number beyond 64 bits"},
        {"-2^63-1", "-9223372036854775809", 0, "JSON with a number beyond 64 bits"},
        {"1e400", "1e400", 0, "JSON with a number beyond 64 bits"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        size_t len = cases[i].len == 0 ? strlen(cases[i].bytes) : cases[i].len;
        /* On the heap without a NUL, so that sanitizers see overreads. */
        AUTO_FREE char *bytes = mem_alloc(len);
        memcpy(bytes, cases[i].bytes, len);
        const char *reason = "none";
        AUTO_JSON json_t *value = json_read(bytes, len, 64, 0, &reason);
        cr_expect_null(value, "%s", cases[i].title);
        cr_expect_str_eq(reason, cases[i].reason, "%s: %s", cases[i].title, reason);
    }
}

static bool is_read_at_depth(size_t depth)
{
    AUTO_BUF struct buf text = {0};
    for (size_t i = 0; i < depth; i++) {
        buf_putc(&text, '[');
    }
    for (size_t i = 0; i < depth; i++) {
        buf_putc(&text, ']');
    }
    const char *reason = NULL;
    AUTO_JSON json_t *value = json_read(text.data, text.len, 64, 0, &reason);
    cr_expect(value != NULL || strcmp(reason, "JSON that is nested too deep") == 0);
    return value != NULL;
}

Test(json, nesting_has_a_limit)
{
    cr_expect(is_read_at_depth(64));
    cr_expect_not(is_read_at_depth(65));
    cr_expect_not(is_read_at_depth(10000));
    cr_expect_not(is_read_at_depth(500000));
}

static bool is_read(const char *text, unsigned options)
{
    AUTO_JSON json_t *value = json_read(text, strlen(text), 64, options, NULL);
    return value != NULL;
}

/* Brackets inside strings do not count, also after escapes. Text that is not JSON is bounded, too.
 */
Test(json, nesting_is_counted_outside_strings)
{
    static const struct {
        const char *text;
        size_t depth;
    } cases[] = {
        {"7", 0},        {"[{},{},{}]", 2},       {"{\"a\":[{\"b\":[]}]}", 4},
        {"\"[[[[\"", 0}, {"[\"\\\"[[\", []]", 2}, {"[\"\\\\\", [[]]]", 3},
        {"]]]][[", 2},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const char *text = cases[i].text, *reason = "";
        json_decref(json_read(text, strlen(text), cases[i].depth, 0, &reason));
        cr_expect_str_neq(reason, "JSON that is nested too deep", "%s", text);
        cr_expect(cases[i].depth == 0 ||
                  json_read(text, strlen(text), cases[i].depth - 1, 0, &reason) == NULL);
        cr_expect(cases[i].depth == 0 || strcmp(reason, "JSON that is nested too deep") == 0, "%s",
                  text);
    }
}

Test(json, options_accept_what_the_strict_rules_reject)
{
    static const char nul[] = "\"a\\u0000b\"", big[] = "{\"n\":123456789012345678901234567890}";
    cr_expect(is_read(nul, JSON_READ_NUL));
    cr_expect_not(is_read(nul, JSON_READ_BIG_INTEGERS));
    cr_expect(is_read(big, JSON_READ_BIG_INTEGERS));
    cr_expect_not(is_read(big, JSON_READ_NUL));
    cr_expect_not(is_read("1e400", JSON_READ_BIG_INTEGERS));
    cr_expect_not(is_read("{\"a\":1,\"a\":1}", JSON_READ_NUL | JSON_READ_BIG_INTEGERS));
    cr_expect_null(json_read(NULL, 0, 64, 0, NULL));
}

Test(json, a_text_is_a_string_member_without_nul)
{
    static const char text[] = "{\"a\":\"x\",\"n\":1,\"nul\":\"x\\u0000\"}";
    AUTO_JSON json_t *object = json_read(text, strlen(text), 64, JSON_READ_NUL, NULL);
    cr_expect_str_eq(json_text(object, "a"), "x");
    cr_expect_str_empty(json_text(object, "n"));
    cr_expect_str_empty(json_text(object, "nul"));
    cr_expect_str_empty(json_text(object, "absent"));
    cr_expect_str_empty(json_text(NULL, "a"));
}
