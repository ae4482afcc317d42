#include "presignd/flow/reason.h"

#include <assert.h>

static const struct reason_row rows[REASON_COUNT] = {
    [REASON_NONE] = {"none", false, REASON_SIDE_SENDER, "", ""},
#define REASON(id, name, retryable, side, when, advice) \
    [REASON_##id] = {name, retryable, REASON_SIDE_##side, when, advice},
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

const char *reason_side_name(enum reason reason)
{
    static const char *const names[] = {[REASON_SIDE_SENDER] = "sender",
                                        [REASON_SIDE_OPERATOR] = "operator",
                                        [REASON_SIDE_WECHATPAY] = "wechatpay"};
    return names[reason_row(reason)->side];
}
