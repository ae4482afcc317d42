/* `presignctl status`: the daemon's /status.json on the terminal. The table of ops/status_rows.h
 * has its fields, labels and formats; the page /status comes from the same table. */
#include "presignd/ops/status.h"
#include "ctl/kit/admin_client.h"
#include "ctl/kit/commands.h"
#include "ctl/kit/terminal.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMN_MAX = 60, TEXT_MAX = 512 };

struct options {
    struct ctl_config config;
    const char *admin;
    bool json;
    int64_t timeout_ms;
};

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    OPTION_ROW_TEXT(struct options, admin, "admin", "ADDRESS",
                    "the daemon's admin listener: ADDRESS:PORT or\n"
                    "unix:/PATH (daemon.admin_listen of its\nconfiguration)"),
    OPTION_ROW_INT(struct options, timeout_ms, "timeout-ms", "N", 1, 600000,
                   "for the answer (5000)"),
    OPTION_ROW_JSON(struct options, json, "the daemon's document unchanged, as /status.json"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "the daemon runs and is ready"},
    EXIT_ROW_USAGE,
    {EX_UNAVAILABLE, "no answer, or not from presignd"},
    {EX_TEMPFAIL, "the daemon runs but is not ready; its state has the reason"},
    {EX_CONFIG, "daemon.admin_listen is empty or cannot be read"},
    {0},
};

/* The field's value in the document, read by the field's kind. */
static struct status_value value_of(const struct status_field *field, const json_t *item)
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

struct screen {
    bool colours;
    int64_t now_ms; /* of the document */
    struct buf out;
};

/* The value in a column of that width, numbers aligned right; width 0: the last column. */
static void put_value(struct screen *screen, const struct status_field *field, const json_t *item,
                      size_t width)
{
    static const enum terminal_colour tones[] = {
        [TONE_PLAIN] = PLAIN, [TONE_GOOD] = GREEN, [TONE_WARN] = YELLOW, [TONE_BAD] = RED};
    struct status_value value = value_of(field, item);
    AUTO_BUF struct buf text = {0};
    status_text(&text, field, &value, screen->now_ms);
    enum terminal_colour colour = tones[status_tone(field, &value, screen->now_ms)];
    bool number = field->kind == STATUS_COUNT;
    if (width > 0 && number) {
        buf_printf(&screen->out, "%*s", (int)(width - terminal_width(text.data)), "");
    }
    terminal_paint(&screen->out, screen->colours, colour, text.data, width > 0 ? width : TEXT_MAX,
                   width > 0 && !number);
}

static size_t value_width(const struct screen *screen, const struct status_field *field,
                          const json_t *item)
{
    struct status_value value = value_of(field, item);
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
        const char *label = section->fields[i].label;
        width = label != NULL && terminal_width(label) > width ? terminal_width(label) : width;
    }
    for (size_t i = 0; i < section->field_count; i++) {
        const struct status_field *field = &section->fields[i];
        if (field->label != NULL) {
            buf_puts(&screen->out, "  ");
            terminal_paint(&screen->out, screen->colours, DIM, field->label, width, true);
            buf_puts(&screen->out, "  ");
            put_value(screen, field, item, 0);
            buf_putc(&screen->out, '\n');
        }
    }
}

static void put_head(struct screen *screen, const struct status_section *section,
                     const size_t *widths)
{
    for (size_t i = 0; i < section->field_count; i++) {
        const struct status_field *field = &section->fields[i];
        if (field->label == NULL) {
            continue;
        }
        size_t pad = field->kind == STATUS_COUNT ? widths[i] - terminal_width(field->label) : 0;
        buf_printf(&screen->out, "  %*s", (int)pad, "");
        terminal_paint(&screen->out, screen->colours, DIM, field->label, widths[i] - pad,
                       i + 1 < section->field_count);
    }
    buf_putc(&screen->out, '\n');
}

