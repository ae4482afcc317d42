#include "presignd/ops/status.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAIN             .rule = RULE_PLAIN
#define HEADLINE          .display = DISPLAY_TILE
#define TITLE             .display = DISPLAY_TITLE
#define STATE             .display = DISPLAY_TITLE, BAD_UNLESS("ready")
#define ATTENTION         .display = DISPLAY_ATTENTION
#define BAD_IF_NO         .rule = RULE_BAD_IF_NO
#define BAD_IF_SET        .rule = RULE_BAD_IF_SET
#define BAD_ABOVE_0       .rule = RULE_BAD_ABOVE_0
#define BAD_WHEN_PAST     .rule = RULE_BAD_WHEN_PAST
#define BAD_UNLESS(word)  .rule = RULE_BAD_UNLESS, .good = (word)
#define WARN_UNLESS(word) .rule = RULE_WARN_UNLESS, .good = (word)

#define FIELD(section, field, name, type, text, ...) \
    {.key = (name),                                  \
     .label = (text),                                \
     .kind = STATUS_##type,                          \
     __VA_ARGS__,                                    \
     .offset = offsetof(struct status_##section, field)},

#define SECTION(section)                  static const struct status_field section##_fields[] = {
#define TEXT(section, name, show, label)  FIELD(section, name, #name, TEXT, label, show)
#define PROSE(section, name, show, label) FIELD(section, name, #name, PROSE, label, show)
#define COUNT(section, name, show, label) FIELD(section, name, #name, COUNT, label, show)
#define BYTES(section, name, show, label) FIELD(section, name, #name, BYTES, label, show)
#define FLAG(section, name, show, label)  FIELD(section, name, #name, FLAG, label, show)
#define TIME(section, name, show, label)  FIELD(section, name##_ms, #name, TIME, label, show)
#define SPAN(section, name, show, label) \
    FIELD(section, name##_ms, #name "_seconds", SPAN, label, show)
#define HIDDEN(section, name)
#define END }
#include "presignd/ops/status_rows.h"

#define PART(member, section, heading)                              \
    .key = #member, .title = (heading), .fields = section##_fields, \
    .field_count = ARRAY_LENGTH(section##_fields), .offset = offsetof(struct status, member)
#define ONE(member, heading)          \
    {                                 \
        PART(member, member, heading) \
    }
#define LIST(member, section, heading, rows, without)                                \
    {                                                                                \
        PART(member, section, heading), .empty = (without), .open_max = (rows),      \
                                        .item_size = sizeof(struct status_##section) \
    }
#define DOZEN 12

/* In the order in which they are shown: what an operator looks for first. */
const struct status_section status_sections[] = {
    LIST(attention, attention, "Needs you", SIZE_MAX, "Nothing."),
    LIST(reload_errors, reload_error, "Problems of the last reload", SIZE_MAX, ""),
    LIST(pauses, pause, "Pauses", SIZE_MAX, ""),
    LIST(merchants, merchant, "Merchants", DOZEN, "None is configured."),
    LIST(hosts, host, "WeChat Pay", DOZEN, "No host is configured."),
    LIST(failures, failure, "Failures since the start", SIZE_MAX, "None."),
    LIST(partitions, partition, "Partitions", DOZEN, "None is assigned: this is a standby."),
    ONE(work, "Work"),
    ONE(process, "Process"),
    ONE(reload, "Reload"),
    ONE(kafka, "Kafka"),
    LIST(transactions, transaction, "Last transactions", DOZEN, "None yet."),
    LIST(preflight, preflight, "Kafka's preflight", 0, "Not looked at yet."),
    LIST(keys, key, "Keys that verify answers", DOZEN, "None."),
};
const size_t status_section_count = ARRAY_LENGTH(status_sections);

void status_deinit(struct status *status)
{
    for (size_t i = 0; i < status_section_count; i++) {
        if (status_sections[i].empty != NULL) {
            struct status_list *list = (void *)((char *)status + status_sections[i].offset);
            free(list->items);
            *list = (struct status_list){0};
        }
    }
}

static const struct status_list *list_of(const struct status_section *section,
                                         const struct status *status)
{
    return (const void *)((const char *)status + section->offset);
}

size_t status_count(const struct status_section *section, const struct status *status)
{
    return section->empty == NULL ? 1 : list_of(section, status)->count;
}

struct status_value status_value(const struct status_section *section,
                                 const struct status_field *field, const struct status *status,
                                 size_t index)
{
    assert(index < status_count(section, status));
    const char *item = section->empty == NULL ? (const char *)status + section->offset
                                              : (const char *)list_of(section, status)->items +
                                                    index * section->item_size;
    const void *member = item + field->offset;
    if (status_is_text(field)) {
        const char *text = *(const char *const *)member;
        return (struct status_value){.given = text != NULL, .text = text};
    }
    int64_t number = *(const int64_t *)member;
    return (struct status_value){.given = number != STATUS_NONE, .number = number};
}

/* --- for people --- */

#define NEAR_MS (INT64_C(12) * 3600 * 1000)
#define KIB     INT64_C(1024)

/* The two largest units only. */
static void put_span(struct buf *out, int64_t span_ms)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1}};
    for (size_t i = 0; i < ARRAY_LENGTH(units); i++) {
        int64_t whole = span_ms / units[i].ms;
        if (whole == 0 && i + 1 < ARRAY_LENGTH(units)) {
            continue;
        }
        buf_printf(out, "%" PRId64 " %s", whole, units[i].name);
        /* No milliseconds beside seconds. */
        if (i < 3 && span_ms % units[i].ms >= units[i + 1].ms) {
            buf_printf(out, " %" PRId64 " %s", span_ms % units[i].ms / units[i + 1].ms,
                       units[i + 1].name);
        }
        return;
    }
}

/* Without the date if it is near; then with the distance. */
static void put_time(struct buf *out, int64_t wall_ms, int64_t now_ms)
{
    char text[TEXT_TIME_SIZE];
    bool past = wall_ms < now_ms;
    int64_t far_ms = past ? now_ms - wall_ms : wall_ms - now_ms;
    bool near = far_ms > 0 && far_ms < NEAR_MS;
    text_time(text, wall_ms, false);
    buf_puts(out, near ? strchr(text, 'T') + 1 : text);
    if (far_ms > 0 && far_ms < 1000) {
        buf_puts(out, " (now)");
    } else if (far_ms > 0) {
        buf_puts(out, past ? " (" : " (in ");
        put_span(out, far_ms / 1000 * 1000);
        buf_puts(out, past ? " ago)" : ")");
    }
}

static void put_bytes(struct buf *out, int64_t bytes)
{
    if (bytes < KIB) {
        buf_printf(out, "%" PRId64 " B", bytes);
    } else if (bytes < KIB * KIB) {
        buf_printf(out, "%.1f KiB", (double)bytes / (double)KIB);
    } else {
        buf_printf(out, "%.1f MiB", (double)bytes / (double)(KIB * KIB));
    }
}

void status_text(struct buf *out, const struct status_field *field,
                 const struct status_value *value, int64_t now_ms)
{
    if (!value->given) {
        buf_puts(out, "-");
        return;
    }
    switch (field->kind) {
    case STATUS_TEXT:
    case STATUS_PROSE:
        buf_puts(out, value->text);
        break;
    case STATUS_COUNT:
        buf_printf(out, "%" PRId64, value->number);
        break;
    case STATUS_BYTES:
        put_bytes(out, value->number);
        break;
    case STATUS_FLAG:
        buf_puts(out, value->number != 0 ? "yes" : "no");
        break;
    case STATUS_TIME:
        put_time(out, value->number, now_ms);
        break;
    case STATUS_SPAN:
        buf_puts(out, value->number < 0 ? "-" : "");
        put_span(out, value->number < 0 ? -value->number : value->number);
        break;
    }
}

enum status_tone status_tone(const struct status_field *field, const struct status_value *value,
                             int64_t now_ms)
{
    if (!value->given) {
        return TONE_PLAIN;
    }
    switch (field->rule) {
    case RULE_BAD_IF_NO:
        return value->number != 0 ? TONE_GOOD : TONE_BAD;
    case RULE_BAD_UNLESS:
        return strcmp(value->text, field->good) == 0 ? TONE_GOOD : TONE_BAD;
    case RULE_WARN_UNLESS:
        return strcmp(value->text, field->good) == 0 ? TONE_PLAIN : TONE_WARN;
    case RULE_BAD_IF_SET:
        return TONE_BAD;
    case RULE_BAD_ABOVE_0:
        return value->number > 0 ? TONE_BAD : TONE_PLAIN;
    case RULE_BAD_WHEN_PAST:
        return value->number <= now_ms                      ? TONE_BAD
               : value->number - now_ms <= STATUS_EXPIRY_MS ? TONE_WARN
                                                            : TONE_PLAIN;
    case RULE_PLAIN:
        break;
    }
    return TONE_PLAIN;
}

/* --- for programs --- */

static void put_member(struct buf *out, const struct status_field *field,
                       const struct status_value *value)
{
    char text[TEXT_TIME_SIZE];
    AUTO_BUF struct buf seconds = {0};
    int64_t whole_ms = value->number < 0 ? -value->number : value->number;
    switch (field->kind) {
    case STATUS_TEXT:
    case STATUS_PROSE:
        buf_json_member(out, field->key, value->text);
        break;
    case STATUS_FLAG:
        buf_json_member_bool(out, field->key, value->number != 0);
        break;
    case STATUS_TIME:
        text_time(text, value->number, true);
        buf_json_member(out, field->key, text);
        break;
    case STATUS_SPAN:
        buf_printf(&seconds, "%s%" PRId64 ".%03d", value->number < 0 ? "-" : "", whole_ms / 1000,
                   (int)(whole_ms % 1000));
        buf_json_member_raw(out, field->key, seconds.data, seconds.len);
        break;
    case STATUS_COUNT:
    case STATUS_BYTES:
        buf_json_member_int(out, field->key, value->number);
        break;
    }
}

static void put_object(struct buf *out, const struct status_section *section,
                       const struct status *status, size_t index)
{
    buf_putc(out, '{');
    for (size_t i = 0; i < section->field_count; i++) {
        struct status_value value = status_value(section, &section->fields[i], status, index);
        if (value.given) {
            put_member(out, &section->fields[i], &value);
        }
    }
    buf_putc(out, '}');
}

void status_json(const struct status *status, struct buf *out)
{
    buf_putc(out, '{');
    for (size_t i = 0; i < status_section_count; i++) {
        const struct status_section *section = &status_sections[i];
        bool list = section->empty != NULL;
        buf_json_name(out, section->key);
        buf_puts(out, list ? "[" : "");
        for (size_t j = 0; j < status_count(section, status); j++) {
            buf_puts(out, j > 0 ? "," : "");
            put_object(out, section, status, j);
        }
        buf_puts(out, list ? "]" : "");
    }
    buf_puts(out, "}\n");
}
