/* Threads that sign with one backend, while keys come and go, and while the library begins to make
 * mistakes. Every signature is right. */
#include "crypto-mb/rsa.h"
#include "crypto-mb/stand_in.h"
#include "presignd/base/mem.h"
#include "sign/backend.h"
#include "sign/known_answers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4, ROUNDS = 40, GOOD_BATCHES = 60 };

struct signing {
    struct backend *backend;
    EVP_PKEY *pkey;
    const char *expected;
};

static atomic_uint by_library, by_openssl, faults;
static atomic_bool stop;

static const char text[] = "the same text for all";

static struct backend_key *key_new(const struct signing *signing)
{
    EVP_PKEY_up_ref(signing->pkey);
    return backend_key_new(signing->backend, signing->pkey);
}

static void check(const struct sign_item *item, const char *expected)
{
    if (item->end != SIGN_OK || strcmp(item->signature.data, expected) != 0) {
        (void)fprintf(stderr, "a signature is wrong\n");
        abort();
    }
    faults += item->mistake != SIGN_OK;
    *(item->backend == SIGN_BY_CRYPTO_MB ? &by_library : &by_openssl) += 1;
}

static void *sign(void *context)
{
    const struct signing *signing = context;
    struct backend_worker *worker = backend_worker_new(signing->backend);
    for (int round = 0; round < ROUNDS; round++) {
        struct backend_key *key = key_new(signing);
        struct sign_item items[SIGN_BATCH] = {0};
        for (size_t i = 0; i < SIGN_BATCH; i++) {
            items[i] = (struct sign_item){.key = key, .message = text, .len = strlen(text)};
        }
        backend_sign(worker, items, SIGN_BATCH);
        for (size_t i = 0; i < SIGN_BATCH; i++) {
            check(&items[i], signing->expected);
            buf_deinit(&items[i].signature);
        }
        backend_key_free(key);
    }
    backend_worker_free(worker);
    return NULL;
}

/* Keys of other merchants, loaded and removed by a reload. */
static void *reload(void *context)
{
    const struct signing *signing = context;
    while (!stop) {
        backend_key_free(key_new(signing));
    }
    return NULL;
}

int main(void)
{
    AUTO_FREE char *why = NULL;
    AUTO_BUF struct buf expected = {0};
    struct signing signing = {
        .backend = backend_new(BACKEND_CRYPTO_MB, NULL, &why),
        .pkey = rsa_of_hex(known_answers[0].p, known_answers[0].q),
    };
    if (signing.backend == NULL || !sign_bytes(signing.pkey, text, strlen(text), &expected)) {
        (void)fprintf(stderr, "no backend: %s\n", why);
        return 1;
    }
    signing.expected = expected.data;
    stand_in_set(STAND_IN_WRONG, GOOD_BATCHES);
    pthread_t threads[THREADS], reloading;
    pthread_create(&reloading, NULL, reload, &signing);
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, sign, &signing);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    stop = true;
    pthread_join(reloading, NULL);
    bool ok = backend_now(signing.backend) == SIGN_BY_OPENSSL && faults >= 1 && faults <= THREADS &&
              by_library >= GOOD_BATCHES * SIGN_BATCH &&
              by_library + by_openssl == THREADS * ROUNDS * SIGN_BATCH;
    (void)printf("libcrypto_mb %u, OpenSSL %u, faults %u\n", by_library, by_openssl, faults);
    EVP_PKEY_free(signing.pkey);
    backend_free(signing.backend);
    return ok ? 0 : 1;
}
