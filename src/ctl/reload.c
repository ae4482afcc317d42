/* presignctl reload: SIGHUP, and then what became of it. */
#include "ctl/commands.h"
#include "ctl/kit/admin_client.h"
#include "ctl/kit/config.h"
#include "presignd/base/clock.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>

enum { ANSWER_MS = 2000, PAUSE_MS = 50, PID_MAX_LIMIT = 4194304 };

struct options {
    struct ctl_config config;
    int64_t pid;
    int64_t timeout_s;
    bool json;
};

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    OPTION_ROW_INT(struct options, pid, "pid", "PID", 1, PID_MAX_LIMIT,
                   "the daemon's process\n(default: the one that answers at admin_listen)"),
    OPTION_ROW_INT(struct options, timeout_s, "timeout", "SECONDS", 1, 3600,
                   "how long to wait for the word (default: 60)"),
    OPTION_ROW_JSON(struct options, json, "the daemon's word: {\"ok\", \"at\", \"errors\", ...}"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "the new configuration is in use"},
    EXIT_ROW_USAGE,
    {EX_UNAVAILABLE, "the daemon does not run, or cannot be asked or told"},
    {EX_TEMPFAIL, "the daemon was told, and has not said in time what became of it"},
    {EX_CONFIG, "the new configuration is refused, and the old one stays in use"},
    {0},
};

static int64_t number(const json_t *word, const char *name)
{
    return json_integer_value(json_object_get(word, name));
}

/* To kill(), 0 and below are whole groups of processes. */
static bool names_process(const json_t *word)
{
    return number(word, "pid") >= 1 && number(word, "pid") <= PID_MAX_LIMIT;
}

/* In a container of its own, say, its pid is another process's here. */
static bool pid_is_foreign(const json_t *word)
{
    int64_t theirs = number(word, "pid_namespace");
    struct stat ours;
    return theirs != 0 && stat("/proc/self/ns/pid", &ours) == 0 && theirs != (int64_t)ours.st_ino;
}

/* The word as /reload.json has it; NULL and a reason when there is none. */
static json_t *ask(const char *listen, char **error)
{
    AUTO_BUF struct buf body = {0};
    long status = 0;
    *error = admin_client_get(listen, "/reload.json", ANSWER_MS, &status, &body);
    if (*error != NULL) {
        return NULL;
    }
    json_t *word = status == 200 ? json_read(body.data, body.len, JSON_NESTING_MAX, 0, NULL) : NULL;
    if (!json_is_integer(json_object_get(word, "count")) || !names_process(word)) {
        *error =
            mem_printf("%s is no presignd that knows of reloads (HTTP status %ld)", listen, status);
        json_decref(word);
        return NULL;
    }
    return word;
}

/* The daemon has reloaded since `before` was read. Without one (the new configuration moves the
 * listener, say), any word of the process that was told is newer. One that was started since, and
 * has not reloaded, says nothing of a reload. */
static bool is_news(const json_t *word, const json_t *before, int64_t pid)
{
    if (number(word, "count") == 0) {
        return false;
    }
    if (before == NULL) {
        return number(word, "pid") == pid;
    }
    return number(word, "count") > number(before, "count") ||
           number(word, "pid") != number(before, "pid");
}

static void pause_for(int64_t milliseconds)
{
    const struct timespec time = {.tv_nsec = milliseconds * 1000000};
    (void)nanosleep(&time, NULL);
}

/* NULL when there was no word in time, or the process has ended (then errno is ESRCH). */
static json_t *await(const char *listen, const json_t *before, int64_t pid, int64_t timeout_s)
{
    int64_t end_ms = clock_now(&clock_system).mono_ms + timeout_s * 1000;
    do {
        AUTO_FREE char *error = NULL;
        json_t *word = ask(listen, &error);
        if (word != NULL && is_news(word, before, pid)) {
            return word;
        }
        json_decref(word);
        errno = 0;
        if (kill((pid_t)pid, 0) != 0 && errno == ESRCH) {
            return NULL;
        }
        pause_for(PAUSE_MS);
    } while (clock_now(&clock_system).mono_ms < end_ms);
    errno = 0;
    return NULL;
}

