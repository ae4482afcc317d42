/* The records of a batch and their delivery reports, in a transaction or without one.
 *
 * Without a transaction (delivery = at_least_once), an acknowledged record is visible. It is
 * marked, and never produced again. So a record that is refused must not hold up the others'
 * reports: all reports are awaited. What is still queued at the end is taken back from the library,
 * and what is in flight gets a little time for its acknowledgement. After that it may be visible or
 * not, and is produced again with the next batch.
 */
#include "kafka/producer_parts.h"
#include "presignd/base/mem.h"

#include <string.h>

enum {
    /* One wait for delivery reports. */
    DELIVERY_SLICE_MS = 100,
    /* A partition without a report for so long, while others have theirs, does not answer. */
    SILENT_MS = 5000,
    /* How long records in flight may still be acknowledged after a batch has failed. */
    WITHDRAW_MS = 5000,
    /* How long a learned maximum size of requests is kept. */
    REQUEST_MAX_AGE_MS = 600000,
};

static rd_kafka_error_t *produce_one(struct producer *producer,
                                     const struct transaction_record *record, size_t index)
{
    rd_kafka_headers_t *headers = client_headers(record->headers, record->header_count);
    /* The library copies key and value, but takes them as `void *`. */
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

static bool untransacted(const struct producer *producer)
{
    return producer->delivery == DELIVERY_AT_LEAST_ONCE;
}

/* The library itself rejected the record: it is over message.max.bytes, or its partition is gone.
 * Destroys the error. */
static enum producer_step produce_failed(struct producer *producer, size_t index,
                                         rd_kafka_error_t *error)
{
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    bool fatal = rd_kafka_error_is_fatal(error) != 0 || code == RD_KAFKA_RESP_ERR__FATAL;
    producer->states[index].refusal = refusal_of_code(code);
    last_error_set_error(&producer->last_error, "producing", error);
    if (code == RD_KAFKA_RESP_ERR__STATE && !untransacted(producer)) {
        (void)transact_failed(producer); /* the partitions of earlier records were not added */
    }
    return fatal ? STEP_FATAL : STEP_ABORT;
}

/* True when the record makes a request larger than its topic accepts. The caller then waits for
 * the records before it. */
static bool request_full(struct producer *producer, size_t index, size_t *pending)
{
    const struct record_state *state = &producer->states[index];
    size_t max = producer->request_max[state->topic];
    bool full = max > 0 && pending[state->topic] > 0 && pending[state->topic] + state->size > max;
    if (full) {
        memset(pending, 0, producer->topic_count * sizeof *pending);
    }
    pending[state->topic] += state->size;
    return full;
}

/* When a topic refused several records of one partition for their size, a request may be half as
 * large from now on. A record that was refused alone is too large itself. */
void deliver_request_max_learn(struct producer *producer, unsigned topic)
{
    size_t count = 0, bytes = 0;
    int32_t partition = -1;
    for (size_t i = 0; i < producer->record_count; i++) {
        const struct record_state *state = &producer->states[i];
        int32_t own = producer->record_metadata[i].partition;
        if (state->refusal == REFUSAL_SIZE && state->topic == topic &&
            (partition < 0 || own == partition)) {
            partition = own;
            count++;
            bytes += state->size;
        }
    }
    if (count > 1) {
        producer->request_max[topic] = bytes / 2;
        producer->request_max_us = clock_mono_us();
    }
}

void deliver_request_max_expire(struct producer *producer)
{
    if (since_ms(producer->request_max_us) > REQUEST_MAX_AGE_MS) {
        memset(producer->request_max, 0, sizeof producer->request_max);
    }
}

/* True when no further report is awaited: the transaction has failed. */
static bool failed(const struct producer *producer)
{
    return producer->delivery_error != RD_KAFKA_RESP_ERR_NO_ERROR && !untransacted(producer);
}

static bool delivering(const struct producer *producer)
{
    return rd_kafka_outq_len(producer->client) > 0 && !failed(producer);
}

/* rd_kafka_flush() also waits for reports, but wakes every thread of the library so that no record
 * waits for linger.ms. linger.ms is 0, so rd_kafka_poll() is enough. */
static void reports_wait(struct producer *producer)
{
    int64_t begun_us = clock_mono_us(), left_ms = DELIVERY_SLICE_MS;
    while (delivering(producer) && left_ms > 0) {
        (void)rd_kafka_poll(producer->client, (int)left_ms);
        left_ms = DELIVERY_SLICE_MS - since_ms(begun_us);
    }
}

/* Waits until no record is queued or in flight. */
static enum producer_step drain(struct producer *producer)
{
    int64_t begun_us = clock_mono_us();
    while (delivering(producer) &&
           since_ms(begun_us) <= SILENT_MS) { /* deliver_end() finds out why */
        if (producer_stopping(producer)) {
            return STEP_STOP;
        }
        reports_wait(producer);
    }
    return STEP_OK;
}

/* Queues one record, under the owner's lock. `*error` is NULL when it is queued. */
static enum producer_step produce_locked(struct producer *producer,
                                         const struct transaction_batch *batch, size_t index,
                                         rd_kafka_error_t **error)
{
    if (!batch_read_begin(producer)) {
        return STEP_STOP;
    }
    *error = produce_one(producer, &batch->records[index], index);
    batch_read_end(producer);
    return STEP_OK;
}

enum producer_step deliver_begin(struct producer *producer, const struct transaction_batch *batch)
{
    size_t pending[TRANSACTION_TOPICS_MAX] = {0};
    for (size_t i = 0; i < producer->record_count && !failed(producer);) {
        rd_kafka_error_t *error = NULL;
        if (producer->states[i].delivered) {
            i++;
            continue;
        }
        if ((request_full(producer, i, pending) && drain(producer) == STEP_STOP) ||
            produce_locked(producer, batch, i, &error) == STEP_STOP) {
            return STEP_STOP;
        }
        if (error == NULL) {
            i++;
            continue;
        }
        if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            enum producer_step step = produce_failed(producer, i, error);
            if (step == STEP_ABORT && untransacted(producer)) {
                i++;
                continue;
            }
            return step;
        }
        rd_kafka_error_destroy(error);
        if (producer_stopping(producer)) {
            return STEP_STOP;
        }
        (void)rd_kafka_poll(producer->client, RETRY_PAUSE_MS);
    }
    return failed(producer) ? STEP_ABORT : STEP_OK;
}

