/* The thread, and how batches reach it. producer.c handles a batch.
 *
 * rd_kafka_send_offsets_to_transaction() may block for much longer than its time-out. The library's
 * request to a group coordinator has no timer of its own. After two retries it waits until the
 * connection of some broker changes. Ten minutes were seen, until the broker closed an idle
 * connection; the code is the same in 2.15. Such a thread is abandoned and another one replaces it.
 * The new producer fences the old one, and the old thread frees itself when the call returns.
 * publisher_renew() replaces a thread in the same way.
 *
 * The owner can take back a batch until its commit begins: under the lock, the thread begins the
 * commit or is told to stop. Once the commit has begun, the next thread has to find out its result.
 * A second lock guards each access to the batch, so that an abandoned thread never reads what the
 * owner has freed.
 */
#include "presignd/kafka/publisher.h"

#include "kafka/detached.h"
#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/kafka/producer.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
    /* Between attempts to acquire the transactional.id while there is no batch. */
    ACQUIRE_PAUSE_MS = 1000,
    /* How often a batch in progress is checked. */
    CHECK_MS = 5000,
};

/* Questions that the thread answers between batches. */
enum query_kind { QUERY_PREFLIGHT, QUERY_ID_HOLDER, QUERY_METADATA, QUERY_COUNT };

struct query {
    struct group_metadata *group_metadata; /* NULL: not asked */
    int32_t partition;
    int64_t offset;
    int64_t answer;
    bool answered;
};

/* A thread and all that it uses. An abandoned one outlives the publisher. */
struct worker {
    struct producer *producer;
    bool unanswered; /* the last question for stable positions; the thread's own */
    int eventfd;     /* the publisher's: written when there is something to report */

    pthread_mutex_t reading; /* guards accesses to the batch; taken before `lock` */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock. */
    const struct transaction_batch *batch; /* NULL: none */
    struct transaction_end end;
    char last_error[256]; /* of `end`; the producer reuses its own */
    bool end_known, stop, finished;
    bool orphan;        /* abandoned: reports nothing and frees itself */
    bool committing;    /* the batch may be visible: this thread has to find out */
    bool resolve_first; /* an abandoned thread began the commit of the batch */
    bool id_lost;       /* another process holds the id: acquiring it again would fence that one */
    struct query queries[QUERY_COUNT];
    struct preflight *preflight; /* found and not reported yet */
    char id_last_error[256];
    struct client_brokers brokers;

    _Atomic enum producer_id_state id_state;
    _Atomic int32_t partitions[TRANSACTION_TOPICS_MAX]; /* 0: not known yet */
    _Atomic int64_t alive_us;                           /* last activity; 0: idle */
};

struct publisher {
    struct loop_fd *watch;
    int eventfd;
    publisher_ended_fn *ended;
    publisher_preflight_fn *preflight_found;
    publisher_id_holder_fn *holder_found;
    publisher_metadata_fn *measured;
    void *context;
    struct worker *worker;
    struct loop_timer check;
    int64_t stuck_ms;
};

/* --- The producer's owner, on the thread --- */

static void alive(struct worker *worker, int64_t at_us)
{
    atomic_store_explicit(&worker->alive_us, at_us, memory_order_relaxed);
}

/* With the lock. False when `until` has passed. */
static bool changed_wait(struct worker *worker, const struct timespec *until)
{
    return pthread_cond_clockwait(&worker->changed, &worker->lock, CLOCK_MONOTONIC, until) == 0;
}

/* Under the lock that worker_replace() takes, too: either this thread commits the batch, or it is
 * reported as aborted and another thread publishes it again. */
static bool worker_may_commit(void *context)
{
    struct worker *worker = context;
    pthread_mutex_lock(&worker->lock);
    worker->committing = !worker->stop;
    bool may = worker->committing;
    pthread_mutex_unlock(&worker->lock);
    return may;
}

static bool worker_read(void *context, bool begin)
{
    struct worker *worker = context;
    if (!begin) {
        pthread_mutex_unlock(&worker->reading);
        return true;
    }
    pthread_mutex_lock(&worker->reading);
    pthread_mutex_lock(&worker->lock);
    bool stop = worker->stop;
    pthread_mutex_unlock(&worker->lock);
    if (stop) {
        pthread_mutex_unlock(&worker->reading);
    }
    return !stop;
}

static void loop_notify(const struct worker *worker)
{
    const uint64_t one = 1;
    (void)!write(worker->eventfd, &one, sizeof one);
}

