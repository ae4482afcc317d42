#include "presignd/ops/status.h"

#include "presignd/base/mem.h"

#include <assert.h>
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define NOW_MS INT64_C(1795420800500) /* 2026-11-23T08:00:00.500Z */

/* Sets every field of the section's structure, or of a list with one item. */
static void fill(const struct status_section *section, struct status *status, const char *text)
{
    char *item = (char *)status + section->offset;
    if (section->empty != NULL) {
        struct status_list *list = (struct status_list *)item;
        list->items = mem_zalloc(1, section->item_size);
        list->count = 1;
        item = list->items;
    }
    for (size_t i = 0; i < section->field_count; i++) {
        const struct status_field *field = &section->fields[i];
        if (status_is_text(field)) {
            *(const char **)(item + field->offset) = text;
        } else {
            *(int64_t *)(item + field->offset) = field->kind == STATUS_TIME ? NOW_MS - 1 : 7;
        }
    }
}

/* `text` has to be escaped everywhere. */
static struct status filled(const char *text)
{
    struct status status = {0};
    for (size_t i = 0; i < status_section_count; i++) {
        fill(&status_sections[i], &status, text);
    }
    status.process.ready = 0;
    status.process.state = "the endpoint is down";
    status.process.at_ms = NOW_MS;
    status.process.uptime_ms = 93784000;
    struct status_partition *partition = status.partitions.items;
    assert(partition != NULL);
    partition->base_offset = 41;
    partition->lag_records = STATUS_NONE;
    return status;
}

static json_t *parsed(const struct status *status)
{
    AUTO_BUF struct buf text = {0};
    json_error_t error;
    status_json(status, &text);
    json_t *json = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &error);
    cr_assert_not_null(json, "%s: %s", error.text, text.data);
    return json;
}

/* Exactly the known fields of the table are in the document. */
Test(status, the_document_holds_the_known_fields)
{
    struct status status = filled("x");
    json_t *json = parsed(&status);
    cr_assert_eq(json_object_size(json), status_section_count);
    for (size_t i = 0; i < status_section_count; i++) {
        const struct status_section *section = &status_sections[i];
        json_t *item = json_object_get(json, section->key);
        item = section->empty == NULL ? item : json_array_get(item, 0);
        cr_assert(json_is_object(item), "%s", section->key);
        size_t given = 0;
        for (size_t j = 0; j < section->field_count; j++) {
            given += status_value(section, &section->fields[j], &status, 0).given;
        }
        cr_expect_eq(json_object_size(item), given, "%s", section->key);
    }
    json_decref(json);
    status_deinit(&status);
}

Test(status, values_are_written_by_their_kind)
{
    struct status status = filled("a \"b\"\n");
    json_t *json = parsed(&status);
    json_t *process = json_object_get(json, "process");
    cr_expect(json_is_false(json_object_get(process, "ready")));
    cr_expect_str_eq(json_string_value(json_object_get(process, "at")), "2026-11-23T08:00:00.500Z");
    cr_expect_eq(json_real_value(json_object_get(process, "uptime_seconds")), 93784.0);
    cr_expect_str_eq(json_string_value(json_object_get(process, "group")), "a \"b\"\n");
    json_t *partition = json_array_get(json_object_get(json, "partitions"), 0);
    cr_expect_eq(json_integer_value(json_object_get(partition, "base_offset")), 41);
    cr_expect_null(json_object_get(partition, "lag_records"), "unknown values are left out");
    json_decref(json);
    status_deinit(&status);
}

Test(status, an_empty_status_is_a_valid_document)
{
    struct status status = {0};
    json_t *json = parsed(&status);
    cr_expect(json_is_array(json_object_get(json, "partitions")));
    cr_expect_eq(json_array_size(json_object_get(json, "partitions")), 0);
    json_decref(json);
}

static const struct status_field *field_of(const char *section_key, const char *key)
{
    for (size_t i = 0; i < status_section_count; i++) {
        const struct status_section *section = &status_sections[i];
        for (size_t j = 0; strcmp(section->key, section_key) == 0 && j < section->field_count;
             j++) {
            if (strcmp(section->fields[j].key, key) == 0) {
                return &section->fields[j];
            }
        }
    }
    cr_assert_fail("no %s.%s", section_key, key);
    return NULL;
}

struct reading {
    const char *section, *key;
    int64_t number;
    const char *text;
    enum status_tone tone;
};

