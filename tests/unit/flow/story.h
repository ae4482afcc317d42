/* A pipeline with one partition, for single events: calls and batches end when the test says so. */
#ifndef TESTS_UNIT_FLOW_STORY_H
#define TESTS_UNIT_FLOW_STORY_H

#include "presignd/flow/partitions.h"
#include "presignd/flow/pipeline.h"
#include "presignd/flow/progress.h"

#include "unit/flow/world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define HOLD_MS  60000
#define BEGIN_MS INT64_C(1000000)

/* One process with one partition. Calls and batches end at once, in the step after. */
struct story {
    struct world world;
    struct pipeline *pipeline;
    struct clock clock;
    struct moment now;
    struct group_metadata *group_metadata;
    struct complete_identity identity;
    struct pipeline_rules rules;
    /* The endpoint's answer, by the last character of the event's code. */
    enum answer_kind says[10];
    enum answer_cause cause; /* of all its answers that are unverified */
    unsigned calls[10];
    void *in_flight[10];
    enum refusal refusal; /* of each record of a refused batch */
    size_t batches;       /* submitted, not yet ended */
    size_t metadata_most; /* the longest metadata of all submitted positions */
    bool paused;          /* the partition */
    int64_t look_ms;      /* how far each reading of the clock advances it */
    enum reason ended[10];
    int64_t ended_ms[10];
    unsigned attempts[10];
    size_t pauses_ended[2]; /* by time, with their merchant */
    bool no_keys;           /* no key of the merchants verifies answers */
    bool no_refresh;
    size_t refreshes;                                      /* asked for */
    size_t held[HOLD_WHY_COUNT], released[HOLD_WHY_COUNT]; /* as reported */
    enum call_state state[10];                             /* of the outcomes */
};

static inline struct moment read_clock(void *context)
{
    struct story *story = context;
    struct moment now = story->now;
    story->now.mono_ms += story->look_ms;
    return now;
}

static inline void note_call(void *context, const struct attempt *attempt, void *cookie)
{
    struct story *story = context;
    const char *code = strstr(attempt->body, "\"code");
    int number = code[strlen("\"code")] - '0';
    cr_assert_null(story->in_flight[number]);
    story->calls[number]++;
    story->in_flight[number] = cookie;
}

static inline void note_batch(void *context, const struct transaction_batch *batch)
{
    struct story *story = context;
    for (size_t i = 0; i < batch->record_count; i++) {
        batch->refusals[i] = story->refusal;
        batch->record_metadata[i] = (struct record_metadata){0, -1};
    }
    for (size_t i = 0; i < batch->position_count; i++) {
        size_t len = strlen(batch->positions[i].metadata);
        story->metadata_most = len > story->metadata_most ? len : story->metadata_most;
    }
    story->batches++;
}

static inline void note_end(void *context, const struct job *job)
{
    struct story *story = context;
    if (strlen(job->admission.out_contract_code) != strlen("code0")) {
        return; /* none of those above */
    }
    int number = job->admission.out_contract_code[strlen("code")] - '0';
    story->ended[number] = job->reason;
    story->ended_ms[number] = story->now.mono_ms;
    story->attempts[number] = job->attempts;
    story->state[number] = job->worst_call_state;
}

static inline void note_pause_ended(void *context, const struct pause *pause, bool removed)
{
    cr_assert_not_null(pause);
    ((struct story *)context)->pauses_ended[removed]++;
}

static inline void note_held(void *context, const char *mchid, enum hold_why why, bool held)
{
    struct story *story = context;
    cr_assert_str_eq(mchid, DIRECT);
    (held ? story->held : story->released)[why]++;
}

static inline bool has_keys(void *context, const struct merchant *merchant, int64_t wall_ms)
{
    const struct story *story = context;
    cr_assert_str_eq(merchant->mchid, DIRECT);
    cr_assert_eq(wall_ms, story->now.wall_ms);
    return !story->no_keys;
}

static inline bool refresh_keys(void *context, const struct merchant *merchant)
{
    struct story *story = context;
    cr_assert_str_eq(merchant->mchid, DIRECT);
    story->refreshes++;
    return !story->no_refresh;
}

static inline uint64_t no_jitter(void *context)
{
    (void)context;
    return 0;
}

static inline void note_pause(void *context, int32_t partition)
{
    cr_assert_eq(partition, 3);
    ((struct story *)context)->paused = true;
}

static inline void note_resume(void *context, int32_t partition)
{
    cr_assert_eq(partition, 3);
    ((struct story *)context)->paused = false;
}