static void id_state_store(struct worker *worker)
{
    enum producer_id_state id_state = producer_id_state(worker->producer);
    pthread_mutex_lock(&worker->lock);
    bool changed = id_state != atomic_exchange(&worker->id_state, id_state);
    (void)snprintf(worker->id_last_error, sizeof worker->id_last_error, "%s",
                   id_state == PRODUCER_ID_HELD ? "" : producer_last_error(worker->producer));
    if (changed && !worker->orphan) {
        loop_notify(worker);
    }
    pthread_mutex_unlock(&worker->lock);
}

/* Waits the whole time unless the thread is to stop. A batch may lose the transactional.id and wait
 * for it, so its state is stored here, too. */
static bool worker_pause(void *context, int64_t milliseconds)
{
    struct worker *worker = context;
    alive(worker, clock_mono_us());
    id_state_store(worker);
    pthread_mutex_lock(&worker->lock);
    const struct timespec until = clock_mono_after(milliseconds);
    while (milliseconds > 0 && !worker->stop && changed_wait(worker, &until)) {
    }
    bool stop = worker->stop;
    pthread_mutex_unlock(&worker->lock);
    return stop;
}

static void worker_brokers(void *context, const struct client_brokers *brokers)
{
    struct worker *worker = context;
    pthread_mutex_lock(&worker->lock);
    worker->brokers = *brokers;
    pthread_mutex_unlock(&worker->lock);
}

static const struct producer_owner owner = {
    .brokers = worker_brokers,
    .pause = worker_pause,
    .may_commit = worker_may_commit,
    .read = worker_read,
};

/* --- The thread's work. Without the lock --- */

/* With the lock. */
static void end_store(struct worker *worker, const struct transaction_end *end)
{
    worker->end = *end;
    if (end->last_error != NULL) {
        (void)snprintf(worker->last_error, sizeof worker->last_error, "%s", end->last_error);
        worker->end.last_error = worker->last_error;
    }
    worker->end_known = true;
}

static void batch_publish(struct worker *worker, const struct transaction_batch *batch)
{
    struct transaction_end end = {0};
    int64_t begun_us = clock_mono_us();
    bool known = worker->resolve_first ? producer_resolve(worker->producer, batch, &end)
                                       : producer_publish(worker->producer, batch, &end);
    end.duration_ms = (clock_mono_us() - begun_us) / 1000;
    id_state_store(worker);
    for (unsigned i = 0; i < TRANSACTION_TOPICS_MAX; i++) {
        atomic_store(&worker->partitions[i], producer_partitions(worker->producer, i));
    }
    pthread_mutex_lock(&worker->lock);
    worker->batch = NULL;
    worker->committing = worker->resolve_first = false;
    worker->id_lost = worker->id_lost || (known && end.verdict == TRANSACTION_FENCED);
    if (known && !worker->orphan) {
        end_store(worker, &end);
        loop_notify(worker);
    }
    pthread_mutex_unlock(&worker->lock);
}

static void query_answer(struct worker *worker, enum query_kind kind, const struct query *query)
{
    struct preflight *preflight = NULL;
    int64_t answer = 0;
    if (kind == QUERY_PREFLIGHT) {
        preflight = mem_alloc(sizeof *preflight);
        producer_preflight(worker->producer, preflight);
    } else if (kind == QUERY_ID_HOLDER) {
        answer = (int64_t)producer_find_id_holder(worker->producer, query->group_metadata);
    } else {
        answer = producer_measure_metadata(worker->producer, query->group_metadata,
                                           query->partition, query->offset);
    }
    id_state_store(worker);
    pthread_mutex_lock(&worker->lock);
    struct query *own = &worker->queries[kind];
    own->group_metadata = group_metadata_unref(own->group_metadata);
    worker->id_lost = worker->id_lost || (kind == QUERY_ID_HOLDER && answer == ID_HOLDER_OTHER) ||
                      (preflight != NULL && preflight->fenced);
    if (preflight != NULL) {
        free(worker->preflight);
        worker->preflight = preflight;
    }
    if (!worker->orphan) {
        own->answer = answer;
        own->answered = true;
        loop_notify(worker);
    }
    pthread_mutex_unlock(&worker->lock);
}

/* With the lock. QUERY_COUNT: none was asked. */
static enum query_kind query_next(const struct worker *worker)
{
    enum query_kind kind = 0;
    while (kind < QUERY_COUNT && worker->queries[kind].group_metadata == NULL) {
        kind++;
    }
    return kind;
}

