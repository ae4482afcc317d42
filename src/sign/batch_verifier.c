#include "presignd/sign/batch_verifier.h"

#include "presignd/base/mem.h"
#include "sign/backend.h"
#include "sign/bignum.h"
#include "sign/crypto_mb.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

/* The least number of signatures for which a batch costs less than OpenSSL. It is the same for all
 * sizes of keys: both costs grow in the same way with the size. */
enum { WORTH_IT = 3 };

struct batch_verifier {
    struct crypto_mb *library;
    struct crypto_mb_work *work;
    uint64_t mistakes[SIGN_END_COUNT];
    bool is_off;
};

struct batch_verifier *batch_verifier_new(char **why)
{
    struct crypto_mb *library = crypto_mb_open(backend_path(), why);
    if (library == NULL) {
        return NULL;
    }
    struct batch_verifier *verifier = mem_zalloc(1, sizeof *verifier);
    verifier->library = library;
    verifier->work = crypto_mb_work_new(library);
    return verifier;
}

struct batch_verifier *batch_verifier_free(struct batch_verifier *verifier)
{
    if (verifier != NULL) {
        crypto_mb_free(verifier->library);
        free(verifier->work);
        free(verifier);
    }
    return NULL;
}

/* --- Keys --- */

void batch_public_key_fill(struct batch_public_key *out, const EVP_PKEY *key)
{
    AUTO_BIGNUM BIGNUM *n = NULL, *e = NULL;
    int bits = EVP_PKEY_get_bits(key);
    *out = (struct batch_public_key){0};
    if (crypto_mb_takes(bits) && EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) == 1 &&
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) == 1 && BN_is_word(e, RSA_F4) &&
        BN_bn2lebinpad(n, (unsigned char *)out->n, bits / 8) == bits / 8 &&
        BN_bn2binpad(n, out->big_endian, bits / 8) == bits / 8) {
        out->bits = bits;
    }
    ERR_clear_error();
}

/* --- Batches --- */

/* A number that is not below the modulus opens like its remainder, but is no valid signature (RFC
 * 8017, section 8.2.2, step 2). */
static bool is_taken(const struct batch_item *item, int bits)
{
    return item->key.bits == bits && item->len == (size_t)bits / 8 &&
           memcmp(item->signature, item->key.big_endian, item->len) < 0;
}

struct batch {
    struct batch_item *items[CRYPTO_MB_WIDTH];
    size_t count;
};

static void run(struct batch_verifier *verifier, struct batch *batch)
{
    const uint64_t *n[CRYPTO_MB_WIDTH] = {NULL};
    const uint8_t *signatures[CRYPTO_MB_WIDTH] = {NULL};
    uint8_t digests[CRYPTO_MB_WIDTH][CRYPTO_MB_DIGEST_SIZE];
    enum sign_end ends[CRYPTO_MB_WIDTH];
    size_t count = batch->count;
    batch->count = 0;
    if (count < WORTH_IT || verifier->is_off) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        n[i] = batch->items[i]->key.n;
        signatures[i] = batch->items[i]->signature;
        memcpy(digests[i], batch->items[i]->digest, sizeof digests[i]);
    }
    crypto_mb_verify(verifier->library, verifier->work, batch->items[0]->key.bits, n, signatures,
                     digests, count, ends);
    for (size_t i = 0; i < count; i++) {
        batch->items[i]->end = ends[i];
        batch->items[i]->was_batched = true;
    }
}

/* The items with keys of that size. */
static void run_all(struct batch_verifier *verifier, struct batch_item *items, size_t count,
                    int bits)
{
    struct batch batch = {.count = 0};
    for (size_t i = 0; i < count; i++) {
        if (is_taken(&items[i], bits)) {
            batch.items[batch.count++] = &items[i];
        }
        if (batch.count == CRYPTO_MB_WIDTH) {
            run(verifier, &batch);
        }
    }
    run(verifier, &batch);
}

void batch_verifier_run(struct batch_verifier *verifier, struct batch_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        items[i].was_batched = false;
    }
    for (int bits = 2048; verifier != NULL && bits <= 4096; bits += 1024) {
        run_all(verifier, items, count, bits);
    }
}

void batch_verifier_report_mistake(struct batch_verifier *verifier, enum sign_end end)
{
    verifier->mistakes[end]++;
    verifier->is_off = true;
}

uint64_t batch_verifier_count(const struct batch_verifier *verifier, enum sign_end end)
{
    return verifier == NULL ? 0 : verifier->mistakes[end];
}

uint64_t batch_verifier_mistakes(const struct batch_verifier *verifier)
{
    return batch_verifier_count(verifier, SIGN_WRONG) + batch_verifier_count(verifier, SIGN_FAILED);
}
