/* The screen of `presignctl status --watch`. What needs a human comes right below the instances;
 * merchants get the lines that are left. */
#include "ctl/kit/terminal.h"
#include "ctl/status/screen.h"
#include "ctl/status/watch.h"
#include "presignd/base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    FAILURES_MAX = 5,
    MERCHANTS_LEAST = 3,
    COLUMNS_LEAST = 40,
    /* Columns, each with two spaces before it; the first one takes the rest of the line. */
    STATE = 8,
    IN_FLIGHT = 9,
    NUMBER = 7,
    RATE = 7,
    FIRST_LEAST = 12,
    AGE = 12,
    ANSWER = 16,
    REASON = 21,
    LAST = 28,
};

static int64_t count_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "-";
}

static const char *name_of(const struct watch_instance *instance)
{
    const json_t *process = json_object_get(instance->document, "process");
    return instance->document != NULL ? text_of(process, "instance") : instance->address;
}

/* All that waits for a hold or a pause. */
static int64_t held_of(const json_t *work)
{
    int64_t held = 0;
    const char *key;
    const json_t *value;
    json_object_foreach ((json_t *)work, key, value) {
        held += strncmp(key, "held_", 5) == 0 ? json_integer_value(value) : 0;
    }
    return held;
}

/* A time in milliseconds; 0: there is no event; below 0: not known. */
static int64_t age_of(const json_t *object)
{
    const struct status_field field = {.key = "oldest_event_seconds", .kind = STATUS_SPAN};
    struct status_value value = screen_value(&field, object);
    return value.given ? value.number : -1;
}

static void write_age(struct buf *out, int64_t age_ms)
{
    const struct status_field field = {.kind = STATUS_SPAN};
    struct status_value value = {.given = age_ms > 0, .number = age_ms};
    status_text(out, &field, &value, 0);
}

static void write_rate(struct buf *out, double rate)
{
    if (rate < 0) {
        buf_puts(out, "-");
    } else {
        buf_printf(out, rate < 10 ? "%.1f/s" : "%.0f/s", rate);
    }
}

/* --- lines ----------------------------------------------------------------------------------- */

static void put_title(struct screen *screen, const char *text)
{
    buf_putc(&screen->out, '\n');
    terminal_paint(&screen->out, BOLD, text, screen->width, false);
    buf_putc(&screen->out, '\n');
}

/* A line of a table. Columns that do not fit into the width are left out, from the right. */
struct line {
    struct screen *screen;
    enum terminal_colour colour; /* of its cells */
    size_t used;
};

/* `left`: the text begins at the left of the column. */
static void put_cell(struct line *line, enum terminal_colour colour, const char *text, size_t width,
                     bool left)
{
    struct screen *screen = line->screen;
    size_t own = terminal_width(text), pad = left || own > width ? 0 : width - own;
    if (line->used + 2 + width > screen->width) {
        line->used = screen->width; /* nor do the columns after it */
        return;
    }
    buf_printf(&screen->out, "  %*s", (int)pad, "");
    terminal_paint(&screen->out, colour == PLAIN ? line->colour : colour, text, width, left);
    line->used += 2 + width;
}

static void put_right(struct line *line, const char *text, size_t width)
{
    put_cell(line, PLAIN, text, width, false);
}

static void put_count(struct line *line, int64_t number, size_t width)
{
    AUTO_FREE char *text = mem_printf("%" PRId64, number);
    put_right(line, text, width);
}

static void put_age(struct line *line, int64_t age_ms)
{
    AUTO_BUF struct buf text = {0};
    write_age(&text, age_ms);
    put_right(line, text.data, AGE);
}

static void end_line(struct line *line)
{
    buf_putc(&line->screen->out, '\n');
}

/* The first column has the room that the others leave. */
static size_t first_width(const struct screen *screen, size_t others)
{
    return screen->width > others + 2 + FIRST_LEAST ? screen->width - others - 2 : FIRST_LEAST;
}

#define INSTANCE_OTHERS \
    ((size_t)(2 + STATE + 2 + RATE + 2 + IN_FLIGHT + 2 * (2 + NUMBER) + 2 + AGE))
#define MERCHANT_OTHERS ((size_t)(2 + STATE + 2 + IN_FLIGHT + 2 + NUMBER + 2 + AGE + 2 + ANSWER))

/* --- instances ------------------------------------------------------------------------------- */

