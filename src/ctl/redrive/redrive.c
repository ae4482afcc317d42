/* `presignctl redrive`: its options. */
#include "ctl/redrive/redrive.h"

#include "ctl/kit/commands.h"
#include "ctl/kit/terminal.h"
#include "presignd/base/clock.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { BATCH = 500, TIMEOUT_MS = 60000 };

static const char *named_reason(size_t index)
{
    size_t reason = index + 1; /* REASON_NONE is 0 */
    return reason < REASON_COUNT ? reason_name((enum reason)reason) : NULL;
}

static char *take_reason(void *values, const char *text)
{
    struct redrive_options *options = values;
    for (size_t i = 0; named_reason(i) != NULL; i++) {
        if (strcmp(named_reason(i), text) == 0) {
            options->filter.reasons[i + 1] = true;
        }
    }
    return NULL;
}

static char *add_word(const char *text, const char **words, size_t *count)
{
    if (*count == REDRIVE_WORDS_MAX) {
        return mem_printf("may be given %d times at most", REDRIVE_WORDS_MAX);
    }
    words[(*count)++] = text;
    return NULL;
}

static char *take_merchant(void *values, const char *text)
{
    struct redrive_options *options = values;
    return add_word(text, options->filter.merchants, &options->filter.merchant_count);
}

static char *take_code(void *values, const char *text)
{
    struct redrive_options *options = values;
    return add_word(text, options->filter.codes, &options->filter.code_count);
}

/* RFC 3339, or an age: a number and s, m, h or d. */
static char *take_time(const char *text, int64_t *wall_ms)
{
    static const struct {
        char unit;
        int64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    size_t len = strlen(text);
    AUTO_FREE char *number = mem_dup(text, len > 0 ? len - 1 : 0);
    int64_t count;
    if (text_rfc3339(text, len, wall_ms)) {
        return NULL;
    }
    for (size_t i = 0; len > 1 && i < ARRAY_LENGTH(units); i++) {
        if (text[len - 1] == units[i].unit && text_int(number, 0, 1000000, &count)) {
            *wall_ms = clock_now(&clock_system).wall_ms - count * units[i].ms;
            return NULL;
        }
    }
    return mem_strdup("give a time (2026-11-25T08:00:00Z) or an age (90m, 12h, 7d)");
}

static char *take_since(void *values, const char *text)
{
    return take_time(text, &((struct redrive_options *)values)->filter.since_ms);
}

static char *take_until(void *values, const char *text)
{
    return take_time(text, &((struct redrive_options *)values)->filter.until_ms);
}

static const char *forgotten_name(size_t index)
{
    static const char *const names[] = {"send", "leave"};
    return index < ARRAY_LENGTH(names) ? names[index] : NULL;
}

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    OPTION_ROW_EACH(take_reason, "reason", "REASON",
                    "failures with that reason, retryable or not; may\nbe repeated",
                    .choice = named_reason),
    OPTION_ROW_FLAG(struct redrive_options, retryable, "retryable",
                    "only retryable failures (default without --reason)"),
    OPTION_ROW_EACH(take_since, "since", "TIME",
                    "failed at or after that time (2026-11-25T08:00:00Z)\nor age (90m, 12h, 7d)"),
    OPTION_ROW_EACH(take_until, "until", "TIME", "failed before"),
    OPTION_ROW_EACH(take_merchant, "merchant", "MCHID", "of that merchant; may be repeated"),
    OPTION_ROW_EACH(take_code, "out-contract-code", "CODE", "of that contract; may be repeated"),
    OPTION_ROW_INT(struct redrive_options, limit, "limit", "N", 0, INT64_MAX,
                   "at most that many (0: all)"),
    OPTION_ROW_FLAG(struct redrive_options, send, "send",
                    "send; without it, print what would be sent"),
    OPTION_ROW_FLAG(struct redrive_options, list, "list", "print what earlier runs have sent"),
    OPTION_ROW_FLAG(struct redrive_options, force, "force",
                    "also send events that would fail again with this\nconfiguration and clock"),
    OPTION_ROW_TEXT(struct redrive_options, forgotten, "forgotten", "WHAT",
                    "failures whose redrive position may have expired\n"
                    "in Kafka: send (if nothing was redriven before)\n"
                    "or leave (mark them as done); see above",
                    .choice = forgotten_name),
    OPTION_ROW_INT(struct redrive_options, batch, "batch", "N", 1, TRANSACTION_RECORDS_MAX,
                   "failures per transaction (500)"),
    OPTION_ROW_INT(struct redrive_options, timeout_ms, "timeout-ms", "N", 1000, 600000,
                   "for each request and transaction (60000)"),
    OPTION_ROW_JSON(struct redrive_options, json,
                    "a line of JSON for each failure: {\"state\",\n"
                    "\"failure\", \"event\", \"time\", \"reason\", ...}"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "all chosen failures were sent, or could be sent"},
    EXIT_ROW_USAGE,
    {EX_DATAERR, "some failures cannot be sent; each was printed with the reason"},
    EXIT_ROW_KAFKA,
    {EX_TEMPFAIL, "another run took over, or the result of a transaction is unknown: run it again"},
    EXIT_ROW_CONFIG,
    {0},
};

