/* One transaction: begin, records (deliver.c), offsets, the records' reports, commit. docs/kafka.md
 * lists what follows each error.
 *
 * The records are queued first. librdkafka adds their partitions to the transaction a millisecond
 * later and then sends them, while this thread waits for the two requests of the offsets. So an
 * outcome may be written before a stale membership is rejected; the abort hides it.
 *
 * A transaction begins only when the markers of the previous one are probably written
 * (producer_await_stable()): after CONCURRENT_TRANSACTIONS librdkafka repeats the request for the
 * partitions only 20 ms later.
 */
#include "kafka/producer_parts.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/kafka/producer.h"

#include <string.h>

enum {
    /* Longer than the consumer needs to learn that it is fenced, which is a heartbeat's round. */
    FENCED_GRACE_MS = 4000,
};

/* --- Steps --- */

enum producer_step transact_step_of(struct producer *producer, const char *doing,
                                    rd_kafka_error_t *error)
{
    bool abortable = rd_kafka_error_txn_requires_abort(error) != 0;
    producer->transaction_error = rd_kafka_error_code(error);
    last_error_set_error(&producer->last_error, doing, error);
    /* An error that is neither abortable nor fatal is a call in the wrong state. A client that
     * gets there cannot be trusted. */
    return abortable ? STEP_ABORT : STEP_FATAL;
}

bool transact_failed(struct producer *producer)
{
    rd_kafka_error_t *error = rd_kafka_begin_transaction(producer->client);
    bool failed = error != NULL && (rd_kafka_error_txn_requires_abort(error) != 0 ||
                                    rd_kafka_error_is_fatal(error) != 0);
    if (failed) {
        (void)transact_step_of(producer, "sending outcomes", error);
    } else {
        rd_kafka_error_destroy(error);
    }
    return failed;
}

static enum producer_step begin(struct producer *producer)
{
    producer->delivery_error = producer->transaction_error = RD_KAFKA_RESP_ERR_NO_ERROR;
    producer->begun_us = clock_mono_us();
    producer->open_us = producer->open_us == 0 ? producer->begun_us : producer->open_us;
    rd_kafka_error_t *error = rd_kafka_begin_transaction(producer->client);
    return error == NULL ? STEP_OK : transact_step_of(producer, "beginning a transaction", error);
}

/* producer_await_stable() then waits for the end of this transaction, a commit or an abort. */
static void positions_keep(struct producer *producer, const rd_kafka_topic_partition_list_t *list)
{
    if (producer->sent != NULL) {
        rd_kafka_topic_partition_list_destroy(producer->sent);
    }
    producer->sent = rd_kafka_topic_partition_list_copy(list);
    producer->positions_unstable = list->cnt > 0;
}

static enum producer_step send_list(struct producer *producer,
                                    const rd_kafka_topic_partition_list_t *list,
                                    const struct group_metadata *group_metadata, bool *stale)
{
    bool unsure = false; /* an answer may be lost: the coordinator may have the positions */
    for (;;) {
        rd_kafka_error_t *error = rd_kafka_send_offsets_to_transaction(
            producer->client, list, group_metadata->group, RETRY_TIMEOUT_MS / 3);
        if (error == NULL) {
            positions_keep(producer, list);
            /* The call may have taken so long that another thread has the batch by now. */
            return producer_stopping(producer) ? STEP_STOP : STEP_OK;
        }
        bool retriable = rd_kafka_error_is_retriable(error) != 0;
        /* A record failed first. Its error ends this call, and perhaps a repetition that the
         * library made by itself. */
        bool preceded = rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR__STATE;
        unsure = unsure || retriable || preceded;
        *stale = transaction_stale(rd_kafka_error_code(error));
        if (!retriable || since_ms(producer->begun_us) > RETRY_TIMEOUT_MS) {
            if (unsure) {
                positions_keep(producer, list);
            }
            enum producer_step step = transact_step_of(producer, "sending offsets", error);
            if (preceded) {
                (void)transact_failed(producer);
            }
            return retriable ? STEP_ABORT : step;
        }
        last_error_set_error(&producer->last_error, "sending offsets", error);
        if (producer->owner->pause(producer->context, RETRY_PAUSE_MS)) {
            return STEP_STOP;
        }
    }
}

