/* `presignctl canary`: sends an event whose time has passed, and waits for its failure. */
#include "ctl/kit/commands.h"
#include "ctl/kit/config.h"
#include "ctl/kit/kafka.h"
#include "presignd/base/clock.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/wire/outcome.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>

enum { SLICE_MS = 200, TIMEOUT_MS = 30000, TIMEOUT_MAX_MS = 3600000 };

struct options {
    struct ctl_config config;
    const char *mchid;
    int64_t timeout_ms;
    bool json;
};

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    OPTION_ROW_TEXT(struct options, mchid, "merchant", "MCHID",
                    "the merchant that the event names\n(default: the first one)"),
    OPTION_ROW_INT(struct options, timeout_ms, "timeout-ms", "N", 100, TIMEOUT_MAX_MS,
                   "for the failure, and for each request (30000)"),
    OPTION_ROW_JSON(struct options, json,
                    "one line: {\"id\", \"out_contract_code\", \"outcome\",\n"
                    "\"reason\", \"seconds\"}"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "the failure `expired` came"},
    EXIT_ROW_USAGE,
    EXIT_ROW_KAFKA,
    {EX_TEMPFAIL, "no outcome was visible in time, or it was another one"},
    EXIT_ROW_CONFIG,
    {0},
};

/* --- The event --- */

struct canary {
    char code[33];
    struct buf value;
};

/* The first example of the endpoint's schema, which is valid for a site's own schema, too. NULL:
 * the schema has none. */
static json_t *example_data(const struct setup *setup, const struct endpoint *endpoint)
{
    AUTO_FREE char *dirs = mem_strdup(setup->config->daemon.schema_dir);
    char *rest = dirs, *dir;
    while ((dir = strsep(&rest, ":")) != NULL) {
        AUTO_FREE char *path = mem_printf("%s/%s.request.json", dir, endpoint->name);
        AUTO_JSON json_t *schema = json_load_file(path, 0, NULL);
        json_t *example = json_array_get(json_object_get(schema, "examples"), 0);
        if (schema != NULL) {
            return json_is_object(example) ? json_deep_copy(example) : NULL;
        }
    }
    return NULL;
}

static const struct endpoint *endpoint_of(const struct merchant *merchant)
{
    size_t count;
    const struct endpoint *endpoint = endpoint_table(&count);
    while (endpoint->mode != merchant->mode) { /* each mode has one */
        endpoint++;
    }
    return endpoint;
}

/* The checks that precede expirytime must not refuse it: a site's schema may. */
static char *admission_error(const struct setup *setup, const struct canary *canary)
{
    const struct record record = {.topic = "",
                                  .timestamp_ms = -1,
                                  .value = canary->value.data,
                                  .value_len = canary->value.len};
    struct admission admission;
    admit(&setup->admit, &record, clock_wall_ms(), &admission);
    char *error = admission.reason == REASON_EXPIRED
                      ? NULL
                      : mem_printf("the event would end as %s, not as expired: %s",
                                   reason_name(admission.reason), admission.message);
    admission_deinit(&admission);
    return error;
}

static void name_code(struct canary *canary)
{
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != sizeof random) {
        random = (uint64_t)clock_mono_us();
    }
    (void)snprintf(canary->code, sizeof canary->code, "canary%016" PRIx64, random);
}

/* An error (free()), or NULL. */
static char *write_event(const struct setup *setup, const struct merchant *merchant,
                         struct canary *canary)
{
    const struct endpoint *endpoint = endpoint_of(merchant);
    AUTO_JSON json_t *data = example_data(setup, endpoint);
    if (data == NULL) {
        return mem_printf("%s.request.json has no `examples`, from which the event is made",
                          endpoint->name);
    }
    name_code(canary);
    (void)json_object_set_new(data, "out_contract_code", json_string(canary->code));
    AUTO_FREE char *text = json_dumps(data, JSON_COMPACT);
    AUTO_FREE char *type = mem_printf("wechatpay.presign.%s.requested", endpoint->name);
    struct buf *out = &canary->value;
    buf_putc(out, '{');
    buf_json_member(out, "specversion", "1.0");
    buf_json_member(out, "id", canary->code);
    buf_json_member(out, "source", "/presignctl/canary");
    buf_json_member(out, "type", type);
    buf_json_member(out, "mchid", merchant->mchid);
    buf_json_member(out, "expirytime", "1970-01-02T00:00:00Z");
    buf_json_member_raw(out, "data", text, strlen(text));
    buf_putc(out, '}');
    return admission_error(setup, canary);
}

/* --- Its way --- */

/* The event's id; NULL after an error was printed. */
static char *send_event(const struct setup *setup, const struct options *options,
                        const struct canary *canary)
{
    static const char structured[] = "application/cloudevents+json";
    const struct record_header header = {"content-type", structured, sizeof structured - 1};
    const struct record record = {
        .key = canary->code,
        .key_len = strlen(canary->code),
        .value = canary->value.data,
        .value_len = canary->value.len,
        .headers = &header,
        .header_count = 1,
    };
    const char *topic = setup->config->daemon.requests_topic;
    struct ctl_delivery delivery = {0};
    AUTO_FREE char *error = NULL;
    AUTO_CTL_KAFKA struct ctl_kafka *kafka =
        ctl_kafka_open(CTL_KAFKA_SENDER, setup, options->timeout_ms);
    if (kafka == NULL) {
        return NULL;
    }
    char *id = NULL;
    if (ctl_kafka_partitions(kafka, topic, &error) >= 0 &&
        ctl_kafka_send(kafka, topic, &record, &delivery, &error)) {
        ctl_kafka_await(kafka, &delivery);
        error = delivery.error == RD_KAFKA_RESP_ERR_NO_ERROR ? NULL
                                                             : ctl_kafka_reason(kafka, &delivery);
        id = error != NULL ? NULL : ctl_record_id(topic, delivery.partition, delivery.offset);
    }
    if (id == NULL) {
        command_fail(EX_UNAVAILABLE, "not sent: %s", error);
    }
    return id;
}

