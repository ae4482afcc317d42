#include "presignd/flow/health.h"

#include <criterion/criterion.h>

static struct health with_hosts(unsigned count)
{
    struct health health;
    health_init(&health, count);
    return health;
}

/* Picks for a call whose number is not of interest, or stands in `probe`. */
static uint64_t probe;

static int pick(struct health *health, int64_t now_ms)
{
    return health_pick(health, now_ms, &probe);
}

/* The end of an ordinary call. */
static void report(struct health *health, unsigned host, enum health_word word, int64_t now_ms)
{
    health_report(health, host, 0, word, now_ms);
}

static void fail_times(struct health *health, unsigned host, unsigned times, int64_t now_ms)
{
    for (unsigned i = 0; i < times; i++) {
        report(health, host, HEALTH_OUTAGE, now_ms);
    }
}

/* Twenty outages over a second. */
static void take_down(struct health *health, int64_t now_ms)
{
    for (unsigned i = 0; i < HEALTH_DOWN_OUTAGES; i++) {
        report(health, i % health->host_count, HEALTH_OUTAGE, now_ms - HEALTH_DOWN_AFTER_MS);
    }
    cr_assert_not(health->down);
    report(health, 0, HEALTH_OUTAGE, now_ms);
    cr_assert(health->down);
}

Test(health, the_first_host_is_called_while_it_works)
{
    struct health health = with_hosts(2);
    cr_assert_eq(pick(&health, 1), 0);
    fail_times(&health, 0, HEALTH_SUSPECT_OUTAGES - 1, 1);
    cr_assert_eq(pick(&health, 1), 0);
    report(&health, 0, HEALTH_LIVES, 2);
    fail_times(&health, 0, HEALTH_SUSPECT_OUTAGES - 1, 3);
    cr_assert_eq(pick(&health, 3), 0, "an answer in between begins the count anew");
}

Test(health, in_doubt_when_nobody_was_heard_for_a_while)
{
    struct health health = with_hosts(2);
    cr_assert_not(health_in_doubt(&health, 1000));
    fail_times(&health, 0, HEALTH_SUSPECT_OUTAGES - 1, 1000);
    cr_assert_not(health_in_doubt(&health, 1000 + HEALTH_DOWN_AFTER_MS), "too few calls");
    report(&health, 1, HEALTH_OUTAGE, 1001);
    cr_assert_not(health_in_doubt(&health, 1000 + HEALTH_DOWN_AFTER_MS - 1), "too short a time");
    cr_assert(health_in_doubt(&health, 1000 + HEALTH_DOWN_AFTER_MS));
    cr_assert_not(health.down);
    report(&health, 1, HEALTH_LIVES, 1002);
    cr_assert_not(health_in_doubt(&health, 100000));
}

Test(health, a_host_that_fails_is_avoided_but_for_one_call_at_times)
{
    struct health health = with_hosts(2);
    fail_times(&health, 0, HEALTH_SUSPECT_OUTAGES, 1000);
    for (int64_t now_ms = 1000; now_ms < 1000 + HEALTH_RECHECK_MS; now_ms += 100) {
        cr_assert_eq(pick(&health, now_ms), 1);
        report(&health, 1, HEALTH_LIVES, now_ms);
    }
    int64_t recheck_ms = 1000 + HEALTH_RECHECK_MS;
    cr_assert_eq(pick(&health, recheck_ms), 0);
    cr_assert_eq(pick(&health, recheck_ms), 1, "one call only");
    report(&health, 0, HEALTH_OUTAGE, recheck_ms + 5);
    cr_assert_eq(pick(&health, recheck_ms + 6), 1);
    cr_assert_eq(pick(&health, recheck_ms + HEALTH_RECHECK_MS), 0);
    report(&health, 0, HEALTH_LIVES, recheck_ms + HEALTH_RECHECK_MS + 5);
    cr_assert_eq(pick(&health, recheck_ms + HEALTH_RECHECK_MS + 6), 0, "it is back");
}

