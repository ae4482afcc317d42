/* The subset of HTTP/1.1 (RFC 9112) that the sandbox needs. */
#include "ctl/sandbox/sandbox.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* Longer bodies are not read to their end. */
#define CONTENT_LENGTH_MAX (INT64_C(16) << 20)

static const struct {
    const char *name;
    size_t offset;
} header_fields[] = {
    {"Content-Type", offsetof(struct sandbox_head, content_type)},
    {"Accept", offsetof(struct sandbox_head, accept)},
    {"User-Agent", offsetof(struct sandbox_head, user_agent)},
    {"Authorization", offsetof(struct sandbox_head, authorization)},
    {"Wechatpay-Serial", offsetof(struct sandbox_head, serial)},
    {"Content-Length", offsetof(struct sandbox_head, content_length)},
    {"Transfer-Encoding", offsetof(struct sandbox_head, transfer_encoding)},
    {"Connection", offsetof(struct sandbox_head, connection)},
    {"Expect", offsetof(struct sandbox_head, expect)},
};

/* Terminates the line at `*at` and moves `*at` behind it; NULL when no line is left. */
static char *take_line(char **at)
{
    char *line = *at;
    char *end = strstr(line, "\r\n");
    if (end == NULL) {
        return NULL;
    }
    *end = '\0';
    *at = end + 2;
    return line;
}

static bool read_request_line(char *line, struct sandbox_head *head)
{
    char *path = strchr(line, ' ');
    char *version = path == NULL ? NULL : strchr(path + 1, ' ');
    if (path == NULL || version == NULL || path == line || version == path + 1) {
        return false;
    }
    *path++ = '\0';
    *version++ = '\0';
    head->method = line;
    head->path = path;
    head->keep_alive = strcmp(version, "HTTP/1.1") == 0;
    return head->keep_alive || strcmp(version, "HTTP/1.0") == 0;
}

/* The first of several fields with the same name counts. */
static bool read_header(char *line, struct sandbox_head *head)
{
    char *value = strchr(line, ':');
    if (value == NULL || value == line) {
        return false;
    }
    *value++ = '\0';
    value += strspn(value, " \t");
    for (size_t len = strlen(value); len > 0 && strchr(" \t", value[len - 1]) != NULL; len--) {
        value[len - 1] = '\0';
    }
    for (size_t i = 0; i < ARRAY_LENGTH(header_fields); i++) {
        const char **field = (const char **)((char *)head + header_fields[i].offset);
        if (*field == NULL && strcasecmp(header_fields[i].name, line) == 0) {
            *field = value;
        }
    }
    return true;
}

bool sandbox_head_read(char *text, struct sandbox_head *head)
{
    char *line = take_line(&text);
    *head = (struct sandbox_head){0};
    if (line == NULL || !read_request_line(line, head)) {
        return false;
    }
    while ((line = take_line(&text)) != NULL && *line != '\0') {
        if (!read_header(line, head)) {
            return false;
        }
    }
    if (head->connection != NULL && strcasecmp(head->connection, "close") == 0) {
        head->keep_alive = false;
    }
    return head->transfer_encoding == NULL &&
           (head->content_length == NULL ||
            text_int(head->content_length, 0, CONTENT_LENGTH_MAX, &head->body_len));
}

static void add(struct buf *out, const char *name, const char *value)
{
    if (value != NULL) {
        buf_printf(out, "%s: %s\r\n", name, value);
    }
}

static void add_int(struct buf *out, const char *name, int64_t value)
{
    buf_printf(out, "%s: %" PRId64 "\r\n", name, value);
}

static const char *phrase_of(unsigned status)
{
    static const struct {
        unsigned status;
        const char *phrase;
    } phrases[] = {
        {200, "OK"},
        {202, "Accepted"},
        {204, "No Content"},
        {302, "Found"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {421, "Misdirected Request"},
        {425, "Too Early"},
        {429, "Too Many Requests"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(phrases); i++) {
        if (phrases[i].status == status) {
            return phrases[i].phrase;
        }
    }
    return "Unknown";
}

static void add_date(struct buf *out, int64_t now_s)
{
    char text[64];
    const time_t now = (time_t)now_s;
    struct tm parts;
    (void)gmtime_r(&now, &parts);
    (void)strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    add(out, "Date", text);
}

void sandbox_http_head(const struct sandbox_reply *reply, int64_t now_s, bool keep_alive,
                       struct buf *out)
{
    buf_printf(out, "HTTP/1.1 %u %s\r\n", reply->status, phrase_of(reply->status));
    add_date(out, now_s);
    add(out, "Request-ID", reply->request_id);
    add(out, "Content-Type", reply->body.len == 0 ? NULL : reply->content_type);
    add(out, "Content-Encoding", reply->content_encoding);
    add(out, "Location", reply->location);
    if (reply->retry_after_s >= 0) {
        add_int(out, "Retry-After", reply->retry_after_s);
    }
    if (reply->serial != NULL) {
        add(out, "Wechatpay-Serial", reply->serial);
        add_int(out, "Wechatpay-Timestamp", reply->timestamp_s);
        add(out, "Wechatpay-Nonce", reply->nonce);
        add(out, "Wechatpay-Signature", reply->signature.data);
        add(out, "Wechatpay-Signature-Type", reply->signature_type);
    }
    if (reply->status != 204) { /* RFC 9110, section 8.6 */
        add_int(out, "Content-Length", (int64_t)(reply->body.len + reply->missing));
    }
    add(out, "Connection", keep_alive ? NULL : "close");
    buf_puts(out, "\r\n");
}

void sandbox_http_idle(unsigned status, struct buf *out)
{
    AUTO_BUF struct buf body = {0};
    buf_printf(&body, "<html><body><h1>%u %s</h1></body></html>\r\n", status, phrase_of(status));
    buf_printf(out, "HTTP/1.1 %u %s\r\n", status, phrase_of(status));
    add(out, "Content-Type", "text/html");
    add_int(out, "Content-Length", (int64_t)body.len);
    add(out, "Connection", "close");
    buf_puts(out, "\r\n");
    buf_append(out, body.data, body.len);
}
