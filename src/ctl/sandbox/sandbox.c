/* `presignctl sandbox`: reads the options, opens the parts, runs until it is stopped. */
#include "ctl/sandbox/sandbox.h"

#include "ctl/kit/commands.h"
#include "ctl/kit/paths.h"
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
    /* parts, in the order of opening */
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

static struct sandbox_faults *faults_of(struct sandbox *sandbox)
{
    if (sandbox->faults == NULL) {
        sandbox->faults = sandbox_faults_new();
    }
    return sandbox->faults;
}

static char *take_fault(void *values, const char *text)
{
    struct sandbox *sandbox = values;
    return sandbox_faults_add(faults_of(sandbox), text);
}

static char *take_serial_mode(void *values, const char *text)
{
    struct sandbox *sandbox = values;
    sandbox->keys.serial_mode_given = sandbox_serial_mode_find(text, &sandbox->keys.serial_mode);
    return NULL;
}

#define ONE_WEEK_MS INT64_C(604800000)

static const struct option_row options[] = {
    OPTION_ROW_TEXT(struct sandbox, dir, "dir", "DIR",
                    "keys, certificates, sandbox.conf and ledger;\n"
                    "created at the first start (presignd-sandbox)"),
    OPTION_ROW_TEXT(struct sandbox, listen, "listen", "ADDRESS:PORT",
                    "port 0 picks a free one (127.0.0.1:0)"),
    OPTION_ROW_TEXT(struct sandbox, keys.name, "name", "NAME",
                    "the host name or address in its certificate and\n"
                    "in sandbox.conf (127.0.0.1)"),
    OPTION_ROW_FLAG(struct sandbox, keys.readable, "readable",
                    "let all users read DIR, sandbox.conf and the\n"
                    "merchants' keys: for a daemon of another user"),
    OPTION_ROW_EACH(take_merchant, "merchant", "MCHID:MODE",
                    "MODE is direct or partner; may be repeated\n"
                    "(1900007291:direct and 1900000109:partner)"),
    OPTION_ROW_EACH(take_fault, "fault", "KIND=SHARE",
                    "that share of the valid requests gets a fault;\n"
                    "append :PARAM for its number, and @MCHID for one\n"
                    "merchant; see below"),
    OPTION_ROW_FLAG(struct sandbox, fault_by_code, "fault-by-code",
                    "an out_contract_code can ask for a fault;\n"
                    "see below"),
    OPTION_ROW_INT(struct sandbox, seed, "seed", "N", INT64_MIN, INT64_MAX,
                   "seed for choosing faults (1)"),
    OPTION_ROW_INT(struct sandbox, delay_ms, "delay-ms", "N", 0, ONE_WEEK_MS,
                   "delay every answer (0)"),
    OPTION_ROW_TEXT(struct sandbox, ledger, "ledger", "FILE",
                    "append a line of JSON for each request\n"
                    "(DIR/ledger.jsonl)"),
    OPTION_ROW_EACH(take_serial_mode, "serial-mode", "MODE",
                    "what Wechatpay-Serial of answers names: public-key,\n"
                    "certificate, or both: the one that the request's\n"
                    "names, the certificate where it names none\n"
                    "(public-key)",
                    .choice = sandbox_serial_mode_name),
    OPTION_ROW_TEXT(struct sandbox, schema_dir, "schema-dir", "DIR[:DIR]",
                    "directories of ENDPOINT.request.json; or set\n"
                    "$PRESIGND_SCHEMA_DIR (the installed ones)"),
    OPTION_ROW_INT(struct sandbox, max_requests, "max-requests", "N", 0, INT64_MAX,
                   "stop after that many answers (0: never)"),
    OPTION_ROW_INT(struct sandbox, seconds, "seconds", "N", 0, ONE_WEEK_MS / 1000,
                   "stop after that time (0: never)"),
    OPTION_ROW_JSON(struct sandbox, json, "{\"listening\", \"configuration\"} when it is ready"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "stopped by a signal or an option"},
    EXIT_ROW_USAGE,
    {EX_UNAVAILABLE, "the port is in use, or a system error"},
    {EX_CONFIG, "schemas, keys or the ledger cannot be read or written"},
    {0},
};

static const char about[] =
    "Simulates WeChat Pay's pre-sign endpoints, because WeChat Pay has no\n"
    "test system for them. It checks each request as the API does: path, headers,\n"
    "signature, clock (5 minutes), nonce (once), JSON Schema, mode of the merchant. It\n"
    "answers a valid request with a new pre_entrustweb_id and signs its answers.\n"
    "\n"
    "When it is ready it prints `listening on https://127.0.0.1:PORT`. DIR/sandbox.conf\n"
    "then has the [endpoint] and [merchant ...] sections with which presignd calls it.\n"
    "\n"
    "SIGTERM and SIGINT stop it. A restart with the same DIR uses the same keys.\n"
    "\n"
    "GET /v3/certificates answers as WeChat Pay's does. While the sandbox runs, a POST to\n"
    "its path /sandbox changes what WeChat Pay has of a merchant: certificates, their\n"
    "rotation, the move to the public key and back, lists with faults; see below.\n"
    "\n"
    "Its keys are made for tests, so it may serve other containers: --listen 0.0.0.0:PORT\n"
    "with the --name by which they reach it.\n";

