/* `presignctl status`: the daemon's /status.json on the terminal. */
#include "ctl/kit/admin_client.h"
#include "ctl/kit/commands.h"
#include "ctl/kit/terminal.h"
#include "ctl/status/group.h"
#include "ctl/status/screen.h"
#include "ctl/status/watch.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"

#include <stdio.h>
#include <stdlib.h>

struct options {
    struct ctl_config config;
    const char *admins[WATCH_INSTANCES_MAX];
    size_t admin_count;
    bool json, watch, group;
    int64_t timeout_ms;
};

static char *take_admin(void *values, const char *text)
{
    struct options *options = values;
    if (options->admin_count == WATCH_INSTANCES_MAX) {
        return mem_printf("more than %d addresses", WATCH_INSTANCES_MAX);
    }
    options->admins[options->admin_count++] = text;
    return NULL;
}

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    OPTION_ROW_EACH(take_admin, "admin", "ADDRESS",
                    "the daemon's admin listener: ADDRESS:PORT or\n"
                    "unix:/PATH (daemon.admin_listen of its\n"
                    "configuration, or its control socket); may be\n"
                    "repeated with --watch"),
    OPTION_ROW_FLAG(struct options, watch, "watch",
                    "ask each second until Ctrl-C; without a terminal,\na line for each answer"),
    OPTION_ROW_FLAG(struct options, group, "group",
                    "ask the brokers instead: members of the consumer\n"
                    "group, owner and lag of each partition"),
    OPTION_ROW_INT(struct options, timeout_ms, "timeout-ms", "N", 1, 600000,
                   "for each answer (5000)"),
    OPTION_ROW_JSON(struct options, json, "the daemon's document unchanged, as /status.json"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "the daemon runs and is ready; --watch has ended"},
    EXIT_ROW_USAGE,
    {EX_UNAVAILABLE, "no answer, or not from presignd"},
    {EX_TEMPFAIL,
     "the daemon is not ready (its state says why); --group: a partition has no owner"},
    {EX_CONFIG, "no listener is configured, or it cannot be read"},
    {0},
};

/* On a terminal lines have its width, and long lists are folded. */
static void show(const json_t *document)
{
    struct screen screen = {0};
    size_t rows_unused;
    (void)terminal_size(&screen.width, &rows_unused);
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
        return command_fail(EX_UNAVAILABLE, "%s does not have presignd's status (HTTP status %ld)",
                            listen, http);
    }
    int status = json_is_true(ready) ? EX_OK : EX_TEMPFAIL;
    if (options->json) {
        (void)fputs(body->data, stdout);
    } else {
        show(document);
    }
    json_decref(document);
    return command_end(status);
}

static int ask_once(const struct options *options, const char *listen, const char *path)
{
    AUTO_BUF struct buf body = {0};
    long http = 0;
    AUTO_FREE char *error = admin_client_get(listen, path, options->timeout_ms, &http, &body);
    return error != NULL ? command_fail(EX_UNAVAILABLE, "%s", error)
                         : judge(options, listen, &body, http);
}

static int show_group(const struct options *options)
{
    struct setup *setup = ctl_setup(&options->config, true);
    int status = setup == NULL ? EX_CONFIG : group_show(setup, options->timeout_ms, options->json);
    setup_free(setup);
    return status;
}

static int check(void *values)
{
    const struct options *options = values;
    if (options->group && (options->watch || options->admin_count > 0)) {
        return command_usage("--group asks the brokers: give no --watch, --admin");
    }
    if (options->admin_count > 1 && !options->watch) {
        return command_usage("several --admin need --watch");
    }
    return COMMAND_GO_ON;
}

static int run(void *values)
{
    struct options *options = values;
    if (options->group) {
        return show_group(options);
    }
    const char *path = "/status.json";
    AUTO_FREE char *configured =
        options->admin_count == 0 ? admin_client_status(&options->config, &path) : NULL;
    if (options->admin_count == 0 && configured == NULL) {
        return EX_CONFIG;
    }
    if (configured != NULL) {
        options->admins[options->admin_count++] = configured;
    }
    if (!options->watch) {
        return ask_once(options, options->admins[0], path);
    }
    struct watch_options watch = {
        .path = path, .timeout_ms = options->timeout_ms, .json = options->json};
    return watch_run(options->admins, options->admin_count, &watch);
}

const struct command command_status = {
    .name = "status",
    .summary = "print the state of a running daemon",
    .arguments =
        "[-c FILE] [--set SECTION.KEY=VALUE]... [--admin ADDRESS]... [--watch | --group] [--json]",
    .about =
        "Prints what the daemon's page /status shows: what needs you, merchants, hosts, failures,\n"
        "partitions, events in flight, holds and their reasons, and keys. On a terminal, red\n"
        "marks trouble, and of long lists only the rows in trouble are shown.\n"
        "\n"
        "With --watch it asks one or several daemons each second and shows their rate, calls in\n"
        "flight, held events, the age of the oldest event, merchants and last failures.\n"
        "\n"
        "With --group it asks the brokers who is in the consumer group, who owns which partition\n"
        "and how far behind it is, and which partitions nobody owns. It joins no group.\n",
    .options = rows,
    .examples = "# the daemon of this machine\n"
                "presignctl status\n"
                "# one of several daemons, through its socket; only its lag\n"
                "presignctl status --admin unix:/run/presignd/a.sock --json |\n"
                "  jq .work.lag_records\n"
                "# the whole group: partitions without an owner\n"
                "presignctl status --group --json |\n"
                "  jq '[.partitions[] | select(.owner == null).id]'\n"
                "# two daemons, each second\n"
                "presignctl status --watch --admin 10.0.0.5:9464 --admin 10.0.0.6:9464\n",
    .exits = exits,
    COMMAND_OPTIONS(struct options, .timeout_ms = 5000),
    .check = check,
    .run = run,
};
