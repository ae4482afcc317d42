/* The verdict on each failure of a transaction. docs/kafka.md has the table.
 *
 * The offsets go first: their request is the one that librdkafka repeats with
 * retry.backoff.ms while the broker still writes the markers of the transaction before
 * (CONCURRENT_TRANSACTIONS); adding the output partitions first would wait 20 ms each time.
 * A stale session is refused then, too, before any outcome was written.
 */
#include "presignd/kafka/producer.h"

#include "kafka/leaders.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/base/random.h"
#include "presignd/base/text.h"
#include "presignd/kafka/client.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* One blocking call: bounds how late a request to stop is seen. */
    SLICE_MS = 500,
    /* Between repetitions of a call that librdkafka calls retriable. */
    RETRY_PAUSE_MS = 20,
    /* Until a call that stays retriable is given up: the step before the commit is aborted,
     * the abort and the commit end in a new producer. */
    RETRY_TIMEOUT_MS = 15000,
    /* For init_transactions in one go; the owner comes again. */
    ACQUIRE_MS = 3000,
    /* Its first call. While the coordinator aborts what an earlier process has left open, the
     * library repeats the request after 500 ms; a call that begins asks at once. */
    ACQUIRE_SLICE_MS = 20,
    METADATA_MS = 2000,
    READ_BACK_PAUSE_MS = 200,
    /* How old what we know of the leaders may be when a transaction begins, and how often they
     * are looked up while records are not taken. */
    LEADERS_AGE_MS = 1000,
    /* For the delivery reports, in one go. */
    DELIVERY_SLICE_MS = 100,
    /* While other partitions have taken theirs: then a partition does not answer. */
    SILENT_MS = 5000,
    /* So long requests of a topic stay small once it has refused a larger one. */
    REQUEST_MAX_AGE_MS = 600000,
    /* Longer than a heartbeat's round: see fenced_by_timeout(). */
    FENCED_GRACE_MS = 4000,
    FENCED_MARGIN_MS = 500,
    /* Taking hold of the transactional.id takes milliseconds. When it took so long, an earlier
     * request for it may wait in a connection that was given up. */
    ACQUIRE_SLOW_MS = 5000,
    LATE_FENCE_MS = 600000,
};

static _Atomic int64_t late_fence_until_us; /* see producer_expect_late_fence() */

/* What is known of a record of the batch at hand. */
struct state {
    unsigned topic;
    size_t size;
    bool taken; /* by its partition */
    enum refusal refusal;
};

struct producer {
    const struct producer_owner *owner;
    void *context;
    /* Not changed by the producer's thread; producer_clone() reads them from another one. */
    rd_kafka_conf_t *conf, *reader_conf;
    char *requests_topic, *topic_names[TRANSACTION_TOPICS_MAX];
    size_t topic_count;
    size_t metadata_bytes;
    enum partitioner partitioner;
    int64_t transaction_timeout_ms;

    rd_kafka_t *client;
    rd_kafka_topic_t *topics[TRANSACTION_TOPICS_MAX];
    rd_kafka_t *reader; /* reads committed offsets back; made when first needed */
    bool acquired;
    bool refused; /* a broker has said that we may not have the transactional.id */
    bool fenced;  /* another process has the transactional.id */

    struct topic_leaders leaders[TRANSACTION_TOPICS_MAX];
    int64_t leaders_us; /* when they were looked up; 0: they have to be */
    uint64_t random;

    /* A topic's bound holds for all of a request's records of a partition together. What it may
     * take is learned when several are refused for their size; 0: nothing was. */
    size_t request_max[TRANSACTION_TOPICS_MAX];
    int64_t request_max_us; /* when it was learned last */

    /* Of the batch at hand. A record's place in it is told by the address of its state. */
    size_t record_count;
    struct state states[TRANSACTION_RECORDS_MAX];
    struct record_metadata record_metadata[TRANSACTION_RECORDS_MAX];
    rd_kafka_resp_err_t delivery; /* the first error of a delivery that is no consequence */
    rd_kafka_resp_err_t failure;  /* the transaction's own */
    int64_t begun_us;             /* of the transaction */
    int64_t open_us;  /* since when the coordinator may have an open transaction of ours; 0: none */
    int64_t asked_us; /* since when this client asks for the transactional.id; 0: not yet */
    struct last_error last_error;
};

enum step { STEP_OK, STEP_ABORT, STEP_FATAL, STEP_STOP };

static bool read_begin(struct producer *producer)
{
    return producer->owner->read == NULL || producer->owner->read(producer->context, true);
}

static void read_end(struct producer *producer)
{
    if (producer->owner->read != NULL) {
        (void)producer->owner->read(producer->context, false);
    }
}

/* --- The client --- */

static void on_delivery(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    struct producer *producer = opaque;
    struct state *state = message->_private;
    size_t index = (size_t)(state - producer->states);
    (void)client;
    switch (message->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        state->taken = true;
        producer->record_metadata[index] =
            (struct record_metadata){message->partition, message->offset};
        return;
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE: /* purged because of an error told before, or ours */
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
        return;
    default:
        state->refusal = refusal_of_code(message->err);
        producer->delivery = producer->delivery == 0 ? message->err : producer->delivery;
    }
}

static void on_error(rd_kafka_t *client, int error, const char *reason, void *opaque)
{
    struct producer *producer = opaque;
    (void)client;
    if (error != RD_KAFKA_RESP_ERR__FATAL) { /* those come back from the calls as well */
        last_error_set(&producer->last_error, "%s (%s)", reason,
                       rd_kafka_err2name((rd_kafka_resp_err_t)error));
    }
}

