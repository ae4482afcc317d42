/* Holds: when a merchant or a host is not called, for how long, and how it is tried again. Pure.
 *
 * Two transition tables in flow/hold.c say what each answer leads to.
 * - The table of merchants: a merchant is open, paced (after a 429), or held (after a 401, or after
 *   answers that no key of ours verifies, or while it has no key at all to verify answers with).
 * - The table of circuits: a circuit is closed (calls pass) or broken (only probes pass). There is
 *   one for each host, and one for each merchant at each host.
 * The limit and the rate of a merchant are in flow/merchant_queue.h.
 *
 * 401. The merchant is held until `hold_ms` is over. A tenth of that (100 ms to 30 s) lies between
 *   two probes; one that is answered 429 puts the next one off. After the hold its events fail
 *   without a call, but for one probe every HOLD_RECOVERY_MS. With `hold_ms` 0 nothing is held.
 * Unverifiable answers. HOLD_UNVERIFIED of them in a row hold the merchant as a 401 does. Each host
 *   that works must be among those that gave them.
 * No keys. A merchant without a key that verifies now is held before its first call, for the same
 *   time: an answer could not be used. Its list of certificates has not come yet, all of them have
 *   expired, or the clock is before the first one's notBefore. It is not probed; it opens when a
 *   key is there. With `hold_ms` 0 it waits for HOLD_KEYLESS_MS, so that the first list can come.
 * New keys. A merchant that is held for unverifiable answers is probed at once, and its hold
 *   begins again.
 * 429. The merchant is paced until Retry-After, or for a backoff of its own (jittered, doubling).
 *   It is not probed meanwhile.
 * Outages (answer.counts_as_outage). HOLD_OUTAGES in a row break the merchant's circuit at that
 *   host; a 5xx with Retry-After does so at once. The host's own circuit breaks when two merchants
 *   have reported such outages, or the only active merchant has, and no call to the host was
 *   answered for HOLD_SILENT_MS. A name that cannot be resolved breaks it at once.
 * Probes of a broken circuit. The first one goes after HOLD_PROBE_FIRST_MS; the delay doubles up to
 *   HOLD_PROBE_MAX_MS. After Retry-After it goes at that time, but every HOLD_RETRY_AFTER_MAX_MS at
 *   least. One answer closes the circuit. The time of the next probe is set when a probe begins, so
 *   that one that hangs does not delay the probes of other merchants.
 * An operator's pause (flow/pause.h). A merchant that is held when its pause ends is probed at
 * once, and its hold begins again: the operator may have mended the cause meanwhile. Shortage. When
 * this process has no descriptor left, no call begins for HOLD_SHORTAGE_MS.
 *
 * A merchant has at most one probe in flight; all merchants together have `probes_max`. A merchant
 * that was held, paced or without a host begins again with one call in flight, and each answer
 * doubles that number. The answer to a call that began before the merchant's last change of state
 * does not change the state again.
 *
 * Moments are of the monotonic clock. Nothing is allocated. The caller owns all structures; a
 * merchant's must not be moved.
 */
#ifndef PRESIGND_FLOW_HOLD_H
#define PRESIGND_FLOW_HOLD_H

#include "presignd/flow/reason.h"
#include "presignd/wechatpay/answer.h"

#include <stdbool.h>
#include <stdint.h>

#define HOLD_HOSTS_MAX          2
#define HOLD_OUTAGES            3
#define HOLD_UNVERIFIED         3
#define HOLD_SILENT_MS          1000
#define HOLD_ACTIVE_MS          20000 /* a merchant that was answered within it is active */
#define HOLD_PROBE_FIRST_MS     500
#define HOLD_PROBE_MAX_MS       10000
#define HOLD_RETRY_AFTER_MAX_MS 60000
#define HOLD_RECOVERY_MS        60000
#define HOLD_SHORTAGE_MS        250
#define HOLD_KEYLESS_MS         60000
#define HOLD_PROBES_MAX         8 /* in flight, all merchants; fewer where few calls are allowed */

/* --- state -------------------------------------------------------------------------------- */

enum hold_state {
    HOLD_OPEN,
    HOLD_PACED,             /* answered 429 */
    HOLD_UNAUTHORIZED,      /* answered 401: events wait */
    HOLD_UNAUTHORIZED_OVER, /* and its time is over: events fail */
    HOLD_UNVERIFIABLE,      /* no key of ours verifies its answers: events wait */
    HOLD_UNVERIFIABLE_OVER,
    HOLD_KEYLESS, /* it has no key that verifies answers: events wait */
    HOLD_KEYLESS_OVER,
    HOLD_STATE_COUNT
};

/* Why events of a merchant wait, each with its name in the status page and in metrics. Two share a
 * name: in both the keys are wrong, and events fail for the same reason. */
