/* One merchant's queue: its waiting events, its limits, its hold. No clock, no I/O.
 *
 * The number of calls in flight follows the answers: halved by a 429 (once for all that were
 * in flight then), raised by one for each round of successes, never above the merchant's
 * max_in_flight. What closes it altogether is flow/hold.h's.
 */
#ifndef PRESIGND_FLOW_MERCHANT_QUEUE_H
#define PRESIGND_FLOW_MERCHANT_QUEUE_H

#include "presignd/base/list.h"
#include "presignd/flow/hold.h"
#include "presignd/wechatpay/answer.h"
#include "presignd/wechatpay/merchant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* So many events serve as probes in turn before one more is taken. An event that was called has
 * its retry time running; a few are enough that one of its own fault does not decide for all. */
#define MERCHANT_QUEUE_PROBED_MAX 4

struct merchant_queue {
    struct list_link link;     /* in the pipeline's rotation, while events wait */
    bool gone;                 /* a reload took the merchant away */
    struct merchant *merchant; /* as configured now; a reference */
    struct list waiting;       /* jobs, in order */
    struct list probed;        /* jobs that failed as probes; they are before the others */
    size_t jobs;               /* not completed, wherever they are */
    unsigned in_flight;
    double limit;       /* of calls in flight, at least 1 */
    int64_t lowered_ms; /* when the limit was last lowered */
    double tokens;      /* of rate_per_s */
    int64_t tokens_ms;  /* when they were counted last */
    struct hold_merchant hold;
    int64_t relief_held_ms;   /* time in holds, less that between them (flow/relief.h) */
    int64_t relief_looked_ms; /* when that was counted last */
    /* The last answer, for people; ANSWER_KIND_COUNT before the first. */
    enum answer_kind last_answer;
    int64_t last_answer_ms;
};

void merchant_queue_init(struct merchant_queue *queue, struct merchant *merchant);
void merchant_queue_deinit(struct merchant_queue *queue);
/* A reload's merchant: limits follow. One that is the same as before changes nothing; false. */
bool merchant_queue_configure(struct merchant_queue *queue, struct merchant *merchant,
                              int64_t now_ms);

/* Events that wait in it. */
size_t merchant_queue_waiting(const struct merchant_queue *queue);
/* The next event, the queue not being empty. Ordinary calls take them in order; a probe takes
 * another one than the probe before it, where there is one. */
struct list_link *merchant_queue_next(const struct merchant_queue *queue, bool probe);

/* May a call begin now, the hold apart? Otherwise *wait_ms is when to ask again, 0: an answer will
 * tell. */
bool merchant_queue_open(struct merchant_queue *queue, int64_t now_ms, int64_t *wait_ms);
/* True while its limit or its rate, and not the whole, keeps events waiting. */
bool merchant_queue_limited(const struct merchant_queue *queue);
void merchant_queue_began(struct merchant_queue *queue);

enum merchant_queue_answer {
    MERCHANT_QUEUE_OK,           /* the merchant was heard: a result or a refusal */
    MERCHANT_QUEUE_NEUTRAL,      /* 401, no connection, no answer, 5xx: says nothing of the limit */
    MERCHANT_QUEUE_RATE_LIMITED, /* 429 */
};
/* A call ended that had begun at `began_ms`. */
void merchant_queue_ended(struct merchant_queue *queue, enum merchant_queue_answer answer,
                          int64_t began_ms, int64_t now_ms);

#endif
