/* Calls: which one begins next, and what an answer leads to.
 *
 * A call needs the permission of hold (merchant and hosts), of the merchant's queue (its limit and
 * its rate), and of the global in-flight limit. An answer is reported to hold and queue first. Then
 * read_answer() decides: the event is completed (retry_rule() says so), waits for the end of a
 * hold, or gets another attempt (try_again()). */
#include "flow/pipeline_parts.h"

#include <assert.h>
#include <stdio.h>

/* This part of the in-flight limit is reserved for merchants below their share, so that a slow
 * merchant cannot use all of it. */
#define RESERVE_SHARE 4

/* The most outcomes that wait for a transaction, as a multiple of the in-flight limit. They age,
 * and after a crash their calls are repeated; so no more calls begin while they cannot be
 * published. Under load a transaction takes fewer. */
#define UNPUBLISHED_SHARE 2

/* The most events that fail in one step because their merchant's hold is over. */
#define FAILED_A_STEP 64

/* When the last attempt may begin: a full time-out before the deadline. */
static int64_t last_ms(const struct pipeline *p, const struct job *job, struct moment now)
{
    int64_t half = p->rules.retry.give_up_after_ms / 2, timeout = p->rules.limits.timeout_ms;
    return job_state_deadline_ms(p, job, now) - (timeout < half ? timeout : half);
}

/* The last attempt gets the rest of the event's time. */
static int64_t attempt_timeout_ms(const struct pipeline *p, const struct job *job,
                                  struct moment now)
{
    int64_t left = job_state_deadline_ms(p, job, now) - now.mono_ms;
    int64_t timeout = p->rules.limits.timeout_ms;
    return left < 1 ? 1 : left < timeout ? left : timeout;
}

/* Retry time begins with the first attempt. Time in which the event was held alone does not count.
 */
static void begin_time(struct pipeline *p, struct job *job, struct moment now)
{
    if (job->attempts++ == 0) {
        job->first_ms = now.mono_ms;
        job->paused_before_ms = job_state_paused_ms(p, job, now);
    } else if (job->held_alone) {
        job->first_ms += now.mono_ms - job->last_401_ms;
        job->held_alone = false;
    }
}

/* Uses the queue's merchant, which has the new key after a reload. */
static void call(struct pipeline *p, struct job *job, struct hold_permit permit, struct moment now)
{
    struct merchant_queue *queue = job->queue;
    job_state_move(p, job, JOB_CALLING);
    job->awaits_keys = false;
    begin_time(p, job, now);
    job->began_ms = now.mono_ms;
    job->began_wall_ms = now.wall_ms;
    p->in_flight++;
    merchant_queue_began(queue);
    job->ticket = hold_begin(&p->hold, &queue->hold, permit, now.mono_ms);
    struct attempt attempt = {
        .endpoint = job->admission.endpoint,
        .merchant = queue->merchant,
        .host = permit.host,
        .contract_code = job->admission.out_contract_code,
        .body = job->admission.body,
        .body_len = job->admission.body_len,
        .new_connection = job->answer.wants_new_connection,
        .timeout_ms = attempt_timeout_ms(p, job, now),
        .expires_ms = job->admission.expires_ms,
    };
    job->end_ms = now.mono_ms + attempt.timeout_ms;
    p->ports.call(p->ports.caller, &attempt, job);
}

/* at_ms 0: no timer is needed, since an answer will open the queue. */
static void note_wait(struct pipeline *p, int64_t at_ms)
{
    if (at_ms > 0 && at_ms < p->reopen_ms) {
        p->reopen_ms = at_ms;
    }
}

/* The in-flight limit is divided among the merchants that have work; a share is one call at least.
 */
static bool is_below_share(const struct pipeline *p, const struct merchant_queue *queue)
{
    size_t limit = p->rules.limits.in_flight, reserve = limit / RESERVE_SHARE;
    reserve = reserve == 0 && limit > 1 ? 1 : reserve;
    size_t share = p->queues_busy == 0 ? limit : limit / p->queues_busy;
    if (p->queue_count < 2 || p->in_flight < limit - reserve) {
        return true;
    }
    /* With one merchant, the reserve stays free for merchants whose events come next. */
    return p->queues_busy > 1 && queue->in_flight < (share == 0 ? 1 : share);
}

