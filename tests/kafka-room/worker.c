/* A minimal owner of consumer and publisher: one outcome for each record, at once.
 *
 *   kafka-worker BOOTSTRAP GROUP INSTANCE [NAME=VALUE ...]
 *
 * For each record of `requests` it writes a record with the same key and headers and the value
 * PARTITION/OFFSET to `results`, or to `failures` when the value begins with "!". Each event is a
 * line on stdout. SIGUSR1 asks for a line about its status; SIGUSR2 leaves the group, or joins it
 * again. NAME=VALUE are librdkafka properties, and our own:
 *   worker.interval.ms   minimum time between two transactions (5)
 *   worker.hold          1: never answers a revoke
 *   worker.metadata      length of the metadata that goes with each offset (16)
 *   worker.requests, worker.results, worker.failures   other names of the topics
 *   worker.stuck.ms      the publisher's config.stuck_ms
 *   worker.fat           N: the outcome of offset N has a value of 2 MB
 */
#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/kafka/clients.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PARTITIONS_MAX = 64, FAT = 2 * 1024 * 1024 };

/* Indexes of producer_config.topics. */
enum { RESULTS, FAILURES };

struct outcome {
    struct transaction_record record;
    char value[32];
    int32_t partition;
    int64_t offset;
};

struct worker {
    struct loop *loop;
    struct clients *clients;
    struct consumer *consumer;   /* the clients' */
    struct publisher *publisher; /* the clients' */
    struct group_metadata *group_metadata;
    int64_t interval_ms, fat, metadata_len;
    int64_t stuck_ms, failure_pause_ms;
    bool hold;
    const char *requests, *results, *failures;

    struct outcome *outcomes[TRANSACTION_RECORDS_MAX];
    size_t count;
    int64_t next[PARTITIONS_MAX]; /* -1: the partition is not in the batch */

    struct transaction_record records[TRANSACTION_RECORDS_MAX];
    enum refusal refusals[TRANSACTION_RECORDS_MAX];
    struct transaction_position positions[PARTITIONS_MAX];
    struct transaction_batch batch;
    size_t in_batch;
    bool busy, revoking, stale, away, left;
    int64_t not_before_ms, stop_at_ms;
    struct loop_timer timer;
    int64_t total, committed_batches, submitted_us;
};

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("%" PRId64 " ", clock_now(&clock_system).wall_ms);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

static void drop(const void *memory)
{
    void *own;
    memcpy(&own, &memory, sizeof own);
    free(own);
}

static int64_t number(const char *text)
{
    int64_t value = 0;
    if (!text_int(text, 0, INT32_MAX, &value)) {
        say("%s is no number", text);
        exit(64);
    }
    return value;
}

static int64_t now_ms(void)
{
    return clock_now(&clock_system).mono_ms;
}

static void outcome_free(struct outcome *outcome)
{
    const struct transaction_record *record = &outcome->record;
    for (size_t i = 0; i < record->header_count; i++) {
        drop(record->headers[i].name);
        drop(record->headers[i].value);
    }
    drop(record->headers);
    drop(record->key);
    if (record->value != outcome->value) {
        drop(record->value);
    }
    free(outcome);
}

static void outcomes_drop(struct worker *worker, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        outcome_free(worker->outcomes[i]);
    }
    memmove(&worker->outcomes[0], &worker->outcomes[count],
            (worker->count - count) * sizeof(struct outcome *));
    worker->count -= count;
}

static void *copy(const void *bytes, size_t len)
{
    return bytes == NULL ? NULL : mem_dup(bytes, len);
}

static void on_assigned(void *context, struct group_metadata *group_metadata,
                        const int32_t *partitions, size_t count)
{
    (void)partitions;
    struct worker *worker = context;
    group_metadata_unref(worker->group_metadata);
    worker->group_metadata = group_metadata_ref(group_metadata);
    worker->revoking = false;
    say("assigned %zu cluster %s group %s", count, consumer_cluster_id(worker->consumer),
        consumer_group_id(worker->consumer));
}

static void on_positions(void *context, const struct consumer_position *positions, size_t count)
{
    (void)context;
    for (size_t i = 0; i < count; i++) {
        say("position %d %" PRId64 " %s", positions[i].partition, positions[i].offset,
            positions[i].metadata);
    }
}

