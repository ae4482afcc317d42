#include "presignd/base/heap.h"

#include "presignd/base/mem.h"

#include <criterion/criterion.h>

Test(heap, slots_come_out_in_order_of_time)
{
    static const int64_t moments[] = {5, -3, INT64_MAX, 0, 5, INT64_MIN, 4};
    struct heap_slot slots[ARRAY_LENGTH(moments)] = {0};
    struct heap heap = {0};
    for (size_t i = 0; i < ARRAY_LENGTH(moments); i++) {
        heap_set(&heap, &slots[i], moments[i]);
    }
    static const int64_t sorted[] = {INT64_MIN, -3, 0, 4, 5, 5, INT64_MAX};
    for (size_t i = 0; i < ARRAY_LENGTH(sorted); i++) {
        struct heap_slot *first = heap_first(&heap);
        cr_assert_eq(first->at, sorted[i], "place %zu", i);
        heap_remove(&heap, first);
        cr_assert(!heap_holds(first));
    }
    cr_assert_null(heap_first(&heap));
    heap_deinit(&heap);
}

Test(heap, set_moves_a_slot_up_and_down)
{
    struct heap_slot a = {0}, b = {0};
    struct heap heap = {0};
    heap_set(&heap, &a, 10);
    heap_set(&heap, &b, 20);
    heap_set(&heap, &a, 30);
    cr_assert_eq(heap_first(&heap), &b);
    heap_set(&heap, &a, 15);
    cr_assert_eq(heap_first(&heap), &a);
    cr_assert_eq(heap.count, 2);
    heap_deinit(&heap);
}

Test(heap, removing_a_free_slot_does_nothing)
{
    struct heap_slot in = {0}, out = {0};
    struct heap heap = {0};
    heap_set(&heap, &in, 1);
    heap_remove(&heap, &out);
    heap_remove(&heap, &in);
    heap_remove(&heap, &in);
    cr_assert_eq(heap.count, 0);
    heap_deinit(&heap);
}

Test(heap, slots_can_be_reused_after_deinit)
{
    struct heap_slot slot = {0};
    struct heap heap = {0};
    heap_set(&heap, &slot, 1);
    heap_deinit(&heap);
    cr_assert(!heap_holds(&slot));
    heap_set(&heap, &slot, 2);
    cr_assert_eq(heap_first(&heap), &slot);
    heap_deinit(&heap);
}

static void check_order(const struct heap *heap)
{
    for (size_t i = 1; i < heap->count; i++) {
        cr_assert_leq(heap->slots[(i + 1) / 2 - 1]->at, heap->slots[i]->at);
        cr_assert_eq(heap->slots[i]->position, i + 1);
    }
}

/* The slot that replaces a removed one may have to rise. */
Test(heap, stays_ordered_under_random_sets_and_removes)
{
    enum { SLOTS = 200, STEPS = 5000 };
    static struct heap_slot slots[SLOTS];
    struct heap heap = {0};
    uint32_t random = 1;
    for (int i = 0; i < STEPS; i++) {
        random = random * 1664525 + 1013904223;
        struct heap_slot *slot = &slots[(random >> 8) % SLOTS];
        if ((random >> 20) % 3 == 0) {
            heap_remove(&heap, slot);
        } else {
            heap_set(&heap, slot, (random >> 24) % 50);
        }
        check_order(&heap);
    }
    heap_deinit(&heap);
}