/* The hold of its merchant is over: fails without a call. */
static void fail_held(struct pipeline *p, struct job *job, struct moment now)
{
    static const char *const why_text[HOLD_WHY_COUNT] = {
        [HOLD_WHY_UNAUTHORIZED] = "has been answered 401",
        [HOLD_WHY_UNVERIFIED] = "has had answers that no key verifies",
        [HOLD_WHY_KEYLESS] = "has had no key that verifies answers",
    };
    char message[ADMIT_MESSAGE_MAX];
    enum reason reason = hold_reason(&job->queue->hold);
    (void)snprintf(message, sizeof message,
                   "not called: merchant %s %s for longer than hold_unauthorized_ms",
                   job->queue->merchant->mchid, why_text[hold_why_held(&job->queue->hold)]);
    job_state_fail(p, job, reason, job->attempts == 0 ? message : NULL, now);
}

/* Fails the queue's next event because the hold is over; at most *failures_left of them. */
static bool fail_one(struct pipeline *p, struct merchant_queue *queue, unsigned *failures_left,
                     struct moment now)
{
    if (*failures_left == 0) {
        note_wait(p, now.mono_ms + 1);
        return false;
    }
    (*failures_left)--;
    fail_held(p, job_of(merchant_queue_next(queue, false)), now);
    return true;
}

/* Begins a call, unless the merchant's limit or the in-flight limit is reached. A probe needs no
 * share, so other merchants cannot keep a merchant out that recovers. */
static bool call_one(struct pipeline *p, struct merchant_queue *queue, struct hold_permit permit,
                     struct moment now)
{
    int64_t wait_ms;
    if (!merchant_queue_open(queue, now.mono_ms, &wait_ms)) {
        note_wait(p, wait_ms);
        return false;
    }
    bool probe = permit.verdict == HOLD_PROBE;
    if (p->in_flight >= p->rules.limits.in_flight || (!probe && !is_below_share(p, queue))) {
        return false;
    }
    call(p, job_of(merchant_queue_next(queue, probe)), permit, now);
    return true;
}

/* Fails an event that cannot be called any more, in any state of its merchant. */
static bool drop_one(struct pipeline *p, struct job *job, struct moment now)
{
    const struct merchant_queue *queue = job->queue;
    if (job_state_expire(p, job, now)) {
        return true;
    }
    if (queue->gone || queue->merchant->mode != job->admission.endpoint->mode) {
        job_state_fail(p, job, REASON_UNKNOWN_MERCHANT, "the merchant is no longer configured here",
                       now);
        return true;
    }
    if (now.mono_ms > last_ms(p, job, now)) {
        job_state_fail(p, job, retry_rule(job->answer.kind).reason, NULL, now);
        return true;
    }
    return false;
}

static void tell_held(struct pipeline *p, const struct merchant_queue *queue, enum hold_why was)
{
    enum hold_why why = hold_why_held(&queue->hold);
    if (why != was && was != HOLD_WHY_NONE) {
        OBSERVE(p, merchant_held, queue->merchant->mchid, was, false);
    }
    if (why != was && why != HOLD_WHY_NONE) {
        OBSERVE(p, merchant_held, queue->merchant->mchid, why, true);
    }
}

/* Without a key an answer cannot be used, so there is no call, and certificates are fetched because
 * events wait. */
static void look_for_keys(struct pipeline *p, struct merchant_queue *queue, struct moment now)
{
    if (p->ports.has_keys == NULL) {
        return;
    }
    enum hold_why was = hold_why_held(&queue->hold);
    bool has_keys = p->ports.has_keys(p->ports.keys, queue->merchant, now.wall_ms);
    hold_merchant_has_keys(&queue->hold, has_keys, now.mono_ms);
    if (!has_keys && p->ports.refresh_keys != NULL) {
        (void)p->ports.refresh_keys(p->ports.keys, queue->merchant);
    }
    tell_held(p, queue, was);
}

/* Begins the queue's next call, or fails its next event. False if the queue is closed; p->reopen_ms
 * may have changed then. */
static bool start_one(struct pipeline *p, struct merchant_queue *queue, unsigned *failures_left,
                      struct moment now)
{
    assert(merchant_queue_waiting(queue) > 0); /* since it is in the rotation */
    if (drop_one(p, job_of(merchant_queue_next(queue, false)), now)) {
        return true;
    }
    look_for_keys(p, queue, now);
    struct hold_permit permit = hold_ask(&p->hold, &queue->hold, now.mono_ms);
    switch (permit.verdict) {
    case HOLD_WAIT:
        note_wait(p, permit.wait_ms);
        return false;
    case HOLD_FAIL:
        return fail_one(p, queue, failures_left, now);
    default:
        break;
    }
    bool other =
        permit.verdict == HOLD_PROBE && drop_one(p, job_of(merchant_queue_next(queue, true)), now);
    return other || call_one(p, queue, permit, now);
}

