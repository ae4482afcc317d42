/* `presignctl redrive`: its options. */
#include "ctl/redrive/redrive.h"

#include "ctl/kit/commands.h"

#include <string.h>
#include <sysexits.h>

enum { BATCH = 500, TIMEOUT_MS = 60000 };

static const char *forgotten_name(size_t index)
{
    static const char *const names[] = {"send", "leave"};
    return index < ARRAY_LENGTH(names) ? names[index] : NULL;
}

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    OUTCOME_FILTER_REASON_ROW("failures with that reason, retryable or not; may\nbe repeated"),
    OPTION_ROW_FLAG(struct redrive_options, retryable, "retryable",
                    "only retryable failures (default without --reason)"),
    OPTION_ROW_EACH(outcome_filter_since, "since", "TIME",
                    "failed at or after that time (2026-11-25T08:00:00Z)\nor age (90m, 12h, 7d)"),
    OPTION_ROW_EACH(outcome_filter_until, "until", "TIME", "failed before"),
    OUTCOME_FILTER_MERCHANT_ROW,
    OUTCOME_FILTER_CODE_ROW,
    OPTION_ROW_INT(struct redrive_options, limit, "limit", "N", 0, INT64_MAX,
                   "at most that many (0: all)"),
    OPTION_ROW_FLAG(struct redrive_options, send, "send",
                    "send; without it, print what would be sent"),
    OPTION_ROW_FLAG(struct redrive_options, discard, "discard",
                    "mark as done and send nothing; with --list, print\nwhat would be marked"),
    OPTION_ROW_FLAG(struct redrive_options, list, "list",
                    "print what earlier runs have sent or discarded"),
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
    {EX_OK, "all chosen failures were sent or discarded, or could be"},
    EXIT_ROW_USAGE,
    {EX_DATAERR, "some failures cannot be sent; each was printed with the reason"},
    EXIT_ROW_KAFKA,
    {EX_TEMPFAIL, "another run took over, or the result of a transaction is unknown: run it again"},
    EXIT_ROW_CONFIG,
    {0},
};

static bool is_filtered(const struct outcome_filter *filter)
{
    return !outcome_filter_any_reason(filter) || filter->since_ms != INT64_MIN ||
           filter->until_ms != INT64_MAX || filter->merchant_count + filter->code_count > 0;
}

static int check(void *values)
{
    struct redrive_options *options = values;
    if (options->send && (options->list || options->discard)) {
        return command_usage("give one of --send, --discard, --list");
    }
    if (options->discard && !is_filtered(&options->outcomes.filter)) {
        return command_usage("--discard needs one of --reason, --since, --until, --merchant, "
                             "--out-contract-code");
    }
    options->retryable =
        options->retryable || (!options->list && !options->discard &&
                               outcome_filter_any_reason(&options->outcomes.filter));
    return COMMAND_GO_ON;
}

static int run(void *values)
{
    const struct redrive_options *options = values;
    return redrive_run(options->outcomes.config.setup, options);
}

const struct command command_redrive = {
    .name = "redrive",
    .summary = "send the events of failures again, each once",
    .arguments = "[--send | --discard | --list] [-c FILE] [OPTION ...]",
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
        "--discard retires failures that will never succeed: those that the options choose, also\n"
        "if they would fail again, their event is gone or too large, or they are no failures of\n"
        "presignd. Later runs do not offer them again.\n"
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
                "# retire the failures of a merchant that is no customer any more\n"
                "presignctl redrive --merchant 1900007291 --discard --list\n"
                "presignctl redrive --merchant 1900007291 --discard\n"
                "# list what was sent\n"
                "presignctl redrive --list --json | jq -r .failure\n",
    .exits = exits,
    COMMAND_OPTIONS(struct redrive_options, .batch = BATCH, .timeout_ms = TIMEOUT_MS,
                    .outcomes.filter = OUTCOME_FILTER_ALL),
    .setup = COMMAND_SETUP_WITHOUT_KEYS,
    .check = check,
    .run = run,
};