/* The batch stays until its end; all other outcomes are dropped. */
static void discard(struct worker *worker)
{
    worker->stale = worker->busy;
    size_t kept = worker->busy ? worker->in_batch : 0;
    for (size_t i = kept; i < worker->count; i++) {
        outcome_free(worker->outcomes[i]);
    }
    worker->count = kept;
    worker->revoking = false;
}

static void on_revoking(void *context)
{
    struct worker *worker = context;
    worker->revoking = true;
    say("revoking");
}

static void on_lost(void *context)
{
    discard(context);
    say("lost");
}

static bool on_record(void *context, const struct record *record)
{
    struct worker *worker = context;
    struct outcome *outcome = mem_zalloc(1, sizeof *outcome);
    struct record_header *headers = mem_zalloc(record->header_count, sizeof *headers);
    for (size_t i = 0; i < record->header_count; i++) {
        headers[i] = (struct record_header){
            .name = mem_strdup(record->headers[i].name),
            .value = copy(record->headers[i].value, record->headers[i].value_len),
            .value_len = record->headers[i].value_len};
    }
    (void)snprintf(outcome->value, sizeof outcome->value, "%d/%" PRId64, record->partition,
                   record->offset);
    bool failure = record->value_len > 0 && *(const char *)record->value == '!';
    bool fat = record->offset == worker->fat;
    outcome->record = (struct transaction_record){
        .topic = failure ? FAILURES : RESULTS,
        .key = copy(record->key, record->key_len),
        .key_len = record->key_len,
        .value = fat ? mem_zalloc(1, FAT) : outcome->value,
        .value_len = fat ? FAT : strlen(outcome->value),
        .headers = headers,
        .header_count = record->header_count,
    };
    outcome->partition = record->partition;
    outcome->offset = record->offset;
    worker->outcomes[worker->count++] = outcome;
    return true;
}

static void on_renewed(void *context, enum clients_renewal why, const char *text)
{
    (void)context;
    say("renewed %s: %s", clients_renewal_name(why), text);
}

static void on_failed(void *context, enum clients_failure failure, const char *text)
{
    struct worker *worker = context;
    const struct timespec pause = {.tv_sec = worker->failure_pause_ms / 1000};
    say("failed %s: %s", failure == CLIENTS_DUPLICATE_INSTANCE ? "duplicate" : "exhausted", text);
    (void)nanosleep(&pause, NULL); /* a slow event loop: the publisher's thread continues */
    loop_stop(worker->loop, failure == CLIENTS_DUPLICATE_INSTANCE ? 75 : 69);
}

static void positions_drop(struct worker *worker)
{
    for (size_t i = 0; i < worker->batch.position_count; i++) {
        drop(worker->positions[i].metadata);
    }
    worker->batch.position_count = 0;
    worker->batch.group_metadata = group_metadata_unref(worker->batch.group_metadata);
}

/* All records of a request have the refusal; only the fat one is too large. */
static void fat_shrink(struct worker *worker, size_t index)
{
    struct outcome *outcome = worker->outcomes[index];
    if (outcome->record.value != outcome->value) {
        drop(outcome->record.value);
        outcome->record.value = outcome->value;
        outcome->record.value_len = strlen(outcome->value);
    }
}

static void refusals_take(struct worker *worker)
{
    worker->not_before_ms = now_ms() + 100;
    for (size_t i = 0; i < worker->in_batch; i++) {
        bool fat = worker->outcomes[i]->record.value != worker->outcomes[i]->value;
        if (worker->refusals[i] == REFUSAL_SIZE && fat) {
            say("shrinking %zu", i);
            fat_shrink(worker, i);
            worker->not_before_ms = 0;
        }
    }
}