#define HOLD_WHYS(ROW)                                                                          \
    ROW(NONE, "none")                                                                           \
    ROW(UNAUTHORIZED, "merchant_unauthorized")                                                  \
    ROW(UNVERIFIED, "unverified_answer")                                                        \
    ROW(KEYLESS, "unverified_answer")                                                           \
    ROW(RATE_LIMITED, "rate_limited")                                                           \
    ROW(PAUSED, "paused")          /* by an operator (flow/pause.h); no state of this module */ \
    ROW(ENDPOINT, "endpoint_down") /* no host is open for the merchant */

#define HOLD_WHY(why, name) HOLD_WHY_##why,
enum hold_why { HOLD_WHYS(HOLD_WHY) HOLD_WHY_COUNT };
#undef HOLD_WHY
const char *hold_why_name(enum hold_why why);

/* Of one merchant at one host, or of one host for all merchants. */
struct hold_circuit {
    bool broken;
    unsigned outages;     /* in a row */
    int64_t since_ms;     /* when it broke last */
    int64_t closed_ms;    /* when it closed last; outages of earlier calls do not count */
    int64_t probe_ms;     /* the next probe, while broken */
    int64_t delay_ms;     /* from that probe to the one after it */
    int64_t scheduled_ms; /* when probe_ms was set */
};

struct hold_host {
    struct hold_circuit circuit;
    int64_t recovered_ms;    /* when it closed last after two merchants, or DNS, had broken it */
    int64_t silent_since_ms; /* no call has been answered since; -1: the last one was */
    int64_t answered_ms;     /* -1: never */
    const void *reporter;    /* the merchant whose circuit here broke first since the last answer */
    bool one_reporter;       /* only that merchant reported it; the others may probe at once */
};

struct hold_rules {
    unsigned host_count;
    unsigned probes_max;
    int64_t hold_ms;       /* of 401 and of unverifiable answers; 0: none */
    int64_t base_delay_ms; /* of the backoff after a 429 without Retry-After */
    int64_t max_delay_ms;
};

/* The endpoint: all hosts. */
struct hold {
    struct hold_rules rules;
    struct hold_host hosts[HOLD_HOSTS_MAX];
    unsigned probes;           /* in flight */
    int64_t shortage_ms;       /* no call begins before: no descriptor was left */
    const void *answered;      /* the merchant that was answered last */
    int64_t answered_ms;       /* when that was */
    int64_t other_answered_ms; /* when another merchant was answered last */
};

struct hold_merchant {
    enum hold_state state;
    uint32_t epoch;        /* grows with each change of state */
    int64_t since_ms;      /* begin of the hold; while paced, of the first 429 in a row */
    int64_t until_ms;      /* end of a pause after 429 */
    int64_t probe_ms;      /* while held: the next probe */
    int64_t backoff_ms;    /* the last backoff after 429; 0: none since an answer */
    int64_t past_holds_ms; /* time spent in holds that are over */
    int64_t answered_ms; /* when an answer last showed that our signature is accepted; -1: never */
    int64_t reached_ms;  /* when any host answered it last; -1: never */
    unsigned unverified; /* unverifiable answers in a row */
    unsigned unverified_hosts; /* bit set: hosts whose last answer was unverifiable */
    int64_t unverified_ms;     /* when the last one came */
    unsigned slow_start_limit; /* calls in flight that it may have while it begins again */
    unsigned in_flight;        /* calls of this epoch */
    bool slow_start;           /* the next call begins a slow start */
    bool probing;              /* a probe is in flight */
    bool unreachable;          /* at the last outage nothing was sent */
    struct hold_circuit circuits[HOLD_HOSTS_MAX];
};

/* --- transitions, public for the tests: hold_ended() and hold_ask() make them --------------- */

enum hold_event {
    HOLD_EVENT_NONE,         /* nothing learned of the merchant: an outage, nothing sent */
    HOLD_EVENT_VERIFIED,     /* an answer that a key of ours verified */
    HOLD_EVENT_ANSWERED,     /* another answer that shows that our signature was accepted */
    HOLD_EVENT_FAILED,       /* an answer of unknown origin: 5xx, an unsigned 200 */
    HOLD_EVENT_LIMITED,      /* 429 */
    HOLD_EVENT_UNAUTHORIZED, /* 401 after a second signature */
    HOLD_EVENT_UNVERIFIABLE, /* enough unverifiable answers in a row */
    HOLD_EVENT_KEYLESS,      /* no key of the merchant verifies answers now */
    HOLD_EVENT_KEYS,         /* one does again, or the keys are others than before */
    HOLD_EVENT_TIME,         /* the pause, or the hold, is over */
    HOLD_EVENT_RESUMED,      /* an operator's pause of the merchant has ended */
    HOLD_EVENT_RESET,        /* the merchant's section was changed */
    HOLD_EVENT_COUNT
};

enum circuit_event {
    CIRCUIT_EVENT_ANSWER,
    CIRCUIT_EVENT_OUTAGE, /* one that does not suffice to break it */
    CIRCUIT_EVENT_TRIP,   /* one that does */
    CIRCUIT_EVENT_PROBE,  /* a probe begins */
    CIRCUIT_EVENT_COUNT
};

