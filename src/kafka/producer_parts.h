/* The producer's state. producer.c has the client and its transactional.id, deliver.c the
 * records and their reports, transact.c one transaction, read_back.c a commit whose result is
 * unknown, or whose offsets the group's coordinator may not have applied yet.
 */
#ifndef PRESIGND_KAFKA_PRODUCER_PARTS_H
#define PRESIGND_KAFKA_PRODUCER_PARTS_H

#include "kafka/leaders.h"
#include "presignd/base/clock.h"
#include "presignd/kafka/client.h"
#include "presignd/kafka/transaction.h"

#include <librdkafka/rdkafka.h>

enum {
    /* One blocking call. Bounds how late a request to stop is seen. */
    SLICE_MS = 500,
    /* Between repetitions of a call that librdkafka reports as retriable. */
    RETRY_PAUSE_MS = 20,
    /* A call that stays retriable for so long has failed. Before the commit the transaction is
     * aborted. A failed abort or commit leads to a new client. */
    RETRY_TIMEOUT_MS = 15000,
    READ_BACK_PAUSE_MS = 200,
    /* Maximum age of the known leaders when a transaction begins, and how often they are fetched
     * while records are not delivered. */
    LEADERS_AGE_MS = 1000,
};

/* A record of the current batch. */
struct record_state {
    unsigned topic;
    size_t size;
    bool delivered;
    enum refusal refusal;
};

struct producer {
    const struct producer_owner *owner;
    void *context;
    enum delivery delivery;
    /* The producer's thread never changes these; producer_clone() reads them on another one. */
    rd_kafka_conf_t *conf, *reader_conf;
    char *requests_topic, *topic_names[TRANSACTION_TOPICS_MAX];
    size_t topic_count, metadata_bytes;
    enum partitioner partitioner;
    int64_t transaction_timeout_ms;

    rd_kafka_t *client;
    rd_kafka_topic_t *topics[TRANSACTION_TOPICS_MAX];
    rd_kafka_t *reader; /* reads committed offsets; created on first use */
    /* The positions of the last transaction; NULL: none. `positions_unstable`: the group's
     * coordinator may not have applied or dropped them yet. */
    rd_kafka_topic_partition_list_t *sent;
    bool positions_unstable;
    bool acquired, id_denied;          /* the transactional.id */
    rd_kafka_resp_err_t acquire_error; /* of the last attempt */
    bool fenced;                       /* another process has the transactional.id */
    int64_t requested_us;              /* first request of this client for it; 0: none */
    struct topic_leaders leaders[TRANSACTION_TOPICS_MAX];
    int64_t leaders_us; /* when they were fetched; 0: fetch them before the next batch */
    uint64_t random;

    /* A topic's size limit holds for all records of a request to one partition together. The
     * maximum is learned when several are refused for their size; 0: no maximum is known. */
    size_t request_max[TRANSACTION_TOPICS_MAX];
    int64_t request_max_us; /* when one was learned last */

    /* The current batch. */
    size_t record_count;
    struct record_state states[TRANSACTION_RECORDS_MAX];
    struct record_metadata record_metadata[TRANSACTION_RECORDS_MAX];
    rd_kafka_resp_err_t delivery_error;    /* the first one that is not caused by another error */
    rd_kafka_resp_err_t transaction_error; /* of a call of the transaction */
    int64_t begun_us;
    int64_t open_us;  /* since when the coordinator may have an open transaction of ours; 0: none */
    int64_t ended_us; /* when the last commit or abort returned; clock_mono_us() */
    struct last_error last_error;
};

/* What follows a step of a transaction. */
enum producer_step {
    STEP_OK,
    STEP_ABORT, /* abort the transaction */
    STEP_FATAL, /* the client is of no use any more. After a commit: its result is unknown */
    STEP_STOP,  /* the owner asked to stop */
};

static inline int64_t since_ms(int64_t begun_us)
{
    return (clock_mono_us() - begun_us) / 1000;
}

static inline bool producer_stopping(struct producer *producer)
{
    return producer->owner->pause(producer->context, 0);
}

/* Around each access to the owner's batch; see producer_owner.read. */
static inline bool batch_read_begin(struct producer *producer)
{
    return producer->owner->read == NULL || producer->owner->read(producer->context, true);
}

static inline void batch_read_end(struct producer *producer)
{
    if (producer->owner->read != NULL) {
        (void)producer->owner->read(producer->context, false);
    }
}

/* --- producer.c --- */

/* The next producer_acquire() creates another client, whose init_transactions ends what this one
 * left open. */
void producer_client_drop(struct producer *producer);
bool producer_client_fenced(const struct producer *producer);
/* The coordinator itself or a late request of ours may have fenced us. */
bool producer_fence_may_be_ours(const struct producer *producer);
/* False when no broker answers: the known leaders may be outdated. A transaction with a partition
 * that has no leader cannot end. */
bool producer_leaders_fetch(struct producer *producer);
/* Sets last_error to the refusal of a record. */
void producer_record_error(struct producer *producer, size_t index);

/* --- deliver.c --- */

/* Queues the records. Waits only while the library's queue or a request is full. Without a
 * transaction, it leaves out those that are marked as delivered. */
enum producer_step deliver_begin(struct producer *producer, const struct transaction_batch *batch);
/* Waits for all delivery reports. In a transaction it returns STEP_ABORT after the first failure;
 * without one it waits for the reports of the other records. */
enum producer_step deliver_end(struct producer *producer);
/* A batch without a transaction. TRANSACTION_COMMITTED: all records are acknowledged; the owner
 * commits the positions. False when the owner asked to stop before the end was known. */
bool deliver_run(struct producer *producer, const struct transaction_batch *batch,
                 struct transaction_end *end);
/* The largest request of a topic, in bytes: learned when it refuses several records for their size,
 * forgotten after ten minutes. */
void deliver_request_max_expire(struct producer *producer);
void deliver_request_max_learn(struct producer *producer, unsigned topic);

/* --- transact.c --- */

/* A whole transaction. False when the owner asked to stop before its end was known. */
bool transact_run(struct producer *producer, const struct transaction_batch *batch,
                  struct transaction_end *end);
/* True when the open transaction has failed. Then transaction_error and last_error are those of its
 * first failure. librdkafka has no call that asks for this; a call that is not allowed inside a
 * transaction returns the transaction's error. */
bool transact_failed(struct producer *producer);
/* Destroys the error of a call before the commit. */
enum producer_step transact_step_of(struct producer *producer, const char *doing,
                                    rd_kafka_error_t *error);
struct transaction_end transact_end_of(struct producer *producer, enum transaction_verdict verdict);
struct transaction_end transact_end_of_refusals(struct producer *producer);
/* The end after an error: by the refused records, or as aborted. */
struct transaction_end transact_end_of_error(struct producer *producer);
/* Begins a transaction and sends one position with so many bytes of metadata. The caller aborts
 * it. `stale`: the group rejected the membership. */
enum producer_step transact_try_position(struct producer *producer,
                                         const struct group_metadata *group_metadata,
                                         int32_t partition, int64_t offset, size_t metadata_bytes,
                                         bool *stale);
/* False when the abort fails. Then the client is dropped, unless it is fenced: the next step
 * decides on a fence. */
bool transact_abort(struct producer *producer);

/* --- read_back.c --- */

/* Finds out the end of a commit: a new client's init_transactions waits for the commit or aborts
 * it, then the committed offsets show which. False when the owner asked to stop. */
bool read_back_resolve(struct producer *producer, const struct transaction_batch *batch,
                       struct transaction_end *end);
void read_back_drop(struct producer *producer);

#endif
