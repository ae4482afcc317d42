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
    struct record_metadata *record_metadata;
    enum refusal *refusals;
    size_t record_cap, position_cap;
    size_t deferred; /* outcomes that would have made a partition's set too wide; at least */
};

void batch_deinit(struct batch *batch);

struct pipeline;

/* Which outcomes a batch takes, oldest first. */
struct batch_selection {
    uint32_t suspect; /* those of that case; 0: those in JOB_COMPLETED */
    size_t count;     /* at most */
    bool one_topic;   /* only those of the first one's topic */
};

/* Moves selected jobs to JOB_PUBLISHING, within the bounds of kafka/transaction.h, and prepares
 * their partitions' pending windows. The batch must be empty. An outcome that makes the set of its
 * partition wider than the window's span is deferred until the base offset has moved. If a set is
 * too wide already, all outcomes of that partition are deferred, unless they make it narrow
 * together. So the batch may remain empty. */
void batch_fill(struct pipeline *p, const struct batch_selection *selection);
/* After a commit: the windows take over what the pending windows said. */
void batch_commit(struct pipeline *p);
/* The publisher no longer uses the batch: releases the group metadata. */
void batch_end(struct batch *batch);
/* Nothing was published: moves the jobs back to the front of their lists, in their order. */
void batch_undo(struct pipeline *p);

#endif
