/* Carries out relief for full partitions, by the rules of flow/relief.h. The oldest events come
 * first, since they prevent the window from moving, and only as many as make room. */
#include "flow/pipeline_parts.h"

#include <stdio.h>

/* How often full partitions are checked while a hold gets older. */
#define LOOK_AGAIN_MS 100
#define LOOK_LATE_MS  1000

/* Begin of the merchant's own hold; -1: it is not held. */
static int64_t held_ms(const struct pipeline *p, const struct merchant_queue *queue,
                       enum reason *reason)
{
    struct hold_own own;
    if (!hold_own(&p->hold, &queue->hold, &own)) {
        return -1;
    }
    *reason = own.reason;
    return own.since_ms;
}

static bool is_held(struct relief_who who, const void *context)
{
    enum reason reason;
    return held_ms(context, who.merchant, &reason) >= 0 ||
           pausing_since_ms(context, who.merchant, who.endpoint) >= 0;
}

static struct relief_who who_of(const struct job *job)
{
    return (struct relief_who){.merchant = job->queue,
                               .endpoint = endpoint_index(job->admission.endpoint)};
}

/* A merchant that is answered once and then held again, repeatedly, blocks others as a held one
 * does. So time in holds is added, and time between them is subtracted. 429 does not count, as
 * calls continue. */
static void count_held_time(const struct pipeline *p, struct merchant_queue *queue,
                            struct moment now)
{
    int64_t passed_ms = now.mono_ms - queue->relief_looked_ms;
    enum reason reason = REASON_NONE;
    bool held = held_ms(p, queue, &reason) >= 0 && reason != REASON_RATE_LIMITED;
    queue->relief_looked_ms = now.mono_ms;
    if (hold_down(&p->hold)) {
        queue->relief_held_ms = 0;
    } else if (!held) {
        queue->relief_held_ms -= passed_ms;
    } else if (passed_ms <= LOOK_LATE_MS) { /* otherwise nothing was full in between */
        queue->relief_held_ms += passed_ms;
    }
    queue->relief_held_ms = queue->relief_held_ms < 0                ? 0
                            : queue->relief_held_ms > RELIEF_HOLD_MS ? RELIEF_HOLD_MS
                                                                     : queue->relief_held_ms;
}

void relieve_note_outcome(struct pipeline *p, const struct job *job, struct moment now)
{
    if (job->queue != NULL && !is_held(who_of(job), p)) {
        relief_note(&job->partition->seen, who_of(job), now.mono_ms);
    }
}

static void relieve(struct pipeline *p, struct job *job, enum reason reason, int64_t held_for_ms,
                    struct moment now)
{
    char message[ADMIT_MESSAGE_MAX + 1];
    (void)snprintf(message, sizeof message,
                   "relief: the %s was %s for %d s, and its events filled the partition in "
                   "which others' wait",
                   reason == REASON_PAUSED && job->queue->paused_ms < 0 ? "endpoint"
                   : reason != REASON_PAUSED && job->held_alone         ? "event"
                                                                        : "merchant",
                   reason == REASON_PAUSED ? "paused" : "held", (int)(held_for_ms / 1000));
    job_state_fail(p, job, reason, message, now);
    OBSERVE(p, relieved, job);
}

/* Since when a hold or a pause makes the event wait; -1: none does. An event that is held alone
 * waits between its attempts. */
static int64_t held_since_ms(const struct pipeline *p, const struct job *job, enum reason *reason,
                             struct moment now)
{
    if (job->state == JOB_PAUSED) {
        *reason = REASON_PAUSED;
        return pausing_since_ms(p, job->queue, endpoint_index(job->admission.endpoint));
    }
    if (job->held_alone) {
        *reason = REASON_MERCHANT_UNAUTHORIZED;
        return job->state == JOB_RETRY || job->state == JOB_WAITING ? job->first_401_ms : -1;
    }
    int64_t since_ms = held_ms(p, job->queue, reason);
    int64_t weighed_ms = now.mono_ms - job->queue->relief_held_ms;
    return since_ms < 0 ? -1 : weighed_ms < since_ms ? weighed_ms : since_ms;
}