static int report(const struct options *options, const struct canary *canary, const char *id,
                  const rd_kafka_message_t *message, const json_t *outcome, int64_t passed_ms)
{
    const char *reason = json_text(json_object_get(outcome, "data"), "reason");
    AUTO_FREE char *at = ctl_message_id(message);
    AUTO_BUF struct buf out = {0};
    if (options->json) {
        buf_putc(&out, '{');
        buf_json_member(&out, "id", id);
        buf_json_member(&out, "out_contract_code", canary->code);
        buf_json_member(&out, "outcome", at);
        buf_json_member(&out, "reason", text_or_null(reason));
        buf_json_name(&out, "seconds");
        buf_printf(&out, "%.3f}", (double)passed_ms / 1000);
    } else {
        buf_printf(&out, "%s: %s after %.3f s, %s", id, *reason == '\0' ? "a result" : reason,
                   (double)passed_ms / 1000, at);
    }
    (void)puts(out.data);
    if (strcmp(reason, reason_name(REASON_EXPIRED)) != 0) {
        return command_fail(EX_TEMPFAIL,
                            "the outcome is not the failure `expired`: check the daemon's clock "
                            "and its schemas");
    }
    return EX_OK;
}

static int await_outcome(struct ctl_kafka *kafka, const struct options *options,
                         const struct canary *canary, const char *id, int64_t start_ms)
{
    int64_t passed_ms;
    while ((passed_ms = clock_mono_ms() - start_ms) < options->timeout_ms) {
        rd_kafka_message_t *message = ctl_kafka_next(kafka, SLICE_MS);
        if (message == NULL) {
            continue;
        }
        AUTO_JSON json_t *outcome = outcome_read(message->payload, message->len);
        bool ours = strcmp(json_text(outcome, "id"), id) == 0;
        int status =
            ours ? report(options, canary, id, message, outcome, passed_ms) : COMMAND_GO_ON;
        rd_kafka_message_destroy(message);
        if (ours) {
            return status;
        }
    }
    AUTO_FREE char *text = mem_printf("%s: no outcome within %" PRId64 " ms", id, passed_ms);
    AUTO_FREE char *reason = ctl_kafka_explain(kafka, text);
    return command_fail(EX_TEMPFAIL, "%s", reason);
}

/* Both topics: a result would be a call of an event whose time has passed. */
static int send_and_await(const struct setup *setup, const struct options *options,
                          const struct canary *canary)
{
    AUTO_FREE char *error = NULL;
    AUTO_CTL_KAFKA struct ctl_kafka *kafka =
        ctl_kafka_open(CTL_KAFKA_READER, setup, options->timeout_ms);
    if (kafka == NULL) {
        return EX_CONFIG;
    }
    const struct config *config = setup->config;
    if (ctl_kafka_follow(kafka, config->daemon.results_topic, CTL_KAFKA_END, &error) < 0 ||
        ctl_kafka_follow(kafka, config->daemon.failures_topic, CTL_KAFKA_END, &error) < 0) {
        return command_fail(EX_UNAVAILABLE, "%s", error);
    }
    int64_t start_ms = clock_mono_ms();
    AUTO_FREE char *id = send_event(setup, options, canary);
    return id == NULL ? EX_UNAVAILABLE : await_outcome(kafka, options, canary, id, start_ms);
}

static int run(void *values)
{
    const struct options *options = values;
    const struct setup *setup = options->config.setup;
    struct merchant *merchant = options->mchid != NULL
                                    ? merchants_find(setup->merchants, options->mchid)
                                    : merchants_at(setup->merchants, 0);
    if (merchant == NULL) {
        return command_fail(EX_CONFIG, "merchant %s is not configured", options->mchid);
    }
    struct canary canary = {0};
    AUTO_FREE char *error = write_event(setup, merchant, &canary);
    int status = error != NULL ? command_fail(EX_CONFIG, "%s", error)
                               : send_and_await(setup, options, &canary);
    buf_deinit(&canary.value);
    return command_end(status);
}

const struct command command_canary = {
    .name = "canary",
    .summary = "prove the way through Kafka with an event that has expired",
    .arguments = "[-c FILE] [OPTION ...]",
    .about =
        "Sends an event whose expirytime has passed, and waits until its failure `expired` is\n"
        "visible. This proves that the brokers, the topics, the daemon and its transactions\n"
        "work. WeChat Pay is not called. The event's source is /presignctl/canary and its code\n"
        "begins with \"canary\": consumers of failures ignore these. No alert counts expired\n"
        "events one by one.\n"
        "\n"
        "The event is the first example of the endpoint's schema. It works in a timer:\n"
        "docs/operations.md has a sample unit.\n",
    .options = rows,
    .examples = "# once, by hand\n"
                "presignctl canary\n"
                "# as a check of a monitoring system\n"
                "presignctl canary --timeout-ms 10000 --json\n",
    .exits = exits,
    COMMAND_OPTIONS(struct options, .timeout_ms = TIMEOUT_MS),
    .setup = COMMAND_SETUP_WITHOUT_KEYS,
    .run = run,
};
