/* One transactional producer, and what to do about each of its errors. Used by the publisher's
 * thread only; the calls block, in slices between which the owner may end them.
 */
#ifndef PRESIGND_KAFKA_PRODUCER_H
#define PRESIGND_KAFKA_PRODUCER_H

#include "presignd/kafka/client.h"
#include "presignd/kafka/leaders.h"
#include "presignd/kafka/renewal.h"
#include "presignd/kafka/transaction.h"

#include <stdbool.h>
#include <stdint.h>

struct producer;

/* How a producer stands with its transactional.id. */
enum producer_id_state {
    PRODUCER_ID_WAITING, /* requested, or about to be; also while Kafka is away */
    PRODUCER_ID_HELD,
    PRODUCER_ID_DENIED, /* a broker denies it; requested again every second */
};

/* Waits that long (0: not at all). True when the owner wants an end of it all. */
typedef bool producer_pause_fn(void *context, int64_t wait_ms);
/* May the batch at hand be committed? Asked once, right before: from a true on it may become
 * visible, after a false it never does. */
typedef bool producer_commit_fn(void *context);
/* Around each reading of the batch at hand (`begin`, then not): an owner that takes the batch
 * back while a call does not return waits for the end of a reading, and after a false there is
 * none. No call of librdkafka that may wait lies in between. */
typedef bool producer_read_fn(void *context, bool begin);

/* Checks the configuration; connects in the background. `config` outlives the producer. NULL
 * and a reason. */
struct producer *producer_new(const struct producer_config *config, producer_pause_fn *pause,
                              producer_commit_fn *may_commit, void *context, char **error)
    __attribute__((warn_unused_result));
/* A transaction that is open stays so until the next producer of this instance, or the
 * broker's transaction.timeout.ms, ends it. Accepts NULL, returns NULL. */
struct producer *producer_free(struct producer *producer);
/* Without it, a batch is there until its end was told. */
void producer_set_read(struct producer *producer, producer_read_fn *read);

/* Takes hold of the transactional.id, for a few seconds at most; true when it has it. */
bool producer_acquire(struct producer *producer);
/* What went wrong last; "" when nothing did. */
const char *producer_last_error(const struct producer *producer);
enum producer_id_state producer_id_state(const struct producer *producer);
/* How many partitions the topic has; 0 when that is not known yet. */
int32_t producer_partitions(const struct producer *producer, unsigned topic);
enum partitioner producer_partitioner(const struct producer *producer);
/* The whole of one transaction. False when the owner asked to stop before its end was known;
 * then `end` is not set. */
bool producer_publish(struct producer *producer, const struct transaction_batch *batch,
                      struct transaction_end *end) __attribute__((warn_unused_result));
/* Finds out how a commit ended that another producer of this process had begun. As
 * producer_publish() otherwise. */
bool producer_resolve(struct producer *producer, const struct transaction_batch *batch,
                      struct transaction_end *end) __attribute__((warn_unused_result));
/* Who holds the transactional.id: asks by offsets under `session` (with its group), in a
 * transaction that is aborted whatever comes of it. Takes some 15 s at most. */
enum renewal_hold producer_probe(struct producer *producer,
                                 const struct group_metadata *group_metadata);
#define PRODUCER_MEASURED_NOTHING (-1) /* no answer, or one that tells nothing of it */
/* How much metadata the broker takes with an offset: as publisher_measured_fn has it. By
 * transactions that are aborted whatever comes of it. */
int64_t producer_measure(struct producer *producer, const struct group_metadata *group_metadata,
                         int32_t partition, int64_t offset);
/* A request of this process for the transactional.id may reach its coordinator late, and then
 * fence whoever has it: for ten minutes, a fence tells less. Any thread. */
void producer_doubt(void);

#endif
