#include "presignd/flow/hold.h"

#include "presignd/base/mem.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

/* Bounds of the time between two probes of a held merchant: a fixed key is noticed during the hold,
 * and WeChat Pay gets few calls that fail. */
#define INTERVAL_MIN_MS 100
#define INTERVAL_MAX_MS 30000
#define UNBOUNDED       (1u << 30)

/* --- the two tables ----------------------------------------------------------------------- */

enum action {
    STAY,
    RAISE,    /* an answer: more calls may be in flight */
    BACK_OFF, /* paused by a 429 */
    REOPEN,   /* the pause is over */
    HOLD,     /* held because of the event */
    SWITCH,   /* still held, but for the other reason */
    DELAY,    /* a 429 while held: the next probe waits for Retry-After */
    EXPIRE,   /* the hold's time is over */
    RESTART,  /* the hold begins again, with a probe */
    RELEASE,  /* the hold ends */
    RESET,    /* as a new merchant */
};

/* Compiles only with a row for each event and a column for each state. While paced, no call begins,
 * so only answers to older calls come; likewise without keys. A 429 may come before the signature
 * was checked. An error's answer need not be signed, so HOLD_EVENT_ANSWERED proves nothing about
 * verifying keys. */
static enum action action_of(enum hold_state state, enum hold_event event)
{
#define ON(event_id, ...)                                              \
    case HOLD_EVENT_##event_id: {                                      \
        static const enum action actions[] = {__VA_ARGS__};            \
        _Static_assert(ARRAY_LENGTH(actions) == HOLD_STATE_COUNT, ""); \
        return actions[state];                                         \
    }
    switch (event) {
        /* clang-format off */
        /*               open      paced     unauthorized, over     unverifiable, over     keyless, over */
        ON(NONE,         STAY,     STAY,     STAY,         STAY,    STAY,         STAY,    STAY,    STAY)
        ON(VERIFIED,     RAISE,    STAY,     RELEASE,      RELEASE, RELEASE,      RELEASE, STAY,    STAY)
        ON(ANSWERED,     RAISE,    STAY,     RELEASE,      RELEASE, STAY,         STAY,    STAY,    STAY)
        ON(FAILED,       RAISE,    STAY,     STAY,         STAY,    STAY,         STAY,    STAY,    STAY)
        ON(LIMITED,      BACK_OFF, BACK_OFF, DELAY,        DELAY,   DELAY,        DELAY,   STAY,    STAY)
        ON(UNAUTHORIZED, HOLD,     STAY,     STAY,         STAY,    SWITCH,       SWITCH,  STAY,    STAY)
        ON(UNVERIFIABLE, HOLD,     STAY,     SWITCH,       SWITCH,  STAY,         STAY,    STAY,    STAY)
        ON(KEYLESS,      HOLD,     HOLD,     STAY,         STAY,    SWITCH,       SWITCH,  STAY,    STAY)
        ON(KEYS,         STAY,     STAY,     STAY,         STAY,    RESTART,      RESTART, RELEASE, RELEASE)
        ON(TIME,         STAY,     REOPEN,   EXPIRE,       STAY,    EXPIRE,       STAY,    EXPIRE,  STAY)
        ON(RESUMED,      STAY,     STAY,     RESTART,      RESTART, RESTART,      RESTART, RESTART, RESTART)
        ON(RESET,        RESET,    RESET,    RESET,        RESET,   RESET,        RESET,   RESET,   RESET)
        /* clang-format on */
    case HOLD_EVENT_COUNT:
        break;
    }
#undef ON
    abort();
}

static bool is_over(enum hold_state state)
{
    return state == HOLD_UNAUTHORIZED_OVER || state == HOLD_UNVERIFIABLE_OVER ||
           state == HOLD_KEYLESS_OVER;
}

static bool is_unauthorized(enum hold_state state)
{
    return state == HOLD_UNAUTHORIZED || state == HOLD_UNAUTHORIZED_OVER;
}

static bool is_keyless(enum hold_state state)
{
    return state == HOLD_KEYLESS || state == HOLD_KEYLESS_OVER;
}

/* The state of the same cause, before or after the end of the hold. */
static enum hold_state held_state(enum hold_state state, bool over)
{
    if (is_unauthorized(state)) {
        return over ? HOLD_UNAUTHORIZED_OVER : HOLD_UNAUTHORIZED;
    }
    if (is_keyless(state)) {
        return over ? HOLD_KEYLESS_OVER : HOLD_KEYLESS;
    }
    return over ? HOLD_UNVERIFIABLE_OVER : HOLD_UNVERIFIABLE;
}

/* The state that the event leads to. */
static enum hold_state held_by(enum hold_event event)
{
    return event == HOLD_EVENT_UNAUTHORIZED ? HOLD_UNAUTHORIZED
           : event == HOLD_EVENT_KEYLESS    ? HOLD_KEYLESS
                                            : HOLD_UNVERIFIABLE;
}

