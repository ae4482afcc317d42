/* The client and its transactional.id, the leaders of the topics, and what is asked of a producer.
 */
#include "presignd/kafka/producer.h"

#include "kafka/producer_parts.h"
#include "presignd/base/mem.h"
#include "presignd/base/random.h"
#include "presignd/base/text.h"
#include "presignd/kafka/brokers.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    /* One producer_acquire(); the owner calls it again. */
    ACQUIRE_MS = 3000,
    /* The first call of it. While the coordinator aborts what an earlier process left open, the
     * library repeats the request after 500 ms; another call repeats it at once. */
    ACQUIRE_SLICE_MS = 20,
    /* Acquiring takes milliseconds. When it took longer than this, an earlier request for the
     * transactional.id may wait in a connection that was given up. */
    ACQUIRE_SLOW_MS = 5000,
    LATE_FENCE_MS = 600000,
    FENCED_MARGIN_MS = 500,
    METADATA_MS = 2000,
};

static _Atomic int64_t late_fence_until_us; /* see producer_expect_late_fence() */

/* --- The client --- */

static void on_delivery(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    struct producer *producer = opaque;
    struct record_state *state = message->_private;
    size_t index = (size_t)(state - producer->states);
    (void)client;
    switch (message->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        state->delivered = true;
        state->refusal = REFUSAL_NONE; /* it was silent until now */
        producer->record_metadata[index] =
            (struct record_metadata){message->partition, message->offset};
        return;
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE: /* another error purged it, or we did */
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
        return;
    default:
        state->refusal = refusal_of_code(message->err);
        if (producer->delivery_error == RD_KAFKA_RESP_ERR_NO_ERROR) {
            producer->delivery_error = message->err;
        }
    }
}

static void on_error(rd_kafka_t *client, int error, const char *reason, void *opaque)
{
    struct producer *producer = opaque;
    (void)client;
    if (error != RD_KAFKA_RESP_ERR__FATAL) { /* the calls return fatal errors, too */
        client_error_note(KAFKA_PRODUCER);
        last_error_set(&producer->last_error, "%s (%s)", reason,
                       rd_kafka_err2name((rd_kafka_resp_err_t)error));
    }
}

static int on_statistics(rd_kafka_t *client, char *json, size_t len, void *opaque)
{
    struct producer *producer = opaque;
    struct client_brokers brokers;
    (void)client;
    brokers_read(&brokers, json, len);
    if (producer->owner->brokers != NULL) {
        producer->owner->brokers(producer->context, &brokers);
    }
    return 0; /* the library frees the text */
}

void producer_poll(struct producer *producer)
{
    if (producer->client != NULL) {
        (void)rd_kafka_poll(producer->client, 0);
    }
}

void producer_client_drop(struct producer *producer)
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
    producer->requested_us = producer->leaders_us = 0;
}

bool producer_client_fenced(const struct producer *producer)
{
    return producer->client != NULL &&
           rd_kafka_fatal_error(producer->client, NULL, 0) == RD_KAFKA_RESP_ERR__FENCED;
}

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
    const char *transactional_id =
        config->delivery == DELIVERY_EXACTLY_ONCE ? config->instance : NULL;
    producer->conf = kafka_properties_apply(KAFKA_PRODUCER, transactional_id, config->properties,
                                            config->property_count, &error);
    if (producer->conf == NULL) {
        return error;
    }
    rd_kafka_conf_set_dr_msg_cb(producer->conf, on_delivery);
    rd_kafka_conf_set_error_cb(producer->conf, on_error);
    client_statistics(producer->conf, on_statistics);
    producer->reader_conf = kafka_properties_apply(
        KAFKA_CONSUMER, config->instance, config->properties, config->property_count, &error);
    if (producer->reader_conf == NULL) {
        return error;
    }
    /* Right after a commit the answer is UNSTABLE_OFFSET_COMMIT for some milliseconds, and the next
     * transaction waits for it. */
    (void)rd_kafka_conf_set(producer->reader_conf, "retry.backoff.ms", "2", NULL, 0);
    return properties_read(producer);
}

