/* Keywords that look at one value. Their texts say what it is and what it must be, and never
 * quote it: a failure's errors are read by people who may not see the event. */
#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "schema/node.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* More of a schema's own text than this is cut. */
enum { TEXT_SHOWN_MAX = 200 };

/* A value of the schema, as JSON text. The caller frees. */
static char *shown(const json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
    if (text != NULL && strlen(text) > TEXT_SHOWN_MAX) {
        memcpy(text + TEXT_SHOWN_MAX - 3, "...", sizeof "...");
    }
    return text == NULL ? mem_strdup("…") : text;
}

/* What the value is, with its article: the narrowest of the names that fit. */
static const char *type_text(const json_t *value)
{
    for (size_t i = 0; i < schema_type_count; i++) {
        if ((schema_types[i].bits & TYPE_BIT(json_typeof(value))) != 0) {
            return schema_types[i].text;
        }
    }
    return "a number";
}

/* "null or an integer"; a number that may be any needs no word about integers. */
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

bool apply_type(struct schema_run *run, const struct schema_keyword *keyword,
                const struct schema_frame *frame)
{
    if ((keyword->types & TYPE_BIT(json_typeof(frame->instance))) != 0) {
        return true;
    }
    bool integer_asked = (keyword->types & TYPE_BIT(JSON_INTEGER)) != 0;
    bool whole_is_enough = keyword->limit != 0;
    const char *is = type_text(frame->instance);
    if (json_is_real(frame->instance) && integer_asked) {
        if (whole_is_enough && schema_number_whole(frame->instance)) {
            return true;
        }
        is = whole_is_enough ? "a number with a fraction" : "written with a point or an exponent";
    }
    AUTO_BUF struct buf types = {0};
    put_types(&types, keyword->types);
    return schema_fail(run, frame, "is %s, must be %s", is, types.data);
}

/* Quotes what was asked for, not what came. */
bool apply_const(struct schema_run *run, const struct schema_keyword *keyword,
                 const struct schema_frame *frame)
{
    if (schema_value_equal(frame->instance, (json_t *)keyword->value)) {
        return true;
    }
    AUTO_FREE char *value = shown(keyword->value);
    return schema_fail(run, frame, "must be %s", value);
}

