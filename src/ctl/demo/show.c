/* The demo's output about events. Every line goes through terminal_put(), so that none is wider
 * than DEMO_COLUMNS. */
#include "ctl/demo/demo.h"

#include "ctl/kit/terminal.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    CALLS_WIDTH = 22,
    OUTCOME_WIDTH = DEMO_COLUMNS - 2 - DEMO_TITLE_WIDTH - 2 - CALLS_WIDTH - 2,
};

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? "" : text;
}

static const json_t *data_of(const struct demo_run *run)
{
    return json_object_get(run->outcome, "data");
}

/* NULL unless the event broke a schema or a rule for attributes. */
static const json_t *first_error(const struct demo_run *run)
{
    return json_array_get(json_object_get(data_of(run), "errors"), 0);
}

static void heading(struct buf *out, const char *text)
{
    buf_putc(out, '\n');
    terminal_paint(out, BOLD, text, DEMO_COLUMNS, false);
    buf_putc(out, '\n');
}

/* --- Table --- */

/* One line of the table, or its bold heading. */
static void show_columns(struct buf *out, const char *const texts[3], enum terminal_colour first,
                         enum terminal_colour last)
{
    terminal_paint(out, first, texts[0], DEMO_TITLE_WIDTH, true);
    buf_puts(out, "  ");
    terminal_paint(out, first == BOLD ? BOLD : PLAIN, texts[1], CALLS_WIDTH, true);
    buf_puts(out, "  ");
    terminal_paint(out, last, texts[2], OUTCOME_WIDTH, false);
    buf_putc(out, '\n');
}

static void describe_outcome(const struct demo_run *run, struct buf *out)
{
    if (run->outcome == NULL) {
        buf_puts(out, "none");
    } else if (json_object_get(data_of(run), "reason") != NULL) {
        buf_printf(out, "failure  %s", text_of(data_of(run), "reason"));
    } else {
        buf_printf(out, "result   %s", text_of(data_of(run), "pre_entrustweb_id"));
    }
}

/* The message of a failure. */
static void show_message(struct buf *out, const struct demo_run *run)
{
    const json_t *data = data_of(run);
    if (json_object_get(data, "reason") == NULL) {
        return;
    }
    AUTO_BUF struct buf text = {0};
    buf_puts(&text, text_of(data, "message"));
    if (first_error(run) != NULL) {
        buf_printf(&text, ": %s %s", text_of(first_error(run), "instanceLocation"),
                   text_of(first_error(run), "error"));
    }
    buf_puts(out, "    ");
    terminal_paint(out, DIM, text.data, DEMO_COLUMNS - 4, false);
    buf_putc(out, '\n');
}

static void show_run(struct buf *out, const struct demo_run *run)
{
    AUTO_FREE char *problem = demo_run_problem(run);
    AUTO_BUF struct buf outcome = {0};
    describe_outcome(run, &outcome);
    bool failed = json_object_get(data_of(run), "reason") != NULL;
    const char *const texts[] = {run->event->title, run->calls.len == 0 ? "-" : run->calls.data,
                                 outcome.data};
    terminal_paint(out, problem == NULL ? GREEN : RED, problem == NULL ? "✓" : "✗", 1, true);
    buf_putc(out, ' ');
    show_columns(out, texts, PLAIN, failed || run->outcome == NULL ? RED : GREEN);
    show_message(out, run);
    if (problem != NULL) {
        buf_puts(out, "    ");
        terminal_paint(out, RED, problem, DEMO_COLUMNS - 4, false);
        buf_putc(out, '\n');
    }
}

void demo_show_table(struct buf *out, const struct demo_run *runs, size_t count)
{
    static const char *const titles[] = {"EVENT", "ANSWERS TO ITS CALLS", "OUTCOME"};
    buf_puts(out, "\n  ");
    show_columns(out, titles, BOLD, BOLD);
    for (size_t i = 0; i < count; i++) {
        show_run(out, &runs[i]);
    }
}

/* --- Whole records --- */

/* Long lines are cut. */
static void show_json(struct buf *out, const char *title, const json_t *json)
{
    AUTO_FREE char *text = json_dumps(json, JSON_INDENT(2));
    heading(out, title);
    char *rest = text, *line;
    while (rest != NULL && (line = strsep(&rest, "\n")) != NULL) {
        terminal_put(out, line, DEMO_COLUMNS, false);
        buf_putc(out, '\n');
    }
}

static void show_outcome(struct buf *out, const char *what, const struct demo_run *run)
{
    AUTO_FREE char *title = mem_printf("%s: %s", what, run->outcome_at);
    show_json(out, title, run->outcome);
}

static const struct demo_run *find_failure(const struct demo_run *runs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (first_error(&runs[i]) != NULL) {
            return &runs[i];
        }
    }
    return NULL;
}

