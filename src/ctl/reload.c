/* `presignctl reload`: asks over the control socket. Where none answers, it sends SIGHUP and waits
 * for the result on the admin listener. */
#include "ctl/kit/admin_client.h"
#include "ctl/kit/commands.h"
#include "ctl/kit/control_client.h"
#include "presignd/base/address.h"
#include "presignd/base/clock.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/config/read.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

enum { ANSWER_MS = 2000, PAUSE_MS = 50, PID_MAX_LIMIT = 4194304 };

struct options {
    struct ctl_config config;
    const char *control;
    int64_t pid;
    int64_t timeout_s;
    bool json;
};

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    CONTROL_ROW(struct options),
    OPTION_ROW_INT(
        struct options, pid, "pid", "PID", 1, PID_MAX_LIMIT,
        "the daemon's process id: another process does\nnot get the signal (default: ask at\n"
        "daemon.admin_listen)"),
    OPTION_ROW_INT(struct options, timeout_s, "timeout", "SECONDS", 1, 3600,
                   "how long to wait for the result (default: 60)"),
    OPTION_ROW_JSON(struct options, json, "the result: {\"ok\", \"at\", \"errors\", ...}"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "the new configuration is in use"},
    EXIT_ROW_USAGE,
    {EX_UNAVAILABLE, "the daemon does not run, does not answer or cannot be signalled"},
    {EX_TEMPFAIL, "the daemon was asked, but no result came in time"},
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
    int64_t end_ms = clock_mono_ms() + timeout_s * 1000;
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
    } while (clock_mono_ms() < end_ms);
    errno = 0;
    return NULL;
}

static int print_result(const json_t *result, bool json)
{
    bool ok = json_is_true(json_object_get(result, "ok"));
    if (json) {
        command_json(result);
    } else if (ok) {
        (void)puts("the new configuration is in use");
    }
    if (ok) {
        return command_end(EX_OK);
    }
    command_fail(EX_CONFIG, "the new configuration was rejected, the old one stays in use:");
    size_t index;
    const json_t *line;
    json_array_foreach (json_object_get(result, "errors"), index, line) {
        (void)fprintf(stderr, "%s\n", json_string_value(line));
    }
    return command_end(EX_CONFIG);
}

/* `problems` are those of the files now; they can be the reason why nothing answers at `listen`. */
static int no_result(const char *listen, int64_t pid, const struct buf *problems)
{
    if (errno == ESRCH) {
        return command_fail(EX_UNAVAILABLE, "process %" PRId64 " has ended", pid);
    }
    if (problems->len > 0) {
        return ctl_config_wrong(problems);
    }
    return command_fail(EX_TEMPFAIL,
                        "process %" PRId64 " got SIGHUP, but %s shows no result; if "
                        "daemon.admin_listen was changed, the reload was rejected: read its log",
                        pid, listen);
}

/* --- The signal --- */

/* The name of the process's program, cut or changed as it may be. Only its own user may read `exe`,
 * and not of a process that denies core dumps, as presignd does. */
static bool is_presignd(int64_t pid)
{
    char name[4096] = "";
    AUTO_FREE char *exe = mem_printf("/proc/%" PRId64 "/exe", pid);
    AUTO_FREE char *comm = mem_printf("/proc/%" PRId64 "/comm", pid);
    if (readlink(exe, name, sizeof name - 1) < 0) {
        FILE *file = fopen(comm, "re");
        if (file == NULL || fgets(name, sizeof name, file) == NULL) {
            name[0] = '\0';
        }
        if (file != NULL) {
            (void)fclose(file);
        }
    }
    const char *slash = strrchr(name, '/');
    const char *base = slash == NULL ? name : slash + 1;
    size_t len = strcspn(base, " \n"); /* " (deleted)": a newer version was installed */
    return len == strlen("presignd") && strncmp(base, "presignd", len) == 0;
}

/* The descriptor (pidfd_open(2)) is taken before the name is read, so that the process which gets
 * the signal is the one that was looked at. NULL, or what is wrong (free()). */
static char *send_sighup(int64_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    char *problem = NULL;
    if (fd < 0) {
        return mem_strdup(strerror(errno));
    }
    if (!is_presignd(pid)) {
        problem = mem_strdup("it is not presignd");
    } else if (syscall(SYS_pidfd_send_signal, fd, SIGHUP, NULL, 0) != 0) {
        problem = mem_strdup(strerror(errno));
    }
    close(fd);
    return problem;
}

