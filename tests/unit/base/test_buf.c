#include "presignd/base/buf.h"

#include <criterion/criterion.h>

Test(buf, json_strings_escape_only_what_json_requires)
{
    AUTO_BUF struct buf buf = {0};
    buf_json_string(&buf, "a\"\\/\n\x01\xe5\xbe\xae", 9);
    cr_assert_str_eq(buf.data, "\"a\\\"\\\\/\\n\\u0001\xe5\xbe\xae\"");
}

Test(buf, members_are_separated_by_commas)
{
    AUTO_BUF struct buf buf = {0};
    buf_putc(&buf, '{');
    buf_json_member(&buf, "a", "b");
    buf_json_member(&buf, "left_out", NULL);
    buf_json_member_int(&buf, "n", INT64_MIN);
    buf_json_member_raw(&buf, "r", "[1.50]", 6);
    buf_putc(&buf, '}');
    cr_assert_str_eq(buf.data, "{\"a\":\"b\",\"n\":-9223372036854775808,\"r\":[1.50]}");
}

Test(buf, fit_frees_unused_capacity)
{
    AUTO_BUF struct buf buf = {0};
    buf_reserve(&buf, 100000);
    buf_puts(&buf, "abc");
    buf_fit(&buf);
    cr_assert_eq(buf.cap, 4);
    buf_putc(&buf, 'd');
    cr_assert_str_eq(buf.data, "abcd");
    buf_fit(&buf);
    cr_assert_str_eq(buf.data, "abcd");
}
