/* The JSON examples of docs/events.md match the schemas, and its request events can be decoded. */
#include "presignd/base/buf.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/schema/schema.h"
#include "presignd/wire/event.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE PRESIGND_SOURCE_DIR "/docs/events.md"

static struct buf page;
static struct schema_set *set;

static void load(void)
{
    FILE *file = fopen(PAGE, "re");
    cr_assert_not_null(file, "%s", PAGE);
    char chunk[4096];
    for (size_t got = 0; (got = fread(chunk, 1, sizeof chunk, file)) > 0;) {
        buf_append(&page, chunk, got);
    }
    fclose(file);
    char *error = NULL;
    set = schema_set_new(SCHEMA_ASSERT_FORMATS | SCHEMA_INTEGERS_AS_WRITTEN);
    cr_assert(schema_set_add_dir(set, PRESIGND_SOURCE_DIR "/schemas", &error), "%s", error);
}

static void unload(void)
{
    buf_deinit(&page);
    set = schema_set_free(set);
}

TestSuite(events_page, .init = load, .fini = unload);

/* The next block of JSON after `*at`, which it advances; false if there is none. */
static bool next_example(const char **at, const char **text, size_t *len)
{
    static const char fence[] = "\n```json\n";
    const char *start = strstr(*at, fence);
    if (start == NULL) {
        return false;
    }
    *text = start + strlen(fence);
    const char *end = strstr(*text, "\n```");
    cr_assert_not_null(end, "an example without an end");
    *len = (size_t)(end - *text);
    *at = end;
    return true;
}

static bool ends_with(const char *text, const char *ending)
{
    size_t len = strlen(text), ending_len = strlen(ending);
    return len >= ending_len && strcmp(text + len - ending_len, ending) == 0;
}

static const char *schema_name(const char *type)
{
    return ends_with(type, ".requested") ? "event"
           : ends_with(type, ".failed")  ? "failure"
                                         : "result";
}

static void expect_fits(const json_t *example, const char *name)
{
    AUTO_FREE char *uri = mem_printf("%s%s.json", SCHEMA_BASE, name);
    AUTO_FREE char *error = NULL;
    const struct schema *schema = schema_compile(set, uri, &error);
    cr_assert_not_null(schema, "%s", error);
    struct violations found = {0};
    cr_expect(schema_validate(schema, example, &found), "%s: %s %s %s", name,
              found.items[0].instance_location, found.items[0].keyword_location,
              found.items[0].error);
    violations_deinit(&found);
}

static void expect_read(const char *text, size_t len)
{
    struct record record = {.topic = "t", .value = text, .value_len = len};
    struct event event = {0};
    struct violations errors = {0};
    const char *message = NULL;
    cr_expect_eq(event_decode(&record, 65536, &event, &errors, &message), EVENT_OK, "%s", message);
    cr_expect(json_is_object(event.data));
    event_deinit(&event);
    violations_deinit(&errors);
}

Test(events_page, examples_are_valid)
{
    size_t counts[3] = {0};
    const char *at = page.data, *text = NULL, *reason = NULL;
    size_t len = 0;
    while (next_example(&at, &text, &len)) {
        AUTO_JSON json_t *example = json_read(text, len, EVENT_NESTING_MAX, 0, &reason);
        cr_assert_not_null(example, "%s: %.60s", reason, text);
        const char *name = schema_name(json_string_value(json_object_get(example, "type")));
        expect_fits(example, name);
        if (strcmp(name, "event") == 0) {
            expect_read(text, len);
        }
        counts[name[0] == 'e' ? 0 : name[0] == 'f' ? 1 : 2]++;
    }
    cr_expect_geq(counts[0], 2);
    cr_expect_geq(counts[1], 2);
    cr_expect_geq(counts[2], 1);
}
