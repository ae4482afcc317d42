/* Single events, call by call. tests/sim checks what holds for all events. */
#include "unit/flow/story.h"

Test(pipeline, an_event_that_is_always_answered_401_is_held_alone)
{
    struct story story;
    story_begin(&story);
    story.says[1] = ANSWER_UNAUTHORIZED;
    comes(&story, 1);
    goes_on(&story, BEGIN_MS + 100);
    cr_assert_eq(story.calls[1], 2, "signed again once");
    comes(&story, 2);
    comes(&story, 3);
    /* It is the first probe; then other events precede it. */
    goes_on(&story, BEGIN_MS + 2 * HOLD_MS / 10 + 1000);
    cr_assert_eq(story.calls[2], 1);
    cr_assert_eq(story.calls[3], 1);
    cr_assert_gt(story.ended_ms[2], 0, "it was the probe, and ended the hold");
    cr_assert_eq(story.ended[2], REASON_NONE);
    goes_on(&story, BEGIN_MS + HOLD_MS + HOLD_MS / 5);
    cr_assert_eq(story.ended[1], REASON_MERCHANT_UNAUTHORIZED);
    cr_assert_geq(story.ended_ms[1], BEGIN_MS + HOLD_MS);
    story_end(&story);
}

Test(pipeline, a_hold_uses_neither_attempts_nor_retry_time)
{
    struct story story;
    story_begin(&story);
    story.says[1] = ANSWER_UNAUTHORIZED;
    comes(&story, 1);
    goes_on(&story, BEGIN_MS + HOLD_MS / 2);
    cr_assert_gt(story.calls[1], 3, "more than max_attempts");
    cr_assert_eq(story.ended_ms[1], 0, "and longer than give_up_after_ms");
    story.says[1] = ANSWER_SUCCESS;
    goes_on(&story, BEGIN_MS + HOLD_MS);
    cr_assert_gt(story.ended_ms[1], 0);
    cr_assert_eq(story.ended[1], REASON_NONE);
    story_end(&story);
}

Test(pipeline, the_second_signature_counts_as_an_attempt)
{
    struct story story;
    story_begin(&story);
    story.says[1] = ANSWER_UNAUTHORIZED;
    comes(&story, 1);
    pipeline_step(story.pipeline);
    answer_calls(&story);
    story.says[1] = ANSWER_UNAVAILABLE;
    goes_on(&story, BEGIN_MS + 1000);
    cr_assert_eq(story.ended[1], REASON_UNAVAILABLE);
    cr_assert_eq(story.attempts[1], 3);
    story_end(&story);
}

/* The circuit closed while this event's call was in flight. */
Test(pipeline, retry_after_of_a_recovered_host_is_ignored)
{
    struct story story;
    story_begin(&story);
    story.rules.retry.give_up_after_ms = 3600000;
    story.rules.limits.timeout_ms = 100000;
    pipeline_configure(story.pipeline, &story.rules);
    comes(&story, 1);
    comes(&story, 2);
    pipeline_step(story.pipeline);
    void *late = story.in_flight[2];
    cr_assert_not_null(late);
    story.in_flight[2] = NULL;
    answers(&story, 1, 503, 1);
    story.says[1] = ANSWER_SUCCESS;
    goes_on(&story, BEGIN_MS + 5000);
    cr_assert_eq(story.calls[1], 2);
    cr_assert_eq(story.attempts[1], 2);
    story.in_flight[2] = late;
    answers(&story, 2, 503, 3600000);
    story.says[2] = ANSWER_SUCCESS;
    goes_on(&story, BEGIN_MS + 10000);
    cr_assert_eq(story.attempts[2], 2);
    story_end(&story);
}

/* A request may be sent until the expirytime, also with less than a time-out left. */
Test(pipeline, an_event_that_expires_within_a_timeout_is_tried_again)
{
    struct story story;
    story_begin(&story);
    story.says[1] = ANSWER_UNAVAILABLE;
    /* Half a time-out after the begin of the attempt. */
    comes_with(&story, 1, "\"expirytime\":\"2026-11-18T11:06:40.500Z\",");
    pipeline_step(story.pipeline);
    answer_calls(&story);
    story.says[1] = ANSWER_SUCCESS;
    goes_on(&story, BEGIN_MS + 100);
    cr_assert_gt(story.ended_ms[1], 0);
    cr_assert_eq(story.ended[1], REASON_NONE, "%s", reason_name(story.ended[1]));
    story_end(&story);
}