static void put_list(struct screen *screen, const struct status_section *section,
                     const json_t *list)
{
    size_t widths[STATUS_FIELDS_MAX] = {0}, index;
    const json_t *item;
    assert(section->field_count <= STATUS_FIELDS_MAX);
    for (size_t i = 0; i < section->field_count; i++) {
        if (section->fields[i].label == NULL) {
            continue;
        }
        widths[i] = terminal_width(section->fields[i].label);
        json_array_foreach (list, index, item) {
            size_t width = value_width(screen, &section->fields[i], item);
            widths[i] = width > widths[i] ? width : widths[i];
        }
    }
    put_head(screen, section, widths);
    json_array_foreach (list, index, item) {
        for (size_t i = 0; i < section->field_count; i++) {
            if (section->fields[i].label == NULL) {
                continue;
            }
            buf_puts(&screen->out, "  ");
            put_value(screen, &section->fields[i], item,
                      i + 1 < section->field_count ? widths[i] : 0);
        }
        buf_putc(&screen->out, '\n');
    }
}

static void put_section(struct screen *screen, const struct status_section *section,
                        const json_t *document)
{
    const json_t *part = json_object_get(document, section->key);
    terminal_paint(&screen->out, screen->colours, BOLD, section->title, TEXT_MAX, false);
    buf_putc(&screen->out, '\n');
    if (section->empty == NULL) {
        put_facts(screen, section, part);
    } else if (json_array_size(part) == 0) {
        buf_printf(&screen->out, "  %s\n", section->empty);
    } else {
        put_list(screen, section, part);
    }
}

static void show(const json_t *document)
{
    struct screen screen = {.colours = terminal_colours(stdout)};
    static const struct status_field at = {.key = "at", .kind = STATUS_TIME};
    screen.now_ms = value_of(&at, json_object_get(document, "process")).number;
    for (size_t i = 0; i < status_section_count; i++) {
        buf_puts(&screen.out, i > 0 ? "\n" : "");
        put_section(&screen, &status_sections[i], document);
    }
    (void)fputs(screen.out.data, stdout);
    buf_deinit(&screen.out);
}

static int judge(const struct options *options, const char *listen, const struct buf *body,
                 long http)
{
    json_t *document =
        http == 200 ? json_read(body->data, body->len, JSON_NESTING_MAX, 0, NULL) : NULL;
    const json_t *ready = json_object_get(json_object_get(document, "process"), "ready");
    if (!json_is_boolean(ready)) {
        json_decref(document);
        return command_fail(&command_status, EX_UNAVAILABLE,
                            "%s is not presignd's admin listener (HTTP status %ld)", listen, http);
    }
    int status = json_is_true(ready) ? EX_OK : EX_TEMPFAIL;
    if (options->json) {
        (void)fputs(body->data, stdout);
    } else {
        show(document);
    }
    json_decref(document);
    return command_end(&command_status, status);
}

static int run(int argc, char **argv)
{
    struct options options = {.timeout_ms = 5000};
    int status = command_options(&command_status, argc, argv, &options);
    if (status != COMMAND_GO_ON) {
        return status;
    }
    AUTO_FREE char *listen = options.admin != NULL
                                 ? mem_strdup(options.admin)
                                 : admin_client_listen(&command_status, &options.config);
    if (listen == NULL) {
        return EX_CONFIG;
    }
    AUTO_BUF struct buf body = {0};
    long http = 0;
    AUTO_FREE char *error =
        admin_client_get(listen, "/status.json", options.timeout_ms, &http, &body);
    if (error != NULL) {
        return command_fail(&command_status, EX_UNAVAILABLE, "%s", error);
    }
    terminal_init();
    return judge(&options, listen, &body, http);
}

const struct command command_status = {
    .name = "status",
    .summary = "print the state of a running daemon",
    .arguments = "[-c FILE] [--set SECTION.KEY=VALUE]... [--admin ADDRESS] [--json]",
    .about =
        "Prints what the daemon's page /status shows: partitions, events in flight, holds and\n"
        "their reasons, the last failures by reason, merchants, hosts and keys. On a terminal,\n"
        "red marks what needs attention.\n",
    .options = rows,
    .examples = "# the daemon of this machine\n"
                "presignctl status\n"
                "# one of several daemons, through its socket; only its lag\n"
                "presignctl status --admin unix:/run/presignd/a.sock --json |\n"
                "  jq .work.lag_records\n",
    .exits = exits,
    .run = run,
};
