/* Whether all stages make progress. Every unfinished event is in one stage, and something ends each
 * stage: a call's time-out, a timer, a transaction's end, or the step. If that does not happen,
 * there is a bug of ours, or a thread hangs. */
#include "presignd/flow/progress.h"

#include "flow/pipeline_parts.h"

#include <inttypes.h>
#include <stdio.h>

void progress_note(struct pipeline *p, struct moment now)
{
    bool outcomes_wait = !list_empty(&p->jobs[JOB_COMPLETED]) && !p->publishing &&
                         p->group_metadata != NULL && now.mono_ms >= publish_due_ms(p);
    bool calls_wait = !list_empty(&p->rotation) && list_empty(&p->jobs[JOB_CALLING]) &&
                      !p->revoking && !p->draining && !dispatch_backlog_full(p) &&
                      p->reopen_ms == INT64_MAX;
    if (!outcomes_wait && !calls_wait) {
        p->stalled_since_ms = -1;
    } else if (p->stalled_since_ms < 0) {
        p->stalled_since_ms = now.mono_ms;
    }
}

/* The first unfinished job, at the base offset; NULL: none. */
static const struct job *oldest(const struct partition *partition)
{
    const struct list_link *first = list_first(&partition->jobs);
    return first == NULL ? NULL : CONTAINER_OF(first, struct job, mine);
}

/* If a partition's base offset has not changed for long, its job must be in a list; the check of
 * that list covers it. */
static bool forgotten(struct partition *partition, struct moment now, int64_t patience_ms)
{
    int64_t base_offset = partition->window.base_offset;
    bool moved = base_offset != partition->seen_base_offset || partition->moved_ms == 0;
    if (moved || window_used(&partition->window) == 0) {
        partition->seen_base_offset = base_offset;
        partition->moved_ms = now.mono_ms;
        return false;
    }
    const struct job *job = oldest(partition);
    return now.mono_ms - partition->moved_ms > patience_ms &&
           (job == NULL || job->in == NULL || job->record.offset > base_offset);
}

/* During a revocation and a drain, waiting jobs are discarded on purpose. */
static bool partitions_move(struct pipeline *p, struct moment now, int64_t patience_ms,
                            struct buf *why)
{
    if (p->revoking || p->draining) {
        return true;
    }
    for (size_t i = 0; i < p->partitions.count; i++) {
        struct partition *partition = &p->partitions.items[i];
        p->look_steps++;
        if (forgotten(partition, now, patience_ms)) {
            buf_printf(why, "partition %" PRId32 ": offset %" PRId64 " is in no list",
                       partition->id, partition->window.base_offset);
            return false;
        }
    }
    return true;
}

/* Visits all calls, since the oldest need not end first. */
static bool calls_end(struct pipeline *p, struct moment now, int64_t patience_ms)
{
    LIST_FOREACH (&p->jobs[JOB_CALLING], link) {
        p->look_steps++;
        if (now.mono_ms - job_of(link)->end_ms > patience_ms) {
            return false;
        }
    }
    return true;
}

bool progress_moves(struct pipeline *p, int64_t patience_ms, struct buf *why)
{
    struct moment now = now_of(p);
    const struct heap_slot *due = heap_first(&p->due);
    p->look_steps = 0;
    if (!calls_end(p, now, patience_ms)) {
        buf_puts(why, "a call has not ended, long after its time-out");
        return false;
    }
    if (due != NULL && now.mono_ms - due->at > patience_ms) {
        buf_puts(why, "timers of events are due, and are not handled");
        return false;
    }
    if (p->stalled_since_ms >= 0 && now.mono_ms - p->stalled_since_ms > patience_ms) {
        buf_puts(why, "events could proceed, but no call or transaction begins");
        return false;
    }
    return partitions_move(p, now, patience_ms, why);
}

/* Why the event waits, or its state. */
static const char *state_of(const struct pipeline *p, const struct job *job)
{
    enum hold_why why =
        job->state == JOB_WAITING ? hold_why(&p->hold, &job->queue->hold) : HOLD_WHY_NONE;
    return why != HOLD_WHY_NONE ? hold_why_name(why) : job_state_name(job->state);
}

