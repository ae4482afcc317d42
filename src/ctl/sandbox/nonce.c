/* Two sets of hashes. New nonces go into the young set; when it is full, it replaces the old set.
 * So memory is fixed, and a nonce is remembered for at least SANDBOX_NONCES_KEPT later ones. */
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

uint64_t sandbox_hash(const struct buf *text)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    uint64_t value;
    (void)SHA256((const unsigned char *)text->data, text->len, digest);
    memcpy(&value, digest, sizeof value);
    return value;
}

/* A collision among a million nonces has a chance of 1 to 10^7. */
static uint64_t hash_nonce(const char *mchid, const char *nonce)
{
    AUTO_BUF struct buf text = {0};
    buf_printf(&text, "%s/%s", mchid, nonce);
    uint64_t value = sandbox_hash(&text);
    return value == 0 ? 1 : value;
}

/* The slot with the value, or the free slot for it. */
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
    struct set reused = nonces->old;
    nonces->old = nonces->young;
    memset(reused.slots, 0, SLOTS * sizeof(uint64_t));
    nonces->young = (struct set){.slots = reused.slots};
}

bool sandbox_nonces_add(struct sandbox_nonces *nonces, const char *mchid, const char *nonce)
{
    uint64_t value = hash_nonce(mchid, nonce);
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