static void client_drop(struct producer *producer)
{
    for (size_t i = 0; i < producer->topic_count; i++) {
        if (producer->topics[i] != NULL) {
            rd_kafka_topic_destroy(producer->topics[i]);
            producer->topics[i] = NULL;
        }
    }
    client_destroy_detached(producer->client);
    producer->client = NULL;
    producer->acquired = false;
    producer->asked_us = 0;
    producer->leaders_us = 0;
}

static void reader_drop(struct producer *producer)
{
    client_destroy_detached(producer->reader);
    producer->reader = NULL;
}

/* What the producer itself has to know of its client's properties. */
static char *properties_read(struct producer *producer)
{
    AUTO_FREE char *partitioner = client_property(producer->conf, "partitioner");
    AUTO_FREE char *timeout = client_property(producer->conf, "transaction.timeout.ms");
    if (partitioner == NULL || !partitioner_parse(partitioner, &producer->partitioner)) {
        return mem_printf("partitioner: there is none named %s",
                          partitioner == NULL ? "" : partitioner);
    }
    if (timeout == NULL || !text_int(timeout, 1, INT32_MAX, &producer->transaction_timeout_ms)) {
        return mem_strdup("transaction.timeout.ms: is not a number");
    }
    return NULL;
}

static char *confs_make(struct producer *producer, const struct producer_config *config)
{
    char *error = NULL;
    producer->conf = kafka_properties_apply(KAFKA_PRODUCER, config->instance, config->properties,
                                            config->property_count, &error);
    if (producer->conf == NULL) {
        return error;
    }
    rd_kafka_conf_set_dr_msg_cb(producer->conf, on_delivery);
    rd_kafka_conf_set_error_cb(producer->conf, on_error);
    producer->reader_conf = kafka_properties_apply(
        KAFKA_CONSUMER, config->instance, config->properties, config->property_count, &error);
    return producer->reader_conf == NULL ? error : properties_read(producer);
}

struct producer *producer_new(const struct producer_config *config,
                              const struct producer_owner *owner, void *context, char **error)
{
    struct producer *producer = mem_zalloc(1, sizeof *producer);
    producer->owner = owner;
    producer->context = context;
    producer->metadata_bytes = config->metadata_bytes;
    producer->requests_topic = mem_strdup(config->requests_topic);
    while (producer->topic_count < TRANSACTION_TOPICS_MAX &&
           config->topics[producer->topic_count] != NULL) {
        producer->topic_names[producer->topic_count] =
            mem_strdup(config->topics[producer->topic_count]);
        producer->topic_count++;
    }
    *error = confs_make(producer, config);
    return *error == NULL ? producer : producer_free(producer);
}

struct producer *producer_clone(const struct producer *producer, void *context)
{
    struct producer *clone = mem_zalloc(1, sizeof *clone);
    clone->owner = producer->owner;
    clone->context = context;
    clone->conf = rd_kafka_conf_dup(producer->conf);
    clone->reader_conf = rd_kafka_conf_dup(producer->reader_conf);
    clone->requests_topic = mem_strdup(producer->requests_topic);
    clone->topic_count = producer->topic_count;
    for (size_t i = 0; i < clone->topic_count; i++) {
        clone->topic_names[i] = mem_strdup(producer->topic_names[i]);
    }
    clone->metadata_bytes = producer->metadata_bytes;
    clone->partitioner = producer->partitioner;
    clone->transaction_timeout_ms = producer->transaction_timeout_ms;
    return clone;
}

struct producer *producer_free(struct producer *producer)
{
    if (producer == NULL) {
        return NULL;
    }
    client_drop(producer);
    reader_drop(producer);
    for (size_t i = 0; i < producer->topic_count; i++) {
        topic_leaders_deinit(&producer->leaders[i]);
        free(producer->topic_names[i]);
    }
    if (producer->conf != NULL) {
        rd_kafka_conf_destroy(producer->conf);
    }
    if (producer->reader_conf != NULL) {
        rd_kafka_conf_destroy(producer->reader_conf);
    }
    free(producer->requests_topic);
    free(producer);
    return NULL;
}

static bool stopping(struct producer *producer)
{
    return producer->owner->pause(producer->context, 0);
}

static int64_t since_ms(int64_t begun_us)
{
    return (clock_mono_us() - begun_us) / 1000;
}

static bool client_fenced(const struct producer *producer)
{
    return producer->client != NULL &&
           rd_kafka_fatal_error(producer->client, NULL, 0) == RD_KAFKA_RESP_ERR__FENCED;
}

const char *producer_last_error(const struct producer *producer)
{
    return producer->last_error.text;
}

enum producer_id_state producer_id_state(const struct producer *producer)
{
    return producer->acquired  ? PRODUCER_ID_HELD
           : producer->refused ? PRODUCER_ID_DENIED
                               : PRODUCER_ID_WAITING;
}

void producer_set_group(struct producer *producer, const char *group_id)
{
    reader_drop(producer);
    (void)rd_kafka_conf_set(producer->reader_conf, "group.id", group_id, NULL, 0);
}

void producer_expect_late_fence(void)
{
    atomic_store(&late_fence_until_us, clock_mono_us() + LATE_FENCE_MS * INT64_C(1000));
}

