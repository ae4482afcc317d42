#include "flow/commit_interval.h"

#include <criterion/criterion.h>

/* Begins transactions every `every_ms` for `seconds`, each with so many outcomes. Returns the
 * interval after that. */
static int64_t distance_after(struct commit_interval *interval, size_t outcomes, int64_t every_ms,
                              int seconds)
{
    for (int64_t left = seconds * INT64_C(1000); left > 0; left -= every_ms) {
        commit_interval_begin(interval, outcomes, interval->begun_ms + every_ms);
    }
    return commit_interval_next_ms(interval) - interval->begun_ms;
}

Test(interval, the_first_transaction_has_no_delay)
{
    struct commit_interval interval = {0};
    cr_assert_eq(commit_interval_next_ms(&interval), 0);
    commit_interval_begin(&interval, 1, 1000000);
    cr_assert_eq(commit_interval_next_ms(&interval), 1000000);
}

Test(interval, the_interval_depends_on_the_rate_not_on_the_batches)
{
    int64_t distances[3];
    static const int64_t every_ms[3] = {5, 10, 40};
    for (size_t i = 0; i < 3; i++) {
        struct commit_interval interval = {0};
        distances[i] = distance_after(&interval, (size_t)every_ms[i] / 5, every_ms[i], 5);
    }
    for (size_t i = 0; i < 3; i++) { /* 200 a second */
        cr_assert(distances[i] >= 8 && distances[i] <= 10, "%ld", (long)distances[i]);
    }
}

Test(interval, at_a_hundred_per_second_the_interval_is_short)
{
    struct commit_interval interval = {0};
    cr_assert_leq(distance_after(&interval, 1, 10, 5), 5);
}

Test(interval, a_burst_after_a_pause_changes_it_little)
{
    struct commit_interval interval = {0};
    commit_interval_begin(&interval, 1, 1000000);
    commit_interval_begin(&interval, 20, 1000005);
    cr_assert_leq(commit_interval_next_ms(&interval) - interval.begun_ms, 5);
}

Test(interval, the_interval_has_a_limit_and_shrinks_again)
{
    struct commit_interval interval = {0};
    cr_assert_eq(distance_after(&interval, 2000, 1, 5), COMMIT_INTERVAL_MAX_MS);
    cr_assert_leq(distance_after(&interval, 1, 100, 60), 1);
}
