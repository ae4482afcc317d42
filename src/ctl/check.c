#include "ctl/check/known.h"
#include "ctl/check/online.h"
#include "ctl/kit/commands.h"
#include "ctl/kit/config.h"
#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/text.h"
#include "presignd/setup/validity.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

struct options {
    struct ctl_config config;
    bool json, online;
    int64_t timeout_ms;
    bool stuck; /* a thread is left behind that uses the setup */
};

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    OPTION_ROW_FLAG(struct options, online, "online", "also ask the brokers and WeChat Pay"),
    OPTION_ROW_INT(struct options, timeout_ms, "timeout-ms", "N", 100, 600000,
                   "for each answer of --online (10000)"),
    OPTION_ROW_JSON(struct options, json,
                    "{\"ok\", \"problems\", \"warnings\", \"start\"},\n"
                    "with arrays of lines; --online adds\n"
                    "\"findings\": [{\"check\", \"subject\",\n"
                    "\"severity\": \"error|warning|ok|unknown\",\n"
                    "\"is\", \"should\", \"why\", \"mend\"}]"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "presignd would start; with --online, no finding is an error"},
    EXIT_ROW_USAGE,
    {EX_DATAERR, "--online: a finding is an error; each was printed"},
    {EX_UNAVAILABLE, "--online: no broker or no host answered; or no output"},
    EXIT_ROW_CONFIG,
    {0},
};

/* NAME: [LINE, ...] of text whose lines end with LF. */
static void member_lines(struct buf *json, const char *name, const struct buf *text)
{
    buf_json_name(json, name);
    buf_putc(json, '[');
    for (const char *line = text->data; line != NULL && *line != '\0';) {
        size_t len = strcspn(line, "\n");
        AUTO_BUF struct buf clean = {0};
        text_clean(&clean, line, len, len + 1);
        buf_puts(json, json->data[json->len - 1] == '[' ? "" : ",");
        buf_json_string(json, clean.data, clean.len);
        line += len + (line[len] == '\n');
    }
    buf_putc(json, ']');
}

/* --- With --online --- */

static struct online online_look(const struct setup *setup, struct options *options)
{
    struct online online = {.setup = setup, .timeout_ms = options->timeout_ms};
    log_level_set(LOG_ERR);                  /* the findings say what the libraries would log */
    online_files(&online, &options->config); /* it forks: before there are threads */
    online_brokers(&online);
    online_merchants(&online);
    online_expiry(&online);
    options->stuck = online.stuck;
    return online;
}

static int online_end(struct online *online)
{
    int status = online_status(online);
    online_deinit(online);
    return status;
}

static int online_print(const struct setup *setup, struct options *options)
{
    AUTO_BUF struct buf text = {0};
    struct online online = online_look(setup, options);
    online_text(&online, &text);
    (void)fputs(text.data, stdout);
    return online_end(&online);
}

static int online_member(const struct setup *setup, struct options *options, struct buf *json)
{
    struct online online = online_look(setup, options);
    buf_json_name(json, "findings");
    online_json(&online, json);
    return online_end(&online);
}

/* --- The command --- */

static void setup_end(struct setup *setup, const struct options *options)
{
    if (!options->stuck) {
        setup_free(setup);
    }
}

static int check_json(struct options *options)
{
    AUTO_BUF struct buf problems = {0};
    AUTO_BUF struct buf text = {0};
    AUTO_BUF struct buf json = {0};
    AUTO_BUF struct buf findings = {0};
    static const struct buf none = {0};
    struct setup *setup = ctl_setup_silent(&options->config, false, &problems);
    int status = setup == NULL ? EX_CONFIG : EX_OK;
    if (setup != NULL) {
        known_check(setup, &options->config, &problems);
        (void)validity_check(setup->config, setup->merchants, clock_wall_ms(), &problems);
        setup_describe(setup, &text);
    }
    if (setup != NULL && options->online) {
        status = online_member(setup, options, &findings);
    }
    status = problems.len > 0 ? EX_CONFIG : status;
    buf_putc(&json, '{');
    buf_json_member_bool(&json, "ok", status == EX_OK);
    member_lines(&json, "problems", &problems);
    member_lines(&json, "warnings", setup == NULL ? &none : &setup->warnings);
    member_lines(&json, "start", &text);
    if (findings.len > 0) {
        buf_printf(&json, ",%s", findings.data);
    }
    buf_putc(&json, '}');
    (void)puts(json.data);
    setup_end(setup, options);
    return command_end(status);
}

