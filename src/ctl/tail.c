/* `presignctl tail`: prints outcomes as they become visible. */
#include "ctl/kit/commands.h"
#include "ctl/kit/config.h"
#include "ctl/kit/kafka.h"
#include "ctl/kit/terminal.h"
#include "presignd/base/clock.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/wire/outcome.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    SLICE_MS = 200, /* of one wait for a record */
    BROKER_TIMEOUT_MS = 10000,
    KIND_WIDTH = 7,
    ENDPOINT_WIDTH = 20,
    CODE_WIDTH = 32, /* the longest that the API accepts */
    DETAIL_WIDTH = 200,
};

struct options {
    struct ctl_config config;
    bool results, failures, json, text, from_beginning;
    int64_t count, timeout_ms;
};

static const char *where_name(size_t index)
{
    static const char *const names[] = {"beginning", "end"};
    return index < ARRAY_LENGTH(names) ? names[index] : NULL;
}

static char *take_from(void *values, const char *text)
{
    struct options *options = values;
    options->from_beginning = strcmp(text, where_name(0)) == 0;
    return NULL;
}

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    OPTION_ROW_EACH(take_from, "from", "WHERE",
                    "beginning: all outcomes, existing and new;\nend: only new ones (default)",
                    .choice = where_name),
    OPTION_ROW_FLAG(struct options, results, "results", "only results"),
    OPTION_ROW_FLAG(struct options, failures, "failures", "only failures"),
    OPTION_ROW_INT(struct options, count, "count", "N", 0, INT64_MAX,
                   "end after that many outcomes (0: never)"),
    OPTION_ROW_INT(struct options, timeout_ms, "timeout-ms", "N", 0, INT32_MAX,
                   "end after that time (0: never)"),
    OPTION_ROW_FLAG(
        struct options, json, "json",
        "whole outcomes, one per line; the default unless\nstandard output is a terminal"),
    OPTION_ROW_FLAG(struct options, text, "text",
                    "a short line for each outcome; the default on a\nterminal"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "printed the requested number of outcomes, or --timeout-ms passed without --count"},
    EXIT_ROW_USAGE,
    EXIT_ROW_KAFKA,
    {EX_TEMPFAIL, "--timeout-ms passed before --count outcomes came"},
    EXIT_ROW_CONFIG,
    {0},
};

/* Only the embedded answer can contain line breaks. They lie between JSON tokens, where they have
 * no meaning. */
static void print_json(const rd_kafka_message_t *message, struct buf *out)
{
    buf_append(out, message->payload, message->len);
    for (size_t i = 0; i < out->len; i++) {
        if (out->data[i] == '\n' || out->data[i] == '\r') {
            out->data[i] = ' ';
        }
    }
}

static void result_detail(const json_t *data, struct buf *out)
{
    static const char *const ids[] = {"pre_entrustweb_id", "redirect_url"};
    json_int_t attempts = json_integer_value(json_object_get(data, "attempts"));
    for (size_t i = 0; i < ARRAY_LENGTH(ids); i++) {
        buf_puts(out, json_text(data, ids[i])); /* a result has one of them */
    }
    if (attempts > 1) {
        buf_printf(out, " (%lld attempts)", (long long)attempts);
    }
}

/* The reason, the message and the first of `errors`, which names a location or an attribute. */
static void failure_detail(const json_t *data, struct buf *out)
{
    const json_t *first = json_array_get(json_object_get(data, "errors"), 0);
    const char *where = json_text(first, "instanceLocation");
    buf_printf(out, "%s: %s", json_text(data, "reason"), json_text(data, "message"));
    if (first != NULL) {
        buf_printf(out, ": %s%s%s", *where == '\0' ? json_text(first, "attribute") : where,
                   *where == '\0' && *json_text(first, "attribute") == '\0' ? "" : " ",
                   json_text(first, "error"));
    }
}

/* The outcome's time of day, kind, endpoint, code and detail. */
static void print_text(const rd_kafka_message_t *message, bool colours, struct buf *out)
{
    AUTO_JSON json_t *outcome = outcome_read(message->payload, message->len);
    const json_t *data = json_object_get(outcome, "data");
    if (data == NULL) {
        AUTO_FREE char *id = ctl_message_id(message);
        buf_printf(out, "%s is not an outcome of presignd", id);
        return;
    }
    bool failed = json_object_get(data, "reason") != NULL;
    const char *time = strchr(json_text(outcome, "time"), 'T');
    AUTO_BUF struct buf detail = {0};
    if (failed) {
        failure_detail(data, &detail);
    } else {
        result_detail(data, &detail);
    }
    terminal_paint(out, colours, DIM, time == NULL ? "" : time + 1, 13, true);
    buf_putc(out, ' ');
    terminal_paint(out, colours, failed ? RED : GREEN, failed ? "failure" : "result", KIND_WIDTH,
                   true);
    buf_putc(out, ' ');
    terminal_put(out, json_text(data, "endpoint"), ENDPOINT_WIDTH, true);
    buf_putc(out, ' ');
    terminal_put(out, json_text(data, "out_contract_code"), CODE_WIDTH, true);
    buf_putc(out, ' ');
    terminal_put(out, detail.data == NULL ? "" : detail.data, DETAIL_WIDTH, false);
}

