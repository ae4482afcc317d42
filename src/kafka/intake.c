/* An assignment's life here:
 *
 *   IDLE -> (assign) LOOKING -> (some offsets known) ASSIGNED -> (revoke) REVOKING -> (release)
 * IDLE
 *
 * The group's assign is answered at once with no partitions, and the partitions themselves are
 * assigned as their committed offsets become known: those that are known first, and again, all
 * that are known by then, when there are more. Left unanswered instead, librdkafka 2.0.2
 * would keep revokes and session losses to itself for as long as the lookup takes. The answer
 * to a revoke, however, waits for the owner: until then the group does not give our partitions
 * to others.
 */
#include "presignd/kafka/intake.h"

#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/kafka/client.h"
#include "presignd/kafka/lookup.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    /* A release that does not come by then is a hang: the group must not wait for ever. */
    INTAKE_RELEASE_MAX_MS = 20000,
    /* A complaint that is not repeated for that long no longer describes the present: the
     * library repeats lasting ones every 30 s. */
    TROUBLE_MAX_AGE_MS = 45000,
    /* Between two fetches of what could not be read. */
    FETCH_AGAIN_MS = 10000,
    /* A record with more headers gets its array for the one call only. */
    HEADERS_KEPT = 256,
};

/* Why the topic cannot be read, by what ends it: the topic is there for us again; a record or a
 * partition's end comes; only another assignment. That ends the first two as well. */
enum unread { UNREAD_NOTHING, UNREAD_TOPIC, UNREAD_FETCH, UNREAD_MADE_ANEW };

enum intake_state { IDLE, LOOKING, ASSIGNED, REVOKING };

struct partition {
    int32_t id;
    bool paused;
    bool known;        /* `committed` is; it is consumed */
    int64_t committed; /* as the library has it: a negative one stands for none */
    int64_t next;      /* offsets below were handed over */
    int64_t end;       /* where the last fetch found nothing more; -1 before that */
};

struct intake {
    struct loop *loop;
    const struct clock *clock;
    const struct intake_events *events;
    void *context;
    char *topic, *group_id, *instance, *cluster_id;

    rd_kafka_conf_t *conf;
    rd_kafka_t *consumer; /* NULL until made: the lookup's */
    rd_kafka_queue_t *queue;
    struct lookup *lookup; /* NULL while the system gives no thread */
    int64_t session_timeout_ms;
    int eventfd;
    struct loop_fd *watch;
    struct loop_timer release_timer;

    enum intake_state state;
    struct group_metadata *group_metadata; /* from LOOKING on */
    struct partition *partitions;
    size_t partition_count;

    /* Noted by the library's callbacks, handled after the poll that they came from. */
    rd_kafka_topic_partition_list_t *noted_assign;
    bool noted_revoke, noted_lost, noted_fatal;

    bool wants_join, subscribed;
    bool joined, fatal_told, release_overdue;
    struct trouble trouble;
    struct trouble subscription; /* why the topic cannot be read; empty while it can */
    enum unread unread;          /* which kind of why */
    struct loop_timer again;     /* UNREAD_FETCH: when to ask for records anew */
    struct record_header *headers;
    size_t header_cap;
};

static int compare_partitions(const void *a, const void *b)
{
    int32_t x = ((const struct partition *)a)->id, y = ((const struct partition *)b)->id;
    return (x > y) - (x < y);
}

static struct partition *partition_find(const struct intake *intake, int32_t id)
{
    const struct partition key = {.id = id};
    return intake->partition_count == 0 ? NULL
                                        : bsearch(&key, intake->partitions, intake->partition_count,
                                                  sizeof key, compare_partitions);
}

/* --- Callbacks of the library, on our thread, from inside rd_kafka_consumer_poll(). --- */

static void on_rebalance(rd_kafka_t *consumer, rd_kafka_resp_err_t what,
                         rd_kafka_topic_partition_list_t *partitions, void *opaque)
{
    struct intake *intake = opaque;
    if (intake->noted_assign != NULL) {
        rd_kafka_topic_partition_list_destroy(intake->noted_assign);
        intake->noted_assign = NULL;
    }
    if (what == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        intake->noted_assign = rd_kafka_topic_partition_list_copy(partitions);
    } else {
        intake->noted_revoke = true;
        intake->noted_lost = rd_kafka_assignment_lost(consumer) != 0;
    }
    rd_kafka_yield(consumer); /* so that the poll returns and the note is handled in order */
}

