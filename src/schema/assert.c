/* Keywords that check one value. Their errors say what it is and what it must be. They never quote
 * it: those who read a failure's errors may have no right to see the event. */
#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "schema/node.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a schema's value that an error shows. */
enum { TEXT_SHOWN_MAX = 200 };

/* A value of the schema as JSON text, cut. The caller frees it. */
static char *shown(const json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
    if (text != NULL && strlen(text) > TEXT_SHOWN_MAX) {
        memcpy(text + TEXT_SHOWN_MAX - 3, "...", sizeof "...");
    }
    return text == NULL ? mem_strdup("…") : text;
}

/* The name of the value's type, with its article. */
static const char *type_text(const json_t *value)
{
    for (size_t i = 0; i < schema_type_count; i++) {
        if ((schema_types[i].bits & TYPE_BIT(json_typeof(value))) != 0) {
            return schema_types[i].text;
        }
    }
    return "a number";
}

/* "null or an integer". `number` includes integers. */
static void put_types(struct buf *out, unsigned types)
{
    for (size_t i = 0; i < schema_type_count; i++) {
        unsigned bits = schema_types[i].bits;
        bool part_of_number = bits == TYPE_BIT(JSON_INTEGER) && (types & ON_NUMBER) == ON_NUMBER;
        if ((types & bits) == bits && !part_of_number) {
            buf_printf(out, "%s%s", out->len > 0 ? " or " : "", schema_types[i].text);
        }
    }
}

bool schema_apply_type(struct schema_run *run, const struct schema_keyword *keyword,
                       const struct schema_frame *frame)
{
    if ((keyword->types & TYPE_BIT(json_typeof(frame->instance))) != 0) {
        return true;
    }
    bool is_integer = (keyword->types & TYPE_BIT(JSON_INTEGER)) != 0;
    bool whole_is_integer = keyword->limit != 0;
    const char *is = type_text(frame->instance);
    if (json_is_real(frame->instance) && is_integer) {
        if (whole_is_integer && schema_number_whole(frame->instance)) {
            return true;
        }
        is = whole_is_integer ? "a number with a fraction" : "written with a point or an exponent";
    }
    AUTO_BUF struct buf types = {0};
    put_types(&types, keyword->types);
    return schema_fail(run, frame, "is %s, must be %s", is, types.data);
}

bool schema_apply_const(struct schema_run *run, const struct schema_keyword *keyword,
                        const struct schema_frame *frame)
{
    if (schema_value_equal(frame->instance, (json_t *)keyword->value)) {
        return true;
    }
    AUTO_FREE char *value = shown(keyword->value);
    return schema_fail(run, frame, "must be %s", value);
}

bool schema_apply_enum(struct schema_run *run, const struct schema_keyword *keyword,
                       const struct schema_frame *frame)
{
    size_t i;
    json_t *value;
    json_array_foreach (keyword->value, i, value) {
        if (schema_value_equal(frame->instance, value)) {
            return true;
        }
    }
    AUTO_FREE char *values = shown(keyword->value);
    return schema_fail(run, frame, "must be one of %s", values);
}

/* ---- Numbers ---- */

/* "must be at least 1" */
static bool fail_number(struct schema_run *run, const struct schema_keyword *keyword,
                        const struct schema_frame *frame, const char *must)
{
    AUTO_FREE char *limit = shown(keyword->value);
    return schema_fail(run, frame, "must be %s %s", must, limit);
}

bool schema_apply_multiple_of(struct schema_run *run, const struct schema_keyword *keyword,
                              const struct schema_frame *frame)
{
    return schema_number_multiple(frame->instance, keyword->value) ||
           fail_number(run, keyword, frame, "a multiple of");
}

bool schema_apply_maximum(struct schema_run *run, const struct schema_keyword *keyword,
                          const struct schema_frame *frame)
{
    return schema_number_compare(frame->instance, keyword->value) <= 0 ||
           fail_number(run, keyword, frame, "at most");
}

bool schema_apply_exclusive_maximum(struct schema_run *run, const struct schema_keyword *keyword,
                                    const struct schema_frame *frame)
{
    return schema_number_compare(frame->instance, keyword->value) < 0 ||
           fail_number(run, keyword, frame, "less than");
}

bool schema_apply_minimum(struct schema_run *run, const struct schema_keyword *keyword,
                          const struct schema_frame *frame)
{
    return schema_number_compare(frame->instance, keyword->value) >= 0 ||
           fail_number(run, keyword, frame, "at least");
}

bool schema_apply_exclusive_minimum(struct schema_run *run, const struct schema_keyword *keyword,
                                    const struct schema_frame *frame)
{
    return schema_number_compare(frame->instance, keyword->value) > 0 ||
           fail_number(run, keyword, frame, "greater than");
}

/* ---- Sizes ---- */

/* Code points (RFC 8259): counts the bytes that begin one. */
static uint64_t characters(const json_t *string)
{
    const char *bytes = json_string_value(string);
    size_t len = json_string_length(string);
    uint64_t count = 0;
    for (size_t i = 0; i < len; i++) {
        count += ((unsigned char)bytes[i] & 0xc0) != 0x80;
    }
    return count;
}

static uint64_t size_of(const json_t *instance, const char **unit)
{
    if (json_is_string(instance)) {
        *unit = "character";
        return characters(instance);
    }
    *unit = json_is_array(instance) ? "item" : "member";
    return json_is_array(instance) ? json_array_size(instance) : json_object_size(instance);
}

