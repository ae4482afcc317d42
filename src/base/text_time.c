#include "presignd/base/text.h"

#include "presignd/base/mem.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { DAY_S = 86400, YEAR_ONE_TO_1970_DAYS = 719162 };

/* 0000-01-01T00:00:00Z and the last millisecond of 9999: RFC 3339 has four digits of year. */
static const int64_t first_ms = -62167219200000;
static const int64_t last_ms = 253402300799999;

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static bool is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

int64_t text_days_from_civil(int64_t year, int month, int day)
{
    static const int days_before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t past = year - 1;
    int64_t leap_days = floor_div(past, 4) - floor_div(past, 100) + floor_div(past, 400);
    return past * 365 + leap_days + days_before[month - 1] + (month > 2 && is_leap(year)) + day -
           1 - YEAR_ONE_TO_1970_DAYS;
}

static bool is_date(int year, int month, int day)
{
    static const int lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month >= 1 && month <= 12 && day >= 1 &&
           day <= lengths[month - 1] + (month == 2 && is_leap(year));
}

/* A position in a text. The first mismatch sets `failed`; later reads do nothing. */
struct reader {
    const char *at, *end;
    bool failed;
};

/* Reads exactly `count` digits; 0 on failure. */
static int take_digits(struct reader *in, int count)
{
    int value = 0;
    for (int i = 0; i < count; i++) {
        if (in->failed || in->at == in->end || *in->at < '0' || *in->at > '9') {
            in->failed = true;
            return 0;
        }
        value = value * 10 + (*in->at++ - '0');
    }
    return value;
}

/* Reads one character of `choice`; its index there, or 0 on failure. */
static int take_char(struct reader *in, const char *choice)
{
    const char *found = NULL;
    if (!in->failed && in->at < in->end && *in->at != '\0') {
        found = strchr(choice, *in->at);
    }
    if (found == NULL) {
        in->failed = true;
        return 0;
    }
    in->at++;
    return (int)(found - choice);
}

/* `HH:MM:SS` as seconds of the day; second 60 is accepted, the caller checks it. */
static int take_time(struct reader *in, bool *leap_second)
{
    int hour = take_digits(in, 2);
    take_char(in, ":");
    int minute = take_digits(in, 2);
    take_char(in, ":");
    int second = take_digits(in, 2);
    in->failed |= hour > 23 || minute > 59 || second > 60;
    *leap_second = second == 60;
    return hour * 3600 + minute * 60 + second;
}

/* Milliseconds of an optional fraction; further digits are skipped. */
static int take_fraction_ms(struct reader *in)
{
    if (in->failed || in->at == in->end || *in->at != '.') {
        return 0;
    }
    in->at++;
    int ms = take_digits(in, 1) * 100;
    for (int scale = 10; in->at < in->end && *in->at >= '0' && *in->at <= '9'; scale /= 10) {
        ms += take_digits(in, 1) * scale;
    }
    return ms;
}

/* Seconds east of UTC. */
static int take_offset(struct reader *in)
{
    int kind = take_char(in, "Zz+-");
    if (in->failed || kind < 2) {
        return 0;
    }
    int hour = take_digits(in, 2);
    take_char(in, ":");
    int minute = take_digits(in, 2);
    in->failed |= hour > 23 || minute > 59;
    int offset = hour * 3600 + minute * 60;
    return kind == 2 ? offset : -offset;
}

bool text_rfc3339(const char *bytes, size_t len, int64_t *wall_ms)
{
    struct reader in = {.at = bytes, .end = bytes + len};
    bool leap_second;
    int year = take_digits(&in, 4);
    take_char(&in, "-");
    int month = take_digits(&in, 2);
    take_char(&in, "-");
    int day = take_digits(&in, 2);
    take_char(&in, "Tt");
    int64_t seconds = take_time(&in, &leap_second);
    int ms = take_fraction_ms(&in);
    seconds -= take_offset(&in);
    if (in.failed || in.at != in.end || !is_date(year, month, day)) {
        return false;
    }
    seconds += text_days_from_civil(year, month, day) * DAY_S;
    if (leap_second && seconds % DAY_S != 0) {
        return false;
    }
    *wall_ms = seconds * 1000 + ms;
    return true;
}

