#include "presignd/flow/retry.h"

#include <stdlib.h>

/* 401: dispatch.c signs the request again, or holds the merchant. 5xx and a missing answer may be
 * caused by an intermediary, so they do not change the merchant's limit. */
struct retry_rule retry_rule(enum answer_kind kind)
{
#define RULE(id, reason_id, again, effect_id) \
    case ANSWER_##id:                         \
        return (struct retry_rule){REASON_##reason_id, again, MERCHANT_QUEUE_##effect_id};
    switch (kind) {
        /* clang-format off */
        RULE(SUCCESS,      NONE,                  false, OK)
        RULE(REJECTED,     REJECTED,              false, OK)
        RULE(UNAUTHORIZED, MERCHANT_UNAUTHORIZED, false, NEUTRAL)
        RULE(RATE_LIMITED, RATE_LIMITED,          true,  RATE_LIMITED)
        RULE(UNAVAILABLE,  UNAVAILABLE,           true,  NEUTRAL)
        RULE(UNREACHABLE,  UNREACHABLE,           true,  NEUTRAL)
        RULE(UNVERIFIED,   UNVERIFIED_ANSWER,     true,  OK)
        RULE(UNEXPECTED,   UNEXPECTED_ANSWER,     false, OK)
        RULE(SIGN_TEST,    UNVERIFIED_ANSWER,     true,  OK)
        /* clang-format on */
    case ANSWER_KIND_COUNT:
        break;
    }
#undef RULE
    abort();
}

/* base * 2^(attempts - 1), capped. Doubling stops at the cap, so nothing overflows. */
static int64_t ceiling_ms(const struct retry_policy *policy, unsigned attempts)
{
    int64_t ceiling = policy->base_delay_ms;
    for (unsigned i = 1; i < attempts && ceiling < policy->max_delay_ms; i++) {
        ceiling *= 2;
    }
    return ceiling < policy->max_delay_ms ? ceiling : policy->max_delay_ms;
}

/* The delay is the larger of Retry-After and a random one, and it ends at last_ms at the latest. */
int64_t retry_next_ms(const struct retry_policy *policy, const struct retry_case *retry)
{
    if (retry->counted_attempts >= policy->max_attempts) {
        return -1;
    }
    uint64_t spread = (uint64_t)ceiling_ms(policy, retry->counted_attempts) + 1;
    int64_t delay = (int64_t)(retry->random % spread);
    if (delay < retry->retry_after_ms) {
        delay = retry->retry_after_ms;
    }
    int64_t left = retry->last_ms - retry->now_ms;
    return left <= 0 ? -1 : retry->now_ms + (delay < left ? delay : left);
}
