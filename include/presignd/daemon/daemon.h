/* The daemon. It owns every long-lived object, creates them in the order of the data and destroys
 * them in reverse. */
#ifndef PRESIGND_DAEMON_DAEMON_H
#define PRESIGND_DAEMON_DAEMON_H

#include "presignd/config/config.h"

#include <stdbool.h>

/* Runs until a signal stops it; blocks. Returns the exit status (sysexits.h): 0 after a requested
 * stop; 69 when the system gives no address, descriptor or thread, or when replacing the Kafka
 * clients has not helped; 75 when another process has this instance's name (systemd restarts the
 * process after both); 78 for an invalid configuration. Ends the process itself, with that status,
 * when the take-down takes too long. */
int daemon_run(const struct config_sources *sources);

/* Loads what a start loads. Prints what it would do to standard output, every error to standard
 * error. Returns 0 or 78. */
int daemon_check(const struct config_sources *sources);

/* Whether main() was called by the daemon to be its signing process; then it calls daemon_sign(),
 * which serves until the daemon ends, and returns the exit status. */
bool daemon_is_signing_process(int argc, char **argv);
int daemon_sign(void);

#endif
