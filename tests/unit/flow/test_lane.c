#include "presignd/flow/lane.h"

#include <criterion/criterion.h>

/* Lanes need no keys; the reference that the test holds keeps it from being freed. */
static struct merchant merchant_with(unsigned max_in_flight, unsigned rate_per_s)
{
    return (struct merchant){
        .max_in_flight = max_in_flight, .rate_per_s = rate_per_s, .references = 1};
}

static bool open_at(struct lane *lane, int64_t now_ms)
{
    int64_t wait_ms;
    return lane_open(lane, now_ms, &wait_ms);
}

static unsigned begin_all(struct lane *lane, int64_t now_ms)
{
    unsigned count = 0;
    while (count < 10000 && open_at(lane, now_ms)) {
        lane_began(lane);
        count++;
    }
    return count;
}

static void end_all(struct lane *lane, enum lane_answer answer, int64_t began_ms, int64_t now_ms)
{
    while (lane->in_flight > 0) {
        lane_ended(lane, answer, began_ms, now_ms);
    }
}

Test(lane, as_many_calls_begin_as_the_merchant_may_have_in_the_air)
{
    struct merchant merchant = merchant_with(5, 0);
    struct lane lane;
    lane_init(&lane, &merchant);
    int64_t wait_ms;
    cr_assert_not(lane_limited(&lane));
    cr_assert_eq(begin_all(&lane, 1000), 5);
    cr_assert(lane_limited(&lane));
    cr_assert_not(lane_open(&lane, 1000, &wait_ms));
    cr_assert_eq(wait_ms, 0, "an answer tells, not time");
    lane_ended(&lane, LANE_OK, 1000, 1010);
    cr_assert_eq(begin_all(&lane, 1010), 1);
    lane_deinit(&lane);
    cr_assert_eq(merchant.references, 1);
}

Test(lane, a_429_halves_the_limit_once_for_all_that_were_in_the_air)
{
    struct merchant merchant = merchant_with(64, 0);
    struct lane lane;
    lane_init(&lane, &merchant);
    cr_assert_eq(begin_all(&lane, 1000), 64);
    end_all(&lane, LANE_RATE_LIMITED, 1000, 1050);
    cr_assert_eq(begin_all(&lane, 2000), 32);
    end_all(&lane, LANE_RATE_LIMITED, 2000, 2050);
    cr_assert_eq(begin_all(&lane, 3000), 16);
    lane_deinit(&lane);
}

Test(lane, the_limit_never_falls_below_one_call)
{
    struct merchant merchant = merchant_with(3, 0);
    struct lane lane;
    lane_init(&lane, &merchant);
    for (int64_t now_ms = 1000; now_ms < 9000; now_ms += 100) {
        cr_assert_geq(begin_all(&lane, now_ms), 1);
        end_all(&lane, LANE_RATE_LIMITED, now_ms, now_ms + 50);
    }
    cr_assert_eq(begin_all(&lane, 10000), 1);
    lane_deinit(&lane);
}

Test(lane, the_limit_rises_by_about_one_for_each_round_of_successes)
{
    struct merchant merchant = merchant_with(64, 0);
    struct lane lane;
    lane_init(&lane, &merchant);
    begin_all(&lane, 1000);
    end_all(&lane, LANE_RATE_LIMITED, 1000, 1050);
    unsigned before = 32;
    for (int64_t now_ms = 2000; now_ms < 12000; now_ms += 100) {
        unsigned count = begin_all(&lane, now_ms);
        cr_assert(count == before || count == before + 1, "from %u to %u", before, count);
        before = count;
        end_all(&lane, LANE_OK, now_ms, now_ms + 50);
    }
    cr_assert_eq(before, 64, "never above the merchant's own");
    lane_deinit(&lane);
}

Test(lane, silence_changes_no_limit)
{
    struct merchant merchant = merchant_with(8, 0);
    struct lane lane;
    lane_init(&lane, &merchant);
    begin_all(&lane, 1000);
    end_all(&lane, LANE_NO_WORD, 1000, 1050);
    cr_assert_eq(begin_all(&lane, 2000), 8);
    lane_deinit(&lane);
}

