/* `presignctl tail`: prints outcomes as they become visible. */
#include "ctl/tail/tail.h"
#include "ctl/kit/commands.h"
#include "ctl/kit/kafka.h"
#include "ctl/kit/outcome_filter.h"
#include "presignd/base/clock.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/wire/outcome.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    SLICE_MS = 200, /* of one wait for a record */
    BROKER_TIMEOUT_MS = 10000,
};

struct options {
    struct outcome_options outcomes; /* its time is the record's timestamp */
    bool results, failures, json, text, from_beginning, from_end, until_end;
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
    options->from_end = !options->from_beginning;
    return NULL;
}

static char *take_until(void *values, const char *text)
{
    struct options *options = values;
    options->until_end = strcmp(text, "end") == 0;
    return options->until_end ? NULL : outcome_filter_until(values, text);
}

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    OPTION_ROW_EACH(take_from, "from", "WHERE",
                    "beginning: all outcomes, existing and new;\nend: only new ones (default)",
                    .choice = where_name),
    OPTION_ROW_EACH(
        outcome_filter_since, "since", "TIME",
        "instead of --from: at or after that time\n(2026-11-25T08:00:00Z) or age (90m, 12h, 7d)"),
    OPTION_ROW_EACH(take_until, "until", "TIME",
                    "end before that time or age; \"end\": at the end of\nwhat is visible now"),
    OPTION_ROW_FLAG(struct options, results, "results", "only results"),
    OPTION_ROW_FLAG(struct options, failures, "failures", "only failures"),
    OUTCOME_FILTER_CODE_ROW,
    OUTCOME_FILTER_MERCHANT_ROW,
    OUTCOME_FILTER_REASON_ROW("only failures with that reason; may be repeated"),
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
    {EX_OK, "came to --count, to --until, or without --count to --timeout-ms"},
    EXIT_ROW_USAGE,
    EXIT_ROW_KAFKA,
    {EX_TEMPFAIL, "--timeout-ms passed before --count outcomes came"},
    EXIT_ROW_CONFIG,
    {0},
};

/* --- One outcome --- */

static bool is_chosen(const struct outcome_filter *filter, const rd_kafka_message_t *message,
                      const json_t *outcome)
{
    rd_kafka_timestamp_type_t kind;
    const json_t *data = json_object_get(outcome, "data");
    return outcome_filter_takes(filter, json_text(data, "reason"), json_text(data, "mchid"),
                                json_text(data, "out_contract_code"),
                                rd_kafka_message_timestamp(message, &kind));
}

/* False when standard output fails. */
static bool print(const rd_kafka_message_t *message, const json_t *outcome,
                  const struct options *options)
{
    AUTO_BUF struct buf line = {0};
    if (options->json) {
        tail_json(message, &line);
    } else {
        tail_text(message, outcome, &line);
    }
    buf_putc(&line, '\n');
    return fwrite(line.data, 1, line.len, stdout) == line.len && fflush(stdout) == 0;
}

/* --- All of them --- */

struct tailing {
    const struct options *options;
    struct ctl_kafka *kafka;
    int64_t count;     /* printed */
    int64_t start_ms;  /* mono */
    int64_t moved_ms;  /* mono: since --until was reached, when a record came last */
    bool ending, down; /* --until was reached; no broker is there, and that was said */
};

static int too_few(const struct tailing *tailing)
{
    const struct options *options = tailing->options;
    AUTO_FREE char *text =
        mem_printf("%lld of %lld outcomes came within %lld ms", (long long)tailing->count,
                   (long long)options->count, (long long)options->timeout_ms);
    AUTO_FREE char *reason = ctl_kafka_explain(tailing->kafka, text);
    return command_fail(EX_TEMPFAIL, "%s", reason);
}

static void tell_down(struct tailing *tailing)
{
    bool down = ctl_kafka_is_down(tailing->kafka);
    if (down != tailing->down) {
        AUTO_FREE char *text = ctl_kafka_explain(tailing->kafka, "no broker is connected, waiting");
        (void)fprintf(stderr, "presignctl tail: %s\n", down ? text : "connected to a broker again");
        tailing->down = down;
    }
}

/* Once --until is over, the end of what is visible is looked up, and then read. */
static int check_until(struct tailing *tailing)
{
    const struct options *options = tailing->options;
    int64_t until_ms = options->until_end ? CTL_KAFKA_END : options->outcomes.filter.until_ms;
    AUTO_FREE char *error = NULL;
    bool wanted = options->until_end || until_ms != INT64_MAX;
    if (wanted && !tailing->ending && (options->until_end || clock_wall_ms() >= until_ms)) {
        if (!ctl_kafka_stop_at(tailing->kafka, until_ms, &error)) {
            return command_fail(EX_UNAVAILABLE, "%s", error);
        }
        tailing->ending = true;
        tailing->moved_ms = clock_mono_ms();
    }
    if (tailing->ending && ctl_kafka_stopped(tailing->kafka)) {
        return EX_OK;
    }
    if (tailing->ending && clock_mono_ms() - tailing->moved_ms >= BROKER_TIMEOUT_MS) {
        AUTO_FREE char *text = ctl_kafka_explain(tailing->kafka, "no record came before --until");
        return command_fail(EX_UNAVAILABLE, "%s", text);
    }
    return COMMAND_GO_ON;
}

