/* Writes the outcome of a completed job. Pure. */
#ifndef PRESIGND_FLOW_COMPLETE_H
#define PRESIGND_FLOW_COMPLETE_H

#include "presignd/flow/job.h"

/* What every outcome says about this daemon. */
struct complete_identity {
    const char *cluster_id;
    const char *group_id;
    bool failure_original; /* publish the input record with failures */
};

/* Lifetime of a pre-sign session from the answer's timestamp (APIv3, pre-entrust-sign). */
#define COMPLETE_SESSION_MS 600000

/* Writes job->outcome as a result from job->answer, a success. */
void complete_result(struct job *job, const struct complete_identity *identity, int64_t wall_ms);
/* Writes job->outcome as a failure. `message` NULL: the admission's message, or one made from the
 * last answer. */
void complete_failure(struct job *job, const struct complete_identity *identity, enum reason reason,
                      const char *message, int64_t wall_ms);
/* An outcome was too large: writes a failure again without `original`. False if the outcome cannot
 * become smaller: a result, or a failure that has none already. flow/publish.c calls it. */
bool complete_drop_original(struct job *job, const struct complete_identity *identity,
                            int64_t wall_ms);

#endif