bool progress_oldest(const struct pipeline *p, size_t index, struct progress_oldest *out)
{
    const struct partition *partition = &p->partitions.items[index];
    const struct job *job = oldest(partition);
    if (job == NULL) {
        return false;
    }
    *out = (struct progress_oldest){
        .partition = partition->id,
        .offset = job->record.offset,
        .mchid = job->queue != NULL ? job->queue->merchant->mchid : NULL,
        .state = state_of(p, job),
        .stalled_ms = partition->moved_ms == 0 ? 0 : now_of(p).mono_ms - partition->moved_ms,
    };
    return true;
}

/* Names the partition that has stalled for longest. */
static void describe_stalled(const struct pipeline *p, struct buf *out)
{
    struct progress_oldest one = {0};
    size_t stalled = 0, worst = 0;
    int64_t worst_ms = -1;
    for (size_t i = 0; i < p->partitions.count; i++) {
        if (progress_oldest(p, i, &one) && one.stalled_ms >= PROGRESS_STALLED_MS) {
            stalled++;
            if (one.stalled_ms > worst_ms) {
                worst = i;
                worst_ms = one.stalled_ms;
            }
        }
    }
    if (stalled == 0 || !progress_oldest(p, worst, &one)) {
        return;
    }
    buf_printf(
        out, "%s%zu partitions stalled, the longest %" PRId32 " for %" PRId64 " s: offset %" PRId64,
        out->len > 0 ? ", " : "", stalled, one.partition, one.stalled_ms / 1000, one.offset);
    buf_printf(out, "%s%s is in state %s", one.mchid != NULL ? " of merchant " : "",
               one.mchid != NULL ? one.mchid : "", one.state);
}

static void name(struct buf *out, size_t count, const char *what)
{
    if (count > 0) {
        buf_printf(out, "%s%zu %s", out->len > 0 ? ", " : "", count, what);
    }
}

/* Events that wait only for their merchant's limit or rate. */
static size_t wait_for_limits(const struct pipeline *p)
{
    size_t limited = 0;
    for (size_t i = 0; i < p->queue_count; i++) {
        const struct merchant_queue *queue = p->queue_table[i];
        bool open = hold_why(&p->hold, &queue->hold) == HOLD_WHY_NONE;
        limited += open && merchant_queue_limited(queue) ? merchant_queue_waiting(queue) : 0;
    }
    return limited;
}

/* By topic, with the setting to change. */
static void name_refused(struct buf *out, const struct pipeline_status *status)
{
    for (size_t topic = 0; topic < OUTPUT_TOPIC_COUNT; topic++) {
        for (size_t refusal = 0; refusal < REFUSAL_COUNT; refusal++) {
            char what[96];
            (void)snprintf(what, sizeof what, "outcomes not taken by the topic of %s: %s",
                           output_topic_name((enum output_topic)topic),
                           refusal_row((enum refusal)refusal)->setting);
            name(out, status->refused[topic][refusal], what);
        }
    }
}

void progress_describe(const struct pipeline *p, struct buf *out)
{
    struct pipeline_status status;
    pipeline_status(p, &status);
    const size_t *held = status.held;
    if (status.endpoint_down) {
        buf_printf(out, "%zu held: the endpoint is down", held[HOLD_WHY_ENDPOINT]);
    } else {
        name(out, held[HOLD_WHY_ENDPOINT], "held for a merchant that no host answers");
    }
    if (dispatch_backlog_full(p)) {
        buf_printf(out, "%scalls wait until outcomes are published", out->len > 0 ? ", " : "");
    } else {
        name(out, wait_for_limits(p), "for a merchant at its limit");
    }
    if (status.all_paused) {
        buf_printf(out, "%s%zu held: everything is paused", out->len > 0 ? ", " : "",
                   held[HOLD_WHY_PAUSED]);
    } else {
        name(out, held[HOLD_WHY_PAUSED], "paused");
    }
    name(out, held[HOLD_WHY_UNAUTHORIZED], "held for a merchant that is answered 401");
    name(out, held[HOLD_WHY_UNVERIFIED], "held for a merchant whose answers no key verifies");
    name(out, held[HOLD_WHY_KEYLESS], "held for a merchant without a key that verifies answers");
    name(out, held[HOLD_WHY_RATE_LIMITED], "held for a merchant that is answered 429");
    name(out, status.jobs[JOB_RETRY], "for another attempt");
    name(out, status.jobs[JOB_BLOCKED], "behind an earlier event of their contract code");
    name_refused(out, &status);
    name(out, status.deferred,
         "outcomes that wait for an earlier one: offset.metadata.max.bytes is too small");
    name(out, status.partitions_full, "partitions full");
    describe_stalled(p, out);
}
