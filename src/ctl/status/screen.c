#include "ctl/status/screen.h"

#include "ctl/kit/terminal.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <assert.h>
#include <string.h>

enum { COLUMN_MAX = 60, TEXT_MAX = 512, INDENT = 2, DEEP = 4 };

/* The field's value in the document, read by the field's kind. */
struct status_value screen_value(const struct status_field *field, const json_t *item)
{
    const json_t *json = json_object_get(item, field->key);
    struct status_value value = {0};
    switch (field->kind) {
    case STATUS_TEXT:
    case STATUS_PROSE:
        value.text = json_string_value(json);
        value.given = value.text != NULL;
        break;
    case STATUS_COUNT:
    case STATUS_BYTES:
        value.number = json_integer_value(json);
        value.given = json_is_integer(json);
        break;
    case STATUS_FLAG:
        value.number = json_is_true(json);
        value.given = json_is_boolean(json);
        break;
    case STATUS_TIME:
        value.given = json_is_string(json) && text_rfc3339(json_string_value(json),
                                                           json_string_length(json), &value.number);
        break;
    case STATUS_SPAN:
        value.number = (int64_t)(json_number_value(json) * 1000 + 0.5);
        value.given = json_is_number(json) && json_number_value(json) < 1e12;
        break;
    }
    return value;
}

static enum terminal_colour colour_of(const struct screen *screen, const struct status_field *field,
                                      const struct status_value *value)
{
    static const enum terminal_colour tones[] = {
        [TONE_PLAIN] = PLAIN, [TONE_GOOD] = GREEN, [TONE_WARN] = YELLOW, [TONE_BAD] = RED};
    return tones[status_tone(field, value, screen->now_ms)];
}

/* The value in a column of that width, numbers aligned right; width 0: the last column. */
static void put_value(struct screen *screen, const struct status_field *field, const json_t *item,
                      size_t width)
{
    struct status_value value = screen_value(field, item);
    AUTO_BUF struct buf text = {0};
    status_text(&text, field, &value, screen->now_ms);
    bool number = field->kind == STATUS_COUNT;
    if (width > 0 && number) {
        buf_printf(&screen->out, "%*s", (int)(width - terminal_width(text.data)), "");
    }
    terminal_paint(&screen->out, colour_of(screen, field, &value), text.data,
                   width > 0 ? width : TEXT_MAX, width > 0 && !number);
}

static size_t value_width(const struct screen *screen, const struct status_field *field,
                          const json_t *item)
{
    struct status_value value = screen_value(field, item);
    AUTO_BUF struct buf text = {0};
    status_text(&text, field, &value, screen->now_ms);
    size_t width = terminal_width(text.data);
    return width < COLUMN_MAX ? width : COLUMN_MAX;
}

static void put_facts(struct screen *screen, const struct status_section *section,
                      const json_t *item)
{
    size_t width = 0;
    for (size_t i = 0; i < section->field_count; i++) {
        const struct status_field *field = &section->fields[i];
        bool shown = status_in_table(field) && screen_value(field, item).given;
        size_t own = shown ? terminal_width(field->label) : 0;
        width = own > width ? own : width;
    }
    for (size_t i = 0; i < section->field_count; i++) {
        const struct status_field *field = &section->fields[i];
        if (status_in_table(field) && screen_value(field, item).given) {
            buf_printf(&screen->out, "%*s", INDENT, "");
            terminal_paint(&screen->out, DIM, field->label, width, true);
            buf_puts(&screen->out, "  ");
            put_value(screen, field, item, 0);
            buf_putc(&screen->out, '\n');
        }
    }
}

/* --- lists --------------------------------------------------------------------------------- */

/* Widths of the columns, 0: left out, as no row has a value. Returns the width of a line. */
static size_t measure(const struct screen *screen, const struct status_section *section,
                      const json_t *list, size_t *widths)
{
    size_t index, line = 0;
    const json_t *item;
    assert(section->field_count <= STATUS_FIELDS_MAX);
    for (size_t i = 0; i < section->field_count; i++) {
        const struct status_field *field = &section->fields[i];
        bool any = false;
        widths[i] = status_in_table(field) ? terminal_width(field->label) : 0;
        json_array_foreach (list, index, item) {
            size_t width = status_in_table(field) ? value_width(screen, field, item) : 0;
            widths[i] = width > widths[i] ? width : widths[i];
            any = any || screen_value(field, item).given;
        }
        widths[i] = any ? widths[i] : 0;
        line += widths[i] > 0 ? INDENT + widths[i] : 0;
    }
    return line;
}

static size_t last_column(const struct status_section *section, const size_t *widths)
{
    size_t last = 0;
    for (size_t i = 0; i < section->field_count; i++) {
        last = widths[i] > 0 ? i : last;
    }
    return last;
}

