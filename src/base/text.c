#include "presignd/base/text.h"

#include <limits.h>
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

void text_hex(char *out, const void *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = ((const unsigned char *)bytes)[i];
        *out++ = digits[byte >> 4];
        *out++ = digits[byte & 15];
    }
    *out = '\0';
}

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

/* What a letter means, plus 1; 0 for other characters. */
static const unsigned char base64_values[UCHAR_MAX + 1] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
    ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
    ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
    ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
    ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
};

/* Decodes four characters into three bytes. */
static bool base64_group(char out[3], const char *text)
{
    const unsigned char *in = (const unsigned char *)text;
    uint32_t a = base64_values[in[0]], b = base64_values[in[1]], c = base64_values[in[2]],
             d = base64_values[in[3]];
    uint32_t bits = (a - 1) << 18 | (b - 1) << 12 | (c - 1) << 6 | (d - 1);
    out[0] = (char)(bits >> 16);
    out[1] = (char)(bits >> 8);
    out[2] = (char)bits;
    return a > 0 && b > 0 && c > 0 && d > 0;
}

/* The last group, with so much padding. Unused bits must be zero (RFC 4648, section 3.5): else two
 * texts decode to the same bytes. */
static bool base64_last(char out[3], const char *text, size_t padding)
{
    char group[4];
    memcpy(group, text, sizeof group);
    memset(group + sizeof group - padding, 'A', padding); /* a zero */
    return base64_group(out, group) && (padding < 1 || out[2] == 0) && (padding < 2 || out[1] == 0);
}

bool text_base64_decode(struct buf *out, const char *text, size_t len)
{
    if (len % 4 != 0) {
        return false;
    }
    size_t padding = len == 0 || text[len - 1] != '=' ? 0 : text[len - 2] == '=' ? 2 : 1;
    buf_reserve(out, len / 4 * 3);
    char *at = out->data + out->len;
    bool ok = true;
    for (size_t i = 0; i < len && ok; i += 4, at += 3) {
        ok = i + 4 < len ? base64_group(at, text + i) : base64_last(at, text + i, padding);
    }
    if (!ok) {
        out->data[out->len] = '\0';
        return false;
    }
    out->len += len / 4 * 3 - padding;
    out->data[out->len] = '\0';
    return true;
}
