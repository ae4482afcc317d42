#include "presignd/kafka/lookup.h"

#include "presignd/base/mem.h"
#include "presignd/kafka/client.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

enum {
    /* One blocking call: how long a cancelled lookup holds up the next one, or the end. */
    SLICE_MS = 400,
    PAUSE_MS = 100,
};

struct lookup {
    struct loop *loop;
    rd_kafka_t *consumer;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wanted;
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

static void pause_briefly(struct lookup *lookup)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += PAUSE_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    (void)pthread_cond_clockwait(&lookup->wanted, &lookup->lock, CLOCK_MONOTONIC, &until);
}

static void *lookup_run(void *context)
{
    struct lookup *lookup = context;
    pthread_mutex_lock(&lookup->lock);
    while (!lookup->stop) {
        if (lookup->asked == NULL) {
            pthread_cond_wait(&lookup->wanted, &lookup->lock);
        } else if (lookup_try(lookup)) {
            loop_wake(lookup->loop);
        } else if (!lookup->stop && lookup->error != RD_KAFKA_RESP_ERR_NO_ERROR &&
                   lookup->error != RD_KAFKA_RESP_ERR__TIMED_OUT) {
            pause_briefly(lookup);
        }
    }
    pthread_mutex_unlock(&lookup->lock);
    return NULL;
}

struct lookup *lookup_new(struct loop *loop, rd_kafka_t *consumer)
{
    struct lookup *lookup = mem_zalloc(1, sizeof *lookup);
    lookup->loop = loop;
    lookup->consumer = consumer;
    pthread_mutex_init(&lookup->lock, NULL);
    pthread_cond_init(&lookup->wanted, NULL);
    if (pthread_create(&lookup->thread, NULL, lookup_run, lookup) != 0) {
        free(lookup);
        return NULL;
    }
    (void)pthread_setname_np(lookup->thread, "lookup");
    return lookup;
}

struct lookup *lookup_free(struct lookup *lookup)
{
    if (lookup == NULL) {
        return NULL;
    }
    pthread_mutex_lock(&lookup->lock);
    lookup->stop = true;
    pthread_cond_signal(&lookup->wanted);
    pthread_mutex_unlock(&lookup->lock);
    pthread_join(lookup->thread, NULL);
    list_drop(&lookup->asked);
    list_drop(&lookup->found);
    pthread_cond_destroy(&lookup->wanted);
    pthread_mutex_destroy(&lookup->lock);
    free(lookup);
    return NULL;
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
