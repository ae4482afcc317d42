/* The kernel's figures for this process as metrics, and its limit of file descriptors. */
#ifndef PRESIGND_OPS_PROCESS_H
#define PRESIGND_OPS_PROCESS_H

#include "presignd/ops/metrics.h"

#include <stdint.h>

/* Updates the metrics. Reads /proc/self, which does not block. A figure that cannot be read keeps
 * its value. */
void process_measure(struct metrics *metrics);
/* Raises the soft limit of file descriptors to `count`, at most to the hard limit. Never lowers it.
 */
void process_raise_descriptors(uint64_t count);

#endif
