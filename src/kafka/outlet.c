/* The thread and the hand-over; what happens to a batch is producer.c's.
 *
 * rd_kafka_send_offsets_to_transaction() may block for much longer than it was told to: the
 * library's request to a group coordinator has no timer of its own, and when its retries are
 * used up (two, retry.backoff.ms apart) it waits for a change of some broker's connection. Ten
 * minutes were seen, until the broker closed an idle one; so it is up to 2.15. A thread that
 * sits there is left behind and another takes its place: its producer is fenced by the new one's,
 * and it frees itself should it ever return. The same is done on request (outlet_renew()).
 *
 * Whose is a batch? Until it is committed, the owner's to take back: under the lock, the thread
 * either begins the commit or is told to stop. Once the commit has begun, whoever comes after
 * has to find out how it ended, and tells that. Reading the batch is guarded by a lock of its own,
 * so that a thread which was left behind never reads what the owner has freed.
 */
#include "presignd/kafka/outlet.h"

#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/kafka/client.h"
#include "presignd/kafka/detached.h"
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
    /* How often a batch in hand is looked after. */
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

/* A thread and all it works on; outlives the outlet when it has to be left behind. */
struct hand {
    struct outlet_config config; /* a copy of its own */
    struct producer *producer;   /* NULL until the thread has made it */
    int eventfd;                 /* the outlet's: written when an end is to be told */

    pthread_mutex_t reading; /* the batch; taken before `lock` where both are */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock: a batch to do (NULL while there is none), and its end. */
    const struct outlet_batch *batch;
    struct outlet_end end;
    char trouble[256]; /* the end's; the producer goes on with its own */
    bool end_known, stop, finished, orphan;
    bool committing; /* the batch may be visible: it is this thread's to settle */
    bool begun;      /* ... by a thread that was left behind: this one begins with settling */
    /* Who holds the transactional.id? Asked under `session`, NULL while nobody asks. */
    struct group_metadata *group_metadata;
    enum renewal_hold hold;
    bool hold_known;
    struct measuring measuring;
    char standing_trouble[256];

    _Atomic enum outlet_standing standing;
    _Atomic enum partitioner partitioner;
    _Atomic int32_t partitions[OUTLET_TOPIC_COUNT]; /* 0: not known yet */
    _Atomic int64_t alive_us;                       /* last sign of life; 0 while idle */
};

