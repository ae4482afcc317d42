#include "presignd/kafka/lookup.h"

#include "presignd/base/mem.h"
#include "presignd/kafka/detached.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

enum {
    /* One blocking call: how long a cancelled lookup holds up the next one, or the end. */
    SLICE_MS = 400,
    PAUSE_MS = 100,
    /* Between attempts to make the consumer. */
    MAKE_PAUSE_MS = 1000,
};

struct lookup {
    rd_kafka_conf_t *conf;
    void *opaque;
    pthread_mutex_t lock;
    pthread_cond_t wanted;
    /* Under the lock. The loop is not woken once `stop` is set. */
    struct loop *loop;
    rd_kafka_t *consumer; /* NULL until made; then it stays */
    struct trouble trouble;
    /* Under the lock. `asked` is the thread's work, `found` its answer. */
    rd_kafka_topic_partition_list_t *asked, *found;
    unsigned serial; /* of `asked`, to tell a late answer from a wanted one */
    rd_kafka_resp_err_t error;
    bool stop;
};

static void list_drop(rd_kafka_topic_partition_list_t **list)
{
    if (*list != NULL) {
        rd_kafka_topic_partition_list_destroy(*list);
        *list = NULL;
    }
}

/* One try with the lock let go; true when the answer stands. */
static bool lookup_try(struct lookup *lookup)
{
    unsigned serial = lookup->serial;
    rd_kafka_topic_partition_list_t *copy = rd_kafka_topic_partition_list_copy(lookup->asked);
    pthread_mutex_unlock(&lookup->lock);
    rd_kafka_resp_err_t error = client_committed(lookup->consumer, copy, SLICE_MS);
    pthread_mutex_lock(&lookup->lock);
    bool wanted = lookup->serial == serial;
    lookup->error = wanted ? error : RD_KAFKA_RESP_ERR_NO_ERROR;
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR || !wanted) {
        rd_kafka_topic_partition_list_destroy(copy);
        return false;
    }
    list_drop(&lookup->asked);
    list_drop(&lookup->found);
    lookup->found = copy;
    return true;
}

/* With the lock. */
static void pause_for(struct lookup *lookup, int64_t milliseconds)
{
    const struct timespec until = clock_mono_after(milliseconds);
    (void)pthread_cond_clockwait(&lookup->wanted, &lookup->lock, CLOCK_MONOTONIC, &until);
}

/* With the lock, which it lets go meanwhile. */
static void consumer_make(struct lookup *lookup)
{
    AUTO_FREE char *error = NULL;
    pthread_mutex_unlock(&lookup->lock);
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(lookup->conf);
    rd_kafka_t *consumer = client_new(RD_KAFKA_CONSUMER, conf, lookup->opaque, &error);
    pthread_mutex_lock(&lookup->lock);
    lookup->consumer = consumer;
    if (consumer == NULL) {
        trouble_set(&lookup->trouble, "%s", error);
        pause_for(lookup, MAKE_PAUSE_MS);
    } else if (!lookup->stop) {
        loop_wake(lookup->loop);
    }
}

static void lookup_drop(struct lookup *lookup)
{
    list_drop(&lookup->asked);
    list_drop(&lookup->found);
    rd_kafka_conf_destroy(lookup->conf);
    pthread_cond_destroy(&lookup->wanted);
    pthread_mutex_destroy(&lookup->lock);
    free(lookup);
}

/* With the lock. */
static void lookup_step(struct lookup *lookup)
{
    if (lookup->consumer == NULL) {
        consumer_make(lookup);
    } else if (lookup->asked == NULL) {
        pthread_cond_wait(&lookup->wanted, &lookup->lock);
    } else if (lookup_try(lookup)) {
        if (!lookup->stop) {
            loop_wake(lookup->loop);
        }
    } else if (!lookup->stop && lookup->error != RD_KAFKA_RESP_ERR_NO_ERROR &&
               lookup->error != RD_KAFKA_RESP_ERR__TIMED_OUT) {
        pause_for(lookup, PAUSE_MS);
    }
}

static void lookup_run(void *context)
{
    struct lookup *lookup = context;
    pthread_mutex_lock(&lookup->lock);
    while (!lookup->stop) {
        lookup_step(lookup);
    }
    rd_kafka_t *consumer = lookup->consumer;
    pthread_mutex_unlock(&lookup->lock);
    if (consumer != NULL) { /* not closed: see client_bury() */
        rd_kafka_destroy_flags(consumer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
    lookup_drop(lookup);
}

struct lookup *lookup_new(struct loop *loop, rd_kafka_conf_t *conf, void *opaque)
{
    struct lookup *lookup = mem_zalloc(1, sizeof *lookup);
    lookup->loop = loop;
    lookup->conf = conf;
    lookup->opaque = opaque;
    pthread_mutex_init(&lookup->lock, NULL);
    pthread_cond_init(&lookup->wanted, NULL);
    if (!detached_start("lookup", lookup_run, lookup)) {
        lookup_drop(lookup);
        return NULL;
    }
    return lookup;
}

struct lookup *lookup_free(struct lookup *lookup)
{
    if (lookup != NULL) {
        pthread_mutex_lock(&lookup->lock);
        lookup->stop = true;
        pthread_cond_signal(&lookup->wanted);
        pthread_mutex_unlock(&lookup->lock); /* it may be gone any moment */
    }
    return NULL;
}

rd_kafka_t *lookup_consumer(struct lookup *lookup, struct trouble *trouble)
{
    pthread_mutex_lock(&lookup->lock);
    rd_kafka_t *consumer = lookup->consumer;
    if (consumer == NULL && lookup->trouble.text[0] != '\0') {
        *trouble = lookup->trouble;
    }
    pthread_mutex_unlock(&lookup->lock);
    return consumer;
}

static void lookup_replace(struct lookup *lookup, rd_kafka_topic_partition_list_t *partitions)
{
    pthread_mutex_lock(&lookup->lock);
    list_drop(&lookup->asked);
    list_drop(&lookup->found);
    lookup->asked = partitions;
    lookup->serial++;
    lookup->error = RD_KAFKA_RESP_ERR_NO_ERROR;
    pthread_cond_signal(&lookup->wanted);
    pthread_mutex_unlock(&lookup->lock);
}

void lookup_start(struct lookup *lookup, rd_kafka_topic_partition_list_t *partitions)
{
    lookup_replace(lookup, partitions);
}

void lookup_cancel(struct lookup *lookup)
{
    lookup_replace(lookup, NULL);
}

rd_kafka_topic_partition_list_t *lookup_take(struct lookup *lookup)
{
    pthread_mutex_lock(&lookup->lock);
    rd_kafka_topic_partition_list_t *found = lookup->found;
    lookup->found = NULL;
    pthread_mutex_unlock(&lookup->lock);
    return found;
}

rd_kafka_resp_err_t lookup_error(struct lookup *lookup)
{
    pthread_mutex_lock(&lookup->lock);
    rd_kafka_resp_err_t error = lookup->error;
    pthread_mutex_unlock(&lookup->lock);
    return error;
}
