/* A binary heap of times, the earliest first. Its slots are embedded in their owners. */
#ifndef PRESIGND_BASE_HEAP_H
#define PRESIGND_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `position` is 0 while the slot is in no heap; all zero is a free slot. */
struct heap_slot {
    int64_t at;
    size_t position;
};

/* All zero is an empty heap. */
struct heap {
    struct heap_slot **slots;
    size_t count, cap;
};

void heap_deinit(struct heap *heap);
/* Inserts the slot with the time `at`, or changes its time. */
void heap_set(struct heap *heap, struct heap_slot *slot, int64_t at);
/* Removes the slot; a slot in no heap is left alone. */
void heap_remove(struct heap *heap, struct heap_slot *slot);
/* The earliest slot, or NULL. */
struct heap_slot *heap_first(const struct heap *heap);

static inline bool heap_holds(const struct heap_slot *slot)
{
    return slot->position != 0;
}

#endif
