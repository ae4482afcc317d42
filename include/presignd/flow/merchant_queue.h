/* One merchant's queue: its waiting events, its in-flight limit, its rate and its hold. Pure.
 *
 * The in-flight limit follows the answers. A 429 halves it, once for all calls that were in flight
 * then. Successes raise it by one for each full round of calls, up to the merchant's max_in_flight.
 * The rate is a token bucket of one second. What stops calls altogether is in flow/hold.h.
 */
#ifndef PRESIGND_FLOW_MERCHANT_QUEUE_H
#define PRESIGND_FLOW_MERCHANT_QUEUE_H

#include "presignd/base/heap.h"
#include "presignd/base/list.h"
#include "presignd/flow/hold.h"
#include "presignd/wechatpay/answer.h"
#include "presignd/wechatpay/merchant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* So many events take turns as probes before another event is taken. The retry time of an event
 * that was called is running, so there are few; with several, one faulty event does not decide
 * alone. */
#define MERCHANT_QUEUE_PROBED_MAX 4

struct merchant_queue {
    struct list_link link;     /* in the pipeline's rotation, while events wait */
    bool gone;                 /* a reload removed the merchant */
    struct merchant *merchant; /* as configured now; a reference */
    struct list waiting;       /* jobs, in order */
    struct list probed;        /* jobs that failed as probes; they precede the others */
    size_t jobs;               /* admitted and not completed */
    struct heap ages;          /* jobs by their records' timestamps, until they are published */
    unsigned in_flight;
    double limit;       /* of calls in flight, at least 1 */
    int64_t lowered_ms; /* when the limit was last lowered */
    double tokens;      /* of rate_per_s */
    int64_t tokens_ms;  /* when they were last counted */
    struct hold_merchant hold;
    int64_t paused_ms;        /* begin of its merchant's pause (flow/pause.h); -1: not paused */
    size_t paused;            /* its jobs that a pause holds; they are in none of the lists here */
    int64_t relief_held_ms;   /* time in holds, less the time between them (flow/relief.h) */
    int64_t relief_looked_ms; /* when that was last counted */
    int64_t keys_ms;          /* when its merchant's certificates changed; 0: never */
    /* The last answer, for the status page; ANSWER_KIND_COUNT before the first one. */
    enum answer_kind last_answer;
    int64_t last_answer_ms;
};

void merchant_queue_init(struct merchant_queue *queue, struct merchant *merchant);
void merchant_queue_deinit(struct merchant_queue *queue);
/* Takes the limits of a reloaded merchant. False if the merchant has not changed. */
bool merchant_queue_configure(struct merchant_queue *queue, struct merchant *merchant,
                              int64_t now_ms);

/* How many events wait in it. */
size_t merchant_queue_waiting(const struct merchant_queue *queue);
/* Wall clock: the earliest timestamp of its events whose outcome is not visible; INT64_MAX: none.
 */
int64_t merchant_queue_oldest_ms(const struct merchant_queue *queue);
/* The next event; the queue must not be empty. Calls take events in order. A probe takes another
 * event than the probe before it, if there is one. */
struct list_link *merchant_queue_next(const struct merchant_queue *queue, bool probe);

/* Whether limit and rate permit a call now. If not, *wait_ms is when to ask again; 0: after an
 * answer. */
bool merchant_queue_open(struct merchant_queue *queue, int64_t now_ms, int64_t *wait_ms);
/* True if its own limit or rate makes events wait. False for events blocked only by the global
 * in-flight limit. */
bool merchant_queue_limited(const struct merchant_queue *queue);
void merchant_queue_began(struct merchant_queue *queue);

enum merchant_queue_answer {
    MERCHANT_QUEUE_OK,           /* the merchant was answered: a result or a rejection */
    MERCHANT_QUEUE_NEUTRAL,      /* 401, no connection, no answer, 5xx: unrelated to the limit */
    MERCHANT_QUEUE_RATE_LIMITED, /* 429 */
};
/* The call that began at `began_ms` ended. */
void merchant_queue_ended(struct merchant_queue *queue, enum merchant_queue_answer answer,
                          int64_t began_ms, int64_t now_ms);

#endif
