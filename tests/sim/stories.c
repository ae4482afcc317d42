/* Troubles that last, told one after another in virtual time: what the world does, and what must
 * have become of the events by then. The rules are those of a configuration file that sets
 * nothing. Besides what is said here, the judge of the simulation looks on (log.c, endpoint.c). */
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EVENTS_MAX 100000
#define MERCHANTS  4
#define MINUTE_MS  INT64_C(60000)

struct story {
    struct sim *sim;
    size_t per_second;
    int64_t lifetime_ms; /* of events that arrive from now on; 0: no expirytime */
    size_t calls_then;
};

#define EXPECT(story, condition, ...) SIM_CHECK((story)->sim, condition, __VA_ARGS__)

/* --- what happens --------------------------------------------------------------------------- */

static void add_merchants(struct sim *sim)
{
    struct merchant *items[MERCHANTS];
    for (size_t i = 0; i < MERCHANTS; i++) {
        items[i] = mem_zalloc(1, sizeof *items[i]);
        items[i]->mchid = mem_printf("%zu", i);
        items[i]->references = 1;
        items[i]->max_in_flight = 256;
        items[i]->is_default = i == 0;
    }
    sim->merchant_count = MERCHANTS;
    sim->admit[0].merchants = sim->merchants = merchants_new(items, MERCHANTS);
}

/* Two processes, three partitions, four merchants. */
static struct story begin(const char *name)
{
    const struct sim_options options = {.seed = 1, .events = EVENTS_MAX, .story = name};
    struct sim *sim = sim_new(&options);
    printf("%s\n", name);
    sim->partition_count = 3;
    sim->member_count = 2;
    sim->code_count = 4000;
    sim->observed = true;
    sim->identity = (struct settle_identity){
        .cluster_id = "sim", .group_id = "presignd", .failure_original = true};
    add_merchants(sim);
    sim->rules = (struct pipeline_rules){
        .admit = &sim->admit[0],
        .retry = {.max_attempts = 6,
                  .base_delay_ms = 200,
                  .max_delay_ms = 30000,
                  .give_up_after_ms = 10 * MINUTE_MS},
        .limits = {.in_flight = 512,
                   .host_count = 2,
                   .timeout_ms = 10000,
                   .commit_interval_ms = 5,
                   .hold_unauthorized_ms = 10 * MINUTE_MS},
        .identity = &sim->identity,
    };
    chaos_furnish(sim);
    return (struct story){.sim = sim};
}

static void arrive(struct story *story, size_t count)
{
    struct sim *sim = story->sim;
    size_t first = sim->produced;
    log_produce(sim, count);
    for (size_t i = first; i < sim->produced && story->lifetime_ms != 0; i++) {
        sim->events[i].kind = SIM_EXPIRING;
        sim->events[i].expires_ms = sim->wall_ms + story->lifetime_ms;
    }
    for (size_t i = 0; i < sim->member_count; i++) {
        sim->members[i].awake = true;
    }
}

static void minutes_pass(struct story *story, unsigned minutes)
{
    for (unsigned second = 0; second < 60 * minutes; second++) {
        arrive(story, story->per_second);
        sim_run_until(story->sim, story->sim->mono_ms + 1000);
    }
}

static void endpoint_goes_down(struct story *story)
{
    story->sim->weather.down = true;
    story->calls_then = story->sim->calls;
}

static void endpoint_comes_back(struct story *story)
{
    story->sim->weather.down = false;
}

static void merchant_is_answered_401(struct story *story, unsigned merchant)
{
    story->sim->weather.unauthorized = 1u << merchant;
}

static void merchant_is_heard_again(struct story *story)
{
    story->sim->weather.unauthorized = 0;
}

static void clock_is_set_ahead_by_an_hour(struct story *story)
{
    story->sim->wall_ms += 60 * MINUTE_MS;
    story->sim->wall_most_ms = story->sim->wall_ms;
}

static void processes_are_killed(struct story *story)
{
    for (size_t i = 0; i < story->sim->member_count; i++) {
        chaos_crash(story->sim, &story->sim->members[i]);
    }
}

