/* `presignctl topics`: creates or checks the three topics. */
#include "ctl/topics/topics.h"

#include "ctl/kit/commands.h"
#include "ctl/kit/config.h"
#include "ctl/kit/terminal.h"
#include "presignd/base/clock.h"
#include "presignd/base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

enum {
    PARTITIONS = 12, /* of a new topic; at most that many instances share the work */
    PARTITIONS_MAX = 10000,
    REPLICAS = 3,
    REPLICAS_MAX = 32,
    TEXT_WIDTH = 512,
    PAUSE_MS = 50,
};

struct options {
    struct ctl_config config;
    bool create, check, json;
    int64_t partitions, replicas, timeout_ms;
};

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    OPTION_ROW_FLAG(struct options, check, "check", "only check (default)"),
    OPTION_ROW_FLAG(struct options, create, "create", "create missing topics, then check"),
    OPTION_ROW_INT(struct options, partitions, "partitions", "N", 1, PARTITIONS_MAX,
                   "of each new topic (12); with --check: report a\ntopic that has fewer (default: "
                   "any number passes)"),
    OPTION_ROW_INT(struct options, replicas, "replication-factor", "N", 1, REPLICAS_MAX,
                   "of each new topic (3, or the number of brokers if\n"
                   "fewer); with --check: report one that has fewer"),
    OPTION_ROW_INT(struct options, timeout_ms, "timeout-ms", "N", 100, 600000,
                   "for each request to the cluster (10000)"),
    OPTION_ROW_JSON(struct options, json,
                    "{\"ok\", \"topics\": [{\"topic\", \"role\", \"exists\",\n"
                    "\"created\", \"partitions\", \"replication_factor\",\n"
                    "\"findings\": [{\"setting\", \"is\", \"should\", \"why\",\n"
                    "\"mend\"}]}]}"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "all three topics exist and are configured correctly"},
    EXIT_ROW_USAGE,
    {EX_DATAERR, "a topic does not exist or a setting is wrong; each finding was printed"},
    {EX_UNAVAILABLE, "no broker answers, or the ACLs forbid the request"},
    EXIT_ROW_CONFIG,
    {0},
};

/* --- Findings as text or JSON --- */

struct report {
    struct buf text, json; /* json: the topic's findings */
};

static void add_finding(void *context, const char *name, const char *value, const char *should,
                        const char *why, const char *mend)
{
    struct report *report = context;
    AUTO_FREE char *line = value == NULL
                               ? mem_strdup("the topic does not exist")
                               : mem_printf("%s is %s, should be %s", name, value, should);
    buf_puts(&report->text, "  ");
    terminal_paint(&report->text, RED, "✗", 1, false);
    buf_putc(&report->text, ' ');
    terminal_put(&report->text, line, TEXT_WIDTH, false);
    buf_printf(&report->text, "\n      %s\n      ", why);
    terminal_paint(&report->text, BOLD, mend, TEXT_WIDTH, false);
    buf_putc(&report->text, '\n');

    buf_puts(&report->json, report->json.len == 0 ? "{" : ",{");
    buf_json_member(&report->json, "setting", name);
    buf_json_member(&report->json, "is", value);
    buf_json_member(&report->json, "should", should);
    buf_json_member(&report->json, "why", why);
    buf_json_member(&report->json, "mend", mend);
    buf_putc(&report->json, '}');
}

static void add_heading(const struct topic *topic, size_t findings, struct buf *out)
{
    if (findings == 0) {
        terminal_paint(out, GREEN, "✓", 1, false);
        buf_putc(out, ' ');
    }
    terminal_paint(out, BOLD, topic->name, TEXT_WIDTH, false);
    if (topic->exists) {
        buf_printf(out, ": %s, %" PRId64 " partition%s, %" PRId64 " replica%s%s",
                   topic_role_name(topic->role), topic->partitions,
                   topic->partitions == 1 ? "" : "s", topic->replicas,
                   topic->replicas == 1 ? "" : "s", topic->created ? ", created" : "");
    } else {
        buf_printf(out, ": %s", topic_role_name(topic->role));
    }
    buf_putc(out, '\n');
}

static void add_json(const struct topic *topic, const struct buf *findings, struct buf *out)
{
    buf_puts(out, out->len == 0 ? "{" : ",{");
    buf_json_member(out, "topic", topic->name);
    buf_json_member(out, "role", topic_role_name(topic->role));
    buf_json_member_bool(out, "exists", topic->exists);
    buf_json_member_bool(out, "created", topic->created);
    if (topic->exists) {
        buf_json_member_int(out, "partitions", topic->partitions);
        buf_json_member_int(out, "replication_factor", topic->replicas);
    }
    buf_json_name(out, "findings");
    buf_printf(out, "[%s]}", findings->data == NULL ? "" : findings->data);
}

