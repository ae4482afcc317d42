#include "sign/backend.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "sign/bignum.h"
#include "sign/locked.h"

#include <assert.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <stdatomic.h>
#include <stdlib.h>

/* From how many waiting signatures on a batch takes less time than OpenSSL: measured on Zen 4,
 * where a batch of 2048 bits takes as long as four signatures of OpenSSL. */
static const struct key_size {
    int bits;
    size_t worth_it;
} key_sizes[] = {{2048, 4}, {3072, 6}, {4096, 3}};

struct backend {
    struct crypto_mb *library; /* NULL: OpenSSL alone */
    char *name;
    atomic_bool is_off; /* the library made a mistake */
    atomic_bool is_unlocked;
    struct locked_slots keys; /* of struct crypto_mb_key */
};

struct backend_key {
    struct backend *backend;
    EVP_PKEY *pkey;
    int bits;
    struct crypto_mb_key *numbers; /* NULL: OpenSSL signs */
    /* The context of the last signature by OpenSSL. NULL: a thread uses it, or none is made. */
    _Atomic(EVP_PKEY_CTX *) idle;
};

struct backend_worker {
    struct backend *backend;
    struct locked memory;
    struct crypto_mb_work *work; /* NULL: OpenSSL alone */
};

/* --- The backend --- */

enum backend_choice backend_choice_of(const char *text)
{
    static const char *const names[] = {
        [BACKEND_BEST] = "auto", [BACKEND_OPENSSL] = "openssl", [BACKEND_CRYPTO_MB] = "crypto_mb"};
    for (size_t i = 0; text != NULL && i < ARRAY_LENGTH(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            return (enum backend_choice)i;
        }
    }
    return BACKEND_BEST;
}

const char *backend_path(void)
{
    const char *path = getenv("PRESIGND_CRYPTO_MB");
    return text_is_given(path) ? path : NULL;
}

struct backend *backend_new(enum backend_choice choice, const char *path, char **why)
{
    *why = NULL;
    struct crypto_mb *library = choice == BACKEND_OPENSSL ? NULL : crypto_mb_open(path, why);
    if (library == NULL && choice == BACKEND_CRYPTO_MB) {
        return NULL;
    }
    struct backend *backend = mem_zalloc(1, sizeof *backend);
    backend->library = library;
    if (library == NULL) {
        backend->name = mem_strdup("openssl");
        return backend;
    }
    backend->name = mem_printf("crypto_mb (%s)", crypto_mb_name(library));
    locked_slots_init(&backend->keys, sizeof(struct crypto_mb_key), BACKEND_KEYS_MAX);
    backend->is_unlocked = !backend->keys.memory.is_locked;
    return backend;
}

struct backend *backend_free(struct backend *backend)
{
    if (backend != NULL) {
        locked_slots_deinit(&backend->keys);
        crypto_mb_free(backend->library);
        free(backend->name);
        free(backend);
    }
    return NULL;
}

enum sign_backend backend_now(const struct backend *backend)
{
    return backend->library != NULL && !backend->is_off ? SIGN_BY_CRYPTO_MB : SIGN_BY_OPENSSL;
}

const char *backend_name(const struct backend *backend)
{
    return backend->name;
}

char *backend_describe(const struct backend *backend, const char *why)
{
    return why == NULL ? mem_strdup(backend->name) : mem_printf("%s: %s", backend->name, why);
}

bool backend_is_locked(const struct backend *backend)
{
    return !backend->is_unlocked;
}

char *backend_try(enum backend_choice choice, char **why)
{
    struct backend *backend = backend_new(choice, backend_path(), why);
    if (backend == NULL) {
        return NULL;
    }
    char *text = backend_describe(backend, *why);
    free(*why);
    *why = NULL;
    backend_free(backend);
    return text;
}

/* --- Keys --- */

static bool has_third_prime(const EVP_PKEY *key)
{
    AUTO_BIGNUM BIGNUM *prime = NULL;
    bool has = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR3, &prime) == 1;
    ERR_clear_error();
    return has;
}

static bool fill(struct crypto_mb_key *numbers, const EVP_PKEY *key)
{
    AUTO_BIGNUM BIGNUM *n = NULL, *e = NULL, *p = NULL, *q = NULL;
    bool ok = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) == 1 &&
              EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) == 1 &&
              EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR1, &p) == 1 &&
              EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR2, &q) == 1 &&
              BN_is_word(e, RSA_F4) && !has_third_prime(key) &&
              crypto_mb_key_fill(numbers, EVP_PKEY_get_bits(key), n, p, q);
    ERR_clear_error();
    return ok;
}

/* NULL for a key that the library does not take. */
static struct crypto_mb_key *numbers_of(struct backend *backend, const EVP_PKEY *key)
{
    if (backend->library == NULL || !crypto_mb_takes(EVP_PKEY_get_bits(key))) {
        return NULL;
    }
    struct crypto_mb_key *numbers = locked_slots_take(&backend->keys);
    if (numbers != NULL && !fill(numbers, key)) {
        locked_slots_give_back(&backend->keys, numbers);
        return NULL;
    }
    return numbers;
}

