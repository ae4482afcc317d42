/* The states of an assignment:
 *
 *   IDLE --assign--> LOOKING --first offsets known--> ASSIGNED --revoke--> REVOKING --release-->
 * IDLE
 *
 * The group's assign is answered at once, with no partitions. Partitions are assigned when their
 * committed offsets are known, each time with all that are known by then. If the answer waited for
 * the lookup, librdkafka would report no revoke and no lost session meanwhile. The answer to
 * a revoke waits for the owner; until then the group gives our partitions to nobody.
 */
#include "presignd/kafka/consumer.h"

#include "kafka/lookup.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/kafka/client.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    /* The partitions are given back after this time even without consumer_release(). */
    CONSUMER_RELEASE_MAX_MS = 20000,
    /* An older error is outdated: the library repeats lasting ones every 30 s. */
    LAST_ERROR_MAX_AGE_MS = 45000,
    /* Between two fetches of a partition that could not be read. */
    FETCH_AGAIN_MS = 10000,
    /* A larger array of headers is freed after the call. */
    HEADERS_KEPT = 256,
};

/* Why the topic cannot be read. An assignment with partitions ends each of them. */
enum unreadable {
    READABLE,
    UNREADABLE_TOPIC,     /* until the topic's metadata has no error */
    UNREADABLE_FETCH,     /* until a record or the end of a partition arrives */
    UNREADABLE_RECREATED, /* until another assignment */
};

enum consumer_state { IDLE, LOOKING, ASSIGNED, REVOKING };

struct partition {
    int32_t id;
    bool paused;
    bool known;        /* `committed` is known, so the partition is consumed */
    int64_t committed; /* negative: none */
    int64_t next;      /* offsets below were delivered */
    int64_t end;       /* end of the partition at the last fetch; -1: unknown */
};

struct consumer {
    struct loop *loop;
    const struct clock *clock;
    const struct consumer_events *events;
    void *context;
    char *topic, *group_id, *instance, *cluster_id;

    rd_kafka_conf_t *conf;
    rd_kafka_t *rk; /* owned by the lookup; NULL until created */
    rd_kafka_queue_t *queue;
    struct lookup *lookup; /* NULL while the system gives no thread */
    int64_t session_timeout_ms;
    int eventfd;
    struct loop_fd *watch;
    struct loop_timer release_timer;

    enum consumer_state state;
    struct group_metadata *group_metadata; /* from LOOKING on */
    rd_kafka_queue_t *commits;             /* the ends of commits; NULL before the first one */
    uintptr_t commit_number;               /* of the last commit */
    bool committing;                       /* its end is not reported yet */
    struct partition *partitions;
    size_t partition_count;

    /* Set by the library's callbacks, handled after the poll. */
    rd_kafka_topic_partition_list_t *noted_assign;
    bool noted_revoke, noted_lost, noted_fatal;

    bool wants_join, subscribed;
    bool joined, fatal_reported, release_overdue;
    struct client_brokers brokers;
    struct last_error last_error;
    struct last_error subscription; /* the text of `unreadable` */
    enum unreadable unreadable;
    struct loop_timer again; /* UNREADABLE_FETCH: fetches again */
    struct record_header *headers;
    size_t header_cap;
};

static int compare_partitions(const void *a, const void *b)
{
    int32_t x = ((const struct partition *)a)->id, y = ((const struct partition *)b)->id;
    return (x > y) - (x < y);
}

static struct partition *partition_find(const struct consumer *consumer, int32_t id)
{
    const struct partition key = {.id = id};
    return consumer->partition_count == 0
               ? NULL
               : bsearch(&key, consumer->partitions, consumer->partition_count, sizeof key,
                         compare_partitions);
}

/* --- Callbacks of the library, from inside rd_kafka_consumer_poll() --- */

static void noted_assign_drop(struct consumer *consumer)
{
    if (consumer->noted_assign != NULL) {
        rd_kafka_topic_partition_list_destroy(consumer->noted_assign);
        consumer->noted_assign = NULL;
    }
}

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t what,
                         rd_kafka_topic_partition_list_t *partitions, void *opaque)
{
    struct consumer *consumer = opaque;
    noted_assign_drop(consumer);
    if (what == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        consumer->noted_assign = rd_kafka_topic_partition_list_copy(partitions);
    } else {
        consumer->noted_revoke = true;
        consumer->noted_lost = rd_kafka_assignment_lost(rk) != 0;
    }
    rd_kafka_yield(rk); /* the poll returns, so that the rebalance is handled in order */
}

