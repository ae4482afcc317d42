/* Calls: which one begins next, and what its answer leads to. A call asks the merchant's lane,
 * then for a place among all, then for a host; an answer tells the host's health and the lane
 * first, whoever still wants it, and then ends its event or sends it round again. */
#include "pipeline_parts.h"

#include <assert.h>

/* Of the places in the air, one in so many is kept for merchants that use less than their
 * share, so that a slow one cannot take them all. */
#define RESERVE_SHARE 4

/* Outcomes that wait for a transaction, in places in the air. A crash calls them again, and they
 * age: while they cannot be published, there is no use in more of them. Under load a transaction
 * takes fewer than that. */
#define UNPUBLISHED_SHARE 2

/* The last attempt gets what is left of the event's time. */
static int64_t attempt_timeout_ms(const struct pipeline *p, const struct job *job, int64_t now_ms)
{
    int64_t left = job->first_ms + p->rules.retry.give_up_after_ms - now_ms;
    int64_t timeout = p->rules.limits.timeout_ms;
    return left < 1 ? 1 : left < timeout ? left : timeout;
}

/* The merchant is the lane's of this moment: after a reload that is the new key. */
static void call(struct pipeline *p, struct job *job, struct moment now)
{
    struct lane *lane = job->lane;
    place_leave(p, job);
    if (job->attempts++ == 0 || job->held) {
        job->first_ms = now.mono_ms;
        job->held = false;
    }
    job->began_ms = now.mono_ms;
    job->began_wall_ms = now.wall_ms;
    job_move(job, JOB_CALLING, &p->calling);
    p->in_flight++;
    lane_began(lane, now.mono_ms, p->rules.limits.hold_unauthorized_ms);
    struct attempt attempt = {
        .endpoint = job->admission.endpoint,
        .merchant = lane->merchant,
        .host = job->host,
        .body = job->admission.body,
        .body_len = job->admission.body_len,
        .timeout_ms = attempt_timeout_ms(p, job, now.mono_ms),
        .expires_ms = job->admission.expires_ms,
    };
    job->end_ms = now.mono_ms + attempt.timeout_ms;
    p->ports.call(p->ports.caller, &attempt, job);
}

/* Only moments that come by themselves: what an answer will open needs no timer. */
static void note_wait(struct pipeline *p, int64_t at_ms)
{
    if (at_ms > 0 && at_ms < p->lane_wait_ms) {
        p->lane_wait_ms = at_ms;
    }
}

bool dispatch_has_place(const struct pipeline *p, const struct lane *lane)
{
    unsigned places = p->rules.limits.in_flight;
    return p->lanes_alive < 2 || p->in_flight < places - places / RESERVE_SHARE ||
           lane->in_flight < places / p->lanes_alive;
}

/* Begins the lane's next call. False when the lane, or the endpoint, is closed. The host is asked
 * last, since picking one may use up a probe. */
static bool start_one(struct pipeline *p, struct lane *lane, struct moment now)
{
    struct list_link *first = list_first(&lane->waiting);
    assert(first != NULL); /* or it were not in the rotation */
    struct job *job = job_of(first);
    if (place_expire(p, job, now)) {
        return true;
    }
    if (lane->gone || lane->merchant->mode != job->admission.endpoint->mode) {
        place_fail(p, job, REASON_UNKNOWN_MERCHANT, "the merchant is no longer configured here",
                   now);
        return true;
    }
    int64_t wait_ms;
    if (!lane_open(lane, now.mono_ms, &wait_ms)) {
        note_wait(p, wait_ms);
        return false;
    }
    if (!dispatch_has_place(p, lane)) {
        return false;
    }
    int host = health_pick(&p->health, now.mono_ms, &job->probe);
    if (host < 0) {
        note_wait(p, health_wait_ms(&p->health));
        return false;
    }
    job->host = (unsigned)host;
    call(p, job, now);
    return true;
}

bool dispatch_piles_up(const struct pipeline *p)
{
    size_t most = UNPUBLISHED_SHARE * (size_t)p->rules.limits.in_flight;
    return p->settled.count + p->batch.jobs.count + p->refused.count >= most;
}

void dispatch_start(struct pipeline *p, struct moment now)
{
    p->lane_wait_ms = INT64_MAX;
    if (p->revoking || p->draining || dispatch_piles_up(p)) {
        return;
    }
    /* Each lane in turn one call, however many events wait in it. */
    size_t closed = 0;        /* lanes in a row that could not begin a call */
    struct slice slice = {0}; /* thousands may have expired, or lost their merchant */
    struct list_link *link;
    while ((link = list_first(&p->rotation)) != NULL && closed < p->rotation.count &&
           p->in_flight < p->rules.limits.in_flight) {
        struct lane *lane = CONTAINER_OF(link, struct lane, link);
        list_remove(&p->rotation, link);
        list_push_back(&p->rotation, link);
        closed = start_one(p, lane, now) ? 0 : closed + 1;
        if (slice_over(p, &slice)) {
            break;
        }
    }
}

/* 5xx and silence may come from anything on the way; all else was said by whoever knows the
 * merchant's key. */
static enum lane_answer lane_answer_of(enum answer_kind kind)
{
    switch (kind) {
    case ANSWER_UNAUTHORIZED:
        return LANE_UNAUTHORIZED;
    case ANSWER_RATE_LIMITED:
        return LANE_RATE_LIMITED;
    case ANSWER_UNAVAILABLE:
    case ANSWER_UNREACHABLE:
        return LANE_NO_WORD;
    default:
        return LANE_OK;
    }
}

