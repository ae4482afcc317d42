#include "flow/commit_interval.h"

#include <criterion/criterion.h>

/* Transactions every `every_ms` for `seconds`, each with so many outcomes; the distance that
 * follows. */
static int64_t distance_after(struct commit_interval *interval, size_t outcomes, int64_t every_ms,
                              int seconds)
{
    for (int64_t left = seconds * INT64_C(1000); left > 0; left -= every_ms) {
        commit_interval_begin(interval, outcomes, interval->begun_ms + every_ms);
    }
    return commit_interval_next_ms(interval) - interval->begun_ms;
}

Test(interval, it_begins_without_any_distance)
{
    struct commit_interval interval = {0};
    cr_assert_eq(commit_interval_next_ms(&interval), 0);
    commit_interval_begin(&interval, 1, 1000000);
    cr_assert_eq(commit_interval_next_ms(&interval), 1000000);
}

Test(interval, the_distance_follows_the_rate_not_how_it_is_cut)
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

Test(interval, at_a_hundred_a_second_it_adds_next_to_nothing)
{
    struct commit_interval interval = {0};
    cr_assert_leq(distance_after(&interval, 1, 10, 5), 5);
}

Test(interval, a_burst_after_silence_moves_it_little)
{
    struct commit_interval interval = {0};
    commit_interval_begin(&interval, 1, 1000000);
    commit_interval_begin(&interval, 20, 1000005);
    cr_assert_leq(commit_interval_next_ms(&interval) - interval.begun_ms, 5);
}

Test(interval, the_distance_has_a_limit_and_shrinks_again)
{
    struct commit_interval interval = {0};
    cr_assert_eq(distance_after(&interval, 2000, 1, 5), COMMIT_INTERVAL_MAX_MS);
    cr_assert_leq(distance_after(&interval, 1, 100, 60), 1);
}
