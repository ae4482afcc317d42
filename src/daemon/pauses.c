#include "daemon/pauses.h"

#include "daemon/parts.h"
#include "presignd/base/clock.h"
#include "presignd/base/json.h"
#include "presignd/base/log.h"
#include "presignd/base/text.h"
#include "presignd/ops/messages.h"

#include <stdio.h>
#include <string.h>

#define VERSION 1

/* --- the file ----------------------------------------------------------------------------- */

static void write_one(const struct pause *pause, struct buf *out)
{
    buf_putc(out, '{');
    buf_json_member(out, "scope", pause_scope_name(pause->scope));
    buf_json_member(out, "name", pause->name);
    buf_json_member_int(out, "since_ms", pause->since_ms);
    buf_json_member_int(out, "until_ms", pause->until_ms);
    buf_json_member(out, "by", pause->by);
    buf_json_member(out, "note", pause->note);
    buf_putc(out, '}');
}

size_t pauses_write(const struct pauses *pauses, struct buf *out)
{
    size_t count = 0;
    buf_printf(out, "{\"version\":%d,\"pauses\":[", VERSION);
    for (size_t i = 0; i < pauses->count; i++) {
        if (pauses->items[i].persist && count++ < PAUSES_MAX) {
            buf_puts(out, count == 1 ? "\n" : ",\n");
            write_one(&pauses->items[i], out);
        }
    }
    buf_puts(out, "]}\n");
    return count;
}

/* False if the member is absent, no string, or longer than `size` bytes with its terminator. */
static bool read_text(const json_t *object, const char *name, char *out, size_t size)
{
    const char *text = json_text(object, name);
    size_t len = strlen(text);
    if (!json_is_string(json_object_get(object, name)) || len >= size) {
        return false;
    }
    memcpy(out, text, len + 1);
    return true;
}

static bool read_time(const json_t *object, const char *name, int64_t *out)
{
    const json_t *value = json_object_get(object, name);
    *out = json_integer_value(value);
    return json_is_integer(value) && *out >= 0;
}

static bool read_one(const json_t *object, struct pause *pause)
{
    *pause = (struct pause){.persist = true};
    return pause_scope_find(json_text(object, "scope"), &pause->scope) &&
           read_text(object, "name", pause->name, sizeof pause->name) &&
           read_time(object, "since_ms", &pause->since_ms) &&
           read_time(object, "until_ms", &pause->until_ms) &&
           read_text(object, "by", pause->by, sizeof pause->by) &&
           read_text(object, "note", pause->note, sizeof pause->note);
}

bool pauses_read(const char *bytes, size_t len, struct pauses *pauses)
{
    AUTO_JSON json_t *root = json_read(bytes, len, JSON_NESTING_MAX, 0, NULL);
    const json_t *list = json_object_get(root, "pauses"), *item;
    bool good = json_integer_value(json_object_get(root, "version")) == VERSION &&
                json_is_array(list) && json_array_size(list) <= PAUSES_MAX;
    size_t i;
    json_array_foreach (list, i, item) {
        struct pause pause;
        good = good && read_one(item, &pause);
        if (!good) {
            break;
        }
        pauses_set(pauses, &pause);
    }
    if (!good) {
        pauses_deinit(pauses);
    }
    return good;
}

/* --- the daemon --------------------------------------------------------------------------- */

/* Writes what persists of the pipeline's pauses, with `next` in the place of its own scope and
 * name; NULL: as they are. False: not kept. */
static bool keep(struct daemon *d, const struct pause *next)
{
    AUTO_BUF struct buf text = {0};
    struct pauses kept = {0};
    const struct pauses *now = pipeline_pauses(d->pipeline);
    for (size_t i = 0; i < now->count; i++) {
        pauses_set(&kept, &now->items[i]);
    }
    if (next != NULL) {
        pauses_set(&kept, next);
    }
    size_t count = pauses_write(&kept, &text);
    pauses_deinit(&kept);
    if (count > PAUSES_MAX) {
        log_warning("%zu pauses are to survive a restart, and %d can: use presignctl pause --all",
                    count, PAUSES_MAX);
        return false;
    }
    bool done = count == 0 ? d->pauses_kept == 0 || state_dir_remove(d->state, PAUSES_FILE)
                           : state_dir_write(d->state, PAUSES_FILE, text.data, text.len);
    d->pauses_kept = done ? count : d->pauses_kept;
    d->pauses_stale = d->pauses_stale && !done;
    return done;
}

static void keep_or_warn(struct daemon *d)
{
    if (!keep(d, NULL)) {
        log_warning("the end of a pause cannot be kept: after a restart the pause is back, unless "
                    "%s is removed from the state directory",
                    PAUSES_FILE);
    }
}

enum daemon_pause daemon_pause(struct daemon *d, const struct pause *pause)
{
    if (!pipeline_may_pause(d->pipeline, pause->scope, pause->name)) {
        return DAEMON_PAUSE_UNKNOWN;
    }
    if (pause->persist && !keep(d, pause)) {
        return DAEMON_PAUSE_NOT_KEPT;
    }
    bool paused = pipeline_pause(d->pipeline, pause);
    if (!pause->persist) {
        keep_or_warn(d); /* it may replace one that persists */
    }
    return paused ? DAEMON_PAUSED : DAEMON_PAUSE_UNKNOWN;
}

size_t daemon_resume(struct daemon *d, enum pause_scope scope, const char *name)
{
    size_t ended = pipeline_resume(d->pipeline, scope, name);
    keep_or_warn(d);
    return ended;
}

static size_t count_persistent(const struct pauses *pauses)
{
    size_t count = 0;
    for (size_t i = 0; i < pauses->count; i++) {
        count += pauses->items[i].persist;
    }
    return count;
}

void daemon_pauses_tick(struct daemon *d)
{
    bool ended = d->pauses_kept > count_persistent(pipeline_pauses(d->pipeline));
    if (ended && !d->pauses_stale) {
        d->pauses_stale = !keep(d, NULL); /* tried once; a start drops them */
    }
}

static bool is_over(const struct pause *pause)
{
    return pause->until_ms != 0 && pause->until_ms <= clock_wall_ms();
}

static void note_restored(const struct pause *pause)
{
    const char *scope = pause_scope_name(pause->scope);
    log_fields(LOG_NOTICE, MESSAGE_PAUSE_RESTORED,
               LOG_FIELDS({"SCOPE", scope}, {"NAME", text_or_null(pause->name)},
                          {"BY", text_or_null(pause->by)}),
               "the pause of %s%s%s goes on after the restart%s%s", scope,
               pause->name[0] == '\0' ? "" : " ", pause->name, pause->note[0] == '\0' ? "" : ": ",
               pause->note);
}

void daemon_pauses_open(struct daemon *d)
{
    AUTO_BUF struct buf text = {0};
    struct pauses pauses = {0};
    if (!state_dir_read(d->state, PAUSES_FILE, &text)) {
        return;
    }
    if (!pauses_read(text.data, text.len, &pauses)) {
        log_warning("%s in the state directory is damaged, or of another version: no pause is "
                    "restored",
                    PAUSES_FILE);
    }
    d->pauses_kept = pauses.count;
    for (size_t i = 0; i < pauses.count; i++) {
        if (!is_over(&pauses.items[i]) && pipeline_pause(d->pipeline, &pauses.items[i])) {
            note_restored(&pauses.items[i]);
        }
    }
    pauses_deinit(&pauses);
}