/* A coordinator that has waited transaction.timeout.ms for us aborts the transaction by the
 * same means as another process fences us, and the error is the same. That happens to a
 * process that was stopped or starved. It is told apart by the time since all was well, not by
 * the transaction's: the one that meets the error need not be the one that was timed out. */
static bool fenced_by_timeout(const struct producer *producer)
{
    return producer->open_us != 0 &&
           since_ms(producer->open_us) + FENCED_MARGIN_MS >= producer->transaction_timeout_ms;
}

/* The fence may be the coordinator's own, or by a late request of ours. */
static bool fence_may_be_ours(const struct producer *producer)
{
    return fenced_by_timeout(producer) || clock_mono_us() < atomic_load(&late_fence_until_us);
}

static void acquired(struct producer *producer)
{
    if (since_ms(producer->asked_us) > ACQUIRE_SLOW_MS) {
        producer_expect_late_fence();
    }
    producer->acquired = true;
    producer->refused = false;
    producer->open_us = 0;
    last_error_clear(&producer->last_error);
}

bool producer_acquire(struct producer *producer)
{
    int64_t begun_us = clock_mono_us();
    producer->fenced = false;
    if (producer->client == NULL) {
        AUTO_FREE char *error = NULL;
        producer->client =
            client_new(RD_KAFKA_PRODUCER, rd_kafka_conf_dup(producer->conf), producer, &error);
        if (producer->client == NULL) {
            log_error("%s", error);
            last_error_set(&producer->last_error, "%s", error);
            return false;
        }
    }
    producer->asked_us = producer->asked_us == 0 ? begun_us : producer->asked_us;
    int slice_ms = ACQUIRE_SLICE_MS;
    while (!producer->acquired && !stopping(producer)) {
        rd_kafka_error_t *error = rd_kafka_init_transactions(producer->client, slice_ms);
        if (error == NULL) {
            acquired(producer);
            break;
        }
        bool retriable = rd_kafka_error_is_retriable(error) != 0;
        if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS) {
            slice_ms = 2 * slice_ms < SLICE_MS ? 2 * slice_ms : SLICE_MS;
        }
        (void)rd_kafka_poll(producer->client, 0); /* error callbacks first: they tell less */
        if (!retriable || rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__TIMED_OUT ||
            producer->last_error.text[0] == '\0') {
            last_error_set_error(&producer->last_error, "taking hold of the transactional.id",
                                 error);
        } else {
            rd_kafka_error_destroy(error);
        }
        if (!retriable) {
            bool overtaken = client_fenced(producer); /* by another request for the id */
            producer->fenced = overtaken && !fence_may_be_ours(producer);
            producer->refused = !overtaken;
            client_drop(producer);
            return false;
        }
        if (since_ms(begun_us) > ACQUIRE_MS) {
            return false;
        }
    }
    return producer->acquired;
}

/* --- Topics, and their partitions' leaders --- */

/* False when no broker answers. */
static bool topic_leaders_fetch(struct producer *producer, size_t index)
{
    const char *name = producer->topic_names[index];
    const struct rd_kafka_metadata *metadata = NULL;
    if (producer->topics[index] == NULL) {
        producer->topics[index] = rd_kafka_topic_new(producer->client, name, NULL);
    }
    rd_kafka_topic_t *topic = producer->topics[index];
    rd_kafka_resp_err_t error =
        topic == NULL ? rd_kafka_last_error()
                      : rd_kafka_metadata(producer->client, 0, topic, &metadata, METADATA_MS);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR || metadata == NULL) {
        last_error_set(&producer->last_error, "topic %s: %s (%s)", name, rd_kafka_err2str(error),
                       rd_kafka_err2name(error));
        return false;
    }
    topic_leaders_read(&producer->leaders[index], metadata);
    rd_kafka_metadata_destroy(metadata);
    return true;
}

/* Before the first record, also because librdkafka before 2.10.1 looks a new topic's leader up as
 * late as its next whole second. False when no broker answers: what was known before may name a
 * leader that is gone, and a transaction that takes its partition in cannot end without it. */
static bool leaders_fetch(struct producer *producer)
{
    for (size_t i = 0; i < producer->topic_count; i++) {
        if (!topic_leaders_fetch(producer, i)) {
            return false;
        }
    }
    producer->leaders_us = clock_mono_us();
    return true;
}

static bool leaders_refresh(struct producer *producer)
{
    bool fresh = producer->leaders_us != 0 && since_ms(producer->leaders_us) < LEADERS_AGE_MS;
    return fresh || leaders_fetch(producer);
}

int32_t producer_partitions(const struct producer *producer, unsigned topic)
{
    return producer->leaders[topic].count;
}

int32_t producer_partition_of_key(const struct producer *producer, const void *key, size_t key_len,
                                  int32_t count)
{
    return partitioner_of_key(producer->partitioner, key, key_len, count);
}

static void record_error_set(struct producer *producer, size_t index)
{
    const struct refusal_row *row = refusal_row(producer->states[index].refusal);
    const char *topic = producer->topic_names[producer->states[index].topic];
    if (row->scope == REFUSAL_OF_TOPIC) {
        last_error_set(&producer->last_error, "topic %s %s", topic, row->what);
    } else {
        last_error_set(&producer->last_error, "topic %s, partition %d %s", topic,
                       (int)producer->record_metadata[index].partition, row->what);
    }
}

