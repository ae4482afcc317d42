/* When to try again: full jitter, Retry-After, limits of attempts and of time. Pure.
 *
 * Full jitter: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 * Retry-After: RFC 9110, section 10.2.3.
 */
#ifndef PRESIGND_FLOW_RETRY_H
#define PRESIGND_FLOW_RETRY_H

#include "presignd/wechatpay/answer.h"

#include <stdbool.h>
#include <stdint.h>

struct retry_policy {
    unsigned max_attempts;
    int64_t base_delay_ms;
    int64_t max_delay_ms;     /* of the jitter; Retry-After may be longer */
    int64_t give_up_after_ms; /* from the first attempt, but for time that stood still */
};

/* True for answers that another attempt may change. */
bool retry_applies(enum answer_kind kind);

/* Moments are of one clock (mono_ms). */
struct retry_case {
    unsigned counted_attempts; /* attempts that count, the last one included; at least 1 */
    int64_t retry_after_ms;    /* -1: not said */
    int64_t now_ms;
    int64_t last_ms; /* when the last attempt may begin */
    uint64_t random; /* any value */
};

/* The moment of the next attempt, last_ms at the latest, or -1 to give up: attempts are used up, or
 * last_ms has passed. */
int64_t retry_next_ms(const struct retry_policy *policy, const struct retry_case *retry);

#endif
