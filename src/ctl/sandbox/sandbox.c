/* `presignctl sandbox`: reads the options, opens every part, runs until told to stop. */
#include "ctl/sandbox/sandbox.h"

#include "ctl/commands.h"
#include "ctl/kit/schemas.h"
#include "presignd/base/clock.h"
#include "presignd/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

struct sandbox {
    /* options */
    const char *dir, *listen, *ledger, *schema_dir;
    int64_t seed, delay_ms, max_requests, seconds;
    bool fault_by_code, json;
    /* parts, in the order in which they are opened */
    struct sandbox_keys keys;
    struct sandbox_faults *faults;
    struct sandbox_rules rules;
    int ledger_fd;
    struct loop *loop;
    struct loop_timer end;
    struct sandbox_server *server;
};

static char *take_merchant(void *values, const char *text)
{
    struct sandbox *sandbox = values;
    return sandbox_keys_add(&sandbox->keys, text);
}

static char *take_fault(void *values, const char *text)
{
    struct sandbox *sandbox = values;
    return sandbox_faults_add(sandbox->faults, text);
}

static const char *serial_mode_name(size_t index)
{
    static const char *const names[] = {"public-key", "certificate"};
    return index < ARRAY_LENGTH(names) ? names[index] : NULL;
}

static char *take_serial_mode(void *values, const char *text)
{
    struct sandbox *sandbox = values;
    sandbox->keys.certificate_mode = strcmp(text, serial_mode_name(1)) == 0;
    return NULL;
}

#define ONE_WEEK_MS INT64_C(604800000)

static const struct option_row options[] = {
    OPTION_ROW_TEXT(struct sandbox, dir, "dir", "DIR",
                    "keys, certificates, sandbox.conf, ledger; made\n"
                    "at the first start (presignd-sandbox)"),
    OPTION_ROW_TEXT(struct sandbox, listen, "listen", "127.0.0.1:PORT",
                    "port 0 picks a free one (127.0.0.1:0)"),
    OPTION_ROW_EACH(take_merchant, "merchant", "MCHID:MODE",
                    "direct or partner; as often as you like\n"
                    "(1900007291:direct and 1900000109:partner)"),
    OPTION_ROW_EACH(take_fault, "fault", "KIND=SHARE",
                    "that share of the good requests meets a fault;\n"
                    "KIND=SHARE:PARAM sets its number, @MCHID behind\n"
                    "either is for one merchant; see below"),
    OPTION_ROW_FLAG(struct sandbox, fault_by_code, "fault-by-code",
                    "an out_contract_code may ask for its fault;\n"
                    "see below"),
    OPTION_ROW_INT(struct sandbox, seed, "seed", "N", INT64_MIN, INT64_MAX,
                   "for the choice of faults (1)"),
    OPTION_ROW_INT(struct sandbox, delay_ms, "delay-ms", "N", 0, ONE_WEEK_MS,
                   "every answer comes that much later (0)"),
    OPTION_ROW_TEXT(struct sandbox, ledger, "ledger", "FILE",
                    "a line of JSON for each request, appended\n"
                    "(DIR/ledger.jsonl)"),
    OPTION_ROW_EACH(take_serial_mode, "serial-mode", "MODE",
                    "answers name a public-key or a certificate\n"
                    "(public-key)",
                    .choice = serial_mode_name),
    OPTION_ROW_TEXT(struct sandbox, schema_dir, "schema-dir", "DIR[:DIR]",
                    "ENDPOINT.request.json, to check requests by;\n"
                    "also $PRESIGND_SCHEMA_DIR (the installed ones)"),
    OPTION_ROW_INT(struct sandbox, max_requests, "max-requests", "N", 0, INT64_MAX,
                   "stops after so many answers (0: never)"),
    OPTION_ROW_INT(struct sandbox, seconds, "seconds", "N", 0, ONE_WEEK_MS / 1000,
                   "stops after that time (0: never)"),
    OPTION_ROW_JSON(struct sandbox, json, "{\"listening\", \"configuration\"} once it is ready"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "stopped as asked"},
    EXIT_ROW_USAGE,
    {EX_UNAVAILABLE, "the port is taken, or the system failed"},
    {EX_CONFIG, "schemas, keys or the ledger cannot be read or written"},
    {0},
};

