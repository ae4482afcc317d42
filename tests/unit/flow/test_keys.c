/* Keys that verify answers: a merchant without one is not called, and an event whose answer names
 * an unknown one waits until the merchant's certificates have been fetched. */
#include "unit/flow/story.h"

#define MINUTE INT64_C(60000)

static void time_passes(struct story *story, int64_t ms)
{
    story->now.mono_ms += ms;
    story->now.wall_ms += ms;
    goes_on(story, story->now.mono_ms + 10);
}

static struct pipeline_status status_of(const struct story *story)
{
    struct pipeline_status status;
    pipeline_status(story->pipeline, &status);
    return status;
}

static void begin_with_ten_minutes(struct story *story)
{
    story_begin(story);
    story->rules.retry.give_up_after_ms = 10 * MINUTE;
    pipeline_configure(story->pipeline, &story->rules);
}

/* Event 1: the answer is signed, and Wechatpay-Serial names no key of the merchant. */
static void comes_and_names_an_unknown_key(struct story *story)
{
    story->cause = ANSWER_CAUSE_KEYS;
    story->says[1] = ANSWER_UNVERIFIED;
    comes(story, 1);
}

static void keys_come(struct story *story)
{
    story->no_keys = false;
    pipeline_keys_changed(story->pipeline, DIRECT, true);
}

static void check_found(void *context, const struct pipeline_found *found)
{
    const char **held_by = context;
    cr_assert_str_eq(found->state, "held");
    *held_by = found->held_by;
}

static void is_held(const struct story *story, const char *code)
{
    const char *held_by = NULL;
    cr_assert_eq(pipeline_find(story->pipeline, code, check_found, &held_by), 1);
    cr_assert_str_eq(held_by, "unverified_answer");
}

Test(keys, a_merchant_without_keys_is_held_before_its_first_call)
{
    struct story story;
    AUTO_BUF struct buf why = {0};
    story_begin(&story);
    story.no_keys = true;
    comes(&story, 1);
    comes(&story, 2);
    goes_on(&story, BEGIN_MS + 100);
    cr_assert_eq(story.calls[1] + story.calls[2], 0);
    cr_assert_gt(story.refreshes, 0, "an event waits, so they are fetched");
    cr_assert_eq(story.held[HOLD_WHY_KEYLESS], 1);
    cr_assert_eq(status_of(&story).held[HOLD_WHY_KEYLESS], 2);
    cr_assert_eq(status_of(&story).merchants_held, 1);
    cr_assert_eq(status_of(&story).unexplained, 0);
    is_held(&story, "code1");
    progress_describe(story.pipeline, &why);
    cr_assert_not_null(strstr(why.data, "2 held for a merchant without a key"), "%s", why.data);
    cr_assert(progress_moves(story.pipeline, 1000, &why), "%s", why.data);
    keys_come(&story);
    cr_assert_eq(story.released[HOLD_WHY_KEYLESS], 1);
    goes_on(&story, story.now.mono_ms + 100);
    cr_assert_eq(story.calls[1] + story.calls[2], 2);
    cr_assert_eq(story.ended[1], REASON_NONE);
    cr_assert_gt(story.ended_ms[2], 0);
    story_end(&story);
}

Test(keys, without_keys_for_longer_than_the_hold_events_fail_and_are_not_sent)
{
    struct story story;
    story_begin(&story);
    story.no_keys = true;
    comes(&story, 1);
    goes_on(&story, BEGIN_MS + 10);
    time_passes(&story, HOLD_MS - 1000);
    cr_assert_eq(story.ended_ms[1], 0);
    time_passes(&story, 1000);
    cr_assert_eq(story.ended[1], REASON_UNVERIFIED_ANSWER);
    cr_assert_eq(story.state[1], CALL_NOT_SENT);
    cr_assert_eq(story.attempts[1], 0);
    comes(&story, 2);
    goes_on(&story, story.now.mono_ms + 100);
    cr_assert_eq(story.ended[2], REASON_UNVERIFIED_ANSWER, "at once");
    story.no_keys = false; /* the clock has come to notBefore: nothing tells the pipeline */
    comes(&story, 3);
    goes_on(&story, story.now.mono_ms + 100);
    cr_assert_eq(story.ended[3], REASON_NONE);
    cr_assert_gt(story.ended_ms[3], 0);
    cr_assert_eq(story.released[HOLD_WHY_KEYLESS], 1);
    story_end(&story);
}

