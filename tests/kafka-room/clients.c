/* Replaced clients, on librdkafka's mock cluster.
 *
 * rd_kafka_destroy() blocks while a wall clock that was set back catches up. The linker replaces it
 * by one that waits for the test. Meanwhile the clients are replaced and the loop runs.
 * clients_free() returns in time and reports the threads that are left.
 *
 * A lost group rejects each commit and accepts heartbeats.
 */
#include "presignd/kafka/clients.h"
#include "kafka/detached.h"
#include "presignd/base/mem.h"
#include "presignd/kafka/client.h"

#include <librdkafka/rdkafka_mock.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* The names for --wrap. NOLINTBEGIN(bugprone-reserved-identifier) */
void __real_rd_kafka_destroy_flags(rd_kafka_t *client, int flags);
void __wrap_rd_kafka_destroy_flags(rd_kafka_t *client, int flags);
/* NOLINTEND(bugprone-reserved-identifier) */

enum { LIMIT_MS = 180000 }; /* that only a broken program reaches */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint waiting;

void __wrap_rd_kafka_destroy_flags(rd_kafka_t *client, int flags)
{
    atomic_fetch_add(&waiting, 1);
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    __real_rd_kafka_destroy_flags(client, flags);
}

static _Atomic int64_t ahead_ms;

static struct moment settable_now(void *context)
{
    (void)context;
    struct moment now = clock_now(&clock_system);
    now.wall_ms += atomic_load(&ahead_ms);
    return now;
}

static const struct clock settable = {.now = settable_now};

/* https://kafka.apache.org/protocol#protocol_api_keys */
enum { TXN_OFFSET_COMMIT = 28 };

struct test {
    struct loop *loop;
    loop_fn *step;
    rd_kafka_mock_cluster_t *cluster;
    struct clients *clients;
    struct loop_timer deadline;
    unsigned renewals[CLIENTS_RENEWAL_COUNT], joins;
    bool set, rejects, busy;
    struct group_metadata *group_metadata;
    struct transaction_position position;
    struct transaction_batch batch;
    unsigned rejected, committed;
};

static void on_assigned(void *context, struct group_metadata *group_metadata,
                        const int32_t *partitions, size_t count)
{
    struct test *test = context;
    (void)partitions;
    (void)count;
    group_metadata_unref(test->group_metadata);
    test->group_metadata = group_metadata_ref(group_metadata);
    test->joins++;
}

static void on_positions(void *context, const struct consumer_position *positions, size_t count)
{
    (void)context;
    (void)positions;
    (void)count;
}

static void ignore(void *context)
{
    (void)context;
}

static bool on_record(void *context, const struct record *record)
{
    (void)context;
    (void)record;
    return true;
}

static void on_ended(void *context, const struct transaction_end *end)
{
    struct test *test = context;
    test->busy = false;
    test->rejected += end->verdict == TRANSACTION_STALE;
    test->committed += end->verdict == TRANSACTION_COMMITTED;
    test->batch.group_metadata = group_metadata_unref(test->batch.group_metadata);
}

static void on_renewed(void *context, enum clients_renewal why, const char *text)
{
    struct test *test = context;
    test->renewals[why]++;
    printf("renewed %s: %s\n", clients_renewal_name(why), text);
}

static void on_failed(void *context, enum clients_failure failure, const char *text)
{
    struct test *test = context;
    printf("failed %d: %s\n", (int)failure, text);
    loop_stop(test->loop, 1);
}

static void on_deadline(void *context)
{
    struct test *test = context;
    puts("too late");
    loop_stop(test->loop, 1);
}

/* Sets the clock once the group is joined. New clients begin to join while the old ones do not end.
 * The mock cluster lets them wait for the old member. */
static void step_clock(void *context)
{
    struct test *test = context;
    (void)clients_poll(test->clients, 100);
    if (test->joins == 1 && !test->set) {
        test->set = true;
        atomic_store(&ahead_ms, -900000);
        loop_again(test->loop);
    }
    if (test->renewals[CLIENTS_CLOCK_SET] == 1 && clients_waiting(test->clients) == NULL &&
        atomic_load(&waiting) > 1) {
        loop_stop(test->loop, 0);
    }
}

