#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <criterion/criterion.h>
#include <string.h>

Test(text_utf8, first_and_last_of_each_length)
{
    static const char *const good[] = {
        "\x01",         "\x7f",         "\xc2\x80",     "\xdf\xbf",         "\xe0\xa0\x80",
        "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        size_t len = strlen(good[i]);
        cr_expect(text_utf8_valid(good[i], len), "row %zu", i);
        /* No prefix of a character is valid. */
        for (size_t cut = 1; cut < len; cut++) {
            cr_expect_not(text_utf8_valid(good[i], cut), "row %zu cut at %zu", i, cut);
        }
    }
    cr_assert(text_utf8_valid("", 0));
    cr_assert(text_utf8_valid("a\0b", 3));
}

Test(text_utf8, long_forms_surrogates_and_stray_bytes_are_rejected)
{
    static const char *const bad[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x80\x80",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xf0\x80\x80\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xf8\x88\x80\x80\x80",
                                      "\xfe",
                                      "\xff",
                                      "\xc3(",
                                      "\xe5\xbe(",
                                      "\xf0\x9f\x98("};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        cr_expect_not(text_utf8_valid(bad[i], strlen(bad[i])), "row %zu", i);
    }
}

Test(text_utf8, cut_does_not_split_characters)
{
    static const char text[] = "a\xe5\xbe\xae\xf0\x9f\x98\x80";
    static const size_t wanted[] = {0, 1, 1, 1, 4, 4, 4, 4, 8, 8};
    for (size_t max = 0; max < ARRAY_LENGTH(wanted); max++) {
        cr_expect_eq(text_utf8_cut(text, 8, max), wanted[max], "max %zu", max);
    }
}

static void check_clean(const char *bytes, size_t len, size_t max, const char *wanted)
{
    AUTO_BUF struct buf out = {0};
    buf_puts(&out, "|");
    text_clean(&out, bytes, len, max);
    cr_expect_str_eq(out.data + 1, wanted);
}

Test(text_utf8, clean_replaces_controls_and_invalid_bytes)
{
    check_clean("a\0\n\x1b[31m\x7f\xc2\x9b", 11, 100, "a   [31m  ");
    check_clean("\xe5\xbe\xae\xc2\xa0", 5, 100, "\xe5\xbe\xae\xc2\xa0");
    check_clean("\xff"
                "a\xe5\xbe",
                4, 100,
                "\xef\xbf\xbd"
                "a\xef\xbf\xbd\xef\xbf\xbd");
    check_clean("", 0, 100, "");
}

Test(text_utf8, clean_cuts_between_characters)
{
    check_clean("abc", 3, 2, "ab");
    check_clean("a\xe5\xbe\xae", 4, 3, "a");
    check_clean("a\xe5\xbe\xae", 4, 4, "a\xe5\xbe\xae");
    check_clean("\xff\xff", 2, 5, "\xef\xbf\xbd");
    check_clean("abc", 3, 0, "");
}