static void on_error(rd_kafka_t *consumer, int error, const char *reason, void *opaque)
{
    struct intake *intake = opaque;
    (void)consumer;
    if (error == RD_KAFKA_RESP_ERR__FATAL) {
        intake->noted_fatal = true;
    } else {
        trouble_set(&intake->trouble, "%s (%s)", reason,
                    rd_kafka_err2name((rd_kafka_resp_err_t)error));
    }
}

/* --- Assignments --- */

static void partitions_forget(struct intake *intake)
{
    free(intake->partitions);
    intake->partitions = NULL;
    intake->partition_count = 0;
    intake->group_metadata = group_metadata_unref(intake->group_metadata);
}

static void consumer_assign(struct intake *intake, rd_kafka_topic_partition_list_t *partitions)
{
    rd_kafka_resp_err_t error = rd_kafka_assign(intake->consumer, partitions);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        trouble_set(&intake->trouble, "assigning partitions: %s (%s)", rd_kafka_err2str(error),
                    rd_kafka_err2name(error));
    }
}

typedef rd_kafka_resp_err_t tell_fn(rd_kafka_t *consumer, rd_kafka_topic_partition_list_t *list);

/* Of those that are consumed. */
static void tell_of_paused(struct intake *intake, tell_fn *tell)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    for (size_t i = 0; i < intake->partition_count; i++) {
        if (intake->partitions[i].known && intake->partitions[i].paused) {
            rd_kafka_topic_partition_list_add(list, intake->topic, intake->partitions[i].id);
        }
    }
    if (list->cnt > 0) {
        (void)tell(intake->consumer, list);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

/* Gives all partitions back; the library then joins the group anew. */
static void unassign(struct intake *intake)
{
    /* A pause of ours outlives the assignment in librdkafka: the partition, given to us again,
     * would never be read. */
    tell_of_paused(intake, rd_kafka_resume_partitions);
    lookup_cancel(intake->lookup);
    loop_timer_stop(&intake->release_timer);
    intake->release_overdue = false;
    partitions_forget(intake);
    intake->state = IDLE;
    consumer_assign(intake, NULL);
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

/* Still the member that the partitions were assigned to, and a real one: without a member id
 * and a generation, a broker would take the commit for one from outside the group. */
static bool group_metadata_current(struct intake *intake)
{
    rd_kafka_consumer_group_metadata_t *now = rd_kafka_consumer_group_metadata(intake->consumer);
    if (now == NULL || intake->group_metadata->group == NULL) {
        return false;
    }
    char *member = rd_kafka_memberid(intake->consumer);
    rd_kafka_consumer_group_metadata_t *outsider = rd_kafka_consumer_group_metadata_new_with_genid(
        intake->group_id, -1, member == NULL ? "" : member, intake->instance);
    bool holds = member != NULL && member[0] != '\0' && !same_membership(now, outsider) &&
                 same_membership(now, intake->group_metadata->group);
    rd_kafka_consumer_group_metadata_destroy(outsider);
    rd_kafka_consumer_group_metadata_destroy(now);
    rd_kafka_mem_free(intake->consumer, member);
    return holds;
}

/* Came with the metadata that preceded the join, so it is there without any wait. */
static void cluster_id_learn(struct intake *intake)
{
    if (intake->cluster_id == NULL) {
        char *id = rd_kafka_clusterid(intake->consumer, 0);
        intake->cluster_id = mem_strdup(id);
        rd_kafka_mem_free(intake->consumer, id);
    }
}

static void partitions_take(struct intake *intake, const rd_kafka_topic_partition_list_t *list)
{
    intake->partition_count = (size_t)list->cnt;
    intake->partitions = mem_zalloc(intake->partition_count, sizeof *intake->partitions);
    for (int i = 0; i < list->cnt; i++) {
        intake->partitions[i].id = list->elems[i].partition;
        intake->partitions[i].end = -1;
    }
    if (list->cnt > 0) {
        qsort(intake->partitions, intake->partition_count, sizeof *intake->partitions,
              compare_partitions);
    }
}

static void unread_end(struct intake *intake)
{
    if (intake->unread != UNREAD_NOTHING) {
        intake->unread = UNREAD_NOTHING;
        trouble_clear(&intake->subscription);
        lookup_topic(intake->lookup, NULL);
        loop_timer_stop(&intake->again);
    }
}

static void assign_begin(struct intake *intake, rd_kafka_topic_partition_list_t *partitions)
{
    rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(0);
    intake->group_metadata = group_metadata_new(rd_kafka_consumer_group_metadata(intake->consumer));
    cluster_id_learn(intake);
    consumer_assign(intake, none);
    rd_kafka_topic_partition_list_destroy(none);
    intake->joined = true;
    intake->state = LOOKING;
    partitions_take(intake, partitions);
    if (partitions->cnt > 0) { /* given to members that see the topic only */
        unread_end(intake);
        lookup_start(intake->lookup, partitions);
        return;
    }
    rd_kafka_topic_partition_list_destroy(partitions);
    intake->state = ASSIGNED;
    intake->events->assigned(intake->context, intake->group_metadata, NULL, 0);
}

static void partition_tell_paused(struct intake *intake, const struct partition *partition)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, intake->topic, partition->id);
    if (partition->paused) {
        (void)rd_kafka_pause_partitions(intake->consumer, list);
    } else {
        (void)rd_kafka_resume_partitions(intake->consumer, list);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

/* All that are known, from where we are: what the library holds of them is fetched anew. */
static void consume_known(struct intake *intake)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)intake->partition_count);
    for (size_t i = 0; i < intake->partition_count; i++) {
        const struct partition *partition = &intake->partitions[i];
        if (partition->known) {
            rd_kafka_topic_partition_list_add(list, intake->topic, partition->id)->offset =
                partition->next > 0 ? partition->next : partition->committed;
        }
    }
    consumer_assign(intake, list);
    rd_kafka_topic_partition_list_destroy(list);
    tell_of_paused(intake, rd_kafka_pause_partitions);
}

