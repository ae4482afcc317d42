#include "flow/commit_interval.h"

#include <criterion/criterion.h>

enum { TOOK_MS = 5, LOAD = 64 };

/* Begins transactions every `every_ms` for `seconds`, each with so many outcomes. Returns the
 * interval after that. */
static int64_t distance_after(struct commit_interval *interval, size_t outcomes, int64_t every_ms,
                              int seconds, size_t in_flight)
{
    for (int64_t left = seconds * INT64_C(1000); left > 0; left -= every_ms) {
        commit_interval_begin(interval, outcomes, interval->begun_ms + every_ms);
        commit_interval_end(interval, TOOK_MS);
    }
    return commit_interval_next_ms(interval, 1, in_flight) - interval->begun_ms;
}

Test(interval, the_first_transaction_has_no_delay)
{
    struct commit_interval interval = {0};
    cr_assert_eq(commit_interval_next_ms(&interval, 1, LOAD), 0);
    commit_interval_begin(&interval, 1, 1000000);
    cr_assert_eq(commit_interval_next_ms(&interval, 1, LOAD), 1000000);
}

Test(interval, under_load_it_depends_on_the_rate_not_on_the_batches)
{
    int64_t distances[3];
    static const int64_t every_ms[3] = {5, 10, 40};
    for (size_t i = 0; i < 3; i++) {
        struct commit_interval interval = {0};
        distances[i] = distance_after(&interval, (size_t)every_ms[i], every_ms[i], 5, LOAD);
    }
    for (size_t i = 0; i < 3; i++) { /* 1000 a second */
        cr_assert(distances[i] >= 48 && distances[i] <= 50, "%ld", (long)distances[i]);
    }
}

Test(interval, at_low_rates_half_of_it_and_a_transaction_take_eleven_ms)
{
    for (size_t outcomes = 1; outcomes <= 20; outcomes *= 20) { /* 100 and 2000 a second */
        struct commit_interval interval = {0};
        int64_t distance = distance_after(&interval, outcomes, 10, 5, 0);
        cr_assert(distance >= 11 && distance <= 12, "%ld", (long)distance);
    }
}

Test(interval, many_outcomes_do_not_wait_for_a_few_calls)
{
    struct commit_interval interval = {0};
    (void)distance_after(&interval, 1, 10, 5, 0);
    cr_assert_gt(commit_interval_next_ms(&interval, 16, 16), interval.begun_ms);
    cr_assert_eq(commit_interval_next_ms(&interval, 17, 17), interval.begun_ms);
}

Test(interval, slow_transactions_make_it_shorter)
{
    struct commit_interval interval = {0};
    (void)distance_after(&interval, 1, 10, 5, 0);
    for (int i = 0; i < 100; i++) {
        commit_interval_end(&interval, 60);
    }
    cr_assert_eq(commit_interval_next_ms(&interval, 1, 0), interval.begun_ms);
}

Test(interval, an_outcome_that_is_alone_does_not_wait)
{
    struct commit_interval interval = {0};
    cr_assert_eq(distance_after(&interval, 1, 20, 5, 0), 0);
}

Test(interval, a_burst_after_a_pause_changes_it_little)
{
    struct commit_interval interval = {0};
    commit_interval_begin(&interval, 1, 1000000);
    commit_interval_begin(&interval, 10, 1000005);
    cr_assert_leq(commit_interval_next_ms(&interval, 1, 0) - interval.begun_ms, 5);
    cr_assert_leq(commit_interval_next_ms(&interval, 1, LOAD) - interval.begun_ms, 5);
}

Test(interval, the_interval_has_a_limit_and_shrinks_again)
{
    struct commit_interval interval = {0};
    cr_assert_eq(distance_after(&interval, 2000, 1, 5, LOAD), COMMIT_INTERVAL_MAX_MS);
    cr_assert_leq(distance_after(&interval, 1, 100, 60, LOAD), 1);
}
