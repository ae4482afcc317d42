#include "presignd/flow/reason.h"

#include <criterion/criterion.h>
#include <string.h>

Test(reason, each_says_when_it_happens_and_what_to_do)
{
    for (enum reason reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
        cr_assert_gt(strlen(reason_row(reason)->when), 10, "%s", reason_name(reason));
        cr_assert_gt(strlen(reason_row(reason)->advice), 10, "%s", reason_name(reason));
    }
}

Test(reason, every_answer_but_a_success_has_one_of_its_own)
{
    bool taken[REASON_COUNT] = {false};
    cr_assert_eq(reason_of_answer(ANSWER_SUCCESS), REASON_NONE);
    for (enum answer_kind kind = ANSWER_SUCCESS + 1; kind < ANSWER_KIND_COUNT; kind++) {
        enum reason reason = reason_of_answer(kind);
        cr_assert_geq(reason, REASON_REJECTED);
        cr_assert_not(taken[reason]);
        taken[reason] = true;
    }
}
