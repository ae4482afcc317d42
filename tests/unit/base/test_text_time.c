#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

/* The first five are RFC 3339's own examples (section 5.8). */
Test(text_time, rfc3339_accepts)
{
    static const struct {
        const char *text;
        int64_t wall_ms;
    } rows[] = {
        {"1985-04-12T23:20:50.52Z", 482196050520},
        {"1996-12-19T16:39:57-08:00", 851042397000},
        {"1990-12-31T23:59:60Z", 662688000000},
        {"1990-12-31T15:59:60-08:00", 662688000000},
        {"1937-01-01T12:00:27.87+00:20", -1041337172130},
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01t00:00:00z", 0},
        {"1970-01-01T00:00:00-00:00", 0},
        {"1969-12-31T23:59:59.999Z", -1},
        {"1970-01-01T00:00:00.1239999999999999999Z", 123},
        {"1970-01-01T23:59:00+23:59", 0},
        {"1969-12-31T00:01:00-23:59", 0},
        {"2000-02-29T00:00:00Z", 951782400000},
        {"2024-02-29T12:00:00Z", 1709208000000},
        {"0000-02-29T00:00:00Z", -62162121600000},
        {"0000-01-01T00:00:00Z", -62167219200000},
        {"0000-01-01T00:00:00+00:01", -62167219260000},
        {"9999-12-31T23:59:59.999Z", 253402300799999},
        {"9999-12-31T23:59:60Z", 253402300800000},
        {"1998-12-31T15:59:60.123-08:00", 915148800123},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        int64_t wall_ms = 0;
        cr_expect(text_rfc3339(rows[i].text, strlen(rows[i].text), &wall_ms), "%s", rows[i].text);
        cr_expect_eq(wall_ms, rows[i].wall_ms, "%s: %" PRId64, rows[i].text, wall_ms);
    }
}

Test(text_time, rfc3339_rejects)
{
    static const char *const bad[] = {
        "",
        "2026-11-23",
        "2026-11-23T08:00:00",
        "2026-11-23 08:00:00Z",
        "2026-11-23T08:00Z",
        "2026-11-23T08:00:00.Z",
        "2026-11-23T08:00:00,5Z",
        "2026-11-23T08:00:00Z ",
        " 2026-11-23T08:00:00Z",
        "2026-11-23T08:00:00+08",
        "2026-11-23T08:00:00+0800",
        "2026-11-23T08:00:00+24:00",
        "2026-11-23T08:00:00+08:60",
        "2026-11-23T24:00:00Z",
        "2026-11-23T23:60:00Z",
        "2026-11-23T08:00:61Z",
        "2026-11-23T08:00:60Z",
        "1998-12-31T22:59:60Z",
        "1998-12-31T23:58:60Z",
        "1998-12-31T23:59:60+01:00",
        "2026-00-10T00:00:00Z",
        "2026-13-10T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "+2026-11-23T08:00:00Z",
        "-001-11-23T08:00:00Z",
        "12026-11-23T08:00:00Z",
        "2026-1-23T08:00:00Z",
        "2026-11-23T8:00:00Z",
        "2026-W47-1T08:00:00Z",
        "202\xd9\xa1-11-23T08:00:00Z",
    };
    int64_t wall_ms = 42;
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        cr_expect_not(text_rfc3339(bad[i], strlen(bad[i]), &wall_ms), "%s", bad[i]);
    }
    cr_assert_not(text_rfc3339("2026-11-23T08:00:00\0Z", 21, &wall_ms));
    cr_assert_eq(wall_ms, 42);
}

/* Every prefix of a valid text is rejected, and nothing after its end is read. */
Test(text_time, rfc3339_reads_no_further_than_its_length)
{
    static const char text[] = "2026-11-23T08:00:00.120+08:00";
    for (size_t len = 0; len < sizeof text - 1; len++) {
        AUTO_FREE char *exact = mem_alloc(len);
        memcpy(exact, text, len);
        int64_t wall_ms;
        cr_expect_not(text_rfc3339(exact, len, &wall_ms), "length %zu", len);
    }
}

static void check_time(int64_t wall_ms, const char *seconds, const char *millis)
{
    char out[TEXT_TIME_SIZE];
    text_time(out, wall_ms, false);
    cr_expect_str_eq(out, seconds);
    text_time(out, wall_ms, true);
    cr_expect_str_eq(out, millis);
}