static int tell(const json_t *word, bool json)
{
    bool ok = json_is_true(json_object_get(word, "ok"));
    if (json) {
        AUTO_FREE char *text = json_dumps(word, JSON_COMPACT);
        (void)puts(text);
    } else if (ok) {
        (void)puts("the new configuration is in use");
    }
    if (ok) {
        return command_end(&command_reload, EX_OK);
    }
    command_fail(&command_reload, EX_CONFIG,
                 "the new configuration is refused, the old one stays in use:");
    size_t index;
    const json_t *line;
    json_array_foreach (json_object_get(word, "errors"), index, line) {
        (void)fprintf(stderr, "%s\n", json_string_value(line));
    }
    return command_end(&command_reload, EX_CONFIG);
}

/* `problems` are those of the files as they stand now: they may be why nobody answers where they
 * say. */
static int no_word(const char *listen, int64_t pid, const struct buf *problems)
{
    if (errno == ESRCH) {
        return command_fail(&command_reload, EX_UNAVAILABLE, "process %" PRId64 " has ended", pid);
    }
    if (problems->len > 0) {
        command_fail(&command_reload, EX_CONFIG, "the configuration is wrong:");
        (void)fputs(problems->data, stderr);
        return EX_CONFIG;
    }
    return command_fail(&command_reload, EX_TEMPFAIL,
                        "process %" PRId64 " was told to reload and says nothing of it at %s; if "
                        "daemon.admin_listen was changed, the reload was refused; its log tells",
                        pid, listen);
}

static int told(const char *listen, const struct options *options, const json_t *before,
                const struct buf *problems)
{
    int64_t pid = options->pid != 0 ? options->pid : number(before, "pid");
    if (kill((pid_t)pid, SIGHUP) != 0) {
        return command_fail(&command_reload, EX_UNAVAILABLE, "process %" PRId64 ": %s", pid,
                            strerror(errno));
    }
    AUTO_JSON json_t *word = await(listen, before, pid, options->timeout_s);
    return word != NULL ? tell(word, options->json) : no_word(listen, pid, problems);
}

static int reload(const char *listen, const struct options *options, const struct buf *problems)
{
    AUTO_FREE char *error = NULL;
    if (listen == NULL) { /* what is wrong hides where the daemon is */
        command_fail(&command_reload, EX_CONFIG, "the configuration is wrong:");
        (void)fputs(problems->data, stderr);
        return EX_CONFIG;
    }
    if (listen[0] == '\0') {
        return command_fail(&command_reload, EX_UNAVAILABLE,
                            "daemon.admin_listen is empty, so presignd cannot be asked what "
                            "becomes of a reload; set it, or send SIGHUP and read the log");
    }
    AUTO_JSON json_t *before = ask(listen, &error);
    if (before == NULL && options->pid == 0) {
        return command_fail(&command_reload, EX_UNAVAILABLE, "%s", error);
    }
    if (options->pid == 0 && pid_is_foreign(before)) {
        return command_fail(&command_reload, EX_UNAVAILABLE,
                            "presignd runs in another pid namespace, where its pid is %" PRId64
                            ": run presignctl there, or give with --pid what it is here",
                            number(before, "pid"));
    }
    return told(listen, options, before, problems);
}

static int run(int argc, char **argv)
{
    struct options options = {.timeout_s = 60};
    int status = command_options(&command_reload, argc, argv, &options);
    if (status != COMMAND_GO_ON) {
        return status;
    }
    /* A wrong configuration is what the daemon is asked about, so it stops nothing here. */
    const struct config_sources sources = {
        .path = options.config.path,
        .sets = options.config.sets,
        .set_count = options.config.set_count,
        .without_keys = true,
    };
    AUTO_BUF struct buf problems = {0};
    struct config *config = config_gather(&sources, NULL, &problems);
    status = reload(config->daemon.admin_listen, &options, &problems);
    config_free(config);
    return status;
}

const struct command command_reload = {
    .name = "reload",
    .summary = "make presignd read its configuration again, and say what became of it",
    .arguments = "[-c FILE] [--pid PID] [--timeout SECONDS] [--json]",
    .about = "Sends SIGHUP to presignd and waits for its word: the new configuration is in use, "
             "or it\nis refused whole, with everything that is wrong. presignd is asked at "
             "daemon.admin_listen.\nKeys that were given by path are read again; credentials of "
             "systemd are fixed until the\nservice is restarted.\n",
    .options = rows,
    .examples = "# After an edit of presignd.conf\n"
                "presignctl reload\n"
                "# The same through systemd, which runs this command\n"
                "systemctl reload presignd\n",
    .exits = exits,
    .run = run,
};
