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

/* --- Options --- */

static const char *named_reason(size_t index)
{
    size_t reason = index + 1; /* the first is "none" */
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

static char *take_word(const char *text, const char **words, size_t *count)
{
    if (*count == REDRIVE_WORDS_MAX) {
        return mem_printf("is given more than %d times", REDRIVE_WORDS_MAX);
    }
    words[(*count)++] = text;
    return NULL;
}

static char *take_merchant(void *values, const char *text)
{
    struct redrive_options *options = values;
    return take_word(text, options->filter.merchants, &options->filter.merchant_count);
}

static char *take_code(void *values, const char *text)
{
    struct redrive_options *options = values;
    return take_word(text, options->filter.codes, &options->filter.code_count);
}

/* RFC 3339, or how long ago: a number and s, m, h or d. */
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
    return mem_strdup("give a time as 2026-11-25T08:00:00Z, or how long ago as 90m, 12h, 7d");
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
                    "failures of that reason, retryable or not; may be\nrepeated",
                    .choice = named_reason),
    OPTION_ROW_FLAG(struct redrive_options, retryable, "retryable",
                    "only retryable ones (default without --reason)"),
    OPTION_ROW_EACH(
        take_since, "since", "TIME",
        "failed at or after: as 2026-11-25T08:00:00Z, or\nhow long ago as 90m, 12h, 7d"),
    OPTION_ROW_EACH(take_until, "until", "TIME", "failed before"),
    OPTION_ROW_EACH(take_merchant, "merchant", "MCHID", "of that merchant; may be repeated"),
    OPTION_ROW_EACH(take_code, "out-contract-code", "CODE", "of that contract; may be repeated"),
    OPTION_ROW_INT(struct redrive_options, limit, "limit", "N", 0, INT64_MAX,
                   "at most so many (0: all)"),
    OPTION_ROW_FLAG(struct redrive_options, send, "send",
                    "really sends; otherwise it shows what it would do"),
    OPTION_ROW_FLAG(struct redrive_options, list, "list", "shows what earlier runs have sent"),
    OPTION_ROW_FLAG(struct redrive_options, force, "force",
                    "also what would fail again by this configuration\nand clock"),
    OPTION_ROW_TEXT(struct redrive_options, forgotten, "forgotten", "WHAT",
                    "failures of which Kafka may have forgotten that\n"
                    "they were sent: send (nothing was ever redriven\n"
                    "here), or leave them for good; see above",
                    .choice = forgotten_name),
    OPTION_ROW_INT(struct redrive_options, batch, "batch", "N", 1, TRANSACTION_RECORDS_MAX,
                   "failures in one transaction (500)"),
    OPTION_ROW_INT(struct redrive_options, timeout_ms, "timeout-ms", "N", 1000, 600000,
                   "for each answer and transaction (60000)"),
    OPTION_ROW_JSON(struct redrive_options, json,
                    "a line of JSON for each failure: {\"state\",\n"
                    "\"failure\", \"event\", \"time\", \"reason\", ...}"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "what was chosen was sent, or would be"},
    EXIT_ROW_USAGE,
    {EX_DATAERR, "some of it cannot be sent: each was told, with the reason"},
    {EX_UNAVAILABLE, "no broker, no such topic, no right to it"},
    {EX_TEMPFAIL, "another run took over, or the last transaction's end is not known: run again"},
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
    .summary = "send failed events again, none of them twice",
    .arguments = "[--send | --list] [-c FILE] [OPTION ...]",
    .about =
        "Takes failures from the failures topic, and sends their events to the requests topic\n"
        "again: the retryable ones, or those of the reasons that are named. Without --send it\n"
        "only shows what it would do. A failure that has been sent is not sent again, whatever\n"
        "becomes of the command; one that was not chosen stays for another run. When an event\n"
        "fails again, that is a new failure.\n"
        "\n"
        "The event is sent as it was, with its key and headers, and two headers more:\n"
        "presignredrive names the failure, presignredrivecount says how often it was redriven.\n"
        "Where the failure holds no whole event it is fetched from the requests topic. Events\n"
        "that would only fail again are told and not sent: those that have expired, whose\n"
        "merchant is still not configured, that do not match their schema. A call of which\n"
        "nobody knows whether it has acted (call_state unknown) may be repeated by this.\n"
        "\n"
        "What was sent is remembered as positions of the groups GROUP-redrive-N, GROUP being\n"
        "presignd's group.id: do not delete them. Brokers forget a position after\n"
        "offsets.retention.minutes, a week unless set otherwise; each --send renews all of\n"
        "them. Of a failure that is older than that and has no position, nobody knows whether\n"
        "it was sent; --forgotten says what to do with such ones. On the first use of all,\n"
        "that is --forgotten send.\n"
        "\n"
        "One run sends at a time: a second one stops the first. It needs the rights to Read\n"
        "the failures and requests topics and the groups GROUP-redrive-*, and to Write the\n"
        "requests topic and the transactional id GROUP-redrive.\n",
    .options = rows,
    .examples = "# after an outage: look, send ten, then the rest\n"
                "presignctl redrive --since 12h\n"
                "presignctl redrive --since 12h --send --limit 10\n"
                "presignctl redrive --since 12h --send\n"
                "# a merchant's key was wrong, and is mended\n"
                "presignctl redrive --merchant 1900007291 --reason merchant_unauthorized --send\n"
                "# what was sent, and what became of it\n"
                "presignctl redrive --list --json | jq -r .failure\n",
    .exits = exits,
    .run = run,
};
