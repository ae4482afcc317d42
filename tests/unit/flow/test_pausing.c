/* Pauses of a pipeline: which events they hold, for how long, and what becomes of these. */
#include "unit/flow/story.h"

#define H5       "wechatpay.presign.h5.requested"
#define MINUTE   INT64_C(60000)
#define FOREVER  (BEGIN_MS + 60 * MINUTE)
#define SPAN     24
#define METADATA (sizeof "presignd/1:9223372036854775807:" - 1 + 4) /* for SPAN offsets */

static struct pause of(enum pause_scope scope, const char *name, int64_t until_ms)
{
    struct pause pause = {.scope = scope, .until_ms = until_ms};
    (void)snprintf(pause.name, sizeof pause.name, "%s", name);
    return pause;
}

static void pauses(struct story *story, enum pause_scope scope, const char *name)
{
    const struct pause pause = of(scope, name, 0);
    cr_assert(pipeline_pause(story->pipeline, &pause));
}

static void resumes(struct story *story, enum pause_scope scope, const char *name)
{
    cr_assert_eq(pipeline_resume(story->pipeline, scope, name), 1);
}

static struct pipeline_status status_of(struct story *story)
{
    struct pipeline_status status;
    pipeline_status(story->pipeline, &status);
    return status;
}

/* Minutes at once: nothing is due in between. */
static void time_passes(struct story *story, int64_t ms)
{
    story->now.mono_ms += ms;
    story->now.wall_ms += ms;
    goes_on(story, story->now.mono_ms + 10);
}

Test(pausing, a_paused_merchant_is_not_called)
{
    struct story story;
    AUTO_BUF struct buf why = {0};
    story_begin(&story);
    comes(&story, 1); /* before it */
    pauses(&story, PAUSE_MERCHANT, DIRECT);
    comes(&story, 2);
    goes_on(&story, BEGIN_MS + 100);
    cr_assert_eq(story.calls[1] + story.calls[2], 0);
    struct pipeline_status status = status_of(&story);
    cr_assert_eq(status.held[HOLD_WHY_PAUSED], 2);
    cr_assert_eq(status.jobs[JOB_PAUSED], 2);
    cr_assert_eq(status.unexplained, 0);
    cr_assert_eq(pipeline_pause_events(story.pipeline, pipeline_pauses(story.pipeline)->items), 2);
    cr_assert(pipeline_is_paused(story.pipeline, DIRECT));
    cr_assert_not(pipeline_is_paused(story.pipeline, PARTNER));
    cr_assert_not(story.paused, "its partition is read");
    time_passes(&story, 60 * MINUTE);
    cr_assert(progress_moves(story.pipeline, 1000, &why), "%s", why.data);
    cr_assert_eq(story.calls[1] + story.calls[2], 0);
    progress_describe(story.pipeline, &why);
    cr_assert_not_null(strstr(why.data, "2 paused"), "%s", why.data);
    resumes(&story, PAUSE_MERCHANT, DIRECT);
    goes_on(&story, story.now.mono_ms + 100);
    cr_assert_eq(story.calls[1], 1);
    cr_assert_eq(story.calls[2], 1);
    cr_assert_eq(status_of(&story).held[HOLD_WHY_PAUSED], 0);
    cr_assert_eq(pipeline_resume(story.pipeline, PAUSE_MERCHANT, DIRECT), 0, "nothing was paused");
    story_end(&story);
}

Test(pausing, names_must_be_configured)
{
    struct story story;
    story_begin(&story);
    const struct pause unknown[] = {of(PAUSE_MERCHANT, "1", 0), of(PAUSE_ENDPOINT, "h6", 0),
                                    of(PAUSE_ALL, "x", 0)};
    for (size_t i = 0; i < ARRAY_LENGTH(unknown); i++) {
        cr_assert_not(pipeline_pause(story.pipeline, &unknown[i]), "%s", unknown[i].name);
    }
    cr_assert_eq(pipeline_pauses(story.pipeline)->count, 0);
    story_end(&story);
}