/* Into `position`; the text is the caller's to free. */
static char *position_read(struct intake *intake, const rd_kafka_topic_partition_t *found,
                           struct intake_position *position)
{
    struct partition *partition = partition_find(intake, found->partition);
    char *text = mem_dup(found->metadata == NULL ? "" : found->metadata,
                         found->metadata == NULL ? 0 : found->metadata_size);
    *position = (struct intake_position){
        .partition = found->partition,
        .offset = found->offset < 0 ? INTAKE_NONE_COMMITTED : found->offset,
        .metadata = text,
    };
    if (partition != NULL) {
        partition->known = true;
        partition->committed = found->offset;
    }
    return text;
}

/* The first time all partitions are told, those that are not known yet among them. */
static void positions_tell(struct intake *intake, const struct intake_position *positions,
                           size_t count)
{
    if (intake->state == ASSIGNED) {
        intake->events->positions(intake->context, positions, count);
        return;
    }
    AUTO_FREE int32_t *ids = mem_zalloc(intake->partition_count, sizeof *ids);
    for (size_t i = 0; i < intake->partition_count; i++) {
        ids[i] = intake->partitions[i].id;
    }
    intake->state = ASSIGNED;
    intake->events->assigned(intake->context, intake->group_metadata, ids, intake->partition_count);
    intake->events->positions(intake->context, positions, count);
}

static void positions_take(struct intake *intake, const rd_kafka_topic_partition_list_t *found)
{
    size_t count = (size_t)found->cnt;
    AUTO_FREE struct intake_position *positions = mem_zalloc(count, sizeof *positions);
    AUTO_FREE char **texts = mem_zalloc(count, sizeof *texts);
    for (size_t i = 0; i < count; i++) {
        texts[i] = position_read(intake, &found->elems[i], &positions[i]);
    }
    trouble_clear(&intake->trouble);
    consume_known(intake);
    positions_tell(intake, positions, count);
    for (size_t i = 0; i < count; i++) {
        free(texts[i]);
    }
}

