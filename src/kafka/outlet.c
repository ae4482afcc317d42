/* The thread and the hand-over; what happens to a batch is producer.c's.
 *
 * rd_kafka_send_offsets_to_transaction() may block for much longer than it was told to: the
 * library's request to a group coordinator has no timer of its own, and when its retries are
 * used up (two, retry.backoff.ms apart) it waits for a change of some broker's connection. Ten
 * minutes were seen, until the broker closed an idle one; so it is up to 2.15. A thread that
 * sits there is left behind and another takes its place: nothing of its batch is visible, its
 * producer is fenced by the new one's, and it frees itself should it ever return.
 */
#include "presignd/kafka/outlet.h"

#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/kafka/producer.h"

#include <assert.h>
#include <errno.h>
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
    /* How often a batch in hand is looked after. */
    CHECK_MS = 5000,
};

/* A thread and all it works on; outlives the outlet when it has to be left behind. */
struct hand {
    struct outlet_config config; /* a copy of its own */
    struct producer *producer;
    pthread_t thread;
    int eventfd; /* the outlet's: written when an end is to be told */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock: a batch to do (NULL while there is none), and its end. */
    const struct outlet_batch *batch;
    struct outlet_end end;
    char trouble[256]; /* the end's; the producer goes on with its own */
    bool end_known, stop, finished, orphan;
    bool committing; /* the batch may be visible: it is this thread's to settle */

    atomic_bool ready;
    _Atomic int64_t alive_us; /* last sign of life; 0 while idle */
};

struct outlet {
    struct loop_fd *watch;
    int eventfd;
    outlet_ended_fn *ended;
    void *context;
    struct hand *hand;
    struct loop_timer check;
};

/* --- Configuration, copied --- */

static void config_copy(struct outlet_config *copy, const struct outlet_config *config)
{
    struct kafka_property *properties = mem_zalloc(config->property_count, sizeof *properties);
    for (size_t i = 0; i < config->property_count; i++) {
        properties[i].client = config->properties[i].client;
        properties[i].name = mem_strdup(config->properties[i].name);
        properties[i].value = mem_strdup(config->properties[i].value);
    }
    copy->instance = mem_strdup(config->instance);
    copy->requests_topic = mem_strdup(config->requests_topic);
    for (size_t i = 0; i < OUTLET_TOPIC_COUNT; i++) {
        copy->topics[i] = mem_strdup(config->topics[i]);
    }
    copy->properties = properties;
    copy->property_count = config->property_count;
    copy->stuck_ms = config->stuck_ms > 0 ? config->stuck_ms : OUTLET_STUCK_MS;
}

/* A value may be a password. */
static void text_drop(const char *text)
{
    char *own;
    memcpy(&own, &text, sizeof own);
    if (own != NULL) {
        explicit_bzero(own, strlen(own));
    }
    free(own);
}

static void config_drop(struct outlet_config *config)
{
    for (size_t i = 0; i < config->property_count; i++) {
        text_drop(config->properties[i].name);
        text_drop(config->properties[i].value);
    }
    struct kafka_property *properties;
    memcpy(&properties, &config->properties, sizeof(void *));
    free(properties);
    text_drop(config->instance);
    text_drop(config->requests_topic);
    for (size_t i = 0; i < OUTLET_TOPIC_COUNT; i++) {
        text_drop(config->topics[i]);
    }
}

/* --- The thread --- */

static void alive(struct hand *hand, int64_t at_us)
{
    atomic_store_explicit(&hand->alive_us, at_us, memory_order_relaxed);
}

static struct timespec after_ms(int64_t milliseconds)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += milliseconds % 1000 * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return until;
}

/* The producer's pause: whole, unless we are to stop. */
static bool hand_pause(void *context, int64_t milliseconds)
{
    struct hand *hand = context;
    alive(hand, clock_mono_us());
    pthread_mutex_lock(&hand->lock);
    const struct timespec until = after_ms(milliseconds);
    while (milliseconds > 0 && !hand->stop &&
           pthread_cond_timedwait(&hand->changed, &hand->lock, &until) == 0) {
    }
    bool stop = hand->stop;
    pthread_mutex_unlock(&hand->lock);
    return stop;
}

/* Decided under the lock that hand_replace() decides under: either the batch is committed by
 * this thread, or it is told as aborted and another thread publishes it again. */
static bool hand_may_commit(void *context)
{
    struct hand *hand = context;
    pthread_mutex_lock(&hand->lock);
    hand->committing = !hand->stop;
    bool may = hand->committing;
    pthread_mutex_unlock(&hand->lock);
    return may;
}

