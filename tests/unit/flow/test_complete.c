#include "presignd/flow/complete.h"

#include "presignd/base/json.h"
#include "unit/flow/world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define NOW_MS INT64_C(1795420800000) /* 2026-11-23T08:00:00Z */

static const struct complete_identity identity = {
    .cluster_id = "CL", .group_id = "presignd", .failure_original = true};

static struct job *job_of_event(const struct world *world, const char *attributes, const char *data)
{
    struct record record = record_of(APP, attributes, data);
    struct job *job = job_new(&record);
    free((void *)record.value);
    admit(&world->rules, &job->record, NOW_MS, &job->admission);
    return job;
}

/* An attempt that ended with that answer, as the pipeline records it. */
static void answered(struct job *job, enum answer_kind kind, int status, const char *code)
{
    job->attempts++;
    job->began_wall_ms = NOW_MS + job->attempts;
    job->answer = (struct answer){
        .kind = kind, .status = status, .detail = "a phrase for people", .duration_ms = 38};
    (void)snprintf(job->answer.code, sizeof job->answer.code, "%s", code);
    (void)snprintf(job->answer.message, sizeof job->answer.message, "%s",
                   code[0] != '\0' ? "in words" : "");
    (void)snprintf(job->answer.host, sizeof job->answer.host, "api.example");
    job_log_attempt(job);
}

static json_t *outcome_of(const struct job *job)
{
    json_t *outcome = json_loadb(job->outcome.value.data, job->outcome.value.len, 0, NULL);
    cr_assert_not_null(outcome, "%s", job->outcome.value.data);
    return outcome;
}

static const char *text(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value == NULL ? "" : value;
}

