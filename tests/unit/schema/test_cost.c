/* The steps of hostile texts grow linearly with the text, for each pattern and each schema of the
 * directory schemas. */
#include "presignd/base/buf.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/schema/schema.h"
#include "schema/node.h"

#include "unit/schema/shipped.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Four times the text: linear costs grow by 4, quadratic ones by 16. */
enum { SHORT = 200, LONG = 4 * SHORT, GROWTH_MAX = 5, CONSTANT = 100 };

static bool grows_linearly(uint64_t at_short, uint64_t at_long)
{
    return at_long <= GROWTH_MAX * at_short + CONSTANT;
}

/* ---- Hostile texts ---- */

/* head, `unit` repeated up to `len` bytes, tail, end. */
static void make_text(struct buf *out, const char *head, const char *unit, size_t len,
                      const char *tail, const char *end)
{
    out->len = 0;
    buf_puts(out, head);
    while (out->len < len) {
        buf_puts(out, unit);
    }
    buf_puts(out, tail);
    buf_puts(out, end);
}

static const char *const heads[] = {"", "https://", "https://a@", "/presignd/a",
                                    "application/json"};
static const char *const tails[] = {"", "?", "/", "x", "\n", "\xf0\x9f\x98\x80"};

/* The ASCII characters of a pattern and some others. */
struct alphabet {
    char units[32][3];
    size_t count;
};

static struct alphabet alphabet_of(const char *pattern)
{
    struct alphabet alphabet = {0};
    AUTO_FREE char *all = mem_printf("a0/?. %s", pattern);
    for (const char *c = all; *c != '\0' && alphabet.count < ARRAY_LENGTH(alphabet.units); c++) {
        if ((unsigned char)*c < 0x80 && memchr(all, *c, (size_t)(c - all)) == NULL) {
            alphabet.units[alphabet.count++][0] = *c;
        }
    }
    return alphabet;
}

/* ---- Patterns ---- */

/* Compares the short and the long text. A text that uses up its steps is not linear either. */
static bool text_is_linear(const struct schema_pattern *pattern, const char *head, const char *unit,
                           const char *tail, const char *end)
{
    uint64_t used[2];
    for (size_t i = 0; i < 2; i++) {
        AUTO_BUF struct buf text = {0};
        make_text(&text, head, unit, i == 0 ? SHORT : LONG, tail, end);
        struct schema_steps steps = {.max = SCHEMA_STEPS_BASE + SCHEMA_STEPS_PER_BYTE * text.len};
        (void)schema_pattern_match(pattern, text.data, text.len, &steps);
        used[i] = steps.used;
        if (steps.used > steps.max) {
            return false;
        }
    }
    return grows_linearly(used[0], used[1]);
}

/* The source at the end has all characters that PCRE2 may require before it begins to match. */
static bool unit_is_linear(const struct schema_pattern *pattern, const char *unit,
                           const char *source)
{
    bool linear = true;
    for (size_t i = 0; linear && i < ARRAY_LENGTH(heads) * ARRAY_LENGTH(tails); i++) {
        const char *head = heads[i / ARRAY_LENGTH(tails)], *tail = tails[i % ARRAY_LENGTH(tails)];
        linear = text_is_linear(pattern, head, unit, tail, "") &&
                 text_is_linear(pattern, head, unit, tail, source);
    }
    return linear;
}

/* A unit whose repetition is not linear, or NULL. free(). */
static char *find_hostile_unit(const char *source)
{
    AUTO_FREE char *error = NULL;
    struct schema_pattern *pattern = schema_pattern_new(source, strlen(source), &error);
    cr_assert_not_null(pattern, "%s: %s", source, error);
    struct alphabet alphabet = alphabet_of(source);
    char *hostile = NULL;
    for (size_t i = 0; i < alphabet.count * alphabet.count && hostile == NULL; i++) {
        const char *first = alphabet.units[i / alphabet.count];
        const char *second = alphabet.units[i % alphabet.count];
        AUTO_FREE char *unit = mem_printf("%s%s", first, first == second ? "" : second);
        hostile = unit_is_linear(pattern, unit, source) ? NULL : mem_strdup(unit);
    }
    schema_pattern_free(pattern);
    return hostile;
}