static void on_error(rd_kafka_t *, int error, const char *reason, void *opaque)
{
    struct consumer *consumer = opaque;
    if (error == RD_KAFKA_RESP_ERR__FATAL) {
        consumer->noted_fatal = true;
    } else {
        client_error_note(KAFKA_CONSUMER);
        last_error_set(&consumer->last_error, "%s (%s)", reason,
                       rd_kafka_err2name((rd_kafka_resp_err_t)error));
    }
}

static int on_statistics(rd_kafka_t *, char *json, size_t len, void *opaque)
{
    struct consumer *consumer = opaque;
    brokers_read(&consumer->brokers, json, len);
    return 0; /* the library frees the text */
}

/* --- Assignments --- */

static void partitions_discard(struct consumer *consumer)
{
    free(consumer->partitions);
    consumer->partitions = NULL;
    consumer->partition_count = 0;
    consumer->group_metadata = group_metadata_unref(consumer->group_metadata);
}

static void consumer_assign(struct consumer *consumer, rd_kafka_topic_partition_list_t *partitions)
{
    rd_kafka_resp_err_t error = rd_kafka_assign(consumer->rk, partitions);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        last_error_set(&consumer->last_error, "assigning partitions: %s (%s)",
                       rd_kafka_err2str(error), rd_kafka_err2name(error));
    }
}

/* Pauses or resumes `only`, or with NULL all partitions that are consumed and to be paused. */
static void pause_apply(struct consumer *consumer, const struct partition *only, bool pause)
{
    AUTO_KAFKA_LIST rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    for (size_t i = 0; i < consumer->partition_count; i++) {
        const struct partition *partition = &consumer->partitions[i];
        if (only == NULL ? partition->known && partition->paused : partition == only) {
            rd_kafka_topic_partition_list_add(list, consumer->topic, partition->id);
        }
    }
    if (list->cnt > 0) {
        (void)(pause ? rd_kafka_pause_partitions : rd_kafka_resume_partitions)(consumer->rk, list);
    }
}

/* --- Commits without a transaction --- */

static void commit_end(struct consumer *consumer, rd_kafka_resp_err_t error)
{
    if (consumer->committing) {
        consumer->committing = false;
        consumer->events->committed(consumer->context, error);
    }
}

static void commit_check(struct consumer *consumer)
{
    while (consumer->commits != NULL) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(consumer->commits, 0);
        if (event == NULL) {
            return;
        }
        /* The end of an earlier one was reported when its partitions were lost. */
        bool current = rd_kafka_event_type(event) == RD_KAFKA_EVENT_OFFSET_COMMIT &&
                       (uintptr_t)rd_kafka_event_opaque(event) == consumer->commit_number;
        rd_kafka_resp_err_t error = client_commit_error(event);
        rd_kafka_event_destroy(event);
        if (current) {
            commit_end(consumer, error);
        }
    }
}

static void commits_open(struct consumer *consumer)
{
    static const uint64_t one = 1;
    if (consumer->commits == NULL) {
        consumer->commits = rd_kafka_queue_new(consumer->rk);
        rd_kafka_queue_io_event_enable(consumer->commits, consumer->eventfd, &one, sizeof one);
    }
}

/* The library sends its own membership, not the batch's. While the assignment is the batch's, both
 * are the same, or the library has none. Without a membership, the broker accepts the commit only
 * in a group without members; then nobody else has the partitions, and the positions are true. */
void consumer_commit(struct consumer *consumer, const struct transaction_batch *batch)
{
    bool ours = consumer->state == ASSIGNED || consumer->state == REVOKING;
    consumer->committing = true;
    consumer->commit_number++;
    if (!ours || consumer->rk == NULL || consumer->group_metadata != batch->group_metadata) {
        commit_end(consumer, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION);
        return;
    }
    commits_open(consumer);
    AUTO_KAFKA_LIST rd_kafka_topic_partition_list_t *list =
        transaction_positions(consumer->topic, batch);
    void *number;
    memcpy(&number, &consumer->commit_number, sizeof number);
    rd_kafka_resp_err_t error =
        rd_kafka_commit_queue(consumer->rk, list, consumer->commits, NULL, number);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        commit_end(consumer, error);
    }
}

static void commits_close(struct consumer *consumer)
{
    if (consumer->commits != NULL) {
        rd_kafka_queue_io_event_enable(consumer->commits, -1, NULL, 0);
        rd_kafka_queue_destroy(consumer->commits);
        consumer->commits = NULL;
    }
}

