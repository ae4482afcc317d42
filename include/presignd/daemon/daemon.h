/* The daemon: owns every long-lived object, builds them in the data's order and takes them
 * down in reverse. */
#ifndef PRESIGND_DAEMON_DAEMON_H
#define PRESIGND_DAEMON_DAEMON_H

#include "presignd/config/config.h"

/* Runs until it is told to stop; blocks. Gives the process's exit status (sysexits.h): 0 after
 * a stop that was asked for, 69 when the system gives no address, descriptor or thread or making
 * the Kafka clients anew has not helped, 75 when another process has this instance's name (systemd
 * starts us again after both), 78 for a wrong configuration. Ends the process itself, with that
 * status, when the take-down lasts for too long. */
int daemon_run(const struct config_sources *sources);

/* Loads all that a start would load, says on standard output what it would do, on standard
 * error all that is wrong. 0 or 78. */
int daemon_check(const struct config_sources *sources);

#endif
