/* The thread and the hand-over; what happens to a batch is producer.c's.
 *
 * rd_kafka_send_offsets_to_transaction() may block for much longer than it was told to: the
 * library's request to a group coordinator has no timer of its own, and when its retries are
 * used up (two, retry.backoff.ms apart) it waits for a change of some broker's connection. Ten
 * minutes were seen, until the broker closed an idle one; so it is up to 2.15. A thread that
 * sits there is left behind and another takes its place: its producer is fenced by the new one's,
 * and it frees itself should it ever return. The same is done on request (publisher_renew()).
 *
 * Whose is a batch? Until it is committed, the owner's to take back: under the lock, the thread
 * either begins the commit or is told to stop. Once the commit has begun, whoever comes after
 * has to find out how it ended, and tells that. Reading the batch is guarded by a lock of its own,
 * so that a thread which was left behind never reads what the owner has freed.
 */
#include "presignd/kafka/publisher.h"

#include "kafka/detached.h"
#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/kafka/client.h"
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
    /* Between attempts to get hold of the transactional.id while there is no batch. */
    ACQUIRE_PAUSE_MS = 1000,
    /* How often a batch in progress is checked. */
    CHECK_MS = 5000,
};

/* How much metadata is taken? Asked by `session`, NULL while nobody asks. */
struct measuring {
    struct group_metadata *group_metadata;
    int32_t partition;
    int64_t offset;
    int64_t bytes;
    bool known;
};

/* A thread and all it works on; outlives the publisher when it has to be left behind. */
struct worker {
    struct producer *producer;
    int eventfd; /* the publisher's: written when an end is to be told */

    pthread_mutex_t reading; /* the batch; taken before `lock` where both are */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock: a batch to do (NULL while there is none), and its end. */
    const struct transaction_batch *batch;
    struct transaction_end end;
    char last_error[256]; /* the end's; the producer goes on with its own */
    bool end_known, stop, finished, orphan;
    bool committing; /* the batch may be visible: it is this thread's to resolve */
    bool begun;      /* ... by a thread that was left behind: this one begins with resolving */
    /* Who holds the transactional.id? Asked under `session`, NULL while nobody asks. */
    struct group_metadata *group_metadata;
    enum producer_id_holder holder;
    bool holder_known;
    struct measuring measuring;
    char id_last_error[256];

    _Atomic enum producer_id_state id_state;
    _Atomic int32_t partitions[TRANSACTION_TOPICS_MAX]; /* 0: not known yet */
    _Atomic int64_t alive_us;                           /* last sign of life; 0 while idle */
};

struct publisher {
    struct loop_fd *watch;
    int eventfd;
    publisher_ended_fn *ended;
    publisher_id_holder_fn *id_holder_found;
    publisher_metadata_fn *metadata_measured;
    void *context;
    struct worker *worker;
    struct loop_timer check;
    int64_t stuck_ms;
};

/* --- The thread --- */

static void alive(struct worker *worker, int64_t at_us)
{
    atomic_store_explicit(&worker->alive_us, at_us, memory_order_relaxed);
}

/* Until `until`, or something has changed; false when the time is over. */
static bool changed_wait(struct worker *worker, const struct timespec *until)
{
    return pthread_cond_clockwait(&worker->changed, &worker->lock, CLOCK_MONOTONIC, until) == 0;
}

/* Decided under the lock that worker_replace() decides under: either the batch is committed by
 * this thread, or it is told as aborted and another thread publishes it again. */
static bool worker_may_commit(void *context)
{
    struct worker *worker = context;
    pthread_mutex_lock(&worker->lock);
    worker->committing = !worker->stop;
    bool may = worker->committing;
    pthread_mutex_unlock(&worker->lock);
    return may;
}

/* Without the lock. */
static bool worker_stops(struct worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    bool stop = worker->stop;
    pthread_mutex_unlock(&worker->lock);
    return stop;
}

