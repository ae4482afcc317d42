/* `presignctl find CODE`: where the events of one contract are now.
 *
 * The requests topic is read first, then the daemons are asked, then the outcomes are read: an
 * event that a daemon has just ended has its outcome by then. The partitions that the code's key
 * has by the usual partitioners are read first. The others are read unless something was found, and
 * a daemon has it or its outcome is there: a sender may choose any key, or none.
 */
#include "ctl/find/find.h"

#include "ctl/kit/commands.h"
#include "ctl/kit/control_client.h"
#include "ctl/kit/kafka.h"
#include "ctl/kit/outcome_filter.h"
#include "presignd/base/clock.h"
#include "presignd/base/mem.h"
#include "presignd/flow/pipeline.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { SOCKETS_MAX = 16, TIMEOUT_MS = 30000, SINCE_MS = 3600000, CODE_MAX = 32 };

struct options {
    struct outcome_options outcomes; /* only since_ms of the filter is used */
    const char *code, *mchid;
    const char *sockets[SOCKETS_MAX];
    size_t socket_count;
    int64_t timeout_ms;
    bool json;
};

static char *take_socket(void *values, const char *text)
{
    struct options *options = values;
    if (options->socket_count == SOCKETS_MAX) {
        return mem_printf("may be given %d times at most", SOCKETS_MAX);
    }
    options->sockets[options->socket_count++] = text;
    return NULL;
}

static const struct option_row code = OPTION_ROW_TEXT(struct options, code, "CODE", NULL, "");

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    OPTION_ROW_TEXT(struct options, mchid, "merchant", "MCHID", "only of that merchant"),
    OPTION_ROW_EACH(outcome_filter_since, "since", "TIME",
                    "records at or after that time\n(2026-11-25T08:00:00Z) or age (1h)"),
    OPTION_ROW_EACH(take_socket, "control", "PATH",
                    "a daemon's control socket; may be repeated\n"
                    "(default: daemon.control_socket of the\nconfiguration)"),
    OPTION_ROW_INT(struct options, timeout_ms, "timeout-ms", "N", 100, 3600000,
                   "for all of it (30000)"),
    OPTION_ROW_JSON(struct options, json,
                    "a line of JSON for each event: {\"event\", \"state\",\n"
                    "\"outcomes\", ...}"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "found"},
    EXIT_ROW_USAGE,
    {EX_DATAERR, "not found in that time; what could not be read was printed"},
    EXIT_ROW_KAFKA,
    EXIT_ROW_CONFIG,
    {0},
};

struct finding {
    const struct options *options;
    const struct setup *setup;
    struct ctl_kafka *kafka;
    struct found found;
    int64_t end_ms; /* mono */
    bool late;      /* not all was read in time */
};

static bool is_late(struct finding *finding)
{
    finding->late = finding->late || clock_mono_ms() >= finding->end_ms;
    return finding->late;
}

/* --- Topics --- */

typedef void take_fn(struct found *found, const rd_kafka_message_t *message);

/* False and an error: a broker does not answer. */
static bool read_partition(struct finding *finding, const char *topic, int32_t partition,
                           take_fn *take, char **error)
{
    int64_t from;
    if (!ctl_kafka_offset_at(finding->kafka, topic, partition,
                             finding->options->outcomes.filter.since_ms, &from, error)) {
        return false;
    }
    if (from < 0) { /* no record since then */
        return true;
    }
    if (!ctl_kafka_seek(finding->kafka, topic, partition, from, error)) {
        return false;
    }
    enum ctl_read read = CTL_READ_RECORD;
    while (read == CTL_READ_RECORD && !is_late(finding)) {
        rd_kafka_message_t *message = NULL;
        read = ctl_kafka_read(finding->kafka, &message, error);
        if (read == CTL_READ_RECORD) {
            take(&finding->found, message);
            rd_kafka_message_destroy(message);
        }
    }
    return read != CTL_READ_FAILED;
}

/* Whether a producer with a usual partitioner writes the key there: librdkafka's (CRC32) or the
 * Java client's (murmur2). */
static bool is_usual(const char *key, int32_t partition, int32_t count)
{
    size_t len = strlen(key);
    return rd_kafka_msg_partitioner_consistent(NULL, key, len, count, NULL, NULL) == partition ||
           rd_kafka_msg_partitioner_murmur2(NULL, key, len, count, NULL, NULL) == partition;
}

/* The partitions of the key, or all others. */
static bool read_topic(struct finding *finding, const char *topic, bool usual, take_fn *take,
                       char **error)
{
    int count = ctl_kafka_partitions(finding->kafka, topic, error);
    bool read = count >= 0;
    for (int32_t partition = 0; read && partition < count && !is_late(finding); partition++) {
        if (is_usual(finding->options->code, partition, count) == usual) {
            read = read_partition(finding, topic, partition, take, error);
        }
    }
    return read;
}

/* --- Daemons --- */

/* What a daemon leaves out looks unread. */
static void take_daemon(struct finding *finding, const char *listen, const json_t *events)
{
    found_take_daemon(&finding->found, events);
    if (json_array_size(events) >= PIPELINE_FIND_MAX) {
        (void)fprintf(stderr,
                      "presignctl find: %s tells of %d events at most: it may have others, which "
                      "are shown as unread\n",
                      listen, PIPELINE_FIND_MAX);
    }
}