static void put_head(struct screen *screen, const struct status_section *section,
                     const size_t *widths)
{
    size_t last = last_column(section, widths);
    for (size_t i = 0; i <= last; i++) {
        const struct status_field *field = &section->fields[i];
        if (widths[i] == 0) {
            continue;
        }
        size_t pad = field->kind == STATUS_COUNT ? widths[i] - terminal_width(field->label) : 0;
        buf_printf(&screen->out, "%*s", (int)(INDENT + pad), "");
        terminal_paint(&screen->out, DIM, field->label, widths[i] - pad, i < last);
    }
    buf_putc(&screen->out, '\n');
}

static void put_row(struct screen *screen, const struct status_section *section,
                    const size_t *widths, const json_t *item)
{
    size_t last = last_column(section, widths);
    for (size_t i = 0; i <= last; i++) {
        if (widths[i] > 0) {
            buf_printf(&screen->out, "%*s", INDENT, "");
            put_value(screen, &section->fields[i], item, i < last ? widths[i] : 0);
        }
    }
    buf_putc(&screen->out, '\n');
}

/* A row that is wider than the terminal: the first value, then each label with its value. */
static void put_wide_row(struct screen *screen, const struct status_section *section,
                         const size_t *widths, const json_t *item)
{
    size_t used = 0;
    for (size_t i = 0; i < section->field_count; i++) {
        const struct status_field *field = &section->fields[i];
        struct status_value value = screen_value(field, item);
        if (widths[i] == 0 || !value.given) {
            continue;
        }
        AUTO_BUF struct buf text = {0};
        status_text(&text, field, &value, screen->now_ms);
        if (used == 0) {
            buf_printf(&screen->out, "%*s", INDENT, "");
            terminal_paint(&screen->out, BOLD, text.data, TEXT_MAX, false);
            used = INDENT + terminal_width(text.data);
            continue;
        }
        AUTO_FREE char *pair = mem_printf("%s %s", field->label, text.data);
        bool fits = used + 2 + terminal_width(pair) <= screen->width;
        buf_printf(&screen->out, fits ? "  " : "\n%*s", DEEP, "");
        used = fits ? used + 2 : DEEP;
        used = terminal_wrap(&screen->out, pair, used, DEEP, screen->width);
    }
    buf_putc(&screen->out, '\n');
}

static bool needs_look(const struct screen *screen, const struct status_section *section,
                       const json_t *item)
{
    for (size_t i = 0; i < section->field_count; i++) {
        struct status_value value = screen_value(&section->fields[i], item);
        if (status_tone(&section->fields[i], &value, screen->now_ms) >= TONE_WARN) {
            return true;
        }
    }
    return false;
}

/* The rows that are shown: all, or of a long list those in trouble. */
static json_t *shown_rows(const struct screen *screen, const struct status_section *section,
                          const json_t *list)
{
    size_t index;
    json_t *item, *shown = json_array();
    bool fold = screen->width > 0 && json_array_size(list) > section->open_max;
    json_array_foreach (list, index, item) {
        if (!fold ||
            (needs_look(screen, section, item) && json_array_size(shown) < STATUS_OPEN_ROWS_MAX)) {
            (void)json_array_append(shown, item);
        }
    }
    return shown;
}

static void put_list(struct screen *screen, const struct status_section *section,
                     const json_t *list)
{
    size_t widths[STATUS_FIELDS_MAX] = {0}, index;
    json_t *shown = shown_rows(screen, section, list);
    const json_t *item;
    size_t line = measure(screen, section, shown, widths);
    bool wide = screen->width > 0 && line > screen->width;
    size_t count = json_array_size(shown), others = json_array_size(list) - count;
    if (count > 0 && !wide) {
        put_head(screen, section, widths);
    }
    json_array_foreach (shown, index, item) {
        (wide ? put_wide_row : put_row)(screen, section, widths, item);
    }
    if (others > 0) {
        buf_printf(&screen->out, "%*s%s%zu: presignctl status | less\n", INDENT, "",
                   count > 0 ? "the other " : "all ", others);
    }
    json_decref(shown);
}

static void put_title(struct screen *screen, const char *title)
{
    buf_putc(&screen->out, '\n');
    terminal_paint(&screen->out, BOLD, title, TEXT_MAX, false);
    buf_putc(&screen->out, '\n');
}

/* An empty list that says nothing, or a structure of which nothing is known. */
static bool is_left_out(const struct status_section *section, const json_t *part)
{
    if (section->empty != NULL) {
        return json_array_size(part) == 0 && section->empty[0] == '\0';
    }
    for (size_t i = 0; i < section->field_count; i++) {
        if (status_in_table(&section->fields[i]) && screen_value(&section->fields[i], part).given) {
            return false;
        }
    }
    return true;
}

static void put_section(struct screen *screen, const struct status_section *section,
                        const json_t *document)
{
    const json_t *part = json_object_get(document, section->key);
    if (is_left_out(section, part)) {
        return;
    }
    put_title(screen, section->title);
    if (section->empty == NULL) {
        put_facts(screen, section, part);
    } else if (json_array_size(part) == 0) {
        buf_printf(&screen->out, "%*s%s\n", INDENT, "", section->empty);
    } else {
        put_list(screen, section, part);
    }
}