/* The call in flight ends, and is counted; what follows waits. */
Test(pausing, a_pause_uses_neither_attempts_nor_retry_time)
{
    struct story story;
    story_begin(&story);
    story.says[1] = ANSWER_UNAVAILABLE;
    story.rules.retry.base_delay_ms = story.rules.retry.max_delay_ms = 2000;
    pipeline_configure(story.pipeline, &story.rules);
    comes(&story, 1);
    pipeline_step(story.pipeline);
    cr_assert_eq(story.calls[1], 1);
    pauses(&story, PAUSE_MERCHANT, DIRECT);
    goes_on(&story, BEGIN_MS + 100);
    cr_assert_eq(story.calls[1], 1);
    cr_assert_eq(status_of(&story).jobs[JOB_PAUSED], 1);
    time_passes(&story, 10 * MINUTE); /* give_up_after_ms is 5 s */
    cr_assert_eq(story.ended_ms[1], 0);
    resumes(&story, PAUSE_MERCHANT, DIRECT);
    story.says[1] = ANSWER_SUCCESS;
    goes_on(&story, story.now.mono_ms + 100);
    cr_assert_eq(story.ended[1], REASON_NONE, "%s", reason_name(story.ended[1]));
    cr_assert_eq(story.attempts[1], 2);
    story_end(&story);
}

Test(pausing, an_event_between_two_attempts_is_held)
{
    struct story story;
    story_begin(&story);
    comes(&story, 1);
    pipeline_step(story.pipeline);
    answers(&story, 1, 500, 2000);
    pipeline_step(story.pipeline);
    cr_assert_eq(status_of(&story).jobs[JOB_RETRY], 1);
    pauses(&story, PAUSE_MERCHANT, DIRECT);
    cr_assert_eq(status_of(&story).jobs[JOB_PAUSED], 1);
    resumes(&story, PAUSE_MERCHANT, DIRECT);
    cr_assert_eq(status_of(&story).jobs[JOB_RETRY], 1, "its time has not come");
    pauses(&story, PAUSE_MERCHANT, DIRECT);
    time_passes(&story, 10 * MINUTE);
    cr_assert_eq(story.ended_ms[1], 0);
    resumes(&story, PAUSE_MERCHANT, DIRECT);
    goes_on(&story, story.now.mono_ms + 100);
    cr_assert_eq(story.ended[1], REASON_NONE, "%s", reason_name(story.ended[1]));
    cr_assert_gt(story.ended_ms[1], 0);
    story_end(&story);
}

/* The time before the pause and after it counts. */
Test(pausing, retry_time_goes_on_after_the_pause)
{
    struct story story;
    story_begin(&story);
    story.says[1] = ANSWER_UNAVAILABLE;
    story.rules.retry = (struct retry_policy){
        .max_attempts = 100000, .base_delay_ms = 10, .max_delay_ms = 10, .give_up_after_ms = 5000};
    pipeline_configure(story.pipeline, &story.rules);
    comes(&story, 1);
    goes_on(&story, BEGIN_MS + 2000);
    pauses(&story, PAUSE_ENDPOINT, "app");
    goes_on(&story, BEGIN_MS + 2100);
    unsigned calls = story.calls[1];
    time_passes(&story, 10 * MINUTE);
    cr_assert_eq(story.calls[1], calls);
    int64_t resumed_ms = story.now.mono_ms;
    resumes(&story, PAUSE_ENDPOINT, "app");
    goes_on(&story, resumed_ms + 6000);
    cr_assert_eq(story.ended[1], REASON_UNAVAILABLE);
    int64_t left_ms = story.ended_ms[1] - resumed_ms;
    cr_assert(left_ms > 1000 && left_ms < 3500, "%d ms after the resume", (int)left_ms);
    story_end(&story);
}