struct outlet {
    struct loop_fd *watch;
    int eventfd;
    outlet_ended_fn *ended;
    outlet_probed_fn *probed;
    outlet_measured_fn *measured;
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
    copy->metadata_bytes = config->metadata_bytes;
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

/* Until `until`, or something has changed; false when the time is over. */
static bool changed_wait(struct hand *hand, const struct timespec *until)
{
    return pthread_cond_clockwait(&hand->changed, &hand->lock, CLOCK_MONOTONIC, until) == 0;
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

/* Without the lock. */
static bool hand_stops(struct hand *hand)
{
    pthread_mutex_lock(&hand->lock);
    bool stop = hand->stop;
    pthread_mutex_unlock(&hand->lock);
    return stop;
}

static bool hand_read(void *context, bool begin)
{
    struct hand *hand = context;
    if (!begin) {
        pthread_mutex_unlock(&hand->reading);
        return true;
    }
    pthread_mutex_lock(&hand->reading);
    bool stop = hand_stops(hand);
    if (stop) {
        pthread_mutex_unlock(&hand->reading);
    }
    return !stop;
}

static void loop_call(const struct hand *hand)
{
    const uint64_t one = 1;
    (void)!write(hand->eventfd, &one, sizeof one);
}

/* With the lock. */
static void end_tell(struct hand *hand, const struct outlet_end *end)
{
    hand->end = *end;
    if (end->trouble != NULL) {
        (void)snprintf(hand->trouble, sizeof hand->trouble, "%s", end->trouble);
        hand->end.trouble = hand->trouble;
    }
    hand->end_known = true;
    loop_call(hand);
}

/* Without the lock. */
static void standing_note(struct hand *hand)
{
    enum outlet_standing standing = producer_standing(hand->producer);
    pthread_mutex_lock(&hand->lock);
    bool news = standing != atomic_load(&hand->standing);
    atomic_store(&hand->standing, standing);
    (void)snprintf(hand->standing_trouble, sizeof hand->standing_trouble, "%s",
                   standing == OUTLET_HELD ? "" : producer_trouble(hand->producer));
    if (news && !hand->orphan) {
        loop_call(hand);
    }
    pthread_mutex_unlock(&hand->lock);
}

/* The producer's pause: whole, unless we are to stop. A batch may lose hold of the
 * transactional.id and wait for it, so that is noted here as well. */
static bool hand_pause(void *context, int64_t milliseconds)
{
    struct hand *hand = context;
    alive(hand, clock_mono_us());
    standing_note(hand);
    pthread_mutex_lock(&hand->lock);
    const struct timespec until = clock_mono_after(milliseconds);
    while (milliseconds > 0 && !hand->stop && changed_wait(hand, &until)) {
    }
    bool stop = hand->stop;
    pthread_mutex_unlock(&hand->lock);
    return stop;
}

static void partitions_note(struct hand *hand)
{
    atomic_store(&hand->partitioner, producer_partitioner(hand->producer));
    for (size_t i = 0; i < OUTLET_TOPIC_COUNT; i++) {
        atomic_store(&hand->partitions[i],
                     producer_partitions(hand->producer, (enum outlet_topic)i));
    }
}

static void batch_do(struct hand *hand, const struct outlet_batch *batch)
{
    struct outlet_end end = {0};
    int64_t begun_us = clock_mono_us();
    bool known = hand->begun ? producer_settle(hand->producer, batch, &end)
                             : producer_publish(hand->producer, batch, &end);
    end.duration_ms = (clock_mono_us() - begun_us) / 1000;
    standing_note(hand);
    partitions_note(hand);
    pthread_mutex_lock(&hand->lock);
    hand->batch = NULL;
    hand->committing = hand->begun = false;
    if (known && !hand->orphan) {
        end_tell(hand, &end);
    }
    pthread_mutex_unlock(&hand->lock);
}

/* With the lock. */
static bool asked(const struct hand *hand)
{
    return hand->batch != NULL || hand->group_metadata != NULL ||
           hand->measuring.group_metadata != NULL || hand->stop;
}

/* With the lock. NULL at once while the transactional.id is not held, or somebody asks
 * something. */
static const struct outlet_batch *batch_wait(struct hand *hand)
{
    while (!asked(hand) && atomic_load(&hand->standing) == OUTLET_HELD) {
        alive(hand, 0);
        pthread_cond_wait(&hand->changed, &hand->lock);
    }
    return hand->stop ? NULL : hand->batch;
}

/* With the lock. */
static void pause_unless_changed(struct hand *hand)
{
    if (!asked(hand)) {
        const struct timespec until = clock_mono_after(ACQUIRE_PAUSE_MS);
        (void)changed_wait(hand, &until);
    }
}

static void acquire_or_pause(struct hand *hand)
{
    alive(hand, clock_mono_us());
    bool held = producer_acquire(hand->producer);
    standing_note(hand);
    pthread_mutex_lock(&hand->lock);
    if (!held) {
        pause_unless_changed(hand);
    }
    pthread_mutex_unlock(&hand->lock);
}

static void probe_do(struct hand *hand, const struct group_metadata *group_metadata)
{
    alive(hand, clock_mono_us());
    enum renewal_hold hold = producer_probe(hand->producer, group_metadata);
    standing_note(hand);
    pthread_mutex_lock(&hand->lock);
    hand->group_metadata = group_metadata_unref(hand->group_metadata);
    if (!hand->orphan) {
        hand->hold = hold;
        hand->hold_known = true;
        loop_call(hand);
    }
    pthread_mutex_unlock(&hand->lock);
}

static void measure_do(struct hand *hand, const struct measuring *asked)
{
    alive(hand, clock_mono_us());
    int64_t bytes =
        producer_measure(hand->producer, asked->group_metadata, asked->partition, asked->offset);
    standing_note(hand);
    pthread_mutex_lock(&hand->lock);
    hand->measuring.group_metadata = group_metadata_unref(hand->measuring.group_metadata);
    if (!hand->orphan) {
        hand->measuring.bytes = bytes;
        hand->measuring.known = true;
        loop_call(hand);
    }
    pthread_mutex_unlock(&hand->lock);
}

/* One that the system gives no thread for is tried again every second. */
static void producer_make(struct hand *hand)
{
    AUTO_FREE char *error = NULL;
    alive(hand, clock_mono_us());
    hand->producer = producer_new(&hand->config, hand_pause, hand_may_commit, hand, &error);
    if (hand->producer != NULL) {
        producer_set_read(hand->producer, hand_read);
        return;
    }
    log_error("%s", error);
    pthread_mutex_lock(&hand->lock);
    (void)snprintf(hand->standing_trouble, sizeof hand->standing_trouble, "%s", error);
    const struct timespec until = clock_mono_after(ACQUIRE_PAUSE_MS);
    while (!hand->stop && changed_wait(hand, &until)) {
    }
    pthread_mutex_unlock(&hand->lock);
}

static void hand_drop(struct hand *hand)
{
    config_drop(&hand->config);
    group_metadata_unref(hand->group_metadata);
    group_metadata_unref(hand->measuring.group_metadata);
    pthread_cond_destroy(&hand->changed);
    pthread_mutex_destroy(&hand->lock);
    pthread_mutex_destroy(&hand->reading);
    free(hand);
}

static void hand_work(struct hand *hand)
{
    pthread_mutex_lock(&hand->lock);
    while (!hand->stop) {
        const struct outlet_batch *batch = batch_wait(hand);
        struct group_metadata *group_metadata = hand->group_metadata;
        struct measuring measuring = hand->measuring;
        bool stop = hand->stop;
        pthread_mutex_unlock(&hand->lock);
        if (batch != NULL) {
            alive(hand, clock_mono_us());
            batch_do(hand, batch);
        } else if (!stop && group_metadata != NULL) {
            probe_do(hand, group_metadata);
        } else if (!stop && measuring.group_metadata != NULL) {
            measure_do(hand, &measuring);
        } else if (!stop) {
            acquire_or_pause(hand);
        }
        pthread_mutex_lock(&hand->lock);
    }
    pthread_mutex_unlock(&hand->lock);
}

static void hand_run(void *context)
{
    struct hand *hand = context;
    while (hand->producer == NULL && !hand_stops(hand)) {
        producer_make(hand);
    }
    hand_work(hand);
    hand->producer = producer_free(hand->producer);
    pthread_mutex_lock(&hand->lock);
    bool orphan = hand->orphan;
    hand->finished = true;
    pthread_cond_broadcast(&hand->changed);
    pthread_mutex_unlock(&hand->lock);
    if (orphan) {
        hand_drop(hand);
    }
}

/* The properties are looked at here, so that a wrong one is told to whoever asks; the library's
 * own part may wait, and is the thread's. */
static char *config_check(const struct outlet_config *config)
{
    char *error = NULL;
    rd_kafka_conf_t *conf = kafka_properties_apply(
        KAFKA_PRODUCER, config->instance, config->properties, config->property_count, &error);
    if (conf != NULL) {
        rd_kafka_conf_destroy(conf);
    }
    return error;
}

static struct hand *hand_new(const struct outlet_config *config, int eventfd)
{
    struct hand *hand = mem_zalloc(1, sizeof *hand);
    config_copy(&hand->config, config);
    hand->eventfd = eventfd;
    pthread_mutex_init(&hand->reading, NULL);
    pthread_mutex_init(&hand->lock, NULL);
    pthread_cond_init(&hand->changed, NULL);
    return hand;
}

/* From here on the thread owns it, too. */
static bool hand_start(struct hand *hand)
{
    if (!detached_start("outlet", hand_run, hand)) {
        hand_drop(hand);
        return false;
    }
    return true;
}

/* Asks the thread to end; it is freed here, or frees itself when it does not within the time. */
static void hand_end(struct hand *hand, int64_t timeout_ms)
{
    const struct timespec until = clock_mono_after(timeout_ms);
    pthread_mutex_lock(&hand->lock);
    hand->stop = true;
    pthread_cond_broadcast(&hand->changed);
    while (!hand->finished && changed_wait(hand, &until)) {
    }
    bool finished = hand->finished;
    hand->orphan = !finished;
    pthread_mutex_unlock(&hand->lock); /* once orphaned, it may be gone any moment */
    if (finished) {
        hand_drop(hand);
    }
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
    bool end_known = hand->end_known, hold_known = hand->hold_known;
    bool bytes_known = hand->measuring.known;
    hand->end_known = hand->hold_known = hand->measuring.known = false;
    enum renewal_hold hold = hand->hold;
    int64_t bytes = hand->measuring.bytes;
    pthread_mutex_unlock(&hand->lock);
    if (end_known) {
        loop_timer_stop(&outlet->check);
        outlet->ended(outlet->context, &hand->end);
    }
    if (hold_known) { /* not `hand`: whoever was told above may have renewed it */
        outlet->probed(outlet->context, hold);
    }
    if (bytes_known) {
        outlet->measured(outlet->context, bytes);
    }
}

/* With both hands' locks, as the fresh one does not run yet: what the old one was asked, and what
 * it said that is not told yet. True when its batch is to be told as aborted. */
static bool hand_take_over(struct hand *fresh, struct hand *old)
{
    fresh->end_known = old->end_known;
    if (old->end_known) {
        fresh->end = old->end;
        memcpy(fresh->trouble, old->trouble, sizeof fresh->trouble);
        fresh->end.trouble = old->end.trouble == NULL ? NULL : fresh->trouble;
    }
    fresh->hold_known = old->hold_known;
    fresh->hold = old->hold;
    fresh->group_metadata =
        old->group_metadata == NULL ? NULL : group_metadata_ref(old->group_metadata);
    fresh->measuring = old->measuring;
    if (old->measuring.group_metadata != NULL) {
        (void)group_metadata_ref(old->measuring.group_metadata);
    }
    memcpy(fresh->standing_trouble, old->standing_trouble, sizeof fresh->standing_trouble);
    bool take_back = old->batch != NULL && !old->committing;
    if (old->batch != NULL && old->committing) {
        fresh->batch = old->batch;
        fresh->committing = fresh->begun = true;
    }
    return take_back;
}

/* Another hand for one that is stuck, or not to be trusted any more. From here on the old one
 * commits and reads nothing. False when the system gives no thread. */
static bool hand_replace(struct outlet *outlet, bool *take_back)
{
    struct hand *old = outlet->hand;
    struct hand *fresh = hand_new(&old->config, outlet->eventfd);
    pthread_mutex_lock(&old->reading);
    pthread_mutex_lock(&old->lock);
    *take_back = hand_take_over(fresh, old);
    bool started = hand_start(fresh);
    old->stop = old->stop || started;
    pthread_mutex_unlock(&old->lock);
    pthread_mutex_unlock(&old->reading);
    if (!started) {
        log_error("kafka producer: the system gives no thread");
        return false;
    }
    if (atomic_load(&old->standing) != OUTLET_HELD) {
        producer_doubt();
    }
    outlet->hand = fresh;
    hand_end(old, 0);
    return true;
}

static void tell_aborted(struct outlet *outlet, const char *trouble, int64_t duration_ms)
{
    loop_timer_stop(&outlet->check);
    const struct outlet_end end = {
        .verdict = OUTLET_ABORTED, .trouble = trouble, .duration_ms = duration_ms};
    outlet->ended(outlet->context, &end);
}

static void on_check(void *context)
{
    struct outlet *outlet = context;
    const int64_t stuck_ms = outlet->hand->config.stuck_ms;
    bool take_back = false;
    loop_timer_set(&outlet->check, clock_now(&clock_system).mono_ms + CHECK_MS);
    if (outlet_stalled_us(outlet) < stuck_ms * 1000) {
        return;
    }
    log_warning("kafka producer: sits in a call that does not return, left behind");
    if (hand_replace(outlet, &take_back) && take_back) {
        tell_aborted(outlet, "no answer from the group coordinator or the transaction coordinator",
                     stuck_ms);
    }
}

void outlet_renew(struct outlet *outlet)
{
    bool take_back = false;
    if (hand_replace(outlet, &take_back) && take_back) {
        tell_aborted(outlet, "the clients were made anew", 0);
    }
}

void outlet_probe(struct outlet *outlet, struct group_metadata *group_metadata,
                  outlet_probed_fn *probed)
{
    struct hand *hand = outlet->hand;
    outlet->probed = probed;
    pthread_mutex_lock(&hand->lock);
    assert(hand->group_metadata == NULL && !hand->hold_known);
    hand->group_metadata = group_metadata_ref(group_metadata);
    pthread_cond_broadcast(&hand->changed);
    pthread_mutex_unlock(&hand->lock);
}

void outlet_measure(struct outlet *outlet, struct group_metadata *group_metadata,
                    const struct outlet_position *position, outlet_measured_fn *measured)
{
    struct hand *hand = outlet->hand;
    outlet->measured = measured;
    pthread_mutex_lock(&hand->lock);
    assert(hand->measuring.group_metadata == NULL && !hand->measuring.known);
    hand->measuring = (struct measuring){.group_metadata = group_metadata_ref(group_metadata),
                                         .partition = position->partition,
                                         .offset = position->offset};
    pthread_cond_broadcast(&hand->changed);
    pthread_mutex_unlock(&hand->lock);
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
                 : config_check(config);
    if (*error == NULL) {
        outlet->hand = hand_new(config, outlet->eventfd);
        *error = hand_start(outlet->hand)
                     ? NULL
                     : mem_strdup("kafka producer: the system gives no thread");
    }
    if (*error != NULL) {
        outlet_drop(outlet);
        return NULL;
    }
    return outlet;
}

void outlet_free(struct outlet *outlet, int64_t timeout_ms)
{
    if (outlet != NULL) {
        hand_end(outlet->hand, timeout_ms);
        outlet_drop(outlet);
    }
}

const char *outlet_topic_name(enum outlet_topic topic)
{
    return topic == OUTLET_RESULTS ? "results" : "failures";
}

const char *outlet_verdict_name(enum outlet_verdict verdict)
{
    static const char *const names[OUTLET_VERDICT_COUNT] = {
        [OUTLET_COMMITTED] = "committed", [OUTLET_ABORTED] = "aborted",
        [OUTLET_NOT_OURS] = "not_ours",   [OUTLET_RECORDS_REFUSED] = "refused",
        [OUTLET_FENCED] = "fenced",
    };
    assert(verdict < OUTLET_VERDICT_COUNT);
    return names[verdict];
}

enum outlet_standing outlet_standing(const struct outlet *outlet)
{
    return atomic_load(&outlet->hand->standing);
}

void outlet_trouble(const struct outlet *outlet, char *text, size_t size)
{
    struct hand *hand = outlet->hand;
    pthread_mutex_lock(&hand->lock);
    (void)snprintf(text, size, "%s", hand->standing_trouble);
    pthread_mutex_unlock(&hand->lock);
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

int32_t outlet_route(const struct outlet *outlet, enum outlet_topic topic, const void *key,
                     size_t key_len)
{
    const struct hand *hand = outlet->hand;
    int32_t count = atomic_load(&hand->partitions[topic]);
    return count <= 0 ? -1
                      : partitioner_of_key(atomic_load(&hand->partitioner), key, key_len, count);
}

int64_t outlet_stalled_us(const struct outlet *outlet)
{
    int64_t alive_us = atomic_load_explicit(&outlet->hand->alive_us, memory_order_relaxed);
    return alive_us == 0 ? 0 : clock_mono_us() - alive_us;
}
