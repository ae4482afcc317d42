/* The control socket's requests. Each change leaves one line in the journal: who, what, why. */
#include "daemon/parts.h"
#include "presignd/base/address.h"
#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/flow/pause.h"
#include "presignd/ops/control.h"
#include "presignd/ops/messages.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define YEAR_S               (INT64_C(366) * 24 * 3600)
#define DRAIN_TIMEOUT_MAX_MS INT64_C(3600000)

/* --- The journal --- */

/* Logs "WHAT by WHO: NOTE". */
static void note(const char *message_id, const struct control_request *request, const char *what)
{
    AUTO_FREE char *uid = request->uid < 0 ? NULL : mem_printf("%" PRId64, request->uid);
    const char *why = json_text(request->body, "note");
    log_audit(
        message_id,
        LOG_FIELDS({"UID", uid}, {"BY", text_or_null(request->by)}, {"NOTE", text_or_null(why)}),
        "%s, asked for by %s%s%s", what, *request->by == '\0' ? "an unnamed client" : request->by,
        *why == '\0' ? "" : ": ", why);
}

/* --- Pauses --- */

static int64_t number_of(const struct control_request *request, const char *name)
{
    return json_integer_value(json_object_get(request->body, name));
}

/* Sets scope and name. False unless the body has exactly one of the three. */
static bool take_scope(const struct control_request *request, struct pause *pause)
{
    int count = 0;
    for (int scope = 0; scope < PAUSE_SCOPE_COUNT; scope++) {
        const json_t *member = json_object_get(request->body, pause_scope_name(scope));
        if (member != NULL) {
            pause->scope = scope;
            snprintf(pause->name, sizeof pause->name, "%s",
                     json_is_string(member) ? json_string_value(member) : "");
            count++;
        }
    }
    return count == 1;
}

/* "merchant 1900007291", "everything". */
static char *scope_text(const struct pause *pause)
{
    return pause->scope == PAUSE_ALL
               ? mem_strdup("everything")
               : mem_printf("%s %s", pause_scope_name(pause->scope), pause->name);
}

static void pause_json(const struct daemon *d, const struct pause *pause, struct buf *out)
{
    char time[TEXT_TIME_SIZE];
    buf_puts(out, out->data[out->len - 1] == '[' ? "{" : ",{");
    buf_json_member(out, "scope", pause_scope_name(pause->scope));
    buf_json_member(out, "name", pause->scope == PAUSE_ALL ? NULL : pause->name);
    text_time(time, pause->since_ms, true);
    buf_json_member(out, "since", time);
    text_time(time, pause->until_ms, true);
    buf_json_member(out, "until", pause->until_ms == 0 ? NULL : time);
    buf_json_member_bool(out, "persist", pause->persist);
    buf_json_member(out, "by", text_or_null(pause->by));
    buf_json_member(out, "note", text_or_null(pause->note));
    buf_json_member_int(out, "events", (int64_t)pipeline_pause_events(d->pipeline, pause));
    buf_putc(out, '}');
}

static int answer_pauses(const struct daemon *d, struct buf *answer)
{
    const struct pauses *pauses = pipeline_pauses(d->pipeline);
    buf_putc(answer, '{');
    buf_json_member(answer, "instance", d->setup->config->daemon.instance);
    buf_json_name(answer, "pauses");
    buf_putc(answer, '[');
    for (size_t i = 0; i < pauses->count; i++) {
        pause_json(d, &pauses->items[i], answer);
    }
    buf_puts(answer, "]}\n");
    return 200;
}

static int wrong_scope(struct buf *answer)
{
    return control_error(answer, 400, "the body needs one of merchant, endpoint and \"all\": true");
}

static int unknown_scope(const struct pause *pause, struct buf *answer)
{
    return control_error(answer, 404, "no %s has the name %s", pause_scope_name(pause->scope),
                         pause->name);
}

static void note_pause(const struct control_request *request, const struct pause *pause,
                       const char *refused)
{
    char until[TEXT_TIME_SIZE];
    AUTO_FREE char *scope = scope_text(pause);
    text_time(until, pause->until_ms, false);
    AUTO_FREE char *what = mem_printf(
        "pause of %s%s%s%s%s", scope, pause->until_ms == 0 ? "" : " until ",
        pause->until_ms == 0 ? "" : until, pause->persist ? ", also after a restart" : "", refused);
    note(MESSAGE_PAUSE, request, what);
}

