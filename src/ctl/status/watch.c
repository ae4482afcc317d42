#include "ctl/status/watch.h"

#include "ctl/kit/admin_client.h"
#include "ctl/kit/terminal.h"
#include "ctl/status/screen.h"
#include "presignd/base/clock.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { TICK_MS = 1000 };

/* ECMA-48 and xterm: the alternate screen, the cursor, the end of a line and of the screen. */
#define SCREEN_BEGIN "\033[?1049h\033[?25l"
#define SCREEN_END   "\033[?25h\033[?1049l"
#define HOME         "\033[H"
#define CLEAR_LINE   "\033[K"
#define CLEAR_REST   "\033[J"

/* An instance's call, and what the rate is counted from. */
struct asked {
    CURL *call; /* in flight; NULL: none */
    struct buf body;
    int64_t outcomes, at_ms, started_ms; /* of its last answer; at_ms 0: none */
};

struct watch {
    struct watch_instance instances[WATCH_INSTANCES_MAX];
    struct asked asked[WATCH_INSTANCES_MAX];
    size_t count;
    const struct watch_options *options;
    bool screen;
    CURLM *calls;
    int signals; /* a signalfd(2) */
    bool stopped;
};

/* --- asking ---------------------------------------------------------------------------------- */

static int64_t number_of(const json_t *document, const char *section, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(document, section), key));
}

static int64_t time_of(const json_t *document, const char *key)
{
    const struct status_field field = {.key = key, .kind = STATUS_TIME};
    return screen_value(&field, json_object_get(document, "process")).number;
}

/* A restart begins a new count. */
static void note_rate(struct watch_instance *instance, struct asked *asked)
{
    int64_t at_ms = time_of(instance->document, "at");
    int64_t started_ms = time_of(instance->document, "started");
    int64_t outcomes = number_of(instance->document, "work", "succeeded") +
                       number_of(instance->document, "work", "failed");
    bool known = asked->at_ms != 0 && asked->started_ms == started_ms && at_ms > asked->at_ms;
    instance->rate =
        known ? (double)(outcomes - asked->outcomes) * 1000 / (double)(at_ms - asked->at_ms) : -1;
    asked->outcomes = outcomes;
    asked->at_ms = at_ms;
    asked->started_ms = started_ms;
}

/* Takes over the error. */
static void take_answer(struct watch_instance *instance, struct asked *asked, long http,
                        char *error)
{
    json_decref(instance->document);
    free(instance->error);
    instance->error = error;
    instance->document = error == NULL && http == 200 ? json_read(asked->body.data, asked->body.len,
                                                                  JSON_NESTING_MAX, 0, NULL)
                                                      : NULL;
    if (instance->document != NULL) {
        note_rate(instance, asked);
    } else if (error == NULL) {
        instance->error = mem_printf("not presignd's admin listener (HTTP status %ld)", http);
    }
}

static bool ask(struct watch *watch, size_t index)
{
    struct asked *asked = &watch->asked[index];
    char *error = NULL;
    if (asked->call != NULL) {
        return true; /* its time-out ends it */
    }
    asked->body.len = 0;
    asked->call = admin_client_call(watch->instances[index].address, watch->options->path,
                                    watch->options->timeout_ms, &asked->body, &error);
    if (asked->call == NULL) {
        command_fail(EX_UNAVAILABLE, "%s", error);
        free(error);
        return false;
    }
    return curl_multi_add_handle(watch->calls, asked->call) == CURLM_OK;
}

static void ended(struct watch *watch, const struct CURLMsg *message)
{
    for (size_t i = 0; i < watch->count; i++) {
        struct asked *asked = &watch->asked[i];
        if (asked->call != message->easy_handle) {
            continue;
        }
        long http = 0;
        CURLcode code = message->data.result;
        (void)curl_easy_getinfo(asked->call, CURLINFO_RESPONSE_CODE, &http);
        take_answer(&watch->instances[i], asked, http,
                    code == CURLE_OK ? NULL : mem_strdup(curl_easy_strerror(code)));
        (void)curl_multi_remove_handle(watch->calls, asked->call);
        curl_easy_cleanup(asked->call);
        asked->call = NULL;
        if (watch->options->json && watch->instances[i].document != NULL) {
            (void)fwrite(asked->body.data, 1, asked->body.len, stdout);
        }
        return;
    }
}

static bool all_ended(const struct watch *watch)
{
    for (size_t i = 0; i < watch->count; i++) {
        if (watch->asked[i].call != NULL) {
            return false;
        }
    }
    return true;
}

/* --- drawing --------------------------------------------------------------------------------- */