/* `blocked` is publish_blocked_results(), which visits each refused outcome. */
static bool backlog_full(const struct pipeline *p, size_t blocked)
{
    size_t most = UNPUBLISHED_SHARE * (size_t)p->rules.limits.in_flight;
    return publish_ready(p) + p->jobs[JOB_PUBLISHING].count + blocked >= most;
}

bool dispatch_backlog_full(const struct pipeline *p)
{
    return backlog_full(p, publish_blocked_results(p));
}

/* While the publish backlog prevents calls, retry time is paused for all events. */
static void note_backlog(struct pipeline *p, bool full, struct moment now)
{
    if (full && p->backlog_since_ms < 0) {
        p->backlog_since_ms = now.mono_ms;
    } else if (!full && p->backlog_since_ms >= 0) {
        p->backlog_ms += now.mono_ms - p->backlog_since_ms;
        p->backlog_since_ms = -1;
    }
}

void dispatch_start(struct pipeline *p, struct moment now)
{
    unsigned failures_left = FAILED_A_STEP;
    /* Constant below: events that end here become failures, not results. */
    const size_t blocked = publish_blocked_results(p);
    p->reopen_ms = INT64_MAX;
    note_backlog(p, backlog_full(p, blocked), now);
    if (p->revoking || p->draining || p->backlog_since_ms >= 0) {
        return;
    }
    /* Round robin, one call for each queue. Also at the in-flight limit, since the events of a hold
     * that is over need no call. */
    size_t closed = 0;               /* queues in a row that could not begin a call */
    struct time_budget budget = {0}; /* thousands may have expired, or lost their merchant */
    struct list_link *link;
    while ((link = list_first(&p->rotation)) != NULL && closed < p->rotation.count &&
           !backlog_full(p, blocked)) {
        struct merchant_queue *queue = CONTAINER_OF(link, struct merchant_queue, link);
        list_remove(&p->rotation, link);
        list_push_back(&p->rotation, link);
        closed = start_one(p, queue, &failures_left, now) ? 0 : closed + 1;
        if (closed == 0 && budget_spent(p, &budget)) {
            break;
        }
    }
}

/* A 401 after a second signature concerns the merchant, unless the merchant was answered otherwise
 * since this event's previous 401: then it may concern the event alone. */
static bool is_merchant_401(struct job *job)
{
    const struct hold_merchant *hold = &job->queue->hold;
    if (job->answer.kind != ANSWER_UNAUTHORIZED) {
        return false;
    }
    bool contradicted = job->last_401_ms != 0 && hold->answered_ms > job->last_401_ms;
    job->own_401 = job->own_401 || contradicted;
    return (job->re_signed || hold_is_held(hold)) && !job->own_401;
}

/* Limits Retry-After. That of a 5xx is also limited by the event's expirytime; that of a 429 pauses
 * the merchant and is not. With less than a time-out left, the event may be sent until it expires.
 */
static int64_t last_for_hold_ms(const struct pipeline *p, const struct job *job, struct moment now)
{
    int64_t last = last_ms(p, job, now);
    int64_t expires_ms = job->admission.expires_ms;
    if (job->answer.kind != ANSWER_RATE_LIMITED && expires_ms != INT64_MAX) {
        int64_t left = expires_ms - now.wall_ms, timeout = p->rules.limits.timeout_ms;
        int64_t by = now.mono_ms + (left > timeout ? left - timeout : left);
        last = by < last ? by : last;
    }
    return last;
}

/* An outage may concern the event alone: some events are answered 504 whenever they are sent. */
static bool is_own_outage(struct job *job, struct moment now)
{
    if (!job->answer.counts_as_outage) {
        return false;
    }
    bool contradicted = job->outage_ms != 0 && job->queue->hold.reached_ms > job->outage_ms;
    job->outage_ms = now.mono_ms;
    return contradicted;
}

