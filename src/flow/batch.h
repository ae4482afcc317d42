/* A transaction's content: outcomes from the completed list, and where each partition then stands.
 */
#ifndef PRESIGND_FLOW_BATCH_H
#define PRESIGND_FLOW_BATCH_H

#include "presignd/flow/partitions.h"
#include "presignd/kafka/transaction.h"

/* One at a time; its arrays are used again. All zero is an empty one. */
struct batch {
    struct transaction_batch out;
    struct transaction_record *records;
    struct transaction_position *positions;
    struct buf *metadata; /* of each position: the publisher borrows it, partitions may go */
    struct record_metadata *places;
    enum refusal *refusals;
    size_t record_cap, position_cap;
    struct list jobs; /* JOB_PUBLISHING, in the order of the records */
    size_t left_out;  /* outcomes that would have made a partition's set too wide; at least */
};

void batch_init(struct batch *batch);
void batch_deinit(struct batch *batch);

/* Moves jobs from `completed` (oldest first, within the publisher's bounds) into the batch and
 * drafts the windows of their partitions. The batch is empty before. `one_topic`: only those of
 * the first one's topic. An outcome that would make its partition's set wider than the window's
 * span waits for the base offset to move; so do all of a partition whose set is too wide, unless
 * they make it narrow together. So the batch may be empty. */
void batch_fill(struct batch *batch, struct list *completed, struct partitions *partitions,
                struct group_metadata *group_metadata, bool one_topic);
/* After a commit: what the pending window said is so. */
void batch_commit(struct batch *batch);
/* The publisher is done with it: lets go of the session. */
void batch_end(struct batch *batch);
/* Nothing was published: puts the jobs back to the front of `completed`, in their order. */
void batch_undo(struct batch *batch, struct list *completed);

#endif