static json_int_t number(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static void succeeded(struct job *job, const char *id, const char *body)
{
    job->attempts++;
    job->answer = (struct answer){.kind = ANSWER_SUCCESS,
                                  .status = 200,
                                  .issued_ms = NOW_MS - 1000,
                                  .id_value = mem_strdup(id),
                                  .body = mem_strdup(body),
                                  .body_len = strlen(body)};
}

Test(complete, a_result_has_the_answer_and_its_request)
{
    AUTO_WORLD struct world world = world_new();
    struct job *job = job_of_event(&world, "", APP_DATA);
    answered(job, ANSWER_UNAVAILABLE, 503, "");
    succeeded(job, "PRE1", "{\"pre_entrustweb_id\":\"PRE1\",\"n\":1.50}");
    complete_result(job, &identity, NOW_MS);
    AUTO_JSON json_t *outcome = outcome_of(job);
    const json_t *data = json_object_get(outcome, "data");
    cr_assert_eq(job->reason, REASON_NONE);
    cr_assert_str_eq(text(outcome, "type"), "wechatpay.presign.app.succeeded");
    cr_assert_str_eq(text(outcome, "id"), "presign.requests/3/41");
    cr_assert_str_eq(text(outcome, "subject"), "wxwtdk20200910100000");
    cr_assert_str_eq(text(outcome, "time"), "2026-11-23T08:00:00.000Z");
    cr_assert_str_eq(text(data, "pre_entrustweb_id"), "PRE1");
    cr_assert_str_eq(text(data, "mchid"), DIRECT);
    cr_assert_str_eq(text(data, "appid"), "wxd678efh567hg6787");
    cr_assert_str_eq(text(data, "issued_at"), "2026-11-23T07:59:59Z");
    cr_assert_str_eq(text(data, "expires_at"), "2026-11-23T08:09:59Z", "ten minutes later");
    cr_assert_eq(number(data, "attempts"), 2);
    cr_assert_not_null(strstr(job->outcome.value.data, "\"n\":1.50"), "the number's own text");
    job_free(job);
}

Test(complete, a_failure_without_a_call_says_so)
{
    AUTO_WORLD struct world world = world_new();
    struct job *job = job_of_event(&world, "", "{\"plan_id\":\"twelve\"}");
    complete_failure(job, &identity, job->admission.reason, NULL, NOW_MS);
    AUTO_JSON json_t *outcome = outcome_of(job);
    const json_t *data = json_object_get(outcome, "data");
    cr_assert_str_eq(text(outcome, "type"), "wechatpay.presign.app.failed");
    cr_assert_str_eq(text(data, "reason"), "invalid_request");
    cr_assert_str_eq(text(data, "call_state"), "not_sent");
    cr_assert_str_eq(text(data, "message"), "data does not match app.request.json");
    cr_assert(json_is_false(json_object_get(data, "retryable")));
    cr_assert_eq(number(data, "attempts"), 0);
    cr_assert_gt(json_array_size(json_object_get(data, "errors")), 0);
    cr_assert_null(json_object_get(data, "answer"));
    cr_assert_null(json_object_get(data, "attempt_log"));
    cr_assert_not_null(json_object_get(data, "original"));
    job_free(job);
}

Test(complete, a_failure_after_calls_has_the_last_answer_and_all_attempts)
{
    AUTO_WORLD struct world world = world_new();
    struct job *job = job_of_event(&world, "", APP_DATA);
    answered(job, ANSWER_UNAVAILABLE, 503, "");
    answered(job, ANSWER_SIGN_TEST, 200, "");
    answered(job, ANSWER_REJECTED, 400, "PARAM_ERROR");
    job->worst_call_state = CALL_UNKNOWN;
    complete_failure(job, &identity, REASON_REJECTED, NULL, NOW_MS);
    AUTO_JSON json_t *outcome = outcome_of(job);
    const json_t *data = json_object_get(outcome, "data");
    const json_t *log = json_object_get(data, "attempt_log");
    cr_assert_str_eq(text(data, "message"), "400 PARAM_ERROR: in words");
    cr_assert_str_eq(text(data, "call_state"), "unknown");
    cr_assert_eq(number(json_object_get(data, "answer"), "status"), 400);
    cr_assert_eq(json_array_size(log), 3);
    cr_assert_str_eq(text(json_array_get(log, 0), "ended"), "unavailable");
    cr_assert_eq(number(json_array_get(log, 0), "status"), 503);
    cr_assert_str_eq(text(json_array_get(log, 1), "ended"), "sign_test");
    cr_assert_str_eq(text(json_array_get(log, 2), "ended"), "rejected");
    cr_assert_str_eq(text(json_array_get(log, 2), "code"), "PARAM_ERROR");
    job_free(job);
}

Test(complete, without_an_answer_the_message_has_the_detail)
{
    AUTO_WORLD struct world world = world_new();
    struct job *job = job_of_event(&world, "", APP_DATA);
    answered(job, ANSWER_UNREACHABLE, 0, "");
    complete_failure(job, &identity, REASON_UNREACHABLE, NULL, NOW_MS);
    AUTO_JSON json_t *outcome = outcome_of(job);
    const json_t *data = json_object_get(outcome, "data");
    cr_assert_str_eq(text(data, "message"), "a phrase for people");
    cr_assert(json_is_true(json_object_get(data, "retryable")));
    cr_assert_null(json_object_get(data, "answer"), "there was none");
    job_free(job);
}

Test(complete, the_last_ten_attempts_are_listed_in_order)
{
    AUTO_WORLD struct world world = world_new();
    struct job *job = job_of_event(&world, "", APP_DATA);
    for (int i = 1; i <= 23; i++) {
        answered(job, ANSWER_UNAVAILABLE, 500 + i, "");
    }
    complete_failure(job, &identity, REASON_UNAVAILABLE, NULL, NOW_MS);
    AUTO_JSON json_t *outcome = outcome_of(job);
    const json_t *data = json_object_get(outcome, "data");
    const json_t *log = json_object_get(data, "attempt_log");
    cr_assert_eq(number(data, "attempts"), 23);
    cr_assert_eq(json_array_size(log), OUTCOME_ATTEMPTS_MAX);
    for (size_t i = 0; i < OUTCOME_ATTEMPTS_MAX; i++) {
        cr_assert_eq(number(json_array_get(log, i), "status"), 514 + (json_int_t)i);
    }
    job_free(job);
}

Test(complete, an_explicit_message_precedes_that_of_the_answer)
{
    AUTO_WORLD struct world world = world_new();
    struct job *job = job_of_event(&world, "", APP_DATA);
    answered(job, ANSWER_UNAVAILABLE, 503, "");
    complete_failure(job, &identity, REASON_EXPIRED, "its time passed", NOW_MS);
    AUTO_JSON json_t *outcome = outcome_of(job);
    const json_t *data = json_object_get(outcome, "data");
    cr_assert_str_eq(text(data, "message"), "its time passed");
    cr_assert_str_eq(text(data, "reason"), "expired");
    job_free(job);
}

Test(complete, a_failure_can_drop_its_original_once)
{
    AUTO_WORLD struct world world = world_new();
    struct job *job = job_of_event(&world, "", "{}");
    complete_failure(job, &identity, job->admission.reason, NULL, NOW_MS);
    size_t whole = job->outcome.value.len;
    cr_assert(complete_drop_original(job, &identity, NOW_MS));
    cr_assert_lt(job->outcome.value.len, whole);
    AUTO_JSON json_t *outcome = outcome_of(job);
    cr_assert_null(json_object_get(json_object_get(outcome, "data"), "original"));
    cr_assert_not(complete_drop_original(job, &identity, NOW_MS));
    job_free(job);
}

Test(complete, a_result_cannot_become_smaller)
{
    AUTO_WORLD struct world world = world_new();
    struct job *job = job_of_event(&world, "", APP_DATA);
    succeeded(job, "P", "{\"pre_entrustweb_id\":\"P\"}");
    complete_result(job, &identity, NOW_MS);
    cr_assert_not(complete_drop_original(job, &identity, NOW_MS));
    job_free(job);
}

Test(complete, originals_are_omitted_if_configured)
{
    AUTO_WORLD struct world world = world_new();
    struct complete_identity discreet = identity;
    discreet.failure_original = false;
    struct job *job = job_of_event(&world, "", "{}");
    complete_failure(job, &discreet, job->admission.reason, NULL, NOW_MS);
    AUTO_JSON json_t *outcome = outcome_of(job);
    cr_assert_null(json_object_get(json_object_get(outcome, "data"), "original"));
    job_free(job);
}
