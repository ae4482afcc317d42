#include "presignd/flow/pace.h"

#include <criterion/criterion.h>

/* Transactions every `every_ms` for `seconds`, each with so many outcomes; the distance that
 * follows. */
static int64_t distance_after(struct pace *pace, size_t outcomes, int64_t every_ms, int seconds)
{
    for (int64_t left = seconds * INT64_C(1000); left > 0; left -= every_ms) {
        pace_begin(pace, outcomes, pace->begun_ms + every_ms);
    }
    return pace_next_ms(pace) - pace->begun_ms;
}

Test(pace, it_begins_without_any_distance)
{
    struct pace pace = {0};
    cr_assert_eq(pace_next_ms(&pace), 0);
    pace_begin(&pace, 1, 1000000);
    cr_assert_eq(pace_next_ms(&pace), 1000000);
}

Test(pace, the_distance_follows_the_rate_not_how_it_is_cut)
{
    int64_t distances[3];
    static const int64_t every_ms[3] = {5, 10, 40};
    for (size_t i = 0; i < 3; i++) {
        struct pace pace = {0};
        distances[i] = distance_after(&pace, (size_t)every_ms[i] / 5, every_ms[i], 5);
    }
    for (size_t i = 0; i < 3; i++) { /* 200 a second */
        cr_assert(distances[i] >= 8 && distances[i] <= 10, "%ld", (long)distances[i]);
    }
}

Test(pace, at_a_hundred_a_second_it_adds_next_to_nothing)
{
    struct pace pace = {0};
    cr_assert_leq(distance_after(&pace, 1, 10, 5), 5);
}

Test(pace, a_burst_after_silence_moves_it_little)
{
    struct pace pace = {0};
    pace_begin(&pace, 1, 1000000);
    pace_begin(&pace, 20, 1000005);
    cr_assert_leq(pace_next_ms(&pace) - pace.begun_ms, 5);
}

Test(pace, the_distance_has_a_limit_and_shrinks_again)
{
    struct pace pace = {0};
    cr_assert_eq(distance_after(&pace, 2000, 1, 5), PACE_MAX_MS);
    cr_assert_leq(distance_after(&pace, 1, 100, 60), 1);
}