/* With the lock. */
static bool has_work(const struct worker *worker)
{
    return worker->batch != NULL || query_next(worker) != QUERY_COUNT || worker->stop;
}

static void id_acquire(struct worker *worker)
{
    bool held = producer_acquire(worker->producer);
    id_state_store(worker);
    pthread_mutex_lock(&worker->lock);
    if (!held && !has_work(worker)) {
        const struct timespec until = clock_mono_after(ACQUIRE_PAUSE_MS);
        (void)changed_wait(worker, &until);
    }
    pthread_mutex_unlock(&worker->lock);
}

/* With the lock, which is released meanwhile. The client's statistics come every
 * BROKERS_INTERVAL_MS; brokers that are away are asked for the positions as seldom. */
static void idle(struct worker *worker)
{
    bool unstable = producer_unstable(worker->producer);
    bool soon = unstable && !worker->unanswered;
    const struct timespec until = clock_mono_after(BROKERS_INTERVAL_MS);
    alive(worker, 0);
    if (!soon && (changed_wait(worker, &until) || has_work(worker))) {
        return;
    }
    alive(worker, unstable ? clock_mono_us() : 0);
    pthread_mutex_unlock(&worker->lock);
    worker->unanswered = unstable && !producer_await_stable(worker->producer);
    producer_poll(worker->producer);
    pthread_mutex_lock(&worker->lock);
}

/* With the lock, which is released meanwhile. */
static void work_once(struct worker *worker)
{
    while (!has_work(worker) &&
           (worker->id_lost || atomic_load(&worker->id_state) == PRODUCER_ID_HELD)) {
        idle(worker);
    }
    if (worker->stop) {
        return;
    }
    const struct transaction_batch *batch = worker->batch;
    enum query_kind kind = query_next(worker);
    struct query query = kind == QUERY_COUNT ? (struct query){0} : worker->queries[kind];
    pthread_mutex_unlock(&worker->lock);
    alive(worker, clock_mono_us());
    if (batch != NULL) {
        batch_publish(worker, batch);
    } else if (kind != QUERY_COUNT) {
        query_answer(worker, kind, &query);
    } else {
        id_acquire(worker);
    }
    pthread_mutex_lock(&worker->lock);
}

static void worker_free(struct worker *worker)
{
    worker->producer = producer_free(worker->producer);
    for (size_t i = 0; i < QUERY_COUNT; i++) {
        group_metadata_unref(worker->queries[i].group_metadata);
    }
    free(worker->preflight);
    pthread_cond_destroy(&worker->changed);
    pthread_mutex_destroy(&worker->lock);
    pthread_mutex_destroy(&worker->reading);
    free(worker);
}

static void worker_run(void *context)
{
    struct worker *worker = context;
    pthread_mutex_lock(&worker->lock);
    while (!worker->stop) {
        work_once(worker);
    }
    bool orphan = worker->orphan;
    worker->finished = true;
    pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    if (orphan) {
        worker_free(worker);
    }
}

/* --- The loop's side --- */

static struct worker *worker_new(int eventfd)
{
    struct worker *worker = mem_zalloc(1, sizeof *worker);
    worker->eventfd = eventfd;
    pthread_mutex_init(&worker->reading, NULL);
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->changed, NULL);
    return worker;
}

/* Frees the worker when there is no thread for it. */
static bool worker_start(struct worker *worker)
{
    bool started = detached_start("publisher", worker_run, worker);
    if (!started) {
        worker_free(worker);
    }
    return started;
}

/* Asks the thread to end. It is freed here, or frees itself when it takes longer. */
static void worker_end(struct worker *worker, int64_t timeout_ms)
{
    const struct timespec until = clock_mono_after(timeout_ms);
    pthread_mutex_lock(&worker->lock);
    worker->stop = true;
    pthread_cond_broadcast(&worker->changed);
    while (!worker->finished && changed_wait(worker, &until)) {
    }
    bool finished = worker->finished;
    worker->orphan = !finished;
    pthread_mutex_unlock(&worker->lock); /* an orphan may free itself from here on */
    if (finished) {
        worker_free(worker);
    }
}

/* `worker->end` stays as it is until the next batch is submitted. Callbacks may replace the worker,
 * so the answers are copied first. */
