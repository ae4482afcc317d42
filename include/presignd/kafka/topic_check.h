/* The daemon checks the topics' settings once, on a thread of its own. */
#ifndef PRESIGND_KAFKA_TOPIC_CHECK_H
#define PRESIGND_KAFKA_TOPIC_CHECK_H

#include "presignd/kafka/topic_settings.h"

#include <stdatomic.h>
#include <stdbool.h>

/* As topic_finding_fn, on the check's thread. */
typedef void topic_check_fn(const char *topic, const char *name, const char *value,
                            const char *should, const char *why, const char *mend);

/* All zero: not begun. It must outlive its thread (detached_wait()). */
struct topic_check {
    _Atomic bool running, stop;
    _Atomic bool done; /* every topic was checked */
};

/* Begins, unless it is done or running. `conf` is a consumer's and is taken over. `names` is
 * indexed by enum topic_role and copied. Takes a few seconds at most; call it again after a
 * failure. */
void topic_check_start(struct topic_check *check, rd_kafka_conf_t *conf,
                       const char *const names[TOPIC_ROLES], int64_t max_event_bytes,
                       topic_check_fn *finding);
/* The thread ends after its current request, which takes 2 s at most. */
void topic_check_stop(struct topic_check *check);

#endif