static void check_pattern(const char *file, const char *source, size_t *seen)
{
    AUTO_FREE char *unit = find_hostile_unit(source);
    cr_expect_null(unit, "%s: %s is not linear when \"%s\" is repeated", file, source, unit);
    ++*seen;
}

/* Checks every `pattern` and the names of every `patternProperties`. */
static void check_patterns_in(const char *file, json_t *value, size_t *seen)
{
    size_t i;
    json_t *item;
    json_array_foreach (value, i, item) {
        check_patterns_in(file, item, seen);
    }
    const char *name;
    json_object_foreach (json_object_get(value, "patternProperties"), name, item) {
        check_pattern(file, name, seen);
    }
    json_object_foreach (value, name, item) {
        if (strcmp(name, "pattern") == 0 && json_is_string(item)) {
            check_pattern(file, json_string_value(item), seen);
        }
        check_patterns_in(file, item, seen);
    }
}

static int is_schema(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return len > 5 && strcmp(entry->d_name + len - 5, ".json") == 0;
}

/* Calls `look` for each file of the directory. */
static void each_schema(void (*look)(const char *name, json_t *document, void *context),
                        void *context)
{
    struct dirent **names;
    int count = scandir(DIR_SCHEMAS, &names, is_schema, alphasort);
    cr_assert_geq(count, 19);
    for (int i = 0; i < count; i++) {
        AUTO_FREE char *path = mem_printf("%s/%s", DIR_SCHEMAS, names[i]->d_name);
        AUTO_JSON json_t *document = json_load_file(path, 0, NULL);
        cr_assert_not_null(document, "%s", path);
        look(names[i]->d_name, document, context);
        free(names[i]);
    }
    free((void *)names);
}

static void look_at_patterns(const char *name, json_t *document, void *context)
{
    check_patterns_in(name, document, context);
}

Test(cost, every_shipped_pattern_is_linear)
{
    size_t seen = 0;
    each_schema(look_at_patterns, &seen);
    cr_expect_geq(seen, 7);
}

/* The test above must find these: several ways to split a text, a search from each start position,
 * and costs without callouts: a loop over one class, a repetition and a reference that fail. */
Test(cost, patterns_that_are_not_linear_are_detected)
{
    static const char *const patterns[] = {"^https://[^/?#]+[^?#]*$",
                                           "^(a+)+$",
                                           "[a0]*x",
                                           "(?:[a0]{150}\\?|x)",
                                           "^/presignd/(?:a|a/)*(?:a|/)*0$",
                                           "^(a*)0?(?:\\1b|a)*$"};
    for (size_t i = 0; i < ARRAY_LENGTH(patterns); i++) {
        AUTO_FREE char *unit = find_hostile_unit(patterns[i]);
        cr_expect_not_null(unit, "%s counts as linear", patterns[i]);
    }
}

/* ---- Schemas ---- */

/* Makes a hostile value of a size. */
typedef json_t *make_fn(const char *text, size_t size);

static json_t *make_string(const char *text, size_t size)
{
    AUTO_BUF struct buf out = {0};
    make_text(&out, text, "a", size, "?", "");
    return json_stringn(out.data, out.len);
}

static json_t *make_array(const char *text, size_t size)
{
    json_t *array = json_array();
    for (size_t i = 0; i < size; i++) {
        json_array_append_new(array, json_string(text));
    }
    return array;
}

static json_t *make_object(const char *text, size_t size)
{
    json_t *object = json_object();
    for (size_t i = 0; i < size; i++) {
        AUTO_FREE char *name = mem_printf("%s%zu", text, i);
        json_object_set_new(object, name, json_integer(1));
    }
    return object;
}

