/* The publisher's verdict on each error of a broker, on librdkafka's mock cluster, which returns
 * rare errors on demand. It stores no transactional offsets, so test_broker.py tests commits whose
 * result is unknown.
 */
#include "kafka/detached.h"
#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/kafka/producer.h"
#include "presignd/kafka/publisher.h"

#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#define LEAKS_IGNORE_BEGIN __lsan_disable
#define LEAKS_IGNORE_END   __lsan_enable
#else
#define LEAKS_IGNORE_BEGIN() (void)0
#define LEAKS_IGNORE_END()   (void)0
#endif

enum {
    LIMIT_MS = 180000, /* that only a broken program reaches */
    LATE_MS = 300,     /* an answer without an error comes so late */
};

/* https://kafka.apache.org/protocol#protocol_api_keys */
enum {
    PRODUCE = 0,
    FIND_COORDINATOR = 10,
    INIT_PRODUCER_ID = 22,
    ADD_PARTITIONS = 24,
    ADD_OFFSETS = 25,
    END_TXN = 26,
    TXN_OFFSET_COMMIT = 28
};

struct answer {
    int16_t request;
    rd_kafka_resp_err_t error;
    unsigned times;
};

struct scenario {
    const char *name;
    struct answer answers[2];
    enum transaction_verdict verdict;
};

/* After each scenario that does not end as fenced, a batch without errors is committed. */
static const struct scenario scenarios[] = {
    {"no error", {{0}}, TRANSACTION_COMMITTED},
    {"markers of the previous transaction are being written",
     {{ADD_OFFSETS, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, 3}},
     TRANSACTION_COMMITTED},
    {"the same at the partitions",
     {{ADD_PARTITIONS, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, 2}},
     TRANSACTION_COMMITTED},
    {"coordinator moves before the offsets",
     {{ADD_OFFSETS, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, 1}},
     TRANSACTION_COMMITTED},
    {"coordinator loads at the commit",
     {{END_TXN, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 2}},
     TRANSACTION_COMMITTED},
    {"coordinator moves at the commit",
     {{END_TXN, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, 1}},
     TRANSACTION_COMMITTED},
    {"generation has ended",
     {{TXN_OFFSET_COMMIT, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, 1}},
     TRANSACTION_STALE},
    {"member is gone",
     {{TXN_OFFSET_COMMIT, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, 1}},
     TRANSACTION_STALE},
    {"instance has joined again",
     {{TXN_OFFSET_COMMIT, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, 1}},
     TRANSACTION_STALE},
    {"no right to the group",
     {{TXN_OFFSET_COMMIT, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 1}},
     TRANSACTION_ABORTED},
    {"no right to the topic, at its partitions",
     {{ADD_PARTITIONS, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 1}},
     TRANSACTION_RECORDS_REFUSED},
    {"no right to the topic, at the records",
     {{PRODUCE, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 1}},
     TRANSACTION_RECORDS_REFUSED},
    {"record too large",
     {{PRODUCE, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, 1}},
     TRANSACTION_RECORDS_REFUSED},
    {"no right to the topic, while the offsets wait for the group's coordinator",
     {{ADD_PARTITIONS, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 1},
      {FIND_COORDINATOR, RD_KAFKA_RESP_ERR_NO_ERROR, 1}},
     TRANSACTION_RECORDS_REFUSED},
    {"record too large, while the offsets wait for the group's coordinator",
     {{PRODUCE, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, 1},
      {FIND_COORDINATOR, RD_KAFKA_RESP_ERR_NO_ERROR, 1}},
     TRANSACTION_RECORDS_REFUSED},
    {"leader moves",
     {{PRODUCE, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 1}},
     TRANSACTION_COMMITTED},
    {"producer id has expired",
     {{ADD_PARTITIONS, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, 1}},
     TRANSACTION_ABORTED},
    {"wrong state before the commit",
     {{ADD_OFFSETS, RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, 1}},
     TRANSACTION_ABORTED},
    {"wrong state at the commit, so its result is unknown",
     {{END_TXN, RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, 1}},
     TRANSACTION_ABORTED},
    {"unknown error at the commit, then aborted",
     {{END_TXN, RD_KAFKA_RESP_ERR_UNKNOWN, 1}},
     TRANSACTION_ABORTED},
    {"fenced by another process, reported by the partition first",
     {{PRODUCE, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, 1},
      {INIT_PRODUCER_ID, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, 1}},
     TRANSACTION_FENCED},
    {"fenced by another process, reported by the abort",
     {{PRODUCE, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 1},
      {END_TXN, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, 1}},
     TRANSACTION_FENCED},
    {"fenced by another process",
     {{END_TXN, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, 1}},
     TRANSACTION_FENCED},
};