/* No other event comes, so the pipeline must look again by itself. */
Test(keys, the_clock_brings_a_key)
{
    struct story story;
    story_begin(&story);
    story.no_keys = true;
    comes(&story, 1);
    goes_on(&story, BEGIN_MS + 10);
    story.no_keys = false;
    int64_t next_ms = pipeline_next_ms(story.pipeline);
    cr_assert_leq(next_ms, BEGIN_MS + 10 + HOLD_MS / 10);
    story.now.mono_ms = next_ms;
    goes_on(&story, next_ms + 10);
    cr_assert_eq(story.calls[1], 1);
    story_end(&story);
}

/* In one second it would have used up its attempts. The other events go on. */
Test(keys, an_unknown_serial_waits_for_the_refresh)
{
    struct story story;
    story_begin(&story);
    comes_and_names_an_unknown_key(&story);
    comes(&story, 2);
    goes_on(&story, BEGIN_MS + 3000);
    cr_assert_eq(story.calls[1], 1);
    cr_assert_eq(story.refreshes, 1);
    cr_assert_gt(story.ended_ms[2], 0);
    is_held(&story, "code1");
    story.says[1] = ANSWER_SUCCESS;
    keys_come(&story);
    goes_on(&story, story.now.mono_ms + 100);
    cr_assert_eq(story.calls[1], 2);
    cr_assert_eq(story.ended[1], REASON_NONE);
    cr_assert_gt(story.ended_ms[1], 0);
    story_end(&story);
}

/* The answer and the list end in one round of the loop, or the answer was verified before. The next
 * refresh may be a minute away. */
Test(keys, certificates_that_came_during_the_call_are_tried_at_once)
{
    struct story story;
    begin_with_ten_minutes(&story);
    comes_and_names_an_unknown_key(&story);
    pipeline_step(story.pipeline);
    cr_assert_not_null(story.in_flight[1]);
    story.now.mono_ms++;
    keys_come(&story);
    goes_on(&story, BEGIN_MS + 100);
    cr_assert_eq(story.calls[1], 2);
    goes_on(&story, BEGIN_MS + 3000);
    cr_assert_eq(story.calls[1], 2, "its answer names another one, so it waits");
    is_held(&story, "code1");
    story_end(&story);
}

/* Two of three attempts are left after it. */
Test(keys, the_wait_uses_no_attempt)
{
    struct story story;
    begin_with_ten_minutes(&story);
    comes_and_names_an_unknown_key(&story);
    goes_on(&story, BEGIN_MS + 100);
    story.says[1] = ANSWER_UNAVAILABLE;
    pipeline_keys_changed(story.pipeline, DIRECT, false);
    goes_on(&story, story.now.mono_ms + 1000);
    cr_assert_eq(story.ended[1], REASON_UNAVAILABLE);
    cr_assert_eq(story.attempts[1], 4, "three that count");
    story_end(&story);
}

Test(keys, the_wait_ends_after_a_minute)
{
    struct story story;
    begin_with_ten_minutes(&story);
    comes_and_names_an_unknown_key(&story);
    goes_on(&story, BEGIN_MS + 100);
    time_passes(&story, JOB_KEYS_WAIT_MS - 1000);
    cr_assert_eq(story.calls[1], 1);
    time_passes(&story, 1000);
    cr_assert_eq(story.calls[1], 2);
    cr_assert_eq(story.refreshes, 2, "the next answer asks again");
    story_end(&story);
}

