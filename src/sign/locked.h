/* Memory for private keys: never in swap (mlock(2)) or in a core dump (MADV_DONTDUMP), and cleansed
 * before it is given back. */
#ifndef PRESIGND_SIGN_LOCKED_H
#define PRESIGND_SIGN_LOCKED_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* A mapping of whole pages, all zero at first. */
struct locked {
    void *bytes;
    size_t size;
    bool
        is_locked; /* false: RLIMIT_MEMLOCK does not permit it; the memory is usable all the same */
};

/* Aborts when memory is exhausted. A page takes memory from its first use on, but all of `size`
 * counts toward RLIMIT_MEMLOCK. */
void locked_map(struct locked *locked, size_t size);
void locked_unmap(struct locked *locked);

/* Slots of one size in one mapping. Any thread. */
struct locked_slots {
    struct locked memory;
    pthread_mutex_t lock; /* for all below */
    size_t slot_size;
    size_t fresh;    /* the offset of the first slot that was never used */
    void *free_slot; /* each free one begins with the address of the next */
};

/* `slot_size`: a multiple of 64. */
void locked_slots_init(struct locked_slots *slots, size_t slot_size, size_t count);
void locked_slots_deinit(struct locked_slots *slots);
/* NULL when all are taken. */
void *locked_slots_take(struct locked_slots *slots) __attribute__((warn_unused_result));
/* Cleanses the slot. */
void locked_slots_give_back(struct locked_slots *slots, void *slot);

#endif