static void on_eventfd(void *context, uint32_t epoll_events)
{
    struct publisher *publisher = context;
    struct worker *worker = publisher->worker;
    struct query queries[QUERY_COUNT];
    uint64_t count;
    (void)epoll_events;
    if (read(publisher->eventfd, &count, sizeof count) < 0) {
        return;
    }
    pthread_mutex_lock(&worker->lock);
    bool end_known = worker->end_known;
    worker->end_known = false;
    memcpy(queries, worker->queries, sizeof queries);
    for (size_t i = 0; i < QUERY_COUNT; i++) {
        worker->queries[i].answered = false;
    }
    AUTO_FREE struct preflight *preflight = worker->preflight;
    worker->preflight = NULL;
    pthread_mutex_unlock(&worker->lock);
    if (end_known) {
        loop_timer_stop(&publisher->check);
        publisher->ended(publisher->context, &worker->end);
    }
    if (queries[QUERY_PREFLIGHT].answered && preflight != NULL) {
        loop_timer_stop(&publisher->check); /* there was no batch yet */
        publisher->preflight_found(publisher->context, preflight);
    }
    if (queries[QUERY_ID_HOLDER].answered) {
        publisher->holder_found(publisher->context,
                                (enum producer_id_holder)queries[QUERY_ID_HOLDER].answer);
    }
    if (queries[QUERY_METADATA].answered) {
        publisher->measured(publisher->context, queries[QUERY_METADATA].answer);
    }
}

/* With both workers' locks; the new one does not run yet. Copies what the old one was asked and
 * what it has not reported. True when the batch is to be reported as aborted. */
static bool worker_take_over(struct worker *fresh, struct worker *old)
{
    if (old->end_known) {
        end_store(fresh, &old->end);
    }
    memcpy(fresh->queries, old->queries, sizeof fresh->queries);
    for (size_t i = 0; i < QUERY_COUNT; i++) {
        if (fresh->queries[i].group_metadata != NULL) {
            (void)group_metadata_ref(fresh->queries[i].group_metadata);
        }
    }
    fresh->preflight = old->preflight;
    old->preflight = NULL;
    memcpy(fresh->id_last_error, old->id_last_error, sizeof fresh->id_last_error);
    if (old->batch != NULL && old->committing) {
        fresh->batch = old->batch;
        fresh->committing = fresh->resolve_first = true;
    }
    return old->batch != NULL && !old->committing;
}

/* From here on the old worker neither commits nor reads the batch. */
static void worker_replace(struct publisher *publisher, const char *why, int64_t duration_ms)
{
    struct worker *old = publisher->worker;
    struct worker *fresh = worker_new(publisher->eventfd);
    fresh->producer = producer_clone(old->producer, fresh);
    pthread_mutex_lock(&old->reading);
    pthread_mutex_lock(&old->lock);
    bool take_back = worker_take_over(fresh, old);
    bool started = worker_start(fresh);
    old->stop = old->stop || started;
    pthread_mutex_unlock(&old->lock);
    pthread_mutex_unlock(&old->reading);
    if (!started) {
        log_error("kafka producer: the system gives no thread");
        return;
    }
    if (atomic_load(&old->id_state) != PRODUCER_ID_HELD) {
        producer_expect_late_fence();
    }
    publisher->worker = fresh;
    worker_end(old, 0);
    if (take_back) {
        const struct transaction_end end = {
            .verdict = TRANSACTION_ABORTED, .last_error = why, .duration_ms = duration_ms};
        loop_timer_stop(&publisher->check);
        publisher->ended(publisher->context, &end);
    }
}

static void on_check(void *context)
{
    struct publisher *publisher = context;
    loop_timer_set(&publisher->check, clock_now(&clock_system).mono_ms + CHECK_MS);
    if (publisher_stalled_us(publisher) >= publisher->stuck_ms * 1000) {
        log_warning("kafka producer: a call does not return; its thread is abandoned");
        worker_replace(publisher,
                       "no answer from the group coordinator or the transaction coordinator",
                       publisher->stuck_ms);
    }
}

void publisher_renew(struct publisher *publisher)
{
    worker_replace(publisher, "the clients were replaced", 0);
}

static void query_ask(struct publisher *publisher, enum query_kind kind, struct query query)
{
    struct worker *worker = publisher->worker;
    pthread_mutex_lock(&worker->lock);
    assert(worker->queries[kind].group_metadata == NULL && !worker->queries[kind].answered);
    (void)group_metadata_ref(query.group_metadata);
    worker->queries[kind] = query;
    pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
}

