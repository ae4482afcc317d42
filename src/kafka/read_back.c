#include "kafka/producer_parts.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/kafka/producer.h"

#include <assert.h>
#include <string.h>

enum {
    /* For two to four milliseconds after a commit its positions are pending, and the broker writes
     * its markers. librdkafka repeats a request that comes earlier, after a wait. */
    STABLE_AFTER_MS = 5,
};
static_assert(TRANSACTION_STABLE_MS >= STABLE_AFTER_MS, "the pipeline waits for the pause here");

void read_back_drop(struct producer *producer)
{
    client_destroy_detached(producer->reader);
    producer->reader = NULL;
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

static bool position_equals(const rd_kafka_topic_partition_t *committed,
                            const struct transaction_position *sent)
{
    size_t len = committed->metadata == NULL ? 0 : committed->metadata_size;
    return committed->offset == sent->offset && len == strlen(sent->metadata) &&
           (len == 0 || memcmp(committed->metadata, sent->metadata, len) == 0);
}

static bool positions_equal(const rd_kafka_topic_partition_list_t *committed,
                            const struct producer *producer, const struct transaction_batch *batch)
{
    for (size_t i = 0; i < batch->position_count; i++) {
        const rd_kafka_topic_partition_t *entry = rd_kafka_topic_partition_list_find(
            committed, producer->requests_topic, batch->positions[i].partition);
        if (entry == NULL || !position_equals(entry, &batch->positions[i])) {
            return false;
        }
    }
    return true;
}

/* Without the id the transaction may be open. */
bool producer_unstable(const struct producer *producer)
{
    return producer->positions_unstable && producer->acquired;
}

/* Brokers answer a commit or an abort before their group coordinator has applied or dropped its
 * offsets. Before 4.0 and 3.9.1 the coordinator does this with all pending offsets of the producer,
 * not those of one transaction (KAFKA-17507). If the offsets of the next transaction have arrived
 * by then, a commit applies them too. They stay if that transaction is aborted, and its outcomes
 * would be lost. An abort drops them, and the next owner would publish the outcomes again. While
 * offsets are pending, a read_committed reader gets UNSTABLE_OFFSET_COMMIT, and librdkafka asks
 * again. */
bool producer_await_stable(struct producer *producer)
{
    int64_t begun_us = clock_mono_us(), early_ms = STABLE_AFTER_MS - since_ms(producer->ended_us);
    if (producer_unstable(producer) && early_ms > 0 &&
        producer->owner->pause(producer->context, early_ms)) {
        return false;
    }
    while (producer_unstable(producer)) {
        rd_kafka_t *reader = reader_get(producer);
        rd_kafka_resp_err_t error = reader == NULL
                                        ? RD_KAFKA_RESP_ERR__STATE
                                        : client_committed(reader, producer->sent, SLICE_MS);
        producer->positions_unstable = error != RD_KAFKA_RESP_ERR_NO_ERROR;
        if (!producer->positions_unstable) {
            break;
        }
        if (reader != NULL) {
            last_error_set(&producer->last_error, "reading the committed offsets: %s",
                           rd_kafka_err2str(error));
        }
        if (since_ms(begun_us) > RETRY_TIMEOUT_MS ||
            producer->owner->pause(producer->context, RETRY_PAUSE_MS)) {
            return false;
        }
    }
    return true;
}

/* One attempt. False when the owner takes the batch back. */
static bool positions_compare(struct producer *producer, const struct transaction_batch *batch,
                              rd_kafka_resp_err_t *error, bool *equal)
{
    if (!batch_read_begin(producer)) {
        return false;
    }
    rd_kafka_topic_partition_list_t *list = transaction_positions(producer->requests_topic, batch);
    batch_read_end(producer);
    rd_kafka_t *reader = reader_get(producer);
    *error = reader == NULL ? RD_KAFKA_RESP_ERR__STATE : client_committed(reader, list, SLICE_MS);
    bool readable = batch_read_begin(producer);
    if (readable) {
        *equal = *error == RD_KAFKA_RESP_ERR_NO_ERROR && positions_equal(list, producer, batch);
        batch_read_end(producer);
    }
    rd_kafka_topic_partition_list_destroy(list);
    return readable;
}

/* Other positions than those sent mean that the batch was not committed, or that another member
 * has committed since. In the second case our membership is stale, and a broker rejects the batch
 * when it is published again. */
static bool read_back(struct producer *producer, const struct transaction_batch *batch,
                      struct transaction_end *end)
{
    rd_kafka_resp_err_t error;
    bool equal = false;
    while (positions_compare(producer, batch, &error, &equal)) {
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
            *end = transact_end_of(producer, equal ? TRANSACTION_COMMITTED : TRANSACTION_ABORTED);
            log_notice("kafka producer: the commit %s", equal ? "succeeded" : "did not happen");
            return true;
        }
        if (producer->owner->pause(producer->context, READ_BACK_PAUSE_MS)) {
            break;
        }
    }
    return false;
}

bool read_back_resolve(struct producer *producer, const struct transaction_batch *batch,
                       struct transaction_end *end)
{
    struct last_error cause = producer->last_error;
    log_warning("kafka producer: %s; reading back whether the outcomes were committed", cause.text);
    producer_client_drop(producer);
    while (!producer_acquire(producer)) {
        if (producer->fenced) {
            *end = transact_end_of(producer, TRANSACTION_FENCED);
            return true;
        }
        if (producer->owner->pause(producer->context, READ_BACK_PAUSE_MS)) {
            return false;
        }
    }
    producer->last_error = cause;
    bool known = read_back(producer, batch, end);
    read_back_drop(producer);
    return known;
}