/* hold_unauthorized_ms 0 ends holds, but not the pause after a 429. */
Test(pipeline, a_reload_without_holds_keeps_the_pause_of_a_429)
{
    struct story story;
    story_begin(&story);
    story.rules.limits.hold_unauthorized_ms = 0;
    story.rules.retry.base_delay_ms = 1000;
    story.rules.retry.max_delay_ms = 1000;
    pipeline_configure(story.pipeline, &story.rules);
    story.says[1] = ANSWER_RATE_LIMITED;
    comes(&story, 1);
    goes_on(&story, BEGIN_MS + 10);
    pipeline_configure(story.pipeline, &story.rules);
    goes_on(&story, BEGIN_MS + 400);
    cr_assert_eq(story.calls[1], 1);
    story_end(&story);
}

Test(pipeline, events_of_one_code_are_called_in_order)
{
    struct story story;
    story_begin(&story);
    story.says[1] = ANSWER_UNAVAILABLE;
    comes(&story, 1);
    pipeline_step(story.pipeline);
    cr_assert_eq(story.calls[1], 1);
    /* Another event of the same code, at the next offset. */
    char data[256];
    (void)snprintf(data, sizeof data, "%s",
                   "{\"appid\":\"wxd678efh567hg6787\",\"plan_id\":1,\"out_contract_code\":"
                   "\"code1\",\"contract_display_account\":\"A\","
                   "\"contract_notify_url\":\"https://yourapp.com/notify\"}");
    struct record record = record_of(APP, "", data);
    record.offset = 2;
    pipeline_record(story.pipeline, &record);
    free((void *)record.value);
    pipeline_step(story.pipeline);
    struct pipeline_status status;
    pipeline_status(story.pipeline, &status);
    cr_assert_eq(status.jobs[JOB_CALLING], 1);
    cr_assert_eq(status.jobs[JOB_BLOCKED], 1);
    story.says[1] = ANSWER_SUCCESS;
    goes_on(&story, BEGIN_MS + 100);
    cr_assert_eq(story.calls[1], 2);
    pipeline_status(story.pipeline, &status);
    cr_assert_eq(status.bytes, 0);
    story_end(&story);
}

/* Nine events and an in-flight limit of one. How many are called while no outcome can be published?
 */
static void assert_few_are_called(const struct transaction_end *end, enum refusal refusal)
{
    enum { EVENTS = 9, LIMIT = 1, WAIT = 2 * LIMIT };
    struct story story;
    story_begin(&story);
    story.rules.limits.in_flight = LIMIT;
    story.refusal = refusal;
    pipeline_configure(story.pipeline, &story.rules);
    for (int i = 1; i <= EVENTS; i++) {
        comes(&story, i);
    }
    for (int i = 0; i < 100; i++) {
        pipeline_step(story.pipeline);
        answer_calls(&story);
        if (end != NULL && story.batches > 0) {
            story.batches--;
            pipeline_batch_ended(story.pipeline, end);
        }
        story.now.mono_ms++;
    }
    struct pipeline_status status;
    pipeline_status(story.pipeline, &status);
    cr_assert_eq(
        status.jobs[JOB_COMPLETED] + status.jobs[JOB_PUBLISHING] + status.jobs[JOB_REFUSED], WAIT);
    cr_assert_eq(status.jobs[JOB_WAITING], EVENTS - WAIT);
    goes_on(&story, BEGIN_MS + 60000);
    for (int i = 1; i <= EVENTS; i++) {
        cr_assert_eq(story.calls[i], 1);
        cr_assert_gt(story.ended_ms[i], 0);
    }
    story_end(&story);
}

/* After a crash, calls without a committed outcome are repeated. So while Kafka is unreachable, no
 * call begins once twice as many outcomes wait as calls may be in flight. */
