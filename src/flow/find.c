/* The state of the unfinished events of one contract code. */
#include "presignd/flow/pipeline.h"

#include "flow/pipeline_parts.h"

#include <string.h>

/* Converts a monotonic time to wall-clock time; INT64_MAX: none. */
static int64_t wall_of(struct moment now, int64_t mono_ms)
{
    return mono_ms == INT64_MAX ? PIPELINE_FOUND_NONE : now.wall_ms + (mono_ms - now.mono_ms);
}

/* When the last of the pauses that hold it ends; NONE if one of them does not end by itself. */
static int64_t pause_until_ms(const struct pipeline *p, const struct job *job)
{
    const struct pause *pauses[] = {
        pauses_find(&p->pauses, PAUSE_ALL, ""),
        pauses_find(&p->pauses, PAUSE_MERCHANT, job->queue->merchant->mchid),
        pauses_find(&p->pauses, PAUSE_ENDPOINT, job->admission.endpoint->name),
    };
    int64_t until_ms = PIPELINE_FOUND_NONE;
    for (size_t i = 0; i < ARRAY_LENGTH(pauses); i++) {
        if (pauses[i] != NULL && pauses[i]->until_ms == 0) {
            return PIPELINE_FOUND_NONE;
        }
        if (pauses[i] != NULL && pauses[i]->until_ms > until_ms) {
            until_ms = pauses[i]->until_ms;
        }
    }
    return until_ms;
}

static void describe_waiting(const struct pipeline *p, const struct job *job, struct moment now,
                             struct pipeline_found *found)
{
    const struct hold_merchant *hold = &job->queue->hold;
    enum hold_why why = hold_why(&p->hold, hold);
    found->state = why == HOLD_WHY_NONE ? "waiting" : "held";
    found->held_by = why == HOLD_WHY_NONE ? NULL : hold_why_name(why);
    found->until_ms = why == HOLD_WHY_RATE_LIMITED ? wall_of(now, hold->until_ms)
                                                   : wall_of(now, hold_until_ms(&p->hold, hold));
}

/* An event that is held alone waits between its probes, as those of a held merchant do. One whose
 * answer named an unknown key waits until its merchant's certificates have come. */
static void describe_retry(const struct pipeline *p, const struct job *job, struct moment now,
                           struct pipeline_found *found)
{
    enum hold_why why = job->held_alone    ? HOLD_WHY_UNAUTHORIZED
                        : job->awaits_keys ? HOLD_WHY_UNVERIFIED
                                           : HOLD_WHY_NONE;
    found->state = why == HOLD_WHY_NONE ? "retry" : "held";
    found->held_by = why == HOLD_WHY_NONE ? NULL : hold_why_name(why);
    found->next_attempt_at_ms = wall_of(now, job->retry_ms);
    if (job->held_alone) {
        found->until_ms = wall_of(now, job->first_401_ms + p->rules.limits.hold_unauthorized_ms);
    }
}

static void describe(const struct pipeline *p, const struct job *job, struct moment now,
                     struct pipeline_found *found)
{
    *found = (struct pipeline_found){.record = &job->record,
                                     .admission = &job->admission,
                                     .until_ms = PIPELINE_FOUND_NONE,
                                     .attempts = job->attempts,
                                     .next_attempt_at_ms = PIPELINE_FOUND_NONE,
                                     .status = job->answer.status,
                                     .code = job->answer.code};
    switch (job->state) {
    case JOB_BLOCKED:
        found->state = "held";
        found->held_by = "key";
        break;
    case JOB_WAITING:
        describe_waiting(p, job, now, found);
        break;
    case JOB_PAUSED:
        found->state = "held";
        found->held_by = hold_why_name(HOLD_WHY_PAUSED);
        found->until_ms = pause_until_ms(p, job);
        break;
    case JOB_RETRY:
        describe_retry(p, job, now, found);
        break;
    case JOB_CALLING:
    case JOB_ANSWERED:
        found->state = "calling";
        break;
    default:
        found->state = "completed";
        break;
    }
}

size_t pipeline_find(const struct pipeline *p, const char *out_contract_code,
                     void (*visit)(void *context, const struct pipeline_found *found),
                     void *context)
{
    struct moment now = now_of(p);
    size_t count = 0;
    for (size_t i = 0; i < p->partitions.count; i++) {
        LIST_FOREACH (&p->partitions.items[i].jobs, link) {
            const struct job *job = CONTAINER_OF(link, struct job, mine);
            if (job->state == JOB_NEW || out_contract_code[0] == '\0' ||
                strcmp(job->admission.out_contract_code, out_contract_code) != 0) {
                continue; /* a new one's code is not read yet */
            }
            if (count == PIPELINE_FIND_MAX) {
                return count;
            }
            struct pipeline_found found;
            describe(p, job, now, &found);
            visit(context, &found);
            count++;
        }
    }
    return count;
}