static void more(struct buf *out)
{
    buf_puts(out, "faults for --fault KIND=SHARE[:PARAM][@MCHID] (only valid requests get them;\n"
                  "in parentheses: unit and default of PARAM):\n");
    sandbox_faults_help(out);
    buf_puts(
        out,
        "SHARE is a probability from 0 to 1; the sum is at most 1. The same --seed gives the\n"
        "same fault to the same call (first, second, ...) of the same code.\n"
        "\n"
        "--fault-by-code: a code that begins with F KIND x N gets the fault in its first N\n"
        "calls; p and a number after it set PARAM. Omit the dashes of KIND, and continue\n"
        "with a letter: F503x2a, Fresetafterx1b, F429x1p5c.\n"
        "Connection faults do not depend on code or merchant; their shares are summed\n"
        "separately.\n"
        "\n"
        "POST /sandbox takes an object; each member is optional. GET /sandbox, and the\n"
        "answer, is the state; DIR/platform.json keeps it for the next start. Numbers of\n"
        "certificates begin with 1. A certificate is made when a number is new.\n"
        "  mchid                 the merchant; without it, the rest is for all\n"
        "  serial_mode           as --serial-mode\n"
        "  listed                numbers of the certificates in the list: [1, 2]\n"
        "  signs                 number of the certificate that signs answers\n"
        "  list                  KIND[:PARAM], the fault of each GET /v3/certificates; \"\": none\n"
        "  calls                 the same for all other valid requests, instead of --fault\n"
        "  apiv3_key             32 characters that encrypt the list; the file stays\n"
        "  certificate           makes one: {\"number\", \"starts_in_s\", \"ends_in_s\"}\n"
        "  merchant_certificate  makes another one of the merchant: the same members, and\n"
        "                        \"key\", the number whose private key it keeps\n"
        "  accepted              numbers of the merchant's certificates whose serial_no\n"
        "                        requests may name: [1]\n"
        "\n"
        "files in DIR (-N: of certificate N; without it, of certificate 1):\n"
        "  ca.pem                    the CA of the server's TLS certificate\n"
        "  merchant-MCHID-N.pem      the merchant's private key; .pub.pem: its public key\n"
        "  merchant-MCHID-N-certificate.pem\n"
        "                            the merchant's certificate (apiclient_cert.pem)\n"
        "  wechatpay-MCHID.pem       WeChat Pay's public key, which verifies answers\n"
        "  wechatpay-certificate-N.pem\n"
        "                            a platform certificate, which verifies answers\n"
        "  apiv3-MCHID.key           the APIv3 key, with which the list is decrypted\n"
        "  sandbox.conf              configuration for presignd\n"
        "  ledger.jsonl              time, mchid, endpoint, out_contract_code,\n"
        "                            body_sha256, nonce, timestamp, signature_ok,\n"
        "                            asked_serial (the request's Wechatpay-Serial),\n"
        "                            status (0: reset), serial (the answer's), fault,\n"
        "                            issue, acted (an id was issued), issued_id,\n"
        "                            publishable (the answer is complete and verifies),\n"
        "                            request_id; unknown members are absent\n");
}

static void on_signal(void *context, int)
{
    loop_stop(((struct sandbox *)context)->loop, EX_OK);
}

static void on_end(void *context)
{
    loop_stop(((struct sandbox *)context)->loop, EX_OK);
}

static void on_step(void *context)
{
    sandbox_server_step(((struct sandbox *)context)->server);
}

static bool name_valid(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    size_t len = strlen(name);
    return sandbox_is_address(name) || (len > 0 && len <= 253 && strspn(name, allowed) == len);
}

static int check(void *values)
{
    struct sandbox *sandbox = values;
    bool loopback;
    if (!sandbox_address_valid(sandbox->listen, &loopback)) {
        return command_usage("--listen %s: give an IPv4 address and a port", sandbox->listen);
    }
    if (sandbox->keys.name == NULL && !loopback) {
        return command_usage("--listen %s: give --name, too, by which presignd reaches it",
                             sandbox->listen);
    }
    if (sandbox->keys.name == NULL) {
        sandbox->keys.name = "127.0.0.1";
    }
    if (!name_valid(sandbox->keys.name)) {
        return command_usage("--name %s: give a host name or an address", sandbox->keys.name);
    }
    if (sandbox->keys.merchant_count == 0) {
        free(sandbox_keys_add(&sandbox->keys, "1900007291:direct"));
        free(sandbox_keys_add(&sandbox->keys, "1900000109:partner"));
    }
    AUTO_FREE char *reason = sandbox_faults_begin(faults_of(sandbox), &sandbox->keys, sandbox->seed,
                                                  sandbox->fault_by_code);
    return reason == NULL ? COMMAND_GO_ON : command_usage("%s", reason);
}

