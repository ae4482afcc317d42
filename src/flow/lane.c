#include "presignd/flow/lane.h"

void lane_init(struct lane *lane, struct merchant *merchant)
{
    *lane = (struct lane){.merchant = merchant_ref(merchant),
                          .limit = merchant->max_in_flight,
                          .heard = ANSWER_KIND_COUNT};
    lane->tokens = merchant->rate_per_s;
    list_init(&lane->waiting);
    list_init(&lane->probed);
    hold_merchant_init(&lane->hold);
}

void lane_deinit(struct lane *lane)
{
    lane->merchant = merchant_unref(lane->merchant);
}

/* A lowered limit takes effect as calls end; those in the air are left alone. */
bool lane_configure(struct lane *lane, struct merchant *merchant, int64_t now_ms)
{
    struct merchant *old = lane->merchant;
    bool same = merchant_same(old, merchant);
    lane->merchant = merchant_ref(merchant);
    merchant_unref(old);
    if (!same) {
        lane->limit = merchant->max_in_flight;
        hold_merchant_reset(&lane->hold, now_ms);
    }
    return !same;
}

size_t lane_waiting(const struct lane *lane)
{
    return lane->waiting.count + lane->probed.count;
}

/* The last one: those in front were called already, and may be what does not succeed. */
struct list_link *lane_next(const struct lane *lane, bool probe)
{
    if (probe && lane->probed.count < LANE_PROBED_MAX && !list_empty(&lane->waiting)) {
        return lane->waiting.head.prev;
    }
    return list_first(list_empty(&lane->probed) ? &lane->waiting : &lane->probed);
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
    if (lane->in_flight >= (unsigned)lane->limit) {
        return false;
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
    return lane->in_flight >= (unsigned)lane->limit ||
           (lane->merchant->rate_per_s != 0 && lane->tokens < 1);
}

void lane_began(struct lane *lane)
{
    lane->in_flight++;
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
    if (answer == LANE_OK) {
        raise_limit(lane);
    } else if (answer == LANE_RATE_LIMITED && began_ms > lane->cut_ms) {
        lane->limit = lane->limit > 2 ? lane->limit / 2 : 1;
        lane->cut_ms = now_ms;
    }
}
