#include "presignd/flow/merchant_queue.h"

#include <criterion/criterion.h>

/* A merchant without keys. The test holds a reference, so it is not freed. */
static struct merchant merchant_with(unsigned max_in_flight, unsigned rate_per_s)
{
    return (struct merchant){
        .max_in_flight = max_in_flight, .rate_per_s = rate_per_s, .references = 1};
}

static bool open_at(struct merchant_queue *queue, int64_t now_ms)
{
    int64_t wait_ms;
    return merchant_queue_open(queue, now_ms, &wait_ms);
}

static unsigned begin_all(struct merchant_queue *queue, int64_t now_ms)
{
    unsigned count = 0;
    while (count < 10000 && open_at(queue, now_ms)) {
        merchant_queue_began(queue);
        count++;
    }
    return count;
}

static void end_all(struct merchant_queue *queue, enum merchant_queue_answer answer,
                    int64_t began_ms, int64_t now_ms)
{
    while (queue->in_flight > 0) {
        merchant_queue_ended(queue, answer, began_ms, now_ms);
    }
}

Test(queue, the_in_flight_limit_is_kept)
{
    struct merchant merchant = merchant_with(5, 0);
    struct merchant_queue queue;
    merchant_queue_init(&queue, &merchant);
    int64_t wait_ms;
    cr_assert_not(merchant_queue_limited(&queue));
    cr_assert_eq(begin_all(&queue, 1000), 5);
    cr_assert(merchant_queue_limited(&queue));
    cr_assert_not(merchant_queue_open(&queue, 1000, &wait_ms));
    cr_assert_eq(wait_ms, 0, "an answer opens it, not time");
    merchant_queue_ended(&queue, MERCHANT_QUEUE_OK, 1000, 1010);
    cr_assert_eq(begin_all(&queue, 1010), 1);
    merchant_queue_deinit(&queue);
    cr_assert_eq(merchant.references, 1);
}

Test(queue, a_429_halves_the_limit_once_for_all_calls_in_flight)
{
    struct merchant merchant = merchant_with(64, 0);
    struct merchant_queue queue;
    merchant_queue_init(&queue, &merchant);
    cr_assert_eq(begin_all(&queue, 1000), 64);
    end_all(&queue, MERCHANT_QUEUE_RATE_LIMITED, 1000, 1050);
    cr_assert_eq(begin_all(&queue, 2000), 32);
    end_all(&queue, MERCHANT_QUEUE_RATE_LIMITED, 2000, 2050);
    cr_assert_eq(begin_all(&queue, 3000), 16);
    merchant_queue_deinit(&queue);
}

Test(queue, the_limit_never_falls_below_one_call)
{
    struct merchant merchant = merchant_with(3, 0);
    struct merchant_queue queue;
    merchant_queue_init(&queue, &merchant);
    for (int64_t now_ms = 1000; now_ms < 9000; now_ms += 100) {
        cr_assert_geq(begin_all(&queue, now_ms), 1);
        end_all(&queue, MERCHANT_QUEUE_RATE_LIMITED, now_ms, now_ms + 50);
    }
    cr_assert_eq(begin_all(&queue, 10000), 1);
    merchant_queue_deinit(&queue);
}

Test(queue, the_limit_rises_by_about_one_for_each_round_of_successes)
{
    struct merchant merchant = merchant_with(64, 0);
    struct merchant_queue queue;
    merchant_queue_init(&queue, &merchant);
    begin_all(&queue, 1000);
    end_all(&queue, MERCHANT_QUEUE_RATE_LIMITED, 1000, 1050);
    unsigned before = 32;
    for (int64_t now_ms = 2000; now_ms < 12000; now_ms += 100) {
        unsigned count = begin_all(&queue, now_ms);
        cr_assert(count == before || count == before + 1, "from %u to %u", before, count);
        before = count;
        end_all(&queue, MERCHANT_QUEUE_OK, now_ms, now_ms + 50);
    }
    cr_assert_eq(before, 64, "never above the merchant's own");
    merchant_queue_deinit(&queue);
}

Test(queue, a_missing_answer_does_not_change_the_limit)
{
    struct merchant merchant = merchant_with(8, 0);
    struct merchant_queue queue;
    merchant_queue_init(&queue, &merchant);
    begin_all(&queue, 1000);
    end_all(&queue, MERCHANT_QUEUE_NEUTRAL, 1000, 1050);
    cr_assert_eq(begin_all(&queue, 2000), 8);
    merchant_queue_deinit(&queue);
}