/* Writes exactly `count` digits, then `end`; the place after it. Four times as fast as printf(3),
 * and an outcome has five times. */
static char *put_digits(char *out, int value, int count, char end)
{
    for (int i = count - 1; i >= 0; i--, value /= 10) {
        out[i] = (char)('0' + value % 10);
    }
    out[count] = end;
    return out + count + 1;
}

void text_time(char out[TEXT_TIME_SIZE], int64_t wall_ms, bool millis)
{
    wall_ms = wall_ms < first_ms ? first_ms : wall_ms > last_ms ? last_ms : wall_ms;
    time_t seconds = floor_div(wall_ms, 1000);
    struct tm tm = {0};
    (void)!gmtime_r(&seconds, &tm); /* fails only for years that do not fit an int */
    char *at = put_digits(out, tm.tm_year + 1900, 4, '-');
    at = put_digits(at, tm.tm_mon + 1, 2, '-');
    at = put_digits(at, tm.tm_mday, 2, 'T');
    at = put_digits(at, tm.tm_hour, 2, ':');
    at = put_digits(at, tm.tm_min, 2, ':');
    at = put_digits(at, tm.tm_sec, 2, millis ? '.' : 'Z');
    if (millis) {
        at = put_digits(at, (int)(wall_ms - seconds * 1000), 3, 'Z');
    }
    *at = '\0';
}

/* The year with these two last digits that is at most 50 ahead. */
static int whole_year(int two_digits, int64_t now_ms)
{
    int now = 1970 + (int)(now_ms / 1000 / DAY_S * 400 / 146097);
    int year = now - now % 100 + two_digits;
    return year > now + 50 ? year - 100 : year <= now - 50 ? year + 100 : year;
}

/* The three forms of RFC 9110, section 5.6.7. strptime(3) is more tolerant: of spaces, of missing
 * leading zeros, of the case of names. LC_TIME is "C" in every program. */
static bool read_http_date(const char *string, int64_t now_ms, int64_t *wall_ms)
{
    static const char *const forms[] = {"%a, %d %b %Y %T GMT", "%a, %d-%b-%y %T GMT",
                                        "%a %b %d %T %Y"};
    for (size_t i = 0; i < ARRAY_LENGTH(forms); i++) {
        struct tm tm = {0};
        const char *end = strptime(string, forms[i], &tm);
        if (end == NULL || *end != '\0') {
            continue;
        }
        int year = i == 1 ? whole_year(tm.tm_year % 100, now_ms) : tm.tm_year + 1900;
        int64_t days = text_days_from_civil(year, tm.tm_mon + 1, tm.tm_mday);
        *wall_ms =
            (days * DAY_S + tm.tm_hour * INT64_C(3600) + tm.tm_min * INT64_C(60) + tm.tm_sec) *
            1000;
        return is_date(year, tm.tm_mon + 1, tm.tm_mday);
    }
    return false;
}

int64_t text_retry_after(const char *string, int64_t wall_ms)
{
    /* RFC 9111, section 1.2.2, counts seconds beyond 2^31 as 2^31; so sums cannot overflow. */
    const int64_t longest_ms = (INT64_C(1) << 31) * 1000;
    size_t digits = strspn(string, "0123456789");
    int64_t wait_ms;
    if (digits > 0 && string[digits] == '\0') {
        int64_t seconds;
        return text_int(string, 0, longest_ms / 1000, &seconds) ? seconds * 1000 : longest_ms;
    }
    int64_t date_ms;
    if (!read_http_date(string, wall_ms, &date_ms)) {
        return -1;
    }
    if (date_ms <= wall_ms) {
        return 0;
    }
    bool far = __builtin_sub_overflow(date_ms, wall_ms, &wait_ms) || wait_ms > longest_ms;
    return far ? longest_ms : wait_ms;
}