enum hold_state hold_next_state(enum hold_state state, enum hold_event event)
{
    switch (action_of(state, event)) {
    case STAY:
    case RAISE:
    case DELAY:
        return state;
    case BACK_OFF:
        return HOLD_PACED;
    case HOLD:
        return held_by(event);
    case SWITCH:
        return held_state(held_by(event), is_over(state));
    case RESTART:
        return held_state(state, false);
    case EXPIRE:
        return held_state(state, true);
    case REOPEN:
    case RELEASE:
    case RESET:
        break;
    }
    return HOLD_OPEN;
}

enum circuit_action {
    KEEP,
    CLEAR, /* no outages in a row any more */
    COUNT, /* one more outage */
    BREAK,
    POSTPONE, /* the next probe is later */
    CLOSE,
};

static enum circuit_action circuit_action_of(bool broken, enum circuit_event event)
{
    switch (event) {
    case CIRCUIT_EVENT_ANSWER:
        return broken ? CLOSE : CLEAR;
    case CIRCUIT_EVENT_OUTAGE:
        return COUNT;
    case CIRCUIT_EVENT_TRIP:
        return broken ? COUNT : BREAK;
    case CIRCUIT_EVENT_PROBE:
        return broken ? POSTPONE : KEEP;
    case CIRCUIT_EVENT_COUNT:
        break;
    }
    abort();
}

bool circuit_next_broken(bool broken, enum circuit_event event)
{
    enum circuit_action action = circuit_action_of(broken, event);
    return action == BREAK || (broken && action != CLOSE);
}

/* --- circuits ----------------------------------------------------------------------------- */

static void schedule_probe(struct hold_circuit *circuit, int64_t at_ms, int64_t now_ms)
{
    circuit->probe_ms = at_ms;
    circuit->scheduled_ms = now_ms;
}

static void delay_probe(struct hold_circuit *circuit, int64_t now_ms)
{
    schedule_probe(circuit, now_ms + circuit->delay_ms, now_ms);
    circuit->delay_ms *= 2;
    if (circuit->delay_ms > HOLD_PROBE_MAX_MS) {
        circuit->delay_ms = HOLD_PROBE_MAX_MS;
    }
}

static void circuit_take(struct hold_circuit *circuit, enum circuit_event event, int64_t now_ms)
{
    enum circuit_action action = circuit_action_of(circuit->broken, event);
    circuit->broken = circuit_next_broken(circuit->broken, event);
    switch (action) {
    case KEEP:
        break;
    case CLOSE:
        circuit->closed_ms = now_ms;
        circuit->outages = 0;
        break;
    case CLEAR:
        circuit->outages = 0;
        break;
    case COUNT:
        circuit->outages++;
        break;
    case BREAK:
        circuit->outages++;
        circuit->since_ms = now_ms;
        circuit->delay_ms = HOLD_PROBE_FIRST_MS;
        delay_probe(circuit, now_ms);
        break;
    case POSTPONE:
        delay_probe(circuit, now_ms);
        break;
    }
}

/* --- hosts -------------------------------------------------------------------------------- */

static void reset_hosts(struct hold *hold)
{
    for (unsigned i = 0; i < HOLD_HOSTS_MAX; i++) {
        hold->hosts[i] = (struct hold_host){
            .circuit = {.closed_ms = INT64_MIN},
            .recovered_ms = INT64_MIN,
            .silent_since_ms = -1,
            .answered_ms = -1,
        };
    }
}

void hold_init(struct hold *hold, const struct hold_rules *rules)
{
    assert(rules->host_count >= 1 && rules->host_count <= HOLD_HOSTS_MAX);
    *hold = (struct hold){
        .rules = *rules, .answered_ms = INT64_MIN / 2, .other_answered_ms = INT64_MIN / 2};
    reset_hosts(hold);
}

void hold_configure(struct hold *hold, const struct hold_rules *rules)
{
    if (rules->host_count != hold->rules.host_count) {
        reset_hosts(hold);
    }
    hold->rules = *rules;
}

/* No other merchant was answered lately. A merchant without calls reports no outages. */
static bool is_only_active(const struct hold *hold, const struct hold_merchant *merchant,
                           int64_t now_ms)
{
    int64_t at_ms = hold->answered == merchant ? hold->other_answered_ms : hold->answered_ms;
    return now_ms - at_ms >= HOLD_ACTIVE_MS;
}

/* False if only one merchant reported the outage: events of the others may be unread because of it.
 */
static bool broken_for_all(const struct hold *hold, unsigned host)
{
    const struct hold_host *at = &hold->hosts[host];
    return at->circuit.broken && !at->one_reporter;
}