static enum health_word health_word_of(const struct answer *answer)
{
    return answer->counts_as_outage              ? HEALTH_OUTAGE
           : answer->call_state == CALL_NOT_SENT ? HEALTH_NOTHING
                                                 : HEALTH_LIVES;
}

/* What an answer tells of the host and of the merchant, whoever still wants it. */
static void account_answer(struct pipeline *p, struct job *job, struct moment now)
{
    struct lane *lane = job->lane;
    bool was_down = p->health.down, was_held = lane->held || lane->hold_over;
    p->in_flight--;
    health_report(&p->health, job->host, job->probe, health_word_of(&job->answer), now.mono_ms);
    lane_ended(lane, lane_answer_of(job->answer.kind), job->began_ms, now.mono_ms);
    lane->heard = job->answer.kind;
    lane->heard_ms = now.mono_ms;
    if (p->health.down != was_down) {
        OBSERVE(p, endpoint_down, p->health.down);
    }
    if (was_held && !lane->held && !lane->hold_over) {
        OBSERVE(p, merchant_held, lane->merchant->mchid, false);
    }
}

static void retry_at(struct pipeline *p, struct job *job, int64_t at_ms, struct moment now)
{
    job->retry_ms = at_ms;
    job_move(job, JOB_RETRY, &p->retrying);
    place_arm(p, job, now);
    OBSERVE(p, retrying, job, reason_of_answer(job->answer.kind));
}

/* A hold begins or goes on; no event is held longer than that in all, also when its merchant is
 * heard in between: then the fault may be the event's own. */
static bool hold(struct pipeline *p, struct job *job, struct moment now)
{
    int64_t hold_ms = p->rules.limits.hold_unauthorized_ms;
    bool was_held = job->lane->held;
    bool over = job->held_ms != 0 && now.mono_ms - job->held_ms >= hold_ms;
    if (over || !lane_hold(job->lane, hold_ms, now.mono_ms)) {
        return false;
    }
    if (!was_held) {
        OBSERVE(p, merchant_held, job->lane->merchant->mchid, true);
    }
    job->held = true;
    job->held_ms = job->held_ms == 0 ? now.mono_ms : job->held_ms;
    return true;
}

/* 401: once by accident (a clock, a key just changed): signed anew at once, and that counts as
 * any attempt. Then the merchant is held, which costs its events neither attempts nor time. */
static void unauthorized(struct pipeline *p, struct job *job, struct moment now)
{
    if (!job->resigned) {
        job->resigned = true;
        job->tries++;
    } else if (!hold(p, job, now)) {
        place_fail(p, job, REASON_MERCHANT_UNAUTHORIZED, NULL, now);
        return;
    }
    place_in_lane(p, job, now);
    OBSERVE(p, retrying, job, REASON_MERCHANT_UNAUTHORIZED);
}

static void try_again(struct pipeline *p, struct job *job, struct moment now)
{
    bool outage = job->answer.counts_as_outage;
    if (p->health.down && outage) {
        place_in_lane(p, job, now); /* held with the endpoint; uses up no attempt */
        return;
    }
    /* The last attempt is kept as long as nobody is heard: with few events it takes a while until
     * the endpoint is known to be down, and those few must not fail meanwhile. */
    bool is_last = job->tries + 1 >= p->rules.retry.max_attempts;
    if (!(outage && is_last && health_in_doubt(&p->health, now.mono_ms))) {
        job->tries++;
    }
    struct retry_case retry = {
        .tries = job->tries,
        .retry_after_ms = job->answer.retry_after_ms,
        .now_ms = now.mono_ms,
        .first_ms = job->first_ms,
        .random = p->ports.random(p->ports.random_context),
    };
    int64_t at_ms = retry_next_ms(&p->rules.retry, &retry);
    if (at_ms < 0) {
        place_fail(p, job, reason_of_answer(job->answer.kind), NULL, now);
    } else {
        retry_at(p, job, at_ms, now);
    }
}

static void read_answer(struct pipeline *p, struct job *job, struct moment now)
{
    enum answer_kind kind = job->answer.kind;
    job_unlink(job);
    account_answer(p, job, now);
    OBSERVE(p, called, job);
    if (job->partition == NULL) {
        place_forget(p, job, now);
        return;
    }
    if (kind == ANSWER_SUCCESS) {
        settle_result(job, p->rules.identity, now.wall_ms);
        place_in_settled(p, job, now);
        return;
    }
    if (job->answer.call_state > job->worst) {
        job->worst = job->answer.call_state;
    }
    job_log_attempt(job);
    if (kind != ANSWER_UNAUTHORIZED && !retry_applies(kind)) {
        place_fail(p, job, reason_of_answer(kind), NULL, now);
    } else if (place_expire(p, job, now)) {
        return;
    } else if (p->revoking || p->draining) {
        place_forget(p, job, now); /* comes back to whoever reads the partition next */
    } else if (kind == ANSWER_UNAUTHORIZED) {
        unauthorized(p, job, now);
    } else {
        try_again(p, job, now);
    }
}

void dispatch_read(struct pipeline *p, struct moment now)
{
    struct slice slice = {0};
    struct list_link *link;
    while ((link = list_first(&p->answered)) != NULL) {
        read_answer(p, job_of(link), now);
        if (slice_over(p, &slice)) {
            break;
        }
    }
}
