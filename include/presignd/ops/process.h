/* What the kernel counts for this process, under the names that all programs use for it
 * (https://prometheus.io/docs/instrumenting/writing_clientlibs/, "process metrics"), and the lines
 * of its log that were dropped. */
#ifndef PRESIGND_OPS_PROCESS_H
#define PRESIGND_OPS_PROCESS_H

#include "presignd/ops/metrics.h"

#include <stdint.h>

/* Brings them up to date. Reads /proc/self, which does not block; what cannot be read stays as
 * it was. */
void process_measure(struct metrics *metrics);
/* Raises the soft limit of file descriptors to `count` where the hard one allows it, else to that;
 * never lowers it. */
void process_raise_descriptors(uint64_t count);

#endif
