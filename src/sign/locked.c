#include "sign/locked.h"

#include "presignd/base/mem.h"

#include <openssl/crypto.h>
#include <sys/mman.h>
#include <unistd.h>

/* Pages are locked when they are first used: a mapping may be much larger than its content. */
void locked_map(struct locked *locked, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    locked->size = (size + page - 1) / page * page;
    locked->bytes =
        mmap(NULL, locked->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (locked->bytes == MAP_FAILED) {
        mem_exhausted();
    }
    locked->is_locked = mlock2(locked->bytes, locked->size, MLOCK_ONFAULT) == 0;
    (void)madvise(locked->bytes, locked->size, MADV_DONTDUMP);
}

void locked_unmap(struct locked *locked)
{
    if (locked->bytes != NULL) {
        OPENSSL_cleanse(locked->bytes, locked->size);
        munmap(locked->bytes, locked->size);
    }
    *locked = (struct locked){0};
}

void locked_slots_init(struct locked_slots *slots, size_t slot_size, size_t count)
{
    *slots = (struct locked_slots){.slot_size = slot_size};
    pthread_mutex_init(&slots->lock, NULL);
    locked_map(&slots->memory, slot_size * count);
}

void locked_slots_deinit(struct locked_slots *slots)
{
    /* Not the whole mapping: cleansing it would make each unused page real. */
    if (slots->memory.bytes != NULL) {
        OPENSSL_cleanse(slots->memory.bytes, slots->fresh);
        munmap(slots->memory.bytes, slots->memory.size);
        pthread_mutex_destroy(&slots->lock);
    }
    *slots = (struct locked_slots){0};
}

void *locked_slots_take(struct locked_slots *slots)
{
    pthread_mutex_lock(&slots->lock);
    void *slot = slots->free_slot;
    if (slot != NULL) {
        slots->free_slot = *(void **)slot;
        *(void **)slot = NULL;
    } else if (slots->fresh + slots->slot_size <= slots->memory.size) {
        slot = (char *)slots->memory.bytes + slots->fresh;
        slots->fresh += slots->slot_size;
    }
    pthread_mutex_unlock(&slots->lock);
    return slot;
}

void locked_slots_give_back(struct locked_slots *slots, void *slot)
{
    OPENSSL_cleanse(slot, slots->slot_size);
    pthread_mutex_lock(&slots->lock);
    *(void **)slot = slots->free_slot;
    slots->free_slot = slot;
    pthread_mutex_unlock(&slots->lock);
}
