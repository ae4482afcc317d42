#include "presignd/base/text.h"

#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

Test(text, int_accepts_the_whole_range)
{
    int64_t out;
    cr_assert(text_int("9223372036854775807", INT64_MIN, INT64_MAX, &out));
    cr_assert_eq(out, INT64_MAX);
    cr_assert(text_int("-9223372036854775808", INT64_MIN, INT64_MAX, &out));
    cr_assert_eq(out, INT64_MIN);
    cr_assert(text_int("0", 0, 0, &out) && out == 0);
    cr_assert(text_int("-0", 0, 0, &out) && out == 0);
    cr_assert(text_int("007", 7, 7, &out) && out == 7);
}

Test(text, int_rejects_other_text_and_leaves_out_alone)
{
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1.0",
                                      "1e3",
                                      "0x1",
                                      "--1",
                                      "1\n",
                                      "\xd9\xa1",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999"};
    int64_t out = 42;
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        cr_expect_not(text_int(bad[i], INT64_MIN, INT64_MAX, &out), "%s", bad[i]);
    }
    cr_assert_not(text_int("5", 6, 9, &out));
    cr_assert_not(text_int("10", 6, 9, &out));
    cr_assert_eq(out, 42);
}

Test(text, case_is_ignored_for_ascii_letters_only)
{
    cr_assert(text_equal_nocase("Content-Type", "content-tYPE"));
    cr_assert(text_equal_nocase("", ""));
    cr_assert_not(text_equal_nocase("a", "ab"));
    cr_assert_not(text_equal_nocase("ab", "a"));
    cr_assert_not(text_equal_nocase("@", "`"));
    cr_assert_not(text_equal_nocase("[", "{"));
    cr_assert_not(text_equal_nocase("\xc3\x84", "\xc3\xa4"));
}

Test(text, prefix_stays_within_its_bytes)
{
    static const char bytes[] = {'C', 'e', '_', 'x'};
    cr_assert(text_prefix_nocase(bytes, 3, "ce_"));
    cr_assert(text_prefix_nocase(bytes, 4, "CE_"));
    cr_assert(text_prefix_nocase(bytes, 0, ""));
    cr_assert_not(text_prefix_nocase(bytes, 2, "ce_"));
    cr_assert_not(text_prefix_nocase(bytes, 4, "ce-"));
}

Test(text, hex_has_two_small_digits_for_each_byte)
{
    char out[9];
    text_hex(out, "\x00\x9f\xa0\xff", 4);
    cr_assert_str_eq(out, "009fa0ff");
    text_hex(out, NULL, 0);
    cr_assert_str_eq(out, "");
}

/* RFC 4648, section 10. */
Test(text, base64_vectors_both_ways)
{
    static const char *const rows[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xfb\xff\xbf", "+/+/"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        AUTO_BUF struct buf text = {0}, bytes = {0};
        text_base64(&text, rows[i][0], strlen(rows[i][0]));
        cr_assert_str_eq(text.data, rows[i][1]);
        cr_assert(text_base64_decode(&bytes, rows[i][1], strlen(rows[i][1])));
        cr_assert_str_eq(bytes.data, rows[i][0]);
    }
}

Test(text, base64_round_trip_of_every_byte)
{
    unsigned char all[256];
    for (size_t i = 0; i < sizeof all; i++) {
        all[i] = (unsigned char)i;
    }
    for (size_t len = 0; len <= sizeof all; len++) {
        AUTO_BUF struct buf text = {0}, bytes = {0};
        text_base64(&text, all, len);
        cr_assert(text_base64_decode(&bytes, text.data, text.len));
        cr_assert_eq(bytes.len, len);
        cr_assert(memcmp(bytes.data, all, len) == 0);
    }
}

Test(text, base64_is_strict_and_appends_nothing_on_failure)
{
    static const char *const bad[] = {
        "Zg",   "Zg=",      "Zg===",    "Z===",       "====",       "Zh==", /* a stray bit */
        "Zm9=", "Zm8=Zm8=", "Zg==Zg==", "Zm9v\nZm9v", "Zm9v\n",     "Zm-_",
        "Zm 9", "=m9v",     "Zm9vZ=g=", "Zm9vZg=a",   "\xc3\xa4==", "Zm9vYg==\n   ",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        AUTO_BUF struct buf out = {0};
        buf_puts(&out, "kept");
        cr_expect_not(text_base64_decode(&out, bad[i], strlen(bad[i])), "%s", bad[i]);
        cr_expect_str_eq(out.data, "kept");
        cr_expect_eq(out.len, 4);
    }
    AUTO_BUF struct buf out = {0};
    cr_assert_not(text_base64_decode(&out, "Zg=\0", 4));
}