void publisher_preflight(struct publisher *publisher, struct group_metadata *group_metadata,
                         publisher_preflight_fn *found)
{
    publisher->preflight_found = found;
    query_ask(publisher, QUERY_PREFLIGHT, (struct query){.group_metadata = group_metadata});
    loop_timer_set(&publisher->check, clock_now(&clock_system).mono_ms + CHECK_MS);
}

void publisher_find_id_holder(struct publisher *publisher, struct group_metadata *group_metadata,
                              publisher_id_holder_fn *found)
{
    publisher->holder_found = found;
    query_ask(publisher, QUERY_ID_HOLDER, (struct query){.group_metadata = group_metadata});
}

void publisher_measure_metadata(struct publisher *publisher, struct group_metadata *group_metadata,
                                const struct transaction_position *position,
                                publisher_metadata_fn *measured)
{
    publisher->measured = measured;
    query_ask(publisher, QUERY_METADATA,
              (struct query){.group_metadata = group_metadata,
                             .partition = position->partition,
                             .offset = position->offset});
}

static void publisher_drop(struct publisher *publisher)
{
    loop_timer_stop(&publisher->check);
    publisher->watch = loop_fd_remove(publisher->watch);
    if (publisher->eventfd >= 0) {
        close(publisher->eventfd);
    }
    free(publisher);
}

static char *worker_begin(struct publisher *publisher, const struct producer_config *config)
{
    char *error = NULL;
    struct worker *worker = worker_new(publisher->eventfd);
    worker->producer = producer_new(config, &owner, worker, &error);
    if (worker->producer == NULL) {
        worker_free(worker);
        return error;
    }
    publisher->worker = worker;
    return worker_start(worker) ? NULL : mem_strdup("kafka producer: the system gives no thread");
}

struct publisher *publisher_new(struct loop *loop, const struct producer_config *config,
                                publisher_ended_fn *ended, void *context, char **error)
{
    struct publisher *publisher = mem_zalloc(1, sizeof *publisher);
    publisher->ended = ended;
    publisher->context = context;
    loop_timer_init(&publisher->check, loop, on_check, publisher);
    publisher->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (publisher->eventfd >= 0) {
        publisher->watch = loop_fd_add(loop, publisher->eventfd, EPOLLIN, on_eventfd, publisher);
    }
    publisher->stuck_ms = config->stuck_ms > 0 ? config->stuck_ms : PUBLISHER_STUCK_MS;
    *error = publisher->watch == NULL
                 ? mem_strdup("kafka producer: the system gives no event descriptor")
                 : worker_begin(publisher, config);
    if (*error != NULL) {
        publisher_drop(publisher);
        return NULL;
    }
    return publisher;
}

void publisher_free(struct publisher *publisher, int64_t timeout_ms)
{
    if (publisher != NULL) {
        worker_end(publisher->worker, timeout_ms);
        publisher_drop(publisher);
    }
}

enum producer_id_state publisher_id_state(const struct publisher *publisher)
{
    return atomic_load(&publisher->worker->id_state);
}

void publisher_last_error(const struct publisher *publisher, char *text, size_t size)
{
    struct worker *worker = publisher->worker;
    pthread_mutex_lock(&worker->lock);
    (void)snprintf(text, size, "%s", worker->id_last_error);
    pthread_mutex_unlock(&worker->lock);
}

void publisher_brokers(const struct publisher *publisher, struct client_brokers *brokers)
{
    struct worker *worker = publisher->worker;
    pthread_mutex_lock(&worker->lock);
    *brokers = worker->brokers;
    pthread_mutex_unlock(&worker->lock);
}

void publisher_submit(struct publisher *publisher, const struct transaction_batch *batch)
{
    struct worker *worker = publisher->worker;
    pthread_mutex_lock(&worker->lock);
    assert(worker->batch == NULL && !worker->end_known);
    worker->batch = batch;
    pthread_cond_signal(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    loop_timer_set(&publisher->check, clock_now(&clock_system).mono_ms + CHECK_MS);
}

int32_t publisher_route(const struct publisher *publisher, unsigned topic, const void *key,
                        size_t key_len)
{
    const struct worker *worker = publisher->worker;
    int32_t count = atomic_load(&worker->partitions[topic]);
    return count <= 0 ? -1 : producer_partition_of_key(worker->producer, key, key_len, count);
}

int64_t publisher_stalled_us(const struct publisher *publisher)
{
    int64_t alive_us = atomic_load_explicit(&publisher->worker->alive_us, memory_order_relaxed);
    return alive_us == 0 ? 0 : clock_mono_us() - alive_us;
}
