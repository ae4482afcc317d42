#include "presignd/base/quiet.h"

#include <criterion/criterion.h>

Test(quiet, says_a_few_and_counts_the_rest)
{
    struct quiet quiet = {0};
    for (int i = 0; i < QUIET_WORDS; i++) {
        cr_assert(quiet_says(&quiet, 1000 + i));
    }
    cr_assert_not(quiet_says(&quiet, 2000));
    cr_assert_not(quiet_says(&quiet, 3000));
    cr_assert_eq(quiet_over(&quiet, 1000 + QUIET_SPAN_MS - 1), 0);
    cr_assert_eq(quiet_over(&quiet, 1000 + QUIET_SPAN_MS), 2);
    cr_assert_eq(quiet_over(&quiet, 1000 + QUIET_SPAN_MS), 0, "told once");
}

Test(quiet, may_say_fewer)
{
    struct quiet quiet = {0};
    cr_assert(quiet_says_of(&quiet, 1, 1000));
    cr_assert_not(quiet_says_of(&quiet, 1, 1001));
    cr_assert_eq(quiet_over(&quiet, 1000 + QUIET_SPAN_MS), 1);
    cr_assert(quiet_says_of(&quiet, 1, 1000 + QUIET_SPAN_MS));
}

Test(quiet, begins_anew_after_its_span)
{
    struct quiet quiet = {0};
    for (int i = 0; i <= QUIET_WORDS; i++) {
        (void)quiet_says(&quiet, 0);
    }
    cr_assert_eq(quiet_over(&quiet, QUIET_SPAN_MS), 1);
    cr_assert(quiet_says(&quiet, QUIET_SPAN_MS + 5));
    cr_assert_eq(quiet_over(&quiet, QUIET_SPAN_MS + 5), 0, "the next span begins with its word");
}

Test(quiet, has_nothing_to_tell_of_words_that_were_all_said)
{
    struct quiet quiet = {0};
    cr_assert(quiet_says(&quiet, 0));
    cr_assert_eq(quiet_over(&quiet, (int64_t)10 * QUIET_SPAN_MS), 0);
}
