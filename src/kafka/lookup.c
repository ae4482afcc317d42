#include "kafka/lookup.h"

#include "kafka/detached.h"
#include "presignd/base/clock.h"
#include "presignd/base/mem.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

enum {
    /* One blocking call. Bounds the delay after a cancelled lookup, and at the end. */
    SLICE_MS = 400,
    /* One call for a single partition; doubled with each pass. */
    SLICE_ALONE_MS = 25,
    /* After so many partitions without any answer in a pass, the coordinator itself does not
       answer. */
    SILENT_MAX = 4,
    PAUSE_MS = 100,
    /* Between two checks of a topic that cannot be read. */
    TOPIC_PAUSE_MS = 1000,
    /* Between attempts to create the consumer. */
    MAKE_PAUSE_MS = 1000,
    /* Between two updates of `found`: each makes the consumer fetch again. */
    GATHER_MS = 200,
};

struct lookup {
    rd_kafka_conf_t *conf;
    void *opaque;
    pthread_mutex_t lock;
    pthread_cond_t wanted;
    /* Under the lock. The loop is not woken once `stop` is set. */
    struct loop *loop;
    rd_kafka_t *rk; /* NULL until created, then constant */
    struct last_error last_error;
    /* Under the lock. `asked`: to look up. `known`: looked up. `found`: the loop may take it. */
    rd_kafka_topic_partition_list_t *asked, *known, *found;
    char *topic;     /* checked until it can be read; NULL: none */
    bool readable;   /* it can be read */
    unsigned serial; /* of `asked`, to detect outdated answers */
    rd_kafka_resp_err_t error;
    bool stop;
    unsigned pass, pass_serial; /* attempts, and for which `serial` */
    int64_t found_us;           /* last update of `found` */
};

static void list_drop(rd_kafka_topic_partition_list_t **list)
{
    if (*list != NULL) {
        rd_kafka_topic_partition_list_destroy(*list);
        *list = NULL;
    }
}

static void list_append(rd_kafka_topic_partition_list_t **to,
                        const rd_kafka_topic_partition_list_t *from)
{
    if (*to == NULL) {
        *to = rd_kafka_topic_partition_list_copy(from);
        return;
    }
    for (int i = 0; i < from->cnt; i++) {
        const rd_kafka_topic_partition_t *source = &from->elems[i];
        rd_kafka_topic_partition_t *entry =
            rd_kafka_topic_partition_list_add(*to, source->topic, source->partition);
        entry->offset = source->offset;
        if (source->metadata_size > 0) {
            entry->metadata = mem_dup(source->metadata, source->metadata_size);
            entry->metadata_size = source->metadata_size;
        }
    }
}

static void requested_remove(struct lookup *lookup, const rd_kafka_topic_partition_list_t *answered)
{
    for (int i = 0; i < answered->cnt; i++) {
        (void)rd_kafka_topic_partition_list_del(lookup->asked, answered->elems[i].topic,
                                                answered->elems[i].partition);
    }
    if (lookup->asked->cnt == 0) {
        list_drop(&lookup->asked);
    }
}

/* At the end of a pass, or GATHER_MS after the last update. */
static void found_update(struct lookup *lookup, bool at_once)
{
    int64_t now_us = clock_mono_us();
    if (lookup->known == NULL ||
        (!at_once && now_us - lookup->found_us < GATHER_MS * INT64_C(1000))) {
        return;
    }
    list_append(&lookup->found, lookup->known);
    list_drop(&lookup->known);
    lookup->found_us = now_us;
    loop_wake(lookup->loop);
}

enum tried { TRIED_KNOWN, TRIED_FAILED, TRIED_OUTDATED };

