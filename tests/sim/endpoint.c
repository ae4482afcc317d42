#include "sim.h"

#include "presignd/flow/merchant_queue.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct call {
    struct sim_task task; /* first: the task is the call */
    void *cookie;
    struct sim_event *event;
    unsigned host, merchant;
    uint32_t assignment, serial;
    int64_t began_ms;
    enum answer_kind kind;
    bool lost;
    int status; /* 0: the default of its kind */
    enum answer_cause cause;
    bool late;    /* not sent, because the event expired before */
    bool unknown; /* the key that signed the answer is not known */
    int64_t expires_ms;
};

static uint64_t hash(const char *bytes, size_t len)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(1099511628211);
    }
    return hash | 1;
}

static struct sim_event *event_of(struct sim *sim, const struct attempt *attempt)
{
    const char *id = strstr(attempt->body, "\"plan_id\":");
    SIM_CHECK(sim, id != NULL, "a body without plan_id");
    long number = strtol(id + strlen("\"plan_id\":"), NULL, 10);
    SIM_CHECK(sim, number >= 0 && (size_t)number < sim->produced, "plan_id %ld", number);
    return &sim->events[number];
}

static unsigned merchant_of(const struct attempt *attempt)
{
    return (unsigned)strtoul(attempt->merchant->mchid, NULL, 10);
}

/* What must be true when a call begins. An event without mchid may have another merchant while the
 * default merchant is removed, and then another key. */
static void judge(struct sim *sim, const struct sim_member *member, const struct attempt *attempt,
                  struct sim_event *event)
{
    uint64_t body = hash(attempt->body, attempt->body_len);
    SIM_CHECK(sim, event->body_hash == 0 || event->body_hash == body,
              "another attempt has another body");
    event->body_hash = body;
    SIM_CHECK(sim, event->kind <= SIM_FAT, "a call for an event of kind %d", event->kind);
    SIM_CHECK(sim, event->final_in != member->assignment,
              "offset %" PRId64 " is called again after an answer that completed it",
              event->offset);
    bool strayed = log_names_no_merchant(sim, event->code) && (sim->merchants_gone & 1) != 0;
    unsigned merchant = merchant_of(attempt);
    SIM_CHECK(sim, member->code_in_flight[event->code] == 0 || strayed,
              "two calls of code %u in flight", event->code);
    SIM_CHECK(sim,
              event->code % 16 == 0 || strayed || event->offset >= member->code_last[event->code],
              "code %u: offset %" PRId64 " is called after %" PRId64, event->code, event->offset,
              member->code_last[event->code]);
    SIM_CHECK(sim, member->in_flight < sim->rules.limits.in_flight, "%u calls in flight",
              member->in_flight + 1);
    SIM_CHECK(sim, member->merchant_in_flight[merchant] < attempt->merchant->max_in_flight,
              "%u calls in flight for merchant %u", member->merchant_in_flight[merchant] + 1,
              merchant);
    SIM_CHECK(sim, merchant == event->merchant || strayed, "another merchant signs");
    SIM_CHECK(sim, attempt->merchant->mode == attempt->endpoint->mode,
              "a merchant of another mode");
    SIM_CHECK(sim, attempt->timeout_ms > 0 && attempt->host < sim->rules.limits.host_count,
              "host %u, %" PRId64 " ms", attempt->host, attempt->timeout_ms);
    SIM_CHECK(sim,
              attempt->expires_ms > sim->wall_ms &&
                  (event->expires_ms == 0 || attempt->expires_ms <= event->expires_ms),
              "offset %" PRId64 ": a call that may be sent until %" PRId64, event->offset,
              attempt->expires_ms);
    SIM_CHECK(sim, member->state != SIM_REVOKING && !member->draining,
              "a call begins during a revocation");
}