Test(pausing, everything_stops_and_no_partition_is_read)
{
    struct story story;
    story_begin(&story);
    comes(&story, 1);
    pipeline_step(story.pipeline);
    pauses(&story, PAUSE_ALL, "");
    cr_assert_eq(pipeline_wants(story.pipeline), 1, "the group's own events");
    cr_assert_not(story.paused, "its first record is read, for its timestamp");
    comes(&story, 2);
    cr_assert(story.paused);
    cr_assert_eq(status_of(&story).jobs[JOB_NEW], 1);
    cr_assert_eq(status_of(&story).partitions_full, 0);
    goes_on(&story, BEGIN_MS + 100);
    cr_assert_lt(status_of(&story).oldest_ms, INT64_MAX, "the age of what is not read");
    cr_assert_eq(story.ended[1], REASON_NONE);
    cr_assert_gt(story.ended_ms[1], 0, "its call had begun");
    cr_assert_eq(story.calls[2], 0);
    cr_assert(status_of(&story).all_paused);
    cr_assert_eq(pipeline_next_ms(story.pipeline), INT64_MAX, "nothing is due");
    /* The next assignment is not read either. */
    const struct consumer_position position = {.partition = 3, .offset = 2, .metadata = ""};
    story.paused = false;
    pipeline_assigned(story.pipeline, story.group_metadata, &position.partition, 1);
    pipeline_positions(story.pipeline, &position, 1);
    cr_assert_eq(pipeline_wants(story.pipeline), 1);
    comes(&story, 2);
    cr_assert(story.paused);
    pauses(&story, PAUSE_MERCHANT, DIRECT);
    cr_assert_eq(pipeline_resume(story.pipeline, PAUSE_ALL, ""), 2, "it ends every pause");
    cr_assert_gt(pipeline_wants(story.pipeline), 1);
    comes(&story, 3);
    goes_on(&story, story.now.mono_ms + 100);
    cr_assert_not(story.paused);
    cr_assert_eq(story.calls[2], 1, "the one that was read first");
    cr_assert_eq(story.calls[3], 1);
    story_end(&story);
}

Test(pausing, a_paused_event_expires)
{
    struct story story;
    story_begin(&story);
    pauses(&story, PAUSE_ALL, "");
    comes_with(&story, 1, "\"expirytime\":\"2026-11-18T11:06:41Z\",");
    goes_on(&story, BEGIN_MS + 2000);
    cr_assert_eq(story.ended[1], REASON_EXPIRED);
    story_end(&story);
}

Test(pausing, a_pause_ends_at_its_time)
{
    struct story story;
    story_begin(&story);
    const struct pause pause = of(PAUSE_MERCHANT, DIRECT, story.now.wall_ms + 5000);
    cr_assert(pipeline_pause(story.pipeline, &pause));
    comes(&story, 1);
    goes_on(&story, BEGIN_MS + 4990);
    cr_assert_eq(story.calls[1], 0);
    cr_assert_eq(pipeline_next_ms(story.pipeline), BEGIN_MS + 5000);
    goes_on(&story, BEGIN_MS + 5010);
    cr_assert_eq(story.calls[1], 1);
    cr_assert_eq(story.pauses_ended[false], 1);
    cr_assert_eq(pipeline_pauses(story.pipeline)->count, 0);
    cr_assert_neq(pipeline_next_ms(story.pipeline), BEGIN_MS + 5000);
    story_end(&story);
}

/* Set back, it would never end otherwise. */
Test(pausing, the_end_follows_the_wall_clock)
{
    struct story story;
    story_begin(&story);
    const struct pause pause = of(PAUSE_ALL, "", story.now.wall_ms + 60 * MINUTE);
    cr_assert(pipeline_pause(story.pipeline, &pause));
    story.now.wall_ms += 60 * MINUTE;
    story.now.mono_ms += MINUTE;
    pipeline_step(story.pipeline);
    cr_assert_eq(pipeline_pauses(story.pipeline)->count, 0);
    story_end(&story);
}