static void host_answered(struct hold *hold, const struct hold_merchant *merchant, unsigned host,
                          int64_t now_ms)
{
    struct hold_host *at = &hold->hosts[host];
    at->recovered_ms = broken_for_all(hold, host) ? now_ms : at->recovered_ms;
    circuit_take(&at->circuit, CIRCUIT_EVENT_ANSWER, now_ms);
    at->silent_since_ms = -1;
    at->answered_ms = now_ms;
    at->reporter = NULL;
    at->one_reporter = false;
    if (hold->answered != merchant) {
        hold->other_answered_ms = hold->answered_ms;
        hold->answered = merchant;
    }
    hold->answered_ms = now_ms;
}

/* Whether this outage of the merchant breaks the host for all. */
static bool breaks_host(const struct hold *hold, struct hold_host *at,
                        const struct hold_merchant *merchant, bool broken_for_it, int64_t now_ms)
{
    bool others = at->reporter != NULL && at->reporter != merchant;
    if (at->circuit.broken) {
        at->one_reporter = at->one_reporter && !others;
        return false;
    }
    if (!broken_for_it) {
        return false;
    }
    at->reporter = at->reporter == NULL ? merchant : at->reporter;
    at->one_reporter = !others;
    return (others || is_only_active(hold, merchant, now_ms)) &&
           now_ms - at->silent_since_ms >= HOLD_SILENT_MS;
}

/* A name that cannot be resolved does not depend on the merchant: one call suffices to know. */
static void host_outage(struct hold *hold, const struct hold_merchant *merchant,
                        struct hold_ticket ticket, const struct hold_end *end)
{
    struct hold_host *at = &hold->hosts[ticket.host];
    if (ticket.began_ms < at->circuit.closed_ms) {
        return;
    }
    if (at->silent_since_ms < 0) {
        bool before = ticket.began_ms < at->answered_ms;
        at->silent_since_ms = before ? at->answered_ms : ticket.began_ms;
    }
    bool trips =
        breaks_host(hold, at, merchant, merchant->circuits[ticket.host].broken, end->now_ms);
    if (end->answer->cause == ANSWER_CAUSE_NAME) {
        trips = true;
        at->one_reporter = false;
    }
    circuit_take(&at->circuit, trips ? CIRCUIT_EVENT_TRIP : CIRCUIT_EVENT_OUTAGE, end->now_ms);
}

/* --- a merchant at a host ----------------------------------------------------------------- */

/* Retry-After of a 5xx; -1: none. 500 is no outage: a merchant without the product's permission
 * gets it for days. */
static int64_t outage_retry_after_ms(const struct answer *answer)
{
    return answer->counts_as_outage && answer->status >= 500 ? answer->retry_after_ms : -1;
}

/* Retry-After is limited by the time of the event's last attempt and by HOLD_RETRY_AFTER_MAX_MS. */
static void apply_retry_after(struct hold *hold, struct hold_merchant *merchant, unsigned host,
                              const struct hold_end *end)
{
    struct hold_circuit *own = &merchant->circuits[host], *all = &hold->hosts[host].circuit;
    int64_t wait_ms = outage_retry_after_ms(end->answer);
    wait_ms = wait_ms < HOLD_RETRY_AFTER_MAX_MS ? wait_ms : HOLD_RETRY_AFTER_MAX_MS;
    int64_t at_ms = end->now_ms + wait_ms;
    at_ms = end->last_ms > end->now_ms && end->last_ms < at_ms ? end->last_ms : at_ms;
    if (own->broken && at_ms > own->probe_ms) {
        schedule_probe(own, at_ms, end->now_ms);
    }
    if (all->broken && at_ms > all->probe_ms) {
        schedule_probe(all, at_ms, end->now_ms);
    }
}

static void outage(struct hold *hold, struct hold_merchant *merchant, struct hold_ticket ticket,
                   const struct hold_end *end)
{
    struct hold_circuit *own = &merchant->circuits[ticket.host];
    merchant->unreachable = end->answer->kind == ANSWER_UNREACHABLE;
    bool asked = outage_retry_after_ms(end->answer) >= 0;
    if (end->own_outage && !asked) {
        return;
    }
    if (ticket.began_ms >= own->closed_ms && end->answer->cause != ANSWER_CAUSE_NAME) {
        bool trips = asked || own->outages + 1 >= HOLD_OUTAGES;
        circuit_take(own, trips ? CIRCUIT_EVENT_TRIP : CIRCUIT_EVENT_OUTAGE, end->now_ms);
    }
    host_outage(hold, merchant, ticket, end);
    if (asked) {
        apply_retry_after(hold, merchant, ticket.host, end);
    }
}

/* A probe that was not sent for a local reason says nothing about the host: the next one may go at
 * once. After a shortage of descriptors it waits, since it could not be sent either. */