/* The state that follows. */
enum hold_state hold_next_state(enum hold_state state, enum hold_event event);
bool circuit_next_broken(bool broken, enum circuit_event event);

/* --- calls -------------------------------------------------------------------------------- */

void hold_init(struct hold *hold, const struct hold_rules *rules);
/* New rules. With another number of hosts, all knowledge of hosts is discarded; the caller does the
 * same for each merchant by hold_merchant_reset_hosts(). */
void hold_configure(struct hold *hold, const struct hold_rules *rules);
void hold_merchant_init(struct hold_merchant *merchant);
/* The merchant's section was changed: it is open, like a new one. A probe stays in flight. */
void hold_merchant_reset(struct hold_merchant *merchant, int64_t now_ms);
void hold_merchant_reset_hosts(struct hold_merchant *merchant);
/* An operator's pause of the merchant has ended. */
void hold_merchant_resumed(struct hold_merchant *merchant, int64_t now_ms);
/* Whether a key of the merchant verifies answers now. Before each hold_ask(). */
void hold_merchant_has_keys(struct hold_merchant *merchant, bool has_keys, int64_t now_ms);
/* The merchant's keys are others than before. */
void hold_merchant_new_keys(struct hold_merchant *merchant, int64_t now_ms);

enum hold_verdict {
    HOLD_CALL,  /* an ordinary call, at `host` */
    HOLD_PROBE, /* a probe, at `host`; it does not count against the merchant's share */
    HOLD_WAIT,  /* until wait_ms; 0: until an answer comes */
    HOLD_FAIL   /* the hold is over: the next event fails for hold_reason() */
};
struct hold_permit {
    enum hold_verdict verdict;
    unsigned host;
    int64_t wait_ms;
};
/* What the merchant's next event may do now. Begins no call. */
struct hold_permit hold_ask(struct hold *hold, struct hold_merchant *merchant, int64_t now_ms);

/* Kept by a call while it is in flight. */
struct hold_ticket {
    unsigned host;
    uint32_t epoch;
    bool probe;
    int64_t began_ms;
};
/* A call begins, as hold_ask() permitted at this moment. */
struct hold_ticket hold_begin(struct hold *hold, struct hold_merchant *merchant,
                              struct hold_permit permit, int64_t now_ms);

struct hold_end {
    const struct answer *answer;
    bool
        merchant_401; /* a 401 after a second signature that concerns the merchant, not the event */
    bool own_outage;  /* the event may cause the outage itself: its merchant was answered after an
                       * earlier outage of it */
    int64_t now_ms;
    int64_t last_ms; /* when the event's last attempt may begin; limits Retry-After */
    uint64_t random; /* any value */
};
/* A call ended, also one whose partition was taken away. */
void hold_ended(struct hold *hold, struct hold_merchant *merchant, struct hold_ticket ticket,
                const struct hold_end *end);

/* --- questions ---------------------------------------------------------------------------- */

/* Held by 401, by unverifiable answers or without keys, before or after the end of the hold. */
bool hold_is_held(const struct hold_merchant *merchant);
/* After the end of the hold: events fail. */
bool hold_is_over(const struct hold_merchant *merchant);
/* The merchant's state has changed since that call began. */
bool hold_is_stale(const struct hold_merchant *merchant, struct hold_ticket ticket);
/* The merchant's circuit at that host, or the host's, is broken. */
bool hold_broken_at(const struct hold *hold, const struct hold_merchant *merchant, unsigned host);
/* HOLD_WHY_UNAUTHORIZED, HOLD_WHY_UNVERIFIED or HOLD_WHY_KEYLESS; HOLD_WHY_NONE: not held. */
enum hold_why hold_why_held(const struct hold_merchant *merchant);
/* Why its events wait, apart from limits and rates. */
enum hold_why hold_why(const struct hold *hold, const struct hold_merchant *merchant);
/* For the status page: open, paced, held or broken. */
const char *hold_state_name(const struct hold *hold, const struct hold_merchant *merchant);
/* All hosts are broken for all merchants. */
bool hold_down(const struct hold *hold);
/* When the hold ends; INT64_MAX: not held, or over already. */
int64_t hold_until_ms(const struct hold *hold, const struct hold_merchant *merchant);
/* Time between two probes of a held merchant. */
int64_t hold_probe_interval_ms(const struct hold *hold);
/* For how long the merchant has been held in all. The retry time of its events excludes it. */
int64_t hold_total_ms(const struct hold_merchant *merchant, int64_t now_ms);

/* For relief (flow/relief.h): a hold of the merchant's own makes its events wait. False while the
 * endpoint is down as a whole. An outage that only one merchant reported is that merchant's own:
 * the events of the others may be unread because its events fill the partitions. */
struct hold_own {
    int64_t since_ms;
    enum reason reason; /* of their failure */
};
bool hold_own(const struct hold *hold, const struct hold_merchant *merchant, struct hold_own *own);
/* The reason for which events of a held merchant fail. */
enum reason hold_reason(const struct hold_merchant *merchant);

#endif
