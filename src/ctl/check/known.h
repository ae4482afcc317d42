/* What `presignctl check` compares a configuration with, apart from its own files: the installed
 * unit, and the daemon of this machine or what it has left in its state directory. */
#ifndef PRESIGND_CTL_CHECK_KNOWN_H
#define PRESIGND_CTL_CHECK_KNOWN_H

#include "ctl/kit/config.h"
#include "presignd/base/buf.h"
#include "presignd/setup/setup.h"

/* Adds to the setup's warnings what a start would warn of, and to `problems` why the running daemon
 * would refuse a reload. Asks the daemon, for four seconds at most. */
void known_check(struct setup *setup, const struct ctl_config *options, struct buf *problems);

#endif
