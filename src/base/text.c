#include "presignd/base/text.h"

#include <string.h>

bool text_lies_in(const char *path, const char *directory)
{
    size_t len = directory == NULL ? 0 : strlen(directory);
    return len > 0 && path != NULL && strncmp(path, directory, len) == 0 && path[len] == '/';
}

bool text_int(const char *string, int64_t min, int64_t max, int64_t *out)
{
    bool negative = *string == '-';
    const char *digit = string + negative;
    int64_t value = 0; /* negated: INT64_MIN has no positive counterpart */
    if (*digit == '\0') {
        return false;
    }
    for (; *digit != '\0'; digit++) {
        if (*digit < '0' || *digit > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, *digit - '0', &value)) {
            return false;
        }
    }
    if (!negative && __builtin_sub_overflow(0, value, &value)) {
        return false;
    }
    if (value < min || value > max) {
        return false;
    }
    *out = value;
    return true;
}

int text_hex_value(char c)
{
    if (text_is_digit(c)) {
        return c - '0';
    }
    unsigned char low = text_lower(c);
    return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

int text_compare_nocase(const char *a, const char *b)
{
    while (*a != '\0' && text_lower(*a) == text_lower(*b)) {
        a++;
        b++;
    }
    return text_lower(*a) - text_lower(*b);
}

bool text_equal_nocase(const char *a, const char *b)
{
    return text_compare_nocase(a, b) == 0;
}

bool text_prefix_nocase(const char *bytes, size_t len, const char *prefix)
{
    for (size_t i = 0; prefix[i] != '\0'; i++) {
        if (i == len || text_lower(bytes[i]) != text_lower(prefix[i])) {
            return false;
        }
    }
    return true;
}

enum { PADDING = 64 };
static const char base64_letters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";

void text_base64(struct buf *out, const void *bytes, size_t len)
{
    const unsigned char *in = bytes;
    buf_reserve(out, (len + 2) / 3 * 4);
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t bits = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                        (left > 2 ? in[i + 2] : 0);
        char four[4] = {base64_letters[bits >> 18], base64_letters[bits >> 12 & 63],
                        base64_letters[left > 1 ? bits >> 6 & 63 : PADDING],
                        base64_letters[left > 2 ? bits & 63 : PADDING]};
        buf_append(out, four, sizeof four);
    }
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes four characters; the first `letters` (2 to 4) are not padding. Unused bits must be zero
 * (RFC 4648, section 3.5): else two texts decode to the same bytes. */
static bool base64_group(struct buf *out, const char *text, size_t letters)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; i++) {
        int value = i < letters ? base64_value(text[i]) : 0;
        if (value < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)value;
    }
    const char bytes[3] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};
    if ((letters < 4 && bytes[2] != 0) || (letters < 3 && bytes[1] != 0)) {
        return false;
    }
    buf_append(out, bytes, letters - 1);
    return true;
}

bool text_base64_decode(struct buf *out, const char *text, size_t len)
{
    if (len % 4 != 0) {
        return false;
    }
    size_t before = out->len;
    buf_reserve(out, len / 4 * 3);
    for (size_t i = 0; i < len; i += 4) {
        size_t letters = 4;
        if (i + 4 == len && text[i + 3] == '=') {
            letters = text[i + 2] == '=' ? 2 : 3;
        }
        if (!base64_group(out, text + i, letters)) {
            out->len = before;
            out->data[before] = '\0';
            return false;
        }
    }
    return true;
}
