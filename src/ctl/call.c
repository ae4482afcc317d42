#include "ctl/kit/commands.h"
#include "ctl/kit/config.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/flow/pipeline.h"
#include "presignd/wechatpay/caller.h"
#include "presignd/wechatpay/refresher.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* Of standard input; max_event_bytes is checked later. */
#define EVENT_MAX ((size_t)16 * 1024 * 1024)

struct options {
    struct ctl_config config;
    bool json; /* accepted; the output is always JSON */
};

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    OPTION_ROW_JSON(struct options, json, "print the outcome as JSON (always)"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "a result"},
    EXIT_ROW_USAGE,
    {EX_DATAERR, "a failure that is not retryable"},
    {EX_UNAVAILABLE, "an error of standard input, of the output or of the system"},
    {EX_TEMPFAIL, "a retryable failure"},
    EXIT_ROW_CONFIG,
    {0},
};

/* The daemon's pipeline with one record, the real caller, and an output that prints. */
struct one_call {
    const struct setup *setup;
    struct loop *loop;
    struct caller *caller;
    struct pipeline *pipeline;
    struct refresher *refresher; /* NULL: not needed, or not yet */
    struct attempt waiting;      /* for the list of certificates */
    void *cookie;                /* NULL: none waits */
    struct complete_identity identity;
    struct loop_timer timer;
    bool printed;
    int status;
};

static void ignore_partition(void *, int32_t)
{
}

static void ignore(void *)
{
}

/* The list that the daemon keeps is its own. */
static void read_nothing(void *, const char *, struct buf *)
{
}

/* Without the list the call is made all the same: the answer may be signed with another key. Later
 * lists have no attempt that waits. */
static void on_listed(void *context, const struct refresher_end *end)
{
    struct one_call *one = context;
    const struct refresh_verdict *verdict = &end->verdict;
    (void)fprintf(stderr, "platform certificates: %s%s%s\n", refresh_end_name(verdict->end),
                  verdict->text[0] == '\0' ? "" : ": ", verdict->text);
    if (one->cookie != NULL) {
        caller_start(one->caller, &one->waiting, one->cookie);
    }
    one->cookie = NULL;
}

/* Before the first call: the list of this one merchant. */
static void fetch_list(struct one_call *one, const struct attempt *attempt, void *cookie)
{
    static const struct refresher_events events = {.read = read_nothing, .ended = on_listed};
    struct merchant *merchant = merchant_ref(attempt->merchant);
    struct merchants *table = merchants_new(&merchant, 1);
    one->waiting = *attempt;
    one->cookie = cookie;
    one->refresher = refresher_new(one->loop, &clock_system, one->caller, &events, one);
    refresher_configure(one->refresher, table, one->setup->config->endpoint.timeout_ms, 1);
    merchants_unref(table);
}

static void port_call(void *context, const struct attempt *attempt, void *cookie)
{
    struct one_call *one = context;
    if (attempt->merchant->platform_keys != NULL && one->refresher == NULL) {
        fetch_list(one, attempt, cookie);
    } else {
        caller_start(one->caller, attempt, cookie);
    }
}

static void port_submit(void *context, const struct transaction_batch *batch)
{
    struct one_call *one = context;
    const struct transaction_record *record = &batch->records[0];
    (void)fwrite(record->value, 1, record->value_len, stdout);
    (void)putchar('\n');
    one->printed = true;
    loop_again(one->loop);
}

static uint64_t port_random(void *)
{
    return (uint64_t)random();
}

static void on_answered(void *context, void *cookie, struct answer *answer)
{
    struct one_call *one = context;
    pipeline_answered(one->pipeline, cookie, answer);
}

static void on_published(void *context, const struct job *job)
{
    struct one_call *one = context;
    one->status = job->reason == REASON_NONE           ? EX_OK
                  : reason_row(job->reason)->retryable ? EX_TEMPFAIL
                                                       : EX_DATAERR;
    loop_stop(one->loop, one->status);
}

/* Prints each attempt to stderr, so that a wrong key or a long Retry-After shows at once. */
static void on_called(void *, const struct job *job)
{
    const struct answer *answer = &job->answer;
    AUTO_BUF struct buf line = {0};
    buf_printf(&line, "attempt %u: %s", job->attempts, answer_kind_name(answer->kind));
    if (answer->status != 0) {
        buf_printf(&line, ", %d", answer->status);
    }
    if (answer->code[0] != '\0') {
        buf_printf(&line, " %s", answer->code);
    }
    const char *detail = answer->kind == ANSWER_UNAUTHORIZED
                             ? "check private_key, serial_no and this machine's clock"
                             : answer->detail;
    buf_printf(&line, ": %s\n", detail != NULL ? detail : "");
    (void)fputs(line.data, stderr);
}