/* How many of the records cannot be sent, as far as the brokers' last word goes. */
static size_t partitions_choose(struct producer *producer, const struct transaction_batch *batch)
{
    size_t refused = 0;
    assert(batch->record_count <= TRANSACTION_RECORDS_MAX);
    producer->record_count = batch->record_count;
    for (size_t i = 0; i < batch->record_count; i++) {
        const struct transaction_record *record = &batch->records[i];
        assert(record->topic < producer->topic_count);
        struct state *state = &producer->states[i];
        *state =
            (struct state){.topic = record->topic, .size = record->key_len + record->value_len};
        int32_t partition = topic_leaders_choose(
            &producer->leaders[record->topic], producer->partitioner, record->key, record->key_len,
            (uint32_t)random_next(&producer->random), &state->refusal);
        producer->record_metadata[i] = (struct record_metadata){partition, -1};
        if (state->refusal != REFUSAL_NONE && refused++ == 0) {
            record_error_set(producer, i);
        }
    }
    return refused;
}

/* With the batch to be read. */
static void tell(const struct producer *producer, const struct transaction_batch *batch)
{
    for (size_t i = 0; i < producer->record_count; i++) {
        if (batch->record_metadata != NULL) {
            batch->record_metadata[i] = producer->record_metadata[i];
        }
        if (batch->refusals != NULL) {
            batch->refusals[i] = producer->states[i].refusal;
        }
    }
}

/* --- The steps of a transaction --- */

/* What an error of a call before the commit means; destroys it. */
static enum step step_of(struct producer *producer, const char *doing, rd_kafka_error_t *error)
{
    bool abortable = rd_kafka_error_txn_requires_abort(error) != 0;
    producer->failure = rd_kafka_error_code(error);
    last_error_set_error(&producer->last_error, doing, error);
    /* Fatal, or without any mark: a call in a wrong state, from a client that is not to be
     * trusted any more. */
    return abortable ? STEP_ABORT : STEP_FATAL;
}

static enum step begin(struct producer *producer)
{
    producer->delivery = producer->failure = RD_KAFKA_RESP_ERR_NO_ERROR;
    producer->begun_us = clock_mono_us();
    producer->open_us = producer->open_us == 0 ? producer->begun_us : producer->open_us;
    rd_kafka_error_t *error = rd_kafka_begin_transaction(producer->client);
    return error == NULL ? STEP_OK : step_of(producer, "beginning a transaction", error);
}

static rd_kafka_topic_partition_list_t *positions_list(const struct producer *producer,
                                                       const struct transaction_batch *batch)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)batch->position_count);
    for (size_t i = 0; i < batch->position_count; i++) {
        const struct transaction_position *position = &batch->positions[i];
        rd_kafka_topic_partition_t *entry =
            rd_kafka_topic_partition_list_add(list, producer->requests_topic, position->partition);
        entry->offset = position->offset;
        entry->metadata = mem_strdup(position->metadata);
        entry->metadata_size = strlen(position->metadata);
    }
    return list;
}

static bool membership_stale(rd_kafka_resp_err_t error)
{
    switch (error) {
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST:
        return true;
    default:
        return false;
    }
}

static enum step send_list(struct producer *producer, const rd_kafka_topic_partition_list_t *list,
                           const struct group_metadata *group_metadata, bool *refused)
{
    enum step step = STEP_OK;
    for (;;) {
        rd_kafka_error_t *error = rd_kafka_send_offsets_to_transaction(
            producer->client, list, group_metadata->group, RETRY_TIMEOUT_MS / 3);
        if (error == NULL) {
            /* It may have taken so long that the batch is another thread's by now. */
            step = stopping(producer) ? STEP_STOP : STEP_OK;
            break;
        }
        *refused = membership_stale(rd_kafka_error_code(error));
        if (!rd_kafka_error_is_retriable(error) ||
            since_ms(producer->begun_us) > RETRY_TIMEOUT_MS) {
            bool retriable = rd_kafka_error_is_retriable(error) != 0;
            step = step_of(producer, "sending offsets", error);
            step = retriable ? STEP_ABORT : step;
            break;
        }
        last_error_set_error(&producer->last_error, "sending offsets", error);
        if (producer->owner->pause(producer->context, RETRY_PAUSE_MS)) {
            step = STEP_STOP;
            break;
        }
    }
    return step;
}

static enum step send_offsets(struct producer *producer, const struct transaction_batch *batch,
                              bool *refused)
{
    if (!read_begin(producer)) {
        return STEP_STOP;
    }
    rd_kafka_topic_partition_list_t *list = positions_list(producer, batch);
    struct group_metadata *group_metadata = group_metadata_ref(batch->group_metadata);
    read_end(producer);
    enum step step = send_list(producer, list, group_metadata, refused);
    rd_kafka_topic_partition_list_destroy(list);
    group_metadata_unref(group_metadata);
    return step;
}

static rd_kafka_error_t *produce_one(struct producer *producer,
                                     const struct transaction_record *record, size_t index)
{
    rd_kafka_headers_t *headers = client_headers(record->headers, record->header_count);
    /* The library takes pointers to bytes that it copies as `void *`. */
    void *key, *value;
    memcpy(&key, &record->key, sizeof key);
    memcpy(&value, &record->value, sizeof value);
    const rd_kafka_vu_t units[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = producer->topics[record->topic]},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = producer->record_metadata[index].partition},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {key, record->key_len}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {value, record->value_len}},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = &producer->states[index]},
    };
    rd_kafka_error_t *error = rd_kafka_produceva(producer->client, units, ARRAY_LENGTH(units));
    if (error != NULL) {
        rd_kafka_headers_destroy(headers);
    }
    return error;
}