static inline void story_begin(struct story *story)
{
    static const struct consumer_position position = {.partition = 3, .offset = 0, .metadata = ""};
    *story = (struct story){.world = world_new(), .now = {BEGIN_MS, INT64_C(1795000000000)}};
    for (size_t i = 0; i < merchants_count(story->world.merchants); i++) {
        merchants_at(story->world.merchants, i)->max_in_flight = 8;
    }
    story->clock = (struct clock){.now = read_clock, .context = story};
    story->identity = (struct complete_identity){.cluster_id = "c", .group_id = "g"};
    story->rules = (struct pipeline_rules){
        .admit = &story->world.rules,
        .retry = {.max_attempts = 3, .max_delay_ms = 1000, .give_up_after_ms = 5000},
        .limits = {.in_flight = 8,
                   .host_count = 1,
                   .timeout_ms = 1000,
                   .commit_interval_ms = 1,
                   .hold_unauthorized_ms = HOLD_MS},
        .identity = &story->identity};
    struct pipeline_ports ports = {.consumer = story,
                                   .pause = note_pause,
                                   .resume = note_resume,
                                   .caller = story,
                                   .call = note_call,
                                   .publisher = story,
                                   .submit = note_batch,
                                   .keys = story,
                                   .has_keys = has_keys,
                                   .refresh_keys = refresh_keys,
                                   .clock = &story->clock,
                                   .random = no_jitter};
    struct pipeline_observer observer = {.context = story,
                                         .published = note_end,
                                         .pause_ended = note_pause_ended,
                                         .merchant_held = note_held};
    story->pipeline = pipeline_new(&ports, &observer, &story->rules);
    story->group_metadata = mem_zalloc(1, sizeof *story->group_metadata);
    story->group_metadata->references = 1;
    pipeline_assigned(story->pipeline, story->group_metadata, &position.partition, 1);
    pipeline_positions(story->pipeline, &position, 1);
}

static inline void story_end(struct story *story)
{
    pipeline_free(story->pipeline);
    group_metadata_unref(story->group_metadata);
    world_deinit(&story->world);
}

static inline void comes_as(struct story *story, int64_t offset, const char *type, int number,
                            const char *attributes)
{
    char data[256];
    (void)snprintf(data, sizeof data,
                   "{\"appid\":\"wxd678efh567hg6787\",\"plan_id\":12535,"
                   "\"out_contract_code\":\"code%d\",\"contract_display_account\":\"A\","
                   "\"contract_notify_url\":\"https://yourapp.com/notify\"}",
                   number);
    struct record record = record_of(type, attributes, data);
    record.offset = offset;
    pipeline_record(story->pipeline, &record);
    free((void *)record.value);
}

static inline void comes_with(struct story *story, int number, const char *attributes)
{
    comes_as(story, number, APP, number, attributes);
}

static inline void comes(struct story *story, int number)
{
    comes_with(story, number, "");
}

static inline void answer_calls(struct story *story)
{
    for (int i = 0; i < 10; i++) {
        if (story->in_flight[i] != NULL) {
            struct answer answer = {.kind = story->says[i],
                                    .call_state = CALL_ANSWERED,
                                    .status = 200,
                                    .detail = "",
                                    .retry_after_ms = -1};
            if (answer.kind == ANSWER_UNVERIFIED) {
                answer.cause = story->cause;
                answer.verify = VERIFY_UNKNOWN_SERIAL;
                answer.call_state = CALL_UNKNOWN;
            }
            if (story->says[i] == ANSWER_SUCCESS) {
                answer.id_value = mem_strdup("P");
                answer.body = mem_strdup("{\"pre_entrustweb_id\":\"P\"}");
                answer.body_len = strlen(answer.body);
            }
            void *cookie = story->in_flight[i];
            story->in_flight[i] = NULL;
            pipeline_answered(story->pipeline, cookie, &answer);
        }
    }
}

/* A 5xx with Retry-After to one of them; all but a 500 is an outage. */
static inline void answers(struct story *story, int number, int status, int64_t retry_after_ms)
{
    struct answer answer = {.kind = ANSWER_UNAVAILABLE,
                            .call_state = CALL_UNKNOWN,
                            .status = status,
                            .counts_as_outage = status != 500,
                            .detail = "",
                            .retry_after_ms = retry_after_ms};
    void *cookie = story->in_flight[number];
    story->in_flight[number] = NULL;
    pipeline_answered(story->pipeline, cookie, &answer);
}

/* Steps at each due moment until that time. */
static inline void goes_on(struct story *story, int64_t until_ms)
{
    while (story->now.mono_ms < until_ms) {
        answer_calls(story);
        if (story->batches > 0) {
            story->batches--;
            pipeline_batch_ended(story->pipeline,
                                 &(struct transaction_end){.verdict = TRANSACTION_COMMITTED});
        }
        pipeline_step(story->pipeline);
        story->now.mono_ms++;
        story->now.wall_ms++;
    }
}

#endif
