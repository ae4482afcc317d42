/* Faults of one merchant, or of hosts, that must not affect others: the purpose of flow/hold.c. */
#include "story.h"

/* --- 401 ------------------------------------------------------------------------------------ */

static void unauthorized(unsigned in_flight)
{
    struct story story = begin_wide("a merchant is answered 401 with many calls in flight");
    story.sim->member_count = 1;
    the_one(&story)->latency_ms = 5 * SECOND_MS;
    seconds_pass(&story, 20, in_flight / 5, 3);
    EXPECT(&story, story.sim->members[0].merchant_in_flight[1] >= in_flight * 9 / 10,
           "%u calls in flight", story.sim->members[0].merchant_in_flight[1]);
    merchant_is_answered_401(&story, 1);
    seconds_pass(&story, 10, 4, 3); /* the first one, and its second signature */
    the_one(&story)->latency_ms = 0;
    seconds_pass(&story, 588, 4, 3);
    expect_failures(&story, 0, 0);
    seconds_pass(&story, 14, 4, 3);
    EXPECT(&story, story.sim->outcomes[REASON_MERCHANT_UNAUTHORIZED] > 1500,
           "%zu events failed when the hold was over",
           story.sim->outcomes[REASON_MERCHANT_UNAUTHORIZED]);
    expect_waiting(&story, 10);
    size_t calls = story.sim->merchant_calls[1];
    seconds_pass(&story, 600, 4, 3);
    expect_calls_of_one(&story, calls, 9, 11);
    expect_waiting(&story, 10);
    expect_others_within(&story, 1, SECOND_MS);
    expect_never_down(&story);
    merchant_is_answered_again(&story);
    seconds_pass(&story, 65, 4, 3);
    none_fails_any_more(&story, 4, 3);
}

static void unauthorized_and_no_hold(void)
{
    struct story story = begin_wide("a merchant is answered 401, without holds");
    story.sim->rules.limits.hold_unauthorized_ms = 0;
    seconds_pass(&story, 5, 5, 5);
    merchant_is_answered_401(&story, 1);
    size_t calls = story.sim->merchant_calls[1];
    seconds_pass(&story, 60, 5, 5);
    sim_run_until(story.sim, story.sim->mono_ms + SECOND_MS);
    expect_calls_of_one(&story, calls, 600, 600); /* each one, and its second signature */
    expect_failures(&story, 300, 300);
    expect_others_within(&story, 1, SECOND_MS);
    merchant_is_answered_again(&story);
    all_end_within(&story, 1);
}

static void load_anew(struct story *story, unsigned max_in_flight)
{
    struct sim *sim = story->sim;
    struct merchants *old = sim->merchants;
    add_merchants(sim);
    merchants_find(sim->merchants, "1")->max_in_flight = max_in_flight;
    chaos_configure(sim);
    merchants_unref(old);
}

/* The same keys and limits, in other structures; then another limit. */
static void reload_while_held(void)
{
    struct story story = begin_wide("a merchant is held, and the configuration is reloaded");
    seconds_pass(&story, 5, 5, 5);
    merchant_is_answered_401(&story, 1);
    seconds_pass(&story, 10, 5, 5);
    size_t calls = story.sim->merchant_calls[1];
    load_anew(&story, 256);
    seconds_pass(&story, 19, 5, 5);
    expect_calls_of_one(&story, calls, 0, 0);
    merchant_is_answered_again(&story);
    load_anew(&story, 255);
    seconds_pass(&story, 2, 5, 5);
    expect_waiting(&story, 5);
    all_end_within(&story, 1);
}

/* --- answers that no key verifies ------------------------------------------------------------- */

static void unverifiable(void)
{
    struct story story = begin_wide("no key verifies a merchant's answers for half an hour");
    seconds_pass(&story, 10, 5, 5);
    the_one(&story)->unverifiable = 3;
    size_t calls = story.sim->merchant_calls[1];
    seconds_pass(&story, 595, 5, 5);
    expect_failures(&story, 0, 0);
    expect_calls_of_one(&story, calls, 20, 60); /* not six for each of 3000 */
    seconds_pass(&story, 20, 5, 5);
    expect_waiting(&story, 5);
    seconds_pass(&story, 1185, 5, 5);
    EXPECT(&story, story.sim->outcomes[REASON_UNVERIFIED_ANSWER] == failures(&story),
           "events failed for another reason than the keys");
    expect_others_within(&story, 1, SECOND_MS);
    the_one(&story)->unverifiable = 0;
    seconds_pass(&story, 65, 5, 5);
    none_fails_any_more(&story, 5, 5);
}

