#include "presignd/base/text.h"

#include <string.h>

/* Length of the character that starts at bytes[i] (RFC 3629), or 0 if none does. */
static size_t utf8_char(const unsigned char *bytes, size_t len)
{
    unsigned char first = bytes[0];
    if (first < 0x80) {
        return 1;
    }
    size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || size > len) {
        return 0;
    }
    /* The second byte's range rules out long forms, surrogates and what is above U+10FFFF. */
    unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (bytes[1] < low || bytes[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if ((bytes[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return size;
}

bool text_utf8_valid(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t size = utf8_char((const unsigned char *)bytes + i, len - i);
        if (size == 0) {
            return false;
        }
        i += size;
    }
    return true;
}

size_t text_utf8_cut(const char *bytes, size_t len, size_t max)
{
    if (len <= max) {
        return len;
    }
    size_t cut = max;
    while (cut > 0 && ((unsigned char)bytes[cut] & 0xc0) == 0x80) {
        cut--;
    }
    return cut;
}

/* C0, DEL, and C1 (U+0080 to U+009F): what moves cursors, rings bells or breaks lines. */
static bool is_control(const unsigned char *bytes)
{
    return bytes[0] < 0x20 || bytes[0] == 0x7f || (bytes[0] == 0xc2 && bytes[1] < 0xa0);
}

void text_clean(struct buf *out, const char *bytes, size_t len, size_t max)
{
    for (size_t i = 0, used = 0; i < len;) {
        const unsigned char *here = (const unsigned char *)bytes + i;
        size_t size = utf8_char(here, len - i);
        const char *put = bytes + i;
        size_t put_len = size;
        if (size == 0) {
            put = "\xef\xbf\xbd";
            put_len = 3;
            size = 1;
        } else if (is_control(here)) {
            put = " ";
            put_len = 1;
        }
        used += put_len;
        if (used > max) {
            return;
        }
        buf_append(out, put, put_len);
        i += size;
    }
}
