/* Journal lines of single events: an attempt that ended, at debug, and a failure, at info. Both
 * have the last answer's status and code, how the attempt ended, and who must act. */
#ifndef PRESIGND_DAEMON_EVENT_LOG_H
#define PRESIGND_DAEMON_EVENT_LOG_H

#include "presignd/flow/job.h"

/* An attempt ended; job->answer says how. */
void event_log_attempt(const struct job *job);
/* The event ended as a failure. */
void event_log_failure(const struct job *job);

#endif
