/* When Kafka's clients are replaced, and when to stop. Pure. */
#ifndef PRESIGND_KAFKA_RENEWAL_H
#define PRESIGND_KAFKA_RENEWAL_H

#include "presignd/base/clock.h"
#include "presignd/kafka/transaction.h"

#include <stdbool.h>
#include <stdint.h>

/* The smallest step of the wall clock that counts. */
#define RENEWAL_STEP_MS INT64_C(1000)
/* Fences and fatal errors cause at most RENEWAL_MAX renewals within RENEWAL_SPAN_MS. */
#define RENEWAL_MAX     3
#define RENEWAL_SPAN_MS INT64_C(600000)

/* The wall clock minus the monotonic one. Slewing changes both alike; only a step changes this. */
struct renewal_clock {
    int64_t ahead_ms;
};

void renewal_clock_init(struct renewal_clock *clock, struct moment now);
/* The step since renewal_clock_init() or since the last step that was returned; 0 when it is
 * smaller than RENEWAL_STEP_MS. Small steps add up. */
int64_t renewal_clock_step(struct renewal_clock *clock, struct moment now);

/* All zero: no renewal yet. */
struct renewal_budget {
    int64_t at_ms[RENEWAL_MAX];
    unsigned count; /* of `at_ms` in use, oldest first */
};

/* Counts a renewal. False, and not counted, when there were RENEWAL_MAX already. */
bool renewal_allow(struct renewal_budget *budget, int64_t now_ms)
    __attribute__((warn_unused_result));

/* Who fenced our group.instance.id. A process acquires the transactional.id before it joins the
 * group. So another process that has fenced our consumer has fenced our producer before. */
enum renewal_fence {
    FENCE_UNKNOWN,
    FENCE_BY_US, /* an old request of ours, which the coordinator processed late */
    FENCE_BY_OTHER,
};
enum renewal_fence renewal_fence(enum producer_id_holder holder);

/* Without a transactional.id: true while a request to join that this process has sent may reach the
 * coordinator late. */
#define RENEWAL_LATE_MS INT64_C(600000)
bool renewal_fence_may_be_ours(int64_t joined_ms, int64_t now_ms);

/* Since when the group has rejected our commits without a revoke; -1: it accepts them. */
struct renewal_group {
    int64_t since_ms;
};
#define RENEWAL_GROUP_INIT ((struct renewal_group){-1})

/* Call it after each stale commit. True when all commits were stale for longer than `session_ms`:
 * the membership is lost. */
bool renewal_group_stale(struct renewal_group *group, int64_t now_ms, int64_t session_ms)
    __attribute__((warn_unused_result));
/* Call it after a successful commit, and when partitions are assigned, revoked or lost. */
void renewal_group_active(struct renewal_group *group);

#endif
