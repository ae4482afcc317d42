#include "presignd/base/buf.h"

#include "presignd/base/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_deinit(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){0};
}

void buf_grow(struct buf *buf, size_t more)
{
    size_t need = buf->len + more + 1;
    assert(need > buf->len && need > more); /* no overflow: sizes from outside are capped */
    size_t cap = buf->cap < 64 ? 64 : buf->cap * 2;
    buf->cap = cap < need ? need : cap;
    buf->data = mem_realloc(buf->data, buf->cap);
    buf->data[buf->len] = '\0';
}

void buf_fit(struct buf *buf)
{
    enum { SLACK = 1024 }; /* less is not worth a reallocation */
    if (buf->cap - buf->len > SLACK) {
        buf->cap = buf->len + 1;
        buf->data = mem_realloc(buf->data, buf->cap);
    }
}

void buf_puts(struct buf *buf, const char *string)
{
    buf_append(buf, string, strlen(string));
}

/* Most texts fit into the free space and are written once. */
void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list arguments, again;
    buf_reserve(buf, 0);
    va_start(arguments, format);
    va_copy(again, arguments);
    int len = vsnprintf(buf->data + buf->len, buf->cap - buf->len, format, arguments);
    va_end(arguments);
    if (len < 0) {
        abort(); /* only a format that is wrong at compile time gets here */
    }
    if ((size_t)len >= buf->cap - buf->len) {
        buf_reserve(buf, (size_t)len);
        vsnprintf(buf->data + buf->len, (size_t)len + 1, format, again);
    }
    va_end(again);
    buf->len += (size_t)len;
}

char *buf_take(struct buf *buf)
{
    buf_reserve(buf, 0);
    char *data = buf->data;
    *buf = (struct buf){0};
    return data;
}

static void json_escape(struct buf *buf, unsigned char c)
{
    static const char *const names[32] = {
        ['\b'] = "\\b", ['\f'] = "\\f", ['\n'] = "\\n", ['\r'] = "\\r", ['\t'] = "\\t"};
    if (c == '"' || c == '\\') {
        char pair[2] = {'\\', (char)c};
        buf_append(buf, pair, 2);
    } else if (names[c] != NULL) {
        buf_append(buf, names[c], 2);
    } else {
        buf_printf(buf, "\\u%04x", c);
    }
}

void buf_json_string(struct buf *buf, const char *bytes, size_t len)
{
    buf_reserve(buf, len + 2);
    buf_putc(buf, '"');
    size_t plain = 0; /* start of the bytes that need no escape */
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c >= 0x20 && c != '"' && c != '\\') {
            continue;
        }
        buf_append(buf, bytes + plain, i - plain);
        json_escape(buf, c);
        plain = i + 1;
    }
    buf_append(buf, bytes + plain, len - plain);
    buf_putc(buf, '"');
}

void buf_json_name(struct buf *buf, const char *name)
{
    if (buf->len > 0 && buf->data[buf->len - 1] != '{' && buf->data[buf->len - 1] != '[') {
        buf_putc(buf, ',');
    }
    buf_json_string(buf, name, strlen(name));
    buf_putc(buf, ':');
}

void buf_json_member(struct buf *buf, const char *name, const char *value)
{
    if (value != NULL) {
        buf_json_name(buf, name);
        buf_json_string(buf, value, strlen(value));
    }
}

void buf_json_member_int(struct buf *buf, const char *name, int64_t value)
{
    buf_json_name(buf, name);
    buf_printf(buf, "%" PRId64, value);
}

void buf_json_member_bool(struct buf *buf, const char *name, bool value)
{
    buf_json_name(buf, name);
    buf_puts(buf, value ? "true" : "false");
}

void buf_json_member_raw(struct buf *buf, const char *name, const char *value, size_t len)
{
    buf_json_name(buf, name);
    buf_append(buf, value, len);
}