static void repeat_probe(struct hold *hold, struct hold_merchant *merchant,
                         struct hold_ticket ticket, const struct hold_end *end)
{
    if (!ticket.probe || end->answer->cause == ANSWER_CAUSE_SHORTAGE) {
        return;
    }
    merchant->probe_ms = end->now_ms < merchant->probe_ms ? end->now_ms : merchant->probe_ms;
    merchant->circuits[ticket.host].probe_ms = end->now_ms;
    hold->hosts[ticket.host].circuit.probe_ms = end->now_ms;
}

/* What the answer says about the host. */
static void learn_host(struct hold *hold, struct hold_merchant *merchant, struct hold_ticket ticket,
                       const struct hold_end *end)
{
    if (ticket.host >= hold->rules.host_count) {
        return; /* a reload removed the host during the call */
    }
    if (end->answer->counts_as_outage && end->answer->cause != ANSWER_CAUSE_SHORTAGE) {
        outage(hold, merchant, ticket, end);
    } else if (end->answer->call_state == CALL_NOT_SENT) {
        repeat_probe(hold, merchant, ticket, end);
    } else {
        merchant->reached_ms = end->now_ms;
        circuit_take(&merchant->circuits[ticket.host], CIRCUIT_EVENT_ANSWER, end->now_ms);
        host_answered(hold, merchant, ticket.host, end->now_ms);
    }
}

/* --- merchants ---------------------------------------------------------------------------- */

void hold_merchant_reset_hosts(struct hold_merchant *merchant)
{
    for (unsigned i = 0; i < HOLD_HOSTS_MAX; i++) {
        merchant->circuits[i] = (struct hold_circuit){.closed_ms = INT64_MIN};
    }
}

void hold_merchant_init(struct hold_merchant *merchant)
{
    *merchant =
        (struct hold_merchant){.answered_ms = -1, .reached_ms = -1, .slow_start_limit = UNBOUNDED};
    hold_merchant_reset_hosts(merchant);
}

int64_t hold_probe_interval_ms(const struct hold *hold)
{
    int64_t interval = hold->rules.hold_ms / 10;
    return interval < INTERVAL_MIN_MS   ? INTERVAL_MIN_MS
           : interval > INTERVAL_MAX_MS ? INTERVAL_MAX_MS
                                        : interval;
}

/* Half is fixed and half is random, so that merchants do not all retry at the same moment. */
static int64_t next_backoff(const struct hold *hold, struct hold_merchant *merchant,
                            uint64_t random)
{
    int64_t most = hold->rules.max_delay_ms, next = merchant->backoff_ms * 2;
    next = next == 0 ? hold->rules.base_delay_ms : next;
    merchant->backoff_ms = next < most ? next : most;
    int64_t half = merchant->backoff_ms / 2;
    return 1 + half + (int64_t)(random % (uint64_t)(merchant->backoff_ms - half + 1));
}

/* Retry-After is limited by the time of the event's last attempt. */
static int64_t pause_end_ms(const struct hold_end *end, int64_t backoff_ms)
{
    assert(end != NULL);
    int64_t asked_ms = end->answer->retry_after_ms;
    if (asked_ms < 0) {
        return end->now_ms + backoff_ms;
    }
    int64_t most_ms = end->last_ms > end->now_ms ? end->last_ms - end->now_ms : 0;
    asked_ms = asked_ms < most_ms ? asked_ms : most_ms;
    return end->now_ms + (asked_ms > backoff_ms ? asked_ms : backoff_ms);
}

/* An answer to a call that was in flight when the pause began counts only if its Retry-After is
 * longer. When Retry-After is kept in full, the backoff starts again from its base. */
static void back_off(const struct hold *hold, struct hold_merchant *merchant, bool stale,
                     const struct hold_end *end)
{
    assert(end != NULL);
    if (stale && end->answer->retry_after_ms < 0) {
        return;
    }
    if (merchant->backoff_ms == 0) {
        merchant->since_ms = end->now_ms;
    }
    int64_t asked_ms = end->answer->retry_after_ms;
    if (asked_ms >= 0 && asked_ms <= end->last_ms - end->now_ms) {
        merchant->backoff_ms = 0;
    }
    int64_t until_ms = pause_end_ms(end, next_backoff(hold, merchant, end->random));
    if (!stale || until_ms > merchant->until_ms) {
        merchant->until_ms = until_ms;
    }
}

static void begin_epoch(struct hold_merchant *merchant)
{
    merchant->epoch++;
    merchant->slow_start = true;
    merchant->in_flight = 0;
}

static void release(struct hold_merchant *merchant, enum hold_state from, int64_t now_ms)
{
    if (from >= HOLD_UNAUTHORIZED && !is_over(from)) {
        merchant->past_holds_ms += now_ms - merchant->since_ms;
    }
    merchant->unverified = merchant->unverified_hosts = 0;
    merchant->backoff_ms = 0;
    begin_epoch(merchant);
}