void demo_show_records(struct buf *out, const struct demo_run *runs, size_t count)
{
    const struct demo_run *failure = find_failure(runs, count);
    AUTO_FREE char *title = mem_printf("The first event: %s", runs[0].id);
    AUTO_JSON json_t *event = json_loads(runs[0].event->value, 0, NULL);
    show_json(out, title, event);
    if (runs[0].outcome != NULL) {
        show_outcome(out, "Its outcome", &runs[0]);
    }
    if (failure != NULL) {
        show_outcome(out, "A failure, of the misspelt member", failure);
    }
}

/* --- JSON --- */

static void json_run(struct buf *out, const struct demo_run *run)
{
    AUTO_FREE char *problem = demo_run_problem(run);
    AUTO_FREE char *outcome = run->outcome == NULL ? NULL : json_dumps(run->outcome, JSON_COMPACT);
    buf_putc(out, '{');
    buf_json_member(out, "event", run->event->title);
    buf_json_member(out, "id", run->id);
    buf_json_member_bool(out, "ok", problem == NULL);
    buf_json_member(out, "problem", problem);
    buf_json_member(out, "answers", run->calls.len == 0 ? NULL : run->calls.data);
    if (outcome != NULL) {
        buf_json_member_raw(out, "outcome", outcome, strlen(outcome));
    }
    buf_puts(out, "}\n");
}

void demo_show_json(struct buf *out, const struct demo_run *runs, size_t count,
                    const struct demo_addresses *addresses)
{
    for (size_t i = 0; i < count; i++) {
        json_run(out, &runs[i]);
    }
    if (addresses != NULL) {
        buf_putc(out, '{');
        buf_json_member(out, "kafka", addresses->bootstrap);
        buf_json_member(out, "sandbox", addresses->sandbox);
        buf_json_member(out, "admin", addresses->admin);
        buf_json_member(out, "dir", addresses->dir);
        buf_puts(out, "}\n");
    }
}

/* --- What to do next --- */

static void show_commands(struct buf *out, const struct demo_addresses *addresses)
{
    buf_printf(out, "  %s tail -c %s/demo.conf --from beginning\n", addresses->program,
               addresses->dir);
    buf_printf(out, "  %s send -c %s/demo.conf < %s/event.json\n", addresses->program,
               addresses->dir, addresses->dir);
    /* kcat's default partitioner differs from that of other clients. */
    buf_printf(out,
               "  kcat -b %s -P -t presign.requests -k myfirstcontract \\\n"
               "       -X partitioner=murmur2_random %s/event.json\n",
               addresses->bootstrap, addresses->dir);
    buf_printf(out, "  kcat -b %s -C -t presign.results -o beginning -e -f '%%h\\n%%s\\n'\n",
               addresses->bootstrap);
}

void demo_show_next(struct buf *out, const struct demo_addresses *addresses, bool keep)
{
    if (keep) {
        heading(out, "Everything is running; Ctrl-C stops it and removes its directory");
        buf_printf(out, "  Kafka           %s\n", addresses->bootstrap);
        buf_printf(out, "  sandbox         %s\n", addresses->sandbox);
        buf_printf(out, "  admin listener  http://%s\n", addresses->admin);
        buf_printf(out, "  configuration   %s/demo.conf\n", addresses->dir);
        buf_printf(out, "  an event        %s/event.json\n", addresses->dir);
        buf_printf(out, "  logs            %s/presignd.log, sandbox.log\n", addresses->dir);
        heading(out, "Look at the daemon, in another terminal");
        buf_printf(out, "  %s status --admin %s\n", addresses->program, addresses->admin);
        buf_printf(out, "  %s reload -c %s/demo.conf\n", addresses->program, addresses->dir);
        buf_printf(out, "  %s pause --all -c %s/demo.conf\n", addresses->program, addresses->dir);
        buf_printf(out, "  %s resume --all -c %s/demo.conf\n", addresses->program, addresses->dir);
        heading(out, "Send your own events");
        show_commands(out, addresses);
    } else {
        heading(out, "Send your own events");
        buf_printf(out,
                   "  %s demo --keep   leaves everything running, and prints the commands\n"
                   "  that send events and read outcomes, with presignctl or kcat.\n",
                   addresses->program);
    }
    static const char *const limits[] = {
        "This broker is librdkafka's mock. It has no real transactions and no committed offsets.",
        "It finds no records by time: `presignctl find` and --since show nothing here.",
        "It describes no groups: `presignctl status --group` does not work here.",
        "presignd guarantees exactly one outcome for each event on Apache Kafka, not on this mock.",
    };
    buf_putc(out, '\n');
    for (size_t i = 0; i < ARRAY_LENGTH(limits); i++) {
        terminal_paint(out, DIM, limits[i], DEMO_COLUMNS, false);
        buf_putc(out, '\n');
    }
}
