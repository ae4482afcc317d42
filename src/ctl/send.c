/* `presignctl send`: standard input to the requests topic.
 *
 * A ring of deliveries prints the results in the order of the input while many are in flight.
 */
#include "ctl/kit/commands.h"
#include "ctl/kit/config.h"
#include "ctl/kit/kafka.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/wire/event.h"
#include "presignd/wire/outcome.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum {
    HEADERS_MAX = 64,    /* of --header */
    IN_FLIGHT_MAX = 512, /* fills a round trip; few are lost with a broker */
    TIMEOUT_MAX_MS = 600000,
};

struct options {
    struct ctl_config config;
    const char *topic, *key;
    bool key_from_code, no_key, records, raw, json;
    int64_t timeout_ms;
    char *header_names[HEADERS_MAX]; /* "NAME=VALUE", the '=' replaced by NUL */
    size_t header_count;
};

static char *take_header(void *values, const char *text)
{
    struct options *options = values;
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text) {
        return mem_strdup("give NAME=VALUE");
    }
    if (options->header_count == HEADERS_MAX) {
        return mem_printf("there are %d headers already", HEADERS_MAX);
    }
    char *copy = mem_strdup(text);
    copy[equals - text] = '\0';
    options->header_names[options->header_count++] = copy;
    return NULL;
}

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    OPTION_ROW_TEXT(struct options, topic, "topic", "TOPIC", "(default: daemon.requests_topic)"),
    OPTION_ROW_TEXT(struct options, key, "key", "KEY", "the key of every record"),
    OPTION_ROW_FLAG(struct options, key_from_code, "key-from-code",
                    "use out_contract_code as the key: the default,\n"
                    "except with --records and --raw"),
    OPTION_ROW_FLAG(struct options, no_key, "no-key",
                    "null keys: the events of a contract have no order"),
    OPTION_ROW_EACH(take_header, "header", "NAME=VALUE",
                    "a header of every record; may be repeated;\n"
                    "with ce_... headers a line is the event's data"),
    OPTION_ROW_FLAG(struct options, records, "records",
                    "a line is a whole record like the `original` of a\n"
                    "failure: {\"key\", \"value\" or \"value_base64\",\n"
                    "\"headers\": [{\"name\", \"value\"}, ...]}"),
    OPTION_ROW_FLAG(struct options, raw, "raw", "send each line unchanged, JSON or not"),
    OPTION_ROW_INT(struct options, timeout_ms, "timeout-ms", "N", 100, TIMEOUT_MAX_MS,
                   "for a broker's acknowledgement (10000)"),
    OPTION_ROW_JSON(struct options, json,
                    "a line of JSON for each record: {\"id\", \"line\",\n"
                    "\"topic\", \"partition\", \"offset\"}"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "every record was acknowledged"},
    EXIT_ROW_USAGE,
    {EX_DATAERR, "a line is not an event or too large; the lines before it were sent"},
    EXIT_ROW_KAFKA,
    EXIT_ROW_CONFIG,
    {0},
};

struct sending {
    const struct options *options;
    const char *topic;
    struct ctl_kafka *kafka;
    struct ctl_delivery ring[IN_FLIGHT_MAX];
    size_t lines[IN_FLIGHT_MAX]; /* of the input, for messages */
    size_t sent, printed;        /* records; both only grow */
    int status;
};

/* The first error determines the exit status. */
static void fail(struct sending *sending, size_t line, int status, const char *reason)
{
    command_fail(status, "line %zu: %s", line, reason);
    if (sending->status == EX_OK) {
        sending->status = status;
    }
}

/* Errors of the record itself; all others are errors of the connection or the broker. */
static int status_of(rd_kafka_resp_err_t error)
{
    return error == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ||
                   error == RD_KAFKA_RESP_ERR_INVALID_RECORD
               ? EX_DATAERR
               : EX_UNAVAILABLE;
}

static void print_delivery(const struct sending *sending, const struct ctl_delivery *delivery,
                           size_t line)
{
    AUTO_FREE char *id = ctl_record_id(sending->topic, delivery->partition, delivery->offset);
    if (!sending->options->json) {
        (void)puts(id);
        return;
    }
    AUTO_JSON json_t *json = json_pack(
        "{s:s, s:I, s:s, s:i, s:I}", "id", id, "line", (json_int_t)line, "topic", sending->topic,
        "partition", (int)delivery->partition, "offset", (json_int_t)delivery->offset);
    command_json(json);
}

