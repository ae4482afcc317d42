#include "wire/trace.h"

#include "presignd/base/text.h"

#include <string.h>

enum {
    PARENT_LEN = 55,
    MEMBERS_MAX = 32,
    KEY_MAX = 256,
    TENANT_MAX = 241,
    SYSTEM_MAX = 14,
    STATE_VALUE_MAX = 256
};

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

/* `count` lower-case hexadecimal digits, not all zero unless `zero_allowed`. */
static bool is_hex_id(const char *bytes, size_t count, bool zero_allowed)
{
    bool zero = true;
    for (size_t i = 0; i < count; i++) {
        if (!text_is_digit(bytes[i]) && !(bytes[i] >= 'a' && bytes[i] <= 'f')) {
            return false;
        }
        zero = zero && bytes[i] == '0';
    }
    return zero_allowed || !zero;
}

static bool is_printable(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] < 0x20 || bytes[i] > 0x7e) {
            return false;
        }
    }
    return true;
}

bool trace_parent_valid(const char *bytes, size_t len)
{
    if (len < PARENT_LEN || len > TRACE_PARENT_MAX || !is_printable(bytes, len)) {
        return false;
    }
    if (!is_hex_id(bytes, 2, true) || memcmp(bytes, "ff", 2) == 0) {
        return false;
    }
    /* Later versions may add fields after another dash. */
    bool first_version = memcmp(bytes, "00", 2) == 0;
    if (len > PARENT_LEN && (first_version || bytes[PARENT_LEN] != '-')) {
        return false;
    }
    return bytes[2] == '-' && is_hex_id(bytes + 3, 32, false) && bytes[35] == '-' &&
           is_hex_id(bytes + 36, 16, false) && bytes[52] == '-' && is_hex_id(bytes + 53, 2, true);
}

static bool is_key_part(const char *bytes, size_t len, size_t max, bool digit_first)
{
    if (len == 0 || len > max ||
        !(is_lower(bytes[0]) || (digit_first && text_is_digit(bytes[0])))) {
        return false;
    }
    for (size_t i = 1; i < len; i++) {
        char c = bytes[i];
        if (!is_lower(c) && !text_is_digit(c) && c != '_' && c != '-' && c != '*' && c != '/') {
            return false;
        }
    }
    return true;
}

static bool is_key(const char *bytes, size_t len)
{
    const char *at = memchr(bytes, '@', len);
    if (at == NULL) {
        return is_key_part(bytes, len, KEY_MAX, false);
    }
    size_t tenant_len = (size_t)(at - bytes);
    return is_key_part(bytes, tenant_len, TENANT_MAX, true) &&
           is_key_part(at + 1, len - tenant_len - 1, SYSTEM_MAX, false);
}

static bool is_value(const char *bytes, size_t len)
{
    return len > 0 && len <= STATE_VALUE_MAX && is_printable(bytes, len) &&
           memchr(bytes, '=', len) == NULL;
}

struct part {
    const char *bytes;
    size_t len;
};

static struct part trim(struct part part)
{
    while (part.len > 0 && (part.bytes[0] == ' ' || part.bytes[0] == '\t')) {
        part.bytes++;
        part.len--;
    }
    while (part.len > 0 && (part.bytes[part.len - 1] == ' ' || part.bytes[part.len - 1] == '\t')) {
        part.len--;
    }
    return part;
}

/* Checks a member and adds its key to `keys`. */
static bool member_valid(struct part member, struct part *keys, size_t *count)
{
    const char *equals = memchr(member.bytes, '=', member.len);
    if (equals == NULL || *count == MEMBERS_MAX) {
        return false;
    }
    struct part key = {member.bytes, (size_t)(equals - member.bytes)};
    for (size_t i = 0; i < *count; i++) {
        if (keys[i].len == key.len && memcmp(keys[i].bytes, key.bytes, key.len) == 0) {
            return false;
        }
    }
    keys[(*count)++] = key;
    return is_key(key.bytes, key.len) && is_value(equals + 1, member.len - key.len - 1);
}

bool trace_state_valid(const char *bytes, size_t len)
{
    if (len > TRACE_STATE_MAX) {
        return false;
    }
    struct part keys[MEMBERS_MAX];
    size_t count = 0;
    for (size_t start = 0; start < len;) {
        const char *comma = memchr(bytes + start, ',', len - start);
        size_t end = comma == NULL ? len : (size_t)(comma - bytes);
        struct part member = trim((struct part){bytes + start, end - start});
        /* Empty members are allowed. */
        if (member.len > 0 && !member_valid(member, keys, &count)) {
            return false;
        }
        start = end + 1;
    }
    return count > 0;
}
