#include "presignd/flow/retry.h"

bool retry_applies(enum answer_kind kind)
{
    switch (kind) {
    case ANSWER_RATE_LIMITED:
    case ANSWER_UNAVAILABLE:
    case ANSWER_UNREACHABLE:
    case ANSWER_UNVERIFIED:
        return true;
    case ANSWER_SUCCESS:
    case ANSWER_REJECTED:
    case ANSWER_UNAUTHORIZED: /* dispatch.c signs the request again, or holds the merchant */
    case ANSWER_UNEXPECTED:
    case ANSWER_KIND_COUNT:
        break;
    }
    return false;
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
