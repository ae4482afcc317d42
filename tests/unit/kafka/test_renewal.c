#include "kafka/renewal.h"

#include <criterion/criterion.h>

static struct moment at(int64_t mono_ms, int64_t wall_ms)
{
    return (struct moment){.mono_ms = mono_ms, .wall_ms = wall_ms};
}

Test(renewal, a_steady_clock_has_no_step)
{
    struct renewal_clock clock;
    renewal_clock_init(&clock, at(1000, 1700000000000));
    cr_assert_eq(renewal_clock_step(&clock, at(1000 + 86400000, 1700000000000 + 86400000)), 0);
}

Test(renewal, a_step_is_returned_once_with_its_sign)
{
    struct renewal_clock clock;
    renewal_clock_init(&clock, at(0, 5000000));
    cr_assert_eq(renewal_clock_step(&clock, at(10, 5000010 - 900000)), -900000);
    cr_assert_eq(renewal_clock_step(&clock, at(20, 5000020 - 900000)), 0);
    cr_assert_eq(renewal_clock_step(&clock, at(30, 5000030)), 900000);
    cr_assert_eq(renewal_clock_step(&clock, at(40, 5000040)), 0);
}

Test(renewal, a_step_of_exactly_the_limit_counts)
{
    struct renewal_clock clock;
    renewal_clock_init(&clock, at(0, 5000000));
    cr_assert_eq(renewal_clock_step(&clock, at(0, 5000000 + RENEWAL_STEP_MS - 1)), 0);
    cr_assert_eq(renewal_clock_step(&clock, at(0, 5000000 - RENEWAL_STEP_MS + 1)), 0);
    cr_assert_eq(renewal_clock_step(&clock, at(0, 5000000 + RENEWAL_STEP_MS)), RENEWAL_STEP_MS);
    cr_assert_eq(renewal_clock_step(&clock, at(0, 5000000)), -RENEWAL_STEP_MS);
}

Test(renewal, small_steps_add_up)
{
    struct renewal_clock clock;
    renewal_clock_init(&clock, at(0, 5000000));
    cr_assert_eq(renewal_clock_step(&clock, at(0, 5000600)), 0);
    cr_assert_eq(renewal_clock_step(&clock, at(0, 5001200)), 1200);
}

Test(renewal, a_fourth_renewal_within_ten_minutes_is_denied)
{
    struct renewal_budget budget = {0};
    cr_assert(renewal_allow(&budget, 0));
    cr_assert(renewal_allow(&budget, 100));
    cr_assert(renewal_allow(&budget, 200));
    cr_assert_not(renewal_allow(&budget, RENEWAL_SPAN_MS - 1));
    cr_assert(renewal_allow(&budget, RENEWAL_SPAN_MS)); /* the first is as old as the span */
    cr_assert_not(renewal_allow(&budget, RENEWAL_SPAN_MS + 99));
    cr_assert(renewal_allow(&budget, RENEWAL_SPAN_MS + 100));
}

Test(renewal, renewals_far_apart_are_never_denied)
{
    struct renewal_budget budget = {0};
    for (int64_t i = 0; i < 1000; i++) {
        cr_assert(renewal_allow(&budget, i * RENEWAL_SPAN_MS / RENEWAL_MAX + i));
    }
}

Test(renewal, only_another_holder_of_the_id_has_fenced_us)
{
    cr_assert_eq(renewal_fence(ID_HOLDER_OTHER), FENCE_BY_OTHER);
    cr_assert_eq(renewal_fence(ID_HOLDER_US), FENCE_BY_US);
    cr_assert_eq(renewal_fence(ID_HOLDER_US_TIMED_OUT), FENCE_BY_US);
    cr_assert_eq(renewal_fence(ID_HOLDER_NONE), FENCE_BY_US);
    cr_assert_eq(renewal_fence(ID_HOLDER_UNKNOWN), FENCE_UNKNOWN);
}

Test(renewal, without_an_id_a_fence_may_be_ours_for_ten_minutes_after_a_join)
{
    cr_assert(renewal_fence_may_be_ours(1000, 1000));
    cr_assert(renewal_fence_may_be_ours(1000, 1000 + RENEWAL_LATE_MS - 1));
    cr_assert_not(renewal_fence_may_be_ours(1000, 1000 + RENEWAL_LATE_MS));
}

Test(renewal, stale_commits_for_longer_than_a_session_lose_the_group)
{
    struct renewal_group group = RENEWAL_GROUP_INIT;
    cr_assert_not(renewal_group_stale(&group, 1000, 15000));
    cr_assert_not(renewal_group_stale(&group, 16000, 15000));
    cr_assert(renewal_group_stale(&group, 16001, 15000));
}

Test(renewal, activity_of_the_group_restarts_the_time)
{
    struct renewal_group group = RENEWAL_GROUP_INIT;
    cr_assert_not(renewal_group_stale(&group, 1000, 15000));
    renewal_group_active(&group);
    cr_assert_not(renewal_group_stale(&group, 16001, 15000));
    cr_assert_not(renewal_group_stale(&group, 31001, 15000));
    cr_assert(renewal_group_stale(&group, 31002, 15000));
}