/* --- The end of an assignment --- */

/* Gives all partitions back. The library then joins the group again. */
static void unassign(struct consumer *consumer)
{
    commit_end(consumer, RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST);
    /* librdkafka keeps a pause beyond the assignment. Assigned again, the partition would not be
     * read. */
    pause_apply(consumer, NULL, false);
    lookup_start(consumer->lookup, NULL);
    loop_timer_stop(&consumer->release_timer);
    consumer->release_overdue = false;
    partitions_discard(consumer);
    consumer->state = IDLE;
    consumer->joined = consumer->joined && consumer->subscribed;
    consumer_assign(consumer, NULL);
}

static bool same_membership(const rd_kafka_consumer_group_metadata_t *a,
                            const rd_kafka_consumer_group_metadata_t *b)
{
    void *bytes_a = NULL, *bytes_b = NULL;
    size_t len_a = 0, len_b = 0;
    rd_kafka_error_destroy(rd_kafka_consumer_group_metadata_write(a, &bytes_a, &len_a));
    rd_kafka_error_destroy(rd_kafka_consumer_group_metadata_write(b, &bytes_b, &len_b));
    bool same = bytes_a != NULL && bytes_b != NULL && len_a == len_b &&
                memcmp(bytes_a, bytes_b, len_a) == 0;
    rd_kafka_mem_free(NULL, bytes_a);
    rd_kafka_mem_free(NULL, bytes_b);
    return same;
}

/* True while we are the member that the partitions were assigned to. Without a member id and a
 * generation, a broker accepts a commit as one from outside the group. */
static bool group_metadata_current(struct consumer *consumer)
{
    rd_kafka_consumer_group_metadata_t *now = rd_kafka_consumer_group_metadata(consumer->rk);
    if (now == NULL || consumer->group_metadata->group == NULL) {
        return false;
    }
    char *member = rd_kafka_memberid(consumer->rk);
    rd_kafka_consumer_group_metadata_t *outsider = rd_kafka_consumer_group_metadata_new_with_genid(
        consumer->group_id, -1, member == NULL ? "" : member, consumer->instance);
    bool holds = member != NULL && member[0] != '\0' && !same_membership(now, outsider) &&
                 same_membership(now, consumer->group_metadata->group);
    rd_kafka_consumer_group_metadata_destroy(outsider);
    rd_kafka_consumer_group_metadata_destroy(now);
    rd_kafka_mem_free(consumer->rk, member);
    return holds;
}

/* Does not block: the library got the id with the metadata before the join. */
static void cluster_id_learn(struct consumer *consumer)
{
    if (consumer->cluster_id == NULL) {
        char *id = rd_kafka_clusterid(consumer->rk, 0);
        consumer->cluster_id = mem_strdup(id);
        rd_kafka_mem_free(consumer->rk, id);
    }
}

static void partitions_take(struct consumer *consumer, const rd_kafka_topic_partition_list_t *list)
{
    consumer->partition_count = (size_t)list->cnt;
    consumer->partitions = mem_zalloc(consumer->partition_count, sizeof *consumer->partitions);
    for (int i = 0; i < list->cnt; i++) {
        consumer->partitions[i].id = list->elems[i].partition;
        consumer->partitions[i].end = -1;
    }
    if (list->cnt > 0) {
        qsort(consumer->partitions, consumer->partition_count, sizeof *consumer->partitions,
              compare_partitions);
    }
}

static void unreadable_end(struct consumer *consumer)
{
    if (consumer->unreadable != READABLE) {
        consumer->unreadable = READABLE;
        last_error_clear(&consumer->subscription);
        lookup_topic(consumer->lookup, NULL);
        loop_timer_stop(&consumer->again);
    }
}

static void assign_begin(struct consumer *consumer, rd_kafka_topic_partition_list_t *partitions)
{
    rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(0);
    consumer->group_metadata = group_metadata_new(rd_kafka_consumer_group_metadata(consumer->rk));
    cluster_id_learn(consumer);
    consumer_assign(consumer, none);
    rd_kafka_topic_partition_list_destroy(none);
    consumer->joined = true;
    consumer->state = LOOKING;
    partitions_take(consumer, partitions);
    if (partitions->cnt > 0) { /* only members that can see the topic get some */
        unreadable_end(consumer);
        lookup_start(consumer->lookup, partitions);
        return;
    }
    rd_kafka_topic_partition_list_destroy(partitions);
    consumer->state = ASSIGNED;
    consumer->events->assigned(consumer->context, consumer->group_metadata, NULL, 0);
}

