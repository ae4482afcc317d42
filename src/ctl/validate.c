#include "ctl/kit/commands.h"
#include "ctl/kit/config.h"
#include "presignd/base/json.h"
#include "presignd/base/text.h"
#include "presignd/flow/admit.h"
#include "presignd/wire/outcome.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

struct options {
    struct ctl_config config;
    bool records;
    const char *now;
    int64_t wall_ms; /* of `now` */
    bool json;       /* accepted; the output is always JSON */
};

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    OPTION_ROW_FLAG(
        struct options, records, "records",
        "each line is a whole record: {\"key\", \"value\"\nor \"value_base64\", \"headers\": "
        "[...]}"),
    OPTION_ROW_TEXT(struct options, now, "now", "RFC3339",
                    "the time to compare expirytime with\n(default: now)"),
    OPTION_ROW_JSON(struct options, json, "a line of JSON per event (always)"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "every event is valid"},
    EXIT_ROW_USAGE,
    {EX_DATAERR, "an event is invalid, or a line is not a record"},
    {EX_UNAVAILABLE, "the input cannot be read, or the output cannot be written"},
    EXIT_ROW_CONFIG,
    {0},
};

static void print_verdict(const struct admission *admission)
{
    AUTO_BUF struct buf out = {0};
    bool call = admission->reason == REASON_NONE;
    buf_putc(&out, '{');
    buf_json_member(&out, "outcome", call ? "call" : "failure");
    if (!call) {
        buf_json_member(&out, "reason", reason_name(admission->reason));
    }
    buf_json_member(&out, "endpoint",
                    admission->endpoint != NULL ? admission->endpoint->name : NULL);
    if (call) {
        buf_json_member(&out, "mchid", admission->mchid);
        buf_json_name(&out, "body");
        buf_json_string(&out, admission->body, admission->body_len);
    } else {
        buf_json_member(&out, "message", admission->message);
        if (admission->errors.count > 0) {
            outcome_errors_write(&out, &admission->errors);
        } else {
            buf_json_member_raw(&out, "errors", "[]", 2);
        }
    }
    buf_putc(&out, '}');
    (void)puts(out.data);
}

static enum reason judge(const struct setup *setup, const struct record *record, int64_t wall_ms)
{
    struct admission admission;
    admit(&setup->admit, record, wall_ms, &admission);
    print_verdict(&admission);
    enum reason reason = admission.reason;
    admission_deinit(&admission);
    return reason;
}

static bool judge_record_line(const struct setup *setup, const struct buf *line, int64_t wall_ms,
                              size_t number)
{
    AUTO_FREE char *error = NULL;
    AUTO_JSON json_t *original = outcome_read(line->data, line->len);
    struct record_owned *owned = original == NULL ? NULL : outcome_original_read(original, &error);
    if (owned == NULL) {
        command_fail(EX_DATAERR, "line %zu is not a record: %s", number,
                     error != NULL ? error : "not JSON");
        (void)puts("{\"outcome\":\"unreadable\"}");
        return false;
    }
    owned->record.topic = setup->config->daemon.requests_topic;
    owned->record.timestamp_ms = -1;
    bool call = judge(setup, &owned->record, wall_ms) == REASON_NONE;
    record_owned_free(owned);
    return call;
}

/* An event that spans several lines is the usual cause of a line that is not JSON. */
static bool judge_event_line(const struct setup *setup, const struct buf *line, int64_t wall_ms,
                             size_t number, bool hint)
{
    const struct record record = {
        .topic = setup->config->daemon.requests_topic,
        .timestamp_ms = -1,
        .value = line->data,
        .value_len = line->len,
    };
    enum reason reason = judge(setup, &record, wall_ms);
    if (reason == REASON_INVALID_JSON && hint) {
        command_fail(EX_DATAERR,
                     "line %zu is not valid JSON: give one event a line (jq -c joins the lines of "
                     "an event)",
                     number);
    }
    return reason == REASON_NONE;
}

static int judge_lines(const struct setup *setup, bool records, int64_t wall_ms)
{
    AUTO_BUF struct buf line = {0};
    bool all = true;
    for (size_t number = 1; ctl_read_line(&line); number++) {
        if (strspn(line.data, " \t\r") == line.len) {
            continue; /* as presignctl send does */
        }
        all = (records ? judge_record_line(setup, &line, wall_ms, number)
                       : judge_event_line(setup, &line, wall_ms, number, all)) &&
              all;
    }
    /* Unread lines were not validated. */
    if (ferror(stdin)) {
        return command_fail(EX_UNAVAILABLE, "standard input cannot be read");
    }
    return all ? EX_OK : EX_DATAERR;
}

static int check(void *values)
{
    struct options *options = values;
    options->wall_ms = clock_wall_ms();
    if (options->now != NULL &&
        !text_rfc3339(options->now, strlen(options->now), &options->wall_ms)) {
        return command_usage("--now must be an RFC 3339 time");
    }
    return COMMAND_GO_ON;
}

static int run(void *values)
{
    const struct options *options = values;
    return command_end(judge_lines(options->config.setup, options->records, options->wall_ms));
}

const struct command command_validate = {
    .name = "validate",
    .summary = "validate events from standard input as presignd does",
    .arguments = "[-c FILE] [OPTION ...] < EVENTS",
    .about =
        "Reads one event a line (a structured CloudEvent as JSON) and prints one verdict for\n"
        "each, in the same order; blank lines are skipped:\n"
        "\n"
        "  {\"outcome\":\"call\",\"endpoint\":\"app\",\"mchid\":\"...\",\"body\":\"the exact "
        "bytes\"}\n"
        "  {\"outcome\":\"failure\",\"reason\":\"invalid_request\",\"endpoint\":\"app\",\n"
        "   \"message\":\"...\",\"errors\":[...]}\n"
        "\n"
        "It runs the daemon's own code, so an order service can check its events in its tests.\n"
        "Of each merchant it needs the number and the mode: it reads no keys and sends nothing.\n"
        "\n"
        "With --records a line is a whole Kafka record like the `original` of a failure; for a\n"
        "line that is not a record it prints {\"outcome\":\"unreadable\"}, and an error to\n"
        "stderr.\n",
    .options = rows,
    .examples =
        "# check an event before sending it\n"
        "jq -c . event.json | presignctl validate\n"
        "# count the reasons of invalid events\n"
        "presignctl validate -c test.conf < events.jsonl | jq -r .reason | sort | uniq -c\n",
    .exits = exits,
    COMMAND_OPTIONS(struct options),
    .setup = COMMAND_SETUP_WITHOUT_KEYS,
    .check = check,
    .run = run,
};
