#include "presignd/base/heap.h"

#include "presignd/base/mem.h"

#include <assert.h>
#include <stdlib.h>

/* Positions count from 1, so that 0 can mean "in no heap": the parent of p is p / 2. */

static void put(struct heap *heap, size_t position, struct heap_slot *slot)
{
    heap->slots[position - 1] = slot;
    slot->position = position;
}

static struct heap_slot *get(const struct heap *heap, size_t position)
{
    return heap->slots[position - 1];
}

static void rise(struct heap *heap, struct heap_slot *slot)
{
    size_t position = slot->position;
    while (position > 1 && slot->at < get(heap, position / 2)->at) {
        put(heap, position, get(heap, position / 2));
        position /= 2;
    }
    put(heap, position, slot);
}

static void sink(struct heap *heap, struct heap_slot *slot)
{
    size_t position = slot->position;
    while (position * 2 <= heap->count) {
        size_t child = position * 2;
        if (child < heap->count && get(heap, child + 1)->at < get(heap, child)->at) {
            child++;
        }
        if (slot->at <= get(heap, child)->at) {
            break;
        }
        put(heap, position, get(heap, child));
        position = child;
    }
    put(heap, position, slot);
}

void heap_deinit(struct heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) {
        heap->slots[i]->position = 0;
    }
    free(heap->slots);
    *heap = (struct heap){0};
}

void heap_set(struct heap *heap, struct heap_slot *slot, int64_t at)
{
    if (!heap_holds(slot)) {
        if (heap->count == heap->cap) {
            heap->cap = heap->cap == 0 ? 16 : heap->cap * 2;
            heap->slots = mem_realloc(heap->slots, heap->cap * sizeof(struct heap_slot *));
        }
        put(heap, ++heap->count, slot);
    }
    assert(get(heap, slot->position) == slot);
    slot->at = at;
    rise(heap, slot);
    sink(heap, slot);
}

void heap_remove(struct heap *heap, struct heap_slot *slot)
{
    if (!heap_holds(slot)) {
        return;
    }
    assert(slot->position <= heap->count && get(heap, slot->position) == slot);
    struct heap_slot *last = get(heap, heap->count--);
    if (last != slot) {
        put(heap, slot->position, last);
        rise(heap, last);
        sink(heap, last);
    }
    slot->position = 0;
}

struct heap_slot *heap_first(const struct heap *heap)
{
    return heap->count == 0 ? NULL : heap->slots[0];
}