/* Assigns all known partitions at our positions. The library drops what it has fetched. */
static void consume_known(struct consumer *consumer)
{
    AUTO_KAFKA_LIST rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)consumer->partition_count);
    for (size_t i = 0; i < consumer->partition_count; i++) {
        const struct partition *partition = &consumer->partitions[i];
        if (partition->known) {
            rd_kafka_topic_partition_list_add(list, consumer->topic, partition->id)->offset =
                partition->next > 0 ? partition->next : partition->committed;
        }
    }
    consumer_assign(consumer, list);
    pause_apply(consumer, NULL, true);
}

/* The caller frees `metadata`. */
static struct consumer_position position_read(struct consumer *consumer,
                                              const rd_kafka_topic_partition_t *found)
{
    struct partition *partition = partition_find(consumer, found->partition);
    if (partition != NULL) {
        partition->known = true;
        partition->committed = found->offset;
    }
    return (struct consumer_position){
        .partition = found->partition,
        .offset = found->offset < 0 ? CONSUMER_NONE_COMMITTED : found->offset,
        .metadata = mem_dup(found->metadata == NULL ? "" : found->metadata,
                            found->metadata == NULL ? 0 : found->metadata_size),
    };
}

/* Before the first positions, reports all partitions as assigned. */
static void positions_report(struct consumer *consumer, const struct consumer_position *positions,
                             size_t count)
{
    if (consumer->state == ASSIGNED) {
        consumer->events->positions(consumer->context, positions, count);
        return;
    }
    AUTO_FREE int32_t *ids = mem_zalloc(consumer->partition_count, sizeof *ids);
    for (size_t i = 0; i < consumer->partition_count; i++) {
        ids[i] = consumer->partitions[i].id;
    }
    consumer->state = ASSIGNED;
    consumer->events->assigned(consumer->context, consumer->group_metadata, ids,
                               consumer->partition_count);
    consumer->events->positions(consumer->context, positions, count);
}

static void positions_take(struct consumer *consumer, const rd_kafka_topic_partition_list_t *found)
{
    size_t count = (size_t)found->cnt;
    AUTO_FREE struct consumer_position *positions = mem_zalloc(count, sizeof *positions);
    for (size_t i = 0; i < count; i++) {
        positions[i] = position_read(consumer, &found->elems[i]);
    }
    last_error_clear(&consumer->last_error);
    consume_known(consumer);
    positions_report(consumer, positions, count);
    for (size_t i = 0; i < count; i++) {
        free((char *)positions[i].metadata);
    }
}

static void lookup_check(struct consumer *consumer)
{
    if (consumer->state != LOOKING && consumer->state != ASSIGNED) {
        return;
    }
    size_t left;
    rd_kafka_resp_err_t error = lookup_error(consumer->lookup, &left);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        last_error_set(&consumer->last_error,
                       "reading committed offsets, %zu of %zu partitions: %s (%s)", left,
                       consumer->partition_count,
                       error == RD_KAFKA_RESP_ERR__TIMED_OUT
                           ? "waiting for the coordinator, or for an open transaction to end"
                           : rd_kafka_err2str(error),
                       rd_kafka_err2name(error));
    }
    AUTO_KAFKA_LIST rd_kafka_topic_partition_list_t *found = lookup_take(consumer->lookup);
    /* If the membership has changed meanwhile, a revoke follows, now or with the next heartbeat. */
    if (found != NULL && group_metadata_current(consumer)) {
        positions_take(consumer, found);
    }
}

static void revoke_handle(struct consumer *consumer, bool lost)
{
    enum consumer_state before = consumer->state;
    if (before == ASSIGNED && !lost) {
        lookup_start(consumer->lookup, NULL);
        consumer->state = REVOKING;
        loop_timer_set(&consumer->release_timer,
                       clock_now(consumer->clock).mono_ms + CONSUMER_RELEASE_MAX_MS);
        consumer->events->revoking(consumer->context);
        return;
    }
    unassign(consumer);
    consumer->joined = consumer->joined && !lost;
    if (before == ASSIGNED || before == REVOKING) {
        consumer->events->lost(consumer->context);
    }
}

static void fatal_handle(struct consumer *consumer)
{
    char reason[512];
    rd_kafka_resp_err_t error = rd_kafka_fatal_error(consumer->rk, reason, sizeof reason);
    bool fenced = error == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID;
    consumer->fatal_reported = true;
    last_error_set(&consumer->last_error, "%s (%s)", reason, rd_kafka_err2name(error));
    consumer->events->fatal(consumer->context, fenced, consumer->last_error.text);
}