static int check_text(struct options *options)
{
    struct setup *setup = ctl_setup(&options->config, false);
    if (setup == NULL) {
        return EX_CONFIG;
    }
    AUTO_BUF struct buf text = {0};
    AUTO_BUF struct buf problems = {0};
    AUTO_BUF struct buf expired = {0};
    known_check(setup, &options->config, &problems);
    (void)fputs(setup->warnings.data == NULL ? "" : setup->warnings.data, stderr);
    setup_describe(setup, &text);
    (void)fputs(text.data, stdout);
    (void)fflush(stdout);
    int status = options->online ? online_print(setup, options) : EX_OK;
    if (problems.len > 0) {
        status = command_fail(EX_CONFIG, "the running daemon would refuse a reload:");
        (void)fputs(problems.data, stderr);
    }
    if (!validity_check(setup->config, setup->merchants, clock_wall_ms(), &expired)) {
        status = command_fail(EX_CONFIG,
                              "presignd would start, and hold the events of these merchants:");
        (void)fputs(expired.data, stderr);
    }
    setup_end(setup, options);
    return command_end(status);
}

static int run(void *values)
{
    struct options *options = values;
    int status = options->json ? check_json(options) : check_text(options);
    if (options->stuck) {
        _exit(status);
    }
    return status;
}

const struct command command_check = {
    .name = "check",
    .summary = "load everything that presignd loads, and print what is wrong",
    .arguments = "[-c FILE] [OPTION ...]",
    .about =
        "Reads the configuration, the schemas, the keys and the Kafka properties as presignd\n"
        "does when it starts, and connects to nothing but the daemon of this machine. Prints\n"
        "what presignd would run with, or every problem with its file and line. If the daemon\n"
        "runs, a merchant of which only the serial_no or only the key is new is a problem.\n"
        "An expired certificate is a warning, and a problem where no other one is valid.\n"
        "If values are credentials (@NAME), set $CREDENTIALS_DIRECTORY to their directory and\n"
        "run it as a user who can read them.\n"
        "\n"
        "--online also asks the brokers and WeChat Pay, with the daemon's users and keys. It\n"
        "checks what the daemon checks before it joins its group: brokers, topics and rights.\n"
        "It also checks each host of WeChat Pay (DNS, TCP, TLS, HTTP) and this machine's clock.\n"
        "For each merchant it sends GET /v3/certificates, which changes nothing, and checks\n"
        "whether the keys fit, and when its certificates expire. If an installed unit runs the\n"
        "configuration, it also checks what the service may read: as root it opens each path\n"
        "with the rights of the unit's user and groups, and it compares each @NAME with\n"
        "LoadCredential=. Each finding is ok, wrong, to look at, or not known, and says what to\n"
        "do.\n"
        "\n"
        "It may run while the daemon runs: its transactional id is INSTANCE-check, it joins no\n"
        "group, and readers with read_committed see none of its records.\n",
    .options = rows,
    .examples = "# before a restart\n"
                "CREDENTIALS_DIRECTORY=/etc/presignd/keys presignctl check\n"
                "# check another address\n"
                "presignctl check --set daemon.admin_listen=127.0.0.1:9500\n"
                "# on a new cluster, or with a new merchant\n"
                "CREDENTIALS_DIRECTORY=/etc/presignd/keys presignctl check --online\n",
    .exits = exits,
    COMMAND_OPTIONS(struct options, .timeout_ms = 10000),
    .run = run,
};