static void on_ended(void *context, const struct transaction_end *end)
{
    struct worker *worker = context;
    worker->busy = false;
    say("%s %zu in %" PRId64 " us%s%s", transaction_verdict_name(end->verdict), worker->in_batch,
        clock_mono_us() - worker->submitted_us, end->last_error == NULL ? "" : ": ",
        end->last_error == NULL ? "" : end->last_error);
    positions_drop(worker);
    if (end->verdict == TRANSACTION_COMMITTED) {
        worker->total += (int64_t)worker->in_batch;
        worker->committed_batches++;
        outcomes_drop(worker, worker->in_batch);
    } else if (end->verdict == TRANSACTION_STALE || worker->stale) {
        outcomes_drop(worker, worker->in_batch);
    } else if (end->verdict == TRANSACTION_RECORDS_REFUSED) {
        refusals_take(worker);
    } else {
        worker->not_before_ms = now_ms() + 100;
    }
    worker->stale = false;
}

static void submit(struct worker *worker)
{
    for (size_t i = 0; i < PARTITIONS_MAX; i++) {
        worker->next[i] = -1;
    }
    for (size_t i = 0; i < worker->count; i++) {
        worker->records[i] = worker->outcomes[i]->record;
        worker->next[worker->outcomes[i]->partition] = worker->outcomes[i]->offset + 1;
    }
    size_t count = 0;
    for (int32_t i = 0; i < PARTITIONS_MAX; i++) {
        if (worker->next[i] >= 0) {
            char *metadata = mem_alloc((size_t)worker->metadata_len + 1);
            memset(metadata, 'x', (size_t)worker->metadata_len);
            metadata[worker->metadata_len] = '\0';
            int len =
                snprintf(metadata, (size_t)worker->metadata_len, "w%" PRId64 ".", worker->next[i]);
            metadata[len] = 'x';
            worker->positions[count++] =
                (struct transaction_position){i, worker->next[i], metadata};
        }
    }
    worker->batch =
        (struct transaction_batch){.group_metadata = group_metadata_ref(worker->group_metadata),
                                   .records = worker->records,
                                   .refusals = worker->refusals,
                                   .record_count = worker->count,
                                   .positions = worker->positions,
                                   .position_count = count};
    worker->in_batch = worker->count;
    worker->busy = true;
    worker->not_before_ms = now_ms() + worker->interval_ms;
    worker->submitted_us = clock_mono_us();
    say("submitted %zu", worker->in_batch);
    publisher_submit(worker->publisher, &worker->batch);
}

static void on_timer(void *context)
{
    (void)context; /* the step does the work */
}

static void step(void *context)
{
    struct worker *worker = context;
    size_t room = TRANSACTION_RECORDS_MAX - worker->count;
    if (clients_poll(worker->clients, room < 500 ? room : 500)) {
        loop_again(worker->loop);
    }
    if (!worker->busy && worker->count > 0) {
        if (now_ms() >= worker->not_before_ms) {
            submit(worker);
        } else {
            loop_timer_set(&worker->timer, worker->not_before_ms);
        }
    }
    if (worker->revoking && worker->count == 0 && !worker->hold) {
        worker->revoking = false;
        consumer_release(worker->consumer);
        say("released");
    }
    if (worker->away && !worker->left && clients_left(worker->clients)) {
        worker->left = true;
        say("left");
    }
    if (worker->stop_at_ms > 0 && worker->count == 0) {
        loop_stop(worker->loop, 0);
    }
    loop_timer_set(&worker->timer,
                   now_ms() < worker->not_before_ms ? worker->not_before_ms : now_ms() + 1000);
}

static void on_signal(void *context, int number)
{
    struct worker *worker = context;
    if (number == SIGUSR1) {
        const char *last_error = consumer_last_error(worker->consumer);
        const char *waits = clients_waiting(worker->clients);
        say("status joined %d ready %d stalled %" PRId64 " error %s end %" PRId64 " waits %s",
            consumer_joined(worker->consumer),
            publisher_id_state(worker->publisher) == PRODUCER_ID_HELD,
            publisher_stalled_us(worker->publisher), last_error == NULL ? "-" : last_error,
            consumer_end_offset(worker->consumer, 0), waits == NULL ? "-" : waits);
        return;
    }
    if (number == SIGUSR2) {
        worker->away = !worker->away;
        worker->left = false;
        (worker->away ? clients_leave : clients_join)(worker->clients);
        return;
    }
    worker->stop_at_ms = now_ms();
}