static void tell_hold(struct pipeline *p, struct job *job, struct moment now)
{
    struct merchant_queue *queue = job->queue;
    bool was_down = hold_down(&p->hold), down;
    enum hold_why was = hold_why_held(&queue->hold);
    struct hold_end end = {
        .answer = &job->answer,
        .merchant_401 = is_merchant_401(job),
        .own_outage = is_own_outage(job, now),
        .now_ms = now.mono_ms,
        .last_ms = last_for_hold_ms(p, job, now),
        .random = p->ports.random(p->ports.random_context),
    };
    hold_ended(&p->hold, &queue->hold, job->ticket, &end);
    down = hold_down(&p->hold);
    if (down != was_down) {
        OBSERVE(p, endpoint_down, down);
    }
    tell_held(p, queue, was);
}

/* Also for orphans: hold and queue learn from every answer. */
static void account_answer(struct pipeline *p, struct job *job, struct moment now)
{
    struct merchant_queue *queue = job->queue;
    p->in_flight--;
    tell_hold(p, job, now);
    merchant_queue_ended(queue, retry_rule(job->answer.kind).effect, job->began_ms, now.mono_ms);
    queue->last_answer = job->answer.kind;
    queue->last_answer_ms = now.mono_ms;
}

static void retry_at(struct pipeline *p, struct job *job, int64_t at_ms, struct moment now)
{
    job->retry_ms = at_ms;
    if (pausing_holds(p, job)) {
        job_state_pause(p, job, true, now);
    } else {
        job_state_move(p, job, JOB_RETRY);
        job_state_arm(p, job, now);
    }
    OBSERVE(p, retrying, job, retry_rule(job->answer.kind).reason);
}

/* Waits in its queue until the hold ends. This call does not count as an attempt. */
static void wait_held(struct pipeline *p, struct job *job, struct moment now)
{
    const struct hold_merchant *hold = &job->queue->hold;
    if (hold_is_over(hold) && !pausing_holds(p, job)) {
        fail_held(p, job, now);
        return;
    }
    job->retry_ms = hold->state == HOLD_PACED ? hold->until_ms : 0;
    job_state_enqueue(p, job, now);
    OBSERVE(p, retrying, job, retry_rule(job->answer.kind).reason);
}

/* The event is answered 401 repeatedly while its merchant is not: it is probed as a held merchant
 * is, for the same time. */
static void hold_alone(struct pipeline *p, struct job *job, struct moment now)
{
    if (now.mono_ms - job->first_401_ms >= p->rules.limits.hold_unauthorized_ms) {
        job_state_fail(p, job, REASON_MERCHANT_UNAUTHORIZED, NULL, now);
        return;
    }
    job->held_alone = true;
    retry_at(p, job, now.mono_ms + hold_probe_interval_ms(&p->hold), now);
}

/* The first 401 may be accidental (a clock, a key that just changed): the request is signed again
 * at once, which counts as an attempt. A call that began before the merchant's last change of state
 * says nothing about its current state. */
static void unauthorized(struct pipeline *p, struct job *job, struct moment now)
{
    const struct hold_merchant *hold = &job->queue->hold;
    job->first_401_ms = job->first_401_ms == 0 ? now.mono_ms : job->first_401_ms;
    job->last_401_ms = now.mono_ms;
    if (hold_is_held(hold)) {
        wait_held(p, job, now);
    } else if (hold_is_stale(hold, job->ticket)) {
        job_state_enqueue(p, job, now);
        OBSERVE(p, retrying, job, REASON_MERCHANT_UNAUTHORIZED);
    } else if (!job->re_signed) {
        job->re_signed = true;
        job->counted_attempts++;
        job_state_enqueue(p, job, now);
        OBSERVE(p, retrying, job, REASON_MERCHANT_UNAUTHORIZED);
    } else {
        hold_alone(p, job, now);
    }
}

/* The answer names a key that the merchant does not have, and its certificates are fetched for
 * that: the next attempt waits for them, and this one does not count. They may have come during
 * this attempt, and then it does not wait. The other events go on, since most answers may still be
 * signed by a known key. False: nothing is fetched. */
static bool await_keys(struct pipeline *p, struct job *job, struct moment now)
{
    const struct answer *answer = &job->answer;
    bool unknown = answer->cause == ANSWER_CAUSE_KEYS && answer->verify == VERIFY_UNKNOWN_SERIAL;
    if (!unknown || p->ports.refresh_keys == NULL ||
        !p->ports.refresh_keys(p->ports.keys, job->queue->merchant) ||
        hold_is_held(&job->queue->hold)) {
        return false;
    }
    bool came = job->queue->keys_ms > job->began_ms;
    int64_t at_ms = now.mono_ms + (came ? 0 : JOB_KEYS_WAIT_MS), last = last_ms(p, job, now);
    if (now.mono_ms >= last) {
        return false;
    }
    job->awaits_keys = true;
    retry_at(p, job, at_ms < last ? at_ms : last, now);
    return true;
}

