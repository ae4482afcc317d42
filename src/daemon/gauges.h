/* The metrics that are a state: they are set before they are read. */
#ifndef PRESIGND_DAEMON_GAUGES_H
#define PRESIGND_DAEMON_GAUGES_H

#include "presignd/flow/pipeline.h"
#include "presignd/ops/metrics.h"
#include "presignd/ops/status.h"

/* Sets them from one moment's state. Those of the process are measured. */
void gauges_set(struct metrics *metrics, const struct pipeline_status *pipeline,
                const struct status *status);

#endif