static bool worker_read(void *context, bool begin)
{
    struct worker *worker = context;
    if (!begin) {
        pthread_mutex_unlock(&worker->reading);
        return true;
    }
    pthread_mutex_lock(&worker->reading);
    bool stop = worker_stops(worker);
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

/* With the lock. */
static void end_report(struct worker *worker, const struct transaction_end *end)
{
    worker->end = *end;
    if (end->last_error != NULL) {
        (void)snprintf(worker->last_error, sizeof worker->last_error, "%s", end->last_error);
        worker->end.last_error = worker->last_error;
    }
    worker->end_known = true;
    loop_notify(worker);
}

/* Without the lock. */
static void id_state_store(struct worker *worker)
{
    enum producer_id_state id_state = producer_id_state(worker->producer);
    pthread_mutex_lock(&worker->lock);
    bool news = id_state != atomic_load(&worker->id_state);
    atomic_store(&worker->id_state, id_state);
    (void)snprintf(worker->id_last_error, sizeof worker->id_last_error, "%s",
                   id_state == PRODUCER_ID_HELD ? "" : producer_last_error(worker->producer));
    if (news && !worker->orphan) {
        loop_notify(worker);
    }
    pthread_mutex_unlock(&worker->lock);
}

/* The producer's pause: whole, unless we are to stop. A batch may lose hold of the
 * transactional.id and wait for it, so that is noted here as well. */
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

static void partitions_store(struct worker *worker)
{
    for (unsigned i = 0; i < TRANSACTION_TOPICS_MAX; i++) {
        atomic_store(&worker->partitions[i], producer_partitions(worker->producer, i));
    }
}

static void batch_do(struct worker *worker, const struct transaction_batch *batch)
{
    struct transaction_end end = {0};
    int64_t begun_us = clock_mono_us();
    bool known = worker->begun ? producer_resolve(worker->producer, batch, &end)
                               : producer_publish(worker->producer, batch, &end);
    end.duration_ms = (clock_mono_us() - begun_us) / 1000;
    id_state_store(worker);
    partitions_store(worker);
    pthread_mutex_lock(&worker->lock);
    worker->batch = NULL;
    worker->committing = worker->begun = false;
    if (known && !worker->orphan) {
        end_report(worker, &end);
    }
    pthread_mutex_unlock(&worker->lock);
}

/* With the lock. */
static bool asked(const struct worker *worker)
{
    return worker->batch != NULL || worker->group_metadata != NULL ||
           worker->measuring.group_metadata != NULL || worker->stop;
}

/* With the lock. NULL at once while the transactional.id is not held, or somebody asks
 * something. */
static const struct transaction_batch *batch_wait(struct worker *worker)
{
    while (!asked(worker) && atomic_load(&worker->id_state) == PRODUCER_ID_HELD) {
        alive(worker, 0);
        pthread_cond_wait(&worker->changed, &worker->lock);
    }
    return worker->stop ? NULL : worker->batch;
}

/* With the lock. */
static void pause_unless_changed(struct worker *worker)
{
    if (!asked(worker)) {
        const struct timespec until = clock_mono_after(ACQUIRE_PAUSE_MS);
        (void)changed_wait(worker, &until);
    }
}

static void acquire_or_pause(struct worker *worker)
{
    alive(worker, clock_mono_us());
    bool held = producer_acquire(worker->producer);
    id_state_store(worker);
    pthread_mutex_lock(&worker->lock);
    if (!held) {
        pause_unless_changed(worker);
    }
    pthread_mutex_unlock(&worker->lock);
}

static void id_holder_do(struct worker *worker, const struct group_metadata *group_metadata)
{
    alive(worker, clock_mono_us());
    enum producer_id_holder holder = producer_find_id_holder(worker->producer, group_metadata);
    id_state_store(worker);
    pthread_mutex_lock(&worker->lock);
    worker->group_metadata = group_metadata_unref(worker->group_metadata);
    if (!worker->orphan) {
        worker->holder = holder;
        worker->holder_known = true;
        loop_notify(worker);
    }
    pthread_mutex_unlock(&worker->lock);
}

static void measure_do(struct worker *worker, const struct measuring *asked)
{
    alive(worker, clock_mono_us());
    int64_t bytes = producer_measure_metadata(worker->producer, asked->group_metadata,
                                              asked->partition, asked->offset);
    id_state_store(worker);
    pthread_mutex_lock(&worker->lock);
    worker->measuring.group_metadata = group_metadata_unref(worker->measuring.group_metadata);
    if (!worker->orphan) {
        worker->measuring.bytes = bytes;
        worker->measuring.known = true;
        loop_notify(worker);
    }
    pthread_mutex_unlock(&worker->lock);
}

static void worker_drop(struct worker *worker)
{
    worker->producer = producer_free(worker->producer);
    group_metadata_unref(worker->group_metadata);
    group_metadata_unref(worker->measuring.group_metadata);
    pthread_cond_destroy(&worker->changed);
    pthread_mutex_destroy(&worker->lock);
    pthread_mutex_destroy(&worker->reading);
    free(worker);
}

static void worker_work(struct worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    while (!worker->stop) {
        const struct transaction_batch *batch = batch_wait(worker);
        struct group_metadata *group_metadata = worker->group_metadata;
        struct measuring measuring = worker->measuring;
        bool stop = worker->stop;
        pthread_mutex_unlock(&worker->lock);
        if (batch != NULL) {
            alive(worker, clock_mono_us());
            batch_do(worker, batch);
        } else if (!stop && group_metadata != NULL) {
            id_holder_do(worker, group_metadata);
        } else if (!stop && measuring.group_metadata != NULL) {
            measure_do(worker, &measuring);
        } else if (!stop) {
            acquire_or_pause(worker);
        }
        pthread_mutex_lock(&worker->lock);
    }
    pthread_mutex_unlock(&worker->lock);
}

static void worker_run(void *context)
{
    struct worker *worker = context;
    worker_work(worker);
    pthread_mutex_lock(&worker->lock);
    bool orphan = worker->orphan;
    worker->finished = true;
    pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    if (orphan) {
        worker_drop(worker);
    }
}

static const struct producer_owner owner = {
    .pause = worker_pause,
    .may_commit = worker_may_commit,
    .read = worker_read,
};

static struct worker *worker_new(int eventfd)
{
    struct worker *worker = mem_zalloc(1, sizeof *worker);
    worker->eventfd = eventfd;
    pthread_mutex_init(&worker->reading, NULL);
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->changed, NULL);
    return worker;
}