/* librdkafka loses its copy of the positions when a fatal error ends the call before the
 * coordinator has answered and the client is destroyed then (2.0.2). The names for --wrap.
 * NOLINTBEGIN(bugprone-reserved-identifier) */
rd_kafka_error_t *__real_rd_kafka_send_offsets_to_transaction(
    rd_kafka_t *client, const rd_kafka_topic_partition_list_t *offsets,
    const rd_kafka_consumer_group_metadata_t *group_metadata, int timeout_ms);
rd_kafka_error_t *__wrap_rd_kafka_send_offsets_to_transaction(
    rd_kafka_t *client, const rd_kafka_topic_partition_list_t *offsets,
    const rd_kafka_consumer_group_metadata_t *group_metadata, int timeout_ms);
rd_kafka_error_t *__wrap_rd_kafka_send_offsets_to_transaction(
    rd_kafka_t *client, const rd_kafka_topic_partition_list_t *offsets,
    const rd_kafka_consumer_group_metadata_t *group_metadata, int timeout_ms)
{
    LEAKS_IGNORE_BEGIN();
    rd_kafka_error_t *error =
        __real_rd_kafka_send_offsets_to_transaction(client, offsets, group_metadata, timeout_ms);
    LEAKS_IGNORE_END();
    return error;
}
/* NOLINTEND(bugprone-reserved-identifier) */

struct run {
    struct loop *loop;
    struct transaction_end end;
    char last_error[256];
};

static void on_ended(void *context, const struct transaction_end *end)
{
    struct run *run = context;
    run->end = *end;
    (void)snprintf(run->last_error, sizeof run->last_error, "%s",
                   end->last_error == NULL ? "" : end->last_error);
    loop_stop(run->loop, 0);
}

static void on_deadline(void *context)
{
    struct run *run = context;
    loop_stop(run->loop, 1);
}

/* False when it does not end within LIMIT_MS. */
static bool batch_run(struct run *run, struct publisher *publisher,
                      struct group_metadata *group_metadata)
{
    static const struct transaction_record records[] = {
        {0, "k", 1, "one", 3, NULL, 0},
    };
    const struct transaction_position positions[] = {{0, 5, "done"}, {1, 7, ""}};
    const struct transaction_batch batch = {.group_metadata = group_metadata,
                                            .records = records,
                                            .record_count = ARRAY_LENGTH(records),
                                            .positions = positions,
                                            .position_count = ARRAY_LENGTH(positions)};
    struct loop_timer deadline;
    loop_timer_init(&deadline, run->loop, on_deadline, run);
    loop_timer_set(&deadline, clock_now(&clock_system).mono_ms + LIMIT_MS);
    publisher_submit(publisher, &batch);
    bool ended = loop_run(run->loop) == 0;
    loop_timer_stop(&deadline);
    return ended;
}

static void answers_push(rd_kafka_mock_cluster_t *cluster, const struct answer *answer)
{
    for (unsigned i = 0; i < answer->times; i++) {
        if (answer->error == RD_KAFKA_RESP_ERR_NO_ERROR) {
            (void)rd_kafka_mock_broker_push_request_error_rtts(cluster, 1, answer->request, 1,
                                                               answer->error, LATE_MS);
        } else {
            rd_kafka_mock_push_request_errors(cluster, answer->request, 1, answer->error);
        }
    }
}

/* The answers of a scenario must not meet the request for the transactional.id. */
static bool held_wait(const struct publisher *publisher)
{
    int64_t end_ms = clock_now(&clock_system).mono_ms + LIMIT_MS;
    const struct timespec pause = {.tv_nsec = 1000000};
    while (publisher_id_state(publisher) != PRODUCER_ID_HELD &&
           clock_now(&clock_system).mono_ms < end_ms) {
        (void)nanosleep(&pause, NULL);
    }
    return publisher_id_state(publisher) == PRODUCER_ID_HELD;
}

