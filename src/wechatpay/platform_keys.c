#include "presignd/wechatpay/platform_keys.h"

#include "presignd/base/mem.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

struct platform_keys {
    unsigned references; /* atomic */
    struct verify_key items[PLATFORM_KEYS_MAX];
    size_t count;
    int64_t signed_s;
};

struct platform_keys *platform_keys_new(void)
{
    struct platform_keys *keys = mem_zalloc(1, sizeof *keys);
    keys->references = 1;
    return keys;
}

struct platform_keys *platform_keys_ref(struct platform_keys *keys)
{
    __atomic_add_fetch(&keys->references, 1, __ATOMIC_RELAXED);
    return keys;
}

static void free_items(const struct verify_key *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free((char *)items[i].serial);
        EVP_PKEY_free(items[i].key);
    }
}

struct platform_keys *platform_keys_unref(struct platform_keys *keys)
{
    if (keys != NULL && __atomic_sub_fetch(&keys->references, 1, __ATOMIC_ACQ_REL) == 0) {
        free_items(keys->items, keys->count);
        free(keys);
    }
    return NULL;
}

static bool is_among(const struct verify_key *item, const struct verify_key *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(item->serial, items[i].serial) == 0 &&
            EVP_PKEY_eq(item->key, items[i].key) == 1) {
            return true;
        }
    }
    return false;
}

bool platform_keys_set(struct platform_keys *keys, const struct verify_key *items, size_t count,
                       int64_t signed_s)
{
    assert(count <= PLATFORM_KEYS_MAX);
    bool changed = keys->count != count;
    for (size_t i = 0; i < count; i++) {
        changed = changed || !is_among(&items[i], keys->items, keys->count);
    }
    free_items(keys->items, keys->count);
    if (count > 0) {
        memcpy(keys->items, items, count * sizeof *items);
    }
    keys->count = count;
    keys->signed_s = signed_s;
    return changed;
}

int64_t platform_keys_signed_s(const struct platform_keys *keys)
{
    return keys == NULL ? 0 : keys->signed_s;
}

const struct verify_key *platform_keys_get(const struct platform_keys *keys, size_t *count)
{
    *count = keys->count;
    return keys->items;
}