static const char about[] =
    "Plays the WeChat Pay endpoints for pre-signing, on this machine only, since WeChat\n"
    "Pay has no test system for them. It checks each request as the API does: path,\n"
    "headers, signature, clock (5 minutes), nonce (once), JSON Schema, kind of merchant.\n"
    "It answers a good one with a fresh pre_entrustweb_id and signs what it answers.\n"
    "\n"
    "Once it is ready it prints `listening on https://127.0.0.1:PORT`. DIR/sandbox.conf\n"
    "then holds the [endpoint] and [merchant ...] sections that lead presignd here.\n"
    "\n"
    "SIGTERM and SIGINT stop it; a restart with the same DIR has the same keys.\n";

static void more(struct buf *out)
{
    buf_puts(out, "faults, for --fault KIND=SHARE[:PARAM][@MCHID] (only good requests meet them;\n"
                  "in brackets PARAM's unit and default):\n");
    sandbox_faults_help(out);
    buf_puts(out,
             "Shares are exact chances, 0 to 1, and at most 1 together. The same --seed gives\n"
             "the same fault to the same call (first, second, ...) of the same code.\n"
             "\n"
             "--fault-by-code: a code that begins with F KIND x N meets that fault in its first\n"
             "N calls, and p with a number behind it is PARAM; dashes are left out, and the\n"
             "rest must not begin with a digit: F503x2a, Fresetafterx1b, F429x1p5c.\n"
             "Kinds that a connection meets have no code and no merchant, and shares of their\n"
             "own.\n"
             "\n"
             "files in DIR:\n"
             "  ca.pem                    trust this for TLS\n"
             "  merchant-MCHID.pem        the merchant's private key; .pub.pem is its public one\n"
             "  wechatpay-MCHID.pem       WeChat Pay's public key, to verify answers with\n"
             "  wechatpay-certificate.pem the same key as a platform certificate\n"
             "  sandbox.conf              leads presignd here\n"
             "  ledger.jsonl              time, mchid, endpoint, out_contract_code,\n"
             "                            body_sha256, nonce, timestamp, signature_ok, status\n"
             "                            (0: reset), fault, issue, acted (an id was issued),\n"
             "                            issued_id, publishable (the answer verifies and is\n"
             "                            whole), request_id; absent when not known\n");
}

static int run(int argc, char **argv);

const struct command command_sandbox = {
    .name = "sandbox",
    .summary = "plays WeChat Pay on this machine, with faults on request",
    .arguments = "[OPTION ...]",
    .about = about,
    .options = options,
    .more = more,
    .examples = "# one call in ten is answered 503; then lead presignd there\n"
                "presignctl sandbox --dir /tmp/sandbox --fault 503=0.1 &\n"
                "cp /tmp/sandbox/sandbox.conf /etc/presignd/presignd.conf.d/\n"
                "# what it has been asked\n"
                "jq -c '[.time, .out_contract_code, .status]' /tmp/sandbox/ledger.jsonl\n",
    .exits = exits,
    .run = run,
};

static void on_signal(void *context, int signal_number)
{
    struct sandbox *sandbox = context;
    (void)signal_number;
    loop_stop(sandbox->loop, EX_OK);
}

static void on_end(void *context)
{
    struct sandbox *sandbox = context;
    loop_stop(sandbox->loop, EX_OK);
}

static void on_step(void *context)
{
    struct sandbox *sandbox = context;
    sandbox_server_step(sandbox->server);
}

static int settle_options(struct sandbox *sandbox)
{
    if (!sandbox_address_valid(sandbox->listen)) {
        return command_usage(&command_sandbox,
                             "--listen %s: give 127.0.0.1:PORT, since it serves this machine only",
                             sandbox->listen);
    }
    if (sandbox->keys.merchant_count == 0) {
        free(sandbox_keys_add(&sandbox->keys, "1900007291:direct"));
        free(sandbox_keys_add(&sandbox->keys, "1900000109:partner"));
    }
    AUTO_FREE char *reason = sandbox_faults_begin(sandbox->faults, &sandbox->keys, sandbox->seed,
                                                  sandbox->fault_by_code);
    return reason == NULL ? COMMAND_GO_ON : command_usage(&command_sandbox, "%s", reason);
}

