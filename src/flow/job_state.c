/* States of a job, and what follows from them: its list, its timer, its memory, its place in the
 * key order. Move jobs only through this file, or the counters leak. */
#include "flow/pipeline_parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The wall clock may jump, so timers that depend on it are checked at least this often. */
#define WALL_RECHECK_MS 60000

/* While retry time is paused, its end moves; it is checked at least this often. */
#define PAUSED_RECHECK_MS 5000

/* A queue is never freed before the end: calls in flight need it after a reload removed the
 * merchant. There are as many queues as merchants were ever configured. */
static struct merchant_queue *queue_of(struct pipeline *p, struct merchant *merchant)
{
    struct merchant_queue *queue = map_get(p->queues, merchant->mchid, strlen(merchant->mchid));
    if (queue == NULL) {
        queue = mem_alloc(sizeof *queue);
        merchant_queue_init(queue, merchant);
        queue->paused_ms = pausing_merchant_ms(p, merchant->mchid);
        map_set(p->queues, merchant->mchid, strlen(merchant->mchid), queue);
        p->queue_table =
            mem_realloc(p->queue_table, (p->queue_count + 1) * sizeof(struct merchant_queue *));
        p->queue_table[p->queue_count++] = queue;
    }
    return queue;
}

static void charge(struct pipeline *p, struct job *job, size_t bytes)
{
    struct partition *owner = job->partition;
    shares_change(&p->memory, owner == NULL ? NULL : &owner->memory, job->size, bytes);
    job->size = bytes;
}

void job_state_charge(struct pipeline *p, struct job *job)
{
    charge(p, job, job_bytes(job));
}

void job_state_set_queue(struct pipeline *p, struct job *job, struct merchant *merchant)
{
    assert(job->queue == NULL);
    job->queue = queue_of(p, merchant);
    p->queues_busy += job->queue->jobs++ == 0;
    age_set_queue(p, job);
}

int64_t job_state_paused_ms(const struct pipeline *p, const struct job *job, struct moment now)
{
    int64_t backlog_ms = p->backlog_since_ms < 0 ? 0 : now.mono_ms - p->backlog_since_ms;
    return p->backlog_ms + backlog_ms + hold_total_ms(&job->queue->hold, now.mono_ms);
}

int64_t job_state_deadline_ms(const struct pipeline *p, const struct job *job, struct moment now)
{
    if (job->attempts == 0 || job->held_alone || job->state == JOB_PAUSED) {
        return INT64_MAX;
    }
    return job->first_ms + p->rules.retry.give_up_after_ms +
           (job_state_paused_ms(p, job, now) - job->paused_before_ms);
}

/* When to check the deadline. For a held event, not before the hold's end. */
static int64_t deadline_timer_ms(const struct pipeline *p, const struct job *job, struct moment now)
{
    int64_t at_ms = job_state_deadline_ms(p, job, now);
    int64_t until_ms = hold_until_ms(&p->hold, &job->queue->hold);
    if (until_ms != INT64_MAX && at_ms < until_ms) {
        at_ms = until_ms;
    }
    bool paused = until_ms != INT64_MAX || p->backlog_since_ms >= 0;
    int64_t least_ms = now.mono_ms + PAUSED_RECHECK_MS;
    return paused && at_ms < least_ms ? least_ms : at_ms;
}

void job_state_arm(struct pipeline *p, struct job *job, struct moment now)
{
    int64_t at = job->state == JOB_RETRY ? job->retry_ms : INT64_MAX;
    if (job->attempts > 0 && job->state != JOB_PAUSED) {
        int64_t end = deadline_timer_ms(p, job, now);
        at = end < at ? end : at;
    }
    /* Timers use the monotonic clock, expirytime the wall clock. */
    if (job->admission.expires_ms != INT64_MAX) {
        int64_t left = job->admission.expires_ms - now.wall_ms;
        left = left < 0 ? 0 : left > WALL_RECHECK_MS ? WALL_RECHECK_MS : left;
        at = now.mono_ms + left < at ? now.mono_ms + left : at;
    }
    if (at == INT64_MAX) {
        heap_remove(&p->due, &job->due);
    } else {
        heap_set(&p->due, &job->due, at);
    }
}

/* The list of a state. No other code knows this. */
static struct list *list_of(struct pipeline *p, const struct job *job, enum job_state state)
{
    switch (state) {
    case JOB_NEW:
        return &job->partition->overflow;
    case JOB_WAITING:
        return job->ticket.probe ? &job->queue->probed : &job->queue->waiting;
    default:
        return &p->jobs[state];
    }
}

/* Queues without waiting events leave the rotation, so that a round does not visit all merchants.
 */
static void leave_list(struct pipeline *p, struct job *job)
{
    heap_remove(&p->due, &job->due);
    if (job->in == NULL) {
        return;
    }
    assert(job->in == list_of(p, job, job->state));
    list_remove(job->in, &job->link);
    job->in = NULL;
    if (job->state == JOB_PAUSED) {
        job->queue->paused--;
        p->paused_jobs[endpoint_index(job->admission.endpoint)]--;
    } else if (job->state == JOB_WAITING) {
        struct merchant_queue *queue = job->queue;
        assert(p->waiting > 0);
        p->waiting--;
        if (merchant_queue_waiting(queue) == 0) {
            list_remove(&p->rotation, &queue->link);
        }
    }
}

static void enter_list(struct pipeline *p, struct job *job, enum job_state state)
{
    assert(job->in == NULL && state < JOB_STATE_COUNT);
    job->state = state;
    job->in = list_of(p, job, state);
    if (state == JOB_PAUSED) {
        job->queue->paused++;
        p->paused_jobs[endpoint_index(job->admission.endpoint)]++;
    } else if (state == JOB_WAITING) {
        struct merchant_queue *queue = job->queue;
        assert(job->key_entry.queue != NULL);
        if (merchant_queue_waiting(queue) == 0) {
            list_push_back(&p->rotation, &queue->link);
        }
        p->waiting++;
    }
}