static bool scenario_run(struct run *run, const struct scenario *scenario,
                         rd_kafka_mock_cluster_t *cluster, struct publisher *publisher,
                         struct group_metadata *group_metadata)
{
    bool held = held_wait(publisher);
    for (size_t i = 0; i < ARRAY_LENGTH(scenario->answers); i++) {
        answers_push(cluster, &scenario->answers[i]);
    }
    bool ended = held && batch_run(run, publisher, group_metadata);
    bool right = ended && run->end.verdict == scenario->verdict &&
                 (run->end.verdict == TRANSACTION_COMMITTED) == (run->last_error[0] == '\0');
    printf("%s %s: %s %d %s\n", right ? "ok  " : "FAIL", scenario->name,
           ended ? "verdict" : "no end,", (int)run->end.verdict, run->last_error);
    if (right && scenario->verdict != TRANSACTION_FENCED) {
        right =
            batch_run(run, publisher, group_metadata) && run->end.verdict == TRANSACTION_COMMITTED;
        printf("%s   then a batch without errors: %d %s\n", right ? "ok  " : "FAIL",
               (int)run->end.verdict, run->last_error);
    }
    return right;
}

/* --- The id is denied while the result of a commit is unknown --- */

struct denied_run {
    struct run run;
    struct publisher *publisher;
    struct loop_timer look;
    rd_kafka_mock_cluster_t *cluster;
    const struct transaction_batch *batch;
    bool submitted, seen;
};

/* Revokes the right to the id with the commit, and grants it again once that was seen. */
static void on_id_state(void *context)
{
    struct denied_run *test = context;
    enum producer_id_state id_state = publisher_id_state(test->publisher);
    const struct answer answers[] = {
        {END_TXN, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, 1},
        {INIT_PRODUCER_ID, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, 1000}};
    if (!test->submitted && id_state == PRODUCER_ID_HELD) {
        test->submitted = true;
        answers_push(test->cluster, &answers[0]);
        answers_push(test->cluster, &answers[1]);
        publisher_submit(test->publisher, test->batch);
    } else if (test->submitted && !test->seen && id_state == PRODUCER_ID_DENIED) {
        test->seen = true;
        rd_kafka_mock_clear_request_errors(test->cluster, INIT_PRODUCER_ID);
    }
    loop_timer_set(&test->look, clock_now(&clock_system).mono_ms + 20);
}

static void on_denied_ended(void *context, const struct transaction_end *end)
{
    struct denied_run *test = context;
    on_ended(&test->run, end);
}

static int id_is_denied(const struct producer_config *config, struct group_metadata *group_metadata,
                        rd_kafka_mock_cluster_t *cluster)
{
    static const struct transaction_position position = {0, 5, "done"};
    const struct transaction_batch batch = {
        .group_metadata = group_metadata, .positions = &position, .position_count = 1};
    struct denied_run test = {.run = {.loop = loop_new()}, .cluster = cluster, .batch = &batch};
    struct loop_timer deadline;
    char *error = NULL;
    test.publisher = publisher_new(test.run.loop, config, on_denied_ended, &test, &error);
    loop_timer_init(&deadline, test.run.loop, on_deadline, &test.run);
    loop_timer_set(&deadline, clock_now(&clock_system).mono_ms + LIMIT_MS);
    loop_timer_init(&test.look, test.run.loop, on_id_state, &test);
    loop_timer_set(&test.look, 0);
    bool ended = loop_run(test.run.loop) == 0;
    bool right = ended && test.seen && test.run.end.verdict == TRANSACTION_ABORTED;
    printf("%s the id is denied while the result of a commit is unknown: %s, %s, verdict %d\n",
           right ? "ok  " : "FAIL", test.seen ? "reported" : "not reported",
           ended ? "ended" : "no end", (int)test.run.end.verdict);
    loop_timer_stop(&test.look);
    loop_timer_stop(&deadline);
    rd_kafka_mock_clear_request_errors(cluster, INIT_PRODUCER_ID);
    publisher_free(test.publisher, 5000);
    loop_free(test.run.loop);
    return right ? 0 : 1;
}

/* The coordinator answers a request for the id with a fence when another request overtakes it.
 * While a late request of our own is possible, this does not prove another process. This test is
 * the last one, since the possibility lasts for ten minutes. */
static int late_request_fences(const struct producer_config *config,
                               struct group_metadata *group_metadata,
                               rd_kafka_mock_cluster_t *cluster)
{
    static const struct answer answers[] = {
        {END_TXN, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, 1},
        {INIT_PRODUCER_ID, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, 1}};
    struct run run = {.loop = loop_new()};
    char *error = NULL;
    struct publisher *publisher = publisher_new(run.loop, config, on_ended, &run, &error);
    bool right =
        batch_run(&run, publisher, group_metadata) && run.end.verdict == TRANSACTION_COMMITTED;
    producer_expect_late_fence();
    answers_push(cluster, &answers[0]);
    answers_push(cluster, &answers[1]);
    bool ended = batch_run(&run, publisher, group_metadata);
    right = right && ended && run.end.verdict == TRANSACTION_ABORTED;
    printf("%s fenced by a late request of ours while the id is acquired again: verdict %d %s\n",
           right ? "ok  " : "FAIL", (int)run.end.verdict, run.last_error);
    publisher_free(publisher, 5000);
    loop_free(run.loop);
    return right ? 0 : 1;
}