static int signal_daemon(const char *listen, const struct options *options, const json_t *before,
                         const struct buf *problems)
{
    int64_t pid = options->pid != 0 ? options->pid : number(before, "pid");
    AUTO_FREE char *problem = send_sighup(pid);
    if (problem != NULL) {
        return command_fail(EX_UNAVAILABLE, "process %" PRId64 ": %s", pid, problem);
    }
    AUTO_JSON json_t *result = await(listen, before, pid, options->timeout_s);
    return result != NULL ? print_result(result, options->json) : no_result(listen, pid, problems);
}

static int reload_by_signal(const char *listen, const struct options *options,
                            const struct buf *problems)
{
    AUTO_FREE char *error = NULL;
    if (listen == NULL) { /* errors can hide where the daemon listens */
        return ctl_config_wrong(problems);
    }
    if (listen[0] == '\0') {
        return command_fail(EX_UNAVAILABLE,
                            "no control socket answers, and daemon.admin_listen is empty: nothing "
                            "reports the result");
    }
    AUTO_JSON json_t *before = ask(listen, &error);
    if (before == NULL && options->pid == 0) {
        return command_fail(EX_UNAVAILABLE, "%s", error);
    }
    if (options->pid == 0 && pid_is_foreign(before)) {
        return command_fail(EX_UNAVAILABLE,
                            "presignd runs in another pid namespace, where its pid is %" PRId64
                            ": run presignctl there, or give the pid that it has here with --pid",
                            number(before, "pid"));
    }
    return signal_daemon(listen, options, before, problems);
}

/* --- The control socket --- */

/* The process that listens there; 0: of another pid namespace; below 0: nobody, or no right. */
static int64_t listener_pid(const char *listen)
{
    union address address;
    struct ucred peer = {.pid = -1};
    socklen_t len = sizeof peer;
    int fd = address_parse(listen, &address) ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    if (fd < 0) {
        return -1;
    }
    bool listens = connect(fd, &address.any, address_len(&address)) == 0 &&
                   getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0;
    close(fd);
    return listens ? peer.pid : -1;
}

static int ask_for_reload(const char *listen, const struct options *options)
{
    AUTO_FREE char *error = NULL;
    AUTO_JSON json_t *result = NULL;
    int http = control_client_try(listen, "/v1/reload", json_object(), options->timeout_s * 1000,
                                  &result, &error);
    if (http == 200 || http == 409) {
        return print_result(result, options->json);
    }
    return command_fail(EX_TEMPFAIL, "%s", error != NULL ? error : json_text(result, "error"));
}

/* COMMAND_GO_ON when nobody listens there, or another process than --pid. */
static int reload_by_socket(const char *path, const struct options *options)
{
    AUTO_FREE char *listen = mem_printf(ADDRESS_UNIX_PREFIX "%s", text_is_given(path) ? path : "");
    int64_t pid = text_is_given(path) ? listener_pid(listen) : -1;
    return pid < 0 || (options->pid != 0 && pid != options->pid) ? COMMAND_GO_ON
                                                                 : ask_for_reload(listen, options);
}

static int reload(const struct config *config, const struct options *options,
                  const struct buf *problems)
{
    const char *path = options->control != NULL ? options->control : config->daemon.control_socket;
    int status = reload_by_socket(path, options);
    return status != COMMAND_GO_ON
               ? status
               : reload_by_signal(config->daemon.admin_listen, options, problems);
}

static int run(void *values)
{
    const struct options *options = values;
    /* An invalid configuration does not end the command: the daemon reports it. */
    AUTO_BUF struct buf problems = {0};
    struct config *config = ctl_config_gather(&options->config, &problems);
    int status = reload(config, options, &problems);
    config_free(config);
    return status;
}

const struct command command_reload = {
    .name = "reload",
    .summary = "make presignd read its configuration again, and print the result",
    .arguments = "[-c FILE] [--pid PID] [--timeout SECONDS] [--json]",
    .about = "Asks presignd over its control socket to read its configuration, and waits for the\n"
             "result: the new configuration is in use, or it was rejected as a whole, with every\n"
             "error. Where no control socket answers, it sends SIGHUP, and the result comes from\n"
             "daemon.admin_listen. Keys that are given by path are read again; systemd's\n"
             "credentials change only when the service is restarted.\n",
    .options = rows,
    .examples = "# after editing presignd.conf\n"
                "presignctl reload\n"
                "# the same through systemd, which runs this command\n"
                "systemctl reload presignd\n",
    .exits = exits,
    COMMAND_OPTIONS(struct options, .timeout_s = 60),
    .run = run,
};