void job_state_move(struct pipeline *p, struct job *job, enum job_state state)
{
    leave_list(p, job);
    enter_list(p, job, state);
    list_push_back(job->in, &job->link);
}

void job_state_move_front(struct pipeline *p, struct job *job, enum job_state state)
{
    leave_list(p, job);
    enter_list(p, job, state);
    list_push_front(job->in, &job->link);
}

/* How much of its retry time is used up. */
static int64_t retry_age_ms(const struct pipeline *p, const struct job *job, struct moment now)
{
    return now.mono_ms - job->first_ms - (job_state_paused_ms(p, job, now) - job->paused_before_ms);
}

void job_state_pause(struct pipeline *p, struct job *job, bool first, struct moment now)
{
    job->pause_age_ms = job->attempts > 0 ? retry_age_ms(p, job, now) : 0;
    (first ? job_state_move_front : job_state_move)(p, job, JOB_PAUSED);
    job_state_arm(p, job, now);
}

/* The hold of an event alone begins again, as that of a merchant does. */
void job_state_unpause(struct pipeline *p, struct job *job, struct moment now)
{
    if (job->held_alone) {
        job->first_401_ms = now.mono_ms;
    } else if (job->attempts > 0) {
        job->first_ms += retry_age_ms(p, job, now) - job->pause_age_ms;
    }
    bool later = job->attempts > 0 && job->retry_ms > now.mono_ms;
    job_state_move_front(p, job, later ? JOB_RETRY : JOB_WAITING);
    job_state_arm(p, job, now);
}

/* Events with later attempts precede the others, since they are older. Failed probes precede both;
 * they take turns (merchant_queue_next()). */
void job_state_enqueue(struct pipeline *p, struct job *job, struct moment now)
{
    if (pausing_holds(p, job)) {
        job_state_pause(p, job, job->attempts > 0, now);
        return;
    }
    if (job->attempts > 0 && !job->ticket.probe) {
        job_state_move_front(p, job, JOB_WAITING);
    } else {
        job_state_move(p, job, JOB_WAITING);
    }
    job_state_arm(p, job, now);
}

/* The next job of the key is enqueued at once, before the commit: only the order of calls is
 * guaranteed. */
static void leave_key_order(struct pipeline *p, struct job *job, struct moment now)
{
    if (job->key_entry.queue != NULL) {
        assert(job->queue->jobs > 0 && p->queues_busy > 0);
        p->queues_busy -= --job->queue->jobs == 0;
    }
    struct key_order_entry *next = key_order_leave(&p->key_order, &job->key_entry);
    if (next != NULL) {
        job_state_enqueue(p, CONTAINER_OF(next, struct job, key_entry), now);
    }
}

void job_state_orphan(struct pipeline *p, struct job *job)
{
    struct partition *partition = job->partition;
    if (partition == NULL) {
        return;
    }
    size_t bytes = job->size;
    age_leave(p, job);
    charge(p, job, 0);
    list_remove(&partition->jobs, &job->mine);
    job->partition = NULL;
    charge(p, job, bytes);
}

void job_state_discard(struct pipeline *p, struct job *job, struct moment now)
{
    leave_list(p, job);
    leave_key_order(p, job, now);
    job_state_orphan(p, job);
    charge(p, job, 0);
    job_free(job);
}

void job_state_discard_all(struct pipeline *p, struct list *list, struct moment now)
{
    struct list_link *link;
    while ((link = list_first(list)) != NULL) {
        job_state_discard(p, job_of(link), now);
    }
}

void job_state_complete(struct pipeline *p, struct job *job, struct moment now)
{
    leave_list(p, job);
    leave_key_order(p, job, now);
    job_keep_outcome(job); /* it may wait long for its transaction */
    job_state_charge(p, job);
    relieve_note_outcome(p, job, now);
    publish_take(p, job, now);
}

void job_state_fail(struct pipeline *p, struct job *job, enum reason reason, const char *message,
                    struct moment now)
{
    complete_failure(job, p->rules.identity, reason, message, now.wall_ms);
    job_state_complete(p, job, now);
}

bool job_state_expire(struct pipeline *p, struct job *job, struct moment now)
{
    if (now.wall_ms < job->admission.expires_ms) {
        return false;
    }
    job_state_fail(p, job, REASON_EXPIRED, "the event expired before a call succeeded", now);
    return true;
}

/* Does what is due first. A timer may be early, if the wall clock went back; it is late by
 * WALL_RECHECK_MS at most. */
static void wake(struct pipeline *p, struct job *job, struct moment now)
{
    heap_remove(&p->due, &job->due);
    if (job_state_expire(p, job, now)) {
        return;
    } else if (now.mono_ms >= job_state_deadline_ms(p, job, now)) {
        job_state_fail(p, job, retry_rule(job->answer.kind).reason, NULL, now);
    } else if (job->state == JOB_RETRY && now.mono_ms >= job->retry_ms) {
        job_state_enqueue(p, job, now);
    } else {
        job_state_arm(p, job, now);
    }
}

void job_state_wake_due(struct pipeline *p, struct moment now)
{
    struct time_budget budget = {0};
    struct heap_slot *slot;
    while ((slot = heap_first(&p->due)) != NULL && slot->at <= now.mono_ms) {
        wake(p, CONTAINER_OF(slot, struct job, due), now);
        if (budget_spent(p, &budget)) {
            break;
        }
    }
}