/* Commits one position. */
static void submit(struct test *test)
{
    test->position = (struct transaction_position){0, 1, ""};
    test->batch =
        (struct transaction_batch){.group_metadata = group_metadata_ref(test->group_metadata),
                                   .positions = &test->position,
                                   .position_count = 1};
    test->busy = true;
    if (test->rejects) {
        rd_kafka_mock_push_request_errors(test->cluster, TXN_OFFSET_COMMIT, 1,
                                          RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID);
    }
    publisher_submit(clients_publisher(test->clients), &test->batch);
}

/* The group rejects commits until the consumer is replaced. */
static void step_group(void *context)
{
    struct test *test = context;
    (void)clients_poll(test->clients, 100);
    test->rejects = test->renewals[CLIENTS_GROUP_LOST] == 0;
    if (test->joins > 0 && !test->busy) {
        submit(test);
    }
    if (test->committed > 0) {
        loop_stop(test->loop, 0);
    }
}

static bool run(struct test *test)
{
    static const struct clients_events events = {
        .consumer = {.assigned = on_assigned,
                     .positions = on_positions,
                     .revoking = ignore,
                     .lost = ignore,
                     .record = on_record},
        .ended = on_ended,
        .renewed = on_renewed,
        .failed = on_failed,
    };
    const struct kafka_property properties[] = {
        {KAFKA_BOTH, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(test->cluster)},
        {KAFKA_BOTH, "group.id", "group"},
        {KAFKA_CONSUMER, "session.timeout.ms", "3000"},
        {KAFKA_CONSUMER, "heartbeat.interval.ms", "500"}};
    const struct producer_config config = {
        "one",      DELIVERY_EXACTLY_ONCE,    "requests", {"results", "failures"},
        properties, ARRAY_LENGTH(properties), 0,          0};
    char *error = NULL;
    test->clients = clients_new(test->loop, &settable, &config, &events, test, &error);
    if (test->clients == NULL) {
        puts(error);
        free(error);
        return false;
    }
    loop_timer_init(&test->deadline, test->loop, on_deadline, test);
    loop_timer_set(&test->deadline, clock_now(&clock_system).mono_ms + LIMIT_MS);
    loop_step_set(test->loop, test->step, test);
    bool joined = loop_run(test->loop) == 0;
    loop_timer_stop(&test->deadline);
    return joined;
}

static bool clock_right(struct test *test)
{
    pthread_mutex_lock(&gate);
    bool right = run(test);
    bool all = clients_free(test->clients, 300);
    printf("%u clients are being destroyed; all ended: %d\n", atomic_load(&waiting), all);
    pthread_mutex_unlock(&gate);
    return right && test->renewals[CLIENTS_CLOCK_SET] == 1 && !all && atomic_load(&waiting) > 0 &&
           detached_wait(LIMIT_MS);
}

static bool group_right(struct test *test)
{
    bool right = run(test);
    printf("%u commits rejected, %u accepted\n", test->rejected, test->committed);
    return clients_free(test->clients, LIMIT_MS) && right && test->rejected > 1 &&
           test->renewals[CLIENTS_GROUP_LOST] == 1;
}

static bool test_run(const char *name, loop_fn *step, bool (*right)(struct test *test))
{
    char reason[256];
    rd_kafka_t *host = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), reason, sizeof reason);
    struct test test = {
        .loop = loop_new(), .step = step, .cluster = rd_kafka_mock_cluster_new(host, 1)};
    (void)rd_kafka_mock_topic_create(test.cluster, "requests", 1, 1);
    (void)rd_kafka_mock_topic_create(test.cluster, "results", 1, 1);
    (void)rd_kafka_mock_topic_create(test.cluster, "failures", 1, 1);
    bool is_right = right(&test);
    group_metadata_unref(test.group_metadata);
    group_metadata_unref(test.batch.group_metadata);
    test.loop = loop_free(test.loop);
    rd_kafka_mock_cluster_destroy(test.cluster);
    rd_kafka_destroy(host);
    printf("%s %s\n", is_right ? "ok  " : "FAIL", name);
    return is_right;
}

int main(void)
{
    bool clock =
        test_run("a set clock, and clients that are not destroyed", step_clock, clock_right);
    bool group = test_run("a lost group", step_group, group_right);
    return clock && group ? 0 : 1;
}