bool apply_enum(struct schema_run *run, const struct schema_keyword *keyword,
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

/* "must be at least 1": the limit is the schema's own and may be shown. */
static bool number_fails(struct schema_run *run, const struct schema_keyword *keyword,
                         const struct schema_frame *frame, const char *must)
{
    AUTO_FREE char *limit = shown(keyword->value);
    return schema_fail(run, frame, "must be %s %s", must, limit);
}

bool apply_multiple_of(struct schema_run *run, const struct schema_keyword *keyword,
                       const struct schema_frame *frame)
{
    return schema_number_multiple(frame->instance, keyword->value) ||
           number_fails(run, keyword, frame, "a multiple of");
}

bool apply_maximum(struct schema_run *run, const struct schema_keyword *keyword,
                   const struct schema_frame *frame)
{
    return schema_number_compare(frame->instance, keyword->value) <= 0 ||
           number_fails(run, keyword, frame, "at most");
}

bool apply_exclusive_maximum(struct schema_run *run, const struct schema_keyword *keyword,
                             const struct schema_frame *frame)
{
    return schema_number_compare(frame->instance, keyword->value) < 0 ||
           number_fails(run, keyword, frame, "less than");
}

bool apply_minimum(struct schema_run *run, const struct schema_keyword *keyword,
                   const struct schema_frame *frame)
{
    return schema_number_compare(frame->instance, keyword->value) >= 0 ||
           number_fails(run, keyword, frame, "at least");
}

bool apply_exclusive_minimum(struct schema_run *run, const struct schema_keyword *keyword,
                             const struct schema_frame *frame)
{
    return schema_number_compare(frame->instance, keyword->value) > 0 ||
           number_fails(run, keyword, frame, "greater than");
}

/* ---- Sizes ---- */

/* `thing` in the singular. */
static bool size_fits(struct schema_run *run, const struct schema_frame *frame, uint64_t size,
                      uint64_t min, uint64_t max, const char *thing)
{
    if (size >= min && size <= max) {
        return true;
    }
    bool few = size < min;
    return schema_fail(run, frame, "has %" PRIu64 " %s%s, %s %" PRIu64, size, thing,
                       size == 1 ? "" : "s", few ? "must have at least" : "may have at most",
                       few ? min : max);
}

/* In characters, as the draft counts (RFC 8259): bytes that begin one. */
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

bool apply_max_length(struct schema_run *run, const struct schema_keyword *keyword,
                      const struct schema_frame *frame)
{
    return size_fits(run, frame, characters(frame->instance), 0, keyword->limit, "character");
}

bool apply_min_length(struct schema_run *run, const struct schema_keyword *keyword,
                      const struct schema_frame *frame)
{
    return size_fits(run, frame, characters(frame->instance), keyword->limit, UINT64_MAX,
                     "character");
}

bool apply_max_items(struct schema_run *run, const struct schema_keyword *keyword,
                     const struct schema_frame *frame)
{
    return size_fits(run, frame, json_array_size(frame->instance), 0, keyword->limit, "item");
}

bool apply_min_items(struct schema_run *run, const struct schema_keyword *keyword,
                     const struct schema_frame *frame)
{
    return size_fits(run, frame, json_array_size(frame->instance), keyword->limit, UINT64_MAX,
                     "item");
}

bool apply_max_properties(struct schema_run *run, const struct schema_keyword *keyword,
                          const struct schema_frame *frame)
{
    return size_fits(run, frame, json_object_size(frame->instance), 0, keyword->limit, "member");
}

bool apply_min_properties(struct schema_run *run, const struct schema_keyword *keyword,
                          const struct schema_frame *frame)
{
    return size_fits(run, frame, json_object_size(frame->instance), keyword->limit, UINT64_MAX,
                     "member");
}

/* ---- Strings ---- */

bool apply_pattern(struct schema_run *run, const struct schema_keyword *keyword,
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

/* A format that is not asserted, or not in the table, is an annotation (validation, section 7.2).
 */
bool apply_format(struct schema_run *run, const struct schema_keyword *keyword,
                  const struct schema_frame *frame)
{
    return keyword->format == NULL ||
           keyword->format(json_string_value(frame->instance),
                           json_string_length(frame->instance)) ||
           schema_fail(run, frame, "is not a valid %s", json_string_value(keyword->value));
}

/* ---- Items and members ---- */

/* An item, known by its hash until that is not enough. */
struct hashed {
    uint64_t hash;
    size_t index;
};

static int compare_hashes(const void *a, const void *b)
{
    const struct hashed *left = a, *right = b;
    return (left->hash > right->hash) - (left->hash < right->hash);
}

/* Two equal items, or false. Hashes first: an array has up to tens of thousands of items. Items
 * can be made that share one hash, so comparisons are steps. */
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

/* Each byte of an item goes into its hash, at each level that asks. */
static uint64_t unique_cost(json_t *array)
{
    return schema_value_size(array, SIZE_MAX) / 8;
}

bool apply_unique_items(struct schema_run *run, const struct schema_keyword *keyword,
                        const struct schema_frame *frame)
{
    size_t first, second;
    bool asked = keyword->limit != 0;
    bool equal = asked && schema_steps_take(&run->steps, unique_cost(frame->instance)) &&
                 find_equal(frame->instance, &run->steps, &first, &second);
    if (run->steps.used > run->steps.max) {
        return schema_stop(run, frame, "takes too many steps to look for equal items");
    }
    return !equal || schema_fail(run, frame, "has two equal items, %zu and %zu",
                                 first < second ? first : second, first < second ? second : first);
}

/* One violation for each name, at the object: it has no other location. */
bool apply_required(struct schema_run *run, const struct schema_keyword *keyword,
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

bool apply_dependent_required(struct schema_run *run, const struct schema_keyword *keyword,
                              const struct schema_frame *frame)
{
    bool valid = true;
    const char *member;
    json_t *names;
    json_object_foreach ((json_t *)keyword->value, member, names) {
        size_t i;
        json_t *name;
        bool counts = json_object_get(frame->instance, member) != NULL;
        json_array_foreach (names, i, name) {
            const char *text = json_string_value(name);
            if (counts && json_object_get(frame->instance, text) == NULL) {
                valid = schema_fail(run, frame, "has the member %s but lacks %s", member, text);
            }
        }
    }
    return valid;
}