/* True when there are no findings. */
static bool print_report(const struct topic *topics, const struct topic_required *required,
                         const char *bootstrap, bool json)
{
    AUTO_BUF struct buf all = {0};
    AUTO_BUF struct buf text = {0};
    size_t count = 0;
    for (size_t i = 0; i < TOPIC_ROLES; i++) {
        struct report report = {0};
        size_t findings =
            topic_check_settings(&topics[i], required, bootstrap, add_finding, &report);
        add_heading(&topics[i], findings, &text);
        buf_append(&text, report.text.data, report.text.len);
        add_json(&topics[i], &report.json, &all);
        buf_deinit(&report.text);
        buf_deinit(&report.json);
        count += findings;
    }
    if (json) {
        (void)printf("{\"ok\":%s,\"topics\":[%s]}\n", count == 0 ? "true" : "false", all.data);
    } else {
        (void)fputs(text.data, stdout);
    }
    return count == 0;
}

/* --- The cluster --- */

/* A new topic may be unknown for a moment to the broker that gets the next request. */
static bool await_topic(struct ctl_kafka *kafka, struct topic *topic, char **error)
{
    int64_t end_ms = clock_mono_ms() + ctl_kafka_timeout(kafka);
    while (topics_describe(kafka, topic, error)) {
        if (topic->exists || clock_mono_ms() >= end_ms) {
            return true;
        }
        (void)rd_kafka_poll(ctl_kafka_handle(kafka), PAUSE_MS);
    }
    return false;
}

static bool check_topic(struct ctl_kafka *kafka, struct topic *topic,
                        const struct topic_required *required, bool create, char **error)
{
    if (!topics_describe(kafka, topic, error)) {
        return false;
    }
    if (topic->exists || !create) {
        return true;
    }
    return topic_create(kafka, topic, required, error) && await_topic(kafka, topic, error);
}

static int check_topics(struct ctl_kafka *kafka, const struct setup *setup,
                        const struct options *options)
{
    AUTO_FREE char *error = NULL;
    struct topic topics[TOPIC_ROLES] = {
        {.role = TOPIC_REQUESTS, .name = setup->config->daemon.requests_topic},
        {.role = TOPIC_RESULTS, .name = setup->config->daemon.results_topic},
        {.role = TOPIC_FAILURES, .name = setup->config->daemon.failures_topic},
    };
    int brokers = topics_brokers(kafka, &error);
    bool ok = brokers > 0;
    struct topic_required required = {
        .partitions = options->partitions != 0 ? options->partitions : PARTITIONS,
        .replicas = options->replicas != 0 ? options->replicas
                    : brokers < REPLICAS   ? brokers
                                           : REPLICAS,
        .max_event_bytes = setup->config->daemon.max_event_bytes,
    };
    for (size_t i = 0; ok && i < TOPIC_ROLES; i++) {
        ok = check_topic(kafka, &topics[i], &required, options->create, &error);
    }
    required.partitions = options->partitions;
    int status = EX_UNAVAILABLE;
    if (!ok) {
        command_fail(status, "%s", error != NULL ? error : "no brokers");
    } else {
        AUTO_FREE char *bootstrap = ctl_kafka_property(setup, "bootstrap.servers");
        status = print_report(topics, &required, bootstrap, options->json) ? EX_OK : EX_DATAERR;
    }
    for (size_t i = 0; i < TOPIC_ROLES; i++) {
        topic_deinit(&topics[i]);
    }
    return command_end(status);
}

static int check(void *values)
{
    const struct options *options = values;
    return options->create && options->check ? command_usage("give --create or --check")
                                             : COMMAND_GO_ON;
}

static int run(void *values)
{
    const struct options *options = values;
    const struct setup *setup = options->config.setup;
    /* A reader: a sender also requests a producer id. */
    AUTO_CTL_KAFKA struct ctl_kafka *kafka =
        ctl_kafka_open(CTL_KAFKA_READER, setup, options->timeout_ms);
    return kafka == NULL ? EX_CONFIG : check_topics(kafka, setup, options);
}

const struct command command_topics = {
    .name = "topics",
    .summary = "create or check the three topics",
    .arguments = "[--create | --check] [-c FILE] [OPTION ...]",
    .about = "Checks the topics of requests, results and failures that the configuration names:\n"
             "whether they exist, their partitions and replicas, and every setting that\n"
             "presignd's guarantees depend on. Each finding comes with the reason and the command\n"
             "that fixes it. --create creates missing topics; existing topics are never changed.\n"
             "\n"
             "ACLs: Describe and DescribeConfigs on the topics, and Create for --create.\n",
    .options = rows,
    .more = topic_settings_help,
    .examples = "# a new cluster\n"
                "presignctl topics --create --partitions 24\n"
                "# only the commands that fix findings, for example in a pre-release check\n"
                "presignctl topics --json | jq -r '.topics[].findings[].mend'\n",
    .exits = exits,
    COMMAND_OPTIONS(struct options, .timeout_ms = 10000),
    .setup = COMMAND_SETUP_WITHOUT_KEYS,
    .check = check,
    .run = run,
};