/* With the lock. */
static void end_tell(struct hand *hand, const struct outlet_end *end)
{
    const uint64_t one = 1;
    hand->end = *end;
    if (end->trouble != NULL) {
        (void)snprintf(hand->trouble, sizeof hand->trouble, "%s", end->trouble);
        hand->end.trouble = hand->trouble;
    }
    hand->end_known = true;
    (void)!write(hand->eventfd, &one, sizeof one);
}

static void batch_do(struct hand *hand, const struct outlet_batch *batch)
{
    struct outlet_end end = {0};
    int64_t begun_us = clock_mono_us();
    bool known = producer_publish(hand->producer, batch, &end);
    end.duration_ms = (clock_mono_us() - begun_us) / 1000;
    atomic_store(&hand->ready, producer_ready(hand->producer));
    pthread_mutex_lock(&hand->lock);
    hand->batch = NULL;
    hand->committing = false;
    if (known && !hand->orphan) {
        end_tell(hand, &end);
    }
    pthread_mutex_unlock(&hand->lock);
}

/* With the lock. NULL at once while the transactional.id is not held. */
static const struct outlet_batch *batch_wait(struct hand *hand)
{
    while (hand->batch == NULL && !hand->stop && atomic_load(&hand->ready)) {
        alive(hand, 0);
        pthread_cond_wait(&hand->changed, &hand->lock);
    }
    return hand->stop ? NULL : hand->batch;
}

static void acquire_or_pause(struct hand *hand)
{
    alive(hand, clock_mono_us());
    bool ready = producer_acquire(hand->producer);
    atomic_store(&hand->ready, ready);
    pthread_mutex_lock(&hand->lock);
    if (!ready && hand->batch == NULL && !hand->stop) {
        const struct timespec until = after_ms(ACQUIRE_PAUSE_MS);
        (void)pthread_cond_timedwait(&hand->changed, &hand->lock, &until);
    }
    pthread_mutex_unlock(&hand->lock);
}

static void hand_drop(struct hand *hand)
{
    hand->producer = producer_free(hand->producer);
    config_drop(&hand->config);
    pthread_cond_destroy(&hand->changed);
    pthread_mutex_destroy(&hand->lock);
    free(hand);
}

static void *hand_run(void *context)
{
    struct hand *hand = context;
    pthread_mutex_lock(&hand->lock);
    while (!hand->stop) {
        const struct outlet_batch *batch = batch_wait(hand);
        bool stop = hand->stop;
        pthread_mutex_unlock(&hand->lock);
        if (batch != NULL) {
            alive(hand, clock_mono_us());
            batch_do(hand, batch);
        } else if (!stop) {
            acquire_or_pause(hand);
        }
        pthread_mutex_lock(&hand->lock);
    }
    pthread_mutex_unlock(&hand->lock);
    hand->producer = producer_free(hand->producer);
    pthread_mutex_lock(&hand->lock);
    bool orphan = hand->orphan;
    hand->finished = true;
    pthread_mutex_unlock(&hand->lock);
    if (orphan) {
        hand_drop(hand);
    }
    return NULL;
}