/* Written at once, so that the screen does not flicker. */
static void draw(const struct watch *watch)
{
    size_t columns = 80, rows = 24;
    AUTO_BUF struct buf lines = {0};
    AUTO_BUF struct buf out = {0};
    (void)terminal_size(&columns, &rows);
    watch_draw(watch->instances, watch->count, columns, rows, &lines);
    buf_puts(&out, HOME);
    for (const char *at = lines.data; at != NULL && *at != '\0';) {
        size_t len = strcspn(at, "\n");
        buf_append(&out, at, len);
        at += len + (at[len] == '\n');
        buf_puts(&out, *at != '\0' ? CLEAR_LINE "\r\n" : CLEAR_LINE);
    }
    buf_puts(&out, CLEAR_REST);
    (void)fwrite(out.data, 1, out.len, stdout);
}

static void show(const struct watch *watch)
{
    if (watch->screen) {
        draw(watch);
    } else if (!watch->options->json) {
        for (size_t i = 0; i < watch->count; i++) {
            AUTO_BUF struct buf line = {0};
            watch_line(&watch->instances[i], &line);
            (void)fputs(line.data, stdout);
        }
    }
    (void)fflush(stdout);
}

/* --- the loop -------------------------------------------------------------------------------- */

static void take_signals(struct watch *watch)
{
    struct signalfd_siginfo info;
    while (read(watch->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGWINCH) {
            show(watch);
        } else {
            watch->stopped = true;
        }
    }
}

/* Until `end_ms` (monotonic), or `early` and every call has ended. */
static void wait_until(struct watch *watch, int64_t end_ms, bool early)
{
    struct curl_waitfd signals = {.fd = watch->signals, .events = CURL_WAIT_POLLIN};
    int64_t left_ms;
    while (!watch->stopped && !(early && all_ended(watch)) &&
           (left_ms = end_ms - clock_mono_ms()) > 0) {
        int running, queued;
        struct CURLMsg *message;
        (void)curl_multi_perform(watch->calls, &running);
        while ((message = curl_multi_info_read(watch->calls, &queued)) != NULL) {
            ended(watch, message);
        }
        if (!(early && all_ended(watch))) {
            (void)curl_multi_poll(watch->calls, &signals, 1, (int)left_ms, NULL);
        }
        take_signals(watch);
    }
}

static bool ask_all(struct watch *watch)
{
    for (size_t i = 0; i < watch->count; i++) {
        if (!ask(watch, i)) {
            return false;
        }
    }
    return true;
}

/* Shows the answers as soon as all are there, or at the end of the second. */
static int run(struct watch *watch)
{
    int64_t end_ms = clock_mono_ms();
    while (!watch->stopped && ferror(stdout) == 0) {
        int64_t now_ms = clock_mono_ms();
        end_ms = (end_ms < now_ms - TICK_MS ? now_ms : end_ms) + TICK_MS;
        if (!ask_all(watch)) {
            return EX_UNAVAILABLE;
        }
        wait_until(watch, end_ms, true);
        if (!watch->stopped) {
            show(watch);
        }
        wait_until(watch, end_ms, false);
    }
    return EX_OK;
}

static int open_signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGWINCH);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void watch_deinit(struct watch *watch)
{
    for (size_t i = 0; i < watch->count; i++) {
        if (watch->asked[i].call != NULL) {
            (void)curl_multi_remove_handle(watch->calls, watch->asked[i].call);
            curl_easy_cleanup(watch->asked[i].call);
        }
        buf_deinit(&watch->asked[i].body);
        json_decref(watch->instances[i].document);
        free(watch->instances[i].error);
    }
    (void)curl_multi_cleanup(watch->calls);
    (void)close(watch->signals);
}

int watch_run(const char *const *addresses, size_t count, const struct watch_options *options)
{
    size_t columns, rows;
    struct watch watch = {.count = count,
                          .options = options,
                          .screen = !options->json && terminal_size(&columns, &rows),
                          .calls = curl_multi_init(),
                          .signals = open_signals()};
    for (size_t i = 0; i < count; i++) {
        watch.instances[i] = (struct watch_instance){.address = addresses[i], .rate = -1};
    }
    if (watch.calls == NULL || watch.signals < 0) {
        return command_fail(EX_UNAVAILABLE, "libcurl or signalfd(2) cannot be used");
    }
    (void)fputs(watch.screen ? SCREEN_BEGIN : "", stdout);
    int status = run(&watch);
    (void)fputs(watch.screen ? SCREEN_END : "", stdout);
    watch_deinit(&watch);
    return command_end(status);
}