/* Handles what the callbacks have set. True when there was something. */
static bool notes_handle(struct consumer *consumer)
{
    bool any = consumer->noted_revoke || consumer->noted_assign != NULL || consumer->noted_fatal;
    if (consumer->noted_revoke) {
        consumer->noted_revoke = false;
        revoke_handle(consumer, consumer->noted_lost);
    }
    if (consumer->noted_assign != NULL) {
        rd_kafka_topic_partition_list_t *partitions = consumer->noted_assign;
        consumer->noted_assign = NULL;
        consumer->subscribed = true; /* or the library has put the end of that off */
        assign_begin(consumer, partitions);
    }
    if (consumer->noted_fatal && !consumer->fatal_reported) {
        fatal_handle(consumer);
    }
    return any;
}

static void release_check(struct consumer *consumer)
{
    if (consumer->state == REVOKING && consumer->release_overdue) {
        log_warning("kafka consumer: partitions are given back with unfinished events; the group "
                    "has waited for %d s",
                    CONSUMER_RELEASE_MAX_MS / 1000);
        unassign(consumer);
        consumer->events->lost(consumer->context);
    }
}

/* --- Records --- */

static size_t headers_read(struct consumer *consumer, const rd_kafka_message_t *message)
{
    rd_kafka_headers_t *list = NULL;
    if (rd_kafka_message_headers(message, &list) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return 0;
    }
    size_t count = rd_kafka_header_cnt(list);
    if (count > consumer->header_cap) {
        free(consumer->headers);
        consumer->header_cap = count < HEADERS_KEPT ? HEADERS_KEPT : count;
        consumer->headers = mem_zalloc(consumer->header_cap, sizeof *consumer->headers);
    }
    for (size_t i = 0; i < count; i++) {
        struct record_header *header = &consumer->headers[i];
        rd_kafka_resp_err_t error =
            rd_kafka_header_get_all(list, i, &header->name, &header->value, &header->value_len);
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
            return i;
        }
    }
    return count;
}

static void headers_drop_excess(struct consumer *consumer)
{
    if (consumer->header_cap > HEADERS_KEPT) {
        free(consumer->headers);
        consumer->headers = NULL;
        consumer->header_cap = 0;
    }
}

static bool record_deliver(struct consumer *consumer, const rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t kind;
    size_t header_count = headers_read(consumer, message);
    const struct record record = {
        .topic = consumer->topic,
        .partition = message->partition,
        .offset = message->offset,
        .timestamp_ms = rd_kafka_message_timestamp(message, &kind),
        .key = message->key,
        .key_len = message->key_len,
        .value = message->payload,
        .value_len = message->len,
        .headers = consumer->headers,
        .header_count = header_count,
    };
    bool more = consumer->events->record(consumer->context, &record);
    headers_drop_excess(consumer);
    return more;
}

/* True when the log ends below our position: the topic was deleted and recreated. Records below our
 * position have ids that were used before, so the partition is not read on. */
static bool topic_recreated(struct consumer *consumer, const struct partition *partition,
                            int64_t end)
{
    if (end < 0 || end >= partition->next) {
        return false;
    }
    consumer->unreadable = UNREADABLE_RECREATED;
    last_error_set(&consumer->subscription,
                   "partition %d of %s ends at offset %lld and was read up to %lld: the topic was "
                   "recreated; restart every instance of the group",
                   partition->id, consumer->topic, (long long)end, (long long)partition->next);
    return true;
}

/* A record or the end of a partition arrived. */
static void readable(struct consumer *consumer)
{
    if (consumer->unreadable == UNREADABLE_FETCH) {
        unreadable_end(consumer);
    }
}

/* Drops a record outside its assignment: the next member with the partition begins at its committed
 * offset. Drops a record that was delivered already, which a recreated topic may have. */
static bool record_handle(struct consumer *consumer, const rd_kafka_message_t *message)
{
    struct partition *partition = partition_find(consumer, message->partition);
    if (consumer->state != ASSIGNED || partition == NULL) {
        return true;
    }
    if (message->offset < partition->next) {
        if (topic_recreated(consumer, partition, consumer_end_offset(consumer, partition->id))) {
            return true;
        }
        log_warning("kafka consumer: partition %d went back to offset %lld from %lld; was the "
                    "topic deleted and recreated under a running group?",
                    message->partition, (long long)message->offset, (long long)partition->next);
        return true;
    }
    partition->next = message->offset + 1;
    last_error_clear(&consumer->last_error);
    readable(consumer);
    return record_deliver(consumer, message);
}