Test(pipeline, no_call_begins_while_a_transaction_does_not_end)
{
    assert_few_are_called(NULL, REFUSAL_NONE); /* the first transaction does not end */
}

Test(pipeline, no_call_begins_while_transactions_are_aborted)
{
    assert_few_are_called(
        &(struct transaction_end){.verdict = TRANSACTION_ABORTED, .last_error = "t"}, REFUSAL_NONE);
}

Test(pipeline, no_call_begins_while_the_results_topic_is_unavailable)
{
    const struct transaction_end end = {
        .verdict = TRANSACTION_RECORDS_REFUSED, .refused = 1, .last_error = "t"};
    assert_few_are_called(&end, REFUSAL_NO_TOPIC);
}

static void is_retried(struct story *story, int number)
{
    story->says[number] = ANSWER_UNAVAILABLE;
    story->rules.retry.max_attempts = 100000;
    pipeline_configure(story->pipeline, &story->rules);
}

/* The limit becomes known late, when events are unfinished: an outcome out of order waits for
 * earlier ones. */
Test(pipeline, without_metadata_outcomes_are_committed_in_order)
{
    struct story story;
    struct pipeline_status status;
    story_begin(&story);
    is_retried(&story, 1);
    for (int i = 1; i < 10; i++) {
        comes(&story, i);
    }
    pipeline_step(story.pipeline);
    pipeline_limit_metadata(story.pipeline, 0);
    cr_assert(story.paused);
    goes_on(&story, BEGIN_MS + 500);
    pipeline_status(story.pipeline, &status);
    cr_assert_eq(story.ended_ms[1], 0);
    cr_assert_eq(status.deferred, 8);
    cr_assert_leq(status.unexplained, 1, "the one that is retried");
    story.says[1] = ANSWER_SUCCESS;
    goes_on(&story, BEGIN_MS + 10000);
    for (int i = 1; i < 10; i++) {
        cr_assert_gt(story.ended_ms[i], 0);
        cr_assert_eq(story.ended[i], REASON_NONE);
    }
    cr_assert_eq(story.metadata_most, 0);
    pipeline_status(story.pipeline, &status);
    cr_assert_eq(status.deferred, 0);
    cr_assert(story.paused);
    pipeline_limit_metadata(story.pipeline, WINDOW_METADATA_MAX);
    pipeline_step(story.pipeline);
    cr_assert_not(story.paused);
    story_end(&story);
}

/* The broker's limit was lowered between two runs: the committed set exceeds it. */
Test(pipeline, a_set_that_is_too_wide_is_committed_once_it_is_narrow)
{
    enum { TOP = 100, BYTES = sizeof "presignd/1:9223372036854775807:" - 1 + 4, SPAN = 24 };
    struct story story;
    story_begin(&story);
    AUTO_BUF struct buf metadata = {0};
    struct window window;
    cr_assert(window_load(&window, 0, ""));
    for (int64_t offset = 0; offset < TOP; offset++) {
        (void)window_arrive(&window, offset);
    }
    for (int64_t offset = TOP - SPAN; offset < TOP; offset++) {
        window_finish(&window, offset);
    }
    window_encode(&window, &metadata);
    const struct consumer_position position = {
        .partition = 3, .offset = 0, .metadata = metadata.data};
    pipeline_limit_metadata(story.pipeline, BYTES);
    pipeline_assigned(story.pipeline, story.group_metadata, &position.partition, 1);
    pipeline_positions(story.pipeline, &position, 1);
    is_retried(&story, 1);
    for (int i = 1; i < 10; i++) {
        comes(&story, i);
    }
    struct record bad = {.topic = "t", .partition = 3, .value = "{", .value_len = 1};
    for (bad.offset = 10; bad.offset < TOP - SPAN; bad.offset++) {
        pipeline_record(story.pipeline, &bad);
    }
    goes_on(&story, BEGIN_MS + 500);
    struct pipeline_status status;
    pipeline_status(story.pipeline, &status);
    cr_assert_eq(status.commits, 0);
    cr_assert_eq(status.deferred, TOP - SPAN - 2);
    story.says[1] = ANSWER_SUCCESS;
    goes_on(&story, BEGIN_MS + 10000);
    pipeline_status(story.pipeline, &status);
    cr_assert_eq(status.commits, 1);
    cr_assert_leq(story.metadata_most, (size_t)BYTES);
    cr_assert_eq(pipeline_partition(story.pipeline, 0)->window.base_offset, TOP - SPAN);
    story_end(&story);
}