/* `topics` ends with NULL. */
static struct producer *producer_alloc(const struct producer_owner *owner, void *context,
                                       enum delivery delivery, const char *requests_topic,
                                       const char *const *topics, size_t metadata_bytes)
{
    struct producer *producer = mem_zalloc(1, sizeof *producer);
    producer->owner = owner;
    producer->context = context;
    producer->requests_topic = mem_strdup(requests_topic);
    producer->delivery = delivery;
    producer->metadata_bytes = metadata_bytes;
    for (size_t i = 0; i < TRANSACTION_TOPICS_MAX && topics[i] != NULL; i++) {
        producer->topic_names[producer->topic_count++] = mem_strdup(topics[i]);
    }
    return producer;
}

struct producer *producer_new(const struct producer_config *config,
                              const struct producer_owner *owner, void *context, char **error)
{
    struct producer *producer =
        producer_alloc(owner, context, config->delivery, config->requests_topic, config->topics,
                       config->metadata_bytes);
    *error = confs_make(producer, config);
    return *error == NULL ? producer : producer_free(producer);
}

struct producer *producer_clone(const struct producer *producer, void *context)
{
    struct producer *clone =
        producer_alloc(producer->owner, context, producer->delivery, producer->requests_topic,
                       (const char *const *)producer->topic_names, producer->metadata_bytes);
    clone->conf = rd_kafka_conf_dup(producer->conf);
    clone->reader_conf = rd_kafka_conf_dup(producer->reader_conf);
    clone->partitioner = producer->partitioner;
    clone->transaction_timeout_ms = producer->transaction_timeout_ms;
    return clone;
}

struct producer *producer_free(struct producer *producer)
{
    if (producer == NULL) {
        return NULL;
    }
    producer_client_drop(producer);
    read_back_drop(producer);
    if (producer->sent != NULL) {
        rd_kafka_topic_partition_list_destroy(producer->sent);
    }
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

void producer_set_group(struct producer *producer, const char *group_id)
{
    read_back_drop(producer);
    producer->positions_unstable = false;
    (void)rd_kafka_conf_set(producer->reader_conf, "group.id", group_id, NULL, 0);
}

const char *producer_last_error(const struct producer *producer)
{
    return producer->last_error.text;
}

/* --- The transactional.id --- */

enum producer_id_state producer_id_state(const struct producer *producer)
{
    return producer->acquired    ? PRODUCER_ID_HELD
           : producer->id_denied ? PRODUCER_ID_DENIED
                                 : PRODUCER_ID_WAITING;
}

void producer_expect_late_fence(void)
{
    atomic_store(&late_fence_until_us, clock_mono_us() + LATE_FENCE_MS * INT64_C(1000));
}

/* After transaction.timeout.ms the coordinator aborts our transaction, and the error is the same
 * as when another process fences us. That happens to a process that was stopped or starved. The
 * time of the last success tells the two apart, since a later transaction may meet the error. */
static bool fenced_by_timeout(const struct producer *producer)
{
    return producer->open_us != 0 &&
           since_ms(producer->open_us) + FENCED_MARGIN_MS >= producer->transaction_timeout_ms;
}

bool producer_fence_may_be_ours(const struct producer *producer)
{
    return fenced_by_timeout(producer) || clock_mono_us() < atomic_load(&late_fence_until_us);
}

bool producer_open(struct producer *producer, char **error)
{
    if (producer->client == NULL) {
        producer->client =
            client_new(RD_KAFKA_PRODUCER, rd_kafka_conf_dup(producer->conf), producer, error);
    }
    return producer->client != NULL;
}

static void acquired(struct producer *producer)
{
    if (since_ms(producer->requested_us) > ACQUIRE_SLOW_MS) {
        producer_expect_late_fence();
    }
    producer->acquired = true;
    producer->id_denied = false;
    producer->open_us = 0;
    last_error_clear(&producer->last_error);
}

/* Destroys the error. False when another call is of no use; then the client is dropped. */
static bool acquire_retries(struct producer *producer, rd_kafka_error_t *error)
{
    bool retriable = rd_kafka_error_is_retriable(error) != 0;
    producer->acquire_error = rd_kafka_error_code(error);
    (void)rd_kafka_poll(producer->client, 0); /* error callbacks first: they say less */
    if (!retriable || rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__TIMED_OUT ||
        producer->last_error.text[0] == '\0') {
        last_error_set_error(&producer->last_error, "acquiring the transactional.id", error);
    } else {
        rd_kafka_error_destroy(error);
    }
    if (!retriable) {
        bool overtaken = producer_client_fenced(producer); /* by another request for the id */
        producer->fenced = overtaken && !producer_fence_may_be_ours(producer);
        producer->id_denied = !overtaken;
        producer_client_drop(producer);
    }
    return retriable;
}

bool producer_acquire(struct producer *producer)
{
    int64_t begun_us = clock_mono_us();
    int slice_ms = ACQUIRE_SLICE_MS;
    AUTO_FREE char *error_text = NULL;
    producer->fenced = false;
    if (!producer_open(producer, &error_text)) {
        last_error_set(&producer->last_error, "%s", error_text);
        return false;
    }
    if (producer->delivery == DELIVERY_AT_LEAST_ONCE) {
        producer->acquired = true; /* there is no transactional.id */
        return true;
    }
    producer->requested_us = producer->requested_us == 0 ? begun_us : producer->requested_us;
    while (!producer->acquired && !producer_stopping(producer)) {
        rd_kafka_error_t *error = rd_kafka_init_transactions(producer->client, slice_ms);
        if (error == NULL) {
            acquired(producer);
            break;
        }
        if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS) {
            slice_ms = 2 * slice_ms < SLICE_MS ? 2 * slice_ms : SLICE_MS;
        }
        if (!acquire_retries(producer, error) || since_ms(begun_us) > ACQUIRE_MS) {
            return false;
        }
    }
    return producer->acquired;
}

