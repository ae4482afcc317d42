/* What the kernel counts for this process, under the names that all programs use for it
 * (https://prometheus.io/docs/instrumenting/writing_clientlibs/, "process metrics"). */
#ifndef PRESIGND_OPS_PROCESS_H
#define PRESIGND_OPS_PROCESS_H

#include "presignd/ops/metrics.h"

/* Brings them up to date. Reads /proc/self, which does not block; what cannot be read stays as
 * it was. */
void process_measure(struct metrics *metrics);

#endif