/* Also not a probe. */
static void judge_pauses(struct sim *sim, const struct sim_member *member,
                         const struct attempt *attempt)
{
    const struct pauses *pauses = pipeline_pauses(member->pipeline);
    SIM_CHECK(sim,
              pauses_find(pauses, PAUSE_ALL, "") == NULL &&
                  pauses_find(pauses, PAUSE_MERCHANT, attempt->merchant->mchid) == NULL &&
                  pauses_find(pauses, PAUSE_ENDPOINT, attempt->endpoint->name) == NULL,
              "a call of merchant %s begins while it is paused", attempt->merchant->mchid);
}

/* Only a merchant that is held by 401 may be called without a key: 401 needs none. */
static void judge_keys(struct sim *sim, const struct sim_member *member,
                       const struct attempt *attempt)
{
    const struct merchant_queue *queue = pipeline_queue(member->pipeline, attempt->merchant->mchid);
    SIM_CHECK(sim,
              member->known[merchant_of(attempt)] != 0 ||
                  hold_why_held(&queue->hold) == HOLD_WHY_UNAUTHORIZED,
              "a call of merchant %s begins without a key that verifies its answer",
              attempt->merchant->mchid);
}

static bool is_unanswered(struct sim *sim, int merchant)
{
    struct sim_merchant_weather *of = &sim->weather.of[merchant];
    int64_t pause_ms = sim->mono_ms - of->called_ms;
    of->called_ms = sim->mono_ms;
    return of->answered_once && pause_ms < 1000;
}

static enum answer_kind pick_kind(struct sim *sim, const struct sim_event *event)
{
    uint64_t roll = sim_below(sim, 1000);
    if (event->forged || is_unanswered(sim, event->merchant) ||
        (sim->weather.unauthorized >> event->merchant % 32 & 1) != 0) {
        return ANSWER_UNAUTHORIZED;
    }
    for (enum answer_kind kind = ANSWER_SUCCESS + 1; kind < ANSWER_KIND_COUNT; kind++) {
        if (roll < sim->weather.share[kind]) {
            return kind;
        }
        roll -= sim->weather.share[kind];
    }
    return ANSWER_SUCCESS;
}

/* A bucket with the tokens of one second. */
static bool is_allowed(struct sim *sim, unsigned merchant)
{
    double rate = sim->weather.of[merchant].allowed_per_s, *tokens = &sim->tokens[merchant];
    *tokens += (double)(sim->mono_ms - sim->tokens_ms[merchant]) * rate / 1000;
    *tokens = *tokens > rate ? rate : *tokens;
    sim->tokens_ms[merchant] = sim->mono_ms;
    if (rate != 0 && *tokens < 1) {
        return false;
    }
    *tokens -= 1;
    return true;
}

/* Faults of one merchant, one host or one event. They precede the random answers. */
static void befall(struct sim *sim, struct call *call)
{
    const struct sim_merchant_weather *of = &sim->weather.of[call->merchant];
    unsigned host = 1u << call->host;
    if (sim->weather.shortage) {
        call->kind = ANSWER_UNREACHABLE;
        call->cause = ANSWER_CAUSE_SHORTAGE;
    } else if ((sim->weather.names_gone & host) != 0) {
        call->kind = ANSWER_UNREACHABLE;
        call->cause = ANSWER_CAUSE_NAME;
    } else if ((sim->weather.hosts_down & host) != 0) {
        call->kind = ANSWER_UNREACHABLE;
    } else if ((of->hangs & host) != 0) {
        call->lost = true;
        call->kind = ANSWER_UNAVAILABLE;
    } else if ((of->stopped & host) != 0) {
        call->kind = ANSWER_UNAVAILABLE;
    } else if (!is_allowed(sim, call->merchant)) {
        call->kind = ANSWER_RATE_LIMITED;
    } else if ((of->unverifiable & host) != 0) {
        call->kind = ANSWER_UNVERIFIED;
        call->cause = ANSWER_CAUSE_KEYS;
    } else if (sim->weather.odd_504 != 0 &&
               (size_t)(call->event - sim->events) % sim->weather.odd_504 == 0) {
        call->kind = ANSWER_UNAVAILABLE;
        call->status = 504;
    }
}