/* A daemon that does not answer is told and passed over: it may be stopped. */
static void ask_daemon(struct finding *finding, const char *listen)
{
    AUTO_FREE char *error = NULL;
    AUTO_JSON json_t *answer = NULL;
    AUTO_FREE char *path = mem_printf("/v1/find?code=%s", finding->options->code);
    int64_t left_ms = finding->end_ms - clock_mono_ms();
    int status =
        control_client_try(listen, path, NULL, left_ms < 100 ? 100 : left_ms, &answer, &error);
    if (status == 200) {
        take_daemon(finding, listen, json_object_get(answer, "events"));
    } else {
        (void)fprintf(stderr, "presignctl find: what a daemon has is not known: %s\n",
                      error != NULL ? error : json_text(answer, "error"));
    }
}

static void ask_daemons(struct finding *finding)
{
    const struct options *options = finding->options;
    for (size_t i = 0; i < options->socket_count; i++) {
        AUTO_FREE char *listen = mem_printf("unix:%s", options->sockets[i]);
        ask_daemon(finding, listen);
    }
    if (options->socket_count == 0) {
        AUTO_FREE char *listen = control_client_listen(&options->outcomes.config, NULL);
        if (listen != NULL) {
            ask_daemon(finding, listen);
        }
    }
}

/* --- All of it --- */

static bool find_in(struct finding *finding, bool usual, char **error)
{
    const struct config *config = finding->setup->config;
    if (!read_topic(finding, config->daemon.requests_topic, usual, found_take_request, error)) {
        return false;
    }
    if (usual) {
        ask_daemons(finding);
    }
    return read_topic(finding, config->daemon.results_topic, usual, found_take_outcome, error) &&
           read_topic(finding, config->daemon.failures_topic, usual, found_take_outcome, error);
}

static int show(struct finding *finding)
{
    const struct options *options = finding->options;
    AUTO_BUF struct buf out = {0};
    found_finish(&finding->found);
    buf_reserve(&out, 1);
    if (options->json) {
        found_json(&finding->found, &out);
    } else {
        found_text(&finding->found, &out);
    }
    (void)fwrite(out.data, 1, out.len, stdout);
    if (finding->found.left_out > 0) {
        (void)fprintf(stderr, "presignctl find: more than %d events; narrow --since\n", FOUND_MAX);
    }
    if (finding->late) {
        (void)fprintf(stderr,
                      "presignctl find: not all records were read within %" PRId64
                      " ms: narrow --since, or raise --timeout-ms\n",
                      options->timeout_ms);
    }
    if (found_count(&finding->found) == 0) {
        return command_fail(EX_DATAERR, "no event of %s since then", options->code);
    }
    return command_end(EX_OK);
}

static bool code_valid(const char *text)
{
    size_t len = strlen(text);
    /* The characters of the API's documents; they need no escape in a URL or in JSON. */
    return len > 0 && len <= CODE_MAX &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == len;
}

static int check(void *values)
{
    struct options *options = values;
    struct outcome_filter *filter = &options->outcomes.filter;
    if (!code_valid(options->code)) {
        return command_usage("CODE is an out_contract_code: at most %d letters and digits",
                             CODE_MAX);
    }
    if (filter->since_ms == INT64_MIN) {
        filter->since_ms = clock_wall_ms() - SINCE_MS;
    }
    return COMMAND_GO_ON;
}

static int run(void *values)
{
    const struct options *options = values;
    const struct setup *setup = options->outcomes.config.setup;
    AUTO_FREE char *error = NULL;
    struct finding finding = {
        .options = options,
        .setup = setup,
        .kafka = ctl_kafka_open(CTL_KAFKA_SCANNER, setup, options->timeout_ms),
        .end_ms = clock_mono_ms() + options->timeout_ms,
    };
    if (finding.kafka == NULL) {
        return EX_CONFIG;
    }
    found_init(&finding.found, options->code, options->mchid);
    bool read = find_in(&finding, true, &error);
    if (read && !found_all_known(&finding.found)) {
        read = find_in(&finding, false, &error);
    }
    int status = read ? show(&finding) : command_fail(EX_UNAVAILABLE, "%s", error);
    found_deinit(&finding.found);
    ctl_kafka_free(finding.kafka);
    return status;
}

const struct command command_find = {
    .name = "find",
    .summary = "show where the events of one contract are now",
    .arguments = "CODE [-c FILE] [OPTION ...]",
    .about =
        "Shows each event with that out_contract_code and its state:\n"
        "\n"
        "  unread     no daemon that was asked has it\n"
        "  waiting, held, calling, retry\n"
        "             a daemon has it; held says by what, and until when\n"
        "  completed  its outcome is not visible yet\n"
        "  succeeded, failed\n"
        "             its outcomes are listed; a result is valid, whatever else there is\n"
        "\n"
        "It reads the topics since --since and asks the daemons on their control sockets, which\n"
        "only root may do. The partitions of the code's key are read first. The others are read\n"
        "if these have no event of it, or one that no daemon has and that has no outcome there.\n",
    .operand = &code,
    .options = rows,
    .examples = "# with what this host's daemon has\n"
                "sudo presignctl find wxwtdk20200910100000\n"
                "# of yesterday\n"
                "presignctl find C1 --since 2d --json\n",
    .exits = exits,
    COMMAND_OPTIONS(struct options, .timeout_ms = TIMEOUT_MS,
                    .outcomes.filter = OUTCOME_FILTER_ALL),
    .setup = COMMAND_SETUP_WITHOUT_KEYS,
    .check = check,
    .run = run,
};