static void on_retrying(void *, const struct job *job, enum reason)
{
    int64_t wait_ms = job->retry_ms - clock_mono_ms();
    if (wait_ms > 0) {
        (void)fprintf(stderr, "next attempt in %" PRId64 " ms\n", wait_ms);
    }
}

static void step(void *context)
{
    struct one_call *one = context;
    if (one->printed) {
        one->printed = false;
        pipeline_batch_ended(one->pipeline,
                             &(struct transaction_end){.verdict = TRANSACTION_COMMITTED});
        return;
    }
    pipeline_step(one->pipeline);
    int64_t next_ms = pipeline_next_ms(one->pipeline);
    if (next_ms != INT64_MAX) {
        loop_timer_set(&one->timer, next_ms);
    }
}

static void start(struct one_call *one, const struct buf *event)
{
    struct pipeline_ports ports = {
        .pause = ignore_partition,
        .resume = ignore_partition,
        .release = ignore,
        .caller = one,
        .call = port_call,
        .publisher = one,
        .submit = port_submit,
        .clock = &clock_system,
        .random = port_random,
    };
    struct pipeline_observer observer = {
        .context = one, .called = on_called, .retrying = on_retrying, .published = on_published};
    one->identity = (struct complete_identity){
        .cluster_id = "local", .group_id = "presignctl-call", .failure_original = true};
    struct pipeline_rules rules = setup_rules(one->setup, &one->identity);
    rules.limits.hold_unauthorized_ms = 0; /* report a 401 at once */
    one->pipeline = pipeline_new(&ports, &observer, &rules);
    struct group_metadata *group_metadata = group_metadata_new(NULL);
    const struct consumer_position position = {.offset = 0, .metadata = ""};
    pipeline_assigned(one->pipeline, group_metadata, &position.partition, 1);
    pipeline_positions(one->pipeline, &position, 1);
    group_metadata_unref(group_metadata);
    struct record record = {.topic = "stdin",
                            .timestamp_ms = clock_wall_ms(),
                            .value = event->data,
                            .value_len = event->len};
    pipeline_record(one->pipeline, &record);
    loop_timer_init(&one->timer, one->loop, ignore, one);
    loop_step_set(one->loop, step, one);
    loop_again(one->loop);
}

static int call_event(const struct setup *setup, const struct buf *event)
{
    struct one_call one = {.setup = setup};
    AUTO_FREE char *error = NULL;
    int status = EX_UNAVAILABLE;
    one.loop = loop_new();
    one.caller = one.loop == NULL ? NULL
                                  : caller_new(one.loop, &clock_system, NULL, &setup->caller,
                                               on_answered, &one, &error);
    if (one.caller == NULL) {
        command_fail(status, "%s", error != NULL ? error : strerror(errno));
    } else {
        start(&one, event);
        status = loop_run(one.loop);
    }
    caller_free(one.caller);
    refresher_free(one.refresher);
    pipeline_free(one.pipeline);
    loop_timer_stop(&one.timer);
    loop_free(one.loop);
    return status;
}

static int run(void *values)
{
    const struct options *options = values;
    AUTO_BUF struct buf event = {0};
    if (!ctl_read_stdin(&event, EVENT_MAX)) {
        return EX_DATAERR;
    }
    srandom((unsigned)clock_wall_ms());
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int status = call_event(options->config.setup, &event);
    curl_global_cleanup();
    return command_end(status);
}

const struct command command_call = {
    .name = "call",
    .summary = "process one event with a real call, without Kafka",
    .arguments = "[-c FILE] [OPTION ...] < EVENT",
    .about =
        "Validates the event on standard input (a structured CloudEvent), signs the request,\n"
        "sends it with retries and verifies the answer. Prints the outcome record that presignd\n"
        "would publish, and each attempt to standard error.\n"
        "\n"
        "This is a real call: with a real merchant's key and WeChat Pay's address it opens a\n"
        "real pre-sign session, which expires after ten minutes.\n",
    .options = rows,
    .examples = "# the first call of a new merchant\n"
                "CREDENTIALS_DIRECTORY=/etc/presignd/keys presignctl call < event.json\n"
                "# print only the id\n"
                "presignctl call -c presignd.conf < event.json | jq -r .data.pre_entrustweb_id\n",
    .exits = exits,
    COMMAND_OPTIONS(struct options),
    .setup = COMMAND_SETUP,
    .run = run,
};