static bool client_failed(struct producer *producer)
{
    char text[256];
    rd_kafka_resp_err_t error = rd_kafka_fatal_error(producer->client, text, sizeof text);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        last_error_set(&producer->last_error, "sending outcomes: %s (%s)", text,
                       rd_kafka_err2name(error));
    }
    return error != RD_KAFKA_RESP_ERR_NO_ERROR;
}

static bool sending_failed(struct producer *producer)
{
    return untransacted(producer) ? client_failed(producer) : transact_failed(producer);
}

/* What keeps a record's partition from accepting it; REFUSAL_NONE: nothing is known. */
static enum refusal partition_refusal(const struct producer *producer, size_t index)
{
    const struct topic_leaders *leaders = &producer->leaders[producer->states[index].topic];
    int32_t partition = producer->record_metadata[index].partition;
    return leaders->count == 0           ? leaders->refusal
           : partition >= leaders->count ? REFUSAL_NO_LEADER
                                         : leaders->partitions[partition];
}

/* Marks the records whose partition has lost its leader. `silent`: marks all others too, when part
 * of the batch was delivered. Returns how many. */
static size_t undelivered_mark(struct producer *producer, bool silent)
{
    size_t refused = 0, delivered = 0;
    for (size_t i = 0; i < producer->record_count; i++) {
        delivered += producer->states[i].delivered;
    }
    for (size_t i = 0; i < producer->record_count; i++) {
        struct record_state *state = &producer->states[i];
        /* Without a transaction, some may be refused while others are awaited. */
        if (state->delivered || state->refusal != REFUSAL_NONE) {
            continue;
        }
        state->refusal = partition_refusal(producer, i);
        if (state->refusal == REFUSAL_NONE && silent && delivered > 0) {
            state->refusal = REFUSAL_SILENT;
        }
        if (state->refusal != REFUSAL_NONE && refused++ == 0) {
            producer_record_error(producer, i);
        }
    }
    return refused;
}