/* Waits for the oldest record in flight and prints its result. */
static void print_oldest(struct sending *sending)
{
    size_t at = sending->printed++ % IN_FLIGHT_MAX;
    const struct ctl_delivery *delivery = &sending->ring[at];
    ctl_kafka_await(sending->kafka, delivery);
    if (delivery->error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        print_delivery(sending, delivery, sending->lines[at]);
        return;
    }
    AUTO_FREE char *reason = ctl_kafka_reason(sending->kafka, delivery);
    fail(sending, sending->lines[at], status_of(delivery->error), reason);
}

/* Makes room in the ring, sends, and prints what was delivered meanwhile. */
static void send_record(struct sending *sending, const struct record *record, size_t line)
{
    if (sending->sent - sending->printed == IN_FLIGHT_MAX) {
        print_oldest(sending);
    }
    size_t at = sending->sent % IN_FLIGHT_MAX;
    AUTO_FREE char *reason = NULL;
    if (!ctl_kafka_send(sending->kafka, sending->topic, record, &sending->ring[at], &reason)) {
        fail(sending, line, status_of(sending->ring[at].error), reason);
        return;
    }
    sending->lines[at] = line;
    sending->sent++;
    while (sending->printed < sending->sent &&
           sending->ring[sending->printed % IN_FLIGHT_MAX].done) {
        print_oldest(sending);
    }
}

/* --- Lines to records --- */

static bool has_header(const struct options *options, const char *prefix)
{
    for (size_t i = 0; i < options->header_count; i++) {
        const char *name = options->header_names[i];
        if (text_prefix_nocase(name, strlen(name), prefix)) {
            return true;
        }
    }
    return false;
}

/* The record's own headers, then --header's. To free(). */
static struct record_header *add_headers(const struct options *options, struct record *record)
{
    struct record_header *all =
        mem_zalloc(record->header_count + options->header_count + 1, sizeof *all);
    size_t count = 0;
    for (; count < record->header_count; count++) {
        all[count] = record->headers[count];
    }
    /* CloudEvents Kafka protocol binding 1.0.2, section 3.3: structured mode has this header. */
    bool line_of_json = !options->records && !options->raw;
    if (line_of_json && !has_header(options, "ce_") && !has_header(options, "content-type")) {
        static const char structured[] = "application/cloudevents+json";
        all[count++] = (struct record_header){"content-type", structured, sizeof structured - 1};
    }
    for (size_t i = 0; i < options->header_count; i++) {
        const char *name = options->header_names[i];
        const char *value = name + strlen(name) + 1;
        all[count++] = (struct record_header){name, value, strlen(value)};
    }
    record->headers = all;
    record->header_count = count;
    return all;
}

/* The code of an event, or of its data alone (binary content mode); NULL: none. */
static const char *code_of(const json_t *event)
{
    const json_t *data =
        json_object_get(event, "specversion") != NULL ? json_object_get(event, "data") : event;
    const char *code = json_string_value(json_object_get(data, "out_contract_code"));
    return text_or_null(code);
}

/* --key, else the record's own key, else the code: the events of a contract keep their order only
 * within one partition. */
static void set_key(const struct options *options, const json_t *event, struct record *record)
{
    const char *key = options->key;
    if (key == NULL && record->key == NULL &&
        (options->key_from_code || (!options->records && !options->raw))) {
        key = code_of(event);
    }
    if (key != NULL) {
        record->key = key;
        record->key_len = strlen(key);
    }
    if (options->no_key) {
        record->key = NULL;
        record->key_len = 0;
    }
}

static void finish_record(struct sending *sending, const json_t *event, struct record *record,
                          size_t line)
{
    set_key(sending->options, event, record);
    struct record_header *headers = add_headers(sending->options, record);
    send_record(sending, record, line);
    free(headers);
}

/* The value is parsed only to find the code; it need not be an event. */
static void send_whole_record(struct sending *sending, const struct buf *line, size_t number)
{
    AUTO_FREE char *error = NULL;
    AUTO_JSON json_t *original = outcome_read(line->data, line->len);
    struct record_owned *owned = original == NULL ? NULL : outcome_original_read(original, &error);
    if (owned == NULL) {
        fail(sending, number, EX_DATAERR, error != NULL ? error : "not a record: not JSON");
        return;
    }
    struct record record = owned->record;
    AUTO_JSON json_t *event = record.value == NULL ? NULL
                                                   : json_read(record.value, record.value_len,
                                                               EVENT_NESTING_MAX, 0, NULL);
    finish_record(sending, event, &record, number);
    record_owned_free(owned);
}