/* By the library itself, which sends nothing of it: our own message.max.bytes, a partition that is
 * no more. */
static enum step produce_failed(struct producer *producer, size_t index, rd_kafka_error_t *error)
{
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    bool fatal = rd_kafka_error_is_fatal(error) != 0 || code == RD_KAFKA_RESP_ERR__FATAL;
    producer->states[index].refusal = refusal_of_code(code);
    last_error_set_error(&producer->last_error, "producing", error);
    return fatal ? STEP_FATAL : STEP_ABORT;
}

/* Whether the record would make a request that is larger than its topic may take. Those before it
 * are then waited for. */
static bool request_full(struct producer *producer, size_t index, size_t *pending)
{
    const struct state *state = &producer->states[index];
    size_t most = producer->request_max[state->topic];
    bool full = most > 0 && pending[state->topic] > 0 && pending[state->topic] + state->size > most;
    if (full) {
        memset(pending, 0, producer->topic_count * sizeof *pending);
    }
    pending[state->topic] += state->size;
    return full;
}

/* Halves what a request of a topic may take when several of one partition were refused for their
 * size together; one that was refused alone is too large by itself. */
static void request_max_learn(struct producer *producer)
{
    for (size_t topic = 0; topic < producer->topic_count; topic++) {
        size_t count = 0, bytes = 0;
        int32_t partition = -1;
        for (size_t i = 0; i < producer->record_count; i++) {
            const struct state *state = &producer->states[i];
            if (state->refusal != REFUSAL_SIZE || state->topic != topic ||
                (partition >= 0 && producer->record_metadata[i].partition != partition)) {
                continue;
            }
            partition = producer->record_metadata[i].partition;
            count++;
            bytes += state->size;
        }
        if (count > 1) {
            producer->request_max[topic] = bytes / 2;
            producer->request_max_us = clock_mono_us();
        }
    }
}

static void request_max_expire(struct producer *producer)
{
    if (since_ms(producer->request_max_us) > REQUEST_MAX_AGE_MS) {
        memset(producer->request_max, 0, sizeof producer->request_max);
    }
}

/* Until nothing is in flight. */
static enum step drain(struct producer *producer)
{
    int64_t begun_us = clock_mono_us();
    while (rd_kafka_outq_len(producer->client) > 0 && producer->delivery == 0) {
        if (stopping(producer)) {
            return STEP_STOP;
        }
        (void)rd_kafka_flush(producer->client, DELIVERY_SLICE_MS);
        if (since_ms(begun_us) > SILENT_MS) {
            break; /* deliver_all() finds out why */
        }
    }
    return STEP_OK;
}

static enum step produce_all(struct producer *producer, const struct transaction_batch *batch)
{
    size_t pending[TRANSACTION_TOPICS_MAX] = {0};
    for (size_t i = 0; producer->delivery == 0;) {
        if (i < producer->record_count && request_full(producer, i, pending) &&
            drain(producer) == STEP_STOP) {
            return STEP_STOP;
        }
        if (!read_begin(producer)) {
            return STEP_STOP;
        }
        bool more = i < batch->record_count;
        assert(batch->record_count <= TRANSACTION_RECORDS_MAX);
        rd_kafka_error_t *error = more ? produce_one(producer, &batch->records[i], i) : NULL;
        read_end(producer);
        if (!more) {
            return STEP_OK;
        }
        if (error != NULL && rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            rd_kafka_error_destroy(error);
            if (stopping(producer)) {
                return STEP_STOP;
            }
            (void)rd_kafka_poll(producer->client, RETRY_PAUSE_MS);
            continue;
        }
        if (error != NULL) {
            return produce_failed(producer, i, error);
        }
        i++;
    }
    return producer->delivery == 0 ? STEP_OK : STEP_ABORT;
}

/* Whether the transaction has failed under records that wait. No call asks for that; one that is
 * not allowed in a transaction tells of the transaction's error, if it has one. */
static bool transaction_failed(struct producer *producer)
{
    rd_kafka_error_t *error = rd_kafka_begin_transaction(producer->client);
    bool failed = error != NULL && (rd_kafka_error_txn_requires_abort(error) != 0 ||
                                    rd_kafka_error_is_fatal(error) != 0);
    if (failed) {
        (void)step_of(producer, "sending outcomes", error);
    } else {
        rd_kafka_error_destroy(error);
    }
    return failed;
}

/* Why a record that was not taken has to wait; REFUSAL_NONE: nothing is known against it. */
static enum refusal partition_refusal(const struct producer *producer, size_t index)
{
    const struct topic_leaders *leaders = &producer->leaders[producer->states[index].topic];
    int32_t partition = producer->record_metadata[index].partition;
    return leaders->count == 0           ? leaders->refusal
           : partition >= leaders->count ? REFUSAL_NO_LEADER
                                         : leaders->partitions[partition];
}

/* Marks the records that wait for a partition that has lost its leader; for any, when others of
 * the batch were taken and these were not for long. How many. */
static size_t undelivered_check(struct producer *producer, bool for_long)
{
    size_t refused = 0, taken = 0;
    for (size_t i = 0; i < producer->record_count; i++) {
        taken += producer->states[i].taken;
    }
    for (size_t i = 0; i < producer->record_count; i++) {
        struct state *state = &producer->states[i];
        if (state->taken) {
            continue;
        }
        state->refusal = partition_refusal(producer, i);
        if (state->refusal == REFUSAL_NONE && for_long && taken > 0) {
            state->refusal = REFUSAL_SILENT;
        }
        if (state->refusal != REFUSAL_NONE && refused++ == 0) {
            record_error_set(producer, i);
        }
    }
    return refused;
}