Test(keys, the_last_attempt_does_not_wait_beyond_the_events_time)
{
    struct story story;
    story_begin(&story); /* give_up_after_ms is 5 s, the time-out 1 s */
    comes_and_names_an_unknown_key(&story);
    goes_on(&story, BEGIN_MS + 3900);
    cr_assert_eq(story.calls[1], 1);
    goes_on(&story, BEGIN_MS + 5100);
    cr_assert_eq(story.calls[1], 2);
    cr_assert_eq(story.ended[1], REASON_UNVERIFIED_ANSWER);
    cr_assert_eq(story.state[1], CALL_UNKNOWN);
    story_end(&story);
}

Test(keys, without_a_refresh_attempts_count)
{
    struct story story;
    story_begin(&story);
    story.no_refresh = true;
    story.rules.limits.hold_unauthorized_ms = 0;
    pipeline_configure(story.pipeline, &story.rules);
    comes_and_names_an_unknown_key(&story);
    goes_on(&story, BEGIN_MS + 3000);
    cr_assert_eq(story.attempts[1], 3);
    cr_assert_eq(story.ended[1], REASON_UNVERIFIED_ANSWER);
    story_end(&story);
}

/* Another fault of an answer is no matter of certificates. */
Test(keys, other_unverified_answers_ask_for_no_refresh)
{
    struct story story;
    story_begin(&story);
    story.says[1] = ANSWER_UNVERIFIED;
    comes(&story, 1);
    goes_on(&story, BEGIN_MS + 3000);
    cr_assert_eq(story.refreshes, 0);
    cr_assert_eq(story.attempts[1], 3);
    story_end(&story);
}

/* A missed switch: every answer names the new certificate. The first three hold the merchant. The
 * new list is tried with one event, then all go on; none has failed. */
Test(keys, a_missed_switch_costs_no_event)
{
    struct story story;
    story_begin(&story);
    story.cause = ANSWER_CAUSE_KEYS;
    for (int i = 0; i < 8; i++) {
        story.says[i] = ANSWER_UNVERIFIED;
        comes_as(&story, i, APP, i, "");
    }
    goes_on(&story, BEGIN_MS + 1000);
    cr_assert_eq(story.held[HOLD_WHY_UNVERIFIED], 1);
    for (int i = 0; i < 8; i++) {
        story.says[i] = ANSWER_SUCCESS;
        cr_assert_leq(story.calls[i], 1);
    }
    keys_come(&story);
    goes_on(&story, story.now.mono_ms + 1000);
    cr_assert_eq(story.released[HOLD_WHY_UNVERIFIED], 1);
    for (int i = 0; i < 8; i++) {
        cr_assert_gt(story.ended_ms[i], 0);
        cr_assert_eq(story.ended[i], REASON_NONE, "event %d", i);
    }
    story_end(&story);
}

/* It waits for a pause then, and is called when that ends, not a minute after its answer. */
Test(keys, a_pause_and_a_refresh)
{
    struct story story;
    const struct pause pause = {.scope = PAUSE_MERCHANT, .name = DIRECT};
    story_begin(&story);
    comes_and_names_an_unknown_key(&story);
    goes_on(&story, BEGIN_MS + 100);
    cr_assert(pipeline_pause(story.pipeline, &pause));
    goes_on(&story, BEGIN_MS + 200);
    keys_come(&story);
    goes_on(&story, BEGIN_MS + 300);
    cr_assert_eq(story.calls[1], 1);
    story.says[1] = ANSWER_SUCCESS;
    cr_assert_eq(pipeline_resume(story.pipeline, PAUSE_MERCHANT, DIRECT), 1);
    goes_on(&story, BEGIN_MS + 400);
    cr_assert_eq(story.ended[1], REASON_NONE);
    cr_assert_gt(story.ended_ms[1], 0);
    story_end(&story);
}

Test(keys, nobody_waits_for_the_keys_of_an_unknown_merchant)
{
    struct story story;
    story_begin(&story);
    pipeline_keys_changed(story.pipeline, "1", true);
    pipeline_keys_changed(story.pipeline, DIRECT, true); /* it has no queue yet */
    story_end(&story);
}
