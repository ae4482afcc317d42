/* `presignctl status`: the daemon's /status.json on the terminal. */
#include "ctl/kit/admin_client.h"
#include "ctl/kit/commands.h"
#include "ctl/kit/terminal.h"
#include "ctl/status/screen.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"

#include <stdio.h>
#include <stdlib.h>

struct options {
    struct ctl_config config;
    const char *admin;
    bool json;
    int64_t timeout_ms;
};

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    OPTION_ROW_TEXT(
        struct options, admin, "admin", "ADDRESS",
        "the daemon's admin listener: ADDRESS:PORT or\n"
        "unix:/PATH (daemon.admin_listen of its\nconfiguration, or its control socket)"),
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
    {EX_CONFIG, "no listener is configured, or it cannot be read"},
    {0},
};

/* On a terminal lines have its width, and long lists are folded. */
static void show(const json_t *document)
{
    struct screen screen = {.colours = terminal_colours(stdout)};
    size_t rows_unused;
    (void)terminal_size(stdout, &screen.width, &rows_unused);
    screen_status(&screen, document);
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
                            "%s does not have presignd's status (HTTP status %ld)", listen, http);
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
    const char *path = "/status.json";
    AUTO_FREE char *listen = options.admin != NULL
                                 ? mem_strdup(options.admin)
                                 : admin_client_status(&command_status, &options.config, &path);
    if (listen == NULL) {
        return EX_CONFIG;
    }
    AUTO_BUF struct buf body = {0};
    long http = 0;
    AUTO_FREE char *error = admin_client_get(listen, path, options.timeout_ms, &http, &body);
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
