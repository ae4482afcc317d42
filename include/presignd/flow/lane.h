/* One merchant's lane: its waiting events, its limits, its holds. No clock, no I/O.
 *
 * The number of calls in the air follows the answers: halved by a 429 (once for all that were
 * in the air then), raised by one for each round of successes, never above the merchant's
 * max_in_flight. A merchant that is answered 401 twice for one event is held: one call every
 * probe interval, until an answer is no 401 or the hold is over.
 */
#ifndef PRESIGND_FLOW_LANE_H
#define PRESIGND_FLOW_LANE_H

#include "presignd/base/list.h"
#include "presignd/remote/answer.h"
#include "presignd/remote/merchant.h"

#include <stdbool.h>
#include <stdint.h>

struct lane {
    struct list_link link; /* in the pipeline's rotation, while events wait */
    bool in_rotation;
    bool gone;                 /* a reload took the merchant away */
    struct merchant *merchant; /* as configured now; a reference */
    struct list waiting;       /* jobs, in order */
    unsigned in_flight;
    double limit;      /* of calls in the air, at least 1 */
    int64_t cut_ms;    /* when the limit was last lowered */
    double tokens;     /* of rate_per_s */
    int64_t tokens_ms; /* when they were counted last */
    bool held;         /* answered 401 */
    bool hold_over;    /* the hold's time has passed without another answer */
    int64_t held_ms;   /* since when */
    int64_t probe_ms;  /* the next call while held */
    /* The last answer, for people; ANSWER_KIND_COUNT before the first. */
    enum answer_kind heard;
    int64_t heard_ms;
};

void lane_init(struct lane *lane, struct merchant *merchant);
void lane_deinit(struct lane *lane);
/* A reload's merchant: limits follow, holds end (the key may be another). */
void lane_configure(struct lane *lane, struct merchant *merchant);

/* May a call begin now? Otherwise *wait_ms is when to ask again, 0: an answer will tell. */
bool lane_open(struct lane *lane, int64_t now_ms, int64_t *wait_ms);
/* True while the lane itself (limit, rate or hold), and not the whole, keeps events waiting. */
bool lane_limited(const struct lane *lane);
void lane_began(struct lane *lane, int64_t now_ms, int64_t hold_ms);

enum lane_answer {
    LANE_OK,           /* the merchant was heard: a result or a refusal */
    LANE_NO_WORD,      /* no connection, no answer, 5xx: says nothing of the merchant */
    LANE_RATE_LIMITED, /* 429 */
    LANE_UNAUTHORIZED, /* 401 */
};
/* A call ended that had begun at `began_ms`. */
void lane_ended(struct lane *lane, enum lane_answer answer, int64_t began_ms, int64_t now_ms);
/* A 401 that was no accident: begin a hold, or go on with it. True when its events wait, false
 * when the hold is over or not wanted (hold_ms 0): then they fail. */
bool lane_hold(struct lane *lane, int64_t hold_ms, int64_t now_ms);

#endif