/* --- Without transactions --- */

/* Returns how many are marked, or SIZE_MAX when the batch does not end as expected. */
static size_t deliver(struct run *run, struct publisher *publisher,
                      const struct transaction_batch *batch, enum transaction_verdict expected)
{
    struct loop_timer deadline;
    size_t delivered = 0;
    loop_timer_init(&deadline, run->loop, on_deadline, run);
    loop_timer_set(&deadline, clock_now(&clock_system).mono_ms + LIMIT_MS);
    publisher_submit(publisher, batch);
    bool ended = loop_run(run->loop) == 0;
    loop_timer_stop(&deadline);
    for (size_t i = 0; i < batch->record_count; i++) {
        delivered += batch->delivered[i];
    }
    return ended && run->end.verdict == expected ? delivered : SIZE_MAX;
}

/* One record is refused, the other one is marked and not produced again. */
static int refused_in_part(struct producer_config config, struct group_metadata *group_metadata,
                           rd_kafka_mock_cluster_t *cluster)
{
    static const struct transaction_record records[] = {{0, "k", 1, "one", 3, NULL, 0},
                                                        {1, "k", 1, "two", 3, NULL, 0}};
    static const struct answer refusal = {PRODUCE, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, 1};
    static const struct answer never = {PRODUCE, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, 9};
    bool delivered[ARRAY_LENGTH(records)] = {false};
    enum refusal refusals[ARRAY_LENGTH(records)] = {REFUSAL_NONE};
    const struct transaction_batch batch = {.group_metadata = group_metadata,
                                            .records = records,
                                            .record_count = ARRAY_LENGTH(records),
                                            .refusals = refusals,
                                            .delivered = delivered};
    struct run run = {.loop = loop_new()};
    char *error = NULL;
    config.delivery = DELIVERY_AT_LEAST_ONCE;
    struct publisher *publisher = publisher_new(run.loop, &config, on_ended, &run, &error);
    answers_push(cluster, &refusal);
    size_t first = deliver(&run, publisher, &batch, TRANSACTION_RECORDS_REFUSED);
    bool right = first == 1 && run.end.refused == 1 &&
                 (refusals[0] == REFUSAL_SIZE) == !delivered[0] &&
                 (refusals[1] == REFUSAL_SIZE) == !delivered[1];
    size_t second = deliver(&run, publisher, &batch, TRANSACTION_COMMITTED);
    answers_push(cluster, &never);
    size_t third = deliver(&run, publisher, &batch, TRANSACTION_COMMITTED);
    rd_kafka_mock_clear_request_errors(cluster, PRODUCE);
    right = right && second == 2 && third == 2;
    printf("%s without transactions, one of two records is refused: %zd, then %zd, then %zd "
           "delivered\n",
           right ? "ok  " : "FAIL", (ssize_t)first, (ssize_t)second, (ssize_t)third);
    publisher_free(publisher, 5000);
    loop_free(run.loop);
    return right ? 0 : 1;
}

/* Two partitions and no acknowledgement: the brokers are away, and no record is refused. */
static int brokers_away(struct producer_config config, struct group_metadata *group_metadata,
                        rd_kafka_mock_cluster_t *cluster)
{
    static const struct transaction_record records[] = {{0, "k", 1, "one", 3, NULL, 0},
                                                        {1, "k", 1, "two", 3, NULL, 0}};
    static const struct answer away = {PRODUCE, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, 10000};
    bool delivered[ARRAY_LENGTH(records)] = {false};
    const struct transaction_batch batch = {.group_metadata = group_metadata,
                                            .records = records,
                                            .record_count = ARRAY_LENGTH(records),
                                            .delivered = delivered};
    const struct kafka_property properties[] = {config.properties[0],
                                                {KAFKA_PRODUCER, "message.timeout.ms", "1000"}};
    struct run run = {.loop = loop_new()};
    char *error = NULL;
    config.delivery = DELIVERY_AT_LEAST_ONCE;
    config.properties = properties;
    config.property_count = ARRAY_LENGTH(properties);
    struct publisher *publisher = publisher_new(run.loop, &config, on_ended, &run, &error);
    answers_push(cluster, &away);
    size_t first = deliver(&run, publisher, &batch, TRANSACTION_ABORTED);
    rd_kafka_mock_clear_request_errors(cluster, PRODUCE);
    size_t second = deliver(&run, publisher, &batch, TRANSACTION_COMMITTED);
    bool right = first == 0 && second == 2;
    printf("%s without transactions, away brokers refuse no record: %zd, then %zd delivered\n",
           right ? "ok  " : "FAIL", (ssize_t)first, (ssize_t)second);
    publisher_free(publisher, 5000);
    loop_free(run.loop);
    return right ? 0 : 1;
}