/* Until all are taken, before the commit: so whatever is not taken is known while nothing can be
 * visible yet. */
static enum step deliver_all(struct producer *producer)
{
    int64_t begun_us = clock_mono_us();
    while (rd_kafka_outq_len(producer->client) > 0 && producer->delivery == 0) {
        if (stopping(producer)) {
            return STEP_STOP;
        }
        (void)rd_kafka_flush(producer->client, DELIVERY_SLICE_MS);
        if (rd_kafka_outq_len(producer->client) == 0 || producer->delivery != 0) {
            break;
        }
        if (transaction_failed(producer)) {
            return STEP_ABORT;
        }
        bool for_long = since_ms(begun_us) > SILENT_MS;
        if (since_ms(producer->leaders_us) < LEADERS_AGE_MS && !for_long) {
            continue;
        }
        if (leaders_fetch(producer) && undelivered_check(producer, for_long) > 0) {
            return STEP_ABORT;
        }
        if (since_ms(begun_us) > RETRY_TIMEOUT_MS) {
            last_error_set(&producer->last_error, "no answer to the records within %d s",
                           RETRY_TIMEOUT_MS / 1000);
            return STEP_ABORT;
        }
    }
    return producer->delivery == 0 ? STEP_OK : STEP_ABORT;
}

/* STEP_FATAL here means: not known whether it was committed. */
static enum step commit(struct producer *producer)
{
    int64_t begun_us = clock_mono_us();
    for (;;) {
        rd_kafka_error_t *error = rd_kafka_commit_transaction(producer->client, SLICE_MS);
        if (error == NULL) {
            return STEP_OK;
        }
        if (!rd_kafka_error_is_retriable(error)) {
            return step_of(producer, "committing", error);
        }
        last_error_set_error(&producer->last_error, "committing", error);
        if (since_ms(begun_us) > RETRY_TIMEOUT_MS) {
            return STEP_FATAL;
        }
        if (producer->owner->pause(producer->context, RETRY_PAUSE_MS)) {
            return STEP_STOP;
        }
    }
}

/* False when it does not succeed; then the client is dropped, and the next one's
 * init_transactions ends what is open. Had no commit been sent, nothing becomes visible in
 * either case. A client that is fenced is kept, for the next step to find: the abort may be the
 * first to say so, and a new client would fence the process that has the name. */
static bool abort_or_drop(struct producer *producer)
{
    int64_t begun_us = clock_mono_us();
    struct last_error cause = producer->last_error;
    rd_kafka_error_t *error;
    while ((error = rd_kafka_abort_transaction(producer->client, SLICE_MS)) != NULL) {
        bool again = rd_kafka_error_is_retriable(error) != 0;
        last_error_set_error(&producer->last_error, "aborting", error);
        if (client_fenced(producer)) {
            return false;
        }
        if (!again || since_ms(begun_us) > RETRY_TIMEOUT_MS ||
            producer->owner->pause(producer->context, RETRY_PAUSE_MS)) {
            log_warning("kafka producer: %s; it is made anew", producer->last_error.text);
            client_drop(producer);
            break;
        }
    }
    producer->last_error = cause;
    producer->open_us = error == NULL ? 0 : producer->open_us;
    return error == NULL;
}

/* --- Verdicts --- */

static struct transaction_end end_of(struct producer *producer, enum transaction_verdict verdict)
{
    return (struct transaction_end){
        .verdict = verdict,
        .last_error = verdict == TRANSACTION_COMMITTED ? NULL : producer->last_error.text,
    };
}

static rd_kafka_t *reader_get(struct producer *producer)
{
    AUTO_FREE char *error = NULL;
    if (producer->reader == NULL) {
        producer->reader =
            client_new(RD_KAFKA_CONSUMER, rd_kafka_conf_dup(producer->reader_conf), NULL, &error);
        if (producer->reader == NULL) {
            last_error_set(&producer->last_error, "%s", error);
        }
    }
    return producer->reader;
}

static bool position_is(const rd_kafka_topic_partition_t *committed,
                        const struct transaction_position *sent)
{
    size_t len = committed->metadata == NULL ? 0 : committed->metadata_size;
    return committed->offset == sent->offset && len == strlen(sent->metadata) &&
           (len == 0 || memcmp(committed->metadata, sent->metadata, len) == 0);
}

static bool positions_are(const rd_kafka_topic_partition_list_t *committed,
                          const struct producer *producer, const struct transaction_batch *batch)
{
    for (size_t i = 0; i < batch->position_count; i++) {
        const rd_kafka_topic_partition_t *entry = rd_kafka_topic_partition_list_find(
            committed, producer->requests_topic, batch->positions[i].partition);
        if (entry == NULL || !position_is(entry, &batch->positions[i])) {
            return false;
        }
    }
    return true;
}

/* Until it is known or the owner stops. Other positions than those sent mean that it was not
 * committed, or that another member has committed since: then our session is stale, and the
 * batch, given again, is refused by the broker. */