static void put_instance_head(struct screen *screen)
{
    struct line line = {.screen = screen, .colour = DIM};
    put_cell(&line, PLAIN, "instance", first_width(screen, INSTANCE_OTHERS), true);
    put_cell(&line, PLAIN, "state", STATE, true);
    put_right(&line, "rate", RATE);
    put_right(&line, "in flight", IN_FLIGHT);
    put_right(&line, "held", NUMBER);
    put_right(&line, "oldest", AGE);
    put_right(&line, "waiting", NUMBER);
    end_line(&line);
}

static void put_silent(struct screen *screen, const struct watch_instance *instance)
{
    AUTO_FREE char *text = mem_printf("%s: %s", instance->address,
                                      instance->error != NULL ? instance->error : "no answer yet");
    buf_puts(&screen->out, "  ");
    terminal_paint(&screen->out, RED, text, screen->width - 2, false);
    buf_putc(&screen->out, '\n');
}

static void put_instance(struct screen *screen, const struct watch_instance *instance)
{
    struct line line = {.screen = screen};
    if (instance->document == NULL) {
        put_silent(screen, instance);
        return;
    }
    const json_t *process = json_object_get(instance->document, "process");
    const json_t *work = json_object_get(instance->document, "work");
    bool ready = json_is_true(json_object_get(process, "ready"));
    AUTO_BUF struct buf rate = {0};
    write_rate(&rate, instance->rate);
    put_cell(&line, PLAIN, name_of(instance), first_width(screen, INSTANCE_OTHERS), true);
    put_cell(&line, ready ? GREEN : RED, text_of(process, "state"), STATE, true);
    put_right(&line, rate.data, RATE);
    put_count(&line, count_of(work, "calls_in_flight"), IN_FLIGHT);
    put_count(&line, held_of(work), NUMBER);
    put_age(&line, age_of(work));
    put_count(&line, count_of(work, "waiting"), NUMBER);
    end_line(&line);
}

/* --- what needs a human ---------------------------------------------------------------------- */

static size_t put_attention(struct screen *screen, const struct watch_instance *instances,
                            size_t count)
{
    size_t rows = 0;
    for (size_t i = 0; i < count; i++) {
        size_t index;
        const json_t *row;
        json_array_foreach (json_object_get(instances[i].document, "attention"), index, row) {
            screen_attention(screen, row, count > 1 ? name_of(&instances[i]) : NULL);
            rows++;
        }
    }
    return rows;
}

/* --- merchants ------------------------------------------------------------------------------- */

/* Of all instances. */
struct merchant {
    const char *mchid, *state, *last_answer;
    int64_t in_flight, waiting, oldest_ms, answered_ms;
};

/* The worst last. */
static size_t rank_of(const char *state)
{
    static const char *const states[] = {"open", "paced", "paused", "broken", "held"};
    size_t rank = ARRAY_LENGTH(states); /* a state that this presignctl does not know */
    while (rank > 0 && strcmp(states[rank - 1], state) != 0) {
        rank--;
    }
    return rank;
}

static void add_merchant(struct merchant *sum, const json_t *item)
{
    const struct status_field at = {.key = "last_answer_at", .kind = STATUS_TIME};
    struct status_value answered = screen_value(&at, item);
    const char *state = text_of(item, "state");
    if (sum->mchid == NULL) {
        *sum = (struct merchant){.mchid = text_of(item, "mchid"),
                                 .state = state,
                                 .last_answer = "-",
                                 .oldest_ms = -1,
                                 .answered_ms = -1};
    }
    sum->state = rank_of(state) > rank_of(sum->state) ? state : sum->state;
    sum->in_flight += count_of(item, "calls_in_flight");
    sum->waiting += count_of(item, "waiting");
    sum->oldest_ms = age_of(item) > sum->oldest_ms ? age_of(item) : sum->oldest_ms;
    if (answered.given && answered.number > sum->answered_ms) {
        sum->answered_ms = answered.number;
        sum->last_answer = text_of(item, "last_answer");
    }
}

static int worst_first(const void *a, const void *b)
{
    const struct merchant *one = a, *other = b;
    int64_t order[] = {(int64_t)rank_of(other->state) - (int64_t)rank_of(one->state),
                       other->oldest_ms - one->oldest_ms, other->waiting - one->waiting,
                       other->in_flight - one->in_flight};
    for (size_t i = 0; i < ARRAY_LENGTH(order); i++) {
        if (order[i] != 0) {
            return order[i] < 0 ? -1 : 1;
        }
    }
    return strcmp(one->mchid, other->mchid);
}

