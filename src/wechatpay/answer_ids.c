#include "wechatpay/answer_ids.h"

#include "presignd/base/mem.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* In a ring, the oldest of which is overwritten; and each in the chain of its bucket, newest
 * first, so that the oldest of a chain is its last. */
struct entry {
    uint64_t id, owner;
    int64_t at_ms;
    uint32_t next; /* one more than an index; 0: none */
};

struct answer_ids {
    EVP_MD_CTX *digest;
    struct entry *entries;
    uint32_t *buckets; /* as entry.next */
    uint64_t accepted; /* in all */
    unsigned char key[ANSWER_IDS_KEY_SIZE];
};

struct answer_ids *answer_ids_new(const unsigned char key[ANSWER_IDS_KEY_SIZE])
{
    struct answer_ids *ids = mem_zalloc(1, sizeof *ids);
    ids->digest = EVP_MD_CTX_new();
    if (ids->digest == NULL) {
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

/* Of one or two strings, their ends included, so that no two pairs read alike. */
static uint64_t hash(const struct answer_ids *ids, const char *first, const char *second)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    uint64_t short_sum;
    if (EVP_DigestInit_ex(ids->digest, EVP_sha256(), NULL) != 1 ||
        EVP_DigestUpdate(ids->digest, ids->key, sizeof ids->key) != 1 ||
        EVP_DigestUpdate(ids->digest, first, strlen(first) + 1) != 1 ||
        EVP_DigestUpdate(ids->digest, second, strlen(second) + 1) != 1 ||
        EVP_DigestFinal_ex(ids->digest, sum, NULL) != 1) {
        mem_exhausted(); /* SHA-256 over memory fails for no other reason */
    }
    memcpy(&short_sum, sum, sizeof short_sum);
    return short_sum;
}

static uint32_t *bucket_of(const struct answer_ids *ids, uint64_t id)
{
    return &ids->buckets[id % ANSWER_IDS_MAX];
}

/* The newest of that id, NULL: none. */
static const struct entry *find(const struct answer_ids *ids, uint64_t id)
{
    for (uint32_t at = *bucket_of(ids, id); at != 0; at = ids->entries[at - 1].next) {
        if (ids->entries[at - 1].id == id) {
            return &ids->entries[at - 1];
        }
    }
    return NULL;
}

/* Takes the last out of its chain: it is the oldest of all. */
static void discard_last(const struct answer_ids *ids, uint64_t id)
{
    uint32_t *at = bucket_of(ids, id);
    while (ids->entries[*at - 1].next != 0) {
        at = &ids->entries[*at - 1].next;
    }
    *at = 0;
}

static void remember(struct answer_ids *ids, struct entry entry)
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
    remember(ids, entry);
    return true;
}
