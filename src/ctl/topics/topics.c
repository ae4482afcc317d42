/* `presignctl topics`: the three topics, made or judged. */
#include "ctl/topics/topics.h"

#include "ctl/commands.h"
#include "ctl/kit/config.h"
#include "ctl/kit/terminal.h"
#include "presignd/base/clock.h"
#include "presignd/base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

enum {
    PARTITIONS = 12, /* of a new topic: room for as many instances */
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
    OPTION_ROW_FLAG(struct options, check, "check", "only looks (default)"),
    OPTION_ROW_FLAG(struct options, create, "create", "makes those that are not there, then looks"),
    OPTION_ROW_INT(
        struct options, partitions, "partitions", "N", 1, PARTITIONS_MAX,
        "of each new topic (12); with --check: fewer are a\nfinding (any number is right)"),
    OPTION_ROW_INT(struct options, replicas, "replication-factor", "N", 1, REPLICAS_MAX,
                   "of each new topic; with --check: fewer are a\n"
                   "finding (3, or as many as there are brokers)"),
    OPTION_ROW_INT(struct options, timeout_ms, "timeout-ms", "N", 100, 600000,
                   "for each answer of the cluster (10000)"),
    OPTION_ROW_JSON(struct options, json,
                    "{\"ok\", \"topics\": [{\"topic\", \"role\", \"exists\",\n"
                    "\"created\", \"partitions\", \"replication_factor\",\n"
                    "\"findings\": [{\"setting\", \"is\", \"should\", \"why\",\n"
                    "\"mend\"}]}]}"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "all three are there and right"},
    EXIT_ROW_USAGE,
    {EX_DATAERR, "a topic is not there, or a setting is wrong: each was told"},
    {EX_UNAVAILABLE, "no broker answers, or it refuses (a right is missing)"},
    EXIT_ROW_CONFIG,
    {0},
};

/* --- The verdict as text or JSON --- */

struct telling {
    bool colours;
    struct buf text, json; /* json: the topic's findings */
};

static void tell_finding(void *context, const char *name, const char *value, const char *should,
                         const char *why, const char *mend)
{
    struct telling *telling = context;
    AUTO_FREE char *line = value == NULL
                               ? mem_strdup("there is no such topic")
                               : mem_printf("%s is %s, should be %s", name, value, should);
    buf_puts(&telling->text, "  ");
    terminal_paint(&telling->text, telling->colours, RED, "✗", 1, false);
    buf_putc(&telling->text, ' ');
    terminal_put(&telling->text, line, TEXT_WIDTH, false);
    buf_printf(&telling->text, "\n      %s\n      ", why);
    terminal_paint(&telling->text, telling->colours, BOLD, mend, TEXT_WIDTH, false);
    buf_putc(&telling->text, '\n');

    buf_puts(&telling->json, telling->json.len == 0 ? "{" : ",{");
    buf_json_member(&telling->json, "setting", name);
    buf_json_member(&telling->json, "is", value);
    buf_json_member(&telling->json, "should", should);
    buf_json_member(&telling->json, "why", why);
    buf_json_member(&telling->json, "mend", mend);
    buf_putc(&telling->json, '}');
}

