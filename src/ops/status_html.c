/* The page /status, from the table of facts: tables, headings, lists and a style sheet only, so
 * that it works without scripts and in text browsers. */
#include "presignd/base/mem.h"
#include "presignd/ops/status.h"

#include <string.h>

static const char *const tone_classes[] = {
    [TONE_PLAIN] = "", [TONE_GOOD] = "good", [TONE_WARN] = "warn", [TONE_BAD] = "bad"};

static void put_escaped(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            buf_puts(out, "&amp;");
            break;
        case '<':
            buf_puts(out, "&lt;");
            break;
        case '>':
            buf_puts(out, "&gt;");
            break;
        case '"':
            buf_puts(out, "&quot;");
            break;
        case '\'':
            buf_puts(out, "&#39;");
            break;
        default:
            buf_putc(out, *text);
        }
    }
}

/* Numbers are right-aligned, words are not broken. */
static const char *column_class(const struct status_field *field)
{
    switch (field->kind) {
    case STATUS_COUNT:
    case STATUS_BYTES:
    case STATUS_SPAN:
        return "n";
    case STATUS_PROSE:
        return "p";
    default:
        return "t";
    }
}

/* Highlighted values are also bold, for readers without colours. */
static void put_value(struct buf *out, const struct status_field *field,
                      const struct status_value *value, int64_t now_ms)
{
    enum status_tone tone = status_tone(field, value, now_ms);
    AUTO_BUF struct buf text = {0};
    status_text(&text, field, value, now_ms);
    if (tone != TONE_PLAIN) {
        buf_printf(out, "<strong class=\"%s\">", tone_classes[tone]);
    }
    put_escaped(out, text.data);
    buf_puts(out, tone != TONE_PLAIN ? "</strong>" : "");
}

static void put_label(struct buf *out, const struct status_field *field)
{
    put_escaped(out, field->label);
}

/* One row for each known fact. */
static void put_facts(struct buf *out, const struct status_section *section,
                      const struct status *status)
{
    buf_puts(out, "<table class=\"facts\"><tbody>\n");
    for (size_t i = 0; i < section->field_count; i++) {
        const struct status_field *field = &section->fields[i];
        struct status_value value = status_value(section, field, status, 0);
        if (status_in_table(field) && value.given) {
            buf_puts(out, "<tr><th scope=\"row\">");
            put_label(out, field);
            buf_puts(out, "</th><td>");
            put_value(out, field, &value, status->process.at_ms);
            buf_puts(out, "</td></tr>\n");
        }
    }
    buf_puts(out, "</tbody></table>\n");
}

/* A column without any value is left out. */
static bool is_column(const struct status_section *section, const struct status_field *field,
                      const struct status *status)
{
    bool any = false;
    for (size_t item = 0; status_in_table(field) && item < status_count(section, status); item++) {
        any = any || status_value(section, field, status, item).given;
    }
    return any;
}

/* The worst of a row. */
static enum status_tone row_tone(const struct status_section *section, const struct status *status,
                                 size_t item)
{
    enum status_tone worst = TONE_PLAIN;
    for (size_t i = 0; i < section->field_count; i++) {
        struct status_value value = status_value(section, &section->fields[i], status, item);
        enum status_tone tone = status_tone(&section->fields[i], &value, status->process.at_ms);
        worst = tone > worst ? tone : worst;
    }
    return worst;
}

static void put_row(struct buf *out, const struct status_section *section,
                    const struct status *status, const bool *columns, size_t item)
{
    buf_puts(out, "<tr>");
    for (size_t i = 0; i < section->field_count; i++) {
        const struct status_field *field = &section->fields[i];
        if (columns[i]) {
            struct status_value value = status_value(section, field, status, item);
            buf_printf(out, "<td class=\"%s%s\">", column_class(field), value.given ? "" : " none");
            put_value(out, field, &value, status->process.at_ms);
            buf_puts(out, "</td>");
        }
    }
    buf_puts(out, "</tr>\n");
}

static void put_list_head(struct buf *out, const struct status_section *section,
                          const bool *columns)
{
    buf_puts(out, "<table class=\"list\"><thead><tr>");
    for (size_t i = 0; i < section->field_count; i++) {
        if (columns[i]) {
            buf_printf(out, "<th scope=\"col\" class=\"%s\">", column_class(&section->fields[i]));
            put_label(out, &section->fields[i]);
            buf_puts(out, "</th>");
        }
    }
    buf_puts(out, "</tr></thead><tbody>\n");
}