/* False when standard output fails. */
static bool print(const rd_kafka_message_t *message, const struct options *options, bool colours)
{
    AUTO_BUF struct buf line = {0};
    if (options->json) {
        print_json(message, &line);
    } else {
        print_text(message, colours, &line);
    }
    buf_putc(&line, '\n');
    return fwrite(line.data, 1, line.len, stdout) == line.len && fflush(stdout) == 0;
}

static int too_few(const struct ctl_kafka *kafka, const struct options *options, int64_t count)
{
    AUTO_FREE char *text = mem_printf("%lld of %lld outcomes came within %lld ms", (long long)count,
                                      (long long)options->count, (long long)options->timeout_ms);
    AUTO_FREE char *reason = ctl_kafka_explain(kafka, text);
    return command_fail(&command_tail, EX_TEMPFAIL, "%s", reason);
}

static int print_outcomes(struct ctl_kafka *kafka, const struct options *options)
{
    bool colours = terminal_colours(stdout);
    int64_t start_ms = clock_now(&clock_system).mono_ms;
    for (int64_t count = 0; options->count == 0 || count < options->count;) {
        int64_t left_ms = options->timeout_ms == 0
                              ? SLICE_MS
                              : start_ms + options->timeout_ms - clock_now(&clock_system).mono_ms;
        if (left_ms <= 0) {
            return options->count == 0 ? EX_OK : too_few(kafka, options, count);
        }
        rd_kafka_message_t *message =
            ctl_kafka_next(kafka, left_ms < SLICE_MS ? (int)left_ms : SLICE_MS);
        if (message != NULL) {
            bool printed = print(message, options, colours);
            rd_kafka_message_destroy(message);
            count++;
            if (!printed) {
                return command_fail(&command_tail, EX_UNAVAILABLE,
                                    "the output could not be written");
            }
        }
    }
    return EX_OK;
}

/* A missing topic is an error: silence looks like "no outcomes". */
static int follow(struct ctl_kafka *kafka, const struct setup *setup, const struct options *options)
{
    AUTO_FREE char *error = NULL;
    const char *results = options->results ? setup->config->daemon.results_topic : NULL;
    const char *failures = options->failures ? setup->config->daemon.failures_topic : NULL;
    bool from_beginning = options->from_beginning;
    if ((results != NULL && ctl_kafka_follow(kafka, results, from_beginning, &error) < 0) ||
        (failures != NULL && ctl_kafka_follow(kafka, failures, from_beginning, &error) < 0)) {
        return command_fail(&command_tail, EX_UNAVAILABLE, "%s", error);
    }
    if (isatty(STDERR_FILENO)) {
        (void)fprintf(stderr, "following %s%s%s; Ctrl-C stops\n", results == NULL ? "" : results,
                      results != NULL && failures != NULL ? " and " : "",
                      failures == NULL ? "" : failures);
    }
    return COMMAND_GO_ON;
}

static int tail_topics(const struct setup *setup, const struct options *options)
{
    AUTO_FREE char *error = NULL;
    int64_t timeout_ms = options->timeout_ms != 0 && options->timeout_ms < BROKER_TIMEOUT_MS
                             ? options->timeout_ms
                             : BROKER_TIMEOUT_MS;
    struct ctl_kafka *kafka =
        ctl_kafka_reader(setup->properties, setup->property_count, timeout_ms, &error);
    if (kafka == NULL) {
        return command_fail(&command_tail, EX_CONFIG, "%s", error);
    }
    int status = follow(kafka, setup, options);
    if (status == COMMAND_GO_ON) {
        status = print_outcomes(kafka, options);
    }
    ctl_kafka_free(kafka);
    return status;
}

static int run(int argc, char **argv)
{
    struct options options = {0};
    int status = command_options(&command_tail, argc, argv, &options);
    if (status != COMMAND_GO_ON) {
        return status;
    }
    if (options.json && options.text) {
        return command_usage(&command_tail, "give --json or --text");
    }
    if (!options.results && !options.failures) {
        options.results = options.failures = true;
    }
    options.json = options.json || (!options.text && isatty(STDOUT_FILENO) == 0);
    terminal_init();
    struct setup *setup = ctl_setup(&command_tail, &options.config, true);
    status = setup == NULL ? EX_CONFIG : tail_topics(setup, &options);
    setup_free(setup);
    return status;
}

const struct command command_tail = {
    .name = "tail",
    .summary = "print outcomes as they become visible",
    .arguments = "[-c FILE] [OPTION ...]",
    .about = "Prints results and failures once their transaction is committed, as a consumer with\n"
             "isolation.level=read_committed sees them. It reads every partition, joins no group\n"
             "and commits nothing, so it does not affect presignd or other consumers. With\n"
             "delivery = at_least_once, an event may have several outcomes: all are printed and\n"
             "counted. docs/consumers.md says which is valid.\n"
             "\n"
             "A failure contains its event and a result the answer. Both can contain personal\n"
             "data (openids, account names): protect the output of --json.\n"
             "\n"
             "Without --count and --timeout-ms it runs until Ctrl-C.\n",
    .options = rows,
    .examples = "# watch, on a terminal\n"
                "presignctl tail\n"
                "# count the reasons of all failures in the topic\n"
                "presignctl tail --failures --from beginning --timeout-ms 5000 --json |\n"
                "    jq -r .data.reason | sort | uniq -c\n"
                "# the outcome of one event, by the id that presignctl send printed\n"
                "presignctl tail --from beginning --timeout-ms 5000 --json |\n"
                "    jq 'select(.id == \"presign.requests/0/41\")'\n",
    .exits = exits,
    .run = run,
};
