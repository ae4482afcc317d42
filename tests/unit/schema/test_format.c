#include "schema/format.h"

#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <string.h>

struct row {
    const char *format, *text;
    bool valid;
};

static const struct row rows[] = {
    {"date", "2024-02-29", true},
    {"date", "2000-02-29", true},
    {"date", "1900-02-29", false},
    {"date", "2023-02-29", false},
    {"date", "2023-04-31", false},
    {"date", "2023-00-10", false},
    {"date", "2023-13-10", false},
    {"date", "2023-01-00", false},
    {"date", "2023-1-01", false},
    {"date", "20230101", false},
    {"date", "2023-01-01 ", false},
    {"date", "2023-01-01T00:00:00Z", false},
    {"date",
     "\xdf\xa0"
     "23-01-01",
     false},
    {"date", "", false},

    {"time", "08:30:06Z", true},
    {"time", "08:30:06.283185+08:00", true},
    {"time", "23:59:60Z", true},
    {"time", "07:59:60+08:00", true},
    {"time", "23:59:60+08:00", false},
    {"time", "08:30:06", false},
    {"time", "24:00:00Z", false},
    {"time", "08:60:00Z", false},
    {"time", "08:30:61Z", false},
    {"time", "08:30:06.Z", false},
    {"time", "08:30:06+24:00", false},
    {"time", "08:30:06+0800", false},

    {"date-time", "2026-11-23T08:00:00.120Z", true},
    {"date-time", "2026-11-23t08:00:00z", true},
    {"date-time", "1998-12-31T23:59:60Z", true},
    {"date-time", "1998-12-31T22:59:60Z", false},
    {"date-time", "2026-11-23 08:00:00Z", false},
    {"date-time", "2026-11-31T08:00:00Z", false},
    {"date-time", "2026-11-23T08:00:00", false},

    {"uri", "https://yourapp.com/notify", true},
    {"uri", "https://user:p%40ss@host:8443/a;b=c?q=1/?#f/?", true},
    {"uri", "https://[2001:db8::1]:80/", true},
    {"uri", "https://[v1.fe80::a+en1]/", true},
    {"uri", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", true},
    {"uri", "mailto:a@b.example", true},
    {"uri", "x:", true},
    {"uri", "/notify", false},
    {"uri", "//yourapp.com/notify", false},
    {"uri", "1https://yourapp.com", false},
    {"uri", "https://your app.com/", false},
    {"uri", "https://yourapp.com/%4", false},
    {"uri", "https://yourapp.com/%zz", false},
    {"uri", "https://yourapp.com:80a/", false},
    {"uri", "https://[2001:db8::1/", false},
    {"uri", "https://[::1]x/", false},
    {"uri", "https://yourapp.com/[a]", false},
    {"uri", "https://yourapp.com/\xe5\xbe\xae", false},
    {"uri", "https://yourapp.com/#a#b", false},
    {"uri", "https://yourapp.com\\notify", false},

    {"ipv4", "127.0.0.1", true},
    {"ipv4", "255.255.255.255", true},
    {"ipv4", "256.0.0.1", false},
    {"ipv4", "127.0.0.01", false},
    {"ipv4", "127.0.1", false},
    {"ipv4", "127.0.0.1.", false},
    {"ipv4", "127.0.0.1/8", false},

    {"ipv6", "::", true},
    {"ipv6", "::1", true},
    {"ipv6", "2001:db8::", true},
    {"ipv6", "1:2:3:4:5:6:7:8", true},
    {"ipv6", "::ffff:192.0.2.128", true},
    {"ipv6", "1:2:3:4:5:6:192.0.2.1", true},
    {"ipv6", "1:2:3:4:5:6:7", false},
    {"ipv6", "1:2:3:4:5:6:7:8:9", false},
    {"ipv6", "1:2:3:4:5:6:7::8", false},
    {"ipv6", "1::2::3", false},
    {"ipv6", ":1", false},
    {"ipv6", "1:", false},
    {"ipv6", "12345::", false},
    {"ipv6", "fe80::1%eth0", false},
    {"ipv6", "1:2:3:4:5:192.0.2.1", false},
    {"ipv6", "192.0.2.1::1", false},
};

Test(format, each_format_accepts_what_its_rfc_defines)
{
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        format_fn *test = format_find(rows[i].format);
        cr_assert_not_null(test, "%s", rows[i].format);
        cr_expect_eq(test(rows[i].text, strlen(rows[i].text)), rows[i].valid, "%s: %s",
                     rows[i].format, rows[i].text);
    }
}

/* Strings have a length and no NUL. */
Test(format, bytes_after_the_end_are_not_read)
{
    cr_expect(format_date("2023-01-019", 10));
    cr_expect_not(format_date("2023-01-019", 9));
    cr_expect(format_ipv4("10.0.0.12", 8));
    cr_expect(format_ipv6("::12", 3));
    cr_expect(format_uri("x:[", 2));
    cr_expect_not(format_date("2023-01-01\0", 11));
    cr_expect_not(format_uri("x:\0", 3));
    cr_expect_not(format_uri("x\0:", 3));
}

Test(format, unknown_formats_are_not_asserted)
{
    cr_expect_null(format_find("email"));
    cr_expect_null(format_find(""));
    cr_expect_null(format_find("Date"));
}