Test(pausing, other_endpoints_go_on_but_not_the_next_event_of_the_code)
{
    struct story story;
    story_begin(&story);
    pauses(&story, PAUSE_ENDPOINT, "app");
    comes(&story, 1);
    comes_as(&story, 2, H5, 2, "");
    comes_as(&story, 3, H5, 1, ""); /* behind the paused one */
    goes_on(&story, BEGIN_MS + 100);
    cr_assert_eq(story.calls[2], 1);
    cr_assert_eq(story.calls[1], 0);
    cr_assert_eq(status_of(&story).jobs[JOB_BLOCKED], 1);
    cr_assert_not(pipeline_is_paused(story.pipeline, DIRECT));
    resumes(&story, PAUSE_ENDPOINT, "app");
    goes_on(&story, story.now.mono_ms + 100);
    cr_assert_eq(story.calls[1], 2);
    story_end(&story);
}

/* Each pause that holds an event has to end. */
Test(pausing, two_pauses_of_one_event)
{
    struct story story;
    story_begin(&story);
    pauses(&story, PAUSE_ENDPOINT, "app");
    pauses(&story, PAUSE_MERCHANT, DIRECT);
    comes(&story, 1);
    resumes(&story, PAUSE_ENDPOINT, "app");
    goes_on(&story, BEGIN_MS + 100);
    cr_assert_eq(story.calls[1], 0);
    resumes(&story, PAUSE_MERCHANT, DIRECT);
    goes_on(&story, BEGIN_MS + 200);
    cr_assert_eq(story.calls[1], 1);
    story_end(&story);
}

Test(pausing, a_held_merchant_is_probed_again_only_after_the_pause)
{
    struct story story;
    story_begin(&story);
    story.says[1] = story.says[2] = ANSWER_UNAUTHORIZED;
    comes(&story, 1);
    comes(&story, 2);
    goes_on(&story, BEGIN_MS + 1000);
    struct pipeline_status status = status_of(&story);
    cr_assert_eq(status.merchants_held, 1);
    pauses(&story, PAUSE_MERCHANT, DIRECT);
    unsigned calls = story.calls[1] + story.calls[2];
    time_passes(&story, 10 * MINUTE); /* its hold would be over */
    cr_assert_eq(story.calls[1] + story.calls[2], calls, "no probe");
    cr_assert_eq(story.ended_ms[1] + story.ended_ms[2], 0, "no failure");
    story.says[1] = story.says[2] = ANSWER_SUCCESS;
    resumes(&story, PAUSE_MERCHANT, DIRECT);
    goes_on(&story, story.now.mono_ms + 100);
    cr_assert_eq(story.ended[1], REASON_NONE, "%s", reason_name(story.ended[1]));
    cr_assert_eq(story.ended[2], REASON_NONE, "%s", reason_name(story.ended[2]));
    cr_assert(story.ended_ms[1] > 0 && story.ended_ms[2] > 0);
    story_end(&story);
}

/* The hold of one event alone has begun again as well. */
Test(pausing, an_event_that_is_held_alone_is_not_probed_while_it_is_paused)
{
    struct story story;
    story_begin(&story);
    story.says[1] = ANSWER_UNAUTHORIZED;
    comes(&story, 1);
    goes_on(&story, BEGIN_MS + 100);
    comes(&story, 2);
    goes_on(&story, BEGIN_MS + HOLD_MS / 2); /* contradicts it */
    cr_assert_gt(story.ended_ms[2], 0);
    pauses(&story, PAUSE_MERCHANT, DIRECT);
    unsigned calls = story.calls[1];
    time_passes(&story, 10 * MINUTE);
    cr_assert_eq(story.calls[1], calls);
    cr_assert_eq(story.ended_ms[1], 0);
    resumes(&story, PAUSE_MERCHANT, DIRECT);
    goes_on(&story, story.now.mono_ms + HOLD_MS / 2);
    cr_assert_eq(story.ended_ms[1], 0);
    cr_assert_gt(story.calls[1], calls);
    goes_on(&story, story.now.mono_ms + HOLD_MS);
    cr_assert_eq(story.ended[1], REASON_MERCHANT_UNAUTHORIZED);
    story_end(&story);
}