static void lookup_check(struct intake *intake)
{
    if (intake->state != LOOKING && intake->state != ASSIGNED) {
        return;
    }
    size_t left;
    rd_kafka_resp_err_t error = lookup_error(intake->lookup, &left);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        trouble_set(&intake->trouble, "reading committed offsets, %zu of %zu partitions: %s (%s)",
                    left, intake->partition_count,
                    error == RD_KAFKA_RESP_ERR__TIMED_OUT
                        ? "waiting for the coordinator, or for an open transaction to end"
                        : rd_kafka_err2str(error),
                    rd_kafka_err2name(error));
    }
    rd_kafka_topic_partition_list_t *found = lookup_take(intake->lookup);
    if (found == NULL) {
        return;
    }
    /* When the membership has changed meanwhile, a revoke is in the queue already or comes
     * with the next heartbeat; there is nothing to begin. */
    if (group_metadata_current(intake)) {
        positions_take(intake, found);
    }
    rd_kafka_topic_partition_list_destroy(found);
}

static void revoke_handle(struct intake *intake, bool lost)
{
    enum intake_state before = intake->state;
    if (before == ASSIGNED && !lost) {
        lookup_cancel(intake->lookup);
        intake->state = REVOKING;
        loop_timer_set(&intake->release_timer,
                       clock_now(intake->clock).mono_ms + INTAKE_RELEASE_MAX_MS);
        intake->events->revoking(intake->context);
        return;
    }
    unassign(intake);
    intake->joined = intake->joined && !lost;
    if (before == ASSIGNED || before == REVOKING) {
        intake->events->lost(intake->context);
    }
}

static void fatal_handle(struct intake *intake)
{
    char reason[512];
    rd_kafka_resp_err_t error = rd_kafka_fatal_error(intake->consumer, reason, sizeof reason);
    bool fenced = error == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID;
    intake->fatal_told = true;
    trouble_set(&intake->trouble, "%s (%s)", reason, rd_kafka_err2name(error));
    intake->events->fatal(intake->context, fenced, intake->trouble.text);
}

/* True when there was something. */
static bool notes_handle(struct intake *intake)
{
    bool any = intake->noted_revoke || intake->noted_assign != NULL || intake->noted_fatal;
    if (intake->noted_revoke) {
        intake->noted_revoke = false;
        revoke_handle(intake, intake->noted_lost);
    }
    if (intake->noted_assign != NULL) {
        rd_kafka_topic_partition_list_t *partitions = intake->noted_assign;
        intake->noted_assign = NULL;
        assign_begin(intake, partitions);
    }
    if (intake->noted_fatal && !intake->fatal_told) {
        fatal_handle(intake);
    }
    return any;
}

static void release_check(struct intake *intake)
{
    if (intake->state == REVOKING && intake->release_overdue) {
        log_warning("kafka consumer: partitions are given back unfinished, the group has waited "
                    "for %d s",
                    INTAKE_RELEASE_MAX_MS / 1000);
        unassign(intake);
        intake->events->lost(intake->context);
    }
}

/* --- Records --- */

static size_t headers_read(struct intake *intake, const rd_kafka_message_t *message)
{
    rd_kafka_headers_t *list = NULL;
    if (rd_kafka_message_headers(message, &list) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return 0;
    }
    size_t count = rd_kafka_header_cnt(list);
    if (count > intake->header_cap) {
        free(intake->headers);
        intake->header_cap = count < HEADERS_KEPT ? HEADERS_KEPT : count;
        intake->headers = mem_zalloc(intake->header_cap, sizeof *intake->headers);
    }
    for (size_t i = 0; i < count; i++) {
        struct record_header *header = &intake->headers[i];
        rd_kafka_resp_err_t error =
            rd_kafka_header_get_all(list, i, &header->name, &header->value, &header->value_len);
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
            return i;
        }
    }
    return count;
}

static void headers_drop_excess(struct intake *intake)
{
    if (intake->header_cap > HEADERS_KEPT) {
        free(intake->headers);
        intake->headers = NULL;
        intake->header_cap = 0;
    }
}

static bool record_tell(struct intake *intake, const rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t kind;
    size_t header_count = headers_read(intake, message);
    const struct record record = {
        .topic = intake->topic,
        .partition = message->partition,
        .offset = message->offset,
        .timestamp_ms = rd_kafka_message_timestamp(message, &kind),
        .key = message->key,
        .key_len = message->key_len,
        .value = message->payload,
        .value_len = message->len,
        .headers = intake->headers,
        .header_count = header_count,
    };
    bool more = intake->events->record(intake->context, &record);
    headers_drop_excess(intake);
    return more;
}