/* From here on the thread owns it, too. */
static bool worker_start(struct worker *worker)
{
    if (!detached_start("publisher", worker_run, worker)) {
        worker_drop(worker);
        return false;
    }
    return true;
}

/* Asks the thread to end; it is freed here, or frees itself when it does not within the time. */
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
    pthread_mutex_unlock(&worker->lock); /* once orphaned, it may be gone any moment */
    if (finished) {
        worker_drop(worker);
    }
}

/* --- The loop's side --- */

/* The end stays as it is until the next batch is submitted. */
static void on_eventfd(void *context, uint32_t epoll_events)
{
    struct publisher *publisher = context;
    struct worker *worker = publisher->worker;
    uint64_t count;
    (void)epoll_events;
    if (read(publisher->eventfd, &count, sizeof count) < 0) {
        return;
    }
    pthread_mutex_lock(&worker->lock);
    bool end_known = worker->end_known, holder_known = worker->holder_known;
    bool bytes_known = worker->measuring.known;
    worker->end_known = worker->holder_known = worker->measuring.known = false;
    enum producer_id_holder holder = worker->holder;
    int64_t bytes = worker->measuring.bytes;
    pthread_mutex_unlock(&worker->lock);
    if (end_known) {
        loop_timer_stop(&publisher->check);
        publisher->ended(publisher->context, &worker->end);
    }
    if (holder_known) { /* not `hand`: whoever was told above may have renewed it */
        publisher->id_holder_found(publisher->context, holder);
    }
    if (bytes_known) {
        publisher->metadata_measured(publisher->context, bytes);
    }
}

/* With both hands' locks, as the fresh one does not run yet: what the old one was asked, and what
 * it said that is not told yet. True when its batch is to be told as aborted. */