Test(lane, a_rate_lets_one_seconds_worth_go_at_once_and_the_rest_by_and_by)
{
    struct merchant merchant = merchant_with(1000, 10);
    struct lane lane;
    lane_init(&lane, &merchant);
    cr_assert_eq(begin_all(&lane, 1000000), 10);
    cr_assert(lane_limited(&lane));
    int64_t wait_ms;
    cr_assert_not(lane_open(&lane, 1000000, &wait_ms));
    cr_assert(wait_ms > 1000000 && wait_ms <= 1000101, "%ld", (long)wait_ms);
    cr_assert(open_at(&lane, wait_ms));
    unsigned sent = 0;
    for (int64_t now_ms = 1000000; now_ms < 1010000; now_ms += 7) {
        sent += begin_all(&lane, now_ms);
    }
    cr_assert(sent >= 98 && sent <= 101, "%u in ten seconds", sent);
    cr_assert_eq(begin_all(&lane, 2000000), 10, "what was not used is not saved up");
    lane_deinit(&lane);
}

Test(lane, a_reload_brings_new_limits_and_ends_holds)
{
    struct merchant before = merchant_with(8, 0);
    struct merchant after = merchant_with(3, 2);
    struct lane lane;
    lane_init(&lane, &before);
    lane.hold.state = HOLD_UNAUTHORIZED;
    cr_assert(lane_configure(&lane, &after, 1500));
    cr_assert_eq(lane.hold.state, HOLD_OPEN);
    cr_assert_eq(before.references, 1);
    cr_assert_eq(after.references, 2);
    cr_assert_eq(begin_all(&lane, 2000), 2, "by the new rate");
    cr_assert_eq(begin_all(&lane, 9000), 1, "by the new limit");
    lane_deinit(&lane);
    cr_assert_eq(after.references, 1);
}

Test(lane, a_reload_that_changes_nothing_of_the_merchant_changes_nothing)
{
    struct merchant before = merchant_with(8, 0);
    struct merchant after = merchant_with(8, 0);
    struct lane lane;
    lane_init(&lane, &before);
    begin_all(&lane, 1000);
    end_all(&lane, LANE_RATE_LIMITED, 1000, 1050);
    lane.hold.state = HOLD_UNAUTHORIZED;
    cr_assert_not(lane_configure(&lane, &after, 1500));
    cr_assert_eq(lane.hold.state, HOLD_UNAUTHORIZED);
    cr_assert_eq(after.references, 2);
    cr_assert_eq(begin_all(&lane, 2000), 4, "the limit stays lowered");
    lane_deinit(&lane);
}

/* Probes take the events in turn, ordinary calls take those that were probes first. */
Test(lane, the_next_probe_is_another_event)
{
    struct merchant merchant = merchant_with(8, 0);
    struct lane lane;
    struct list_link events[2 * LANE_PROBED_MAX];
    lane_init(&lane, &merchant);
    for (size_t i = 0; i < ARRAY_LENGTH(events); i++) {
        list_push_back(&lane.waiting, &events[i]);
    }
    for (size_t i = 0; i < (size_t)3 * LANE_PROBED_MAX; i++) {
        struct list_link *next = lane_next(&lane, true);
        cr_assert_eq(next, &events[ARRAY_LENGTH(events) - 1 - i % LANE_PROBED_MAX]);
        list_remove(i < LANE_PROBED_MAX ? &lane.waiting : &lane.probed, next);
        list_push_back(&lane.probed, next);
        cr_assert_eq(lane_next(&lane, false), list_first(&lane.probed));
    }
    cr_assert_eq(lane_waiting(&lane), ARRAY_LENGTH(events));
    list_init(&lane.probed);
    cr_assert_eq(lane_next(&lane, false), &events[0]);
    list_init(&lane.waiting);
    list_push_back(&lane.probed, &events[0]);
    cr_assert_eq(lane_next(&lane, true), &events[0], "better than none");
    lane_deinit(&lane);
}