void endpoint_call(void *caller, const struct attempt *attempt, void *cookie)
{
    struct sim_member *member = caller;
    struct sim *sim = member->sim;
    struct sim_event *event = event_of(sim, attempt);
    judge(sim, member, attempt, event);
    judge_pauses(sim, member, attempt);
    judge_keys(sim, member, attempt);
    struct call *call = mem_zalloc(1, sizeof *call);
    call->cookie = cookie;
    call->event = event;
    call->host = attempt->host;
    call->merchant = merchant_of(attempt);
    call->expires_ms = attempt->expires_ms;
    call->assignment = member->assignment;
    call->serial = (uint32_t)++sim->calls;
    call->began_ms = sim->mono_ms;
    call->lost = sim->weather.down ? sim_chance(sim, 300) : sim_chance(sim, sim->weather.lost);
    call->kind = call->lost          ? ANSWER_UNAVAILABLE
                 : sim->weather.down ? ANSWER_UNREACHABLE
                                     : pick_kind(sim, event);
    if (!sim->weather.down) {
        befall(sim, call);
    }
    sim->merchant_calls[call->merchant]++;
    const int64_t own_ms = sim->weather.of[call->merchant].latency_ms;
    int64_t delay = (own_ms != 0 ? own_ms : sim->weather.latency_ms) +
                    (int64_t)sim_below(sim, (uint64_t)sim->weather.spread_ms + 1);
    if ((sim->weather.slow >> call->merchant % 32 & 1) != 0) {
        delay = SIM_SLOW_MS;
    }
    if (call->lost || delay > attempt->timeout_ms) {
        delay = attempt->timeout_ms;
        call->kind = ANSWER_UNAVAILABLE;
        call->lost = true;
    }
    int64_t left = attempt->expires_ms - sim->wall_ms;
    if (left <= attempt->timeout_ms && sim_chance(sim, 500)) {
        delay = left;
        call->kind = ANSWER_UNREACHABLE;
        call->late = true;
        call->lost = false;
    }
    member->in_flight++;
    member->merchant_in_flight[call->merchant]++;
    member->code_in_flight[event->code]++;
    member->code_last[event->code] = event->offset;
    sim_task_set(sim, &call->task, SIM_ANSWER, member->index, delay);
}

static struct answer write_answer(struct sim *sim, const struct call *call)
{
    static const int status[ANSWER_KIND_COUNT] = {
        [ANSWER_SUCCESS] = 200,      [ANSWER_REJECTED] = 400,    [ANSWER_UNAUTHORIZED] = 401,
        [ANSWER_RATE_LIMITED] = 429, [ANSWER_UNAVAILABLE] = 503, [ANSWER_UNVERIFIED] = 200,
        [ANSWER_UNEXPECTED] = 302,   [ANSWER_SIGN_TEST] = 200};
    const struct sim_merchant_weather *of = &sim->weather.of[call->merchant];
    bool retry_after = sim_chance(sim, sim->weather.retry_after);
    bool told = of->retry_after_ms != 0 &&
                (call->kind == ANSWER_RATE_LIMITED || call->kind == ANSWER_UNAVAILABLE);
    struct answer answer = {
        .kind = call->kind,
        .call_state = call->kind == ANSWER_UNREACHABLE ? CALL_NOT_SENT
                      : status[call->kind] / 100 == 4  ? CALL_ANSWERED
                                                       : CALL_UNKNOWN,
        .cause = call->cause,
        .verify = call->unknown ? VERIFY_UNKNOWN_SERIAL : VERIFY_OK,
        .status = call->lost          ? 0
                  : call->status != 0 ? call->status
                                      : status[call->kind],
        .counts_as_outage = !call->late && call->cause != ANSWER_CAUSE_SHORTAGE &&
                            (call->kind == ANSWER_UNREACHABLE || call->kind == ANSWER_UNAVAILABLE),
        .detail = "simulated",
        .retry_after_ms = told          ? of->retry_after_ms
                          : retry_after ? (int64_t)sim_below(sim, 60) * 1000
                                        : -1,
        .is_signed = sim_chance(sim, 500),
        .issued_ms = sim->wall_ms,
        .duration_ms = sim->mono_ms - call->began_ms,
        .host = "sim",
    };
    if (answer.status >= 400 && sim_chance(sim, 500)) {
        (void)snprintf(answer.code, sizeof answer.code, "SIMULATED");
        (void)snprintf(answer.message, sizeof answer.message, "simulated");
    }
    if (answer.status != 0 && sim_chance(sim, 500)) {
        (void)snprintf(answer.request_id, sizeof answer.request_id, "R%u", call->serial);
    }
    if (call->kind == ANSWER_SUCCESS) {
        answer.id_value = mem_printf("X%tdN%u", call->event - sim->events, call->serial);
        answer.body = mem_printf("{\"pre_entrustweb_id\":\"%s\"}", answer.id_value);
        answer.body_len = strlen(answer.body);
    }
    return answer;
}