static json_t *make_nested(const char *text, size_t size)
{
    json_t *value = json_string(text);
    for (size_t i = 0; i < size / 8; i++) { /* json_read() allows 64 */
        value = json_pack("{s:[o]}", text, value);
    }
    return value;
}

static make_fn *const makers[] = {make_string, make_array, make_object, make_nested};

/* A copy of `example` in which `*instead` replaces the `position`-th value of the tree. `*instead`
 * is NULL afterwards, unless there are fewer values. */
static json_t *replace(json_t *example, size_t *position, json_t **instead)
{
    if (*position == 0 && *instead != NULL) {
        json_t *value = *instead;
        *instead = NULL;
        return value;
    }
    *position -= *position > 0;
    if (json_is_object(example)) {
        json_t *copy = json_object();
        const char *name;
        json_t *value;
        json_object_foreach (example, name, value) {
            json_object_set_new(copy, name, replace(value, position, instead));
        }
        return copy;
    }
    if (json_is_array(example)) {
        json_t *copy = json_array();
        size_t i;
        json_t *value;
        json_array_foreach (example, i, value) {
            json_array_append_new(copy, replace(value, position, instead));
        }
        return copy;
    }
    return json_deep_copy(example);
}

/* False when the example has no such value. */
static bool steps_with(const struct schema *schema, json_t *example, size_t position,
                       json_t *instead, uint64_t *steps)
{
    AUTO_JSON json_t *instance = replace(example, &position, &instead);
    json_decref(instead);
    *steps = schema_steps(schema, instance);
    return instead == NULL;
}

static bool check_value(const char *name, const struct schema *schema, json_t *example,
                        size_t position)
{
    bool there = false;
    for (size_t i = 0; i < ARRAY_LENGTH(makers) * ARRAY_LENGTH(heads); i++) {
        make_fn *make = makers[i % ARRAY_LENGTH(makers)];
        const char *text = heads[i / ARRAY_LENGTH(makers)];
        uint64_t at_short, at_long;
        there = steps_with(schema, example, position, make(text, SHORT), &at_short);
        (void)steps_with(schema, example, position, make(text, LONG), &at_long);
        cr_expect(grows_linearly(at_short, at_long),
                  "%s, position %zu, maker %zu, \"%s\": %lu, %lu", name, position,
                  i % ARRAY_LENGTH(makers), text, at_short, at_long);
    }
    return there;
}

static void look_at_schema(const char *name, json_t *document, void *context)
{
    AUTO_FREE char *uri = mem_printf("%s%s", SCHEMA_BASE, name);
    AUTO_FREE char *error = NULL;
    const struct schema *schema = schema_compile(set, uri, &error);
    cr_assert_not_null(schema, "%s: %s", name, error);
    json_t *example = json_array_get(json_object_get(document, "examples"), 0);
    for (size_t position = 0; example != NULL && check_value(name, schema, example, position);
         position++) {
        ++*(size_t *)context;
    }
}

Test(cost, every_shipped_schema_is_linear, .init = load_set, .fini = free_set)
{
    size_t values = 0;
    each_schema(look_at_schema, &values);
    cr_expect_geq(values, 200, "%zu", values);
}

/* An event of the default max_event_bytes in one member. */
Test(cost, a_large_event_stays_within_its_steps, .init = load_set, .fini = free_set)
{
    AUTO_FREE char *error = NULL;
    const struct schema *schema = schema_compile(set, SCHEMA_BASE "app.request.json", &error);
    static const char *const members[] = {"contract_notify_url", "contract_display_account",
                                          "deduct_schedule", "more"};
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++) {
        AUTO_JSON json_t *instance = json_object();
        json_object_set_new(instance, members[i], make_string("https://", 65536));
        cr_expect_leq(schema_steps(schema, instance), 1000, "%s: %lu", members[i],
                      schema_steps(schema, instance));
    }
}