static bool all_acknowledged(const struct producer *producer)
{
    size_t i = 0;
    while (i < producer->record_count && producer->states[i].delivered) {
        i++;
    }
    return i == producer->record_count;
}

/* Waits for all delivery reports before the commit. So, in a transaction, refusals are known while
 * nothing can be visible yet. */
enum producer_step deliver_end(struct producer *producer)
{
    int64_t begun_us = clock_mono_us();
    while (delivering(producer)) {
        if (producer_stopping(producer)) {
            return STEP_STOP;
        }
        reports_wait(producer);
        if (!delivering(producer)) {
            break;
        }
        if (sending_failed(producer)) {
            return STEP_ABORT;
        }
        bool silent = since_ms(begun_us) > SILENT_MS;
        if (since_ms(producer->leaders_us) < LEADERS_AGE_MS && !silent) {
            continue;
        }
        if (producer_leaders_fetch(producer) && undelivered_mark(producer, silent) > 0) {
            return STEP_ABORT;
        }
        if (since_ms(begun_us) > RETRY_TIMEOUT_MS) {
            last_error_set(&producer->last_error, "no answer to the records within %d s",
                           RETRY_TIMEOUT_MS / 1000);
            return STEP_ABORT;
        }
    }
    /* The library purges all records when it cannot add a partition to the transaction. */
    bool lacks =
        !all_acknowledged(producer) && (untransacted(producer) || transact_failed(producer));
    return failed(producer) || lacks ? STEP_ABORT : STEP_OK;
}

/* --- Without a transaction --- */

/* After this, no report of the batch is outstanding and the client sends none of its records any
 * more. What was in flight and not acknowledged may be visible. The client may have a gap in its
 * sequence, so another one follows. */
static void withdraw(struct producer *producer)
{
    int64_t begun_us = clock_mono_us();
    (void)rd_kafka_purge(producer->client, RD_KAFKA_PURGE_F_QUEUE);
    while (rd_kafka_outq_len(producer->client) > 0 && since_ms(begun_us) <= WITHDRAW_MS &&
           !producer_stopping(producer)) {
        reports_wait(producer);
    }
    producer_client_drop(producer);
}

static bool same_partition(const struct producer *producer, size_t a, size_t b)
{
    return producer->states[a].topic == producer->states[b].topic &&
           producer->record_metadata[a].partition == producer->record_metadata[b].partition;
}

/* Several partitions are silent and no record is acknowledged: the brokers are away. Then no
 * partition is to blame, and the whole batch is tried again. */
static void outage_unmark(struct producer *producer)
{
    size_t silent = 0, others = 0, first = 0;
    for (size_t i = 0; i < producer->record_count; i++) {
        const struct record_state *state = &producer->states[i];
        if (state->delivered) {
            return;
        }
        if (state->refusal == REFUSAL_SILENT) {
            first = silent++ == 0 ? i : first;
            others += !same_partition(producer, i, first);
        }
    }
    for (size_t i = 0; others > 0 && i < producer->record_count; i++) {
        if (producer->states[i].refusal == REFUSAL_SILENT) {
            producer->states[i].refusal = REFUSAL_NONE;
        }
    }
}

bool deliver_run(struct producer *producer, const struct transaction_batch *batch,
                 struct transaction_end *end)
{
    producer->delivery_error = producer->transaction_error = RD_KAFKA_RESP_ERR_NO_ERROR;
    producer->begun_us = clock_mono_us();
    enum producer_step step = deliver_begin(producer, batch);
    step = step == STEP_OK ? deliver_end(producer) : step;
    if (step == STEP_OK) {
        last_error_clear(&producer->last_error);
        *end = transact_end_of(producer, TRANSACTION_COMMITTED);
        return true;
    }
    withdraw(producer);
    if (step != STEP_STOP) {
        outage_unmark(producer);
        *end = transact_end_of_error(producer);
    }
    return step != STEP_STOP;
}