static int pull_pause(void *context, const struct control_request *request, struct buf *answer)
{
    struct daemon *d = context;
    int64_t now_ms = clock_wall_ms();
    int64_t seconds = number_of(request, "seconds");
    struct pause pause = {.since_ms = now_ms,
                          .until_ms = seconds == 0 ? 0 : now_ms + seconds * 1000,
                          .persist = json_is_true(json_object_get(request->body, "persist"))};
    if (!take_scope(request, &pause)) {
        return wrong_scope(answer);
    }
    snprintf(pause.by, sizeof pause.by, "%s", request->by);
    snprintf(pause.note, sizeof pause.note, "%s", json_text(request->body, "note"));
    switch (daemon_pause(d, &pause)) {
    case DAEMON_PAUSE_UNKNOWN:
        note_pause(request, &pause, ", refused: there is none");
        return unknown_scope(&pause, answer);
    case DAEMON_PAUSE_NOT_KEPT:
        note_pause(request, &pause, ", refused: it cannot be kept");
        return control_error(
            answer, 507,
            "the pause cannot be kept over a restart: daemon.state_dir is not set, "
            "or cannot be written; nothing is paused");
    case DAEMON_PAUSED:
        break;
    }
    note_pause(request, &pause, "");
    loop_again(d->loop);
    return answer_pauses(d, answer);
}

static int pull_resume(void *context, const struct control_request *request, struct buf *answer)
{
    struct daemon *d = context;
    struct pause pause = {0};
    if (!take_scope(request, &pause)) {
        return wrong_scope(answer);
    }
    AUTO_FREE char *scope = scope_text(&pause);
    if (!pipeline_may_pause(d->pipeline, pause.scope, pause.name)) {
        AUTO_FREE char *refused = mem_printf("resume of %s, refused: there is none", scope);
        note(MESSAGE_RESUME, request, refused);
        return unknown_scope(&pause, answer);
    }
    size_t ended = daemon_resume(d, pause.scope, pause.name);
    bool drained = pause.scope == PAUSE_ALL && daemon_drain_state(d) != NULL;
    if (drained) {
        daemon_rejoin(d);
    }
    AUTO_FREE char *what = mem_printf("resume of %s, pauses ended: %zu%s", scope, ended,
                                      drained ? ", joining the group again" : "");
    note(MESSAGE_RESUME, request, what);
    loop_again(d->loop);
    return answer_pauses(d, answer);
}

/* --- The drain --- */

static int pull_drain(void *context, const struct control_request *request, struct buf *answer)
{
    struct daemon *d = context;
    const json_t *given = json_object_get(request->body, "timeout_ms");
    int64_t timeout_ms =
        given != NULL ? json_integer_value(given) : d->setup->config->daemon.drain_timeout_ms;
    AUTO_FREE char *what = mem_printf("drain: calls in flight have %" PRId64
                                      " ms, then this instance leaves the group",
                                      timeout_ms);
    note(MESSAGE_DRAIN, request, what);
    daemon_drain_begin(d, timeout_ms);
    loop_again(d->loop);
    const char *state = daemon_drain_state(d);
    buf_putc(answer, '{');
    buf_json_member(answer, "state", state != NULL ? state : "draining");
    buf_puts(answer, "}\n");
    return 202;
}

/* --- The log level --- */

static void on_level_end(void *context)
{
    struct daemon *d = context;
    log_level_set(d->log_level.kept);
    d->log_level.until_ms = 0;
    const struct log_field fields[] = {{NULL, NULL}};
    log_audit(MESSAGE_LOG_LEVEL_ENDED, fields, "the log level is %s again: its time has passed",
              log_level_name(d->log_level.kept));
}

static void set_level(struct daemon *d, int level, int64_t seconds)
{
    struct moment now = clock_now(&clock_system);
    log_level_set(level);
    if (seconds == 0) {
        d->log_level.kept = level;
        d->log_level.until_ms = 0;
        loop_timer_stop(&d->log_level.timer);
        return;
    }
    d->log_level.until_ms = now.wall_ms + seconds * 1000;
    loop_timer_set(&d->log_level.timer, now.mono_ms + seconds * 1000);
}

