/* Journal lines and the metric of the preflight. A finding is logged when it appears and when it
 * changes, not each time that it is looked at. */
#ifndef PRESIGND_DAEMON_PREFLIGHT_LOG_H
#define PRESIGND_DAEMON_PREFLIGHT_LOG_H

#include "presignd/kafka/preflight.h"
#include "presignd/ops/metrics.h"

/* All zero: nothing was logged. */
struct preflight_log {
    struct preflight told;
    bool blocked; /* something was logged that blocks */
};

void preflight_log(struct preflight_log *log, struct metrics *metrics,
                   const struct preflight *found);

#endif