Test(text_time, times_are_written)
{
    check_time(0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z");
    check_time(-1, "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.999Z");
    check_time(-1000, "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.000Z");
    check_time(1709208000120, "2024-02-29T12:00:00Z", "2024-02-29T12:00:00.120Z");
    check_time(-62167219200000, "0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000Z");
    check_time(INT64_MIN, "0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000Z");
    check_time(INT64_MAX, "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999Z");
}

Test(text_time, days_from_civil_counts_every_day)
{
    static const int lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t expected = text_days_from_civil(-401, 1, 1);
    for (int64_t year = -401; year <= 2801; year++) {
        bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        for (int month = 1; month <= 12; month++) {
            cr_assert_eq(text_days_from_civil(year, month, 1), expected, "%" PRId64 "-%d", year,
                         month);
            int length = lengths[month - 1] + (month == 2 && leap);
            expected += length;
            cr_assert_eq(text_days_from_civil(year, month, length), expected - 1);
        }
    }
    cr_assert_eq(text_days_from_civil(1970, 1, 1), 0);
    cr_assert_eq(text_days_from_civil(2026, 11, 23), 20780);
}

#define NOW_MS INT64_C(784111777000) /* Sun, 06 Nov 1994 08:49:37 GMT */

Test(text_time, retry_after_in_seconds)
{
    cr_expect_eq(text_retry_after("0", NOW_MS), 0);
    cr_expect_eq(text_retry_after("120", NOW_MS), 120000);
    cr_expect_eq(text_retry_after("2147483648", NOW_MS), INT64_C(2147483648000));
    cr_expect_eq(text_retry_after("2147483649", NOW_MS), INT64_C(2147483648000));
    cr_expect_eq(text_retry_after("99999999999999999999999", NOW_MS), INT64_C(2147483648000));
}

Test(text_time, retry_after_as_a_date)
{
    cr_expect_eq(text_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", NOW_MS), 0);
    cr_expect_eq(text_retry_after("Sun, 06 Nov 1994 08:49:38 GMT", NOW_MS), 1000);
    cr_expect_eq(text_retry_after("Sun, 06 Nov 1994 08:49:38 GMT", NOW_MS + 1), 999);
    cr_expect_eq(text_retry_after("Sat, 05 Nov 1994 08:49:37 GMT", NOW_MS), 0);
    cr_expect_eq(text_retry_after("Thu, 29 Feb 2024 00:00:00 GMT", 1709164799000), 1000);
    cr_expect_eq(text_retry_after("Fri, 31 Dec 9999 23:59:59 GMT", NOW_MS), INT64_C(2147483648000));
    cr_expect_eq(text_retry_after("Fri, 31 Dec 9999 23:59:59 GMT", INT64_MIN),
                 INT64_C(2147483648000));
}

/* RFC 9110, section 5.6.7: senders do not make them any more, recipients accept them. */
Test(text_time, retry_after_as_an_obsolete_date)
{
    cr_expect_eq(text_retry_after("Sunday, 06-Nov-94 08:49:38 GMT", NOW_MS), 1000);
    cr_expect_eq(text_retry_after("Sun Nov  6 08:49:38 1994", NOW_MS), 1000);
    cr_expect_eq(text_retry_after("Wed Nov 16 08:49:38 1994", NOW_MS), 10 * 86400000 + 1000);
    /* Two digits mean the year that is at most 50 years ahead. */
    cr_expect_eq(text_retry_after("Sunday, 06-Nov-44 08:49:37 GMT", NOW_MS),
                 (text_days_from_civil(2044, 11, 6) - text_days_from_civil(1994, 11, 6)) *
                     86400000);
    cr_expect_eq(text_retry_after("Monday, 06-Nov-45 08:49:37 GMT", NOW_MS), 0);
}

Test(text_time, retry_after_of_another_form_is_rejected)
{
    static const char *const bad[] = {
        "",
        " 1",
        "1 ",
        "-1",
        "+1",
        "1.5",
        "soon",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sunday, 31-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994 GMT",
        "Sun Nov ",
        "Sunday",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Wed, 29 Feb 2023 00:00:00 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "1994-11-06T08:49:37Z",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        cr_expect_eq(text_retry_after(bad[i], NOW_MS), -1, "%s", bad[i]);
    }
}