static void end_wait(struct pipeline *p, struct list *list, const struct merchant_queue *queue,
                     struct moment now)
{
    LIST_FOREACH (list, link) {
        struct job *job = job_of(link);
        if (job->queue == queue && job->awaits_keys && job->retry_ms > now.mono_ms) {
            job->retry_ms = now.mono_ms;
            job_state_arm(p, job, now);
        }
    }
}

/* Without a time budget, as pausing.c. */
void dispatch_keys_changed(struct pipeline *p, struct merchant_queue *queue, bool changed,
                           struct moment now)
{
    if (changed) {
        queue->keys_ms = now.mono_ms;
        hold_merchant_new_keys(&queue->hold, now.mono_ms);
    }
    look_for_keys(p, queue, now);
    end_wait(p, &p->jobs[JOB_RETRY], queue, now);
    end_wait(p, &p->jobs[JOB_PAUSED], queue, now);
}

/* Merchant, host or process is unavailable: waiting for it uses up no attempt. */
static bool is_held(const struct pipeline *p, const struct job *job)
{
    const struct answer *answer = &job->answer;
    const struct hold_merchant *hold = &job->queue->hold;
    if (answer->cause == ANSWER_CAUSE_KEYS) {
        return hold_is_held(hold);
    }
    return answer->kind == ANSWER_RATE_LIMITED || answer->cause == ANSWER_CAUSE_SHORTAGE ||
           (answer->counts_as_outage && job->ticket.host < p->rules.limits.host_count &&
            hold_broken_at(&p->hold, hold, job->ticket.host));
}

/* After the time of the last attempt there is none. */
static void try_again(struct pipeline *p, struct job *job, struct moment now)
{
    if (await_keys(p, job, now)) {
        return;
    }
    bool held = is_held(p, job);
    if (held && !hold_is_held(&job->queue->hold) && now.mono_ms >= last_ms(p, job, now)) {
        job_state_fail(p, job, retry_rule(job->answer.kind).reason, NULL, now);
        return;
    }
    if (held) {
        wait_held(p, job, now);
        return;
    }
    job->counted_attempts++;
    struct retry_case retry = {
        .counted_attempts = job->counted_attempts,
        /* Hold applied the one of an outage already; the circuit is closed again. */
        .retry_after_ms = job->answer.counts_as_outage ? -1 : job->answer.retry_after_ms,
        .now_ms = now.mono_ms,
        .last_ms = last_for_hold_ms(p, job, now),
        .random = p->ports.random(p->ports.random_context),
    };
    int64_t at_ms = retry_next_ms(&p->rules.retry, &retry);
    if (at_ms < 0) {
        job_state_fail(p, job, retry_rule(job->answer.kind).reason, NULL, now);
    } else {
        retry_at(p, job, at_ms, now);
    }
}

static void read_answer(struct pipeline *p, struct job *job, struct moment now)
{
    enum answer_kind kind = job->answer.kind;
    account_answer(p, job, now);
    OBSERVE(p, called, job);
    if (job->partition == NULL) {
        job_state_discard(p, job, now);
        return;
    }
    if (kind == ANSWER_SUCCESS) {
        complete_result(job, p->rules.identity, now.wall_ms);
        job_state_complete(p, job, now);
        return;
    }
    if (job->answer.call_state > job->worst_call_state) {
        job->worst_call_state = job->answer.call_state;
    }
    job_log_attempt(job);
    if (kind != ANSWER_UNAUTHORIZED && !retry_rule(kind).retry) {
        job_state_fail(p, job, retry_rule(kind).reason, NULL, now);
    } else if (job_state_expire(p, job, now)) {
        return;
    } else if (p->revoking || p->draining) {
        job_state_discard(p, job, now); /* the next owner of the partition reads it again */
    } else if (kind == ANSWER_UNAUTHORIZED) {
        unauthorized(p, job, now);
    } else {
        try_again(p, job, now);
    }
}

void dispatch_read(struct pipeline *p, struct moment now)
{
    struct time_budget budget = {0};
    struct list_link *link;
    while ((link = list_first(&p->jobs[JOB_ANSWERED])) != NULL) {
        read_answer(p, job_of(link), now);
        if (budget_spent(p, &budget)) {
            break;
        }
    }
}