static bool completes(enum answer_kind kind)
{
    return kind == ANSWER_SUCCESS || (kind != ANSWER_UNAUTHORIZED && !retry_rule(kind).retry);
}

/* The network sent the request twice and the endpoint acted twice. The second answer comes on a
 * closed connection, so its id must not be published. */
static void double_answer(struct sim *sim, struct call *call)
{
    if (call->kind == ANSWER_SUCCESS && sim_chance(sim, sim->weather.doubled)) {
        sim->doubled++;
        /* The faster answer is received. */
        call->serial = sim_chance(sim, 500) ? (uint32_t)++sim->calls : call->serial;
    }
}

void endpoint_rotate(struct sim *sim, size_t merchant)
{
    sim->signs[merchant] = (sim->signs[merchant] + 1) % 32;
    sim->listed[merchant] |= 1u << sim->signs[merchant];
}

/* A result whose signature no known key verifies is none. */
static void sign_answer(struct sim *sim, const struct sim_member *member, struct call *call)
{
    bool moved = sim_chance(sim, sim->weather.of[call->merchant].moved);
    unsigned key = (sim->signs[call->merchant] + moved) % 32;
    if (call->kind == ANSWER_SUCCESS && (member->known[call->merchant] & 1u << key) == 0) {
        call->kind = ANSWER_UNVERIFIED;
        call->cause = ANSWER_CAUSE_KEYS;
        call->unknown = true;
    }
}

/* If the process has ended (and its job with it), the answer is dropped. */
void endpoint_answer(struct sim *sim, struct sim_task *task)
{
    struct call *call = (struct call *)task;
    struct sim_member *member = &sim->members[task->member];
    if (member->alive && member->epoch == task->epoch) {
        sign_answer(sim, member, call);
        double_answer(sim, call);
        struct answer answer = write_answer(sim, call);
        struct sim_event *event = call->event;
        member->in_flight--;
        member->merchant_in_flight[call->merchant]--;
        member->code_in_flight[event->code]--;
        /* A late event ends as expired, after any attempts; not if the clock went back. */
        if (!call->late || sim->wall_ms < call->expires_ms) {
            event->told |= (uint16_t)(1u << call->kind);
        }
        sim->merchant_told[call->merchant] |= (uint16_t)(1u << call->kind);
        if (call->kind == ANSWER_SUCCESS) {
            event->told_serial[member->index] = call->serial;
        }
        if (completes(call->kind)) {
            event->final_in = call->assignment;
        }
        member->answered++;
        pipeline_answered(member->pipeline, call->cookie, &answer);
        answer_deinit(&answer);
    }
    free(call);
}
