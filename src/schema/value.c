/* Compares values as JSON Schema does: numbers by value, not by notation, and without rounding. */
#include "schema/node.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* No conversion: a double has 53 bits, an integer 64. */
static int integer_compare_real(json_int_t integer, double real)
{
    if (real >= 0x1p63 || real < -0x1p63) {
        return real > 0 ? -1 : 1;
    }
    json_int_t whole = (json_int_t)real;
    if (integer != whole) {
        return integer < whole ? -1 : 1;
    }
    double fraction = real - (double)whole;
    return (fraction < 0) - (fraction > 0);
}

int schema_number_compare(const json_t *a, const json_t *b)
{
    if (json_is_integer(a) && json_is_integer(b)) {
        json_int_t left = json_integer_value(a), right = json_integer_value(b);
        return (left > right) - (left < right);
    }
    if (json_is_integer(a)) {
        return integer_compare_real(json_integer_value(a), json_real_value(b));
    }
    if (json_is_integer(b)) {
        return -integer_compare_real(json_integer_value(b), json_real_value(a));
    }
    double left = json_real_value(a), right = json_real_value(b);
    return (left > right) - (left < right);
}

bool schema_number_whole(const json_t *number)
{
    return json_is_integer(number) || trunc(json_real_value(number)) == json_real_value(number);
}

/* digits * 10^exponent, without sign. */
struct decimal {
    uint64_t digits;
    int exponent;
};

/* The shortest decimal that converts to the same real: most likely the original text. */
static struct decimal decimal_of(const json_t *number)
{
    if (json_is_integer(number)) {
        json_int_t value = json_integer_value(number);
        return (struct decimal){value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 0};
    }
    double real = fabs(json_real_value(number));
    char text[40];
    int digits = 14;
    do {
        snprintf(text, sizeof text, "%.*e", digits, real);
    } while (++digits < 17 && strtod(text, NULL) != real);

    struct decimal decimal = {0, 0};
    const char *at = text;
    for (bool behind_point = false; *at != 'e' && *at != '\0'; at++) {
        if (*at == '.') {
            behind_point = true;
            continue;
        }
        decimal.digits = decimal.digits * 10 + (uint64_t)(*at - '0');
        decimal.exponent -= behind_point;
    }
    decimal.exponent += *at == 'e' ? (int)strtol(at + 1, NULL, 10) : 0;
    return decimal;
}

typedef unsigned __int128 wide;

/* Is digits * 10^up a multiple of the divisor? Every factor is below 2^64. */
static bool scaled_multiple(uint64_t digits, int up, uint64_t divisor)
{
    uint64_t rest = digits % divisor;
    for (; up > 0 && rest != 0; up--) {
        rest = (uint64_t)((wide)rest * 10 % divisor);
    }
    return rest == 0;
}

bool schema_number_multiple(const json_t *number, const json_t *divisor)
{
    struct decimal of = decimal_of(number);
    struct decimal by = decimal_of(divisor);
    if (of.digits == 0 || by.digits == 0) {
        return of.digits == 0;
    }
    int up = of.exponent - by.exponent;
    if (up >= 0) {
        return scaled_multiple(of.digits, up, by.digits);
    }
    /* Scales the divisor instead; above 2^64 it is larger than the number. */
    wide grown = by.digits;
    for (; up < 0 && grown <= of.digits; up++) {
        grown *= 10;
    }
    return up == 0 && of.digits % grown == 0;
}

int schema_name_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
    if (a_len != b_len) {
        return a_len < b_len ? -1 : 1;
    }
    return memcmp(a, b, a_len);
}

/* Recursion is bounded: json_read() limits the nesting of values. */
static bool arrays_equal(json_t *a, json_t *b)
{
    size_t size = json_array_size(a);
    bool equal = size == json_array_size(b);
    for (size_t i = 0; equal && i < size; i++) {
        equal = schema_value_equal(json_array_get(a, i), json_array_get(b, i));
    }
    return equal;
}

static bool objects_equal(json_t *a, json_t *b)
{
    if (json_object_size(a) != json_object_size(b)) {
        return false;
    }
    const char *name;
    size_t len;
    json_t *value;
    json_object_keylen_foreach(a, name, len, value)
    {
        json_t *other = json_object_getn(b, name, len);
        if (other == NULL || !schema_value_equal(value, other)) {
            return false;
        }
    }
    return true;
}

bool schema_value_equal(json_t *a, json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) {
        return schema_number_compare(a, b) == 0;
    }
    if (json_typeof(a) != json_typeof(b)) {
        return false;
    }
    switch (json_typeof(a)) {
    case JSON_OBJECT:
        return objects_equal(a, b);
    case JSON_ARRAY:
        return arrays_equal(a, b);
    case JSON_STRING:
        return schema_name_compare(json_string_value(a), json_string_length(a),
                                   json_string_value(b), json_string_length(b)) == 0;
    default:
        return true;
    }
}

size_t schema_value_size(json_t *value, size_t enough)
{
    size_t size = SCHEMA_VALUE_BYTES + (json_is_string(value) ? json_string_length(value) : 0);
    size_t i;
    json_t *item;
    json_array_foreach (value, i, item) {
        size += size > enough ? 0 : schema_value_size(item, enough - size);
    }
    const char *name;
    size_t len;
    json_object_keylen_foreach(value, name, len, item)
    {
        size += size > enough ? 0 : len + schema_value_size(item, enough - size);
    }
    return size;
}

/* FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/). */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

uint64_t schema_value_hash(json_t *value)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) + (uint64_t)json_typeof(value);
    if (json_is_string(value)) {
        return hash_bytes(hash, json_string_value(value), json_string_length(value));
    }
    if (json_is_number(value)) {
        double real = json_number_value(value) + 0.0; /* -0.0 equals 0 */
        return hash_bytes(UINT64_C(0xcbf29ce484222325), &real, sizeof real);
    }
    size_t i;
    json_t *item;
    json_array_foreach (value, i, item) {
        uint64_t part = schema_value_hash(item);
        hash = hash_bytes(hash, &part, sizeof part);
    }
    const char *name;
    size_t len;
    json_object_keylen_foreach(value, name, len, item)
    {
        uint64_t part = schema_value_hash(item);
        hash += hash_bytes(part, name, len); /* in any order */
    }
    return hash;
}