/* The rows whose place is open, or those whose place is folded. */
static void put_rows(struct buf *out, const struct status_section *section,
                     const struct status *status, const bool *open, bool which)
{
    bool columns[STATUS_FIELDS_MAX];
    for (size_t i = 0; i < section->field_count; i++) {
        columns[i] = is_column(section, &section->fields[i], status);
    }
    put_list_head(out, section, columns);
    for (size_t item = 0; item < status_count(section, status); item++) {
        if (open[item] == which) {
            put_row(out, section, status, columns, item);
        }
    }
    buf_puts(out, "</tbody></table>\n");
}

/* Of a long list, rows in trouble are open, and all others folded. */
static void put_list(struct buf *out, const struct status_section *section,
                     const struct status *status, bool all)
{
    size_t count = status_count(section, status), shown = 0;
    bool fold = !all && count > section->open_max;
    AUTO_FREE bool *open = mem_zalloc(count, sizeof *open);
    for (size_t item = 0; item < count; item++) {
        open[item] =
            !fold || (row_tone(section, status, item) >= TONE_WARN && shown < STATUS_OPEN_ROWS_MAX);
        shown += open[item];
    }
    if (shown > 0) {
        put_rows(out, section, status, open, true);
    }
    if (shown < count) {
        buf_printf(out, "<details><summary>%s%zu</summary>\n", shown > 0 ? "the other " : "all ",
                   count - shown);
        put_rows(out, section, status, open, false);
        buf_puts(out, "</details>\n");
    }
}

/* An empty list that says nothing, or a structure of which nothing is known. */
static bool is_left_out(const struct status_section *section, const struct status *status)
{
    if (section->empty != NULL) {
        return status_count(section, status) == 0 && section->empty[0] == '\0';
    }
    for (size_t i = 0; i < section->field_count; i++) {
        if (is_column(section, &section->fields[i], status)) {
            return false;
        }
    }
    return true;
}

static void put_section(struct buf *out, const struct status_section *section,
                        const struct status *status, bool all)
{
    bool list = section->empty != NULL;
    if (is_left_out(section, status)) {
        return;
    }
    buf_printf(out, "<section id=\"%s\"%s><h2>", section->key, list ? "" : " class=\"half\"");
    put_escaped(out, section->title);
    buf_puts(out, "</h2>\n");
    if (!list) {
        put_facts(out, section, status);
    } else if (status_count(section, status) == 0) {
        buf_puts(out, "<p>");
        put_escaped(out, section->empty);
        buf_puts(out, "</p>\n");
    } else {
        put_list(out, section, status, all);
    }
    buf_puts(out, "</section>\n");
}

/* --- the top ------------------------------------------------------------------------------- */

static enum status_tone attention_tone(const struct status *status)
{
    const struct status_attention *rows = status->attention.items;
    return status->attention.count == 0                ? TONE_GOOD
           : strcmp(rows[0].severity, "critical") == 0 ? TONE_BAD
                                                       : TONE_WARN;
}

/* "severity subject: text", what to do, since when and by which runbook. */
static void put_attention_row(struct buf *out, const struct status_attention *row, int64_t now_ms)
{
    const struct status_field since = {.kind = STATUS_TIME};
    struct status_value value = {.given = row->since_ms != STATUS_NONE, .number = row->since_ms};
    bool critical = strcmp(row->severity, "critical") == 0;
    buf_printf(out, "<li><p class=\"is\"><strong class=\"%s\">",
               tone_classes[critical ? TONE_BAD : TONE_WARN]);
    put_escaped(out, row->severity);
    buf_puts(out, "</strong> ");
    if (row->subject != NULL) {
        buf_puts(out, "<b>");
        put_escaped(out, row->subject);
        buf_puts(out, "</b>: ");
    }
    put_escaped(out, row->text);
    buf_puts(out, "</p>\n<p class=\"do\"><b>First:</b> ");
    put_escaped(out, row->mend);
    buf_puts(out, "</p>\n<p>Runbook ");
    put_escaped(out, row->alert);
    if (value.given) {
        buf_puts(out, ", since ");
        status_text(out, &since, &value, now_ms);
    }
    buf_puts(out, "</p></li>\n");
}