Test(pausing, a_reload_keeps_pauses_but_not_of_a_merchant_that_it_removes)
{
    struct story story;
    story_begin(&story);
    pauses(&story, PAUSE_MERCHANT, DIRECT);
    pauses(&story, PAUSE_MERCHANT, PARTNER);
    comes(&story, 1);
    pipeline_configure(story.pipeline, &story.rules);
    goes_on(&story, BEGIN_MS + 100);
    cr_assert_eq(pipeline_pauses(story.pipeline)->count, 2);
    struct merchants *before = story.world.merchants;
    story.world.merchants =
        merchants_new((struct merchant *const[]){keyless(PARTNER, MODE_PARTNER, false)}, 1);
    story.world.rules.merchants = story.world.merchants;
    pipeline_configure(story.pipeline, &story.rules);
    goes_on(&story, BEGIN_MS + 200);
    cr_assert_eq(pipeline_pauses(story.pipeline)->count, 1);
    cr_assert_eq(story.pauses_ended[true], 1);
    cr_assert_eq(story.ended[1], REASON_UNKNOWN_MERCHANT, "%s", reason_name(story.ended[1]));
    merchants_unref(before);
    story_end(&story);
}

/* Fills the partition with events of a paused endpoint, after one of another endpoint. */
static void fill(struct story *story)
{
    story_begin(story);
    pipeline_limit_metadata(story->pipeline, METADATA);
    comes_as(story, 0, H5, 9, "");
    goes_on(story, BEGIN_MS + 100);
    cr_assert_gt(story->ended_ms[9], 0);
    pauses(story, PAUSE_ENDPOINT, "app");
    for (int i = 1; i <= SPAN; i++) {
        comes_as(story, i, APP, i, "");
    }
    goes_on(story, BEGIN_MS + 1000);
    cr_assert(story->paused);
}

Test(pausing, relief_ends_paused_events_that_fill_a_partition)
{
    struct story story;
    fill(&story);
    goes_on(&story, BEGIN_MS + 29000);
    cr_assert_eq(story.ended_ms[1], 0);
    goes_on(&story, BEGIN_MS + 32000);
    cr_assert_eq(story.ended[1], REASON_PAUSED, "%s", reason_name(story.ended[1]));
    cr_assert(reason_row(REASON_PAUSED)->retryable);
    cr_assert_not(story.paused, "there is room");
    cr_assert_gt(status_of(&story).jobs[JOB_PAUSED], 0, "only as many as make room");
    story_end(&story);
}

Test(pausing, relief_ends_nothing_while_everything_is_paused)
{
    struct story story;
    fill(&story);
    pauses(&story, PAUSE_ALL, "");
    time_passes(&story, 60 * MINUTE);
    goes_on(&story, story.now.mono_ms + 1000);
    cr_assert_eq(status_of(&story).jobs[JOB_PAUSED], SPAN);
    story_end(&story);
}

Test(pausing, a_drain_and_a_revocation_leave_paused_events_to_others)
{
    for (int i = 0; i < 2; i++) {
        struct story story;
        story_begin(&story);
        pauses(&story, PAUSE_MERCHANT, DIRECT);
        comes(&story, 1);
        pipeline_step(story.pipeline);
        (i == 0 ? pipeline_drain : pipeline_revoking)(story.pipeline);
        cr_assert(pipeline_idle(story.pipeline));
        cr_assert_eq(status_of(&story).jobs[JOB_PAUSED], 0);
        cr_assert_eq(pipeline_pauses(story.pipeline)->count, 1, "the pause stays");
        pipeline_lost(story.pipeline);
        story_end(&story);
    }
}

/* --- find --------------------------------------------------------------------------------- */