static int check_ends(struct tailing *tailing, int64_t *wait_ms)
{
    const struct options *options = tailing->options;
    int64_t left_ms = options->timeout_ms == 0
                          ? SLICE_MS
                          : tailing->start_ms + options->timeout_ms - clock_mono_ms();
    *wait_ms = left_ms < SLICE_MS ? left_ms : SLICE_MS;
    if (options->count > 0 && tailing->count >= options->count) {
        return EX_OK;
    }
    if (left_ms <= 0) {
        return options->count == 0 ? EX_OK : too_few(tailing);
    }
    tell_down(tailing);
    return check_until(tailing);
}

static int print_outcomes(struct tailing *tailing)
{
    int64_t wait_ms;
    int status;
    while ((status = check_ends(tailing, &wait_ms)) == COMMAND_GO_ON) {
        rd_kafka_message_t *message = ctl_kafka_next(tailing->kafka, (int)wait_ms);
        if (message == NULL) {
            continue;
        }
        AUTO_JSON json_t *outcome = outcome_read(message->payload, message->len);
        bool chosen = is_chosen(&tailing->options->outcomes.filter, message, outcome);
        bool printed = !chosen || print(message, outcome, tailing->options);
        rd_kafka_message_destroy(message);
        tailing->count += chosen;
        tailing->moved_ms = clock_mono_ms();
        if (!printed) {
            return command_fail(EX_UNAVAILABLE, "the output could not be written");
        }
    }
    return status;
}

/* A missing topic is an error: silence looks like "no outcomes". */
static int follow(struct ctl_kafka *kafka, const struct setup *setup, const struct options *options)
{
    AUTO_FREE char *error = NULL;
    const char *results = options->results ? setup->config->daemon.results_topic : NULL;
    const char *failures = options->failures ? setup->config->daemon.failures_topic : NULL;
    int64_t since_ms = options->outcomes.filter.since_ms;
    int64_t from_ms = options->from_beginning ? CTL_KAFKA_BEGINNING
                      : since_ms != INT64_MIN ? since_ms
                                              : CTL_KAFKA_END;
    if ((results != NULL && ctl_kafka_follow(kafka, results, from_ms, &error) < 0) ||
        (failures != NULL && ctl_kafka_follow(kafka, failures, from_ms, &error) < 0)) {
        return command_fail(EX_UNAVAILABLE, "%s", error);
    }
    if (isatty(STDERR_FILENO)) {
        (void)fprintf(stderr, "following %s%s%s; Ctrl-C stops\n", results == NULL ? "" : results,
                      results != NULL && failures != NULL ? " and " : "",
                      failures == NULL ? "" : failures);
    }
    return COMMAND_GO_ON;
}

static int check(void *values)
{
    struct options *options = values;
    bool since = options->outcomes.filter.since_ms != INT64_MIN;
    if (options->json && options->text) {
        return command_usage("give --json or --text");
    }
    if (since && (options->from_beginning || options->from_end)) {
        return command_usage("give --from or --since");
    }
    if (options->results && !outcome_filter_any_reason(&options->outcomes.filter)) {
        return command_usage("a result has no --reason");
    }
    if (!options->results && !options->failures) {
        options->failures = true;
        options->results = outcome_filter_any_reason(&options->outcomes.filter);
    }
    options->json = options->json || (!options->text && isatty(STDOUT_FILENO) == 0);
    return COMMAND_GO_ON;
}

static int run(void *values)
{
    const struct options *options = values;
    const struct setup *setup = options->outcomes.config.setup;
    int64_t timeout_ms = options->timeout_ms != 0 && options->timeout_ms < BROKER_TIMEOUT_MS
                             ? options->timeout_ms
                             : BROKER_TIMEOUT_MS;
    AUTO_CTL_KAFKA struct ctl_kafka *kafka = ctl_kafka_open(CTL_KAFKA_READER, setup, timeout_ms);
    int status = kafka == NULL ? EX_CONFIG : follow(kafka, setup, options);
    struct tailing tailing = {.options = options, .kafka = kafka, .start_ms = clock_mono_ms()};
    return status == COMMAND_GO_ON ? print_outcomes(&tailing) : status;
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
             "Without --count, --until and --timeout-ms it runs until Ctrl-C. While no broker is\n"
             "connected it waits, and says so once.\n",
    .options = rows,
    .examples = "# watch, on a terminal\n"
                "presignctl tail\n"
                "# count the reasons of all failures in the topic\n"
                "presignctl tail --failures --from beginning --until end --json |\n"
                "    jq -r .data.reason | sort | uniq -c\n"
                "# what became of one contract today\n"
                "presignctl tail --since 1d --until end --out-contract-code C1\n"
                "# the outcome of one event, by the id that presignctl send printed\n"
                "presignctl tail --from beginning --until end --json |\n"
                "    jq 'select(.id == \"presign.requests/0/41\")'\n",
    .exits = exits,
    COMMAND_OPTIONS(struct options, .outcomes.filter = OUTCOME_FILTER_ALL),
    .setup = COMMAND_SETUP_WITHOUT_KEYS,
    .check = check,
    .run = run,
};
