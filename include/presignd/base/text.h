/* Text to values and back: integers, times, UTF-8, base64. All pure. */
#ifndef PRESIGND_BASE_TEXT_H
#define PRESIGND_BASE_TEXT_H

#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* False for NULL and "". */
static inline bool text_is_given(const char *string)
{
    return string != NULL && *string != '\0';
}

/* The string, or NULL for "". */
static inline const char *text_or_null(const char *string)
{
    return text_is_given(string) ? string : NULL;
}

/* Whether the path is below that directory, by its text. NULL: false. */
bool text_lies_in(const char *path, const char *directory);

/* Decimal digits with an optional minus, the whole string, within [min, max]. False leaves
 * `*out` alone. */
bool text_int(const char *string, int64_t min, int64_t max, int64_t *out)
    __attribute__((warn_unused_result));

/* RFC 3339, section 5.6 date-time, upper or lower case T and Z, any number of fraction
 * digits (cut to milliseconds). Second 60 is accepted only at the end of a UTC day, and
 * counts as the next second. False leaves `*wall_ms` alone. */
bool text_rfc3339(const char *bytes, size_t len, int64_t *wall_ms)
    __attribute__((warn_unused_result));
/* As 2026-11-23T08:00:00.120Z (`millis`) or 2026-11-23T08:00:00Z; times
 * outside the years 0000 to 9999 are clamped, since RFC 3339 has no others. */
#define TEXT_TIME_SIZE 32
void text_time(char out[TEXT_TIME_SIZE], int64_t wall_ms, bool millis);
/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar. */
int64_t text_days_from_civil(int64_t year, int month, int day);
/* Retry-After (RFC 9110, 10.2.3): delay-seconds, or an HTTP-date in any of its three forms. Returns
 * the milliseconds to wait from `wall_ms`, 0 for a date in the past, -1 for anything else. A wait
 * is at most 2^31 seconds. */
int64_t text_retry_after(const char *string, int64_t wall_ms);

/* RFC 3629: shortest forms only, no surrogates, at most U+10FFFF. */
bool text_utf8_valid(const char *bytes, size_t len);
/* The longest prefix of at most `max` bytes that does not cut a character of valid UTF-8. */
size_t text_utf8_cut(const char *bytes, size_t len, size_t max);
/* Appends the bytes as valid UTF-8 without control characters, at most `max` bytes: an invalid byte
 * becomes U+FFFD, a control character a space. For text from outside that people read. */
void text_clean(struct buf *out, const char *bytes, size_t len, size_t max);

/* Lower-case hexadecimal digits, two for each byte, and a NUL. */
void text_hex(char *out, const void *bytes, size_t len);

/* RFC 4648, section 4, with padding, no line breaks. */
void text_base64(struct buf *out, const void *bytes, size_t len);
/* Strict: false when it is not canonical base64; then nothing is appended. */
bool text_base64_decode(struct buf *out, const char *text, size_t len)
    __attribute__((warn_unused_result));

/* ASCII only, in any locale. */
static inline bool text_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool text_is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Of a hexadecimal digit; -1 for another character. */
int text_hex_value(char c);
static inline unsigned char text_lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}
int text_compare_nocase(const char *a, const char *b);
bool text_equal_nocase(const char *a, const char *b);
bool text_prefix_nocase(const char *bytes, size_t len, const char *prefix);

#endif