struct finds {
    size_t count;
    struct pipeline_found last;
};

static void note_found(void *context, const struct pipeline_found *found)
{
    struct finds *finds = context;
    finds->count++;
    finds->last = *found;
}

static struct finds finds(const struct story *story, const char *code)
{
    struct finds finds = {0};
    cr_assert_eq(pipeline_find(story->pipeline, code, note_found, &finds), finds.count);
    return finds;
}

Test(find, says_what_an_event_waits_for)
{
    struct story story;
    story_begin(&story);
    comes(&story, 1);
    cr_assert_str_eq(finds(&story, "code1").last.state, "waiting");
    pipeline_step(story.pipeline);
    struct finds found = finds(&story, "code1");
    cr_assert_str_eq(found.last.state, "calling");
    cr_assert_eq(found.last.attempts, 1);
    cr_assert_eq(found.last.record->offset, 1);
    cr_assert_str_eq(found.last.admission->event.id, "1");
    answers(&story, 1, 500, 1000);
    pipeline_step(story.pipeline);
    found = finds(&story, "code1");
    cr_assert_str_eq(found.last.state, "retry");
    cr_assert_eq(found.last.status, 500);
    cr_assert_geq(found.last.next_attempt_at_ms, story.now.wall_ms);
    comes_as(&story, 2, APP, 1, "");
    found = finds(&story, "code1");
    cr_assert_eq(found.count, 2);
    cr_assert_str_eq(found.last.state, "held");
    cr_assert_str_eq(found.last.held_by, "key");
    cr_assert_eq(found.last.until_ms, PIPELINE_FOUND_NONE);
    cr_assert_eq(finds(&story, "code2").count, 0);
    cr_assert_eq(finds(&story, "").count, 0);
    story_end(&story);
}

Test(find, says_which_hold_and_until_when)
{
    struct story story;
    story_begin(&story);
    const struct pause pause = of(PAUSE_ENDPOINT, "app", story.now.wall_ms + 3 * MINUTE);
    cr_assert(pipeline_pause(story.pipeline, &pause));
    comes(&story, 1);
    struct finds found = finds(&story, "code1");
    cr_assert_str_eq(found.last.state, "held");
    cr_assert_str_eq(found.last.held_by, "paused");
    cr_assert_eq(found.last.until_ms, pause.until_ms);
    pauses(&story, PAUSE_MERCHANT, DIRECT);
    cr_assert_eq(finds(&story, "code1").last.until_ms, PIPELINE_FOUND_NONE, "one has no end");
    (void)pipeline_resume(story.pipeline, PAUSE_ALL, "");
    story.says[1] = ANSWER_UNAUTHORIZED;
    goes_on(&story, BEGIN_MS + 500);
    found = finds(&story, "code1");
    cr_assert_str_eq(found.last.held_by, "merchant_unauthorized");
    cr_assert_gt(found.last.until_ms, story.now.wall_ms);
    story_end(&story);
}

Test(find, an_outcome_that_is_not_visible_is_completed)
{
    struct story story;
    story_begin(&story);
    comes(&story, 1);
    pipeline_step(story.pipeline);
    answer_calls(&story);
    pipeline_step(story.pipeline); /* its transaction does not end */
    struct finds found = finds(&story, "code1");
    cr_assert_str_eq(found.last.state, "completed");
    cr_assert_str_eq(found.last.admission->mchid, DIRECT);
    goes_on(&story, BEGIN_MS + 100);
    cr_assert_eq(finds(&story, "code1").count, 0);
    story_end(&story);
}

Test(find, visits_so_many_events_at_most)
{
    struct story story;
    story_begin(&story);
    pauses(&story, PAUSE_ALL, "");
    for (int i = 0; i < PIPELINE_FIND_MAX + 6; i++) {
        comes_as(&story, i, APP, 1, "");
    }
    cr_assert_eq(finds(&story, "code1").count, PIPELINE_FIND_MAX);
    story_end(&story);
}
