/* One partition, one contract code or one costly record may delay all others only for a bounded
 * time. */
#include "story.h"

#include "presignd/flow/relief.h"

#define REPEATS 10000

/* Merchants 0, 2 and 3 have no faults, and good events in all partitions from `first` on. The story
 * is about merchant 1. */
static void others_arrive(struct story *story, size_t count, unsigned first)
{
    struct sim *sim = story->sim;
    while (count > 0) {
        unsigned code = (unsigned)sim_below(sim, sim->code_count);
        if (code % 16 != 0 && code % MERCHANTS != 1 && code % sim->partition_count >= first) {
            (void)log_produce_one(sim, code, SIM_GOOD);
            count--;
        }
    }
    for (size_t i = 0; i < sim->member_count; i++) {
        sim->members[i].awake = true;
    }
}

static void others_live(struct story *story, unsigned seconds, unsigned first)
{
    for (unsigned second = 0; second < seconds; second++) {
        others_arrive(story, 20, first);
        sim_run_until(story->sim, story->sim->mono_ms + 1000);
    }
}

static void code_repeats(struct story *story, unsigned code, size_t count, enum sim_kind kind)
{
    for (size_t i = 0; i < count; i++) {
        (void)log_produce_one(story->sim, code, kind);
    }
}

/* No event of another merchant took, or has waited, longer than a second. */
static void expect_others_are_done(const struct story *story)
{
    const struct sim *sim = story->sim;
    expect_others_within(story, 1, 1000);
    for (size_t i = 0; i < sim->produced; i++) {
        const struct sim_event *event = &sim->events[i];
        EXPECT(story,
               event->merchant == 1 || event->outcomes == 1 ||
                   sim->mono_ms - event->arrived_ms <= 1000,
               "partition %d offset %" PRId64 " of merchant %d waits since %" PRId64 " ms",
               event->partition, event->offset, event->merchant, sim->mono_ms - event->arrived_ms);
    }
}

/* Each has 64 KiB and is blocked by the one before it; the first one is held. */
static void contract_code_repeats(void)
{
    struct story story = begin("a contract code repeats 10,000 times, in large events");
    others_live(&story, 10, 1);
    merchant_is_answered_401(&story, 1);
    code_repeats(&story, 33, REPEATS, SIM_FAT); /* partition 0, merchant 1 */
    others_live(&story, 300, 1);
    expect_others_are_done(&story);
    EXPECT(&story, story.sim->bytes_most < PIPELINE_BYTES_MAX, "%zu unfinished bytes",
           story.sim->bytes_most);
    expect_failures(&story, 0, 0);
    merchant_is_answered_again(&story);
    all_end_within(&story, 60);
}

/* An eighth of the partitions is full for a long time. */
static void contract_codes_repeat_in_25_of_200_partitions(void)
{
    struct story story = begin_with("a contract code repeats in each of 25 of 200 partitions", 200);
    others_live(&story, 10, 100);
    merchant_is_answered_401(&story, 1);
    for (unsigned code = 1; code < 100; code += 4) {
        code_repeats(&story, code, 500, SIM_FAT);
    }
    others_live(&story, 60, 100);
    expect_others_are_done(&story);
    expect_failures(&story, 0, 0);
    merchant_is_answered_again(&story);
    all_end_within(&story, 60);
}

/* 30 s of work in one partition. Calls of others are answered and published meanwhile, since a
 * round costs at most a time budget and one event. */
static void records_that_are_costly_to_admit(void)
{
    enum { COST_MS = 10, SLICE_MS = 10 };
    struct story story = begin("3,000 records come that cost 10 ms each");
    story.sim->garbage_costs_ms = COST_MS;
    others_live(&story, 10, 0);
    code_repeats(&story, 33, 3000, SIM_GARBAGE);
    others_live(&story, 60, 1);
    expect_others_are_done(&story);
    EXPECT(&story, story.sim->busy_most_ms <= SLICE_MS + COST_MS, "a round took %" PRId64 " ms",
           story.sim->busy_most_ms);
    all_end_within(&story, 5);
}

/* --- relief -------------------------------------------------------------------------------- */

/* Events of merchant 1, in all partitions. */
static void one_arrives(struct story *story, size_t count, enum sim_kind kind)
{
    struct sim *sim = story->sim;
    for (; count > 0; count--) {
        unsigned code = 1 + MERCHANTS * (unsigned)sim_below(sim, sim->code_count / MERCHANTS);
        (void)log_produce_one(sim, code, kind);
    }
    for (size_t i = 0; i < sim->member_count; i++) {
        sim->members[i].awake = true;
    }
}

