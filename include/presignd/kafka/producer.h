/* One transactional producer, and what to do about each of its errors. Used by the publisher's
 * thread only; the calls block, in slices between which the owner may end them.
 */
#ifndef PRESIGND_KAFKA_PRODUCER_H
#define PRESIGND_KAFKA_PRODUCER_H

#include "presignd/kafka/transaction.h"

#include <stdbool.h>
#include <stdint.h>

struct producer;

/* Called from inside the producer's calls. */
struct producer_owner {
    /* Waits that long (0: not at all). True asks the producer to stop. */
    bool (*pause)(void *context, int64_t wait_ms);
    /* May the batch be committed? Called once, right before the commit. After true the batch may
     * become visible. After false it never does. */
    bool (*may_commit)(void *context);
    /* Called with `begin` true before the batch is read, and with false afterwards. An owner that
     * takes back a batch waits for the second call; false from the first one forbids to read. No
     * blocking call of librdkafka lies in between. NULL: a batch stays valid until its end. */
    bool (*read)(void *context, bool begin);
};

/* Copies what it needs of `config` and connects to nothing; producer_acquire() does. NULL and a
 * reason (free()) when the properties are wrong. */
struct producer *producer_new(const struct producer_config *config,
                              const struct producer_owner *owner, void *context, char **error)
    __attribute__((warn_unused_result));
/* Another producer with the same configuration and owner. `producer` may be in use by another
 * thread. */
struct producer *producer_clone(const struct producer *producer, void *context)
    __attribute__((warn_unused_result));
/* An open transaction stays open until the next producer of this instance or the broker's
 * transaction.timeout.ms ends it. Accepts NULL, returns NULL. */
struct producer *producer_free(struct producer *producer);
/* The group whose committed offsets are read back when a commit's end is unknown. The default is
 * the configured group.id. */
void producer_set_group(struct producer *producer, const char *group_id);

/* Takes hold of the transactional.id, for a few seconds at most; true when it has it. */
bool producer_acquire(struct producer *producer) __attribute__((warn_unused_result));
/* What went wrong last; "" when nothing did. */
const char *producer_last_error(const struct producer *producer);
enum producer_id_state producer_id_state(const struct producer *producer);
/* How many partitions the topic has; 0 when that is not known yet. */
int32_t producer_partitions(const struct producer *producer, unsigned topic);
/* The partition of a key among `count`, as the configured partitioner chooses it; -1 when any will
 * do. Any thread. */
int32_t producer_partition_of_key(const struct producer *producer, const void *key, size_t key_len,
                                  int32_t count);
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
enum producer_id_holder producer_find_id_holder(struct producer *producer,
                                                const struct group_metadata *group_metadata);
/* How much metadata the broker takes with an offset: as publisher_metadata_fn has it. By
 * transactions that are aborted whatever comes of it. */
int64_t producer_measure_metadata(struct producer *producer,
                                  const struct group_metadata *group_metadata, int32_t partition,
                                  int64_t offset);
/* A request of this process for the transactional.id may reach its coordinator late, and then
 * fence whoever has it: for ten minutes, a fence tells less. Any thread. */
void producer_expect_late_fence(void);

#endif