/* --- what became of it ---------------------------------------------------------------------- */

static size_t failures(const struct story *story)
{
    return story->sim->done - story->sim->outcomes[REASON_NONE];
}

static size_t full_partitions(const struct story *story)
{
    size_t full = 0;
    for (size_t i = 0; i < story->sim->member_count; i++) {
        struct pipeline_status status;
        if (story->sim->members[i].alive) {
            pipeline_status(story->sim->members[i].pipeline, &status);
            full += status.partitions_full;
        }
    }
    return full;
}

static void expect_failures(const struct story *story, size_t least, size_t most)
{
    EXPECT(story, failures(story) >= least && failures(story) <= most,
           "%zu of %zu events failed, not %zu to %zu", failures(story), story->sim->produced, least,
           most);
}

static void expect_calls(const struct story *story, size_t most)
{
    size_t calls = story->sim->calls - story->calls_then;
    EXPECT(story, calls <= most, "%zu calls to an endpoint that is down, more than %zu", calls,
           most);
}

static void expect_full_partitions(const struct story *story, size_t count)
{
    EXPECT(story, full_partitions(story) == count, "%zu partitions are paused, not %zu",
           full_partitions(story), count);
}

/* Of all events of the other merchants that ended so far, from arrival to commit. */
static void expect_others_within(const struct story *story, unsigned merchant, int64_t most_ms)
{
    for (unsigned i = 0; i < MERCHANTS; i++) {
        EXPECT(story, i == merchant || story->sim->slowest_ms[i] <= most_ms,
               "an event of merchant %u took %" PRId64 " ms", i, story->sim->slowest_ms[i]);
    }
}

/* Nothing more arrives, and within so long everything has its outcome; then a restart finds
 * nothing to do. */
static void all_end_within(struct story *story, unsigned minutes)
{
    struct sim *sim = story->sim;
    sim->options.events = sim->produced;
    chaos_end(sim);
    sim_run_to_the_end(sim);
    EXPECT(story, sim->mono_ms - sim->calm_ms <= minutes * MINUTE_MS,
           "it took %" PRId64 " s until the last event had its outcome",
           (sim->mono_ms - sim->calm_ms) / 1000);
    printf("    %zu events, %zu calls:", sim->produced, sim->calls);
    for (enum reason reason = REASON_NONE; reason < REASON_COUNT; reason++) {
        if (sim->outcomes[reason] > 0) {
            printf(" %zu %s", sim->outcomes[reason],
                   reason == REASON_NONE ? "results" : reason_name(reason));
        }
    }
    printf("; the last %" PRId64 " s after the trouble\n", (sim->mono_ms - sim->calm_ms) / 1000);
    sim_run_again(sim);
    sim_free(sim);
}

/* --- stories -------------------------------------------------------------------------------- */

/* Ten minutes after its first call an event is given up; one that was never called is not. So only
 * those fail that were called before the downfall was noticed, and those that served as probes. */
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

/* With one event a minute it takes a while until enough calls have failed to call it a downfall:
 * by then those that showed it must not have used up their attempts. */
static void endpoint_down_and_few_events(void)
{
    struct story story = begin("the endpoint is down for an hour, and an event comes now and then");
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

/* Those that have a time fail when it has come, and not before (the judge sees to that). */
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
    /* Those of the first 25 minutes, ten a second; the wall clock is looked at once a minute. */
    expect_failures(&story, 14400, 15000);
    EXPECT(&story, story.sim->outcomes[REASON_EXPIRED] == failures(&story),
           "events failed for another reason than their time");
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

/* After hold_unauthorized_ms its events fail one by one as they come, retryable. */
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
    merchant_is_heard_again(&story);
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
    merchant_is_heard_again(&story);
    minutes_pass(&story, 1);
    all_end_within(&story, 5);
}

/* At the window's bound: 10 a second fill the windows, 8192 offsets each, after 41 minutes. */
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
    expect_full_partitions(&story, 3);
    expect_failures(&story, 0, 0);
    merchant_is_heard_again(&story);
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