/* The log ends below what was read of it: it is another one of the same name. What stands in it
 * below our position has ids that were given out already, so it is not read on. */
static bool made_anew(struct intake *intake, const struct partition *partition, int64_t end)
{
    if (end < 0 || end >= partition->next) {
        return false;
    }
    intake->unread = UNREAD_MADE_ANEW;
    trouble_set(
        &intake->subscription,
        "partition %d of %s ends at offset %lld and was read up to %lld: the topic was made "
        "anew; restart every instance of the group",
        partition->id, intake->topic, (long long)end, (long long)partition->next);
    return true;
}

/* A record or a partition's end came: the broker lets us read. */
static void readable(struct intake *intake)
{
    if (intake->unread == UNREAD_FETCH) {
        unread_end(intake);
    }
}

/* A record outside its assignment is dropped: whoever gets the partition next begins at its
 * committed offset. One that was handed over already (librdkafka before 2.4 may go back after
 * a resume) is dropped too: each is told once in an assignment. */
static bool record_handle(struct intake *intake, const rd_kafka_message_t *message)
{
    struct partition *partition = partition_find(intake, message->partition);
    if (intake->state != ASSIGNED || partition == NULL) {
        return true;
    }
    if (message->offset < partition->next) {
        if (made_anew(intake, partition, intake_end_offset(intake, partition->id))) {
            return true;
        }
        log_warning("kafka consumer: partition %d went back to offset %lld, already at %lld; "
                    "was the topic made anew under a running group?",
                    message->partition, (long long)message->offset, (long long)partition->next);
        return true;
    }
    partition->next = message->offset + 1;
    trouble_clear(&intake->trouble);
    readable(intake);
    return record_tell(intake, message);
}

static void end_note(struct intake *intake, const rd_kafka_message_t *message)
{
    struct partition *partition = partition_find(intake, message->partition);
    if (intake->state == ASSIGNED && partition != NULL) {
        partition->end = message->offset;
        if (!made_anew(intake, partition, message->offset)) {
            readable(intake);
        }
    }
}

/* The library does not tell when it is over: a standby without partitions would never notice, an
 * idle partition only with its next record. */
static void unread_begin(struct intake *intake, enum unread why)
{
    intake->unread = why;
    if (why == UNREAD_TOPIC) {
        lookup_topic(intake->lookup, intake->topic);
    } else {
        loop_timer_set(&intake->again, clock_now(intake->clock).mono_ms + FETCH_AGAIN_MS);
    }
}

static void unread_check(struct intake *intake)
{
    if (intake->unread == UNREAD_TOPIC && lookup_topic_readable(intake->lookup)) {
        unread_end(intake);
    }
}

/* A fetch from where we are ends in a record, a partition's end, or the same error. */
static void on_again(void *context)
{
    struct intake *intake = context;
    if (intake->unread == UNREAD_FETCH && intake->state == ASSIGNED) {
        consume_known(intake);
    }
    loop_timer_set(&intake->again, clock_now(intake->clock).mono_ms + FETCH_AGAIN_MS);
}

/* The library tells of a topic that it cannot read once, however long that lasts. */
static void error_note(struct intake *intake, const rd_kafka_message_t *message)
{
    bool lasting = message->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
                   message->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
                   message->err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
    struct trouble *trouble = lasting ? &intake->subscription : &intake->trouble;
    trouble_set(trouble, "%s (%s)", rd_kafka_message_errstr(message),
                rd_kafka_err2name(message->err));
    log_warning("kafka consumer: %s", trouble->text);
    if (lasting) {
        /* Of a topic as a whole it has no offset; its partition says 0 then, too. */
        unread_begin(intake, message->offset < 0 ? UNREAD_TOPIC : UNREAD_FETCH);
    }
}

/* False when the owner wants no further record for now. */
static bool message_handle(struct intake *intake, rd_kafka_message_t *message)
{
    bool more = true;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        more = record_handle(intake, message);
    } else if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        end_note(intake, message);
    } else if (message->err == RD_KAFKA_RESP_ERR__FATAL) {
        intake->noted_fatal = true;
        (void)notes_handle(intake);
    } else {
        error_note(intake, message);
    }
    rd_kafka_message_destroy(message);
    return more;
}