static bool read_back(struct producer *producer, const struct transaction_batch *batch,
                      struct transaction_end *end)
{
    while (read_begin(producer)) {
        rd_kafka_topic_partition_list_t *list = positions_list(producer, batch);
        read_end(producer);
        rd_kafka_t *reader = reader_get(producer);
        rd_kafka_resp_err_t error =
            reader == NULL ? RD_KAFKA_RESP_ERR__STATE : client_committed(reader, list, SLICE_MS);
        if (!read_begin(producer)) {
            rd_kafka_topic_partition_list_destroy(list);
            return false;
        }
        bool equal = error == RD_KAFKA_RESP_ERR_NO_ERROR && positions_are(list, producer, batch);
        read_end(producer);
        rd_kafka_topic_partition_list_destroy(list);
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
            *end = end_of(producer, equal ? TRANSACTION_COMMITTED : TRANSACTION_ABORTED);
            log_notice("kafka producer: a commit of unknown end %s",
                       equal ? "was found to have succeeded" : "was found not to have happened");
            return true;
        }
        if (producer->owner->pause(producer->context, READ_BACK_PAUSE_MS)) {
            break;
        }
    }
    return false;
}

/* A new producer's init_transactions waits for a commit under way and aborts what is open, so
 * that afterwards the committed offsets tell. */
static bool resolve(struct producer *producer, const struct transaction_batch *batch,
                    struct transaction_end *end)
{
    struct last_error cause = producer->last_error;
    log_warning("kafka producer: %s; whether the outcomes were committed is being found out",
                cause.text);
    client_drop(producer);
    while (!producer_acquire(producer)) {
        if (producer->fenced) {
            *end = end_of(producer, TRANSACTION_FENCED);
            return true;
        }
        if (producer->owner->pause(producer->context, READ_BACK_PAUSE_MS)) {
            return false;
        }
    }
    producer->last_error = cause;
    bool known = read_back(producer, batch, end);
    reader_drop(producer);
    return known;
}

/* An error of the whole transaction that concerns one of the topics: the library's text names it,
 * or there is only one. False when that is not known. */
static bool refusals_assign(struct producer *producer)
{
    bool there[TRANSACTION_TOPICS_MAX] = {false}, named[TRANSACTION_TOPICS_MAX] = {false};
    size_t named_count = 0, there_count = 0;
    for (size_t i = 0; i < producer->record_count; i++) {
        there[producer->states[i].topic] = true;
    }
    for (size_t i = 0; i < producer->topic_count; i++) {
        AUTO_FREE char *quoted = mem_printf("\"%s\"", producer->topic_names[i]);
        named[i] = there[i] && strstr(producer->last_error.text, quoted) != NULL;
        named_count += named[i];
        there_count += there[i];
    }
    if (named_count != 1 && there_count != 1) {
        return false;
    }
    for (size_t i = 0; i < producer->record_count; i++) {
        if (named_count != 1 || named[producer->states[i].topic]) {
            producer->states[i].refusal = refusal_of_code(producer->failure);
        }
    }
    return true;
}

static size_t refusals_count(const struct producer *producer)
{
    size_t refused = 0;
    for (size_t i = 0; i < producer->record_count; i++) {
        refused += producer->states[i].refusal != REFUSAL_NONE;
    }
    return refused;
}

static struct transaction_end end_of_refusals(struct producer *producer)
{
    struct transaction_end end = end_of(producer, TRANSACTION_RECORDS_REFUSED);
    request_max_learn(producer);
    end.refused = refusals_count(producer);
    return end;
}

static struct transaction_end end_of_abort(struct producer *producer, bool refused)
{
    if (refused) {
        return end_of(producer, TRANSACTION_STALE);
    }
    if (producer->delivery != RD_KAFKA_RESP_ERR_NO_ERROR) {
        last_error_set(&producer->last_error, "delivering: %s (%s)",
                       rd_kafka_err2str(producer->delivery), rd_kafka_err2name(producer->delivery));
    }
    enum refusal_scope scope = refusal_row(refusal_of_code(producer->failure))->scope;
    bool doubt = scope == REFUSAL_OF_TOPIC && refusals_count(producer) == 0;
    bool known = !doubt || refusals_assign(producer);
    if (refusals_count(producer) > 0) {
        return end_of_refusals(producer);
    }
    struct transaction_end end = end_of(producer, TRANSACTION_ABORTED);
    end.mixed = !known;
    end.metadata_too_large = producer->failure == RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE;
    return end;
}

static bool end_of_fatal(struct producer *producer, const struct transaction_batch *batch,
                         bool commit_tried, struct transaction_end *end)
{
    if (client_fenced(producer)) {
        if (!fence_may_be_ours(producer)) {
            *end = end_of(producer, TRANSACTION_FENCED);
            return true;
        }
        /* Should another process have our name after all, we fence it in turn: the one that is in
         * no doubt ends. Where both are, the fences of their consumers end one (renewal.h). */
        if (producer->owner->pause(producer->context, FENCED_GRACE_MS)) {
            return false;
        }
    }
    if (commit_tried) {
        return resolve(producer, batch, end);
    }
    client_drop(producer);
    *end = end_of(producer, TRANSACTION_ABORTED);
    return true;
}

/* Of a transaction that is to be aborted. */
static bool end_of_failure(struct producer *producer, const struct transaction_batch *batch,
                           bool commit_tried, bool refused, struct transaction_end *end)
{
    bool aborted = abort_or_drop(producer);
    if (client_fenced(producer)) {
        return end_of_fatal(producer, batch, commit_tried, end);
    }
    /* A broker that answers a commit with an error unknown to librdkafka may have done it; then
     * it refuses the abort. */
    if (!aborted && commit_tried) {
        return resolve(producer, batch, end);
    }
    *end = end_of_abort(producer, refused);
    if (producer->delivery != RD_KAFKA_RESP_ERR_NO_ERROR) {
        client_drop(producer); /* it would abort the next one for the gap in its sequence */
    }
    return true;
}