Test(health, one_dead_host_of_two_does_not_take_the_endpoint_down)
{
    struct health health = with_hosts(2);
    fail_times(&health, 0, 10 * HEALTH_DOWN_OUTAGES, 1000);
    fail_times(&health, 0, 10 * HEALTH_DOWN_OUTAGES, 1000 + 2 * HEALTH_DOWN_AFTER_MS);
    cr_assert_not(health.down, "the other one has not been tried");
    cr_assert_eq(pick(&health, 1000), 1);
}

Test(health, a_single_host_that_fails_is_called_until_it_is_down)
{
    struct health health = with_hosts(1);
    fail_times(&health, 0, HEALTH_SUSPECT_OUTAGES + 1, 1000);
    cr_assert_eq(pick(&health, 1001), 0);
    fail_times(&health, 0, HEALTH_DOWN_OUTAGES, 5000);
    cr_assert(health.down);
    cr_assert_eq(pick(&health, 5000), -1);
}

Test(health, a_burst_of_outages_is_not_yet_down)
{
    struct health health = with_hosts(1);
    fail_times(&health, 0, 10 * HEALTH_DOWN_OUTAGES, 1000);
    fail_times(&health, 0, 1, 1000 + HEALTH_DOWN_AFTER_MS - 1);
    cr_assert_not(health.down);
    fail_times(&health, 0, 1, 1000 + HEALTH_DOWN_AFTER_MS);
    cr_assert(health.down);
}

Test(health, any_answer_begins_the_count_anew)
{
    struct health health = with_hosts(1);
    fail_times(&health, 0, HEALTH_DOWN_OUTAGES - 1, 1000);
    report(&health, 0, HEALTH_LIVES, 2000);
    fail_times(&health, 0, HEALTH_DOWN_OUTAGES - 1, 9000);
    cr_assert_not(health.down);
}

Test(health, while_down_one_call_at_a_time_probes)
{
    struct health health = with_hosts(1);
    take_down(&health, 5000);
    cr_assert_eq(pick(&health, 5000), -1);
    cr_assert_eq(health_wait_ms(&health), 5000 + HEALTH_PROBE_FIRST_MS);
    cr_assert_eq(pick(&health, 5000 + HEALTH_PROBE_FIRST_MS), 0);
    cr_assert_neq(probe, 0);
    cr_assert_eq(pick(&health, 5000 + HEALTH_PROBE_FIRST_MS), -1);
    cr_assert_eq(health_wait_ms(&health), 0, "only the probe's answer tells");
    report(&health, 0, HEALTH_LIVES, 6000);
    cr_assert_not(health.down);
    cr_assert_eq(pick(&health, 6000), 0);
    cr_assert_eq(pick(&health, 6000), 0);
}

Test(health, probes_go_ever_further_apart_to_a_bound)
{
    struct health health = with_hosts(1);
    int64_t now_ms = 5000, delay_ms = HEALTH_PROBE_FIRST_MS;
    take_down(&health, now_ms);
    for (int i = 0; i < 12; i++) {
        cr_assert_eq(health_wait_ms(&health), now_ms + delay_ms);
        now_ms += delay_ms;
        cr_assert_eq(pick(&health, now_ms), 0);
        health_report(&health, 0, probe, HEALTH_OUTAGE, now_ms);
        delay_ms = delay_ms * 2 < HEALTH_PROBE_MAX_MS ? delay_ms * 2 : HEALTH_PROBE_MAX_MS;
    }
    cr_assert_eq(delay_ms, HEALTH_PROBE_MAX_MS);
}

Test(health, probes_take_the_hosts_in_turn)
{
    struct health health = with_hosts(2);
    int64_t now_ms = 5000;
    take_down(&health, now_ms);
    int last = -1;
    for (int i = 0; i < 6; i++) {
        now_ms = health_wait_ms(&health);
        int host = pick(&health, now_ms);
        cr_assert(host == 0 || host == 1);
        cr_assert_neq(host, last);
        last = host;
        health_report(&health, (unsigned)host, probe, HEALTH_OUTAGE, now_ms);
    }
}

