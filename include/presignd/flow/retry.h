/* Whether and when there is another attempt: retry_rule() says for which answers (a 503 is
 * ANSWER_UNAVAILABLE, see wechatpay/answer.h), retry_next_ms() computes the delay. Pure.
 *
 * Full jitter: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 * Retry-After: RFC 9110, section 10.2.3. It is a minimum; the jitter applies only when it is
 * longer.
 */
#ifndef PRESIGND_FLOW_RETRY_H
#define PRESIGND_FLOW_RETRY_H

#include "presignd/flow/merchant_queue.h"
#include "presignd/flow/reason.h"
#include "presignd/wechatpay/answer.h"

#include <stdbool.h>
#include <stdint.h>

struct retry_policy {
    unsigned max_attempts;
    int64_t base_delay_ms;
    int64_t max_delay_ms;     /* of the jitter; Retry-After may be longer */
    int64_t give_up_after_ms; /* from the first attempt; time in holds does not count */
};

/* What an answer leads to, for each kind. */
struct retry_rule {
    enum reason reason;                /* of the failure, if there is no further attempt */
    bool retry;                        /* another attempt may succeed */
    enum merchant_queue_answer effect; /* on the merchant's in-flight limit */
};
struct retry_rule retry_rule(enum answer_kind kind);

/* Moments are of the monotonic clock. */
struct retry_case {
    unsigned counted_attempts; /* including the last one; at least 1 */
    int64_t retry_after_ms;    /* -1: none */
    int64_t now_ms;
    int64_t last_ms; /* when the last attempt may begin */
    uint64_t random; /* any value */
};

/* The moment of the next attempt, last_ms at the latest. -1: no further attempt, since all are used
 * or last_ms has passed. */
int64_t retry_next_ms(const struct retry_policy *policy, const struct retry_case *retry);

#endif