/* Large ones: they fill shares, not windows. */
static void the_one_arrives(struct story *story, size_t count)
{
    one_arrives(story, count, SIM_FAT);
}

/* Each second, so many events of merchant 1 and 20 of the others. */
static void all_live(struct story *story, unsigned seconds, size_t each)
{
    for (unsigned second = 0; second < seconds; second++) {
        the_one_arrives(story, each);
        others_live(story, 1, 0);
    }
}

static struct story begin_with_long_holds(const char *name)
{
    struct story story = begin(name);
    story.sim->rules.limits.hold_unauthorized_ms = 120 * MINUTE_MS;
    return story;
}

static void expect_relieved(const struct story *story, size_t least, size_t most)
{
    EXPECT(story, story->sim->relieved >= least && story->sim->relieved <= most,
           "%zu events were failed early, not %zu to %zu", story->sim->relieved, least, most);
    EXPECT(story, failures(story) <= story->sim->relieved, "%zu events failed, %zu were relieved",
           failures(story), story->sim->relieved);
}

/* More than half of the full shares stays: only as many events are failed early as make room. */
static void expect_many_unfinished(const struct story *story)
{
    size_t bytes = 0;
    for (size_t i = 0; i < story->sim->member_count; i++) {
        struct pipeline_status status;
        pipeline_status(story->sim->members[i].pipeline, &status);
        bytes += status.bytes;
    }
    EXPECT(story, story->sim->relieved == 0 || bytes >= PIPELINE_BYTES_MAX / 2,
           "%zu unfinished bytes", bytes);
}

static void held_merchant_beside_others(void)
{
    struct story story = begin_with_long_holds("a merchant is answered 401 and fills the shares");
    all_live(&story, 60, 2);
    merchant_is_answered_401(&story, 1);
    for (unsigned second = 0; second < 30 * 60; second++) {
        all_live(&story, 1, 2);
        expect_many_unfinished(&story);
    }
    expect_others_are_done(&story);
    expect_relieved(&story, 1000, (size_t)30 * 60 * 2);
    EXPECT(&story, story.sim->outcomes[REASON_MERCHANT_UNAUTHORIZED] == failures(&story),
           "events failed for another reason than their merchant's hold");
    merchant_is_answered_again(&story);
    all_end_within(&story, 5);
}

static void paused_merchant_beside_others(void)
{
    struct story story = begin("a merchant is paused and fills the shares");
    all_live(&story, 60, 2);
    operator_pauses(&story, PAUSE_MERCHANT, "1");
    for (unsigned second = 0; second < 30 * 60; second++) {
        all_live(&story, 1, 2);
        expect_many_unfinished(&story);
    }
    expect_others_are_done(&story);
    expect_relieved(&story, 1000, (size_t)30 * 60 * 2);
    EXPECT(&story, story.sim->outcomes[REASON_PAUSED] == failures(&story),
           "events failed for another reason than the pause");
    operator_resumes(&story);
    all_end_within(&story, 5);
}

static void everything_is_paused(void)
{
    struct story story = begin("everything is paused for an hour, with full shares");
    all_live(&story, 60, 2);
    operator_pauses(&story, PAUSE_MERCHANT, "1");
    all_live(&story, 20, 100);
    operator_pauses(&story, PAUSE_ALL, "");
    all_live(&story, 10, 2);
    size_t calls = story.sim->calls, done = story.sim->done;
    all_live(&story, 3600, 2);
    EXPECT(&story, story.sim->calls == calls && story.sim->done == done,
           "%zu calls, %zu outcomes during the pause", story.sim->calls - calls,
           story.sim->done - done);
    expect_failures(&story, 0, 0);
    operator_resumes(&story);
    all_end_within(&story, 10);
}

/* The shares fill faster than RELIEF_HOLD_MS: the others wait for that, once. */
static void held_merchant_floods(void)
{
    struct story story = begin_with_long_holds("a merchant is answered 401 and floods the others");
    all_live(&story, 60, 2);
    merchant_is_answered_401(&story, 1);
    all_live(&story, 120, 100);
    expect_others_within(&story, 1, RELIEF_HOLD_MS + 1000);
    expect_relieved(&story, 1000, (size_t)120 * 100);
    merchant_is_answered_again(&story);
    all_end_within(&story, 60);
}

/* Its events fill all partitions before other merchants are answered. Then it is the only one that
 * calls: the endpoint counts as down, but only by its report. */