Test(health, after_a_new_downfall_the_first_probe_is_soon_again)
{
    struct health health = with_hosts(1);
    take_down(&health, 5000);
    for (int i = 0; i < 8; i++) {
        int64_t now_ms = health_wait_ms(&health);
        (void)pick(&health, now_ms);
        health_report(&health, 0, probe, HEALTH_OUTAGE, now_ms + 1);
    }
    report(&health, 0, HEALTH_LIVES, 200000);
    take_down(&health, 300000);
    cr_assert_eq(health_wait_ms(&health), 300000 + HEALTH_PROBE_FIRST_MS);
}

/* Calls that began before the endpoint went down may end long after. */
Test(health, late_ends_of_old_calls_move_no_probe_while_none_is_in_the_air)
{
    struct health health = with_hosts(1);
    take_down(&health, 5000);
    report(&health, 0, HEALTH_OUTAGE, 5100);
    cr_assert_eq(health_wait_ms(&health), 5000 + HEALTH_PROBE_FIRST_MS);
    report(&health, 0, HEALTH_LIVES, 5200);
    cr_assert_not(health.down, "an answer is an answer, whenever the call began");
}

Test(health, late_ends_of_old_calls_say_nothing_of_the_probe_in_the_air)
{
    struct health health = with_hosts(1);
    take_down(&health, 5000);
    int64_t now_ms = health_wait_ms(&health);
    cr_assert_eq(pick(&health, now_ms), 0);
    uint64_t first = probe;
    report(&health, 0, HEALTH_OUTAGE, now_ms + 1);
    cr_assert_eq(health_wait_ms(&health), 0, "the probe is still in the air");
    cr_assert_eq(pick(&health, now_ms + HEALTH_PROBE_MAX_MS), -1, "no second one");
    health_report(&health, 0, first, HEALTH_OUTAGE, now_ms + 2);
    int64_t doubled_ms = INT64_C(2) * HEALTH_PROBE_FIRST_MS;
    cr_assert_eq(health_wait_ms(&health), now_ms + 2 + doubled_ms, "doubled once");
}

Test(health, the_probe_of_an_earlier_downfall_is_an_ordinary_call)
{
    struct health health = with_hosts(1);
    take_down(&health, 5000);
    cr_assert_eq(pick(&health, health_wait_ms(&health)), 0);
    uint64_t old = probe;
    report(&health, 0, HEALTH_LIVES, 6000);
    take_down(&health, 9000);
    cr_assert_eq(pick(&health, health_wait_ms(&health)), 0);
    health_report(&health, 0, old, HEALTH_OUTAGE, 9900);
    cr_assert_eq(health_wait_ms(&health), 0, "the present probe is still in the air");
}

/* It could not be signed, or its event's time was over. */
Test(health, a_probe_that_was_not_sent_makes_room_for_another)
{
    struct health health = with_hosts(1);
    take_down(&health, 5000);
    int64_t now_ms = health_wait_ms(&health);
    cr_assert_eq(pick(&health, now_ms), 0);
    health_report(&health, 0, probe, HEALTH_NOTHING, now_ms + 1);
    cr_assert(health.down, "nothing was heard of the host");
    cr_assert_eq(health_wait_ms(&health), now_ms, "nothing is to be waited for");
    cr_assert_eq(pick(&health, now_ms + 1), 0);
}

Test(health, a_call_that_was_not_sent_ends_no_row_of_outages)
{
    struct health health = with_hosts(2);
    fail_times(&health, 0, HEALTH_SUSPECT_OUTAGES - 1, 1000);
    report(&health, 0, HEALTH_NOTHING, 1000);
    fail_times(&health, 0, 1, 1000);
    cr_assert_eq(pick(&health, 1001), 1);
}

Test(health, a_host_that_a_reload_took_away_is_passed_over)
{
    struct health health = with_hosts(1);
    take_down(&health, 5000);
    report(&health, 1, HEALTH_LIVES, 5100);
    cr_assert(health.down);
}
