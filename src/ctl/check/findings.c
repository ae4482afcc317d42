#include "ctl/check/online.h"

#include "ctl/kit/terminal.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { TEXT_WIDTH = 2000, FINDINGS_FIRST = 32 };

void online_add(struct online *online, const char *check, const char *subject,
                enum severity severity, const char *is, const char *should, const char *why,
                const char *mend)
{
    if (online->count == online->capacity) {
        size_t capacity = online->capacity == 0 ? FINDINGS_FIRST : 2 * online->capacity;
        struct online_finding *findings = mem_zalloc(capacity, sizeof *findings);
        if (online->count > 0) {
            memcpy(findings, online->findings, online->count * sizeof *findings);
        }
        free(online->findings);
        online->findings = findings;
        online->capacity = capacity;
    }
    online->findings[online->count++] = (struct online_finding){
        .check = check,
        .subject = subject == NULL || subject[0] == '\0' ? NULL : mem_strdup(subject),
        .severity = severity,
        .is = mem_strdup(is),
        .should = should,
        .why = why,
        .mend = mend == NULL || mend[0] == '\0' ? NULL : mem_strdup(mend),
    };
}

/* --- For people --- */

static const struct {
    const char *mark;
    enum terminal_colour colour;
    const char *name;
} severities[] = {
    [SEVERITY_OK] = {"✓", GREEN, "ok"},
    [SEVERITY_UNKNOWN] = {"?", DIM, "unknown"},
    [SEVERITY_WARNING] = {"!", YELLOW, "warning"},
    [SEVERITY_ERROR] = {"✗", RED, "error"},
};

static void put_finding(const struct online_finding *finding, struct buf *out)
{
    terminal_paint(out, severities[finding->severity].colour, severities[finding->severity].mark, 1,
                   false);
    buf_putc(out, ' ');
    terminal_paint(out, BOLD, finding->check, TEXT_WIDTH, false);
    if (finding->subject != NULL) {
        buf_putc(out, ' ');
        terminal_put(out, finding->subject, TEXT_WIDTH, false);
    }
    buf_puts(out, ": ");
    terminal_put(out, finding->is, TEXT_WIDTH, false);
    buf_putc(out, '\n');
    if (finding->severity >= SEVERITY_WARNING && finding->should != NULL) {
        buf_printf(out, "    should be: %s; %s\n", finding->should,
                   finding->why == NULL ? "" : finding->why);
    }
    if (finding->mend != NULL) {
        buf_puts(out, "    ");
        terminal_paint(out, BOLD, finding->mend, TEXT_WIDTH, false);
        buf_putc(out, '\n');
    }
}

void online_text(const struct online *online, struct buf *out)
{
    size_t counts[SEVERITY_ERROR + 1] = {0};
    for (size_t i = 0; i < online->count; i++) {
        put_finding(&online->findings[i], out);
        counts[online->findings[i].severity]++;
    }
    buf_printf(out, "%zu checked: %zu wrong, %zu to look at, %zu not known\n", online->count,
               counts[SEVERITY_ERROR], counts[SEVERITY_WARNING], counts[SEVERITY_UNKNOWN]);
}

/* --- For programs --- */

static void put_member(struct buf *out, const char *name, const char *text)
{
    if (text != NULL) {
        AUTO_BUF struct buf clean = {0};
        text_clean(&clean, text, strlen(text), strlen(text) + 1);
        buf_json_name(out, name);
        buf_json_string(out, clean.data == NULL ? "" : clean.data, clean.len);
    }
}

void online_json(const struct online *online, struct buf *out)
{
    buf_putc(out, '[');
    for (size_t i = 0; i < online->count; i++) {
        const struct online_finding *finding = &online->findings[i];
        buf_puts(out, i == 0 ? "{" : ",{");
        put_member(out, "check", finding->check);
        put_member(out, "subject", finding->subject);
        put_member(out, "severity", severities[finding->severity].name);
        put_member(out, "is", finding->is);
        put_member(out, "should", finding->should);
        put_member(out, "why", finding->why);
        put_member(out, "mend", finding->mend);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

int online_status(const struct online *online)
{
    if (!online->broker_answered || !online->host_answered) {
        return EX_UNAVAILABLE;
    }
    for (size_t i = 0; i < online->count; i++) {
        if (online->findings[i].severity == SEVERITY_ERROR) {
            return EX_DATAERR;
        }
    }
    return EX_OK;
}

void online_deinit(struct online *online)
{
    for (size_t i = 0; i < online->count; i++) {
        free(online->findings[i].subject);
        free(online->findings[i].is);
        free(online->findings[i].mend);
    }
    free(online->findings);
}