/* Records may have any size, so memory is bounded in bytes. Only this partition is paused. */
Test(pipeline, a_partition_with_a_full_share_is_paused_alone)
{
    struct story story;
    story_begin(&story);
    enum { SIZE = 4 << 20 };
    AUTO_FREE char *value = mem_zalloc(1, SIZE);
    struct record record = {.topic = "t", .partition = 3, .value = value, .value_len = SIZE};
    struct pipeline_status status;
    /* Too large, and their outcomes are not published: only the key stays in memory. */
    for (; record.offset < 100; record.offset++) {
        pipeline_record(story.pipeline, &record);
    }
    cr_assert_not(story.paused);
    story.world.rules.event_bytes_max = (size_t)2 * SIZE;
    struct record good = record_of(APP, "\"mchid\":\"" DIRECT "\",", APP_DATA);
    AUTO_FREE char *text = (char *)good.value;
    char *code = memset(strstr(text, "\"wxwtdk"), ' ', strlen("\"wxwtdk20200910100000\""));
    (void)mempcpy(code, "\"code1\"", strlen("\"code1\""));
    record.value = good.value;
    record.value_len = good.value_len;
    record.headers = &(struct record_header){.name = "h", .value = value, .value_len = SIZE};
    record.header_count = 1;
    size_t taken = 0;
    for (; !story.paused; taken++) {
        record.offset++;
        pipeline_record(story.pipeline, &record);
    }
    pipeline_status(story.pipeline, &status);
    cr_assert_eq(status.partitions_full, 1);
    cr_assert_gt(taken, 2);
    cr_assert_lt(status.bytes, PIPELINE_BYTES_MAX);
    cr_assert_gt(pipeline_wants(story.pipeline), 0);
    goes_on(&story, BEGIN_MS + 1000);
    cr_assert_not(story.paused);
    pipeline_status(story.pipeline, &status);
    cr_assert_eq(status.bytes, 0);
    story_end(&story);
}

/* Each reading of the clock takes 1 ms, so a budget of 10 ms is ten events. */
Test(pipeline, a_step_ends_after_its_time_budget)
{
    enum { EVENTS = 1000, SLICE = 10, MARGIN = 2 };
    struct story story;
    story_begin(&story);
    struct record record = {.topic = "t", .partition = 3};
    story.look_ms = 1;
    size_t taken = 1;
    for (; pipeline_record(story.pipeline, &record); taken++) {
        record.offset++;
    }
    cr_assert_leq(taken, SLICE + MARGIN);
    pipeline_step(story.pipeline);
    cr_assert(pipeline_record(story.pipeline, &record), "the next step has its own budget");
    story_end(&story);
}

static void one_step_later(struct story *story)
{
    answer_calls(story);
    pipeline_step(story->pipeline);
    story->now.mono_ms++;
}

/* It would wait there, and miss what completes meanwhile. */
Test(pipeline, a_batch_is_submitted_when_the_publisher_can_begin_it)
{
    struct story story;
    story_begin(&story);
    comes(&story, 1);
    for (int i = 0; story.batches == 0; i++) {
        cr_assert_lt(i, 10);
        one_step_later(&story);
    }
    const struct transaction_end committed = {.verdict = TRANSACTION_COMMITTED};
    int64_t stable_ms = story.now.mono_ms + TRANSACTION_STABLE_MS;
    pipeline_batch_ended(story.pipeline, &committed);
    story.batches = 0;
    comes(&story, 2);
    one_step_later(&story);
    comes(&story, 3);
    while (story.now.mono_ms < stable_ms) {
        one_step_later(&story);
        cr_assert_eq(story.batches, 0);
        cr_assert_leq(pipeline_next_ms(story.pipeline), stable_ms);
    }
    one_step_later(&story);
    cr_assert_eq(story.batches, 1);
    pipeline_batch_ended(story.pipeline, &committed);
    cr_assert_gt(story.ended_ms[2], 0);
    cr_assert_gt(story.ended_ms[3], 0);
    story_end(&story);
}

