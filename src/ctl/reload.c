/* `presignctl reload`: sends SIGHUP and reports the result. */
#include "ctl/kit/admin_client.h"
#include "ctl/kit/commands.h"
#include "ctl/kit/config.h"
#include "presignd/base/clock.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/config/read.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

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
                   "the daemon's process id\n(default: ask at daemon.admin_listen)"),
    OPTION_ROW_INT(struct options, timeout_s, "timeout", "SECONDS", 1, 3600,
                   "how long to wait for the result (default: 60)"),
    OPTION_ROW_JSON(struct options, json, "the result: {\"ok\", \"at\", \"errors\", ...}"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "the new configuration is in use"},
    EXIT_ROW_USAGE,
    {EX_UNAVAILABLE, "the daemon does not run, does not answer or cannot be signalled"},
    {EX_TEMPFAIL, "the signal was sent, but no result came in time"},
    {EX_CONFIG, "the new configuration was rejected; the old one stays in use"},
    {0},
};

static int64_t number(const json_t *result, const char *name)
{
    return json_integer_value(json_object_get(result, name));
}

/* For kill(2), 0 and negative numbers mean process groups. */
static bool names_process(const json_t *result)
{
    return number(result, "pid") >= 1 && number(result, "pid") <= PID_MAX_LIMIT;
}

/* A pid of another namespace (a container, for example) is a different process here. */
static bool pid_is_foreign(const json_t *result)
{
    int64_t theirs = number(result, "pid_namespace");
    struct stat ours;
    return theirs != 0 && stat("/proc/self/ns/pid", &ours) == 0 && theirs != (int64_t)ours.st_ino;
}

/* /reload.json; NULL and an error (free()). */
static json_t *ask(const char *listen, char **error)
{
    AUTO_BUF struct buf body = {0};
    long status = 0;
    *error = admin_client_get(listen, "/reload.json", ANSWER_MS, &status, &body);
    if (*error != NULL) {
        return NULL;
    }
    json_t *result =
        status == 200 ? json_read(body.data, body.len, JSON_NESTING_MAX, 0, NULL) : NULL;
    if (!json_is_integer(json_object_get(result, "count")) || !names_process(result)) {
        *error =
            mem_printf("%s is not presignd's admin listener (HTTP status %ld)", listen, status);
        json_decref(result);
        return NULL;
    }
    return result;
}

/* Whether the daemon has reloaded since `before` was read. Without `before` (for example, the new
 * configuration moves the listener), any result of the signalled process is new. A process that
 * was started since has no result until it reloads. */
static bool is_new(const json_t *result, const json_t *before, int64_t pid)
{
    if (number(result, "count") == 0) {
        return false;
    }
    if (before == NULL) {
        return number(result, "pid") == pid;
    }
    return number(result, "count") > number(before, "count") ||
           number(result, "pid") != number(before, "pid");
}

/* NULL when no result came in time, or with errno ESRCH when the process has ended. */
static json_t *await(const char *listen, const json_t *before, int64_t pid, int64_t timeout_s)
{
    int64_t end_ms = clock_now(&clock_system).mono_ms + timeout_s * 1000;
    do {
        AUTO_FREE char *error = NULL;
        json_t *result = ask(listen, &error);
        if (result != NULL && is_new(result, before, pid)) {
            return result;
        }
        json_decref(result);
        errno = 0;
        if (kill((pid_t)pid, 0) != 0 && errno == ESRCH) {
            return NULL;
        }
        (void)poll(NULL, 0, PAUSE_MS);
    } while (clock_now(&clock_system).mono_ms < end_ms);
    errno = 0;
    return NULL;
}