static void tell_heading(const struct topic *topic, size_t findings, bool colours, struct buf *out)
{
    if (findings == 0) {
        terminal_paint(out, colours, GREEN, "✓", 1, false);
        buf_putc(out, ' ');
    }
    terminal_paint(out, colours, BOLD, topic->name, TEXT_WIDTH, false);
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

static void tell_json(const struct topic *topic, const struct buf *findings, struct buf *out)
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

/* True when all is right. */
static bool tell(const struct topic *topics, const struct topic_wish *wish, const char *bootstrap,
                 bool json)
{
    AUTO_BUF struct buf all = {0};
    AUTO_BUF struct buf text = {0};
    size_t count = 0;
    for (size_t i = 0; i < TOPIC_ROLES; i++) {
        struct telling telling = {.colours = terminal_colours(stdout)};
        size_t findings = topic_judge(&topics[i], wish, bootstrap, tell_finding, &telling);
        tell_heading(&topics[i], findings, telling.colours, &text);
        buf_append(&text, telling.text.data, telling.text.len);
        tell_json(&topics[i], &telling.json, &all);
        buf_deinit(&telling.text);
        buf_deinit(&telling.json);
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

/* A topic that was just made may be unknown for a moment to the broker that is asked next. */
static bool await_topic(struct ctl_kafka *kafka, struct topic *topic, char **error)
{
    int64_t end_ms = clock_now(&clock_system).mono_ms + ctl_kafka_timeout(kafka);
    while (topics_describe(kafka, topic, error)) {
        if (topic->exists || clock_now(&clock_system).mono_ms >= end_ms) {
            return true;
        }
        (void)rd_kafka_poll(ctl_kafka_handle(kafka), PAUSE_MS);
    }
    return false;
}

static bool look_at(struct ctl_kafka *kafka, struct topic *topic, const struct topic_wish *wish,
                    bool create, char **error)
{
    if (!topics_describe(kafka, topic, error)) {
        return false;
    }
    if (topic->exists || !create) {
        return true;
    }
    return topic_create(kafka, topic, wish, error) && await_topic(kafka, topic, error);
}

static int look(struct ctl_kafka *kafka, const struct setup *setup, const struct options *options)
{
    AUTO_FREE char *error = NULL;
    struct topic topics[TOPIC_ROLES] = {
        {.role = TOPIC_REQUESTS, .name = setup->config->daemon.requests_topic},
        {.role = TOPIC_RESULTS, .name = setup->config->daemon.results_topic},
        {.role = TOPIC_FAILURES, .name = setup->config->daemon.failures_topic},
    };
    int brokers = topics_brokers(kafka, &error);
    bool well = brokers > 0;
    struct topic_wish wish = {
        .partitions = options->partitions != 0 ? options->partitions : PARTITIONS,
        .replicas = options->replicas != 0 ? options->replicas
                    : brokers < REPLICAS   ? brokers
                                           : REPLICAS,
        .max_event_bytes = setup->config->daemon.max_event_bytes,
    };
    for (size_t i = 0; well && i < TOPIC_ROLES; i++) {
        well = look_at(kafka, &topics[i], &wish, options->create, &error);
    }
    wish.partitions = options->partitions;
    int status = EX_UNAVAILABLE;
    if (!well) {
        command_fail(&command_topics, status, "%s", error != NULL ? error : "no brokers");
    } else {
        AUTO_FREE char *bootstrap =
            ctl_kafka_property(setup->properties, setup->property_count, "bootstrap.servers");
        status = tell(topics, &wish, bootstrap, options->json) ? EX_OK : EX_DATAERR;
    }
    for (size_t i = 0; i < TOPIC_ROLES; i++) {
        topic_deinit(&topics[i]);
    }
    return command_end(&command_topics, status);
}

static int with_kafka(const struct setup *setup, const struct options *options)
{
    AUTO_FREE char *error = NULL;
    /* A reader, for a sender would ask for a producer's id, too. */
    struct ctl_kafka *kafka =
        ctl_kafka_reader(setup->properties, setup->property_count, options->timeout_ms, &error);
    if (kafka == NULL) {
        return command_fail(&command_topics, EX_CONFIG, "%s", error);
    }
    int status = look(kafka, setup, options);
    ctl_kafka_free(kafka);
    return status;
}

static int run(int argc, char **argv)
{
    struct options options = {.timeout_ms = 10000};
    int status = command_options(&command_topics, argc, argv, &options);
    if (status != COMMAND_GO_ON) {
        return status;
    }
    if (options.create && options.check) {
        return command_usage(&command_topics, "give --create or --check");
    }
    terminal_init();
    struct setup *setup = ctl_setup(&command_topics, &options.config, true);
    status = setup == NULL ? EX_CONFIG : with_kafka(setup, &options);
    setup_free(setup);
    return status;
}

const struct command command_topics = {
    .name = "topics",
    .summary = "create the three topics, or say what is wrong with them",
    .arguments = "[--create | --check] [-c FILE] [OPTION ...]",
    .about = "Looks at the topics of requests, results and failures that the configuration names:\n"
             "whether they are there, their partitions and replicas, and every setting on which a\n"
             "promise of presignd rests. What is wrong comes with the reason and with the command\n"
             "that mends it. --create makes the topics that are not there; one that is there is\n"
             "never changed.\n"
             "\n"
             "It needs the right to Describe and DescribeConfigs the topics, and to Create them.\n",
    .options = rows,
    .more = topic_settings_help,
    .examples = "# a new cluster\n"
                "presignctl topics --create --partitions 24\n"
                "# in a check before a release: only the commands that mend\n"
                "presignctl topics --json | jq -r '.topics[].findings[].mend'\n",
    .exits = exits,
    .run = run,
};