Test(status, values_are_formatted_for_people)
{
    static const struct reading readings[] = {
        {"process", "uptime_seconds", 0, "0 ms", TONE_PLAIN},
        {"work", "clock_offset_seconds", -1500, "-1 s", TONE_PLAIN},
        {"work", "clock_offset_seconds", -61000, "-1 min 1 s", TONE_PLAIN},
        {"process", "uptime_seconds", 38, "38 ms", TONE_PLAIN},
        {"process", "uptime_seconds", 5999, "5 s", TONE_PLAIN},
        {"process", "uptime_seconds", 61000, "1 min 1 s", TONE_PLAIN},
        {"process", "uptime_seconds", 7200999, "2 h", TONE_PLAIN},
        {"process", "uptime_seconds", 93784000, "1 d 2 h", TONE_PLAIN},
        {"process", "at", NOW_MS, "2026-11-23T08:00:00Z", TONE_PLAIN},
        {"process", "started", NOW_MS - 1, "08:00:00Z (now)", TONE_PLAIN},
        {"process", "started", NOW_MS + 1500, "08:00:02Z (in 1 s)", TONE_PLAIN},
        {"process", "started", NOW_MS - 61000, "07:58:59Z (1 min 1 s ago)", TONE_PLAIN},
        {"process", "ready", 1, "yes", TONE_PLAIN},
        {"work", "bytes", 1023, "1023 B", TONE_PLAIN},
        {"work", "bytes", 1536, "1.5 KiB", TONE_PLAIN},
        {"work", "bytes", 50331648, "48.0 MiB", TONE_PLAIN},
        {"work", "held_limited", 0, "0", TONE_PLAIN},
        {"work", "held_limited", 1, "1", TONE_BAD},
        {"work", "held_limited", STATUS_NONE, "-", TONE_PLAIN},
        {"reload", "applied", 1, "yes", TONE_GOOD},
        {"reload", "applied", 0, "no", TONE_BAD},
        {"merchants", "held_until", NOW_MS + 60000, "08:01:00Z (in 1 min)", TONE_BAD},
        {"keys", "expires", NOW_MS, "2026-11-23T08:00:00Z", TONE_BAD},
        {"keys", "expires", NOW_MS + STATUS_EXPIRY_MS, "2026-12-23T08:00:00Z (in 30 d)", TONE_WARN},
        {"keys", "expires", NOW_MS + STATUS_EXPIRY_MS + 1, "2026-12-23T08:00:00Z (in 30 d)",
         TONE_PLAIN},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(readings); i++) {
        const struct reading *want = &readings[i];
        const struct status_field *field = field_of(want->section, want->key);
        struct status_value value = {.given = want->number != STATUS_NONE, .number = want->number};
        AUTO_BUF struct buf text = {0};
        status_text(&text, field, &value, NOW_MS);
        cr_expect_str_eq(text.data, want->text);
        cr_expect_eq(status_tone(field, &value, NOW_MS), want->tone, "%s: %s", want->key,
                     want->text);
    }
    struct status_value aborted = {.given = true, .text = "aborted"};
    cr_expect_eq(status_tone(field_of("transactions", "end"), &aborted, NOW_MS), TONE_BAD);
}

/* The page shows each fact that has a label, escaped. */
Test(status, the_page_shows_every_fact_and_escapes_it)
{
    struct status status = filled("<script>alert('&\"')</script>");
    AUTO_BUF struct buf page = {0};
    status_html(&status, true, &page);
    cr_expect_null(strstr(page.data, "<script"));
    cr_expect_null(strstr(page.data, "alert('"));
    cr_expect_not_null(
        strstr(page.data, "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;"));
    cr_expect_not_null(strstr(page.data, "<span class=\"badge bad\">the endpoint is down</span>"));
    for (size_t i = 0; i < status_section_count; i++) {
        const struct status_section *section = &status_sections[i];
        for (size_t j = 0; j < section->field_count; j++) {
            const struct status_field *field = &section->fields[j];
            struct status_value value = status_value(section, field, &status, 0);
            if (field->label == NULL || field->display == DISPLAY_ATTENTION || !value.given ||
                status_is_text(field)) {
                continue;
            }
            AUTO_BUF struct buf text = {0};
            status_text(&text, field, &value, NOW_MS);
            cr_expect_not_null(strstr(page.data, text.data), "%s.%s", section->key, field->key);
        }
    }
    status_deinit(&status);
}

Test(status, an_empty_list_says_so)
{
    struct status status = {
        .process = {.ready = 1, .state = "ready", .instance = "i", .version = "v"}};
    AUTO_BUF struct buf page = {0};
    status_html(&status, true, &page);
    cr_expect_not_null(strstr(page.data, "None is assigned: this is a standby."));
    cr_expect_not_null(strstr(page.data, "badge good"));
}