static int print_result(const json_t *result, bool json)
{
    bool ok = json_is_true(json_object_get(result, "ok"));
    if (json) {
        AUTO_FREE char *text = json_dumps(result, JSON_COMPACT);
        (void)puts(text);
    } else if (ok) {
        (void)puts("the new configuration is in use");
    }
    if (ok) {
        return command_end(&command_reload, EX_OK);
    }
    command_fail(&command_reload, EX_CONFIG,
                 "the new configuration was rejected, the old one stays in use:");
    size_t index;
    const json_t *line;
    json_array_foreach (json_object_get(result, "errors"), index, line) {
        (void)fprintf(stderr, "%s\n", json_string_value(line));
    }
    return command_end(&command_reload, EX_CONFIG);
}

/* `problems` are those of the files now; they can be the reason why nothing answers at `listen`. */
static int no_result(const char *listen, int64_t pid, const struct buf *problems)
{
    if (errno == ESRCH) {
        return command_fail(&command_reload, EX_UNAVAILABLE, "process %" PRId64 " has ended", pid);
    }
    if (problems->len > 0) {
        return ctl_config_wrong(&command_reload, problems);
    }
    return command_fail(&command_reload, EX_TEMPFAIL,
                        "process %" PRId64 " got SIGHUP, but %s shows no result; if "
                        "daemon.admin_listen was changed, the reload was rejected: read its log",
                        pid, listen);
}

static int signal_daemon(const char *listen, const struct options *options, const json_t *before,
                         const struct buf *problems)
{
    int64_t pid = options->pid != 0 ? options->pid : number(before, "pid");
    if (kill((pid_t)pid, SIGHUP) != 0) {
        return command_fail(&command_reload, EX_UNAVAILABLE, "process %" PRId64 ": %s", pid,
                            strerror(errno));
    }
    AUTO_JSON json_t *result = await(listen, before, pid, options->timeout_s);
    return result != NULL ? print_result(result, options->json) : no_result(listen, pid, problems);
}

static int reload(const char *listen, const struct options *options, const struct buf *problems)
{
    AUTO_FREE char *error = NULL;
    if (listen == NULL) { /* errors can hide where the daemon listens */
        return ctl_config_wrong(&command_reload, problems);
    }
    if (listen[0] == '\0') {
        return command_fail(&command_reload, EX_UNAVAILABLE,
                            "daemon.admin_listen is empty, so presignd cannot report the result; "
                            "set it, or send SIGHUP and read the log");
    }
    AUTO_JSON json_t *before = ask(listen, &error);
    if (before == NULL && options->pid == 0) {
        return command_fail(&command_reload, EX_UNAVAILABLE, "%s", error);
    }
    if (options->pid == 0 && pid_is_foreign(before)) {
        return command_fail(&command_reload, EX_UNAVAILABLE,
                            "presignd runs in another pid namespace, where its pid is %" PRId64
                            ": run presignctl there, or give the pid that it has here with --pid",
                            number(before, "pid"));
    }
    return signal_daemon(listen, options, before, problems);
}

static int run(int argc, char **argv)
{
    struct options options = {.timeout_s = 60};
    int status = command_options(&command_reload, argc, argv, &options);
    if (status != COMMAND_GO_ON) {
        return status;
    }
    /* An invalid configuration does not end the command: the daemon reports it. */
    AUTO_BUF struct buf problems = {0};
    struct config *config = ctl_config_gather(&options.config, &problems);
    status = reload(config->daemon.admin_listen, &options, &problems);
    config_free(config);
    return status;
}

const struct command command_reload = {
    .name = "reload",
    .summary = "make presignd read its configuration again, and print the result",
    .arguments = "[-c FILE] [--pid PID] [--timeout SECONDS] [--json]",
    .about =
        "Sends SIGHUP to presignd and waits for the result: the new configuration is in use, or\n"
        "it was rejected as a whole, with every error. The result comes from\n"
        "daemon.admin_listen. Keys that are given by path are read again; systemd's\n"
        "credentials change only when the service is restarted.\n",
    .options = rows,
    .examples = "# after editing presignd.conf\n"
                "presignctl reload\n"
                "# the same through systemd, which runs this command\n"
                "systemctl reload presignd\n",
    .exits = exits,
    .run = run,
};
