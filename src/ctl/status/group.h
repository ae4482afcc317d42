/* `presignctl status --group`: the consumer group as its brokers see it. */
#ifndef PRESIGND_CTL_STATUS_GROUP_H
#define PRESIGND_CTL_STATUS_GROUP_H

#include "ctl/kit/command.h"
#include "presignd/setup/setup.h"

#include <stdbool.h>
#include <stdint.h>

/* Asks the brokers, prints the answer, and returns the exit status. `timeout_ms` bounds each
 * answer. The command joins no group. */
int group_show(const struct setup *setup, int64_t timeout_ms, bool json);

#endif