/* Removes our own options. Returns how many properties are left. */
static size_t options_read(struct worker *worker, int count, char **texts,
                           struct kafka_property *properties)
{
    size_t property_count = 0;
    for (int i = 0; i < count; i++) {
        char *value = strchr(texts[i], '=');
        *value++ = '\0';
        if (strcmp(texts[i], "worker.interval.ms") == 0) {
            worker->interval_ms = number(value);
        } else if (strcmp(texts[i], "worker.hold") == 0) {
            worker->hold = true;
        } else if (strcmp(texts[i], "worker.results") == 0) {
            worker->results = value;
        } else if (strcmp(texts[i], "worker.requests") == 0) {
            worker->requests = value;
        } else if (strcmp(texts[i], "worker.failures") == 0) {
            worker->failures = value;
        } else if (strcmp(texts[i], "worker.stuck.ms") == 0) {
            worker->stuck_ms = number(value);
        } else if (strcmp(texts[i], "worker.failure.pause.ms") == 0) {
            worker->failure_pause_ms = number(value);
        } else if (strcmp(texts[i], "worker.metadata") == 0) {
            worker->metadata_len = number(value);
        } else if (strcmp(texts[i], "worker.fat") == 0) {
            worker->fat = number(value);
        } else {
            properties[property_count++] = (struct kafka_property){KAFKA_BOTH, texts[i], value};
        }
    }
    return property_count;
}

static int run(struct worker *worker, const char *instance, const struct kafka_property *properties,
               size_t count)
{
    static const struct clients_events events = {
        .consumer = {.assigned = on_assigned,
                     .positions = on_positions,
                     .revoking = on_revoking,
                     .lost = on_lost,
                     .record = on_record},
        .ended = on_ended,
        .renewed = on_renewed,
        .failed = on_failed,
    };
    static const int signals[] = {SIGTERM, SIGUSR1, SIGUSR2, 0};
    char *error = NULL;
    const struct producer_config config = {instance,         DELIVERY_EXACTLY_ONCE,
                                           worker->requests, {worker->results, worker->failures},
                                           properties,       count,
                                           worker->stuck_ms, 0};
    if (!loop_signals(worker->loop, signals, on_signal, worker)) {
        return 71;
    }
    say("started"); /* from here on it can be signalled */
    worker->clients = clients_new(worker->loop, &clock_system, &config, &events, worker, &error);
    if (worker->clients == NULL) {
        say("error %s", error);
        free(error);
        return 78;
    }
    worker->consumer = clients_consumer(worker->clients);
    worker->publisher = clients_publisher(worker->clients);
    loop_timer_init(&worker->timer, worker->loop, on_timer, worker);
    loop_step_set(worker->loop, step, worker);
    int status = loop_run(worker->loop);
    loop_timer_stop(&worker->timer);
    int64_t begun_ms = now_ms();
    bool ended = clients_free(worker->clients, 5000);
    say("end %d total %" PRId64 " transactions %" PRId64 " freed in %" PRId64 " ms, threads %s",
        status, worker->total, worker->committed_batches, now_ms() - begun_ms,
        ended ? "ended" : "left");
    if (!ended) {
        _exit(status);
    }
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fputs("usage: kafka-worker BOOTSTRAP GROUP INSTANCE [NAME=VALUE ...]\n", stderr);
        return 64;
    }
    struct worker *worker = mem_zalloc(1, sizeof *worker);
    struct kafka_property *properties = mem_zalloc((size_t)argc, sizeof *properties);
    worker->loop = loop_new();
    worker->interval_ms = 5;
    worker->metadata_len = 16;
    worker->fat = -1;
    worker->requests = "requests";
    worker->results = "results";
    worker->failures = "failures";
    properties[0] = (struct kafka_property){KAFKA_BOTH, "bootstrap.servers", argv[1]};
    properties[1] = (struct kafka_property){KAFKA_BOTH, "group.id", argv[2]};
    size_t count = 2 + options_read(worker, argc - 4, argv + 4, properties + 2);
    int status = run(worker, argv[3], properties, count);
    worker->busy = false;
    discard(worker);
    positions_drop(worker);
    group_metadata_unref(worker->group_metadata);
    worker->loop = loop_free(worker->loop);
    free(properties);
    free(worker);
    return status;
}
