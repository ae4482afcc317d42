#include "schema/format.h"

#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <string.h>

static const struct {
    const char *name;
    format_fn *test;
} formats[] = {
    {"date", format_date}, {"date-time", format_date_time}, {"time", format_time},
    {"uri", format_uri},   {"ipv4", format_ipv4},           {"ipv6", format_ipv6},
};

format_fn *format_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(formats); i++) {
        if (strcmp(formats[i].name, name) == 0) {
            return formats[i].test;
        }
    }
    return NULL;
}

/* The rest of the input. */
struct scan {
    const char *at, *end;
};

static bool take_char(struct scan *scan, char c)
{
    bool found = scan->at < scan->end && *scan->at == c;
    scan->at += found;
    return found;
}

/* ---- RFC 3339, section 5.6 ---- */

bool format_date_time(const char *bytes, size_t len)
{
    int64_t ignored;
    return text_rfc3339(bytes, len, &ignored);
}

static bool is_date_time(const char *date, size_t date_len, const char *time, size_t time_len)
{
    AUTO_BUF struct buf text = {0};
    buf_append(&text, date, date_len);
    buf_putc(&text, 'T');
    buf_append(&text, time, time_len);
    return format_date_time(text.data, text.len);
}

bool format_date(const char *bytes, size_t len)
{
    static const char time[] = "00:00:00Z";
    return len == strlen("YYYY-MM-DD") && is_date_time(bytes, len, time, strlen(time));
}

bool format_time(const char *bytes, size_t len)
{
    static const char date[] = "1970-01-01";
    return is_date_time(date, strlen(date), bytes, len);
}

/* ---- Addresses ---- */

/* Four decimal numbers up to 255, none with a leading zero (RFC 3986's dec-octet). */
static bool take_ipv4(struct scan *scan)
{
    for (int part = 0; part < 4; part++) {
        if (part > 0 && !take_char(scan, '.')) {
            return false;
        }
        const char *start = scan->at;
        int value = 0;
        while (scan->at < scan->end && text_is_digit(*scan->at) && scan->at - start < 3) {
            value = value * 10 + (*scan->at++ - '0');
        }
        if (scan->at == start || value > 255 || (*start == '0' && scan->at - start > 1)) {
            return false;
        }
    }
    return true;
}

bool format_ipv4(const char *bytes, size_t len)
{
    struct scan scan = {bytes, bytes + len};
    return take_ipv4(&scan) && scan.at == scan.end;
}

/* A group of up to four hexadecimal digits, or at the end an IPv4 address, which counts as two. */
static int take_group(struct scan *scan)
{
    struct scan tail = *scan;
    if (take_ipv4(&tail) && tail.at == tail.end) {
        *scan = tail;
        return 2;
    }
    const char *start = scan->at;
    while (scan->at < scan->end && text_hex_value(*scan->at) >= 0 && scan->at - start < 4) {
        scan->at++;
    }
    return scan->at > start ? 1 : 0;
}

/* Eight groups, or fewer with one :: that stands for at least one. */
bool format_ipv6(const char *bytes, size_t len)
{
    struct scan scan = {bytes, bytes + len};
    int groups = 0;
    bool gap = false; /* after :: */
    if (len >= 2 && memcmp(bytes, "::", 2) == 0) {
        gap = true;
        scan.at += 2;
    }
    while (scan.at < scan.end) {
        int size = take_group(&scan);
        groups += size;
        if (size == 0 || groups > 8) {
            return false;
        }
        if (scan.at == scan.end) {
            break;
        }
        if (size == 2 || !take_char(&scan, ':') || scan.at == scan.end) {
            return false;
        }
        if (*scan.at == ':') {
            if (gap) {
                return false;
            }
            gap = true;
            scan.at++;
        }
    }
    return gap ? groups < 8 : groups == 8;
}

/* ---- RFC 3986, appendix A ---- */