static struct hand *hand_new(const struct outlet_config *config, int eventfd, char **error)
{
    struct hand *hand = mem_zalloc(1, sizeof *hand);
    pthread_condattr_t monotonic;
    config_copy(&hand->config, config);
    hand->eventfd = eventfd;
    pthread_mutex_init(&hand->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&hand->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    hand->producer = producer_new(&hand->config, hand_pause, hand_may_commit, hand, error);
    if (hand->producer != NULL && pthread_create(&hand->thread, NULL, hand_run, hand) != 0) {
        *error = mem_strdup("kafka producer: the system gives no thread");
    }
    if (*error != NULL) {
        hand_drop(hand);
        return NULL;
    }
    (void)pthread_setname_np(hand->thread, "outlet");
    return hand;
}

/* Asks the thread to end; it is freed here, or frees itself when it does not within the time
 * (then false). */
static bool hand_end(struct hand *hand, int64_t timeout_ms)
{
    pthread_mutex_lock(&hand->lock);
    hand->stop = true;
    pthread_cond_broadcast(&hand->changed);
    pthread_mutex_unlock(&hand->lock);
    const struct timespec until = after_ms(timeout_ms);
    if (pthread_clockjoin_np(hand->thread, NULL, CLOCK_MONOTONIC, &until) == ETIMEDOUT) {
        pthread_mutex_lock(&hand->lock);
        bool finished = hand->finished;
        hand->orphan = !finished;
        pthread_t thread = hand->thread; /* once orphaned, it may be gone any moment */
        pthread_mutex_unlock(&hand->lock);
        if (!finished) {
            log_warning("kafka producer: sits in a call that does not return, left behind");
            (void)pthread_detach(thread);
            return false;
        }
        pthread_join(thread, NULL);
    }
    hand_drop(hand);
    return true;
}

/* --- The loop's side --- */

/* The end stays as it is until the next batch is submitted. */
static void on_eventfd(void *context, uint32_t epoll_events)
{
    struct outlet *outlet = context;
    struct hand *hand = outlet->hand;
    uint64_t count;
    (void)epoll_events;
    if (read(outlet->eventfd, &count, sizeof count) < 0) {
        return;
    }
    pthread_mutex_lock(&hand->lock);
    bool known = hand->end_known;
    hand->end_known = false;
    pthread_mutex_unlock(&hand->lock);
    if (known) {
        loop_timer_stop(&outlet->check);
        outlet->ended(outlet->context, &hand->end);
    }
}

/* Another hand for one that is stuck; false when that is not possible or not safe. */
static bool hand_replace(struct outlet *outlet)
{
    char *error = NULL;
    struct hand *stuck = outlet->hand;
    pthread_mutex_lock(&stuck->lock);
    bool replaceable = !stuck->committing && (stuck->batch != NULL || stuck->stop);
    stuck->stop = stuck->stop || replaceable; /* from here on it commits nothing */
    pthread_mutex_unlock(&stuck->lock);
    if (!replaceable) {
        return false; /* the batch may be visible: the watchdog ends the process, which settles */
    }
    struct hand *fresh = hand_new(&stuck->config, outlet->eventfd, &error);
    if (fresh == NULL) {
        log_error("%s", error);
        free(error);
        return false;
    }
    outlet->hand = fresh;
    (void)hand_end(stuck, 0);
    return true;
}

static void on_check(void *context)
{
    struct outlet *outlet = context;
    const int64_t stuck_ms = outlet->hand->config.stuck_ms;
    if (outlet_stalled_us(outlet) < stuck_ms * 1000 || !hand_replace(outlet)) {
        loop_timer_set(&outlet->check, clock_now(&clock_system).mono_ms + CHECK_MS);
        return;
    }
    const struct outlet_end end = {
        .verdict = OUTLET_ABORTED,
        .trouble = "no answer from the group coordinator or the transaction coordinator",
        .duration_ms = stuck_ms,
    };
    outlet->ended(outlet->context, &end);
}

static void outlet_drop(struct outlet *outlet)
{
    loop_timer_stop(&outlet->check);
    outlet->watch = loop_fd_remove(outlet->watch);
    if (outlet->eventfd >= 0) {
        close(outlet->eventfd);
    }
    free(outlet);
}

struct outlet *outlet_new(struct loop *loop, const struct outlet_config *config,
                          outlet_ended_fn *ended, void *context, char **error)
{
    struct outlet *outlet = mem_zalloc(1, sizeof *outlet);
    outlet->ended = ended;
    outlet->context = context;
    loop_timer_init(&outlet->check, loop, on_check, outlet);
    outlet->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (outlet->eventfd >= 0) {
        outlet->watch = loop_fd_add(loop, outlet->eventfd, EPOLLIN, on_eventfd, outlet);
    }
    *error = outlet->watch == NULL
                 ? mem_strdup("kafka producer: the system gives no event descriptor")
                 : NULL;
    if (*error == NULL) {
        outlet->hand = hand_new(config, outlet->eventfd, error);
    }
    if (*error != NULL) {
        outlet_drop(outlet);
        return NULL;
    }
    return outlet;
}

bool outlet_free(struct outlet *outlet, int64_t timeout_ms)
{
    if (outlet == NULL) {
        return true;
    }
    bool ended = hand_end(outlet->hand, timeout_ms);
    outlet_drop(outlet);
    return ended;
}

const char *outlet_verdict_name(enum outlet_verdict verdict)
{
    static const char *const names[OUTLET_VERDICT_COUNT] = {
        [OUTLET_COMMITTED] = "committed", [OUTLET_ABORTED] = "aborted",
        [OUTLET_NOT_OURS] = "not_ours",   [OUTLET_TOO_LARGE] = "too_large",
        [OUTLET_FENCED] = "fenced",
    };
    assert(verdict < OUTLET_VERDICT_COUNT);
    return names[verdict];
}

bool outlet_ready(const struct outlet *outlet)
{
    return atomic_load(&outlet->hand->ready);
}

void outlet_submit(struct outlet *outlet, const struct outlet_batch *batch)
{
    struct hand *hand = outlet->hand;
    pthread_mutex_lock(&hand->lock);
    assert(hand->batch == NULL && !hand->end_known);
    hand->batch = batch;
    pthread_cond_signal(&hand->changed);
    pthread_mutex_unlock(&hand->lock);
    loop_timer_set(&outlet->check, clock_now(&clock_system).mono_ms + CHECK_MS);
}

int64_t outlet_stalled_us(const struct outlet *outlet)
{
    int64_t alive_us = atomic_load_explicit(&outlet->hand->alive_us, memory_order_relaxed);
    return alive_us == 0 ? 0 : clock_mono_us() - alive_us;
}
