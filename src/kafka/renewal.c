#include "kafka/renewal.h"

#include <string.h>

void renewal_clock_init(struct renewal_clock *clock, struct moment now)
{
    clock->ahead_ms = now.wall_ms - now.mono_ms;
}

int64_t renewal_clock_step(struct renewal_clock *clock, struct moment now)
{
    int64_t step_ms = now.wall_ms - now.mono_ms - clock->ahead_ms;
    if (step_ms > -RENEWAL_STEP_MS && step_ms < RENEWAL_STEP_MS) {
        return 0;
    }
    clock->ahead_ms += step_ms;
    return step_ms;
}

bool renewal_allow(struct renewal_budget *budget, int64_t now_ms)
{
    while (budget->count > 0 && now_ms - budget->at_ms[0] >= RENEWAL_SPAN_MS) {
        budget->count--;
        memmove(budget->at_ms, budget->at_ms + 1, budget->count * sizeof budget->at_ms[0]);
    }
    if (budget->count == RENEWAL_MAX) {
        return false;
    }
    budget->at_ms[budget->count++] = now_ms;
    return true;
}

enum renewal_fence renewal_fence(enum producer_id_holder holder)
{
    switch (holder) {
    case ID_HOLDER_UNKNOWN:
        return FENCE_UNKNOWN;
    case ID_HOLDER_OTHER:
        return FENCE_BY_OTHER;
    case ID_HOLDER_NONE:
    case ID_HOLDER_US:
    case ID_HOLDER_US_TIMED_OUT:
        break;
    }
    return FENCE_BY_US;
}

bool renewal_fence_may_be_ours(int64_t joined_ms, int64_t now_ms)
{
    return now_ms - joined_ms < RENEWAL_LATE_MS;
}

bool renewal_group_stale(struct renewal_group *group, int64_t now_ms, int64_t session_ms)
{
    if (group->since_ms < 0) {
        group->since_ms = now_ms;
    }
    return now_ms - group->since_ms > session_ms;
}

void renewal_group_active(struct renewal_group *group)
{
    group->since_ms = -1;
}
