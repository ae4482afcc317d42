/* The page /status, from the table of facts. It has to work at any width, in dark mode and in text
 * browsers: tables, headings and a style sheet only. */
#include "presignd/base/mem.h"
#include "presignd/ops/status.h"

#include <string.h>

static const char style[] =
    ":root{color-scheme:light dark;--bg:#f4f6f8;--card:#fff;--line:#dde2e8;--text:#1b2430;"
    "--soft:#566274;--good:#0b7a3e;--warn:#8a5800;--bad:#b3261e;--goodbg:#e2f4e9;--badbg:#fbe6e4}"
    "@media(prefers-color-scheme:dark){:root{--bg:#11151a;--card:#1a2027;--line:#2c343e;"
    "--text:#e3e8ee;--soft:#98a4b3;--good:#56c98d;--warn:#e6b450;--bad:#ff8f85;"
    "--goodbg:#15301f;--badbg:#3a1c1b}}"
    "*{box-sizing:border-box}"
    "body{margin:0 auto;max-width:78rem;padding:1.25rem;background:var(--bg);color:var(--text);"
    "font:15px/1.45 system-ui,sans-serif}"
    "header{display:flex;flex-wrap:wrap;align-items:center;gap:.4rem .9rem;margin-bottom:1rem}"
    "h1{font-size:1.35rem;margin:0}"
    "header p{margin:0;color:var(--soft)}"
    ".badge{padding:.15rem .7rem;border-radius:1rem;font-weight:600;color:var(--bad);"
    "background:var(--badbg)}"
    ".badge.good{color:var(--good);background:var(--goodbg)}"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem;"
    "margin:0 0 .75rem;padding:0;list-style:none}"
    ".tiles li,section{background:var(--card);border:1px solid var(--line);border-radius:.6rem}"
    ".tiles li{padding:.6rem .9rem;color:var(--soft);font-size:.85rem}"
    ".tiles b{display:block;font-size:1.45rem;font-weight:600;color:var(--text);"
    "font-variant-numeric:tabular-nums;white-space:nowrap}"
    "main{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));"
    "grid-template-rows:auto 1fr;align-items:start;gap:.75rem}"
    "#work{grid-row:span 2}"
    "section{padding:.8rem .9rem;grid-column:1/-1;min-width:0}"
    "section.half{grid-column:auto}"
    "@media(max-width:52rem){section.half{grid-column:1/-1;grid-row:auto}}"
    "h2{font-size:1rem;margin:0 0 .4rem}"
    "section p{margin:0;color:var(--soft)}"
    ".scroll{overflow-x:auto}"
    "table{border-collapse:collapse;font-size:.92rem}"
    ".half table{width:100%}"
    "th,td{padding:.28rem 1.4rem .28rem 0;text-align:left;vertical-align:top;"
    "border-top:1px solid var(--line)}"
    "tr:first-child>*{border-top:0}"
    "th{font-weight:500;color:var(--soft)}"
    "thead th{white-space:nowrap}"
    "tbody tr:first-child>td{border-top:1px solid var(--line)}"
    ".half tbody tr:first-child>*{border-top:0}"
    "tbody th{width:1%;white-space:nowrap}"
    ".half td{overflow-wrap:anywhere}"
    ".n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    ".t{white-space:nowrap}"
    ".p{min-width:16rem}"
    ".good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}"
    ".none{color:var(--soft)}";

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
    static const char *const tones[] = {
        [TONE_GOOD] = "good", [TONE_WARN] = "warn", [TONE_BAD] = "bad"};
    enum status_tone tone = status_tone(field, value, now_ms);
    AUTO_BUF struct buf text = {0};
    status_text(&text, field, value, now_ms);
    if (tone != TONE_PLAIN) {
        buf_printf(out, "<strong class=\"%s\">", tones[tone]);
    }
    put_escaped(out, text.data);
    buf_puts(out, tone != TONE_PLAIN ? "</strong>" : "");
}

static void put_cell(struct buf *out, const struct status_field *field,
                     const struct status_value *value, int64_t now_ms, bool aligned)
{
    buf_printf(out, "<td class=\"%s%s\">", aligned ? column_class(field) : "",
               value->given ? "" : " none");
    put_value(out, field, value, now_ms);
    buf_puts(out, "</td>");
}

