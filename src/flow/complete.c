#include "presignd/flow/complete.h"

#include "presignd/base/text.h"
#include "presignd/flow/retry.h"

#include <stdio.h>
#include <string.h>

/* Unknown members are NULL, and the outcome omits them. */
static struct outcome_common common_of(const struct job *job,
                                       const struct complete_identity *identity, int64_t wall_ms)
{
    const struct admission *admission = &job->admission;
    return (struct outcome_common){
        .cluster_id = identity->cluster_id,
        .group_id = identity->group_id,
        .record = &job->record,
        .event = &admission->event,
        .completed_ms = wall_ms,
        .endpoint = admission->endpoint != NULL ? admission->endpoint->name : NULL,
        .mchid = admission->mchid[0] != '\0' ? admission->mchid : admission->event.mchid,
        .out_contract_code = text_or_null(admission->out_contract_code),
        .attempts = job->attempts,
    };
}

void complete_result(struct job *job, const struct complete_identity *identity, int64_t wall_ms)
{
    const struct answer *answer = &job->answer;
    const struct admission *admission = &job->admission;
    struct outcome_common common = common_of(job, identity, wall_ms);
    struct outcome_result result = {
        .request_members = admission->request_members,
        .id_field = admission->endpoint->id_field,
        .id_value = answer->id_value,
        .response = answer->body,
        .response_len = answer->body_len,
        .issued_ms = answer->issued_ms,
        .expires_ms = answer->issued_ms + COMPLETE_SESSION_MS,
        .host = answer->host,
        .request_id = text_or_null(answer->request_id),
        .wechatpay_serial = answer->serial,
    };
    job->reason = REASON_NONE;
    outcome_result_write(&job->outcome, &common, &result);
}

/* The attempts in the log, oldest first. */
static size_t list_attempts(const struct job *job, struct outcome_attempt *out)
{
    unsigned count = job->log == NULL                       ? 0
                     : job->attempts < OUTCOME_ATTEMPTS_MAX ? job->attempts
                                                            : OUTCOME_ATTEMPTS_MAX;
    for (unsigned i = 0; i < count; i++) {
        const struct job_attempt *attempt =
            &job->log[(job->attempts - count + i) % OUTCOME_ATTEMPTS_MAX];
        out[i] = (struct outcome_attempt){
            .at_ms = attempt->at_ms,
            .host = attempt->host,
            .duration_ms = attempt->duration_ms,
            .status = attempt->status,
            .code = text_or_null(attempt->code),
            .ended = attempt->kind == ANSWER_SIGN_TEST
                         ? answer_kind_name(attempt->kind)
                         : reason_name(retry_rule(attempt->kind).reason),
        };
    }
    return count;
}

/* "400 PARAM_ERROR: …", or the detail if the answer has no error code. */
static void message_of_answer(const struct answer *answer, char *out, size_t size)
{
    const char *detail = answer->detail != NULL ? answer->detail : "";
    if (answer->status == 0) {
        snprintf(out, size, "%s", detail);
    } else if (answer->code[0] != '\0') {
        snprintf(out, size, "%d %s: %s", answer->status, answer->code, answer->message);
    } else {
        snprintf(out, size, "%d %s", answer->status, detail);
    }
}

static void write_failure(struct job *job, const struct complete_identity *identity,
                          int64_t wall_ms)
{
    const struct answer *answer = &job->answer;
    char text[ANSWER_CODE_MAX + ANSWER_MESSAGE_MAX + 32];
    const char *message = job->admission.message;
    if (message[0] == '\0') {
        message_of_answer(answer, text, sizeof text);
        message = text;
    }
    struct outcome_common common = common_of(job, identity, wall_ms);
    struct outcome_attempt attempts[OUTCOME_ATTEMPTS_MAX];
    struct outcome_failure failure = {
        .reason = reason_name(job->reason),
        .retryable = reason_row(job->reason)->retryable,
        .call_state = call_state_name(job->worst_call_state),
        .message = message,
        .errors = &job->admission.errors,
        .answered = job->attempts > 0 && answer->status != 0,
        .status = answer->status,
        .code = text_or_null(answer->code),
        .answer_message = text_or_null(answer->message),
        .request_id = text_or_null(answer->request_id),
        .answer_signed = answer->is_signed,
        .attempts = attempts,
        .attempt_count = list_attempts(job, attempts),
        .original = identity->failure_original && !job->without_original,
    };
    outcome_bytes_deinit(&job->outcome);
    outcome_failure_write(&job->outcome, &common, &failure);
}

void complete_failure(struct job *job, const struct complete_identity *identity, enum reason reason,
                      const char *message, int64_t wall_ms)
{
    job->reason = reason;
    if (message != NULL) {
        snprintf(job->admission.message, sizeof job->admission.message, "%.*s", ADMIT_MESSAGE_MAX,
                 message);
    }
    write_failure(job, identity, wall_ms);
}

/* A result cannot become smaller: all of its members are guaranteed. */
bool complete_drop_original(struct job *job, const struct complete_identity *identity,
                            int64_t wall_ms)
{
    if (job->without_original || job->reason == REASON_NONE) {
        return false;
    }
    job->without_original = true;
    write_failure(job, identity, wall_ms);
    return true;
}
