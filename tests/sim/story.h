/* For stories*.c: what happens, and the expected state of the events. The rules are the default
 * configuration. */
#ifndef TESTS_SIM_STORY_H
#define TESTS_SIM_STORY_H

#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EVENTS_MAX 100000
#define MERCHANTS  4
#define MINUTE_MS  INT64_C(60000)
#define SECOND_MS  INT64_C(1000)

struct story {
    struct sim *sim;
    size_t per_second;
    int64_t lifetime_ms; /* of events that arrive from now on; 0: no expirytime */
    size_t calls_then;
};

#define EXPECT(story, condition, ...) SIM_CHECK((story)->sim, condition, __VA_ARGS__)

/* --- what happens --------------------------------------------------------------------------- */

static inline void add_merchants(struct sim *sim)
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

/* Two processes, four merchants. */
static inline struct story begin_with(const char *name, size_t partitions)
{
    const struct sim_options options = {.seed = 1, .events = EVENTS_MAX, .story = name};
    struct sim *sim = sim_new(&options);
    printf("%s\n", name);
    sim->partition_count = partitions;
    sim->member_count = 2;
    sim->code_count = 4000;
    sim->observed = true;
    sim->identity = (struct complete_identity){
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

static inline struct story begin(const char *name)
{
    return begin_with(name, 3);
}

static inline void arrive(struct story *story, size_t count)
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

static inline void minutes_pass(struct story *story, unsigned minutes)
{
    for (unsigned second = 0; second < 60 * minutes; second++) {
        arrive(story, story->per_second);
        sim_run_until(story->sim, story->sim->mono_ms + 1000);
    }
}

static inline void endpoint_goes_down(struct story *story)
{
    story->sim->weather.down = true;
    story->calls_then = story->sim->calls;
}

static inline void endpoint_comes_back(struct story *story)
{
    story->sim->weather.down = false;
}

static inline void merchant_is_answered_401(struct story *story, unsigned merchant)
{
    story->sim->weather.unauthorized = 1u << merchant;
}

static inline void merchant_is_answered_again(struct story *story)
{
    story->sim->weather.unauthorized = 0;
}

static inline void clock_is_set_ahead_by_an_hour(struct story *story)
{
    story->sim->wall_ms += 60 * MINUTE_MS;
    story->sim->wall_most_ms = story->sim->wall_ms;
}

/* In each process. `name` is "" for PAUSE_ALL. */
static inline void operator_pauses(struct story *story, enum pause_scope scope, const char *name)
{
    struct pause pause = {.scope = scope, .since_ms = story->sim->wall_ms};
    (void)snprintf(pause.name, sizeof pause.name, "%s", name);
    story->sim->paused = true;
    for (size_t i = 0; i < story->sim->member_count; i++) {
        EXPECT(story, pipeline_pause(story->sim->members[i].pipeline, &pause), "no pause");
        story->sim->members[i].awake = true;
    }
}

static inline void operator_resumes(struct story *story)
{
    for (size_t i = 0; i < story->sim->member_count; i++) {
        (void)pipeline_resume(story->sim->members[i].pipeline, PAUSE_ALL, "");
        story->sim->members[i].awake = true;
    }
}

static inline void processes_are_killed(struct story *story)
{
    for (size_t i = 0; i < story->sim->member_count; i++) {
        chaos_crash(story->sim, &story->sim->members[i]);
    }
}

/* --- the expected state --------------------------------------------------------------------- */

static inline size_t failures(const struct story *story)
{
    return story->sim->done - story->sim->outcomes[REASON_NONE];
}

static inline size_t full_partitions(const struct story *story)
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

static inline void expect_failures(const struct story *story, size_t least, size_t most)
{
    EXPECT(story, failures(story) >= least && failures(story) <= most,
           "%zu of %zu events failed, not %zu to %zu", failures(story), story->sim->produced, least,
           most);
}

static inline void expect_calls(const struct story *story, size_t most)
{
    size_t calls = story->sim->calls - story->calls_then;
    EXPECT(story, calls <= most, "%zu calls to an endpoint that is down, more than %zu", calls,
           most);
}

static inline void expect_full_partitions(const struct story *story, size_t count)
{
    EXPECT(story, full_partitions(story) == count, "%zu partitions are paused, not %zu",
           full_partitions(story), count);
}

/* All events of other merchants that ended so far, from arrival to commit. */
static inline void expect_others_within(const struct story *story, unsigned merchant,
                                        int64_t most_ms)
{
    for (unsigned i = 0; i < MERCHANTS; i++) {
        EXPECT(story, i == merchant || story->sim->slowest_ms[i] <= most_ms,
               "an event of merchant %u took %" PRId64 " ms", i, story->sim->slowest_ms[i]);
    }
}

/* No more events arrive. Within that time all have their outcome; then a restart finds no work. */
static inline void all_end_within(struct story *story, unsigned minutes)
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
    printf("; the last %" PRId64 " s after the fault\n", (sim->mono_ms - sim->calm_ms) / 1000);
    sim_run_again(sim);
    sim_free(sim);
}

/* --- one merchant among others -----------------------------------------------------------------
 */

/* Many partitions, so that windows do not fill; see stories_bounds.c for that. */
static inline struct story begin_wide(const char *name)
{
    return begin_with(name, 60);
}

static inline void arrive_for(struct story *story, unsigned merchant, size_t count)
{
    struct sim *sim = story->sim;
    while (count > 0) {
        unsigned code = (unsigned)sim_below(sim, sim->code_count);
        if (code % sim->merchant_count == merchant && code % 16 != 0) {
            log_produce_one(sim, code, SIM_GOOD)->forged = false;
            count--;
        }
    }
    for (size_t i = 0; i < sim->member_count; i++) {
        sim->members[i].awake = true;
    }
}

/* Events per second of the one merchant, and of each of the others. */
static inline void seconds_pass(struct story *story, unsigned seconds, size_t of_one,
                                size_t of_others)
{
    for (unsigned second = 0; second < seconds; second++) {
        arrive_for(story, 1, of_one);
        for (unsigned i = 0; i < story->sim->merchant_count; i++) {
            arrive_for(story, i, i == 1 ? 0 : of_others);
        }
        sim_run_until(story->sim, story->sim->mono_ms + SECOND_MS);
    }
}

/* The fault is over: for half a minute no further event fails. */
static inline void none_fails_any_more(struct story *story, size_t of_one, size_t of_others)
{
    size_t failed = failures(story);
    seconds_pass(story, 30, of_one, of_others);
    expect_failures(story, failed, failed);
    all_end_within(story, 1);
}

static inline struct sim_merchant_weather *the_one(struct story *story)
{
    return &story->sim->weather.of[1];
}

static inline void expect_never_down(const struct story *story)
{
    EXPECT(story, story->sim->down_seen == 0, "the endpoint counted as down");
}

static inline void expect_calls_of_one(const struct story *story, size_t before, size_t least,
                                       size_t most)
{
    size_t calls = story->sim->merchant_calls[1] - before;
    EXPECT(story, calls >= least && calls <= most, "%zu calls of the merchant, not %zu to %zu",
           calls, least, most);
}

/* All events of the one merchant that arrived so far. */
static inline void expect_waiting(const struct story *story, size_t most)
{
    const struct sim *sim = story->sim;
    size_t waiting = 0;
    for (size_t i = 0; i < sim->produced; i++) {
        waiting += sim->events[i].merchant == 1 && sim->events[i].outcomes == 0;
    }
    EXPECT(story, waiting <= most, "%zu events of the merchant wait, more than %zu", waiting, most);
}

#endif
