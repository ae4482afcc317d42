/* When Kafka's clients are replaced, and when that does not help any more. Pure. */
#ifndef PRESIGND_KAFKA_RENEWAL_H
#define PRESIGND_KAFKA_RENEWAL_H

#include "presignd/base/clock.h"
#include "presignd/kafka/transaction.h"

#include <stdbool.h>
#include <stdint.h>

/* Steps of the wall clock from this on are noticed; adjtime(3) slews what is smaller. */
#define RENEWAL_STEP_MS INT64_C(1000)
/* Fences and fatal errors cause at most RENEWAL_MAX renewals within RENEWAL_SPAN_MS. */
#define RENEWAL_MAX     3
#define RENEWAL_SPAN_MS INT64_C(600000)

/* How far the wall clock is ahead of the monotonic one. Slewing changes both clocks alike, so only
 * a step changes the difference. */
struct renewal_clock {
    int64_t ahead_ms;
};

void renewal_clock_init(struct renewal_clock *clock, struct moment now);
/* How far the wall clock was set since the last step that this function returned, or since
 * renewal_clock_init(). 0 when that is less than RENEWAL_STEP_MS. Small steps add up. */
int64_t renewal_clock_step(struct renewal_clock *clock, struct moment now);

/* All zero: no renewal yet. */
struct renewal_budget {
    int64_t at_ms[RENEWAL_MAX];
    unsigned count; /* of `at_ms` in use, oldest first */
};

/* Counts a renewal at `now_ms`. False when it would be one more than RENEWAL_MAX; then it is not
 * counted. */
bool renewal_allow(struct renewal_budget *budget, int64_t now_ms)
    __attribute__((warn_unused_result));

/* Why our group.instance.id was fenced. A process takes the transactional.id before it joins the
 * group. So a namesake that has fenced our consumer has fenced our producer before that. */
enum renewal_fence {
    FENCE_UNKNOWN,
    FENCE_BY_US, /* by an old request of ours: the coordinator had stood still, and took it up late
                  */
    FENCE_BY_OTHER, /* another process has our instance's name */
};
enum renewal_fence renewal_fence(enum producer_id_holder holder);

/* Since when the group has refused our commits without a revoke; -1: it does not refuse them. */
struct renewal_group {
    int64_t since_ms;
};
#define RENEWAL_GROUP_INIT ((struct renewal_group){-1})

/* Call it when a commit was refused as not ours. True when commits have been refused for longer
 * than `session_ms` and renewal_group_active() was not called in that time: then the membership is
 * lost. */
bool renewal_group_stale(struct renewal_group *group, int64_t now_ms, int64_t session_ms)
    __attribute__((warn_unused_result));
/* Call it when a commit was taken, or when partitions were assigned, revoked or lost. */
void renewal_group_active(struct renewal_group *group);

#endif
