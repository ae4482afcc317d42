/* The private keys of the signing threads, by number. Any thread. */
#ifndef PRESIGND_SIGN_HELD_KEYS_H
#define PRESIGND_SIGN_HELD_KEYS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/* A reload has the old and the new keys. */
#define HELD_KEYS_MAX 4096

struct backend_key;

struct held_key {
    uint32_t number;
    unsigned references; /* atomic: signatures in progress hold one */
    struct backend_key *key;
};

struct held_keys {
    pthread_rwlock_t lock;
    struct held_key **keys; /* by number, which only grows */
    size_t count;
    uint32_t last;
};

void held_keys_init(struct held_keys *keys);
void held_keys_deinit(struct held_keys *keys);
/* Takes over `key`. Its number, which is never used again; 0: there are HELD_KEYS_MAX already. */
uint32_t held_keys_add(struct held_keys *keys, struct backend_key *key);
void held_keys_drop(struct held_keys *keys, uint32_t number);
/* A reference, or NULL. */
struct held_key *held_keys_get(struct held_keys *keys, uint32_t number);
void held_key_unref(struct held_key *key);

#endif