/* --- Leaders --- */

static bool topic_fetch(struct producer *producer, size_t index)
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

bool producer_leaders_fetch(struct producer *producer)
{
    for (size_t i = 0; i < producer->topic_count; i++) {
        if (!topic_fetch(producer, i)) {
            return false;
        }
    }
    producer->leaders_us = clock_mono_us();
    return true;
}

static bool leaders_refresh(struct producer *producer)
{
    bool fresh = producer->leaders_us != 0 && since_ms(producer->leaders_us) < LEADERS_AGE_MS;
    return fresh || producer_leaders_fetch(producer);
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

void producer_record_error(struct producer *producer, size_t index)
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

/* --- Publishing --- */

/* Returns how many records cannot be sent, as far as known. */
static size_t partitions_choose(struct producer *producer, const struct transaction_batch *batch)
{
    size_t refused = 0;
    assert(batch->record_count <= TRANSACTION_RECORDS_MAX);
    producer->record_count = batch->record_count;
    for (size_t i = 0; i < batch->record_count; i++) {
        const struct transaction_record *record = &batch->records[i];
        struct record_state *state = &producer->states[i];
        assert(record->topic < producer->topic_count);
        *state = (struct record_state){.topic = record->topic,
                                       .size = record->key_len + record->value_len};
        int32_t partition = topic_leaders_choose(
            &producer->leaders[record->topic], producer->partitioner, record->key, record->key_len,
            (uint32_t)random_next(&producer->random), &state->refusal);
        producer->record_metadata[i] = (struct record_metadata){partition, -1};
        state->delivered = batch->delivered != NULL && batch->delivered[i];
        state->refusal = state->delivered ? REFUSAL_NONE : state->refusal;
        if (state->refusal != REFUSAL_NONE && refused++ == 0) {
            producer_record_error(producer, i);
        }
    }
    return refused;
}

static void batch_write(struct producer *producer, const struct transaction_batch *batch)
{
    if (!batch_read_begin(producer)) {
        return;
    }
    for (size_t i = 0; i < producer->record_count; i++) {
        if (batch->record_metadata != NULL) {
            batch->record_metadata[i] = producer->record_metadata[i];
        }
        if (batch->refusals != NULL) {
            batch->refusals[i] = producer->states[i].refusal;
        }
        if (batch->delivered != NULL) {
            batch->delivered[i] =
                producer->delivery == DELIVERY_AT_LEAST_ONCE && producer->states[i].delivered;
        }
    }
    batch_read_end(producer);
}

/* Only the positions are missing, which the owner commits. That needs no producer. */
static bool all_delivered(const struct transaction_batch *batch)
{
    size_t i = 0;
    while (batch->delivered != NULL && i < batch->record_count && batch->delivered[i]) {
        i++;
    }
    return batch->delivered != NULL && i == batch->record_count;
}

static bool run(struct producer *producer, const struct transaction_batch *batch,
                struct transaction_end *end)
{
    return producer->delivery == DELIVERY_AT_LEAST_ONCE ? deliver_run(producer, batch, end)
                                                        : transact_run(producer, batch, end);
}

bool producer_publish(struct producer *producer, const struct transaction_batch *batch,
                      struct transaction_end *end)
{
    if (!batch_read_begin(producer)) {
        return false;
    }
    bool delivered = producer->delivery == DELIVERY_AT_LEAST_ONCE && all_delivered(batch);
    batch_read_end(producer);
    if (delivered) {
        *end = transact_end_of(producer, TRANSACTION_COMMITTED);
        return true;
    }
    if (!producer_acquire(producer) || !leaders_refresh(producer)) {
        bool stop = producer_stopping(producer);
        *end =
            transact_end_of(producer, producer->fenced ? TRANSACTION_FENCED : TRANSACTION_ABORTED);
        return !stop;
    }
    if (!batch_read_begin(producer)) {
        return false;
    }
    deliver_request_max_expire(producer);
    size_t refused = partitions_choose(producer, batch);
    batch_read_end(producer);
    bool known = refused > 0 || run(producer, batch, end);
    if (refused > 0) {
        *end = transact_end_of_refusals(producer);
    }
    if (!known || end->verdict != TRANSACTION_COMMITTED) {
        producer->leaders_us = 0;
    }
    if (known) {
        batch_write(producer, batch);
    }
    return known;
}

bool producer_resolve(struct producer *producer, const struct transaction_batch *batch,
                      struct transaction_end *end)
{
    last_error_set(&producer->last_error, "the producer was replaced during a commit");
    return read_back_resolve(producer, batch, end);
}

/* --- Transactions that are always aborted --- */

/* The group answers after the transaction coordinator has accepted the request of this producer.
 * A call that was repeated until its time-out had no answer. */
static enum producer_id_holder id_holder_of(struct producer *producer, enum producer_step step,
                                            bool stale)
{
    if (producer_client_fenced(producer)) {
        return producer_fence_may_be_ours(producer) ? ID_HOLDER_US_TIMED_OUT : ID_HOLDER_OTHER;
    }
    bool answered = step == STEP_ABORT && since_ms(producer->begun_us) <= RETRY_TIMEOUT_MS;
    return step == STEP_OK || stale || answered ? ID_HOLDER_US : ID_HOLDER_UNKNOWN;
}

enum producer_id_holder producer_find_id_holder(struct producer *producer,
                                                const struct group_metadata *group_metadata)
{
    bool stale = false;
    if (!producer->acquired) {
        return ID_HOLDER_NONE;
    }
    if (!producer_await_stable(producer)) {
        return ID_HOLDER_UNKNOWN;
    }
    enum producer_step step = transact_try_position(producer, group_metadata, 0, 0, 0, &stale);
    enum producer_id_holder holder = id_holder_of(producer, step, stale);
    if (step == STEP_FATAL) {
        producer_client_drop(producer);
    } else {
        (void)transact_abort(producer);
    }
    return holder;
}

int64_t producer_measure_metadata(struct producer *producer,
                                  const struct group_metadata *group_metadata, int32_t partition,
                                  int64_t offset)
{
    const size_t sizes[] = {producer->metadata_bytes, TRANSACTION_METADATA_SOME,
                            TRANSACTION_METADATA_MIN};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        bool stale = false;
        if (!producer->acquired || producer_stopping(producer) ||
            !producer_await_stable(producer)) {
            return TRANSACTION_METADATA_UNKNOWN;
        }
        enum producer_step step =
            transact_try_position(producer, group_metadata, partition, offset, sizes[i], &stale);
        bool too_large = step == STEP_ABORT &&
                         producer->transaction_error == RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE;
        if (step != STEP_FATAL) { /* the next batch handles a fatal error */
            (void)transact_abort(producer);
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