static void put_attention(struct buf *out, const struct status_section *section,
                          const struct status *status)
{
    const struct status_attention *rows = status->attention.items;
    buf_printf(out, "<section id=\"%s\" class=\"%s\"><h2>%s</h2>\n", section->key,
               tone_classes[attention_tone(status)], section->title);
    if (status->attention.count == 0) {
        buf_printf(out, "<p>%s</p></section>\n", section->empty);
        return;
    }
    buf_puts(out, "<ul>\n");
    for (size_t i = 0; i < status->attention.count; i++) {
        put_attention_row(out, &rows[i], status->process.at_ms);
    }
    buf_puts(out, "</ul></section>\n");
}

static void put_tiles(struct buf *out, const struct status *status)
{
    buf_puts(out, "<ul class=\"tiles\">\n");
    for (size_t i = 0; i < status_section_count; i++) {
        const struct status_section *section = &status_sections[i];
        for (size_t j = 0; j < section->field_count; j++) {
            const struct status_field *field = &section->fields[j];
            if (field->display == DISPLAY_TILE) {
                struct status_value value = status_value(section, field, status, 0);
                buf_puts(out, "<li><b>");
                put_value(out, field, &value, status->process.at_ms);
                buf_puts(out, "</b> ");
                put_label(out, field);
                buf_puts(out, "</li>\n");
            }
        }
    }
    buf_puts(out, "</ul>\n");
}

static void put_header(struct buf *out, const struct status *status, bool all)
{
    const struct status_field at = {.kind = STATUS_TIME};
    struct status_value value = {.given = true, .number = status->process.at_ms};
    enum status_tone tone = status->process.ready == 0    ? TONE_BAD
                            : status->attention.count > 0 ? TONE_WARN
                                                          : TONE_GOOD;
    buf_puts(out, "<header><h1>");
    put_escaped(out, status->process.instance);
    buf_printf(out, "</h1>\n<span class=\"badge %s\">", tone_classes[tone]);
    put_escaped(out, status->process.state);
    buf_puts(out, "</span>\n<p>");
    status_text(out, &at, &value, status->process.at_ms);
    buf_puts(out, ", presignd ");
    put_escaped(out, status->process.version);
    buf_puts(out, all ? ", <a href=\"/status\">short</a>"
                      : ", <a href=\"/status?all=1\">unfolded, without reload</a>");
    buf_puts(out, "</p></header>\n");
}

/* On narrow screens, each value of a list has its column's label beside it. */
static void put_narrow_labels(struct buf *out, const struct status *status)
{
    for (size_t i = 0; i < status_section_count; i++) {
        const struct status_section *section = &status_sections[i];
        size_t column = 0;
        for (size_t j = 0; section->empty != NULL && j < section->field_count; j++) {
            if (is_column(section, &section->fields[j], status)) {
                buf_printf(out, "#%s td:nth-child(%zu)::before{content:\"%s\"}", section->key,
                           ++column, section->fields[j].label);
            }
        }
    }
}

static void put_head(struct buf *out, const struct status *status, bool all)
{
    buf_puts(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                  "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                  "<meta http-equiv=\"Content-Security-Policy\" "
                  "content=\"default-src 'none';style-src 'unsafe-inline'\">\n");
    buf_puts(out, all ? "" : "<meta http-equiv=\"refresh\" content=\"15\">\n");
    buf_puts(out, "<title>");
    if (status->attention.count > 0) {
        buf_printf(out, "(%zu) ", status->attention.count);
    }
    put_escaped(out, status->process.instance);
    buf_puts(out, ": presignd</title>\n<style>");
    buf_puts(out, status_style);
    put_narrow_labels(out, status);
    buf_puts(out, "}</style>\n</head>\n"); /* of the style sheet's last @media */
}

void status_html(const struct status *status, bool all, struct buf *out)
{
    put_head(out, status, all);
    buf_puts(out, "<body>\n");
    put_header(out, status, all);
    put_attention(out, &status_sections[0], status);
    put_tiles(out, status);
    buf_puts(out, "<main>\n");
    for (size_t i = 1; i < status_section_count; i++) {
        put_section(out, &status_sections[i], status, all);
    }
    buf_puts(out, "</main>\n</body>\n</html>\n");
}