static int scenarios_run(rd_kafka_mock_cluster_t *cluster)
{
    const struct kafka_property brokers = {KAFKA_BOTH, "bootstrap.servers",
                                           rd_kafka_mock_cluster_bootstraps(cluster)};
    const struct producer_config config = {
        "one", DELIVERY_EXACTLY_ONCE, "requests", {"results", "failures"}, &brokers, 1, 0, 0};
    struct group_metadata *group_metadata =
        group_metadata_new(rd_kafka_consumer_group_metadata_new_with_genid("g", 1, "m", NULL));
    struct run run = {.loop = loop_new()};
    int failed = 0;
    /* Each with a publisher of its own, so that none depends on an earlier one. */
    for (size_t i = 0; i < ARRAY_LENGTH(scenarios); i++) {
        char *error = NULL;
        struct publisher *publisher = publisher_new(run.loop, &config, on_ended, &run, &error);
        if (publisher == NULL) {
            printf("FAIL %s\n", error);
            free(error);
            failed++;
            break;
        }
        failed += scenario_run(&run, &scenarios[i], cluster, publisher, group_metadata) ? 0 : 1;
        publisher_free(publisher, 5000);
        for (size_t j = 0; j < ARRAY_LENGTH(scenarios[i].answers); j++) {
            rd_kafka_mock_clear_request_errors(cluster, scenarios[i].answers[j].request);
        }
    }
    failed += id_is_denied(&config, group_metadata, cluster);
    failed += refused_in_part(config, group_metadata, cluster);
    failed += brokers_away(config, group_metadata, cluster);
    failed += late_request_fences(&config, group_metadata, cluster);
    group_metadata_unref(group_metadata);
    run.loop = loop_free(run.loop);
    return failed;
}

/* Errors that the library retries are not logged as warnings. */
static int start_run(rd_kafka_mock_cluster_t *cluster)
{
    const struct kafka_property brokers = {KAFKA_BOTH, "bootstrap.servers",
                                           rd_kafka_mock_cluster_bootstraps(cluster)};
    const struct producer_config config = {
        "two", DELIVERY_EXACTLY_ONCE, "requests", {"results", "failures"}, &brokers, 1, 0, 0};
    struct run run = {.loop = loop_new()};
    char *error = NULL;
    int standard_error = dup(STDERR_FILENO);
    FILE *file = tmpfile();
    (void)dup2(fileno(file), STDERR_FILENO);
    log_level_set(LOG_WARNING);
    const struct answer starting[] = {
        {INIT_PRODUCER_ID, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, 2},
        {INIT_PRODUCER_ID, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 2},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(starting); i++) {
        answers_push(cluster, &starting[i]);
    }
    struct publisher *publisher = publisher_new(run.loop, &config, on_ended, &run, &error);
    bool held = publisher != NULL && held_wait(publisher);
    publisher_free(publisher, 5000);
    log_level_set(LOG_ERR);
    (void)dup2(standard_error, STDERR_FILENO);
    (void)close(standard_error);
    rewind(file);
    char line[1024] = "";
    bool silent = fgets(line, sizeof line, file) == NULL;
    (void)fclose(file);
    free(error);
    run.loop = loop_free(run.loop);
    printf("%s a coordinator that has just started: %s\n", held && silent ? "ok  " : "FAIL", line);
    return held && silent ? 0 : 1;
}

int main(void)
{
    char reason[256];
    log_level_set(LOG_ERR);
    rd_kafka_t *host = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), reason, sizeof reason);
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(host, 1);
    (void)rd_kafka_mock_topic_create(cluster, "requests", 2, 1);
    (void)rd_kafka_mock_topic_create(cluster, "results", 1, 1);
    (void)rd_kafka_mock_topic_create(cluster, "failures", 1, 1);
    int failed = start_run(cluster); /* before the log's bucket is empty */
    failed += scenarios_run(cluster);
    if (!detached_wait(LIMIT_MS)) { /* what their clients still own would count as leaks */
        printf("FAIL threads have not ended\n");
        failed++;
    }
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(host);
    printf("%d of %zu failed\n", failed, ARRAY_LENGTH(scenarios) + 4);
    return failed == 0 ? 0 : 1;
}
