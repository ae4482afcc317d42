/* From a job that has ended to the bytes of its outcome. Pure but for the time it is given. */
#ifndef PRESIGND_FLOW_COMPLETE_H
#define PRESIGND_FLOW_COMPLETE_H

#include "presignd/flow/job.h"

/* What every outcome says of this daemon. */
struct complete_identity {
    const char *cluster_id;
    const char *group_id;
    bool failure_original; /* publish the input record with failures */
};

/* A pre-sign session lives so long from the answer's timestamp (APIv3, pre-entrust-sign). */
#define COMPLETE_SESSION_MS 600000

/* Writes job->outcome for job->answer, a success. */
void complete_result(struct job *job, const struct complete_identity *identity, int64_t wall_ms);
/* Writes job->outcome for the reason. `message` NULL: the admission's, or made from the last
 * answer. */
void complete_failure(struct job *job, const struct complete_identity *identity, enum reason reason,
                      const char *message, int64_t wall_ms);
/* Writes it again as small as it can be. False when that was done already. */
bool complete_without_original(struct job *job, const struct complete_identity *identity,
                               int64_t wall_ms);

#endif