/* unreserved, sub-delims, an escape, or one of `also`. */
static bool take_uri_char(struct scan *scan, const char *also)
{
    char c = *scan->at;
    if (c == '%') {
        bool escape = scan->end - scan->at >= 3 && text_hex_value(scan->at[1]) >= 0 &&
                      text_hex_value(scan->at[2]) >= 0;
        scan->at += escape ? 3 : 0;
        return escape;
    }
    bool fits = text_is_alpha(c) || text_is_digit(c) ||
                (c != '\0' && strchr("-._~!$&'()*+,;=", c) != NULL) ||
                (c != '\0' && strchr(also, c) != NULL);
    scan->at += fits;
    return fits;
}

static bool all_uri_chars(const char *at, const char *end, const char *also)
{
    struct scan scan = {at, end};
    while (scan.at < scan.end) {
        if (!take_uri_char(&scan, also)) {
            return false;
        }
    }
    return true;
}

/* The first character of `stops`, or the end. */
static const char *find_any(const char *at, const char *end, const char *stops)
{
    while (at < end && (*at == '\0' || strchr(stops, *at) == NULL)) {
        at++;
    }
    return at;
}

/* The text in brackets: an IPv6 address, or `v` hex `.` and more. */
static bool is_ip_literal(const char *at, const char *end)
{
    if (at == end || (*at != 'v' && *at != 'V')) {
        return format_ipv6(at, (size_t)(end - at));
    }
    const char *point = memchr(at, '.', (size_t)(end - at));
    if (point == NULL || point == at + 1 || point + 1 == end) {
        return false;
    }
    for (const char *c = at + 1; c < point; c++) {
        if (text_hex_value(*c) < 0) {
            return false;
        }
    }
    return memchr(point, '%', (size_t)(end - point)) == NULL && all_uri_chars(point + 1, end, ":");
}

/* [ userinfo "@" ] host [ ":" port ] */
static bool is_authority(const char *at, const char *end)
{
    const char *user_end = memchr(at, '@', (size_t)(end - at));
    if (user_end != NULL) {
        if (!all_uri_chars(at, user_end, ":")) {
            return false;
        }
        at = user_end + 1;
    }
    const char *host_end;
    if (at < end && *at == '[') {
        host_end = memchr(at, ']', (size_t)(end - at));
        if (host_end == NULL || !is_ip_literal(at + 1, host_end)) {
            return false;
        }
        host_end++;
    } else {
        host_end = find_any(at, end, ":");
        if (!all_uri_chars(at, host_end, "")) {
            return false;
        }
    }
    if (host_end < end && *host_end != ':') {
        return false;
    }
    for (const char *port = host_end + 1; port < end; port++) {
        if (!text_is_digit(*port)) {
            return false;
        }
    }
    return true;
}

/* Section 3.1, with its colon. */
static bool take_scheme(struct scan *scan)
{
    if (scan->at == scan->end || !text_is_alpha(*scan->at)) {
        return false;
    }
    while (scan->at < scan->end && (text_is_alpha(*scan->at) || text_is_digit(*scan->at) ||
                                    (*scan->at != 0 && strchr("+-.", *scan->at) != NULL))) {
        scan->at++;
    }
    return take_char(scan, ':');
}

/* Splits the URI as the grammar does, then checks the characters of each part. */
bool format_uri(const char *bytes, size_t len)
{
    struct scan scan = {bytes, bytes + len};
    if (!take_scheme(&scan)) {
        return false;
    }
    if (scan.end - scan.at >= 2 && memcmp(scan.at, "//", 2) == 0) {
        const char *authority = scan.at + 2;
        scan.at = find_any(authority, scan.end, "/?#");
        if (!is_authority(authority, scan.at)) {
            return false;
        }
    }
    const char *path_end = find_any(scan.at, scan.end, "?#");
    const char *query_end = find_any(path_end, scan.end, "#");
    const char *fragment = query_end < scan.end ? query_end + 1 : scan.end;
    const char *query = path_end < query_end ? path_end + 1 : query_end;
    return all_uri_chars(scan.at, path_end, ":@/") && all_uri_chars(query, query_end, ":@/?") &&
           all_uri_chars(fragment, scan.end, ":@/?");
}