/* A reload removes the merchant of a thousand events. */
Test(pipeline, thousands_of_failures_take_several_steps)
{
    enum { EVENTS = 1000, SLICE = 10, MARGIN = 2 };
    struct story story;
    story_begin(&story);
    for (int i = 0; i < EVENTS; i++) {
        struct record record = record_of(APP, "\"mchid\":\"" DIRECT "\",", APP_DATA);
        char code[64];
        (void)snprintf(code, sizeof code, "\"code%05d", i);
        memcpy(strstr(record.value, "\"wxwtdk"), code, strlen(code));
        record.offset = i;
        pipeline_record(story.pipeline, &record);
        free((void *)record.value);
    }
    struct merchant *others[] = {keyless("1", MODE_DIRECT, false)};
    struct merchants *old = story.world.merchants;
    story.world.rules.merchants = story.world.merchants = merchants_new(others, 1);
    pipeline_configure(story.pipeline, &story.rules);
    merchants_unref(old);
    story.look_ms = 1;
    struct pipeline_status status;
    size_t steps = 0, left = EVENTS;
    while (left > 0) {
        pipeline_step(story.pipeline);
        if (story.batches > 0) {
            story.batches--;
            pipeline_batch_ended(story.pipeline,
                                 &(struct transaction_end){.verdict = TRANSACTION_COMMITTED});
        }
        pipeline_status(story.pipeline, &status);
        cr_assert_leq(left - status.jobs[JOB_WAITING], SLICE + MARGIN);
        cr_assert_lt(status.jobs[JOB_WAITING], left);
        left = status.jobs[JOB_WAITING];
        cr_assert(left == 0 || pipeline_next_ms(story.pipeline) == PIPELINE_AT_ONCE);
        steps++;
    }
    cr_assert_geq(steps, EVENTS / (SLICE + MARGIN));
    story_end(&story);
}

#define PATIENCE_MS 2000

static bool moves(struct story *story, const char *word)
{
    AUTO_BUF struct buf why = {0};
    bool moves = progress_moves(story->pipeline, PATIENCE_MS, &why);
    cr_assert_eq(moves, why.len == 0);
    cr_assert(moves || strstr(why.data, word) != NULL, "%s", why.data);
    return moves;
}

static bool is_held_for(struct story *story, const char *word)
{
    AUTO_BUF struct buf holds = {0};
    progress_describe(story->pipeline, &holds);
    return holds.len > 0 && strstr(holds.data, word) != NULL;
}

Test(progress, a_call_without_an_end_is_reported)
{
    struct story story;
    story_begin(&story);
    cr_assert(moves(&story, ""), "there is nothing to do");
    comes(&story, 1);
    pipeline_step(story.pipeline);
    story.now.mono_ms += 1000 + PATIENCE_MS;
    pipeline_step(story.pipeline);
    cr_assert(moves(&story, ""));
    story.now.mono_ms += 1;
    cr_assert_not(moves(&story, "a call has not ended"));
    answer_calls(&story);
    pipeline_step(story.pipeline);
    cr_assert(moves(&story, ""));
    story_end(&story);
}

Test(progress, a_call_keeps_the_timeout_it_began_with)
{
    struct story story;
    story_begin(&story);
    story.rules.limits.timeout_ms = (int64_t)2 * PATIENCE_MS;
    pipeline_configure(story.pipeline, &story.rules);
    comes(&story, 1);
    pipeline_step(story.pipeline);
    story.rules.limits.timeout_ms = 1;
    pipeline_configure(story.pipeline, &story.rules);
    comes(&story, 2);
    pipeline_step(story.pipeline);
    story.now.mono_ms += PATIENCE_MS + 1;
    cr_assert(moves(&story, ""));
    story.now.mono_ms += 1;
    cr_assert_not(moves(&story, "a call has not ended"), "the second, although it is newer");
    void *first = story.in_flight[1];
    story.in_flight[1] = NULL;
    answer_calls(&story);
    story.in_flight[1] = first;
    story.now.mono_ms += 2 * PATIENCE_MS - 2;
    pipeline_step(story.pipeline);
    cr_assert(moves(&story, ""));
    story.now.mono_ms += 1;
    cr_assert_not(moves(&story, "a call has not ended"));
    story_end(&story);
}

