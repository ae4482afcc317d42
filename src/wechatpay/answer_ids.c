#include "wechatpay/answer_ids.h"

#include "presignd/base/mem.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* Entries lie in a ring; a new one overwrites the oldest. Each bucket chains its entries, newest
 * first, so the last one of a chain is its oldest. */
struct entry {
    uint64_t id, owner;
    int64_t at_ms;
    uint32_t next; /* index + 1; 0: none */
};

struct answer_ids {
    EVP_MD_CTX *digest;
    struct entry *entries;
    uint32_t *buckets; /* as entry.next */
    uint64_t accepted; /* since the start */
    unsigned char key[ANSWER_IDS_KEY_SIZE];
};

struct answer_ids *answer_ids_new(const unsigned char key[ANSWER_IDS_KEY_SIZE])
{
    struct answer_ids *ids = mem_zalloc(1, sizeof *ids);
    ids->digest = EVP_MD_CTX_new();
    if (ids->digest == NULL || EVP_DigestInit_ex(ids->digest, EVP_sha256(), NULL) != 1) {
        mem_exhausted();
    }
    ids->entries = mem_zalloc(ANSWER_IDS_MAX, sizeof *ids->entries);
    ids->buckets = mem_zalloc(ANSWER_IDS_MAX, sizeof *ids->buckets);
    memcpy(ids->key, key, sizeof ids->key);
    return ids;
}

struct answer_ids *answer_ids_free(struct answer_ids *ids)
{
    if (ids != NULL) {
        EVP_MD_CTX_free(ids->digest);
        free(ids->entries);
        free(ids->buckets);
        free(ids);
    }
    return NULL;
}

/* Hashes both strings with their NULs, so that different pairs have different input. */
static uint64_t hash(const struct answer_ids *ids, const char *first, const char *second)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    uint64_t short_sum;
    /* Without an algorithm, the context begins again with the one that it has. */
    if (EVP_DigestInit_ex(ids->digest, NULL, NULL) != 1 ||
        EVP_DigestUpdate(ids->digest, ids->key, sizeof ids->key) != 1 ||
        EVP_DigestUpdate(ids->digest, first, strlen(first) + 1) != 1 ||
        EVP_DigestUpdate(ids->digest, second, strlen(second) + 1) != 1 ||
        EVP_DigestFinal_ex(ids->digest, sum, NULL) != 1) {
        mem_exhausted(); /* the only reason for which SHA-256 can fail */
    }
    memcpy(&short_sum, sum, sizeof short_sum);
    return short_sum;
}

static uint32_t *bucket_of(const struct answer_ids *ids, uint64_t id)
{
    return &ids->buckets[id % ANSWER_IDS_MAX];
}

/* The newest entry of the id, or NULL. */
static const struct entry *find(const struct answer_ids *ids, uint64_t id)
{
    for (uint32_t at = *bucket_of(ids, id); at != 0; at = ids->entries[at - 1].next) {
        if (ids->entries[at - 1].id == id) {
            return &ids->entries[at - 1];
        }
    }
    return NULL;
}

/* Removes the last entry of the chain, which is the oldest of all. */
static void discard_last(const struct answer_ids *ids, uint64_t id)
{
    uint32_t *at = bucket_of(ids, id);
    while (ids->entries[*at - 1].next != 0) {
        at = &ids->entries[*at - 1].next;
    }
    *at = 0;
}

static void store(struct answer_ids *ids, struct entry entry)
{
    uint32_t index = (uint32_t)(ids->accepted % ANSWER_IDS_MAX);
    if (ids->accepted++ >= ANSWER_IDS_MAX) {
        discard_last(ids, ids->entries[index].id);
    }
    uint32_t *bucket = bucket_of(ids, entry.id);
    entry.next = *bucket;
    ids->entries[index] = entry;
    *bucket = index + 1;
}

bool answer_ids_accept(struct answer_ids *ids, const char *id, const char *mchid,
                       const char *contract_code, int64_t mono_ms)
{
    const struct entry entry = {
        .id = hash(ids, id, ""), .owner = hash(ids, mchid, contract_code), .at_ms = mono_ms};
    const struct entry *known = find(ids, entry.id);
    if (known != NULL && known->owner != entry.owner &&
        mono_ms - known->at_ms < ANSWER_IDS_AGE_MS) {
        return false;
    }
    store(ids, entry);
    return true;
}