static void send_line(struct sending *sending, const struct buf *line, size_t number)
{
    const struct options *options = sending->options;
    struct record record = {.value = line->data, .value_len = line->len};
    const char *reason = "not a JSON object";
    if (line->len > CTL_LINE_MAX) {
        fail(sending, number, EX_DATAERR, "longer than 16 MiB");
        return;
    }
    if (options->records) {
        send_whole_record(sending, line, number);
        return;
    }
    AUTO_JSON json_t *event = json_read(line->data, line->len, EVENT_NESTING_MAX, 0, &reason);
    if (!options->raw && !json_is_object(event)) {
        AUTO_FREE char *text =
            mem_printf("not sent: %s; put each event on one line (jq -c), or use --raw", reason);
        fail(sending, number, EX_DATAERR, text);
        return;
    }
    finish_record(sending, event, &record, number);
}

/* Stops at the first line that cannot be sent: the next lines may be parts of the same event. */
static int send_lines(struct sending *sending)
{
    AUTO_BUF struct buf line = {0};
    for (size_t number = 1; sending->status == EX_OK && ctl_read_line(&line); number++) {
        if (sending->options->raw || strspn(line.data, " \t\r") < line.len) {
            send_line(sending, &line, number);
        }
    }
    while (sending->printed < sending->sent) {
        print_oldest(sending);
    }
    if (ferror(stdin)) {
        return command_fail(EX_UNAVAILABLE, "standard input cannot be read");
    }
    return command_end(sending->status);
}

static int check(void *values)
{
    const struct options *options = values;
    if (options->records && options->raw) {
        return command_usage("give --records or --raw");
    }
    if ((options->key != NULL) + options->key_from_code + options->no_key > 1) {
        return command_usage("give one of --key, --key-from-code, --no-key");
    }
    return COMMAND_GO_ON;
}

static int run(void *values)
{
    const struct options *options = values;
    const struct setup *setup = options->config.setup;
    AUTO_FREE char *error = NULL;
    AUTO_FREE struct sending *sending = mem_zalloc(1, sizeof *sending);
    sending->options = options;
    sending->topic = options->topic != NULL ? options->topic : setup->config->daemon.requests_topic;
    sending->kafka = ctl_kafka_open(CTL_KAFKA_SENDER, setup, options->timeout_ms);
    if (sending->kafka == NULL) {
        return EX_CONFIG;
    }
    int status = ctl_kafka_partitions(sending->kafka, sending->topic, &error) < 0
                     ? command_fail(EX_UNAVAILABLE, "%s", error)
                     : send_lines(sending);
    ctl_kafka_free(sending->kafka);
    return status;
}

const struct command command_send = {
    .name = "send",
    .summary = "send events from standard input to the requests topic",
    .arguments = "[-c FILE] [OPTION ...] < EVENTS",
    .about =
        "Sends each line, a structured CloudEvent as JSON, as one record; blank lines are\n"
        "skipped. Prints TOPIC/PARTITION/OFFSET for each record after every in-sync replica has\n"
        "acknowledged it, in the order of the input. This is the id of its outcome, which\n"
        "presignctl tail prints.\n"
        "\n"
        "Events are not validated here: errors appear in the outcome; presignctl validate finds\n"
        "them before. An event that is sent twice has two outcomes. Sending stops at the first\n"
        "line that cannot be sent.\n"
        "\n"
        "It uses the brokers and credentials of presignd's configuration ([kafka],\n"
        "[kafka.producer]). It does not read merchants' keys and does not affect a running\n"
        "daemon.\n",
    .options = rows,
    .examples = "# join an event that spans several lines; then wait for its outcome\n"
                "jq -c . event.json | presignctl send\n"
                "presignctl tail --from beginning --count 1\n"
                "# send the event of one failure again (presignctl redrive never does it twice)\n"
                "jq -c .data.original failure.json | presignctl send --records\n",
    .exits = exits,
    COMMAND_OPTIONS(struct options, .timeout_ms = 10000),
    .setup = COMMAND_SETUP_WITHOUT_KEYS,
    .check = check,
    .run = run,
};