Test(progress, a_held_event_is_not_reported)
{
    struct story story;
    story_begin(&story);
    story.says[1] = ANSWER_UNAUTHORIZED;
    comes(&story, 1);
    for (int64_t at_ms = BEGIN_MS; at_ms < BEGIN_MS + HOLD_MS; at_ms += 500) {
        goes_on(&story, at_ms);
        cr_assert(moves(&story, ""));
    }
    cr_assert(is_held_for(&story, "1 held for a merchant that is answered 401"));
    story_end(&story);
}

Test(progress, a_timer_that_is_not_handled_is_reported)
{
    struct story story;
    story_begin(&story);
    comes(&story, 1);
    pipeline_step(story.pipeline);
    answers(&story, 1, 500, 500);
    pipeline_step(story.pipeline);
    cr_assert(is_held_for(&story, "1 for another attempt"));
    story.now.mono_ms += PATIENCE_MS + 501; /* no step is made */
    cr_assert_not(moves(&story, "timers of events are due"));
    pipeline_step(story.pipeline);
    cr_assert(moves(&story, ""));
    story_end(&story);
}

/* An endpoint that asks for an hour does not make the process unready or restart it. */
Test(progress, a_long_retry_after_is_not_reported)
{
    struct story story;
    story_begin(&story);
    story.rules.retry.give_up_after_ms = (int64_t)100 * PATIENCE_MS;
    pipeline_configure(story.pipeline, &story.rules);
    comes(&story, 1);
    pipeline_step(story.pipeline);
    answers(&story, 1, 500, (int64_t)60 * PATIENCE_MS);
    pipeline_step(story.pipeline);
    struct pipeline_status status;
    pipeline_status(story.pipeline, &status);
    cr_assert_eq(status.jobs[JOB_RETRY], 1);
    cr_assert_eq(status.unexplained, 0);
    story_end(&story);
}

Test(progress, the_publish_backlog_is_described)
{
    struct story story;
    story_begin(&story);
    story.rules.limits.in_flight = 1;
    pipeline_configure(story.pipeline, &story.rules);
    for (int i = 1; i <= 4; i++) {
        comes(&story, i);
    }
    for (int i = 0; i < 3; i++) {
        pipeline_step(story.pipeline);
        answer_calls(&story);
    }
    pipeline_step(story.pipeline);
    story.now.mono_ms += (int64_t)10 * PATIENCE_MS; /* the publisher still has the first batch */
    pipeline_step(story.pipeline);
    cr_assert(moves(&story, ""));
    cr_assert(is_held_for(&story, "until outcomes are published"));
    story_end(&story);
}

Test(progress, a_job_in_no_list_is_reported)
{
    struct story story;
    story_begin(&story);
    story.says[1] = ANSWER_UNAVAILABLE;
    story.rules.limits.timeout_ms = (int64_t)100 * PATIENCE_MS;
    pipeline_configure(story.pipeline, &story.rules);
    comes(&story, 1);
    pipeline_step(story.pipeline);
    cr_assert(moves(&story, ""));
    struct job *job = story.in_flight[1];
    struct list *in = job->in;
    list_remove(in, &job->link); /* as a bug would */
    job->in = NULL;
    story.now.mono_ms += PATIENCE_MS + 1;
    cr_assert_not(moves(&story, "partition 3: offset 1 is in no list"));
    list_push_back(in, &job->link);
    job->in = in;
    cr_assert(moves(&story, ""));
    pipeline_drain(story.pipeline);
    story.now.mono_ms += PATIENCE_MS + 1;
    cr_assert(moves(&story, ""), "a drain discards waiting jobs");
    story_end(&story);
}
