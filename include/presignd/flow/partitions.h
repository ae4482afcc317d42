/* The assigned partitions of the requests topic, each with its window. */
#ifndef PRESIGND_FLOW_PARTITIONS_H
#define PRESIGND_FLOW_PARTITIONS_H

#include "presignd/flow/job.h"
#include "presignd/flow/relief.h"
#include "presignd/flow/share.h"
#include "presignd/flow/window.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct partition {
    int32_t id;
    bool begun; /* a record has come in this assignment */
    struct window window;
    struct window pending; /* the window after the current transaction's commit */
    struct list jobs;      /* all unfinished ones, in the order of offsets */
    struct list overflow;  /* JOB_NEW: read while the window was full or no records were wanted;
                            * usually one at most */
    bool in_batch;
    bool deferred;           /* its set is too wide: the batch takes none of its outcomes */
    struct share memory;     /* of all its jobs */
    bool full;               /* window or share is full: paused until a quarter is free */
    int64_t full_since_ms;   /* monotonic clock; -1: not full */
    struct relief_seen seen; /* the merchants that had outcomes in it */
    bool paused;             /* as the consumer was told */
    /* The base offset at the last check that saw it change or saw no unfinished job, and when. */
    int64_t seen_base_offset, moved_ms;
};

struct partitions {
    struct partition *items; /* by id */
    size_t count;
};

/* Replaces all partitions; the jobs of the old ones must be gone. The caller loads each window when
 * its position is known. */
void partitions_assign(struct partitions *table, const int32_t *ids, size_t count);
void partitions_deinit(struct partitions *table);
/* NULL if it is not assigned. */
struct partition *partitions_find(const struct partitions *table, int32_t id);

#endif