static int open_parts(struct sandbox *sandbox)
{
    AUTO_FREE char *error = NULL;
    AUTO_FREE char *schema_dirs = paths_schemas(sandbox->schema_dir);
    sandbox->rules.keys = &sandbox->keys;
    if (!sandbox_rules_open(&sandbox->rules, schema_dirs, &error)) {
        return command_fail(EX_CONFIG, "%s; set --schema-dir", error);
    }
    if (!sandbox_keys_open(&sandbox->keys, sandbox->dir, &error)) {
        return command_fail(EX_CONFIG, "%s", error);
    }
    AUTO_FREE char *ledger = sandbox->ledger != NULL
                                 ? mem_strdup(sandbox->ledger)
                                 : mem_printf("%s/ledger.jsonl", sandbox->keys.dir);
    sandbox->ledger_fd = open(ledger, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (sandbox->ledger_fd < 0) {
        return command_fail(EX_CONFIG, "%s: %s", ledger, strerror(errno));
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

/* loop_signals() must block the signals before the server starts threads. */
static int start(struct sandbox *sandbox)
{
    static const int signals[] = {SIGTERM, SIGINT, 0};
    AUTO_FREE char *error = NULL;
    int port;
    (void)signal(SIGPIPE, SIG_IGN); /* clients may close during an answer */
    sandbox->loop = loop_new();
    if (sandbox->loop == NULL || !loop_signals(sandbox->loop, signals, on_signal, sandbox)) {
        return command_fail(EX_UNAVAILABLE, "no event loop: %s", strerror(errno));
    }
    int fd = sandbox_listen(sandbox->listen, &port, &error);
    if (fd < 0) {
        return command_fail(EX_UNAVAILABLE, "%s", error);
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
        return command_fail(EX_UNAVAILABLE, "%s", error);
    }
    const char *name = sandbox->keys.name;
    bool v6 = strchr(name, ':') != NULL;
    AUTO_FREE char *base_url =
        mem_printf("https://%s%s%s:%d", v6 ? "[" : "", name, v6 ? "]" : "", port);
    if (!sandbox_keys_configuration(&sandbox->keys, base_url, &error)) {
        return command_fail(EX_UNAVAILABLE, "%s", error);
    }
    print_ready(sandbox, base_url);
    return COMMAND_GO_ON;
}

static int serve(struct sandbox *sandbox)
{
    loop_step_set(sandbox->loop, on_step, sandbox);
    loop_timer_init(&sandbox->end, sandbox->loop, on_end, sandbox);
    if (sandbox->seconds > 0) {
        loop_timer_set(&sandbox->end, clock_mono_ms() + sandbox->seconds * 1000);
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

static int run(void *values)
{
    static int (*const steps[])(struct sandbox *) = {open_parts, start, serve};
    struct sandbox *sandbox = values;
    int status = COMMAND_GO_ON;
    for (size_t i = 0; status == COMMAND_GO_ON && i < ARRAY_LENGTH(steps); i++) {
        status = steps[i](sandbox);
    }
    close_parts(sandbox);
    return status;
}

const struct command command_sandbox = {
    .name = "sandbox",
    .summary = "simulate WeChat Pay, with faults on request",
    .arguments = "[OPTION ...]",
    .about = about,
    .options = options,
    .more = more,
    .examples = "# answer one call in ten with 503\n"
                "presignctl sandbox --dir /tmp/sandbox --fault 503=0.1\n"
                "# for the packaged service, which has a user and a /tmp of its own\n"
                "sudo systemd-run --unit=presignd-sandbox presignctl sandbox \\\n"
                "    --dir /var/lib/presignd-sandbox --readable --listen 127.0.0.1:9443\n"
                "sudo ln -s /var/lib/presignd-sandbox/sandbox.conf /etc/presignd/presignd.conf.d/\n"
                "sudo systemctl restart presignd\n"
                "# for other containers, which call it sandbox\n"
                "presignctl sandbox --listen 0.0.0.0:8443 --name sandbox --readable\n"
                "# call it, in another terminal\n"
                "presignctl call -c /tmp/sandbox/sandbox.conf < event.json\n"
                "# rotate the platform certificate: list another, sign with it, drop the first\n"
                "presignctl sandbox --dir /tmp/sandbox --listen 127.0.0.1:9443 \\\n"
                "    --serial-mode certificate\n"
                "cd /tmp/sandbox\n"
                "curl --cacert ca.pem -d '{\"listed\": [1, 2]}' https://127.0.0.1:9443/sandbox\n"
                "curl --cacert ca.pem -d '{\"signs\": 2}' https://127.0.0.1:9443/sandbox\n"
                "curl --cacert ca.pem -d '{\"listed\": [2]}' https://127.0.0.1:9443/sandbox\n"
                "# list the requests\n"
                "jq -c '[.time, .out_contract_code, .status]' /tmp/sandbox/ledger.jsonl\n",
    .exits = exits,
    COMMAND_OPTIONS(struct sandbox, .dir = "presignd-sandbox", .listen = "127.0.0.1:0", .seed = 1,
                    .ledger_fd = -1),
    .check = check,
    .run = run,
};
