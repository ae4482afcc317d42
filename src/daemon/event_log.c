#include "daemon/event_log.h"

#include "presignd/base/log.h"
#include "presignd/base/text.h"
#include "presignd/flow/retry.h"
#include "presignd/ops/messages.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What the fields are made of. "" omits the field. */
struct texts {
    char partition[16], offset[24], status[16];
    const char *code, *ended;
    char answer[ANSWER_CODE_MAX + 64]; /* for people: "http_503, 503 SYSTEM_ERROR" */
};

/* Codes are words of the API, as PARAM_ERROR. Anything else may hold what must not be logged. */
static const char *plain_code(const char *code)
{
    static const char word[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    return code[strspn(code, word)] == '\0' ? code : "";
}

static void texts_of(struct texts *texts, const struct job *job)
{
    const struct answer *answer = &job->answer;
    *texts = (struct texts){.code = "", .ended = ""};
    snprintf(texts->partition, sizeof texts->partition, "%" PRId32, job->record.partition);
    snprintf(texts->offset, sizeof texts->offset, "%" PRId64, job->record.offset);
    if (job->attempts == 0) {
        return;
    }
    texts->code = plain_code(answer->code);
    texts->ended = answer_end_name(answer_end_of(answer));
    if (answer->status != 0) {
        snprintf(texts->status, sizeof texts->status, "%d", answer->status);
    }
    snprintf(texts->answer, sizeof texts->answer, "%s%s%s%s%s", texts->ended,
             texts->status[0] != '\0' ? ", " : "", texts->status, texts->code[0] != '\0' ? " " : "",
             texts->code);
}

static const char *endpoint_name(const struct job *job)
{
    return job->admission.endpoint != NULL ? job->admission.endpoint->name : "none";
}

/* Fields of every line. FIELDS(job, texts, more ...) ends the list. */
#define FIELDS(job, texts, ...)                                                             \
    {                                                                                       \
        __VA_ARGS__, {"ENDPOINT", endpoint_name(job)},                                      \
            {"MCHID", text_or_null((job)->admission.mchid)},                                \
            {"OUT_CONTRACT_CODE", text_or_null((job)->admission.out_contract_code)},        \
            {"TOPIC", (job)->record.topic}, {"PARTITION", (texts)->partition},              \
            {"OFFSET", (texts)->offset}, {"STATUS", text_or_null((texts)->status)},         \
            {"CODE", text_or_null((texts)->code)}, {"ENDED", text_or_null((texts)->ended)}, \
            {"REQUEST_ID", text_or_null((job)->answer.request_id)},                         \
        {                                                                                   \
            NULL, NULL                                                                      \
        }                                                                                   \
    }

/* NULL: nobody. A signature test is WeChat Pay's, and needs no action. */
static const char *side_of(enum answer_kind kind)
{
    return kind == ANSWER_SUCCESS     ? NULL
           : kind == ANSWER_SIGN_TEST ? "wechatpay"
                                      : reason_side_name(retry_rule(kind).reason);
}

void event_log_attempt(const struct job *job)
{
    struct texts texts;
    texts_of(&texts, job);
    const struct log_field fields[] = FIELDS(job, &texts, {"SIDE", side_of(job->answer.kind)});
    log_fields(LOG_DEBUG, MESSAGE_ATTEMPT_ENDED, fields,
               "event %s/%s/%s, attempt %u at %s ended: %s, after %" PRId64 " ms",
               job->record.topic, texts.partition, texts.offset, job->attempts, job->answer.host,
               texts.answer, job->answer.duration_ms);
}

void event_log_failure(const struct job *job)
{
    struct texts texts;
    texts_of(&texts, job);
    const char *reason = reason_name(job->reason);
    const struct log_field fields[] =
        FIELDS(job, &texts, {"REASON", reason}, {"SIDE", reason_side_name(job->reason)});
    log_fields(LOG_INFO, MESSAGE_EVENT_FAILED, fields, "event %s/%s/%s failed: %s, attempts %u%s%s",
               job->record.topic, texts.partition, texts.offset, reason, job->attempts,
               texts.answer[0] != '\0' ? "; the last one ended: " : "", texts.answer);
}