static void partition_end(struct consumer *consumer, const rd_kafka_message_t *message)
{
    struct partition *partition = partition_find(consumer, message->partition);
    if (consumer->state == ASSIGNED && partition != NULL) {
        partition->end = message->offset;
        if (!topic_recreated(consumer, partition, message->offset)) {
            readable(consumer);
        }
    }
}

/* The library does not report when the topic becomes readable again, so it is checked. */
static void unreadable_begin(struct consumer *consumer, enum unreadable why)
{
    consumer->unreadable = why;
    if (why == UNREADABLE_TOPIC) {
        lookup_topic(consumer->lookup, consumer->topic);
    } else {
        loop_timer_set(&consumer->again, clock_now(consumer->clock).mono_ms + FETCH_AGAIN_MS);
    }
}

static void unreadable_check(struct consumer *consumer)
{
    if (consumer->unreadable == UNREADABLE_TOPIC && lookup_topic_readable(consumer->lookup)) {
        unreadable_end(consumer);
    }
}

/* The fetch returns a record, the end of the partition, or the same error. */
static void on_again(void *context)
{
    struct consumer *consumer = context;
    if (consumer->unreadable == UNREADABLE_FETCH && consumer->state == ASSIGNED) {
        consume_known(consumer);
    }
    loop_timer_set(&consumer->again, clock_now(consumer->clock).mono_ms + FETCH_AGAIN_MS);
}

/* The library reports only once that it cannot read a topic. */
static void message_error(struct consumer *consumer, const rd_kafka_message_t *message)
{
    bool lasting = message->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
                   message->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
                   message->err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
    struct last_error *last_error = lasting ? &consumer->subscription : &consumer->last_error;
    last_error_set(last_error, "%s (%s)", rd_kafka_message_errstr(message),
                   rd_kafka_err2name(message->err));
    log_warning("kafka consumer: %s", last_error->text);
    if (lasting) {
        /* An error of the whole topic has no offset; its partition is 0. */
        unreadable_begin(consumer, message->offset < 0 ? UNREADABLE_TOPIC : UNREADABLE_FETCH);
    }
}

/* False when the owner wants no further record now. */
static bool message_handle(struct consumer *consumer, rd_kafka_message_t *message)
{
    bool more = true;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        more = record_handle(consumer, message);
    } else if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        partition_end(consumer, message);
    } else if (message->err == RD_KAFKA_RESP_ERR__FATAL) {
        consumer->noted_fatal = true;
        (void)notes_handle(consumer);
    } else {
        message_error(consumer, message);
    }
    rd_kafka_message_destroy(message);
    return more;
}

/* Not while the group distributes its partitions again: during a revoke the library would leave
 * before the release, and after it the library waits for the next rebalance. */
static void unsubscribe_if_wanted(struct consumer *consumer)
{
    bool rebalances = consumer->joined && (consumer->state == REVOKING || consumer->state == IDLE);
    if (consumer->wants_join || !consumer->subscribed || rebalances) {
        return;
    }
    rd_kafka_resp_err_t error = rd_kafka_unsubscribe(consumer->rk);
    consumer->subscribed = error != RD_KAFKA_RESP_ERR_NO_ERROR;
    if (consumer->subscribed) {
        last_error_set(&consumer->last_error, "cannot leave the group: %s",
                       rd_kafka_err2str(error));
    }
}

static void subscribe_if_wanted(struct consumer *consumer)
{
    if (!consumer->wants_join || consumer->subscribed || consumer->rk == NULL) {
        return;
    }
    AUTO_KAFKA_LIST rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, consumer->topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t error = rd_kafka_subscribe(consumer->rk, topics);
    consumer->subscribed = error == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (!consumer->subscribed) {
        last_error_set(&consumer->last_error, "cannot subscribe to %s: %s", consumer->topic,
                       rd_kafka_err2str(error));
    }
}

static bool lookup_begin(struct consumer *consumer)
{
    if (consumer->lookup == NULL) {
        consumer->lookup = lookup_new(consumer->loop, rd_kafka_conf_dup(consumer->conf), consumer);
    }
    return consumer->lookup != NULL;
}

