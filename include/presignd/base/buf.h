/* A growing byte buffer, and writers of JSON text into it.
 *
 * The JSON writers exist because an outcome contains a verified answer byte for byte, its numbers'
 * text included. A library that writes trees cannot do that.
 */
#ifndef PRESIGND_BASE_BUF_H
#define PRESIGND_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* All zero is an empty buffer. `data` is NUL-ended whenever it is not NULL; the NUL is
 * not counted by `len`. */
struct buf {
    char *data;
    size_t len;
    size_t cap;
};

/* Frees the content and leaves an empty buffer. */
void buf_deinit(struct buf *buf);
#define AUTO_BUF __attribute__((cleanup(buf_deinit)))

/* The slow path of buf_reserve(). */
void buf_grow(struct buf *buf, size_t more);

/* Inline, because outcomes are written with these three, a dozen bytes at a time. */
static inline void buf_reserve(struct buf *buf, size_t more)
{
    if (buf->cap - buf->len <= more) {
        buf_grow(buf, more);
    }
}

static inline void buf_append(struct buf *buf, const void *bytes, size_t len)
{
    buf_reserve(buf, len);
    if (len > 0) {
        memcpy(buf->data + buf->len, bytes, len);
    }
    buf->len += len;
    buf->data[buf->len] = '\0';
}

static inline void buf_putc(struct buf *buf, char c)
{
    buf_append(buf, &c, 1);
}

/* Frees unused capacity if it is worth a reallocation. */
void buf_fit(struct buf *buf);
void buf_puts(struct buf *buf, const char *string);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Returns the content, which the caller frees, and leaves an empty buffer. Never NULL. */
char *buf_take(struct buf *buf);

/* A JSON string (RFC 8259, section 7) of valid UTF-8 bytes, quotes included. Escapes only
 * quotes, backslashes and control characters. */
void buf_json_string(struct buf *buf, const char *bytes, size_t len);
/* `,` unless the buffer ends with `{` or `[`, then `"name":`. */
void buf_json_name(struct buf *buf, const char *name);
/* Members of an object; a NULL string leaves the member out. */
void buf_json_member(struct buf *buf, const char *name, const char *value);
void buf_json_member_int(struct buf *buf, const char *name, int64_t value);
void buf_json_member_bool(struct buf *buf, const char *name, bool value);
/* `value` is JSON text already. */
void buf_json_member_raw(struct buf *buf, const char *name, const char *value, size_t len);

#endif
