/* Two sets of hashes: new ones go into the young set; when that is full it becomes the old
 * one, and the old one is forgotten. Memory is fixed, and a nonce stays known for at least
 * SANDBOX_NONCES_KEPT later ones. */
#include "ctl/sandbox/sandbox.h"
#include "presignd/base/mem.h"

#include <openssl/sha.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 2 * SANDBOX_NONCES_KEPT }; /* a power of two, half full at most */

/* Open addressing; 0 marks a free slot. */
struct set {
    uint64_t *slots;
    size_t count;
};

struct sandbox_nonces {
    pthread_mutex_t lock;
    struct set young, old;
};

struct sandbox_nonces *sandbox_nonces_new(void)
{
    struct sandbox_nonces *nonces = mem_zalloc(1, sizeof *nonces);
    pthread_mutex_init(&nonces->lock, NULL);
    nonces->young.slots = mem_zalloc(SLOTS, sizeof(uint64_t));
    nonces->old.slots = mem_zalloc(SLOTS, sizeof(uint64_t));
    return nonces;
}

struct sandbox_nonces *sandbox_nonces_free(struct sandbox_nonces *nonces)
{
    if (nonces != NULL) {
        pthread_mutex_destroy(&nonces->lock);
        free(nonces->young.slots);
        free(nonces->old.slots);
        free(nonces);
    }
    return NULL;
}

/* 64 of SHA-256's bits: two of a million nonces meet once in 10^7 runs. */
static uint64_t hash(const char *mchid, const char *nonce)
{
    AUTO_BUF struct buf text = {0};
    buf_printf(&text, "%s/%s", mchid, nonce);
    unsigned char digest[SHA256_DIGEST_LENGTH];
    (void)SHA256((const unsigned char *)text.data, text.len, digest);
    uint64_t value;
    memcpy(&value, digest, sizeof value);
    return value == 0 ? 1 : value;
}

/* The slot that holds the value, or the free one where it belongs. */
static uint64_t *slot_of(const struct set *set, uint64_t value)
{
    size_t at = value & (SLOTS - 1);
    while (set->slots[at] != 0 && set->slots[at] != value) {
        at = (at + 1) & (SLOTS - 1);
    }
    return &set->slots[at];
}

static void grow_old(struct sandbox_nonces *nonces)
{
    struct set forgotten = nonces->old;
    nonces->old = nonces->young;
    memset(forgotten.slots, 0, SLOTS * sizeof(uint64_t));
    nonces->young = (struct set){.slots = forgotten.slots};
}

bool sandbox_nonces_add(struct sandbox_nonces *nonces, const char *mchid, const char *nonce)
{
    uint64_t value = hash(mchid, nonce);
    pthread_mutex_lock(&nonces->lock);
    bool fresh = *slot_of(&nonces->young, value) == 0 && *slot_of(&nonces->old, value) == 0;
    if (fresh) {
        *slot_of(&nonces->young, value) = value;
        if (++nonces->young.count == SANDBOX_NONCES_KEPT) {
            grow_old(nonces);
        }
    }
    pthread_mutex_unlock(&nonces->lock);
    return fresh;
}