struct backend_key *backend_key_new(struct backend *backend, EVP_PKEY *key)
{
    struct backend_key *out = mem_zalloc(1, sizeof *out);
    *out = (struct backend_key){.backend = backend,
                                .pkey = key,
                                .bits = EVP_PKEY_get_bits(key),
                                .numbers = numbers_of(backend, key)};
    return out;
}

struct backend_key *backend_key_free(struct backend_key *key)
{
    if (key != NULL) {
        if (key->numbers != NULL) {
            locked_slots_give_back(&key->backend->keys, key->numbers);
        }
        EVP_PKEY_CTX_free(key->idle);
        EVP_PKEY_free(key->pkey);
        free(key);
    }
    return NULL;
}

/* --- Workers --- */

struct backend_worker *backend_worker_new(struct backend *backend)
{
    struct backend_worker *worker = mem_zalloc(1, sizeof *worker);
    worker->backend = backend;
    if (backend->library != NULL) {
        locked_map(&worker->memory, crypto_mb_work_size(backend->library));
        worker->work = worker->memory.bytes;
        if (!worker->memory.is_locked) {
            backend->is_unlocked = true;
        }
    }
    return worker;
}

struct backend_worker *backend_worker_free(struct backend_worker *worker)
{
    if (worker != NULL) {
        locked_unmap(&worker->memory);
        free(worker);
    }
    return NULL;
}

/* --- Signing --- */

struct batch {
    struct sign_item *items[SIGN_BATCH];
    const struct crypto_mb_key *keys[SIGN_BATCH];
    uint8_t digests[SIGN_BATCH][CRYPTO_MB_DIGEST_SIZE];
    size_t count;
};

static void collect(struct batch *batch, struct sign_item *items, size_t count, int bits)
{
    for (size_t i = 0; i < count; i++) {
        const struct backend_key *key = items[i].key;
        if (key != NULL && key->numbers != NULL && key->bits == bits) {
            batch->items[batch->count] = &items[i];
            batch->keys[batch->count++] = key->numbers;
        }
    }
}

static void run(struct backend_worker *worker, struct batch *batch, int bits)
{
    struct backend *backend = worker->backend;
    enum sign_end ends[SIGN_BATCH];
    for (size_t i = 0; i < batch->count; i++) {
        const struct sign_item *item = batch->items[i];
        SHA256(item->message, item->len, batch->digests[i]);
    }
    crypto_mb_sign(backend->library, worker->work, bits, batch->keys, batch->digests, batch->count,
                   ends);
    for (size_t i = 0; i < batch->count; i++) {
        struct sign_item *item = batch->items[i];
        if (ends[i] == SIGN_OK) {
            item->end = SIGN_OK;
            item->backend = SIGN_BY_CRYPTO_MB;
            text_base64(&item->signature, worker->work->signature[i], (size_t)bits / 8);
        } else {
            item->mistake = ends[i];
            backend->is_off = true;
        }
    }
    crypto_mb_cleanse(backend->library, worker->work);
}

static void sign_in_batches(struct backend_worker *worker, struct sign_item *items, size_t count)
{
    for (size_t i = 0; i < ARRAY_LENGTH(key_sizes); i++) {
        struct batch batch = {.count = 0};
        collect(&batch, items, count, key_sizes[i].bits);
        if (batch.count >= key_sizes[i].worth_it &&
            backend_now(worker->backend) == SIGN_BY_CRYPTO_MB) {
            run(worker, &batch, key_sizes[i].bits);
        }
    }
}

/* A new context costs about a hundredth of a signature, so each key keeps one. Threads that sign
 * with one key at the same time make their own contexts. The key keeps that of the last one. */
static enum sign_end sign_one(struct sign_item *item)
{
    struct backend_key *key = item->key;
    if (key == NULL) {
        return SIGN_FAILED;
    }
    EVP_PKEY_CTX *context = atomic_exchange(&key->idle, NULL);
    if (context == NULL) {
        context = sign_context_new(key->pkey);
    }
    bool ok = context != NULL && sign_with(context, item->message, item->len, &item->signature);
    if (!ok) { /* the context may be in any state */
        EVP_PKEY_CTX_free(context);
        context = NULL;
    }
    EVP_PKEY_CTX_free(atomic_exchange(&key->idle, context));
    return ok ? SIGN_OK : SIGN_FAILED;
}

void backend_sign(struct backend_worker *worker, struct sign_item *items, size_t count)
{
    assert(count <= SIGN_BATCH);
    for (size_t i = 0; i < count; i++) {
        items[i].end = SIGN_FAILED;
        items[i].backend = SIGN_BY_OPENSSL;
        items[i].mistake = SIGN_OK;
    }
    if (worker->work != NULL) {
        sign_in_batches(worker, items, count);
    }
    for (size_t i = 0; i < count; i++) {
        if (items[i].end != SIGN_OK) {
            items[i].end = sign_one(&items[i]);
        }
    }
}
