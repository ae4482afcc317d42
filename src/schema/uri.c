/* Resolves references: RFC 3986, section 5.2. Does not validate URIs; the `uri` format does. */
#include "presignd/base/buf.h"
#include "presignd/base/text.h"
#include "schema/node.h"

#include <string.h>

/* `at` is NULL when the part is absent, but not when it is empty. */
struct part {
    const char *at;
    size_t len;
};

struct parts {
    struct part scheme, authority, path, query, fragment;
};

static struct part take(const char **at, size_t len)
{
    struct part part = {*at, len};
    *at += len;
    return part;
}

/* As the expression of appendix B. */
static struct parts split(const char *uri)
{
    struct parts parts = {0};
    size_t scheme = strcspn(uri, ":/?#");
    if (scheme > 0 && uri[scheme] == ':') {
        parts.scheme = take(&uri, scheme);
        uri++;
    }
    if (strncmp(uri, "//", 2) == 0) {
        uri += 2;
        parts.authority = take(&uri, strcspn(uri, "/?#"));
    }
    parts.path = take(&uri, strcspn(uri, "?#"));
    if (*uri == '?') {
        uri++;
        parts.query = take(&uri, strcspn(uri, "#"));
    }
    if (*uri == '#') {
        parts.fragment = (struct part){uri + 1, strlen(uri + 1)};
    }
    return parts;
}

/* Section 5.2.3: the reference's path replaces the base's last segment. */
static void merge(struct buf *out, const struct parts *base, struct part path)
{
    if (base->authority.at != NULL && base->path.len == 0) {
        buf_putc(out, '/');
    } else {
        const char *slash = memrchr(base->path.at, '/', base->path.len);
        buf_append(out, base->path.at, slash == NULL ? 0 : (size_t)(slash - base->path.at) + 1);
    }
    buf_append(out, path.at, path.len);
}

/* Section 5.2.4: copies each segment except `.` and `..`, with the slash before it. */
static void append_without_dots(struct buf *out, struct part path)
{
    size_t start = out->len;
    const char *end = path.at + path.len;
    for (const char *at = path.at; at < end;) {
        bool slash = *at == '/';
        const char *segment = at + slash;
        const char *next = memchr(segment, '/', (size_t)(end - segment));
        next = next == NULL ? end : next;
        size_t len = (size_t)(next - segment);
        bool up = len == 2 && memcmp(segment, "..", 2) == 0;
        if (!up && !(len == 1 && *segment == '.')) {
            buf_append(out, at, (size_t)(next - at));
        } else {
            const char *last = up ? memrchr(out->data + start, '/', out->len - start) : NULL;
            out->len = up ? (last == NULL ? start : (size_t)(last - out->data)) : out->len;
            if (next == end && slash) {
                buf_putc(out, '/');
            }
        }
        at = next;
    }
}

static void append_part(struct buf *out, const char *before, struct part part, const char *after)
{
    if (part.at != NULL) {
        buf_puts(out, before);
        buf_append(out, part.at, part.len);
        buf_puts(out, after);
    }
}

char *schema_uri_resolve(const char *base_text, const char *reference_text)
{
    struct parts base = split(base_text);
    struct parts reference = split(reference_text);
    bool own_scheme = reference.scheme.at != NULL;
    bool own_authority = own_scheme || reference.authority.at != NULL;
    struct buf out = {0};
    buf_reserve(&out, 0);
    append_part(&out, "", own_scheme ? reference.scheme : base.scheme, ":");
    append_part(&out, "//", own_authority ? reference.authority : base.authority, "");
    AUTO_BUF struct buf merged = {0};
    if (own_authority || (reference.path.len > 0 && reference.path.at[0] == '/')) {
        append_without_dots(&out, reference.path);
    } else if (reference.path.len > 0) {
        merge(&merged, &base, reference.path);
        append_without_dots(&out, (struct part){merged.data, merged.len});
    } else {
        buf_append(&out, base.path.at, base.path.len);
    }
    bool own_query = own_authority || reference.path.len > 0 || reference.query.at != NULL;
    append_part(&out, "?", own_query ? reference.query : base.query, "");
    append_part(&out, "#", reference.fragment, "");
    return buf_take(&out);
}

char *schema_uri_decode(const char *bytes, size_t len)
{
    AUTO_BUF struct buf out = {0};
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != '%') {
            buf_putc(&out, bytes[i]);
            continue;
        }
        int high = i + 2 < len ? text_hex_value(bytes[i + 1]) : -1;
        int low = high >= 0 ? text_hex_value(bytes[i + 2]) : -1;
        if (low < 0 || high * 16 + low == 0) {
            return NULL;
        }
        buf_putc(&out, (char)(high * 16 + low));
        i += 2;
    }
    return buf_take(&out);
}