static void raise_slow_start_limit(struct hold_merchant *merchant)
{
    merchant->slow_start_limit =
        merchant->slow_start_limit < UNBOUNDED ? merchant->slow_start_limit * 2 : UNBOUNDED;
    merchant->backoff_ms = 0;
}

/* How long a hold lasts before its events fail. */
static int64_t hold_time_ms(const struct hold *hold, enum hold_state state)
{
    int64_t hold_ms = hold->rules.hold_ms;
    return hold_ms == 0 && is_keyless(state) ? HOLD_KEYLESS_MS : hold_ms;
}

/* `end` is NULL if the event is not an answer. `hold` is NULL where no probe follows. */
static void merchant_take(const struct hold *hold, struct hold_merchant *merchant,
                          enum hold_event event, bool stale, const struct hold_end *end,
                          int64_t now_ms)
{
    enum hold_state from = merchant->state;
    merchant->state = hold_next_state(from, event);
    switch (action_of(from, event)) {
    case STAY:
    case SWITCH:
        break;
    case RAISE:
        raise_slow_start_limit(merchant);
        break;
    case BACK_OFF:
        if (from == HOLD_OPEN) {
            begin_epoch(merchant);
        }
        back_off(hold, merchant, stale, end);
        break;
    case REOPEN:
        begin_epoch(merchant);
        break;
    case HOLD:
        begin_epoch(merchant);
        merchant->since_ms = now_ms;
        merchant->probe_ms = hold == NULL ? now_ms : now_ms + hold_probe_interval_ms(hold);
        break;
    case DELAY: {
        int64_t until_ms = pause_end_ms(end, 0);
        merchant->probe_ms = until_ms > merchant->probe_ms ? until_ms : merchant->probe_ms;
        break;
    }
    case EXPIRE: {
        /* Counted from the hold's end, which is noticed later if no event waited. */
        int64_t probe_ms = merchant->since_ms + hold_time_ms(hold, from) + HOLD_RECOVERY_MS;
        merchant->probe_ms = probe_ms > merchant->probe_ms ? probe_ms : merchant->probe_ms;
        merchant->past_holds_ms += now_ms - merchant->since_ms;
        break;
    }
    case RESTART:
        merchant->past_holds_ms += is_over(from) ? 0 : now_ms - merchant->since_ms;
        merchant->since_ms = merchant->probe_ms = now_ms;
        break;
    case RELEASE:
    case RESET:
        release(merchant, from, now_ms);
        break;
    }
}

void hold_merchant_reset(struct hold_merchant *merchant, int64_t now_ms)
{
    merchant_take(NULL, merchant, HOLD_EVENT_RESET, false, NULL, now_ms);
    merchant->slow_start_limit = UNBOUNDED;
    merchant->slow_start = false;
    merchant->answered_ms = -1;
}

void hold_merchant_resumed(struct hold_merchant *merchant, int64_t now_ms)
{
    merchant_take(NULL, merchant, HOLD_EVENT_RESUMED, false, NULL, now_ms);
}

void hold_merchant_has_keys(struct hold_merchant *merchant, bool has_keys, int64_t now_ms)
{
    if (has_keys == is_keyless(merchant->state)) {
        enum hold_event event = has_keys ? HOLD_EVENT_KEYS : HOLD_EVENT_KEYLESS;
        merchant_take(NULL, merchant, event, false, NULL, now_ms);
    }
}

void hold_merchant_new_keys(struct hold_merchant *merchant, int64_t now_ms)
{
    merchant->unverified = merchant->unverified_hosts = 0;
    if (!is_keyless(merchant->state)) {
        merchant_take(NULL, merchant, HOLD_EVENT_KEYS, false, NULL, now_ms);
    }
}

/* Every host that works must have given such answers: one host alone may be wrong itself. */
static enum hold_event unverifiable(const struct hold *hold, struct hold_merchant *merchant,
                                    unsigned host, int64_t now_ms)
{
    merchant->unverified++;
    merchant->unverified_hosts |= 1u << host;
    merchant->unverified_ms = now_ms;
    bool all = true;
    for (unsigned i = 0; i < hold->rules.host_count; i++) {
        all = all &&
              ((merchant->unverified_hosts & 1u << i) != 0 || hold_broken_at(hold, merchant, i));
    }
    bool enough = hold_is_held(merchant) || (all && merchant->unverified >= HOLD_UNVERIFIED);
    return enough && hold->rules.hold_ms > 0 ? HOLD_EVENT_UNVERIFIABLE : HOLD_EVENT_NONE;
}

