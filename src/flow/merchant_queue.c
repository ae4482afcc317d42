#include "presignd/flow/merchant_queue.h"

void merchant_queue_init(struct merchant_queue *queue, struct merchant *merchant)
{
    *queue = (struct merchant_queue){.merchant = merchant_ref(merchant),
                                     .limit = merchant->max_in_flight,
                                     .paused_ms = -1,
                                     .last_answer = ANSWER_KIND_COUNT};
    queue->tokens = merchant->rate_per_s;
    list_init(&queue->waiting);
    list_init(&queue->probed);
    hold_merchant_init(&queue->hold);
}

void merchant_queue_deinit(struct merchant_queue *queue)
{
    queue->merchant = merchant_unref(queue->merchant);
    heap_deinit(&queue->ages);
}

/* A lowered limit takes effect as calls end; calls in flight continue. */
bool merchant_queue_configure(struct merchant_queue *queue, struct merchant *merchant,
                              int64_t now_ms)
{
    struct merchant *old = queue->merchant;
    bool same = merchant_same(old, merchant);
    queue->merchant = merchant_ref(merchant);
    merchant_unref(old);
    if (!same) {
        queue->limit = merchant->max_in_flight;
        hold_merchant_reset(&queue->hold, now_ms);
    }
    return !same;
}

int64_t merchant_queue_oldest_ms(const struct merchant_queue *queue)
{
    const struct heap_slot *first = heap_first(&queue->ages);
    return first == NULL ? INT64_MAX : first->at;
}

size_t merchant_queue_waiting(const struct merchant_queue *queue)
{
    return queue->waiting.count + queue->probed.count;
}

/* A probe takes the last waiting event: the first ones were called already and may be faulty. */
struct list_link *merchant_queue_next(const struct merchant_queue *queue, bool probe)
{
    if (probe && queue->probed.count < MERCHANT_QUEUE_PROBED_MAX && !list_empty(&queue->waiting)) {
        return queue->waiting.head.prev;
    }
    return list_first(list_empty(&queue->probed) ? &queue->waiting : &queue->probed);
}

/* The bucket holds the tokens of one second. */
static void refill(struct merchant_queue *queue, int64_t now_ms)
{
    double rate = queue->merchant->rate_per_s;
    queue->tokens += (double)(now_ms - queue->tokens_ms) * rate / 1000;
    if (queue->tokens > rate) {
        queue->tokens = rate;
    }
    queue->tokens_ms = now_ms;
}

bool merchant_queue_open(struct merchant_queue *queue, int64_t now_ms, int64_t *wait_ms)
{
    *wait_ms = 0;
    if (queue->in_flight >= (unsigned)queue->limit) {
        return false;
    }
    if (queue->merchant->rate_per_s == 0) {
        return true;
    }
    refill(queue, now_ms);
    if (queue->tokens >= 1) {
        return true;
    }
    *wait_ms = now_ms + 1 + (int64_t)((1 - queue->tokens) * 1000 / queue->merchant->rate_per_s);
    return false;
}

bool merchant_queue_limited(const struct merchant_queue *queue)
{
    return queue->in_flight >= (unsigned)queue->limit ||
           (queue->merchant->rate_per_s != 0 && queue->tokens < 1);
}

void merchant_queue_began(struct merchant_queue *queue)
{
    queue->in_flight++;
    if (queue->merchant->rate_per_s != 0) {
        queue->tokens -= 1;
    }
}

/* Each success adds 1/limit, so a full round of calls adds one: additive increase, multiplicative
 * decrease (Chiu and Jain 1989). */
static void raise_limit(struct merchant_queue *queue)
{
    double most = queue->merchant->max_in_flight;
    queue->limit += 1 / queue->limit;
    if (queue->limit > most) {
        queue->limit = most;
    }
}

void merchant_queue_ended(struct merchant_queue *queue, enum merchant_queue_answer answer,
                          int64_t began_ms, int64_t now_ms)
{
    queue->in_flight--;
    if (answer == MERCHANT_QUEUE_OK) {
        raise_limit(queue);
    } else if (answer == MERCHANT_QUEUE_RATE_LIMITED && began_ms > queue->lowered_ms) {
        queue->limit = queue->limit > 2 ? queue->limit / 2 : 1;
        queue->lowered_ms = now_ms;
    }
}