/* One row for each fact. */
static void put_facts(struct buf *out, const struct status_section *section,
                      const struct status *status)
{
    buf_puts(out, "<table><tbody>\n");
    for (size_t i = 0; i < section->field_count; i++) {
        const struct status_field *field = &section->fields[i];
        if (field->label == NULL) {
            continue;
        }
        struct status_value value = status_value(section, field, status, 0);
        buf_puts(out, "<tr><th scope=\"row\">");
        put_escaped(out, field->label);
        buf_puts(out, "</th>");
        put_cell(out, field, &value, status->process.at_ms, false);
        buf_puts(out, "</tr>\n");
    }
    buf_puts(out, "</tbody></table>\n");
}

static void put_list_head(struct buf *out, const struct status_section *section)
{
    buf_puts(out, "<thead><tr>");
    for (size_t i = 0; i < section->field_count; i++) {
        const struct status_field *field = &section->fields[i];
        if (field->label == NULL) {
            continue;
        }
        buf_printf(out, "<th scope=\"col\" class=\"%s\">", column_class(field));
        put_escaped(out, field->label);
        buf_puts(out, "</th>");
    }
    buf_puts(out, "</tr></thead>\n");
}

static void put_list(struct buf *out, const struct status_section *section,
                     const struct status *status)
{
    buf_puts(out, "<div class=\"scroll\"><table>");
    put_list_head(out, section);
    buf_puts(out, "<tbody>\n");
    for (size_t item = 0; item < status_count(section, status); item++) {
        buf_puts(out, "<tr>");
        for (size_t i = 0; i < section->field_count; i++) {
            const struct status_field *field = &section->fields[i];
            struct status_value value = status_value(section, field, status, item);
            if (field->label != NULL) {
                put_cell(out, field, &value, status->process.at_ms, true);
            }
        }
        buf_puts(out, "</tr>\n");
    }
    buf_puts(out, "</tbody></table></div>\n");
}

static void put_section(struct buf *out, const struct status_section *section,
                        const struct status *status)
{
    buf_printf(out, "<section id=\"%s\"%s><h2>", section->key,
               section->empty == NULL ? " class=\"half\"" : "");
    put_escaped(out, section->title);
    buf_puts(out, "</h2>\n");
    if (section->empty == NULL) {
        put_facts(out, section, status);
    } else if (status_count(section, status) == 0) {
        buf_puts(out, "<p>");
        put_escaped(out, section->empty);
        buf_puts(out, "</p>\n");
    } else {
        put_list(out, section, status);
    }
    buf_puts(out, "</section>\n");
}

static void put_tiles(struct buf *out, const struct status *status)
{
    buf_puts(out, "<ul class=\"tiles\">\n");
    for (size_t i = 0; i < status_section_count; i++) {
        const struct status_section *section = &status_sections[i];
        for (size_t j = 0; j < section->field_count; j++) {
            const struct status_field *field = &section->fields[j];
            if (field->headline) {
                struct status_value value = status_value(section, field, status, 0);
                buf_puts(out, "<li><b>");
                put_value(out, field, &value, status->process.at_ms);
                buf_puts(out, "</b> ");
                put_escaped(out, field->label);
                buf_puts(out, "</li>\n");
            }
        }
    }
    buf_puts(out, "</ul>\n");
}

static void put_header(struct buf *out, const struct status *status)
{
    const struct status_field at = {.kind = STATUS_TIME};
    struct status_value value = {.given = true, .number = status->process.at_ms};
    buf_puts(out, "<header><h1>presignd ");
    put_escaped(out, status->process.instance);
    buf_printf(out, "</h1>\n<span class=\"badge%s\">", status->process.ready != 0 ? " good" : "");
    put_escaped(out, status->process.state);
    buf_puts(out, "</span>\n<p>");
    status_text(out, &at, &value, status->process.at_ms);
    buf_puts(out, ", version ");
    put_escaped(out, status->process.version);
    buf_puts(out, "</p></header>\n");
}

void status_html(const struct status *status, struct buf *out)
{
    buf_puts(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                  "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                  "<meta http-equiv=\"Content-Security-Policy\" "
                  "content=\"default-src 'none';style-src 'unsafe-inline'\">\n"
                  "<meta http-equiv=\"refresh\" content=\"15\">\n<title>");
    put_escaped(out, status->process.instance);
    buf_puts(out, ": presignd</title>\n<style>");
    buf_puts(out, style);
    buf_puts(out, "</style>\n</head>\n<body>\n");
    put_header(out, status);
    put_tiles(out, status);
    buf_puts(out, "<main>\n");
    for (size_t i = 0; i < status_section_count; i++) {
        put_section(out, &status_sections[i], status);
    }
    buf_puts(out, "</main>\n</body>\n</html>\n");
}