/* Fails the event early if relief applies. True if so. */
static bool try_job(struct pipeline *p, struct job *job, struct moment now)
{
    enum reason reason = REASON_NONE;
    struct partition *partition = job->partition;
    if (job->state != JOB_WAITING && job->state != JOB_PAUSED && !job->held_alone) {
        return false;
    }
    struct relief_case relief = {
        .now_ms = now.mono_ms,
        .full_since_ms = partition->full_since_ms,
        .held_ms = held_since_ms(p, job, &reason, now),
    };
    if (relief.held_ms < 0) {
        return false;
    }
    const void *except = job->state == JOB_PAUSED ? NULL : job->queue;
    relief.others_ms = relief_others_ms(&partition->seen, except, is_held, p);
    if (!relief_applies(&relief)) {
        return false;
    }
    relieve(p, job, reason, now.mono_ms - relief.held_ms, now);
    return true;
}

/* It waits only for its transaction; its memory will be free soon. */
static bool is_completed(const struct job *job)
{
    return job->state == JOB_COMPLETED || job->state == JOB_PUBLISHING;
}

static size_t completed_bytes(const struct partition *partition)
{
    size_t bytes = 0;
    LIST_FOREACH (&partition->jobs, link) {
        const struct job *job = CONTAINER_OF(link, struct job, mine);
        bytes += is_completed(job) ? job->size : 0;
    }
    return bytes;
}

/* The window has room when all offsets below that one are committed. */
static bool opens_window(const struct window *window, int64_t offset)
{
    return window_room(window) + (size_t)(offset - window->base_offset) >= window_resume(window);
}

/* Fails at most `most` events, from the oldest on, until there will be room. Returns how many.
 * Events behind one that stays do not move the window; they only free memory. */
static size_t relieve_partition(struct pipeline *p, struct partition *partition, size_t most,
                                struct moment now)
{
    size_t count = 0, bytes = completed_bytes(partition);
    bool stays = false;
    LIST_FOREACH (&partition->jobs, link) {
        struct job *job = CONTAINER_OF(link, struct job, mine);
        bool window_moves = stays || opens_window(&partition->window, job->record.offset);
        bool share_fits = bytes >= share_excess(&p->memory, &partition->memory);
        if (count == most || (window_moves && share_fits)) {
            break;
        }
        if (is_completed(job)) {
            continue;
        }
        bool ended = try_job(p, job, now);
        stays = stays || !ended;
        count += ended;
        bytes += ended ? job->size : 0;
    }
    return count;
}

static bool oldest_is_held_alone(const struct partition *partition)
{
    struct list_link *first = list_first(&partition->jobs);
    return first != NULL && CONTAINER_OF(first, struct job, mine)->held_alone;
}

/* There is a full partition, and a held merchant, a paused event or one that is held alone. */
static bool may_apply(const struct pipeline *p, struct moment now)
{
    bool full = false, held = !list_empty(&p->jobs[JOB_PAUSED]);
    for (size_t i = 0; i < p->partitions.count; i++) {
        const struct partition *partition = &p->partitions.items[i];
        full = full || partition->full;
        held = held || (partition->full && oldest_is_held_alone(partition));
    }
    for (size_t i = 0; full && i < p->queue_count; i++) {
        count_held_time(p, p->queue_table[i], now);
        enum reason reason;
        held = held || held_ms(p, p->queue_table[i], &reason) >= 0;
    }
    return full && held;
}

void relieve_full(struct pipeline *p, struct moment now)
{
    if (p->relief_ms != INT64_MAX && now.mono_ms < p->relief_ms) {
        return;
    }
    p->relief_ms = INT64_MAX;
    if (p->revoking || p->draining || p->all_paused_ms >= 0 || !may_apply(p, now)) {
        return;
    }
    /* A different partition first each time. */
    size_t left = RELIEF_STEP_MAX, count = p->partitions.count, first = p->relief_first++;
    for (size_t i = 0; i < count && left > 0; i++) {
        struct partition *partition = &p->partitions.items[(first + i) % count];
        left -= partition->full ? relieve_partition(p, partition, left, now) : 0;
    }
    p->work_left = p->work_left || left == 0;
    p->relief_ms = left == 0 ? now.mono_ms : now.mono_ms + LOOK_AGAIN_MS;
}
