/* Why an event ends as a failure: the table that outcomes, metrics, documents and tests read. */
#ifndef PRESIGND_FLOW_REASON_H
#define PRESIGND_FLOW_REASON_H

#include "presignd/wechatpay/answer.h"

#include <stdbool.h>

/* In the order in which an event can meet them. */
enum reason {
    REASON_NONE, /* no failure */
    REASON_EMPTY_EVENT,
    REASON_EVENT_TOO_LARGE,
    REASON_INVALID_JSON,
    REASON_INVALID_CLOUDEVENT,
    REASON_UNKNOWN_TYPE,
    REASON_INVALID_REQUEST,
    REASON_EXPIRED,
    REASON_UNKNOWN_MERCHANT,
    REASON_REJECTED,
    REASON_MERCHANT_UNAUTHORIZED,
    REASON_RATE_LIMITED,
    REASON_UNAVAILABLE,
    REASON_UNREACHABLE,
    REASON_UNVERIFIED_ANSWER,
    REASON_UNEXPECTED_ANSWER,
    REASON_COUNT
};

struct reason_row {
    const char *name;
    bool retryable;     /* the unchanged event may succeed when it is sent again later */
    const char *when;   /* for people */
    const char *advice; /* what the operator should do */
};

const struct reason_row *reason_row(enum reason reason);
const char *reason_name(enum reason reason);
/* What an answer of that kind ends as when no further attempt is made; REASON_NONE for a
 * success. */
enum reason reason_of_answer(enum answer_kind kind);

#endif