/* Releases the lock during the call. Destroys the list. */
static enum tried lookup_try(struct lookup *lookup, rd_kafka_topic_partition_list_t *list,
                             int timeout_ms)
{
    unsigned serial = lookup->serial;
    pthread_mutex_unlock(&lookup->lock);
    rd_kafka_resp_err_t error = client_committed(lookup->rk, list, timeout_ms);
    pthread_mutex_lock(&lookup->lock);
    bool wanted = lookup->serial == serial && !lookup->stop;
    if (wanted && error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        list_append(&lookup->known, list);
        requested_remove(lookup, list);
    }
    if (wanted) {
        lookup->error = error;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return !wanted                               ? TRIED_OUTDATED
           : error == RD_KAFKA_RESP_ERR_NO_ERROR ? TRIED_KNOWN
                                                 : TRIED_FAILED;
}

/* Returns the first entry and moves it to the end. */
static rd_kafka_topic_partition_list_t *requested_rotate(struct lookup *lookup)
{
    const rd_kafka_topic_partition_t first = lookup->asked->elems[0];
    rd_kafka_topic_partition_list_t *one = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(one, first.topic, first.partition);
    rd_kafka_topic_partition_list_del_by_idx(lookup->asked, 0);
    rd_kafka_topic_partition_list_add(lookup->asked, one->elems[0].topic, first.partition);
    return one;
}

/* One partition at a time. A broker answers for all partitions of a request at once, and the
 * library waits with that answer while one of them has an open transaction. */
static enum tried lookup_each(struct lookup *lookup, int timeout_ms)
{
    int silent = 0;
    bool any = false;
    for (int left = lookup->asked->cnt; left > 0 && (any || silent < SILENT_MAX); left--) {
        enum tried tried = lookup_try(lookup, requested_rotate(lookup), timeout_ms);
        if (tried == TRIED_OUTDATED) {
            return TRIED_OUTDATED;
        }
        any = any || tried == TRIED_KNOWN;
        silent = tried == TRIED_KNOWN ? 0 : silent + 1;
        found_update(lookup, false);
    }
    return any ? TRIED_KNOWN : TRIED_FAILED;
}

/* With the lock. */
static void pause_for(struct lookup *lookup, int64_t milliseconds)
{
    const struct timespec until = clock_mono_after(milliseconds);
    (void)pthread_cond_clockwait(&lookup->wanted, &lookup->lock, CLOCK_MONOTONIC, &until);
}

/* With the lock, which is released during the call. */
static void consumer_make(struct lookup *lookup)
{
    AUTO_FREE char *error = NULL;
    pthread_mutex_unlock(&lookup->lock);
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(lookup->conf);
    rd_kafka_t *rk = client_new(RD_KAFKA_CONSUMER, conf, lookup->opaque, &error);
    pthread_mutex_lock(&lookup->lock);
    lookup->rk = rk;
    if (rk == NULL) {
        last_error_set(&lookup->last_error, "%s", error);
        pause_for(lookup, MAKE_PAUSE_MS);
    } else if (!lookup->stop) {
        loop_wake(lookup->loop);
    }
}

static rd_kafka_resp_err_t topic_error(rd_kafka_t *rk, const char *name)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t error = client_topic(rk, name, SLICE_MS, &metadata);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        error = metadata->topics[0].err;
        rd_kafka_metadata_destroy(metadata);
    }
    return error;
}

/* With the lock, which is released during the call. */
static void topic_try(struct lookup *lookup)
{
    AUTO_FREE char *name = mem_strdup(lookup->topic);
    pthread_mutex_unlock(&lookup->lock);
    rd_kafka_resp_err_t error = topic_error(lookup->rk, name);
    pthread_mutex_lock(&lookup->lock);
    if (lookup->stop || lookup->topic == NULL) {
        return;
    }
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        pause_for(lookup, TOPIC_PAUSE_MS);
        return;
    }
    free(lookup->topic);
    lookup->topic = NULL;
    lookup->readable = true;
    loop_wake(lookup->loop);
}

static void lookup_drop(struct lookup *lookup)
{
    free(lookup->topic);
    list_drop(&lookup->asked);
    list_drop(&lookup->known);
    list_drop(&lookup->found);
    rd_kafka_conf_destroy(lookup->conf);
    pthread_cond_destroy(&lookup->wanted);
    pthread_mutex_destroy(&lookup->lock);
    free(lookup);
}