static bool fail_size(struct schema_run *run, const struct schema_frame *frame, uint64_t size,
                      const char *unit, const char *must, uint64_t limit)
{
    return schema_fail(run, frame, "has %" PRIu64 " %s%s, %s %" PRIu64, size, unit,
                       size == 1 ? "" : "s", must, limit);
}

/* maxLength, maxItems, maxProperties */
bool schema_apply_max_size(struct schema_run *run, const struct schema_keyword *keyword,
                           const struct schema_frame *frame)
{
    const char *unit;
    uint64_t size = size_of(frame->instance, &unit);
    return size <= keyword->limit ||
           fail_size(run, frame, size, unit, "may have at most", keyword->limit);
}

/* minLength, minItems, minProperties */
bool schema_apply_min_size(struct schema_run *run, const struct schema_keyword *keyword,
                           const struct schema_frame *frame)
{
    const char *unit;
    uint64_t size = size_of(frame->instance, &unit);
    return size >= keyword->limit ||
           fail_size(run, frame, size, unit, "must have at least", keyword->limit);
}

/* ---- Strings ---- */

bool schema_apply_pattern(struct schema_run *run, const struct schema_keyword *keyword,
                          const struct schema_frame *frame)
{
    enum schema_match match =
        schema_pattern_match(keyword->pattern, json_string_value(frame->instance),
                             json_string_length(frame->instance), &run->steps);
    if (match == MATCH_YES) {
        return true;
    }
    if (match == MATCH_LIMIT) {
        return schema_stop(run, frame, "takes too many steps to compare with the pattern");
    }
    const char *source = json_string_value(keyword->value);
    bool cut = strlen(source) > TEXT_SHOWN_MAX;
    return schema_fail(run, frame, "does not match the pattern %.*s%s", TEXT_SHOWN_MAX, source,
                       cut ? "..." : "");
}

/* A format that is not asserted or not known is an annotation (validation, section 7.2). */
bool schema_apply_format(struct schema_run *run, const struct schema_keyword *keyword,
                         const struct schema_frame *frame)
{
    return keyword->format == NULL ||
           keyword->format(json_string_value(frame->instance),
                           json_string_length(frame->instance)) ||
           schema_fail(run, frame, "is not a valid %s", json_string_value(keyword->value));
}

/* ---- Items and members ---- */

struct hashed {
    uint64_t hash;
    size_t index;
};

static int compare_hashes(const void *a, const void *b)
{
    const struct hashed *left = a, *right = b;
    return (left->hash > right->hash) - (left->hash < right->hash);
}

/* Finds two equal items. Compares hashes first: an array may have tens of thousands of items. Each
 * further comparison is a step, since an attacker can make items with one hash. */
static bool find_equal(json_t *array, struct schema_steps *steps, size_t *first, size_t *second)
{
    size_t size = json_array_size(array);
    AUTO_FREE struct hashed *items = mem_zalloc(size, sizeof *items);
    for (size_t i = 0; i < size; i++) {
        items[i] = (struct hashed){schema_value_hash(json_array_get(array, i)), i};
    }
    qsort(items, size, sizeof *items, compare_hashes);
    for (size_t i = 0; i < size; i++) {
        for (size_t j = i + 1; j < size && items[j].hash == items[i].hash; j++) {
            *first = items[i].index;
            *second = items[j].index;
            if (!schema_steps_take(steps, 1)) {
                return false;
            }
            if (schema_value_equal(json_array_get(array, *first), json_array_get(array, *second))) {
                return true;
            }
        }
    }
    return false;
}

/* Hashing reads every byte of the items. */
static uint64_t unique_cost(json_t *array)
{
    return schema_value_size(array, SIZE_MAX) / 8;
}

bool schema_apply_unique_items(struct schema_run *run, const struct schema_keyword *keyword,
                               const struct schema_frame *frame)
{
    size_t first, second;
    bool equal = keyword->limit != 0 &&
                 schema_steps_take(&run->steps, unique_cost(frame->instance)) &&
                 find_equal(frame->instance, &run->steps, &first, &second);
    if (run->steps.used > run->steps.max) {
        return schema_stop(run, frame, "takes too many steps to look for equal items");
    }
    return !equal || schema_fail(run, frame, "has two equal items, %zu and %zu",
                                 first < second ? first : second, first < second ? second : first);
}

/* One violation for each name, at the object: it has no other location. */
bool schema_apply_required(struct schema_run *run, const struct schema_keyword *keyword,
                           const struct schema_frame *frame)
{
    bool valid = true;
    size_t i;
    json_t *name;
    json_array_foreach (keyword->value, i, name) {
        const char *text = json_string_value(name);
        if (json_object_getn(frame->instance, text, json_string_length(name)) == NULL) {
            valid = schema_fail(run, frame, "lacks the member %s", text);
        }
    }
    return valid;
}

bool schema_apply_dependent_required(struct schema_run *run, const struct schema_keyword *keyword,
                                     const struct schema_frame *frame)
{
    bool valid = true;
    const char *member;
    json_t *names;
    json_object_foreach ((json_t *)keyword->value, member, names) {
        size_t i;
        json_t *name;
        bool is_present = json_object_get(frame->instance, member) != NULL;
        json_array_foreach (names, i, name) {
            const char *text = json_string_value(name);
            if (is_present && json_object_get(frame->instance, text) == NULL) {
                valid = schema_fail(run, frame, "has the member %s but lacks %s", member, text);
            }
        }
    }
    return valid;
}
