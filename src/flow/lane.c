#include "presignd/flow/lane.h"

/* While held: one call in a tenth of the hold, but no more often and no more seldom than this. */
#define PROBE_MIN_MS 100
#define PROBE_MAX_MS 30000

void lane_init(struct lane *lane, struct merchant *merchant)
{
    *lane = (struct lane){.merchant = merchant_ref(merchant),
                          .limit = merchant->max_in_flight,
                          .heard = ANSWER_KIND_COUNT};
    lane->tokens = merchant->rate_per_s;
    list_init(&lane->waiting);
}

void lane_deinit(struct lane *lane)
{
    lane->merchant = merchant_unref(lane->merchant);
}

/* A lowered limit takes effect as calls end; those in the air are left alone. */
void lane_configure(struct lane *lane, struct merchant *merchant)
{
    struct merchant *old = lane->merchant;
    lane->merchant = merchant_ref(merchant);
    merchant_unref(old);
    lane->limit = merchant->max_in_flight;
    lane->held = lane->hold_over = false;
}

/* A bucket that holds one second's worth. */
static void refill(struct lane *lane, int64_t now_ms)
{
    double rate = lane->merchant->rate_per_s;
    lane->tokens += (double)(now_ms - lane->tokens_ms) * rate / 1000;
    if (lane->tokens > rate) {
        lane->tokens = rate;
    }
    lane->tokens_ms = now_ms;
}

bool lane_open(struct lane *lane, int64_t now_ms, int64_t *wait_ms)
{
    *wait_ms = 0;
    /* Even while held: what was in the air when the hold began may still be there. */
    if (lane->in_flight >= (unsigned)lane->limit) {
        return false;
    }
    if (lane->held) {
        *wait_ms = lane->probe_ms;
        return now_ms >= lane->probe_ms;
    }
    if (lane->merchant->rate_per_s == 0) {
        return true;
    }
    refill(lane, now_ms);
    if (lane->tokens >= 1) {
        return true;
    }
    *wait_ms = now_ms + 1 + (int64_t)((1 - lane->tokens) * 1000 / lane->merchant->rate_per_s);
    return false;
}

bool lane_limited(const struct lane *lane)
{
    return lane->held || lane->in_flight >= (unsigned)lane->limit ||
           (lane->merchant->rate_per_s != 0 && lane->tokens < 1);
}

/* Often enough to notice a mended key within the hold, seldom enough not to be a nuisance. */
static int64_t probe_interval_ms(int64_t hold_ms)
{
    int64_t interval = hold_ms / 10;
    return interval < PROBE_MIN_MS   ? PROBE_MIN_MS
           : interval > PROBE_MAX_MS ? PROBE_MAX_MS
                                     : interval;
}

void lane_began(struct lane *lane, int64_t now_ms, int64_t hold_ms)
{
    lane->in_flight++;
    if (lane->held) {
        lane->probe_ms = now_ms + probe_interval_ms(hold_ms);
    }
    if (lane->merchant->rate_per_s != 0) {
        lane->tokens -= 1;
    }
}

/* By its reciprocal for each success, so by one for as many as may be in the air: the additive
 * increase and multiplicative decrease of TCP (Chiu and Jain 1989). */
static void raise_limit(struct lane *lane)
{
    double most = lane->merchant->max_in_flight;
    lane->limit += 1 / lane->limit;
    if (lane->limit > most) {
        lane->limit = most;
    }
}

void lane_ended(struct lane *lane, enum lane_answer answer, int64_t began_ms, int64_t now_ms)
{
    lane->in_flight--;
    if (answer == LANE_OK || answer == LANE_RATE_LIMITED) {
        lane->held = lane->hold_over = false;
    }
    if (answer == LANE_OK) {
        raise_limit(lane);
    } else if (answer == LANE_RATE_LIMITED && began_ms > lane->cut_ms) {
        lane->limit = lane->limit > 2 ? lane->limit / 2 : 1;
        lane->cut_ms = now_ms;
    }
}

/* The clock of a hold is looked at when a 401 comes, so a merchant that nobody calls is held until
 * somebody does. */
bool lane_hold(struct lane *lane, int64_t hold_ms, int64_t now_ms)
{
    if (hold_ms == 0 || lane->hold_over) {
        return false;
    }
    if (!lane->held) {
        lane->held = true;
        lane->held_ms = now_ms;
        lane->probe_ms = now_ms + probe_interval_ms(hold_ms);
    }
    if (now_ms - lane->held_ms >= hold_ms) {
        lane->held = false;
        lane->hold_over = true;
        return false;
    }
    return true;
}
