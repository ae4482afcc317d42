#include "presignd/flow/retry.h"

#include <criterion/criterion.h>
#include <string.h>

Test(reason, each_has_a_description_and_advice)
{
    for (enum reason reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
        cr_expect_gt(strlen(reason_row(reason)->when), 10, "%s: WHEN", reason_name(reason));
        cr_expect_gt(strlen(reason_row(reason)->advice), 10, "%s: ADVICE", reason_name(reason));
    }
}

Test(reason, a_signature_test_shares_its_reason)
{
    cr_assert_eq(retry_rule(ANSWER_SIGN_TEST).reason, retry_rule(ANSWER_UNVERIFIED).reason);
    cr_assert(retry_rule(ANSWER_SIGN_TEST).retry);
}

Test(reason, sides_are_those_of_the_alerts)
{
    cr_assert_str_eq(reason_side_name(REASON_EXPIRED), "sender");
    cr_assert_str_eq(reason_side_name(REASON_REJECTED), "sender");
    cr_assert_str_eq(reason_side_name(REASON_UNKNOWN_MERCHANT), "operator");
    cr_assert_str_eq(reason_side_name(REASON_RATE_LIMITED), "wechatpay");
}

Test(reason, each_kind_of_answer_has_its_own_reason)
{
    bool taken[REASON_COUNT] = {false};
    cr_assert_eq(retry_rule(ANSWER_SUCCESS).reason, REASON_NONE);
    for (enum answer_kind kind = ANSWER_SUCCESS + 1; kind < ANSWER_KIND_COUNT; kind++) {
        enum reason reason = retry_rule(kind).reason;
        cr_assert_geq(reason, REASON_REJECTED);
        cr_assert(!taken[reason] || kind == ANSWER_SIGN_TEST);
        taken[reason] = true;
    }
}