static void unverifiable_at_one_host(void)
{
    struct story story = begin_wide("no key verifies one host's answers to a merchant");
    seconds_pass(&story, 10, 5, 5);
    the_one(&story)->unverifiable = 1;
    seconds_pass(&story, 300, 5, 5);
    expect_failures(&story, 0, 0);
    EXPECT(&story, story.sim->held_seen == 0, "the merchant was held");
    the_one(&story)->unverifiable = 0;
    all_end_within(&story, 1);
}

/* --- 429 -------------------------------------------------------------------------------------- */

static void rate_limited(unsigned per_second, int64_t retry_after_ms, size_t burst)
{
    struct story story = begin_wide("a burst of one merchant with a low rate");
    the_one(&story)->allowed_per_s = per_second;
    the_one(&story)->retry_after_ms = retry_after_ms;
    seconds_pass(&story, 5, 0, 5);
    arrive_for(&story, 1, burst);
    size_t least = burst / per_second, most = 4 * least;
    seconds_pass(&story, (unsigned)most, 0, 5);
    expect_failures(&story, 0, 0);
    expect_waiting(&story, 0);
    expect_others_within(&story, 1, SECOND_MS);
    expect_never_down(&story);
    all_end_within(&story, 1);
}

/* The merchant is paused until the last attempt of the event that got the 429, which fails. There
 * are no probes meanwhile. */
static void rate_limited_for_longer_than_events_have(void)
{
    struct story story = begin_wide("Retry-After of a 429 is an hour, and events have ten minutes");
    seconds_pass(&story, 5, 0, 5);
    the_one(&story)->allowed_per_s = 1;
    story.sim->tokens[1] = -1e6;
    the_one(&story)->retry_after_ms = 60 * MINUTE_MS;
    arrive_for(&story, 1, 1);
    seconds_pass(&story, 585, 0, 5);
    expect_calls_of_one(&story, 0, 1, 1);
    expect_failures(&story, 0, 0);
    seconds_pass(&story, 20, 0, 5);
    expect_calls_of_one(&story, 0, 2, 2);
    EXPECT(&story, story.sim->outcomes[REASON_RATE_LIMITED] == 1, "it did not fail as expected");
    all_end_within(&story, 1);
}

/* --- 5xx, hosts, silence ---------------------------------------------------------------------- */

static void hangs(void)
{
    struct story story = begin_wide("one merchant's calls hang for half an hour");
    seconds_pass(&story, 10, 5, 6);
    the_one(&story)->hangs = 3;
    seconds_pass(&story, 1400, 5, 6);
    expect_never_down(&story);
    expect_others_within(&story, 1, SECOND_MS);
    EXPECT(&story, story.sim->merchant_results[0] > 8000, "others stood still");
    the_one(&story)->hangs = 0;
    seconds_pass(&story, 40, 5, 6);
    expect_waiting(&story, 10);
    expect_never_down(&story);
    all_end_within(&story, 1);
}

static void hangs_alone(void)
{
    struct story story = begin_wide("the only active merchant's calls hang, then others come");
    the_one(&story)->hangs = 3;
    seconds_pass(&story, 120, 5, 0);
    EXPECT(&story, story.sim->down_seen > 0,
           "the report of the only active merchant did not suffice");
    seconds_pass(&story, 60, 5, 5);
    expect_others_within(&story, 1, SECOND_MS);
    the_one(&story)->hangs = 0;
    all_end_within(&story, 1);
}

static void add_many_merchants(struct sim *sim, size_t count)
{
    struct merchant *items[SIM_MERCHANTS_MAX];
    for (size_t i = 0; i < count; i++) {
        items[i] = mem_zalloc(1, sizeof *items[i]);
        items[i]->mchid = mem_printf("%zu", i);
        items[i]->references = 1;
        items[i]->max_in_flight = 256;
        items[i]->is_default = i == 0;
    }
    merchants_unref(sim->merchants);
    sim->merchant_count = count;
    sim->admit[0].merchants = sim->merchants = merchants_new(items, count);
}

/* Each answer takes nine seconds, which does not cause a hold. */
static void slow_beside_128_others(void)
{
    struct story story = begin_wide("one slow merchant beside 128 others, 32 calls in flight");
    story.sim->member_count = 1;
    story.sim->rules.limits.in_flight = 32;
    add_many_merchants(story.sim, 129);
    seconds_pass(&story, 5, 1, 1);
    the_one(&story)->latency_ms = 9 * SECOND_MS;
    arrive_for(&story, 1, 200);
    sim_run_until(story.sim, story.sim->mono_ms + SECOND_MS / 2);
    seconds_pass(&story, 30, 0, 1);
    for (unsigned i = 0; i < 129; i++) {
        EXPECT(&story, i == 1 || story.sim->slowest_ms[i] <= SECOND_MS,
               "an event of merchant %u took %" PRId64 " ms", i, story.sim->slowest_ms[i]);
    }
    the_one(&story)->latency_ms = 0;
    all_end_within(&story, 2);
}