/* Sums of all instances (free()). */
static struct merchant *merchants_of(const struct watch_instance *instances, size_t count,
                                     size_t *found)
{
    size_t most = 0, index;
    const json_t *item;
    for (size_t i = 0; i < count; i++) {
        most += json_array_size(json_object_get(instances[i].document, "merchants"));
    }
    struct merchant *merchants = mem_zalloc(most, sizeof *merchants);
    json_t *known = json_object(); /* by mchid */
    for (size_t i = 0; i < count; i++) {
        json_array_foreach (json_object_get(instances[i].document, "merchants"), index, item) {
            const char *mchid = text_of(item, "mchid");
            const json_t *index_of = json_object_get(known, mchid);
            size_t at = index_of != NULL ? (size_t)json_integer_value(index_of) : *found;
            if (index_of == NULL) {
                (void)json_object_set_new(known, mchid, json_integer((json_int_t)(*found)++));
            }
            add_merchant(&merchants[at], item);
        }
    }
    json_decref(known);
    qsort(merchants, *found, sizeof *merchants, worst_first);
    return merchants;
}

static void put_merchant(struct screen *screen, const struct merchant *merchant)
{
    struct line line = {.screen = screen};
    size_t rank = rank_of(merchant->state);
    put_cell(&line, PLAIN, merchant->mchid, first_width(screen, MERCHANT_OTHERS), true);
    put_cell(&line, rank <= 1 ? PLAIN : rank == 2 ? YELLOW : RED, merchant->state, STATE, true);
    put_count(&line, merchant->in_flight, IN_FLIGHT);
    put_count(&line, merchant->waiting, NUMBER);
    put_age(&line, merchant->oldest_ms);
    put_cell(&line, PLAIN, merchant->last_answer, ANSWER, true);
    end_line(&line);
}

static void put_merchant_head(struct screen *screen)
{
    struct line line = {.screen = screen, .colour = DIM};
    put_cell(&line, PLAIN, "merchant", first_width(screen, MERCHANT_OTHERS), true);
    put_cell(&line, PLAIN, "state", STATE, true);
    put_right(&line, "in flight", IN_FLIGHT);
    put_right(&line, "waiting", NUMBER);
    put_right(&line, "oldest", AGE);
    put_cell(&line, PLAIN, "last answer", ANSWER, true);
    end_line(&line);
}

static void put_merchants(struct screen *screen, const struct watch_instance *instances,
                          size_t count, size_t lines)
{
    size_t found = 0;
    AUTO_FREE struct merchant *merchants = merchants_of(instances, count, &found);
    if (found == 0) {
        return;
    }
    put_title(screen, "Merchants");
    put_merchant_head(screen);
    size_t shown = found <= lines ? found : lines - 1;
    for (size_t i = 0; i < shown; i++) {
        put_merchant(screen, &merchants[i]);
    }
    if (shown < found) {
        buf_printf(&screen->out, "  and %zu more\n", found - shown);
    }
}

/* --- failures -------------------------------------------------------------------------------- */

struct failure {
    const json_t *item;
    const struct watch_instance *instance;
    int64_t last_ms;
};

static int newest_first(const void *a, const void *b)
{
    const struct failure *one = a, *other = b;
    return one->last_ms < other->last_ms ? 1 : one->last_ms > other->last_ms ? -1 : 0;
}

static void put_failure(struct screen *screen, const struct failure *failure, bool named)
{
    const struct status_field last = {.key = "last", .kind = STATUS_TIME};
    struct status_value value = screen_value(&last, failure->item);
    struct line line = {.screen = screen};
    AUTO_BUF struct buf at = {0};
    status_text(&at, &last, &value, screen->now_ms);
    put_cell(&line, PLAIN, text_of(failure->item, "reason"), REASON, true);
    put_count(&line, count_of(failure->item, "count"), NUMBER);
    put_cell(&line, PLAIN, at.data, LAST, true);
    if (named) {
        put_cell(&line, PLAIN, name_of(failure->instance),
                 first_width(screen, 2 + REASON + 2 + NUMBER + 2 + LAST), true);
    }
    end_line(&line);
}

