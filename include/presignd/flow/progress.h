/* Whether the pipeline makes progress, and what events wait for. */
#ifndef PRESIGND_FLOW_PROGRESS_H
#define PRESIGND_FLOW_PROGRESS_H

#include "presignd/base/buf.h"
#include "presignd/flow/pipeline.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A partition whose oldest event has been the same for so long is named by progress_describe(). */
#define PROGRESS_STALLED_MS INT64_C(60000)

/* For the watchdog, called about once a second. True while every assigned partition makes progress,
 * has nothing to do, or waits for something that progress_describe() names. Otherwise false, and
 * `why` says what has not changed for `patience_ms`: that is a bug of ours, or a thread hangs. */
bool progress_moves(struct pipeline *pipeline, int64_t patience_ms, struct buf *why);
/* Appends one line for the status text: what the events wait for that are not in flight. Appends
 * nothing when no event waits. */
void progress_describe(const struct pipeline *pipeline, struct buf *out);

/* A partition's oldest unfinished event. The base offset stays at it until it is published. */
struct progress_oldest {
    int32_t partition;
    int64_t offset;
    const char *mchid;  /* borrowed until the next step; NULL: not known yet */
    const char *state;  /* the reason of a hold, or the job's state as in metrics: "calling" */
    int64_t stalled_ms; /* since progress_moves() last saw the base offset change */
};
/* Of the `index`th partition. False when it has no unfinished event. */
bool progress_oldest(const struct pipeline *pipeline, size_t index, struct progress_oldest *out);

#endif