static enum producer_step send_offsets(struct producer *producer,
                                       const struct transaction_batch *batch, bool *stale)
{
    if (!batch_read_begin(producer)) {
        return STEP_STOP;
    }
    rd_kafka_topic_partition_list_t *list = transaction_positions(producer->requests_topic, batch);
    struct group_metadata *group_metadata = group_metadata_ref(batch->group_metadata);
    batch_read_end(producer);
    enum producer_step step = send_list(producer, list, group_metadata, stale);
    rd_kafka_topic_partition_list_destroy(list);
    group_metadata_unref(group_metadata);
    return step;
}

enum producer_step transact_try_position(struct producer *producer,
                                         const struct group_metadata *group_metadata,
                                         int32_t partition, int64_t offset, size_t metadata_bytes,
                                         bool *stale)
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
    enum producer_step step = begin(producer);
    if (step == STEP_OK) {
        step = send_list(producer, list, group_metadata, stale);
    }
    rd_kafka_topic_partition_list_destroy(list);
    return step;
}

/* --- The end --- */

static enum producer_step commit(struct producer *producer)
{
    int64_t begun_us = clock_mono_us();
    for (;;) {
        rd_kafka_error_t *error = rd_kafka_commit_transaction(producer->client, SLICE_MS);
        if (error == NULL) {
            return STEP_OK;
        }
        if (!rd_kafka_error_is_retriable(error)) {
            return transact_step_of(producer, "committing", error);
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

bool transact_abort(struct producer *producer)
{
    int64_t begun_us = clock_mono_us();
    struct last_error cause = producer->last_error;
    rd_kafka_error_t *error;
    while ((error = rd_kafka_abort_transaction(producer->client, SLICE_MS)) != NULL) {
        bool retriable = rd_kafka_error_is_retriable(error) != 0;
        last_error_set_error(&producer->last_error, "aborting", error);
        /* The abort may be the first to report the fence. Another client would fence the process
         * that has our name now. */
        if (producer_client_fenced(producer)) {
            return false;
        }
        if (!retriable || since_ms(begun_us) > RETRY_TIMEOUT_MS ||
            producer->owner->pause(producer->context, RETRY_PAUSE_MS)) {
            log_warning("kafka producer: %s; the client is replaced", producer->last_error.text);
            producer_client_drop(producer);
            break;
        }
    }
    producer->last_error = cause;
    producer->open_us = error == NULL ? 0 : producer->open_us;
    producer->ended_us = clock_mono_us();
    return error == NULL;
}

struct transaction_end transact_end_of(struct producer *producer, enum transaction_verdict verdict)
{
    return (struct transaction_end){
        .verdict = verdict,
        .last_error = verdict == TRANSACTION_COMMITTED ? NULL : producer->last_error.text,
    };
}

static size_t refusals_count(const struct producer *producer)
{
    size_t refused = 0;
    for (size_t i = 0; i < producer->record_count; i++) {
        refused += producer->states[i].refusal != REFUSAL_NONE;
    }
    return refused;
}

struct transaction_end transact_end_of_refusals(struct producer *producer)
{
    struct transaction_end end = transact_end_of(producer, TRANSACTION_RECORDS_REFUSED);
    for (unsigned topic = 0; topic < producer->topic_count; topic++) {
        deliver_request_max_learn(producer, topic);
    }
    end.refused = refusals_count(producer);
    return end;
}

/* Marks the records of the topic that the transaction's error is about: the one that the library's
 * text names, or the only one. False when the topic is not known. */
static bool topic_refusals_mark(struct producer *producer)
{
    bool used[TRANSACTION_TOPICS_MAX] = {false}, named[TRANSACTION_TOPICS_MAX] = {false};
    size_t named_count = 0, used_count = 0;
    for (size_t i = 0; i < producer->record_count; i++) {
        used[producer->states[i].topic] = true;
    }
    for (size_t i = 0; i < producer->topic_count; i++) {
        AUTO_FREE char *quoted = mem_printf("\"%s\"", producer->topic_names[i]);
        named[i] = used[i] && strstr(producer->last_error.text, quoted) != NULL;
        named_count += named[i];
        used_count += used[i];
    }
    if (named_count != 1 && used_count != 1) {
        return false;
    }
    for (size_t i = 0; i < producer->record_count; i++) {
        if (named_count != 1 || named[producer->states[i].topic]) {
            producer->states[i].refusal = refusal_of_code(producer->transaction_error);
        }
    }
    return true;
}

struct transaction_end transact_end_of_error(struct producer *producer)
{
    rd_kafka_resp_err_t delivery = producer->delivery_error, error = producer->transaction_error;
    if (delivery != RD_KAFKA_RESP_ERR_NO_ERROR) {
        last_error_set(&producer->last_error, "delivering: %s (%s)", rd_kafka_err2str(delivery),
                       rd_kafka_err2name(delivery));
    }
    bool topic_error = refusal_row(refusal_of_code(error))->scope == REFUSAL_OF_TOPIC &&
                       refusals_count(producer) == 0;
    bool topic_known = !topic_error || topic_refusals_mark(producer);
    if (refusals_count(producer) > 0) {
        return transact_end_of_refusals(producer);
    }
    struct transaction_end end = transact_end_of(producer, TRANSACTION_ABORTED);
    end.topic_unknown = !topic_known;
    end.metadata_too_large = error == RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE;
    return end;
}

static bool end_of_fatal(struct producer *producer, const struct transaction_batch *batch,
                         bool commit_tried, struct transaction_end *end)
{
    if (producer_client_fenced(producer)) {
        if (!producer_fence_may_be_ours(producer)) {
            *end = transact_end_of(producer, TRANSACTION_FENCED);
            return true;
        }
        /* If another process has our name after all, our next client fences it, and that process
         * ends. If both processes are in this state, the fences of their consumers end one of
         * them (renewal.h). */
        if (producer->owner->pause(producer->context, FENCED_GRACE_MS)) {
            return false;
        }
    }
    if (commit_tried) {
        return read_back_resolve(producer, batch, end);
    }
    producer_client_drop(producer);
    *end = transact_end_of(producer, TRANSACTION_ABORTED);
    return true;
}

static bool end_of_failure(struct producer *producer, const struct transaction_batch *batch,
                           bool commit_tried, bool stale, struct transaction_end *end)
{
    bool aborted = transact_abort(producer);
    if (producer_client_fenced(producer)) {
        return end_of_fatal(producer, batch, commit_tried, end);
    }
    /* A broker may have committed and answered with an error that librdkafka does not know. Then
     * it rejects the abort. */
    if (!aborted && commit_tried) {
        return read_back_resolve(producer, batch, end);
    }
    *end = stale ? transact_end_of(producer, TRANSACTION_STALE) : transact_end_of_error(producer);
    if (producer->delivery_error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        producer_client_drop(producer); /* the gap in its sequence aborts its next transaction */
    }
    return true;
}

bool transact_run(struct producer *producer, const struct transaction_batch *batch,
                  struct transaction_end *end)
{
    bool stale = false, commit_tried = false;
    if (!producer_await_stable(producer)) {
        *end = transact_end_of(producer, TRANSACTION_ABORTED);
        return !producer_stopping(producer);
    }
    enum producer_step step = begin(producer);
    step = step == STEP_OK ? deliver_begin(producer, batch) : step;
    step = step == STEP_OK ? send_offsets(producer, batch, &stale) : step;
    step = step == STEP_OK ? deliver_end(producer) : step;
    if (step == STEP_OK) {
        commit_tried = producer->owner->may_commit(producer->context);
        step = commit_tried ? commit(producer) : STEP_STOP;
    }
    switch (step) {
    case STEP_OK:
        last_error_clear(&producer->last_error);
        producer->open_us = 0;
        producer->ended_us = clock_mono_us();
        *end = transact_end_of(producer, TRANSACTION_COMMITTED);
        return true;
    case STEP_ABORT:
        return end_of_failure(producer, batch, commit_tried, stale, end);
    case STEP_FATAL:
        return end_of_fatal(producer, batch, commit_tried, end);
    case STEP_STOP:
        if (!commit_tried) {
            (void)transact_abort(producer);
        }
        break;
    }
    return false;
}