static bool worker_take_over(struct worker *fresh, struct worker *old)
{
    fresh->end_known = old->end_known;
    if (old->end_known) {
        fresh->end = old->end;
        memcpy(fresh->last_error, old->last_error, sizeof fresh->last_error);
        fresh->end.last_error = old->end.last_error == NULL ? NULL : fresh->last_error;
    }
    fresh->holder_known = old->holder_known;
    fresh->holder = old->holder;
    fresh->group_metadata =
        old->group_metadata == NULL ? NULL : group_metadata_ref(old->group_metadata);
    fresh->measuring = old->measuring;
    if (old->measuring.group_metadata != NULL) {
        (void)group_metadata_ref(old->measuring.group_metadata);
    }
    memcpy(fresh->id_last_error, old->id_last_error, sizeof fresh->id_last_error);
    bool take_back = old->batch != NULL && !old->committing;
    if (old->batch != NULL && old->committing) {
        fresh->batch = old->batch;
        fresh->committing = fresh->begun = true;
    }
    return take_back;
}

/* Another hand for one that is stuck, or not to be trusted any more. From here on the old one
 * commits and reads nothing. False when the system gives no thread. */
static bool worker_replace(struct publisher *publisher, bool *take_back)
{
    struct worker *old = publisher->worker;
    struct worker *fresh = worker_new(publisher->eventfd);
    fresh->producer = producer_clone(old->producer, fresh);
    pthread_mutex_lock(&old->reading);
    pthread_mutex_lock(&old->lock);
    *take_back = worker_take_over(fresh, old);
    bool started = worker_start(fresh);
    old->stop = old->stop || started;
    pthread_mutex_unlock(&old->lock);
    pthread_mutex_unlock(&old->reading);
    if (!started) {
        log_error("kafka producer: the system gives no thread");
        return false;
    }
    if (atomic_load(&old->id_state) != PRODUCER_ID_HELD) {
        producer_expect_late_fence();
    }
    publisher->worker = fresh;
    worker_end(old, 0);
    return true;
}

static void report_aborted(struct publisher *publisher, const char *last_error, int64_t duration_ms)
{
    loop_timer_stop(&publisher->check);
    const struct transaction_end end = {
        .verdict = TRANSACTION_ABORTED, .last_error = last_error, .duration_ms = duration_ms};
    publisher->ended(publisher->context, &end);
}

static void on_check(void *context)
{
    struct publisher *publisher = context;
    const int64_t stuck_ms = publisher->stuck_ms;
    bool take_back = false;
    loop_timer_set(&publisher->check, clock_now(&clock_system).mono_ms + CHECK_MS);
    if (publisher_stalled_us(publisher) < stuck_ms * 1000) {
        return;
    }
    log_warning("kafka producer: sits in a call that does not return, left behind");
    if (worker_replace(publisher, &take_back) && take_back) {
        report_aborted(publisher,
                       "no answer from the group coordinator or the transaction coordinator",
                       stuck_ms);
    }
}

void publisher_renew(struct publisher *publisher)
{
    bool take_back = false;
    if (worker_replace(publisher, &take_back) && take_back) {
        report_aborted(publisher, "the clients were made anew", 0);
    }
}

void publisher_find_id_holder(struct publisher *publisher, struct group_metadata *group_metadata,
                              publisher_id_holder_fn *id_holder_found)
{
    struct worker *worker = publisher->worker;
    publisher->id_holder_found = id_holder_found;
    pthread_mutex_lock(&worker->lock);
    assert(worker->group_metadata == NULL && !worker->holder_known);
    worker->group_metadata = group_metadata_ref(group_metadata);
    pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
}

void publisher_measure_metadata(struct publisher *publisher, struct group_metadata *group_metadata,
                                const struct transaction_position *position,
                                publisher_metadata_fn *metadata_measured)
{
    struct worker *worker = publisher->worker;
    publisher->metadata_measured = metadata_measured;
    pthread_mutex_lock(&worker->lock);
    assert(worker->measuring.group_metadata == NULL && !worker->measuring.known);
    worker->measuring = (struct measuring){.group_metadata = group_metadata_ref(group_metadata),
                                           .partition = position->partition,
                                           .offset = position->offset};
    pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
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
        worker_drop(worker);
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