/* All at once, usually in one request; then one by one. */
static void lookup_pass(struct lookup *lookup, unsigned pass)
{
    int alone_ms = pass < 4 ? SLICE_ALONE_MS << pass : SLICE_MS;
    bool single = lookup->asked->cnt == 1;
    enum tried tried =
        lookup_try(lookup, rd_kafka_topic_partition_list_copy(lookup->asked), SLICE_MS);
    bool waits = lookup->error == RD_KAFKA_RESP_ERR__TIMED_OUT ||
                 lookup->error == RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT;
    if (tried == TRIED_FAILED && waits && !single) {
        tried = lookup_each(lookup, alone_ms);
    }
    if (tried == TRIED_OUTDATED) {
        return;
    }
    if (lookup->asked == NULL) {
        lookup->error = RD_KAFKA_RESP_ERR_NO_ERROR;
    } else if (tried == TRIED_FAILED && !waits) {
        pause_for(lookup, PAUSE_MS);
    }
    found_update(lookup, true);
}

/* With the lock. */
static void lookup_step(struct lookup *lookup)
{
    if (lookup->rk == NULL) {
        consumer_make(lookup);
    } else if (lookup->asked == NULL && lookup->topic != NULL) {
        topic_try(lookup);
    } else if (lookup->asked == NULL) {
        pthread_cond_wait(&lookup->wanted, &lookup->lock);
    } else {
        lookup->pass = lookup->pass_serial == lookup->serial ? lookup->pass + 1 : 0;
        lookup->pass_serial = lookup->serial;
        lookup_pass(lookup, lookup->pass);
    }
}

static void lookup_run(void *context)
{
    struct lookup *lookup = context;
    pthread_mutex_lock(&lookup->lock);
    while (!lookup->stop) {
        lookup_step(lookup);
    }
    rd_kafka_t *rk = lookup->rk;
    pthread_mutex_unlock(&lookup->lock);
    if (rk != NULL) { /* not closed, see client_destroy_detached() */
        rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
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
        pthread_mutex_unlock(&lookup->lock); /* it may be freed from here on */
    }
    return NULL;
}

rd_kafka_t *lookup_handle(struct lookup *lookup, struct last_error *last_error)
{
    pthread_mutex_lock(&lookup->lock);
    rd_kafka_t *rk = lookup->rk;
    if (rk == NULL && lookup->last_error.text[0] != '\0') {
        *last_error = lookup->last_error;
    }
    pthread_mutex_unlock(&lookup->lock);
    return rk;
}

void lookup_topic(struct lookup *lookup, const char *topic)
{
    pthread_mutex_lock(&lookup->lock);
    free(lookup->topic);
    lookup->topic = mem_strdup(topic);
    lookup->readable = false;
    pthread_cond_signal(&lookup->wanted);
    pthread_mutex_unlock(&lookup->lock);
}

bool lookup_topic_readable(struct lookup *lookup)
{
    pthread_mutex_lock(&lookup->lock);
    bool readable = lookup->readable;
    lookup->readable = false;
    pthread_mutex_unlock(&lookup->lock);
    return readable;
}

void lookup_start(struct lookup *lookup, rd_kafka_topic_partition_list_t *partitions)
{
    pthread_mutex_lock(&lookup->lock);
    list_drop(&lookup->asked);
    list_drop(&lookup->known);
    list_drop(&lookup->found);
    lookup->asked = partitions;
    lookup->serial++;
    lookup->error = RD_KAFKA_RESP_ERR_NO_ERROR;
    pthread_cond_signal(&lookup->wanted);
    pthread_mutex_unlock(&lookup->lock);
}

rd_kafka_topic_partition_list_t *lookup_take(struct lookup *lookup)
{
    pthread_mutex_lock(&lookup->lock);
    rd_kafka_topic_partition_list_t *found = lookup->found;
    lookup->found = NULL;
    pthread_mutex_unlock(&lookup->lock);
    return found;
}

rd_kafka_resp_err_t lookup_error(struct lookup *lookup, size_t *left)
{
    pthread_mutex_lock(&lookup->lock);
    rd_kafka_resp_err_t error = lookup->error;
    *left = lookup->asked == NULL ? 0 : (size_t)lookup->asked->cnt;
    pthread_mutex_unlock(&lookup->lock);
    return *left == 0 ? RD_KAFKA_RESP_ERR_NO_ERROR : error;
}