/* Attaches to the client once the lookup has created it. */
static void consumer_attach(struct consumer *consumer)
{
    static const uint64_t one = 1;
    if (!lookup_begin(consumer)) {
        last_error_set(&consumer->last_error, "the system gives no thread for the consumer");
        return;
    }
    consumer->rk = lookup_handle(consumer->lookup, &consumer->last_error);
    if (consumer->rk == NULL) {
        return;
    }
    (void)rd_kafka_poll_set_consumer(consumer->rk);
    consumer->queue = rd_kafka_queue_get_consumer(consumer->rk);
    rd_kafka_queue_io_event_enable(consumer->queue, consumer->eventfd, &one, sizeof one);
    subscribe_if_wanted(consumer);
}

bool consumer_poll(struct consumer *consumer, size_t records_max)
{
    uint64_t count;
    (void)!read(consumer->eventfd, &count, sizeof count); /* before the queue is drained */
    if (consumer->rk == NULL) {
        consumer_attach(consumer);
    }
    if (consumer->rk == NULL) {
        return false;
    }
    commit_check(consumer);
    release_check(consumer);
    unsubscribe_if_wanted(consumer);
    lookup_check(consumer);
    unreadable_check(consumer);
    for (size_t i = 0; i < records_max && !consumer->fatal_reported;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer->rk, 0);
        bool noted = notes_handle(consumer);
        if (message != NULL) {
            i = message_handle(consumer, message) ? i + 1 : records_max;
        } else if (!noted) {
            return false;
        }
    }
    return records_max > 0 && !consumer->fatal_reported;
}

static void partition_set_paused(struct consumer *consumer, int32_t id, bool paused)
{
    struct partition *partition = partition_find(consumer, id);
    if (consumer->state != ASSIGNED || partition == NULL || partition->paused == paused) {
        return;
    }
    partition->paused = paused;
    if (partition->known) { /* otherwise when it is assigned */
        pause_apply(consumer, partition, paused);
    }
}

void consumer_pause(struct consumer *consumer, int32_t partition)
{
    partition_set_paused(consumer, partition, true);
}

void consumer_resume(struct consumer *consumer, int32_t partition)
{
    partition_set_paused(consumer, partition, false);
}

void consumer_release(struct consumer *consumer)
{
    if (consumer->state == REVOKING) {
        unassign(consumer);
    }
}

/* --- Creation and destruction --- */

static void on_eventfd(void *context, uint32_t)
{
    /* The step polls. Without a read here, the descriptor would wake the loop again and again while
     * the owner accepts no records. */
    struct consumer *consumer = context;
    uint64_t count;
    (void)!read(consumer->eventfd, &count, sizeof count);
}

static void on_release_timer(void *context)
{
    struct consumer *consumer = context;
    consumer->release_overdue = true;
}

static char *connect_consumer(struct consumer *consumer, const struct consumer_config *config)
{
    char *error = NULL;
    rd_kafka_conf_t *conf = kafka_properties_apply(
        KAFKA_CONSUMER, config->instance, config->properties, config->property_count, &error);
    if (conf == NULL) {
        return error;
    }
    consumer->conf = conf;
    AUTO_FREE char *timeout = client_property(conf, "session.timeout.ms");
    if (timeout == NULL || !text_int(timeout, 1, INT32_MAX, &consumer->session_timeout_ms)) {
        return mem_strdup("session.timeout.ms: is not a number");
    }
    consumer->group_id = client_property(conf, "group.id");
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_error_cb(conf, on_error);
    client_statistics(conf, on_statistics);
    consumer->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (consumer->eventfd >= 0) {
        consumer->watch =
            loop_fd_add(consumer->loop, consumer->eventfd, EPOLLIN, on_eventfd, consumer);
    }
    return consumer->watch == NULL || !lookup_begin(consumer)
               ? mem_strdup("kafka consumer: the system gives no descriptor or thread")
               : NULL;
}

struct consumer *consumer_new(struct loop *loop, const struct clock *clock,
                              const struct consumer_config *config,
                              const struct consumer_events *events, void *context, char **error)
{
    struct consumer *consumer = mem_zalloc(1, sizeof *consumer);
    consumer->loop = loop;
    consumer->clock = clock;
    consumer->events = events;
    consumer->context = context;
    consumer->eventfd = -1;
    consumer->topic = mem_strdup(config->requests_topic);
    consumer->instance = mem_strdup(config->instance);
    loop_timer_init(&consumer->again, loop, on_again, consumer);
    loop_timer_init(&consumer->release_timer, loop, on_release_timer, consumer);
    *error = connect_consumer(consumer, config);
    return *error == NULL ? consumer : consumer_free(consumer);
}