static void stopped_at_one_host(void)
{
    struct story story = begin_wide("one host answers a merchant 503 with Retry-After of an hour");
    seconds_pass(&story, 10, 5, 5);
    the_one(&story)->stopped = 1;
    the_one(&story)->retry_after_ms = 60 * MINUTE_MS;
    seconds_pass(&story, 300, 5, 5);
    expect_failures(&story, 0, 0);
    for (unsigned i = 0; i < MERCHANTS; i++) {
        EXPECT(&story, story.sim->slowest_ms[i] <= SECOND_MS,
               "an event of merchant %u took %" PRId64 " ms", i, story.sim->slowest_ms[i]);
    }
    the_one(&story)->stopped = 0;
    all_end_within(&story, 1);
}

/* Both hosts, and one event. Its last attempt begins ten seconds before its ten minutes are over,
 * and succeeds if the fault has ended by then. */
static void stopped_until(unsigned mended_after_s, enum reason ends_as)
{
    struct story story = begin_wide("both hosts answer a merchant 503 with Retry-After of an hour");
    seconds_pass(&story, 5, 0, 5);
    the_one(&story)->stopped = 3;
    the_one(&story)->retry_after_ms = 60 * MINUTE_MS;
    arrive_for(&story, 1, 1);
    seconds_pass(&story, mended_after_s, 0, 5);
    expect_calls_of_one(&story, 0, 10, 40); /* each host every minute */
    expect_failures(&story, 0, 0);
    the_one(&story)->stopped = ends_as == REASON_NONE ? 0 : 3;
    seconds_pass(&story, 602 - mended_after_s, 0, 5);
    expect_waiting(&story, 0);
    expect_failures(&story, ends_as != REASON_NONE, ends_as != REASON_NONE);
    EXPECT(&story, ends_as == REASON_NONE || story.sim->outcomes[ends_as] == 1,
           "it failed for another reason");
    expect_never_down(&story);
    all_end_within(&story, 1);
}

static void host_is_down(void)
{
    struct story story = begin_wide("one host is down for ten minutes");
    seconds_pass(&story, 10, 5, 5);
    story.sim->weather.hosts_down = 1;
    seconds_pass(&story, 600, 5, 5);
    expect_failures(&story, 0, 0);
    expect_never_down(&story);
    expect_others_within(&story, MERCHANTS, SECOND_MS);
    story.sim->weather.hosts_down = 0;
    all_end_within(&story, 1);
}

static void names_are_gone(void)
{
    struct story story = begin_wide("no host's name is resolved for twenty minutes");
    story.sim->rules.retry.max_attempts = 1;
    seconds_pass(&story, 5, 5, 5);
    story.sim->weather.names_gone = 3;
    size_t calls = story.sim->calls;
    seconds_pass(&story, 590, 1, 1);
    expect_failures(&story, 0, 0);
    EXPECT(&story, story.sim->calls - calls < 400, "%zu calls", story.sim->calls - calls);
    seconds_pass(&story, 610, 1, 1);
    expect_failures(&story, 1, 200); /* events that were called, ten minutes later */
    EXPECT(&story, story.sim->outcomes[REASON_UNREACHABLE] == failures(&story),
           "events failed for another reason");
    story.sim->weather.names_gone = 0;
    all_end_within(&story, 1);
}

static void one_name_is_gone(void)
{
    struct story story = begin_wide("one host's name is not resolved");
    story.sim->rules.retry.max_attempts = 1;
    seconds_pass(&story, 5, 5, 5);
    story.sim->weather.names_gone = 1;
    seconds_pass(&story, 120, 5, 5);
    expect_failures(&story, 0, 0);
    expect_never_down(&story);
    expect_others_within(&story, MERCHANTS, SECOND_MS);
    story.sim->weather.names_gone = 0;
    all_end_within(&story, 1);
}

static void shortage(void)
{
    struct story story = begin_wide("no descriptor is left for two minutes");
    story.sim->rules.retry.max_attempts = 1;
    seconds_pass(&story, 5, 5, 5);
    story.sim->weather.shortage = true;
    seconds_pass(&story, 120, 5, 5);
    expect_failures(&story, 0, 0);
    expect_never_down(&story);
    story.sim->weather.shortage = false;
    seconds_pass(&story, 3, 5, 5);
    expect_waiting(&story, 10);
    all_end_within(&story, 1);
}