static int pull_log_level(void *context, const struct control_request *request, struct buf *answer)
{
    struct daemon *d = context;
    char until[TEXT_TIME_SIZE];
    int level;
    if (!log_level_find(json_text(request->body, "level"), &level)) {
        return control_error(answer, 400, "level is not error, warning, notice, info or debug");
    }
    set_level(d, level, number_of(request, "seconds"));
    bool ends = d->log_level.until_ms != 0;
    text_time(until, d->log_level.until_ms, false);
    AUTO_FREE char *what = mem_printf("log level %s%s%s", log_level_name(level),
                                      ends ? " until " : "", ends ? until : "");
    note(MESSAGE_LOG_LEVEL, request, what);
    buf_putc(answer, '{');
    buf_json_member(answer, "level", log_level_name(level));
    buf_json_member(answer, "until", ends ? until : NULL);
    buf_puts(answer, "}\n");
    return 200;
}

/* --- The reload --- */

/* The reload may replace this socket: the old one still sends this answer. */
static int pull_reload(void *context, const struct control_request *request, struct buf *answer)
{
    struct daemon *d = context;
    note(MESSAGE_RELOAD, request, "reload");
    reload_run(d);
    reload_status_json(&d->reload_status, d->started_ms, answer);
    return d->reload_status.ok ? 200 : 409;
}

/* --- The socket --- */

static int get_status(void *context, const struct http_request *, struct buf *answer)
{
    return admin_pages_status_json(context, answer);
}

#define SCOPES                                                                                    \
    {"merchant", CONTROL_TEXT, 0, PAUSE_NAME_MAX}, {"endpoint", CONTROL_TEXT, 0, PAUSE_NAME_MAX}, \
    {                                                                                             \
        "all", CONTROL_TRUE, 0, 0                                                                 \
    }
#define SECONDS                              \
    {                                        \
        "seconds", CONTROL_NUMBER, 1, YEAR_S \
    }
#define END                      \
    {                            \
        NULL, CONTROL_TEXT, 0, 0 \
    }

static const struct control_member pause_members[] = {SCOPES,
                                                      SECONDS,
                                                      {"persist", CONTROL_FLAG, 0, 0},
                                                      {"note", CONTROL_TEXT, 0, PAUSE_NOTE_MAX},
                                                      END};
static const struct control_member resume_members[] = {SCOPES, END};
static const struct control_member drain_members[] = {
    {"timeout_ms", CONTROL_NUMBER, 0, DRAIN_TIMEOUT_MAX_MS}, END};
static const struct control_member log_level_members[] = {
    {"level", CONTROL_TEXT, 0, 16}, SECONDS, END};

static const struct control_lever lever_pause = {pause_members, pull_pause};
static const struct control_lever lever_resume = {resume_members, pull_resume};
static const struct control_lever lever_drain = {drain_members, pull_drain};
static const struct control_lever lever_log_level = {log_level_members, pull_log_level};
static const struct control_lever lever_reload = {NULL, pull_reload};

#define JSON "application/json"
static const struct http_route routes[] = {
    {"GET", "/v1/status", JSON, get_status, NULL, NULL},
    {"GET", "/v1/find", JSON, find_answer, NULL, NULL},
    {"POST", "/v1/pause", JSON, control_answer, &lever_pause, NULL},
    {"POST", "/v1/resume", JSON, control_answer, &lever_resume, NULL},
    {"POST", "/v1/drain", JSON, control_answer, &lever_drain, NULL},
    {"POST", "/v1/log-level", JSON, control_answer, &lever_log_level, NULL},
    {"POST", "/v1/reload", JSON, control_answer, &lever_reload, NULL},
};

void levers_init(struct daemon *d)
{
    d->log_level.kept = log_level_get();
    loop_timer_init(&d->log_level.timer, d->loop, on_level_end, d);
}

void levers_deinit(struct daemon *d)
{
    loop_timer_stop(&d->log_level.timer);
    d->control = http_server_free(d->control);
    d->control_before = http_server_free(d->control_before);
}

bool levers_open(struct daemon *d, const char *path, struct http_server **control, char **error)
{
    const struct http_server_config config = {.key = "control_socket",
                                              .mode = CONTROL_SOCKET_MODE,
                                              .body_max = CONTROL_BODY_MAX,
                                              .json = true,
                                              .routes = routes,
                                              .route_count = ARRAY_LENGTH(routes),
                                              .context = d};
    *control = NULL;
    if (path[0] == '\0') {
        return true;
    }
    AUTO_FREE char *listen = mem_printf(ADDRESS_UNIX_PREFIX "%s", path);
    *control = http_server_new(d->loop, listen, &config, error);
    return *control != NULL;
}

void levers_take(struct daemon *d, struct http_server *control)
{
    http_server_retire(d->control, &d->control_before);
    d->control = control;
}
