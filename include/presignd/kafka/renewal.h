/* When Kafka's clients are made anew, and when that is of no use. Pure. */
#ifndef PRESIGND_KAFKA_RENEWAL_H
#define PRESIGND_KAFKA_RENEWAL_H

#include "presignd/base/clock.h"

#include <stdbool.h>
#include <stdint.h>

/* Steps of the wall clock from this on are noticed; adjtime(3) slews what is smaller. */
#define RENEWAL_STEP_MS INT64_C(1000)
/* Renewals for fences and fatal errors: so many within the span; one more is one too many. */
#define RENEWAL_MAX     3
#define RENEWAL_SPAN_MS INT64_C(600000)

/* How far the wall clock is ahead of the monotonic one; both are slewed alike, so that only a step
 * changes it. */
struct renewal_clock {
    int64_t ahead_ms;
};

void renewal_clock_init(struct renewal_clock *clock, struct moment now);
/* By how much the wall clock was set since the last step that was told, or since the beginning;
 * 0 when by less than RENEWAL_STEP_MS. Small steps add up. */
int64_t renewal_clock_step(struct renewal_clock *clock, struct moment now);

/* All zero has none. */
struct renewal_budget {
    int64_t at_ms[RENEWAL_MAX];
    unsigned count; /* of `at_ms` in use, oldest first */
};

/* Counts a renewal at that time; false, and nothing counted, when it is one too many. */
bool renewal_allow(struct renewal_budget *budget, int64_t now_ms)
    __attribute__((warn_unused_result));

/* What the transaction coordinator says when asked who holds our transactional.id. */
enum renewal_hold {
    HOLD_UNKNOWN,   /* no answer */
    HOLD_NONE,      /* we did not hold it when we were to ask */
    HOLD_OURS,      /* it takes our request */
    HOLD_TIMED_OUT, /* fenced, but so long after all was well that the coordinator itself may have
                       timed our transaction out */
    HOLD_ANOTHERS,  /* fenced */
};

/* Why our group.instance.id was fenced. A process takes the transactional.id before it joins the
 * group, so that a namesake which has fenced our consumer has fenced our producer before. */
enum renewal_fence {
    FENCE_ASK_AGAIN,
    FENCE_ECHO,     /* an old request of our own, taken up late by a coordinator that stood still */
    FENCE_NAMESAKE, /* another process has our instance's name */
};
enum renewal_fence renewal_fence(enum renewal_hold hold);

/* The group refuses our commits and does not tell us why: since when, -1 for not at all. */
struct renewal_group {
    int64_t since_ms;
};
#define RENEWAL_GROUP_INIT ((struct renewal_group){-1})

/* A commit was refused as not ours. True when that has gone on for longer than a session, without
 * any word from the group (then renewal_group_heard() is due) in between: the membership is lost.
 */
bool renewal_group_refused(struct renewal_group *group, int64_t now_ms, int64_t session_ms)
    __attribute__((warn_unused_result));
/* A commit was taken, or partitions were given or taken. */
void renewal_group_heard(struct renewal_group *group);

#endif
