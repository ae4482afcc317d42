#include "presignd/base/map.h"

#include "presignd/base/mem.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct entry {
    struct entry *next;
    uint64_t hash;
    void *value;
    size_t len;
    unsigned char key[];
};

/* Buckets are chains. `size` is a power of two, at least the number of entries. */
struct map {
    struct entry **buckets;
    size_t size, count;
    uint64_t seed[2];
};

enum { FIRST_SIZE = 16 };

static uint64_t rotate(uint64_t word, int bits)
{
    return word << bits | word >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

/* In the machine's byte order: hashes never leave the process. */
static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

/* SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012, with one
 * round for each word and three at the end): keyed, and fast on short keys. */
static uint64_t hash_of(const uint64_t seed[2], const unsigned char *key, size_t len)
{
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575, seed[1] ^ 0x646f72616e646f6d,
                     seed[0] ^ 0x6c7967656e657261, seed[1] ^ 0x7465646279746573};
    size_t whole = len - len % 8;
    for (size_t i = 0; i < whole; i += 8) {
        uint64_t word;
        memcpy(&word, key + i, sizeof word);
        sip_word(v, word);
    }
    uint64_t last = (uint64_t)len << 56;
    for (size_t i = whole; i < len; i++) {
        last |= (uint64_t)key[i] << 8 * (i - whole);
    }
    sip_word(v, last);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) {
        sip_round(v);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

struct map *map_new(void)
{
    struct map *map = mem_zalloc(1, sizeof *map);
    map->size = FIRST_SIZE;
    map->buckets = mem_zalloc(map->size, sizeof(struct entry *));
    if (getrandom(map->seed, sizeof map->seed, 0) != (ssize_t)sizeof map->seed) {
        abort(); /* getrandom(2) does not fail for so few bytes */
    }
    return map;
}

struct map *map_free(struct map *map)
{
    if (map == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < map->size; i++) {
        for (struct entry *entry = map->buckets[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            free(entry);
        }
    }
    free(map->buckets);
    free(map);
    return NULL;
}

size_t map_count(const struct map *map)
{
    return map->count;
}

/* The link to the key's entry, or the link where a new entry goes. */
static struct entry **find(const struct map *map, uint64_t hash, const void *key, size_t len)
{
    struct entry **link = &map->buckets[hash & (map->size - 1)];
    for (; *link != NULL; link = &(*link)->next) {
        const struct entry *entry = *link;
        if (entry->hash == hash && entry->len == len &&
            (len == 0 || memcmp(entry->key, key, len) == 0)) {
            break;
        }
    }
    return link;
}

static void grow(struct map *map)
{
    size_t size = map->size * 2;
    struct entry **buckets = mem_zalloc(size, sizeof(struct entry *));
    for (size_t i = 0; i < map->size; i++) {
        for (struct entry *entry = map->buckets[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            entry->next = buckets[entry->hash & (size - 1)];
            buckets[entry->hash & (size - 1)] = entry;
        }
    }
    free(map->buckets);
    map->buckets = buckets;
    map->size = size;
}

void *map_get(const struct map *map, const void *key, size_t len)
{
    const struct entry *entry = *find(map, hash_of(map->seed, key, len), key, len);
    return entry == NULL ? NULL : entry->value;
}

void *map_set(struct map *map, const void *key, size_t len, void *value)
{
    uint64_t hash = hash_of(map->seed, key, len);
    struct entry **link = find(map, hash, key, len);
    if (*link != NULL) {
        void *before = (*link)->value;
        (*link)->value = value;
        return before;
    }
    struct entry *entry = mem_alloc(sizeof *entry + len);
    *entry = (struct entry){.hash = hash, .value = value, .len = len};
    if (len > 0) {
        memcpy(entry->key, key, len);
    }
    *link = entry;
    if (++map->count > map->size) {
        grow(map);
    }
    return NULL;
}

void *map_remove(struct map *map, const void *key, size_t len)
{
    struct entry **link = find(map, hash_of(map->seed, key, len), key, len);
    struct entry *entry = *link;
    if (entry == NULL) {
        return NULL;
    }
    void *value = entry->value;
    *link = entry->next;
    free(entry);
    assert(map->count > 0);
    map->count--;
    return value;
}
