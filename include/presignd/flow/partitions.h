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
    struct window pending; /* the window as the batch in progress will leave it */
    struct list jobs;      /* all unfinished ones, in the order of offsets */
    struct list overflow;  /* jobs in JOB_NEW: came though the window is full; one, as a rule */
    bool in_batch;
    bool deferred;           /* of the batch: its set would be wider than the broker takes */
    struct share memory;     /* of its events, wherever they are */
    bool full;               /* the window or the share is: paused until there is room */
    int64_t full_since_ms;   /* mono: since when; -1 while it is not */
    struct relief_seen seen; /* who had outcomes in it */
    bool paused;             /* as consumer was told */
    /* The base offset when it was last seen to move, or without unfinished events; and when. */
    int64_t seen_base_offset, moved_ms;
};

struct partitions {
    struct partition *items; /* by id */
    size_t count;
};

/* Takes the place of whatever was there, whose jobs must have been dropped. The windows are
 * the caller's to load, each when its position is known. */
void partitions_assign(struct partitions *table, const int32_t *ids, size_t count);
void partitions_deinit(struct partitions *table);
/* NULL when it is not assigned. */
struct partition *partitions_find(const struct partitions *table, int32_t id);

#endif