/* One event in ten is always answered 504. Its probes must not decide for the others. */
static void odd_probes(void)
{
    struct story story =
        begin_wide("the endpoint is down for five minutes, and one event in ten is "
                   "always answered 504");
    story.sim->weather.odd_504 = 10;
    seconds_pass(&story, 10, 3, 3);
    endpoint_goes_down(&story);
    seconds_pass(&story, 300, 3, 3);
    endpoint_comes_back(&story);
    seconds_pass(&story, 30, 3, 3);
    size_t good = story.sim->produced - story.sim->produced / 10;
    EXPECT(&story, story.sim->outcomes[REASON_NONE] + 150 >= good, "%zu of %zu results, 30 s after",
           story.sim->outcomes[REASON_NONE], good);
    story.sim->weather.odd_504 = 0;
    all_end_within(&story, 15);
}

/* The first event is always answered 504, and it is the first probe. */
static void one_odd_probe(void)
{
    struct story story =
        begin_wide("the endpoint is down, and the first event that probes is always "
                   "answered 504");
    story.sim->weather.odd_504 = EVENTS_MAX;
    endpoint_goes_down(&story);
    seconds_pass(&story, 1, 1, 0);
    seconds_pass(&story, 60, 0, 0);
    seconds_pass(&story, 30, 1, 0);
    endpoint_comes_back(&story);
    seconds_pass(&story, 25, 1, 0);
    expect_waiting(&story, 3);
    story.sim->weather.odd_504 = 0;
    all_end_within(&story, 15);
}

/* One event in two is answered 504 once, and Kafka accepts no outcome for fifteen minutes. Events
 * that wait for another attempt must not fail because of that. */
static void kafka_is_stuck(void)
{
    struct story story = begin_wide("no transaction is committed for fifteen minutes");
    story.sim->member_count = 1;
    story.sim->rules.limits.in_flight = 16;
    seconds_pass(&story, 2, 1, 1);
    story.sim->weather.odd_504 = 2;
    story.sim->weather.abort_share = 1000;
    arrive_for(&story, 2, 200);
    seconds_pass(&story, 900, 0, 0);
    story.sim->weather.odd_504 = 0;
    story.sim->weather.abort_share = 0;
    seconds_pass(&story, 60, 0, 0);
    expect_failures(&story, 0, 0);
    all_end_within(&story, 15);
}

static void paused_for_an_hour(void)
{
    struct story story = begin_wide("a merchant is paused for an hour");
    seconds_pass(&story, 10, 5, 5);
    operator_pauses(&story, PAUSE_MERCHANT, "1");
    size_t before = story.sim->merchant_calls[1];
    seconds_pass(&story, 3600, 2, 1);
    expect_calls_of_one(&story, before, 0, 0);
    expect_failures(&story, 0, 0);
    expect_others_within(&story, 1, SECOND_MS);
    operator_resumes(&story);
    seconds_pass(&story, 60, 2, 1);
    expect_waiting(&story, 20);
    expect_failures(&story, 0, 0);
    all_end_within(&story, 1);
}

/* Its hold would be over; it begins again after the pause. */
static void paused_while_held(void)
{
    struct story story = begin_wide("a merchant that is answered 401 is paused for an hour");
    seconds_pass(&story, 10, 5, 5);
    merchant_is_answered_401(&story, 1);
    seconds_pass(&story, 60, 2, 1);
    operator_pauses(&story, PAUSE_MERCHANT, "1");
    size_t before = story.sim->merchant_calls[1];
    seconds_pass(&story, 3600, 2, 1);
    expect_calls_of_one(&story, before, 0, 0);
    expect_failures(&story, 0, 0);
    operator_resumes(&story);
    seconds_pass(&story, 500, 2, 1);
    expect_failures(&story, 0, 0);
    merchant_is_answered_again(&story);
    seconds_pass(&story, 60, 2, 1);
    expect_failures(&story, 0, 0);
    expect_others_within(&story, 1, SECOND_MS);
    all_end_within(&story, 1);
}

int main(int argc, char **argv)
{
    (void)argc;
    sim_program = argv[0];
    unauthorized(64);
    unauthorized(128);
    unauthorized_and_no_hold();
    reload_while_held();
    unverifiable();
    unverifiable_at_one_host();
    rate_limited(10, 0, 1000);
    rate_limited(10, SECOND_MS, 1000);
    rate_limited(2, 0, 200);
    rate_limited(2, SECOND_MS, 200);
    rate_limited_for_longer_than_events_have();
    hangs();
    hangs_alone();
    slow_beside_128_others();
    stopped_at_one_host();
    stopped_until(580, REASON_NONE);
    stopped_until(585, REASON_UNAVAILABLE);
    host_is_down();
    names_are_gone();
    one_name_is_gone();
    shortage();
    odd_probes();
    one_odd_probe();
    kafka_is_stuck();
    paused_for_an_hour();
    paused_while_held();
    return 0;
}