static void put_failures(struct screen *screen, const struct watch_instance *instances,
                         size_t count)
{
    struct failure failures[WATCH_INSTANCES_MAX * FAILURES_MAX];
    const struct status_field last = {.key = "last", .kind = STATUS_TIME};
    size_t found = 0, index;
    const json_t *item;
    for (size_t i = 0; i < count; i++) {
        /* The document has the newest first. */
        json_array_foreach (json_object_get(instances[i].document, "failures"), index, item) {
            if (index < FAILURES_MAX) {
                failures[found++] =
                    (struct failure){item, &instances[i], screen_value(&last, item).number};
            }
        }
    }
    if (found == 0) {
        return;
    }
    qsort(failures, found, sizeof *failures, newest_first);
    put_title(screen, "Last failures");
    for (size_t i = 0; i < found && i < FAILURES_MAX; i++) {
        put_failure(screen, &failures[i], count > 1);
    }
}

/* --- the screen ------------------------------------------------------------------------------ */

static size_t lines_in(const struct buf *text)
{
    size_t lines = 0;
    for (size_t i = 0; i < text->len; i++) {
        lines += text->data[i] == '\n';
    }
    return lines;
}

/* Cuts the text to so many lines. */
static void cut(struct buf *text, size_t lines)
{
    for (size_t i = 0; i < text->len; i++) {
        if (text->data[i] == '\n' && lines-- <= 1) {
            text->len = i + 1;
            text->data[text->len] = '\0';
            return;
        }
    }
}

/* The moment of the newest answer. */
static int64_t newest_ms(const struct watch_instance *instances, size_t count)
{
    const struct status_field at = {.key = "at", .kind = STATUS_TIME};
    int64_t newest = 0;
    for (size_t i = 0; i < count; i++) {
        struct status_value value =
            screen_value(&at, json_object_get(instances[i].document, "process"));
        newest = value.given && value.number > newest ? value.number : newest;
    }
    return newest;
}

static void put_top(struct screen *screen, const struct watch_instance *instances, size_t count)
{
    const struct status_field at = {.kind = STATUS_TIME};
    struct status_value value = {.given = screen->now_ms != 0, .number = screen->now_ms};
    AUTO_BUF struct buf line = {0};
    buf_puts(&line, "presignctl status --watch  ");
    status_text(&line, &at, &value, screen->now_ms);
    buf_puts(&line, "  Ctrl-C ends");
    terminal_paint(&screen->out, BOLD, line.data, screen->width, false);
    buf_puts(&screen->out, "\n\n");
    put_instance_head(screen);
    for (size_t i = 0; i < count; i++) {
        put_instance(screen, &instances[i]);
    }
}

void watch_draw(const struct watch_instance *instances, size_t count, size_t columns, size_t rows,
                struct buf *out)
{
    struct screen screen = {.width = columns > COLUMNS_LEAST ? columns - 1 : COLUMNS_LEAST,
                            .now_ms = newest_ms(instances, count)};
    struct screen failures = screen;
    put_top(&screen, instances, count);
    put_title(&screen, "Needs you");
    if (put_attention(&screen, instances, count) == 0) {
        buf_puts(&screen.out, "  Nothing.\n");
    }
    put_failures(&failures, instances, count);
    /* A title, a heading and an empty line of the merchants. */
    size_t taken = lines_in(&screen.out) + lines_in(&failures.out) + 3;
    put_merchants(&screen, instances, count,
                  taken + MERCHANTS_LEAST < rows ? rows - taken : MERCHANTS_LEAST);
    buf_append(&screen.out, failures.out.data, failures.out.len);
    cut(&screen.out, rows);
    buf_append(out, screen.out.data, screen.out.len);
    buf_deinit(&screen.out);
    buf_deinit(&failures.out);
}

void watch_line(const struct watch_instance *instance, struct buf *out)
{
    if (instance->document == NULL) {
        buf_printf(out, "%s: %s\n", instance->address,
                   instance->error != NULL ? instance->error : "no answer yet");
        return;
    }
    const json_t *process = json_object_get(instance->document, "process"), *row;
    const json_t *work = json_object_get(instance->document, "work");
    size_t index;
    buf_printf(out, "%s  %s  %s, rate ", text_of(process, "at"), text_of(process, "instance"),
               text_of(process, "state"));
    write_rate(out, instance->rate);
    buf_printf(out, ", calls in flight %" PRId64 ", waiting %" PRId64 ", held %" PRId64 ", oldest ",
               count_of(work, "calls_in_flight"), count_of(work, "waiting"), held_of(work));
    write_age(out, age_of(work));
    json_array_foreach (json_object_get(instance->document, "attention"), index, row) {
        buf_printf(out, "%s%s", index == 0 ? ", needs you: " : " ", text_of(row, "alert"));
    }
    buf_putc(out, '\n');
}
