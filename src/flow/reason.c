#include "presignd/flow/reason.h"

#include <assert.h>
#include <stdlib.h>

static const struct reason_row rows[REASON_COUNT] = {
    [REASON_NONE] = {"none", false, "", ""},
#define REASON(id, name, retryable, when, advice) [REASON_##id] = {name, retryable, when, advice},
#include "presignd/flow/reason_rows.h"
};

const struct reason_row *reason_row(enum reason reason)
{
    assert(reason < REASON_COUNT);
    return &rows[reason];
}

const char *reason_name(enum reason reason)
{
    return reason_row(reason)->name;
}

/* No default: a kind without its reason does not compile. */
enum reason reason_of_answer(enum answer_kind kind)
{
    switch (kind) {
    case ANSWER_SUCCESS:
        return REASON_NONE;
    case ANSWER_REJECTED:
        return REASON_REJECTED;
    case ANSWER_UNAUTHORIZED:
        return REASON_MERCHANT_UNAUTHORIZED;
    case ANSWER_RATE_LIMITED:
        return REASON_RATE_LIMITED;
    case ANSWER_UNAVAILABLE:
        return REASON_UNAVAILABLE;
    case ANSWER_UNREACHABLE:
        return REASON_UNREACHABLE;
    case ANSWER_UNVERIFIED:
        return REASON_UNVERIFIED_ANSWER;
    case ANSWER_UNEXPECTED:
        return REASON_UNEXPECTED_ANSWER;
    case ANSWER_KIND_COUNT:
        break;
    }
    abort();
}
