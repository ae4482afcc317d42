/* Long faults in virtual time: what happens, and the expected state of the events. The rules are
 * the default configuration. The checks of the simulation run, too (log.c, endpoint.c). */
#include "story.h"

/* --- stories -------------------------------------------------------------------------------- */

/* An event fails ten minutes after its first call. So only events fail that were called before the
 * outage was known, or that were probes. */
static void endpoint_down_for_an_hour(void)
{
    struct story story = begin("the endpoint is down for an hour");
    story.per_second = 10;
    minutes_pass(&story, 5);
    endpoint_goes_down(&story);
    minutes_pass(&story, 9);
    expect_failures(&story, 0, 0);
    expect_full_partitions(&story, 0);
    minutes_pass(&story, 51);
    expect_failures(&story, 1, 300);
    expect_calls(&story, 2000);
    expect_full_partitions(&story, 3);
    endpoint_comes_back(&story);
    all_end_within(&story, 5);
}

/* With one event a minute it takes long until enough calls have failed. The events of these calls
 * must still have attempts then. */
static void endpoint_down_and_few_events(void)
{
    struct story story = begin("the endpoint is down for an hour, with one event a minute");
    endpoint_goes_down(&story);
    for (int minute = 0; minute < 60; minute++) {
        arrive(&story, 1);
        minutes_pass(&story, 1);
        size_t long_here = minute < 9 ? 0 : (size_t)minute - 8; /* ten minutes and more */
        expect_failures(&story, 0, long_here);
    }
    endpoint_comes_back(&story);
    all_end_within(&story, 5);
}

static void endpoint_down_and_processes_killed(void)
{
    struct story story =
        begin("the endpoint is down for an hour, and every nine minutes all processes are killed");
    story.per_second = 5;
    endpoint_goes_down(&story);
    for (int i = 0; i < 7; i++) {
        minutes_pass(&story, 9);
        processes_are_killed(&story);
    }
    expect_failures(&story, 0, 0);
    endpoint_comes_back(&story);
    all_end_within(&story, 5);
}

/* Events fail at their expirytime and not before, which the judge checks. */
static void endpoint_down_and_events_expire(void)
{
    struct story story = begin("the endpoint is down for half an hour, and events live for five "
                               "minutes");
    story.per_second = 10;
    story.lifetime_ms = 5 * MINUTE_MS;
    endpoint_goes_down(&story);
    minutes_pass(&story, 4);
    expect_failures(&story, 0, 0);
    minutes_pass(&story, 26);
    /* The events of the first 25 minutes, ten a second; the wall clock is checked once a minute. */
    expect_failures(&story, 14400, 15000);
    EXPECT(&story, story.sim->outcomes[REASON_EXPIRED] == failures(&story),
           "events failed for another reason than expiry");
    endpoint_comes_back(&story);
    all_end_within(&story, 5);
}

static void endpoint_down_and_clock_set(void)
{
    struct story story = begin("the endpoint is down for eight minutes, and the clock is set ahead "
                               "by an hour");
    story.per_second = 10;
    endpoint_goes_down(&story);
    minutes_pass(&story, 4);
    clock_is_set_ahead_by_an_hour(&story);
    minutes_pass(&story, 4);
    expect_failures(&story, 0, 0);
    endpoint_comes_back(&story);
    all_end_within(&story, 5);
}

/* After hold_unauthorized_ms its events fail as they come, retryable. */
static void merchant_unauthorized_for_an_hour(void)
{
    struct story story = begin("a merchant is answered 401 for an hour");
    story.per_second = 8;
    minutes_pass(&story, 5);
    merchant_is_answered_401(&story, 1);
    minutes_pass(&story, 9);
    expect_failures(&story, 0, 0);
    minutes_pass(&story, 51);
    expect_failures(&story, 1, story.sim->produced / MERCHANTS);
    EXPECT(&story, story.sim->outcomes[REASON_MERCHANT_UNAUTHORIZED] == failures(&story),
           "events failed for another reason than their merchant's key");
    expect_full_partitions(&story, 0);
    expect_others_within(&story, 1, 1000);
    merchant_is_answered_again(&story);
    all_end_within(&story, 5);
}

/* Below the window's bound: 4 a second are 14400 in an hour, 4800 in each partition. */
static void merchant_held_for_an_hour(void)
{
    struct story story = begin("a merchant is answered 401 for an hour, and held for two");
    story.sim->rules.limits.hold_unauthorized_ms = 120 * MINUTE_MS;
    story.per_second = 4;
    merchant_is_answered_401(&story, 1);
    minutes_pass(&story, 60);
    expect_failures(&story, 0, 0);
    expect_full_partitions(&story, 0);
    expect_others_within(&story, 1, 1000);
    merchant_is_answered_again(&story);
    minutes_pass(&story, 1);
    all_end_within(&story, 5);
}

/* Above the window's bound: 10 a second fill the windows, 8192 offsets each, after 41 minutes. From
 * then on its oldest events are failed early, as many as others need room for. */
static void merchant_held_until_windows_are_full(void)
{
    struct story story = begin("a merchant is answered 401 for an hour, is held for two, and fills "
                               "the windows");
    story.sim->rules.limits.hold_unauthorized_ms = 120 * MINUTE_MS;
    story.per_second = 10;
    merchant_is_answered_401(&story, 1);
    minutes_pass(&story, 39);
    expect_full_partitions(&story, 0);
    expect_others_within(&story, 1, 1000);
    minutes_pass(&story, 21);
    expect_others_within(&story, 1, 1000);
    expect_failures(&story, 1, story.sim->produced / MERCHANTS / 2);
    EXPECT(&story, story.sim->outcomes[REASON_MERCHANT_UNAUTHORIZED] == failures(&story),
           "events failed for another reason than their merchant's key");
    merchant_is_answered_again(&story);
    all_end_within(&story, 5);
}

int main(int argc, char **argv)
{
    (void)argc;
    sim_program = argv[0];
    endpoint_down_for_an_hour();
    endpoint_down_and_few_events();
    endpoint_down_and_processes_killed();
    endpoint_down_and_events_expire();
    endpoint_down_and_clock_set();
    merchant_unauthorized_for_an_hour();
    merchant_held_for_an_hour();
    merchant_held_until_windows_are_full();
    return 0;
}