static enum hold_event event_of(const struct hold *hold, struct hold_merchant *merchant,
                                unsigned host, const struct hold_end *end)
{
    const struct answer *answer = end->answer;
    switch (answer->kind) {
    case ANSWER_SUCCESS:
        return HOLD_EVENT_VERIFIED;
    case ANSWER_UNAUTHORIZED:
        return end->merchant_401 && hold->rules.hold_ms > 0 ? HOLD_EVENT_UNAUTHORIZED
                                                            : HOLD_EVENT_NONE;
    case ANSWER_RATE_LIMITED:
        return HOLD_EVENT_LIMITED;
    case ANSWER_UNAVAILABLE:
        return answer->counts_as_outage ? HOLD_EVENT_NONE : HOLD_EVENT_FAILED;
    case ANSWER_UNREACHABLE:
        return HOLD_EVENT_NONE;
    default:
        break;
    }
    if (answer->kind == ANSWER_UNVERIFIED && answer->cause == ANSWER_CAUSE_KEYS) {
        return unverifiable(hold, merchant, host, end->now_ms);
    }
    if (answer->is_signed) {
        return HOLD_EVENT_VERIFIED;
    }
    /* A 200 without a signature may come from an intermediary. A signature test says nothing about
     * our keys. */
    bool no_proof = answer->kind == ANSWER_UNVERIFIED || answer->kind == ANSWER_SIGN_TEST;
    return no_proof ? HOLD_EVENT_FAILED : HOLD_EVENT_ANSWERED;
}

/* Answers to calls of an earlier epoch are ignored: the keys may have changed since, and a call
 * that was in flight when a hold began must neither end it nor begin it again. */
static void learn_merchant(const struct hold *hold, struct hold_merchant *merchant,
                           struct hold_ticket ticket, const struct hold_end *end)
{
    bool stale = hold_is_stale(merchant, ticket);
    bool limited = end->answer->kind == ANSWER_RATE_LIMITED;
    if (stale && !(limited && merchant->state == HOLD_PACED)) {
        return;
    }
    enum hold_event event = event_of(hold, merchant, ticket.host, end);
    if (event == HOLD_EVENT_VERIFIED || event == HOLD_EVENT_ANSWERED) {
        merchant->answered_ms = end->now_ms;
    }
    if (event == HOLD_EVENT_VERIFIED) {
        merchant->unverified = 0;
        merchant->unverified_hosts &= ~(1u << ticket.host);
    }
    merchant_take(hold, merchant, event, stale, end, end->now_ms);
}

/* --- calls -------------------------------------------------------------------------------- */

int64_t hold_until_ms(const struct hold *hold, const struct hold_merchant *merchant)
{
    bool counts = hold_is_held(merchant) && !hold_is_over(merchant);
    return counts ? merchant->since_ms + hold_time_ms(hold, merchant->state) : INT64_MAX;
}

static void advance(const struct hold *hold, struct hold_merchant *merchant, int64_t now_ms)
{
    bool unpaced = merchant->state == HOLD_PACED && now_ms >= merchant->until_ms;
    if (unpaced || now_ms >= hold_until_ms(hold, merchant)) {
        merchant_take(hold, merchant, HOLD_EVENT_TIME, false, NULL, now_ms);
    }
}

/* A host that only one merchant reported may still answer the others: they probe at once. After a
 * host's circuit has closed, the merchants' circuits there are probed at once. */
static int64_t probe_due_ms(const struct hold *hold, const struct hold_merchant *merchant,
                            unsigned host)
{
    const struct hold_host *at = &hold->hosts[host];
    const struct hold_circuit *own = &merchant->circuits[host];
    if (at->circuit.broken) {
        return at->one_reporter && at->reporter != merchant ? 0 : at->circuit.probe_ms;
    }
    return at->circuit.closed_ms > own->scheduled_ms ? 0 : own->probe_ms;
}

/* The first host that is open or due for a probe. After unverifiable answers of the first host, the
 * other one comes first for HOLD_RECOVERY_MS. */
static struct hold_permit ask_hosts(const struct hold *hold, const struct hold_merchant *merchant,
                                    int64_t now_ms)
{
    struct hold_permit permit = {.verdict = HOLD_WAIT, .wait_ms = INT64_MAX};
    unsigned count = hold->rules.host_count;
    bool may_probe = !merchant->probing && hold->probes < hold->rules.probes_max;
    bool other =
        merchant->unverified_hosts == 1 && now_ms - merchant->unverified_ms < HOLD_RECOVERY_MS;
    for (unsigned i = 0; i < count; i++) {
        unsigned host = other ? (i + 1) % count : i;
        permit.host = host;
        if (!hold_broken_at(hold, merchant, host)) {
            permit.verdict = HOLD_CALL;
            return permit;
        }
        int64_t due_ms = probe_due_ms(hold, merchant, host);
        if (may_probe && now_ms >= due_ms) {
            permit.verdict = HOLD_PROBE;
            return permit;
        }
        permit.wait_ms = due_ms < permit.wait_ms ? due_ms : permit.wait_ms;
    }
    permit.wait_ms = may_probe ? permit.wait_ms : 0;
    return permit;
}