static void hanging_merchant_floods(void)
{
    struct story story = begin("a merchant's calls hang, and its events flood the others");
    all_live(&story, 60, 2);
    story.sim->weather.of[1].hangs = 3;
    all_live(&story, 120, 100);
    expect_others_within(&story, 1, 2 * RELIEF_HOLD_MS + 1000);
    expect_relieved(&story, 1000, (size_t)120 * 100);
    story.sim->weather.of[1].hangs = 0;
    all_end_within(&story, 60);
}

/* Each probe succeeds and the next calls are answered 401: every hold is short. */
static void held_merchant_is_answered_now_and_then(void)
{
    struct story story =
        begin("a merchant is answered 401 but for its probes, and floods the others");
    story.sim->rules.limits.hold_unauthorized_ms = 100000;
    all_live(&story, 60, 2);
    story.sim->weather.of[1].answered_once = true;
    all_live(&story, 300, 100);
    expect_others_within(&story, 1, (int64_t)2 * RELIEF_HOLD_MS);
    EXPECT(&story, story.sim->relieved >= 1000, "%zu events were failed early",
           story.sim->relieved);
    story.sim->weather.of[1].answered_once = false;
    all_end_within(&story, 60);
}

/* The same with small events, which fill windows. The lowest offset of a window is often an event
 * that is held alone. */
static void held_merchant_is_answered_and_fills_windows(void)
{
    struct story story =
        begin("a merchant is answered 401 but for its probes, and fills the windows");
    all_live(&story, 60, 2);
    story.sim->weather.of[1].answered_once = true;
    for (unsigned second = 0; second < 240; second++) {
        one_arrives(&story, 300, SIM_GOOD);
        others_live(&story, 1, 0);
    }
    expect_others_within(&story, 1, (int64_t)2 * RELIEF_HOLD_MS);
    EXPECT(&story, story.sim->relieved >= 1000, "%zu events were failed early",
           story.sim->relieved);
    story.sim->weather.of[1].answered_once = false;
    all_end_within(&story, 60);
}

/* The events wait in Kafka. */
static void single_merchant_is_held(void)
{
    struct story story =
        begin_with_long_holds("a merchant is answered 401, and no other is active");
    others_live(&story, 10, 0);
    sim_run_until(story.sim, story.sim->mono_ms + 2 * MINUTE_MS);
    merchant_is_answered_401(&story, 1);
    for (unsigned second = 0; second < 3600; second++) {
        the_one_arrives(&story, 1);
        sim_run_until(story.sim, story.sim->mono_ms + 1000);
    }
    expect_full_partitions(&story, 3);
    expect_relieved(&story, 0, 0);
    merchant_is_answered_again(&story);
    all_end_within(&story, 10);
}

static void slow_merchant_fills_the_shares(void)
{
    struct story story = begin_with_long_holds("a merchant is slow and fills the shares");
    all_live(&story, 60, 2);
    story.sim->weather.slow = 1u << 1;
    all_live(&story, 300, 100);
    expect_full_partitions(&story, 3);
    expect_relieved(&story, 0, 0);
    all_end_within(&story, 60);
}

/* Also not when it recovers, merchant by merchant. */
static void endpoint_is_down_with_full_shares(void)
{
    struct story story =
        begin_with_long_holds("the endpoint is down for an hour, with full shares");
    all_live(&story, 60, 2);
    endpoint_goes_down(&story);
    for (unsigned minute = 0; minute < 60; minute++) {
        the_one_arrives(&story, 120);
        others_arrive(&story, 60, 0);
        sim_run_until(story.sim, story.sim->mono_ms + MINUTE_MS);
    }
    expect_full_partitions(&story, 3);
    EXPECT(&story, story.sim->relieved == 0, "%zu events were failed early", story.sim->relieved);
    endpoint_comes_back(&story);
    all_live(&story, 120, 2);
    EXPECT(&story, story.sim->relieved == 0, "%zu events were failed early", story.sim->relieved);
    all_end_within(&story, 10);
}

int main(int argc, char **argv)
{
    (void)argc;
    sim_program = argv[0];
    contract_code_repeats();
    contract_codes_repeat_in_25_of_200_partitions();
    records_that_are_costly_to_admit();
    held_merchant_beside_others();
    paused_merchant_beside_others();
    everything_is_paused();
    held_merchant_floods();
    hanging_merchant_floods();
    held_merchant_is_answered_now_and_then();
    held_merchant_is_answered_and_fills_windows();
    single_merchant_is_held();
    slow_merchant_fills_the_shares();
    endpoint_is_down_with_full_shares();
    return 0;
}
