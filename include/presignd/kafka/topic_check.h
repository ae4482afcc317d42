/* The daemon's look at the topics' settings: once, on a thread of its own, so that nothing waits
 * for it. A setting that cannot be seen is no finding.
 */
#ifndef PRESIGND_KAFKA_TOPIC_CHECK_H
#define PRESIGND_KAFKA_TOPIC_CHECK_H

#include "presignd/kafka/topic_settings.h"

#include <stdatomic.h>
#include <stdbool.h>

/* On the check's thread, for each finding: as topic_finding_fn, of that topic. */
typedef void topic_check_fn(const char *topic, const char *name, const char *value,
                            const char *should, const char *why, const char *mend);

/* All zero has not begun. It outlives its thread (detached_wait()). */
struct topic_check {
    _Atomic bool running, stop;
    _Atomic bool done; /* every topic was judged, as far as it can be seen */
};

/* Begins, unless it is done or under way. `conf` (taken over) is a consumer's; the names, copied,
 * are in the order of enum topic_role. A few seconds at most; one that fails can be begun again. */
void topic_check_start(struct topic_check *check, rd_kafka_conf_t *conf,
                       const char *const names[TOPIC_ROLES], int64_t max_event_bytes,
                       topic_check_fn *finding);
/* The thread ends after the question that it is at, which takes 2 s at most. */
void topic_check_stop(struct topic_check *check);

#endif
