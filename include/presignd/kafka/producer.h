/* One transactional producer, and what follows each of its errors. The publisher's thread and
 * presignctl redrive use it. The calls block, in slices between which the owner can stop them.
 */
#ifndef PRESIGND_KAFKA_PRODUCER_H
#define PRESIGND_KAFKA_PRODUCER_H

#include "presignd/kafka/preflight.h"
#include "presignd/kafka/transaction.h"

#include <stdbool.h>
#include <stdint.h>

struct producer;

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
/* The group whose committed offsets are read back when the result of a commit is unknown. The
 * default is the configured group.id. */
void producer_set_group(struct producer *producer, const char *group_id);

/* Creates the client now instead of in the first producer_acquire(); connects to nothing. False and
 * a reason (free()) when it cannot be created, as with a certificate that cannot be read. */
bool producer_open(struct producer *producer, char **error) __attribute__((warn_unused_result));
/* Acquires the transactional.id. Takes a few seconds at most; true when it is held. */
bool producer_acquire(struct producer *producer) __attribute__((warn_unused_result));
enum producer_id_state producer_id_state(const struct producer *producer);
/* Between batches: takes the client's errors and statistics. */
void producer_poll(struct producer *producer);
/* "" when there is none. */
const char *producer_last_error(const struct producer *producer);
/* 0 when not known yet. */
int32_t producer_partitions(const struct producer *producer, unsigned topic);
/* The partition of a key among `count`, as the configured partitioner chooses it; -1 when any will
 * do. Any thread. */
int32_t producer_partition_of_key(const struct producer *producer, const void *key, size_t key_len,
                                  int32_t count);

/* One whole transaction. False when the owner asked to stop before its end was known; then `end`
 * is not set. */
bool producer_publish(struct producer *producer, const struct transaction_batch *batch,
                      struct transaction_end *end) __attribute__((warn_unused_result));
/* Blocks until the group's coordinator has applied or dropped the positions of the last
 * transaction, and until 5 ms after its end; see read_back.c. Returns at once if that transaction
 * had no positions. producer_publish() does this first; an earlier call saves the next batch the
 * wait. False: still pending after 15 s, or the owner asked to stop. */
bool producer_await_stable(struct producer *producer);
/* True while producer_await_stable() has something to wait for. */
bool producer_unstable(const struct producer *producer);
/* Finds out the result of a commit that another producer of this process began. Returns as
 * producer_publish() does. */
bool producer_resolve(struct producer *producer, const struct transaction_batch *batch,
                      struct transaction_end *end) __attribute__((warn_unused_result));
/* Sends offsets under `group_metadata` in a transaction that is always aborted. Takes about 15 s
 * at most. */
enum producer_id_holder producer_find_id_holder(struct producer *producer,
                                                const struct group_metadata *group_metadata);
/* Returns what publisher_metadata_fn gets. Uses transactions that are always aborted. */
int64_t producer_measure_metadata(struct producer *producer,
                                  const struct group_metadata *group_metadata, int32_t partition,
                                  int64_t offset);
/* Checks everything that brokers must do for presignd (preflight.h). Acquires the
 * transactional.id, and uses a transaction that is always aborted. Reads metadata with a client of
 * its own, which joins no group and creates no topic. Overwrites `found`. Blocks for
 * milliseconds when all is well, and for about 20 s at most. */
void producer_preflight(struct producer *producer, struct preflight *found);
/* A request of this process for the transactional.id may reach the coordinator late and fence the
 * holder. For ten minutes, a fence does not prove another process. Any thread. */
void producer_expect_late_fence(void);

#endif
