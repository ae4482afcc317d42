/* The metrics that show a state. Set them before a scrape reads them. */
#ifndef PRESIGND_DAEMON_GAUGES_H
#define PRESIGND_DAEMON_GAUGES_H

#include "presignd/flow/pipeline.h"
#include "presignd/ops/metrics.h"
#include "presignd/ops/status.h"

/* Sets them from the state of one moment, and measures those of the process. Removes the series of
 * partitions, merchants, hosts and pauses that are not in `status`. */
void gauges_set(struct metrics *metrics, const struct pipeline_status *pipeline,
                const struct status *status);

#endif