/* A merchant without keys waits for one. The clock may bring it, so it is asked again meanwhile. */
static struct hold_permit ask_keyless(const struct hold *hold, const struct hold_merchant *merchant,
                                      int64_t now_ms)
{
    int64_t until_ms = hold_until_ms(hold, merchant);
    int64_t again_ms = now_ms + hold_probe_interval_ms(hold);
    return (struct hold_permit){.verdict = hold_is_over(merchant) ? HOLD_FAIL : HOLD_WAIT,
                                .wait_ms = until_ms < again_ms ? until_ms : again_ms};
}

/* A held merchant waits for its next probe or for the end of the hold. */
static struct hold_permit ask_held(const struct hold *hold, struct hold_merchant *merchant,
                                   int64_t now_ms)
{
    int64_t until_ms = hold_until_ms(hold, merchant);
    struct hold_permit permit = {.verdict = HOLD_WAIT};
    if (!merchant->probing && now_ms >= merchant->probe_ms &&
        hold->probes < hold->rules.probes_max) {
        permit = ask_hosts(hold, merchant, now_ms);
        permit.verdict = permit.verdict == HOLD_WAIT ? HOLD_WAIT : HOLD_PROBE;
    } else if (!merchant->probing) {
        permit.wait_ms = merchant->probe_ms > now_ms ? merchant->probe_ms : 0;
    }
    if (permit.verdict == HOLD_WAIT) {
        bool first = permit.wait_ms == 0 || until_ms < permit.wait_ms;
        permit.wait_ms = first && until_ms != INT64_MAX ? until_ms : permit.wait_ms;
        permit.verdict = hold_is_over(merchant) ? HOLD_FAIL : HOLD_WAIT;
    }
    return permit;
}

/* After a hold or an outage the merchant begins with one call in flight. */
static struct hold_permit ask_open(const struct hold *hold, struct hold_merchant *merchant,
                                   int64_t now_ms)
{
    struct hold_permit permit = ask_hosts(hold, merchant, now_ms);
    bool all_broken = hold_why(hold, merchant) == HOLD_WHY_ENDPOINT;
    if (all_broken && !merchant->slow_start) {
        begin_epoch(merchant);
    } else if (!all_broken && merchant->slow_start) {
        merchant->slow_start = false;
        merchant->slow_start_limit = 1;
    }
    if (permit.verdict == HOLD_CALL && merchant->in_flight >= merchant->slow_start_limit) {
        return (struct hold_permit){.verdict = HOLD_WAIT};
    }
    return permit;
}

struct hold_permit hold_ask(struct hold *hold, struct hold_merchant *merchant, int64_t now_ms)
{
    advance(hold, merchant, now_ms);
    if (now_ms < hold->shortage_ms) {
        return (struct hold_permit){.verdict = HOLD_WAIT, .wait_ms = hold->shortage_ms};
    }
    if (merchant->state == HOLD_PACED) {
        return (struct hold_permit){.verdict = HOLD_WAIT, .wait_ms = merchant->until_ms};
    }
    if (is_keyless(merchant->state)) {
        return ask_keyless(hold, merchant, now_ms);
    }
    return hold_is_held(merchant) ? ask_held(hold, merchant, now_ms)
                                  : ask_open(hold, merchant, now_ms);
}

struct hold_ticket hold_begin(struct hold *hold, struct hold_merchant *merchant,
                              struct hold_permit permit, int64_t now_ms)
{
    bool probe = permit.verdict == HOLD_PROBE;
    if (probe) {
        merchant->probing = true;
        hold->probes++;
        bool over = hold_is_over(merchant);
        merchant->probe_ms = now_ms + (over ? HOLD_RECOVERY_MS : hold_probe_interval_ms(hold));
        circuit_take(&merchant->circuits[permit.host], CIRCUIT_EVENT_PROBE, now_ms);
        circuit_take(&hold->hosts[permit.host].circuit, CIRCUIT_EVENT_PROBE, now_ms);
    } else {
        merchant->in_flight++;
    }
    return (struct hold_ticket){
        .host = permit.host, .epoch = merchant->epoch, .probe = probe, .began_ms = now_ms};
}

void hold_ended(struct hold *hold, struct hold_merchant *merchant, struct hold_ticket ticket,
                const struct hold_end *end)
{
    if (ticket.probe) {
        merchant->probing = false;
        hold->probes--;
    } else if (!hold_is_stale(merchant, ticket)) {
        merchant->in_flight--;
    }
    if (end->answer->cause == ANSWER_CAUSE_SHORTAGE) {
        hold->shortage_ms = end->now_ms + HOLD_SHORTAGE_MS;
        begin_epoch(merchant);
    }
    learn_host(hold, merchant, ticket, end);
    learn_merchant(hold, merchant, ticket, end);
}