static bool transact(struct producer *producer, const struct transaction_batch *batch,
                     struct transaction_end *end)
{
    bool refused = false, commit_tried = false;
    enum step step = begin(producer);
    if (step == STEP_OK) {
        step = send_offsets(producer, batch, &refused);
    }
    if (step == STEP_OK) {
        step = produce_all(producer, batch);
    }
    if (step == STEP_OK) {
        step = deliver_all(producer);
    }
    if (step == STEP_OK) {
        commit_tried = producer->owner->may_commit(producer->context);
        step = commit_tried ? commit(producer) : STEP_STOP;
    }
    switch (step) {
    case STEP_OK:
        last_error_clear(&producer->last_error);
        producer->open_us = 0;
        *end = end_of(producer, TRANSACTION_COMMITTED);
        return true;
    case STEP_ABORT:
        return end_of_failure(producer, batch, commit_tried, refused, end);
    case STEP_FATAL:
        return end_of_fatal(producer, batch, commit_tried, end);
    case STEP_STOP:
        if (!commit_tried) {
            (void)abort_or_drop(producer);
        }
        break;
    }
    return false;
}

bool producer_publish(struct producer *producer, const struct transaction_batch *batch,
                      struct transaction_end *end)
{
    if (!producer_acquire(producer) || !leaders_refresh(producer)) {
        bool stop = stopping(producer);
        *end = end_of(producer, producer->fenced ? TRANSACTION_FENCED : TRANSACTION_ABORTED);
        return !stop;
    }
    if (!read_begin(producer)) {
        return false;
    }
    request_max_expire(producer);
    size_t refused = partitions_choose(producer, batch);
    read_end(producer);
    bool known = refused > 0 || transact(producer, batch, end);
    if (refused > 0) {
        *end = end_of_refusals(producer);
    }
    if (!known || end->verdict != TRANSACTION_COMMITTED) {
        producer->leaders_us = 0;
    }
    if (known && read_begin(producer)) {
        tell(producer, batch);
        read_end(producer);
    }
    return known;
}

bool producer_resolve(struct producer *producer, const struct transaction_batch *batch,
                      struct transaction_end *end)
{
    last_error_set(&producer->last_error, "the clients were made anew during a commit");
    return resolve(producer, batch, end);
}

/* What the answer to the probe's offsets says. The group answers after the transaction's
 * coordinator has taken the request of this very producer; a step that was repeated to the end
 * of its time has had no answer. */
static enum producer_id_holder id_holder_of(struct producer *producer, enum step step, bool refused)
{
    if (client_fenced(producer)) {
        return fence_may_be_ours(producer) ? ID_HOLDER_US_TIMED_OUT : ID_HOLDER_OTHER;
    }
    bool answered = step == STEP_ABORT && since_ms(producer->begun_us) <= RETRY_TIMEOUT_MS;
    return step == STEP_OK || refused || answered ? ID_HOLDER_US : ID_HOLDER_UNKNOWN;
}

/* Begins a transaction and sends one position, whose metadata is that many bytes. It is to be
 * aborted. */
static enum step try_position(struct producer *producer,
                              const struct group_metadata *group_metadata, int32_t partition,
                              int64_t offset, size_t metadata_bytes, bool *refused)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *entry =
        rd_kafka_topic_partition_list_add(list, producer->requests_topic, partition);
    entry->offset = offset;
    if (metadata_bytes > 0) {
        entry->metadata = mem_alloc(metadata_bytes);
        entry->metadata_size = metadata_bytes;
        memset(entry->metadata, '.', metadata_bytes);
    }
    enum step step = begin(producer);
    if (step == STEP_OK) {
        step = send_list(producer, list, group_metadata, refused);
    }
    rd_kafka_topic_partition_list_destroy(list);
    return step;
}

enum producer_id_holder producer_find_id_holder(struct producer *producer,
                                                const struct group_metadata *group_metadata)
{
    bool refused = false;
    if (!producer->acquired) {
        return ID_HOLDER_NONE;
    }
    enum step step = try_position(producer, group_metadata, 0, 0, 0, &refused);
    enum producer_id_holder holder = id_holder_of(producer, step, refused);
    if (step == STEP_FATAL) {
        client_drop(producer);
    } else {
        (void)abort_or_drop(producer);
    }
    return holder;
}

int64_t producer_measure_metadata(struct producer *producer,
                                  const struct group_metadata *group_metadata, int32_t partition,
                                  int64_t offset)
{
    /* Some brokers take 1024. */
    const size_t sizes[] = {producer->metadata_bytes, 1024, TRANSACTION_METADATA_MIN};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        bool refused = false;
        if (!producer->acquired || stopping(producer)) {
            return TRANSACTION_METADATA_UNKNOWN;
        }
        enum step step =
            try_position(producer, group_metadata, partition, offset, sizes[i], &refused);
        bool too_large =
            step == STEP_ABORT && producer->failure == RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE;
        if (step != STEP_FATAL) { /* else the next batch meets it, and judges it */
            (void)abort_or_drop(producer);
        }
        if (step == STEP_OK) {
            last_error_clear(&producer->last_error);
            return (int64_t)sizes[i];
        }
        if (!too_large) {
            return TRANSACTION_METADATA_UNKNOWN;
        }
    }
    return 0;
}