static int run(int argc, char **argv)
{
    struct redrive_options options = {.batch = BATCH,
                                      .timeout_ms = TIMEOUT_MS,
                                      .filter = {.since_ms = INT64_MIN, .until_ms = INT64_MAX}};
    int status = command_options(&command_redrive, argc, argv, &options);
    if (status != COMMAND_GO_ON) {
        return status;
    }
    if (options.send && options.list) {
        return command_usage(&command_redrive, "give --send or --list");
    }
    options.filter.any_reason = true;
    for (size_t i = 0; i < REASON_COUNT; i++) {
        options.filter.any_reason = options.filter.any_reason && !options.filter.reasons[i];
    }
    options.filter.retryable = options.retryable || (options.filter.any_reason && !options.list);
    terminal_init();
    struct setup *setup = ctl_setup(&command_redrive, &options.config, true);
    status = setup == NULL ? EX_CONFIG : redrive_run(&command_redrive, setup, &options);
    setup_free(setup);
    return status;
}

const struct command command_redrive = {
    .name = "redrive",
    .summary = "send the events of failures again, each once",
    .arguments = "[--send | --list] [-c FILE] [OPTION ...]",
    .about =
        "Sends the events of failures to the requests topic again: those of retryable failures,\n"
        "or of the given reasons. Without --send it only prints what it would send. A failure\n"
        "is sent once, even if the command is killed. Failures that were not chosen stay for\n"
        "later runs. An event that fails again is a new failure.\n"
        "\n"
        "The event is sent unchanged, with its key and headers and two more headers:\n"
        "presignredrive names the failure, presignredrivecount counts how often the event was\n"
        "redriven. If the failure does not contain the whole event, it is read from the\n"
        "requests topic. Events that would fail again are printed and not sent: expired ones,\n"
        "those of a merchant that is not configured, those that do not match their schema.\n"
        "With call_state `unknown`, the call may already have acted; it is then repeated.\n"
        "\n"
        "What was sent is stored as committed offsets of the groups GROUP-redrive-N, where\n"
        "GROUP is presignd's group.id: do not delete them. Brokers expire them after\n"
        "offsets.retention.minutes (default: a week); each --send renews all of them. A failure\n"
        "that is older and has no committed offset may have been sent. --forgotten decides what\n"
        "to do with such failures. Use --forgotten send when redrive is used for the first time.\n"
        "\n"
        "Only one run sends at a time: a second run stops the first. ACLs: Read on the failures\n"
        "and requests topics and on the groups GROUP-redrive-*, Write on the requests topic and\n"
        "on the transactional id GROUP-redrive.\n"
        "\n"
        "With delivery = at_least_once there are no transactions and no transactional id: the\n"
        "offsets are committed after the events. After a run is killed in between, the next\n"
        "run sends up to --batch events a second time. Nothing stops a second run: start one\n"
        "at a time.\n",
    .options = rows,
    .examples = "# after an outage: print, send ten, then the rest\n"
                "presignctl redrive --since 12h\n"
                "presignctl redrive --since 12h --send --limit 10\n"
                "presignctl redrive --since 12h --send\n"
                "# after a merchant's key was corrected\n"
                "presignctl redrive --merchant 1900007291 --reason merchant_unauthorized --send\n"
                "# list what was sent\n"
                "presignctl redrive --list --json | jq -r .failure\n",
    .exits = exits,
    .run = run,
};