/* The lookup destroys the client. */
static void consumer_drop(struct consumer *consumer)
{
    commits_close(consumer);
    if (consumer->queue != NULL) {
        rd_kafka_queue_io_event_enable(consumer->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(consumer->queue);
        consumer->queue = NULL;
    }
    consumer->rk = NULL;
    consumer->lookup = lookup_free(consumer->lookup);
    noted_assign_drop(consumer);
    loop_timer_stop(&consumer->release_timer);
    loop_timer_stop(&consumer->again);
    consumer->unreadable = READABLE; /* the next client reports it again */
    last_error_clear(&consumer->subscription);
    partitions_discard(consumer);
}

void consumer_renew(struct consumer *consumer)
{
    bool had_any = consumer->state == ASSIGNED || consumer->state == REVOKING;
    consumer_drop(consumer);
    commit_end(consumer, RD_KAFKA_RESP_ERR__DESTROY);
    consumer->state = IDLE;
    consumer->noted_revoke = consumer->noted_lost = consumer->noted_fatal = false;
    consumer->joined = consumer->fatal_reported = consumer->release_overdue = false;
    consumer->wants_join = consumer->subscribed = false;
    consumer->brokers = (struct client_brokers){0};
    last_error_clear(&consumer->last_error);
    (void)lookup_begin(consumer); /* on failure the next poll tries again */
    if (had_any) {
        consumer->events->lost(consumer->context);
    }
}

void consumer_join(struct consumer *consumer)
{
    consumer->wants_join = true;
    subscribe_if_wanted(consumer);
}

void consumer_leave(struct consumer *consumer)
{
    consumer->wants_join = false; /* the next poll unsubscribes */
}

/* The library drops its member id when it sends the request to leave. */
bool consumer_left(const struct consumer *consumer)
{
    if (consumer->subscribed || consumer->wants_join || consumer->state != IDLE) {
        return false;
    }
    char *member = consumer->rk == NULL ? NULL : rd_kafka_memberid(consumer->rk);
    bool left = member == NULL || member[0] == '\0';
    if (member != NULL) {
        rd_kafka_mem_free(consumer->rk, member);
    }
    return left;
}

struct consumer *consumer_free(struct consumer *consumer)
{
    if (consumer == NULL) {
        return NULL;
    }
    consumer->watch = loop_fd_remove(consumer->watch);
    consumer_drop(consumer);
    if (consumer->conf != NULL) {
        rd_kafka_conf_destroy(consumer->conf);
    }
    if (consumer->eventfd >= 0) {
        close(consumer->eventfd);
    }
    free(consumer->headers);
    free(consumer->topic);
    free(consumer->group_id);
    free(consumer->instance);
    free(consumer->cluster_id);
    free(consumer);
    return NULL;
}

/* --- Queries --- */

int64_t consumer_session_timeout_ms(const struct consumer *consumer)
{
    return consumer->session_timeout_ms;
}

bool consumer_joined(const struct consumer *consumer)
{
    return consumer->joined;
}

const struct client_brokers *consumer_brokers(const struct consumer *consumer)
{
    return &consumer->brokers;
}

const char *consumer_cluster_id(const struct consumer *consumer)
{
    return consumer->cluster_id;
}

const char *consumer_group_id(const struct consumer *consumer)
{
    return consumer->group_id;
}

const char *consumer_last_error(const struct consumer *consumer)
{
    bool fresh = clock_mono_ms() - consumer->last_error.mono_ms < LAST_ERROR_MAX_AGE_MS;
    return consumer->last_error.text[0] != '\0' && (fresh || consumer->fatal_reported)
               ? consumer->last_error.text
               : NULL;
}

const char *consumer_subscription_error(const struct consumer *consumer)
{
    return text_or_null(consumer->subscription.text);
}

int64_t consumer_end_offset(const struct consumer *consumer, int32_t partition)
{
    int64_t low, high;
    if (consumer->rk == NULL) {
        return -1;
    }
    rd_kafka_resp_err_t error =
        rd_kafka_get_watermark_offsets(consumer->rk, consumer->topic, partition, &low, &high);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0 ? high : -1;
}

bool consumer_at_end(const struct consumer *consumer, int32_t id)
{
    const struct partition *partition = partition_find(consumer, id);
    return partition != NULL && partition->end >= 0 &&
           partition->end == consumer_end_offset(consumer, id);
}