/* --- the top ------------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

void screen_attention(struct screen *screen, const json_t *row, const char *where)
{
    static const struct status_field since = {.key = "since", .kind = STATUS_TIME};
    struct status_value value = screen_value(&since, row);
    const char *severity = text_of(row, "severity"), *subject = text_of(row, "subject");
    size_t width = screen->width > 0 ? screen->width : TEXT_MAX;
    size_t indent = INDENT + strlen("critical  ");
    AUTO_BUF struct buf at = {0};
    AUTO_FREE char *is =
        mem_printf("%s%s%s%s%s", where != NULL ? where : "", where != NULL ? ": " : "", subject,
                   subject[0] != '\0' ? ": " : "", text_of(row, "text"));
    AUTO_FREE char *first = mem_printf("First: %s", text_of(row, "mend"));
    buf_printf(&screen->out, "%*s", INDENT, "");
    terminal_paint(&screen->out, strcmp(severity, "critical") == 0 ? RED : YELLOW, severity,
                   strlen("critical  "), true);
    (void)terminal_wrap(&screen->out, is, indent, indent, width);
    buf_printf(&screen->out, "\n%*s", (int)indent, "");
    (void)terminal_wrap(&screen->out, first, indent, indent, width);
    buf_puts(&at, value.given ? ", since " : "");
    if (value.given) {
        status_text(&at, &since, &value, screen->now_ms);
    }
    buf_printf(&screen->out, "\n%*sRunbook ", (int)indent, "");
    terminal_put(&screen->out, text_of(row, "alert"), TEXT_MAX, false);
    buf_printf(&screen->out, "%s\n", at.data);
}

static void put_attention(struct screen *screen, const json_t *document)
{
    const struct status_section *section = &status_sections[0];
    const json_t *list = json_object_get(document, section->key), *row;
    size_t index;
    if (!json_is_array(list)) {
        return; /* a daemon of an earlier version does not tell */
    }
    put_title(screen, section->title);
    json_array_foreach (list, index, row) {
        screen_attention(screen, row, NULL);
    }
    if (json_array_size(list) == 0) {
        buf_printf(&screen->out, "%*s%s\n", INDENT, "", section->empty);
    }
}

/* Instance, state, moment, version. */
static void put_first_line(struct screen *screen, const json_t *process)
{
    static const struct status_field at = {.key = "at", .kind = STATUS_TIME};
    struct status_value value = screen_value(&at, process);
    const json_t *ready = json_object_get(process, "ready");
    terminal_paint(&screen->out, BOLD, text_of(process, "instance"), TEXT_MAX, false);
    buf_puts(&screen->out, "  ");
    terminal_paint(&screen->out, json_is_true(ready) ? GREEN : RED, text_of(process, "state"),
                   TEXT_MAX, false);
    buf_puts(&screen->out, "  ");
    status_text(&screen->out, &at, &value, screen->now_ms);
    buf_puts(&screen->out, "  presignd ");
    terminal_put(&screen->out, text_of(process, "version"), TEXT_MAX, false);
    buf_putc(&screen->out, '\n');
}

static size_t tile_width(void)
{
    size_t width = 0;
    for (size_t i = 0; i < status_section_count; i++) {
        const struct status_section *section = &status_sections[i];
        for (size_t j = 0; j < section->field_count; j++) {
            size_t own = section->fields[j].display == DISPLAY_TILE
                             ? terminal_width(section->fields[j].label)
                             : 0;
            width = own > width ? own : width;
        }
    }
    return width;
}

/* The page's large figures. */
static void put_tiles(struct screen *screen, const json_t *document)
{
    size_t width = tile_width();
    buf_putc(&screen->out, '\n');
    for (size_t i = 0; i < status_section_count; i++) {
        const struct status_section *section = &status_sections[i];
        for (size_t j = 0; j < section->field_count; j++) {
            if (section->fields[j].display == DISPLAY_TILE) {
                buf_printf(&screen->out, "%*s", INDENT, "");
                terminal_paint(&screen->out, DIM, section->fields[j].label, width, true);
                buf_printf(&screen->out, "%*s", INDENT, "");
                put_value(screen, &section->fields[j], json_object_get(document, section->key), 0);
                buf_putc(&screen->out, '\n');
            }
        }
    }
}

void screen_status(struct screen *screen, const json_t *document)
{
    static const struct status_field at = {.key = "at", .kind = STATUS_TIME};
    const json_t *process = json_object_get(document, "process");
    screen->now_ms = screen_value(&at, process).number;
    put_first_line(screen, process);
    put_attention(screen, document);
    put_tiles(screen, document);
    for (size_t i = 1; i < status_section_count; i++) {
        put_section(screen, &status_sections[i], document);
    }
}
