#include "sign/held_keys.h"

#include "presignd/base/mem.h"
#include "sign/backend.h"

#include <stdlib.h>
#include <string.h>

void held_keys_init(struct held_keys *keys)
{
    *keys = (struct held_keys){0};
    pthread_rwlock_init(&keys->lock, NULL);
}

void held_key_unref(struct held_key *key)
{
    if (key != NULL && __atomic_sub_fetch(&key->references, 1, __ATOMIC_ACQ_REL) == 0) {
        backend_key_free(key->key);
        free(key);
    }
}

void held_keys_deinit(struct held_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        held_key_unref(keys->keys[i]);
    }
    free((void *)keys->keys);
    pthread_rwlock_destroy(&keys->lock);
}

uint32_t held_keys_add(struct held_keys *keys, struct backend_key *key)
{
    uint32_t number = 0;
    pthread_rwlock_wrlock(&keys->lock);
    if (keys->count < HELD_KEYS_MAX && keys->last < UINT32_MAX) {
        struct held_key *held = mem_zalloc(1, sizeof *held);
        *held = (struct held_key){.number = ++keys->last, .references = 1, .key = key};
        keys->keys = mem_realloc((void *)keys->keys, (keys->count + 1) * sizeof(struct held_key *));
        keys->keys[keys->count++] = held;
        number = held->number;
    }
    pthread_rwlock_unlock(&keys->lock);
    if (number == 0) {
        backend_key_free(key);
    }
    return number;
}

/* Where the key with that number is, or would be. */
static size_t position(const struct held_keys *keys, uint32_t number)
{
    size_t low = 0, high = keys->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (keys->keys[middle]->number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct held_key *at(const struct held_keys *keys, size_t index, uint32_t number)
{
    return index < keys->count && keys->keys[index]->number == number ? keys->keys[index] : NULL;
}

void held_keys_drop(struct held_keys *keys, uint32_t number)
{
    pthread_rwlock_wrlock(&keys->lock);
    size_t index = position(keys, number);
    struct held_key *held = at(keys, index, number);
    if (held != NULL) {
        keys->count--;
        memmove((void *)(keys->keys + index), (void *)(keys->keys + index + 1),
                (keys->count - index) * sizeof(struct held_key *));
    }
    pthread_rwlock_unlock(&keys->lock);
    held_key_unref(held);
}

struct held_key *held_keys_get(struct held_keys *keys, uint32_t number)
{
    pthread_rwlock_rdlock(&keys->lock);
    struct held_key *held = at(keys, position(keys, number), number);
    if (held != NULL) {
        __atomic_add_fetch(&held->references, 1, __ATOMIC_RELAXED);
    }
    pthread_rwlock_unlock(&keys->lock);
    return held;
}