static int open_parts(struct sandbox *sandbox)
{
    AUTO_FREE char *error = NULL;
    AUTO_FREE char *schema_dirs = schemas_dirs(sandbox->schema_dir);
    if (!sandbox_rules_open(&sandbox->rules, schema_dirs, &error)) {
        return command_fail(&command_sandbox, EX_CONFIG, "%s; --schema-dir says where they are",
                            error);
    }
    if (!sandbox_keys_open(&sandbox->keys, sandbox->dir, &error)) {
        return command_fail(&command_sandbox, EX_CONFIG, "%s", error);
    }
    AUTO_FREE char *ledger = sandbox->ledger != NULL
                                 ? mem_strdup(sandbox->ledger)
                                 : mem_printf("%s/ledger.jsonl", sandbox->keys.dir);
    sandbox->ledger_fd = open(ledger, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (sandbox->ledger_fd < 0) {
        return command_fail(&command_sandbox, EX_CONFIG, "%s: %s", ledger, strerror(errno));
    }
    return COMMAND_GO_ON;
}

static void print_ready(const struct sandbox *sandbox, const char *base_url)
{
    AUTO_FREE char *configuration = mem_printf("%s/sandbox.conf", sandbox->keys.dir);
    AUTO_BUF struct buf json = {0};
    if (sandbox->json) {
        buf_putc(&json, '{');
        buf_json_member(&json, "listening", base_url);
        buf_json_member(&json, "configuration", configuration);
        buf_putc(&json, '}');
        (void)puts(json.data);
    } else {
        (void)printf("listening on %s\n", base_url);
    }
    (void)fflush(stdout);
}

/* Signals are blocked before the server makes its threads. */
static int start(struct sandbox *sandbox)
{
    static const int signals[] = {SIGTERM, SIGINT, 0};
    AUTO_FREE char *error = NULL;
    int port;
    (void)signal(SIGPIPE, SIG_IGN); /* clients go while they are answered */
    sandbox->loop = loop_new();
    if (sandbox->loop == NULL || loop_signals(sandbox->loop, signals, on_signal, sandbox) < 0) {
        return command_fail(&command_sandbox, EX_UNAVAILABLE, "no event loop: %s", strerror(errno));
    }
    int fd = sandbox_listen(sandbox->listen, &port, &error);
    if (fd < 0) {
        return command_fail(&command_sandbox, EX_UNAVAILABLE, "%s", error);
    }
    const struct sandbox_settings settings = {
        .keys = &sandbox->keys,
        .rules = &sandbox->rules,
        .faults = sandbox->faults,
        .ledger_fd = sandbox->ledger_fd,
        .delay_ms = sandbox->delay_ms,
        .max_requests = sandbox->max_requests,
    };
    sandbox->server = sandbox_server_new(sandbox->loop, fd, &settings, &error);
    if (sandbox->server == NULL) {
        return command_fail(&command_sandbox, EX_UNAVAILABLE, "%s", error);
    }
    AUTO_FREE char *base_url = mem_printf("https://127.0.0.1:%d", port);
    if (!sandbox_keys_configuration(&sandbox->keys, base_url, &error)) {
        return command_fail(&command_sandbox, EX_UNAVAILABLE, "%s", error);
    }
    print_ready(sandbox, base_url);
    return COMMAND_GO_ON;
}

static int serve(struct sandbox *sandbox)
{
    loop_step_set(sandbox->loop, on_step, sandbox);
    loop_timer_init(&sandbox->end, sandbox->loop, on_end, sandbox);
    if (sandbox->seconds > 0) {
        loop_timer_set(&sandbox->end, clock_now(&clock_system).mono_ms + sandbox->seconds * 1000);
    }
    int status = loop_run(sandbox->loop);
    loop_timer_stop(&sandbox->end);
    return status;
}

static void close_parts(struct sandbox *sandbox)
{
    sandbox_server_free(sandbox->server);
    loop_free(sandbox->loop);
    if (sandbox->ledger_fd >= 0) {
        close(sandbox->ledger_fd);
    }
    sandbox_rules_deinit(&sandbox->rules);
    sandbox_faults_free(sandbox->faults);
    sandbox_keys_deinit(&sandbox->keys);
}

static int run(int argc, char **argv)
{
    struct sandbox sandbox = {
        .dir = "presignd-sandbox", .listen = "127.0.0.1:0", .seed = 1, .ledger_fd = -1};
    sandbox.faults = sandbox_faults_new();
    sandbox.rules.keys = &sandbox.keys;
    int status = command_options(&command_sandbox, argc, argv, &sandbox);
    if (status == COMMAND_GO_ON) {
        status = settle_options(&sandbox);
    }
    if (status == COMMAND_GO_ON) {
        status = open_parts(&sandbox);
    }
    if (status == COMMAND_GO_ON) {
        status = start(&sandbox);
    }
    if (status == COMMAND_GO_ON) {
        status = serve(&sandbox);
    }
    close_parts(&sandbox);
    return status;
}