Test(queue, the_bucket_holds_the_calls_of_one_second)
{
    struct merchant merchant = merchant_with(1000, 10);
    struct merchant_queue queue;
    merchant_queue_init(&queue, &merchant);
    cr_assert_eq(begin_all(&queue, 1000000), 10);
    cr_assert(merchant_queue_limited(&queue));
    int64_t wait_ms;
    cr_assert_not(merchant_queue_open(&queue, 1000000, &wait_ms));
    cr_assert(wait_ms > 1000000 && wait_ms <= 1000101, "%ld", (long)wait_ms);
    cr_assert(open_at(&queue, wait_ms));
    unsigned sent = 0;
    for (int64_t now_ms = 1000000; now_ms < 1010000; now_ms += 7) {
        sent += begin_all(&queue, now_ms);
    }
    cr_assert(sent >= 98 && sent <= 101, "%u in ten seconds", sent);
    cr_assert_eq(begin_all(&queue, 2000000), 10, "unused tokens beyond one second are lost");
    merchant_queue_deinit(&queue);
}

Test(queue, a_reload_brings_new_limits_and_ends_holds)
{
    struct merchant before = merchant_with(8, 0);
    struct merchant after = merchant_with(3, 2);
    struct merchant_queue queue;
    merchant_queue_init(&queue, &before);
    queue.hold.state = HOLD_UNAUTHORIZED;
    cr_assert(merchant_queue_configure(&queue, &after, 1500));
    cr_assert_eq(queue.hold.state, HOLD_OPEN);
    cr_assert_eq(before.references, 1);
    cr_assert_eq(after.references, 2);
    cr_assert_eq(begin_all(&queue, 2000), 2, "by the new rate");
    cr_assert_eq(begin_all(&queue, 9000), 1, "by the new limit");
    merchant_queue_deinit(&queue);
    cr_assert_eq(after.references, 1);
}

Test(queue, a_reload_without_a_change_keeps_the_state)
{
    struct merchant before = merchant_with(8, 0);
    struct merchant after = merchant_with(8, 0);
    struct merchant_queue queue;
    merchant_queue_init(&queue, &before);
    begin_all(&queue, 1000);
    end_all(&queue, MERCHANT_QUEUE_RATE_LIMITED, 1000, 1050);
    queue.hold.state = HOLD_UNAUTHORIZED;
    cr_assert_not(merchant_queue_configure(&queue, &after, 1500));
    cr_assert_eq(queue.hold.state, HOLD_UNAUTHORIZED);
    cr_assert_eq(after.references, 2);
    cr_assert_eq(begin_all(&queue, 2000), 4, "the limit stays lowered");
    merchant_queue_deinit(&queue);
}

/* Probes take a different event each time. Ordinary calls take failed probes first. */
Test(queue, the_next_probe_is_another_event)
{
    struct merchant merchant = merchant_with(8, 0);
    struct merchant_queue queue;
    struct list_link events[2 * MERCHANT_QUEUE_PROBED_MAX];
    merchant_queue_init(&queue, &merchant);
    for (size_t i = 0; i < ARRAY_LENGTH(events); i++) {
        list_push_back(&queue.waiting, &events[i]);
    }
    for (size_t i = 0; i < (size_t)3 * MERCHANT_QUEUE_PROBED_MAX; i++) {
        struct list_link *next = merchant_queue_next(&queue, true);
        cr_assert_eq(next, &events[ARRAY_LENGTH(events) - 1 - i % MERCHANT_QUEUE_PROBED_MAX]);
        list_remove(i < MERCHANT_QUEUE_PROBED_MAX ? &queue.waiting : &queue.probed, next);
        list_push_back(&queue.probed, next);
        cr_assert_eq(merchant_queue_next(&queue, false), list_first(&queue.probed));
    }
    cr_assert_eq(merchant_queue_waiting(&queue), ARRAY_LENGTH(events));
    list_init(&queue.probed);
    cr_assert_eq(merchant_queue_next(&queue, false), &events[0]);
    list_init(&queue.waiting);
    list_push_back(&queue.probed, &events[0]);
    cr_assert_eq(merchant_queue_next(&queue, true), &events[0], "better than none");
    merchant_queue_deinit(&queue);
}