static void subscribe_if_wanted(struct intake *intake)
{
    if (!intake->wants_join || intake->subscribed || intake->consumer == NULL) {
        return;
    }
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, intake->topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t error = rd_kafka_subscribe(intake->consumer, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    intake->subscribed = error == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (!intake->subscribed) {
        trouble_set(&intake->trouble, "cannot subscribe to %s: %s", intake->topic,
                    rd_kafka_err2str(error));
    }
}

static bool lookup_begin(struct intake *intake)
{
    if (intake->lookup == NULL) {
        intake->lookup = lookup_new(intake->loop, rd_kafka_conf_dup(intake->conf), intake);
    }
    return intake->lookup != NULL;
}

/* When the consumer has been made meanwhile. */
static void consumer_adopt(struct intake *intake)
{
    static const uint64_t one = 1;
    if (!lookup_begin(intake)) {
        trouble_set(&intake->trouble, "the system gives no thread for the consumer");
        return;
    }
    intake->consumer = lookup_consumer(intake->lookup, &intake->trouble);
    if (intake->consumer == NULL) {
        return;
    }
    (void)rd_kafka_poll_set_consumer(intake->consumer);
    intake->queue = rd_kafka_queue_get_consumer(intake->consumer);
    rd_kafka_queue_io_event_enable(intake->queue, intake->eventfd, &one, sizeof one);
    subscribe_if_wanted(intake);
}

bool intake_poll(struct intake *intake, size_t records_max)
{
    uint64_t count;
    (void)!read(intake->eventfd, &count, sizeof count); /* before the queue, not to miss any */
    if (intake->consumer == NULL) {
        consumer_adopt(intake);
    }
    if (intake->consumer == NULL) {
        return false;
    }
    release_check(intake);
    lookup_check(intake);
    unread_check(intake);
    for (size_t i = 0; i < records_max && !intake->fatal_told;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(intake->consumer, 0);
        bool noted = notes_handle(intake);
        if (message != NULL) {
            i = message_handle(intake, message) ? i + 1 : records_max;
        } else if (!noted) {
            return false;
        }
    }
    return records_max > 0 && !intake->fatal_told;
}

static void partition_set_paused(struct intake *intake, int32_t id, bool paused)
{
    struct partition *partition = partition_find(intake, id);
    if (intake->state != ASSIGNED || partition == NULL || partition->paused == paused) {
        return; /* librdkafka before 2.4 repeats records when an unpaused one is resumed */
    }
    partition->paused = paused;
    if (partition->known) { /* else when it is consumed */
        partition_tell_paused(intake, partition);
    }
}

void intake_pause(struct intake *intake, int32_t partition)
{
    partition_set_paused(intake, partition, true);
}

void intake_resume(struct intake *intake, int32_t partition)
{
    partition_set_paused(intake, partition, false);
}

void intake_release(struct intake *intake)
{
    if (intake->state == REVOKING) {
        unassign(intake);
    }
}

/* --- Birth and death --- */

static void on_eventfd(void *context, uint32_t epoll_events)
{
    /* The step polls. Reading here keeps a level-triggered descriptor from waking the loop
     * over and over while the owner has no room for records. */
    struct intake *intake = context;
    uint64_t count;
    (void)epoll_events;
    (void)!read(intake->eventfd, &count, sizeof count);
}

static void on_release_timer(void *context)
{
    struct intake *intake = context;
    intake->release_overdue = true;
}

static char *connect_consumer(struct intake *intake, const struct intake_config *config)
{
    char *error = NULL;
    rd_kafka_conf_t *conf = kafka_properties_apply(
        KAFKA_CONSUMER, config->instance, config->properties, config->property_count, &error);
    if (conf == NULL) {
        return error;
    }
    intake->conf = conf;
    AUTO_FREE char *timeout = client_property(conf, "session.timeout.ms");
    if (timeout == NULL || !text_int(timeout, 1, INT32_MAX, &intake->session_timeout_ms)) {
        return mem_strdup("session.timeout.ms: is not a number");
    }
    intake->group_id = client_property(conf, "group.id");
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_error_cb(conf, on_error);
    intake->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (intake->eventfd >= 0) {
        intake->watch = loop_fd_add(intake->loop, intake->eventfd, EPOLLIN, on_eventfd, intake);
    }
    return intake->watch == NULL || !lookup_begin(intake)
               ? mem_strdup("kafka consumer: the system gives no descriptor or thread")
               : NULL;
}

struct intake *intake_new(struct loop *loop, const struct clock *clock,
                          const struct intake_config *config, const struct intake_events *events,
                          void *context, char **error)
{
    struct intake *intake = mem_zalloc(1, sizeof *intake);
    intake->loop = loop;
    intake->clock = clock;
    intake->events = events;
    intake->context = context;
    intake->eventfd = -1;
    intake->topic = mem_strdup(config->requests_topic);
    intake->instance = mem_strdup(config->instance);
    loop_timer_init(&intake->again, loop, on_again, intake);
    loop_timer_init(&intake->release_timer, loop, on_release_timer, intake);
    *error = connect_consumer(intake, config);
    return *error == NULL ? intake : intake_free(intake);
}

/* Nothing of it reaches us any more; its end is the lookup's. */
static void consumer_drop(struct intake *intake)
{
    if (intake->queue != NULL) {
        rd_kafka_queue_io_event_enable(intake->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(intake->queue);
        intake->queue = NULL;
    }
    intake->consumer = NULL;
    intake->lookup = lookup_free(intake->lookup);
    if (intake->noted_assign != NULL) {
        rd_kafka_topic_partition_list_destroy(intake->noted_assign);
        intake->noted_assign = NULL;
    }
    loop_timer_stop(&intake->release_timer);
    loop_timer_stop(&intake->again);
    intake->unread = UNREAD_NOTHING; /* the next consumer tells anew */
    trouble_clear(&intake->subscription);
    partitions_forget(intake);
}

void intake_renew(struct intake *intake)
{
    bool had_any = intake->state == ASSIGNED || intake->state == REVOKING;
    consumer_drop(intake);
    intake->state = IDLE;
    intake->noted_revoke = intake->noted_lost = intake->noted_fatal = false;
    intake->joined = intake->fatal_told = intake->release_overdue = false;
    intake->wants_join = intake->subscribed = false;
    trouble_clear(&intake->trouble);
    (void)lookup_begin(intake); /* else the next poll tries again */
    if (had_any) {
        intake->events->lost(intake->context);
    }
}

void intake_join(struct intake *intake)
{
    intake->wants_join = true;
    subscribe_if_wanted(intake);
}

struct intake *intake_free(struct intake *intake)
{
    if (intake == NULL) {
        return NULL;
    }
    intake->watch = loop_fd_remove(intake->watch);
    consumer_drop(intake);
    if (intake->conf != NULL) {
        rd_kafka_conf_destroy(intake->conf);
    }
    if (intake->eventfd >= 0) {
        close(intake->eventfd);
    }
    free(intake->headers);
    free(intake->topic);
    free(intake->group_id);
    free(intake->instance);
    free(intake->cluster_id);
    free(intake);
    return NULL;
}

/* --- What others ask --- */

int64_t intake_session_timeout_ms(const struct intake *intake)
{
    return intake->session_timeout_ms;
}

bool intake_joined(const struct intake *intake)
{
    return intake->joined;
}

const char *intake_cluster_id(const struct intake *intake)
{
    return intake->cluster_id;
}

const char *intake_group_id(const struct intake *intake)
{
    return intake->group_id;
}

const char *intake_trouble(const struct intake *intake)
{
    bool fresh = clock_now(&clock_system).mono_ms - intake->trouble.mono_ms < TROUBLE_MAX_AGE_MS;
    return intake->trouble.text[0] != '\0' && (fresh || intake->fatal_told) ? intake->trouble.text
                                                                            : NULL;
}

const char *intake_subscription_error(const struct intake *intake)
{
    return intake->subscription.text[0] != '\0' ? intake->subscription.text : NULL;
}

int64_t intake_end_offset(const struct intake *intake, int32_t partition)
{
    int64_t low, high;
    if (intake->consumer == NULL) {
        return -1;
    }
    rd_kafka_resp_err_t error =
        rd_kafka_get_watermark_offsets(intake->consumer, intake->topic, partition, &low, &high);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0 ? high : -1;
}

bool intake_at_end(const struct intake *intake, int32_t id)
{
    const struct partition *partition = partition_find(intake, id);
    return partition != NULL && partition->end >= 0 &&
           partition->end == intake_end_offset(intake, id);
}