/* --- questions ---------------------------------------------------------------------------- */

const char *hold_why_name(enum hold_why why)
{
#define NAME(why, name) name,
    static const char *const names[] = {HOLD_WHYS(NAME)};
#undef NAME
    return names[why];
}

bool hold_is_over(const struct hold_merchant *merchant)
{
    return is_over(merchant->state);
}

bool hold_is_held(const struct hold_merchant *merchant)
{
    return merchant->state >= HOLD_UNAUTHORIZED;
}

bool hold_is_stale(const struct hold_merchant *merchant, struct hold_ticket ticket)
{
    return ticket.epoch != merchant->epoch;
}

bool hold_broken_at(const struct hold *hold, const struct hold_merchant *merchant, unsigned host)
{
    return hold->hosts[host].circuit.broken || merchant->circuits[host].broken;
}

bool hold_down(const struct hold *hold)
{
    bool all = true;
    for (unsigned i = 0; i < hold->rules.host_count; i++) {
        all = all && hold->hosts[i].circuit.broken;
    }
    return all;
}

static bool is_broken(const struct hold *hold, const struct hold_merchant *merchant)
{
    bool all = true;
    for (unsigned i = 0; i < hold->rules.host_count; i++) {
        all = all && hold_broken_at(hold, merchant, i);
    }
    return all;
}

enum hold_why hold_why_held(const struct hold_merchant *merchant)
{
    return !hold_is_held(merchant)            ? HOLD_WHY_NONE
           : is_unauthorized(merchant->state) ? HOLD_WHY_UNAUTHORIZED
           : is_keyless(merchant->state)      ? HOLD_WHY_KEYLESS
                                              : HOLD_WHY_UNVERIFIED;
}

enum hold_why hold_why(const struct hold *hold, const struct hold_merchant *merchant)
{
    if (hold_is_held(merchant)) {
        return hold_why_held(merchant);
    }
    return merchant->state == HOLD_PACED ? HOLD_WHY_RATE_LIMITED
           : is_broken(hold, merchant)   ? HOLD_WHY_ENDPOINT
                                         : HOLD_WHY_NONE;
}

const char *hold_state_name(const struct hold *hold, const struct hold_merchant *merchant)
{
    return hold_is_held(merchant)          ? "held"
           : merchant->state == HOLD_PACED ? "paced"
           : is_broken(hold, merchant)     ? "broken"
                                           : "open";
}

int64_t hold_total_ms(const struct hold_merchant *merchant, int64_t now_ms)
{
    bool stands = hold_is_held(merchant) && !hold_is_over(merchant);
    return merchant->past_holds_ms + (stands ? now_ms - merchant->since_ms : 0);
}

/* When the last of the merchant's hosts broke. Time in which a host was broken for all merchants
 * does not count: their own circuits close one by one after that. -1: a host can be called, or it
 * is broken only because of another merchant's report. */
static int64_t broken_since_ms(const struct hold *hold, const struct hold_merchant *merchant)
{
    int64_t since_ms = INT64_MIN;
    for (unsigned i = 0; i < hold->rules.host_count; i++) {
        const struct hold_circuit *own = &merchant->circuits[i];
        const struct hold_circuit *all = &hold->hosts[i].circuit;
        if (!own->broken && !broken_for_all(hold, i)) {
            return -1;
        }
        int64_t at_ms = own->broken ? own->since_ms : all->since_ms;
        at_ms = hold->hosts[i].recovered_ms > at_ms ? hold->hosts[i].recovered_ms : at_ms;
        since_ms = at_ms > since_ms ? at_ms : since_ms;
    }
    return since_ms;
}

static bool down_for_all(const struct hold *hold)
{
    bool down = true;
    for (unsigned i = 0; i < hold->rules.host_count; i++) {
        down = down && broken_for_all(hold, i);
    }
    return down;
}

bool hold_own(const struct hold *hold, const struct hold_merchant *merchant, struct hold_own *own)
{
    enum hold_why why = hold_why(hold, merchant);
    if (why == HOLD_WHY_NONE || down_for_all(hold)) {
        return false;
    }
    own->reason = hold_reason(merchant);
    own->since_ms = why == HOLD_WHY_ENDPOINT ? broken_since_ms(hold, merchant) : merchant->since_ms;
    return own->since_ms >= 0;
}

enum reason hold_reason(const struct hold_merchant *merchant)
{
    if (hold_is_held(merchant)) {
        return is_unauthorized(merchant->state) ? REASON_MERCHANT_UNAUTHORIZED
                                                : REASON_UNVERIFIED_ANSWER;
    }
    return merchant->state == HOLD_PACED ? REASON_RATE_LIMITED
           : merchant->unreachable       ? REASON_UNREACHABLE
                                         : REASON_UNAVAILABLE;
}
