/* usage: crypto-mb-many MESSAGES [MESSAGES [MESSAGES]] [--bytes]
 *
 * Signs that many messages with 64 keys of 2048, 3072 and 4096 bits, by the libcrypto_mb that is
 * found, in batches of every size, and checks each signature: OpenSSL verifies it, which one number
 * below the modulus alone can pass; with --bytes, it also signs, and the bytes must be equal. The
 * library verifies the same signatures, every fifth with a wrong bit.
 */
#include "crypto-mb/rsa.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/sign/batch_verifier.h"
#include "sign/backend.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

/* Twelve primes make 66 pairs. */
enum { PRIMES = 12, KEYS = 64 };

struct pair {
    EVP_PKEY *pkey;
    struct backend_key *key;
    struct batch_public_key numbers;
};

static struct batch_verifier *verifier;

static void fail(const char *what)
{
    (void)fprintf(stderr, "FAILED: %s\n", what);
    exit(1);
}

static void make_keys(struct backend *backend, int bits, struct pair keys[KEYS])
{
    BIGNUM *primes[PRIMES];
    size_t count = 0;
    for (size_t i = 0; i < PRIMES; i++) {
        primes[i] = BN_new();
        do { /* 65537 must have an inverse; its top bits are set, so that each product is full */
            if (BN_generate_prime_ex(primes[i], bits / 2, 0, NULL, NULL, NULL) != 1) {
                fail("no prime");
            }
        } while (BN_mod_word(primes[i], 65537) == 1);
    }
    for (size_t i = 0; i < PRIMES; i++) {
        for (size_t j = 0; j < i && count < KEYS; j++) {
            /* Half of them with the smaller prime first. */
            bool swap = (BN_cmp(primes[i], primes[j]) > 0) != (count % 2 == 0);
            keys[count].pkey = swap ? rsa_of(primes[j], primes[i]) : rsa_of(primes[i], primes[j]);
            EVP_PKEY_up_ref(keys[count].pkey);
            keys[count].key = backend_key_new(backend, keys[count].pkey);
            batch_public_key_fill(&keys[count].numbers, keys[count].pkey);
            count++;
        }
    }
    for (size_t i = 0; i < PRIMES; i++) {
        BN_free(primes[i]);
    }
}

static void verify(const struct sign_item *item, EVP_PKEY *pkey, bool bytes)
{
    AUTO_BUF struct buf raw = {0};
    AUTO_BUF struct buf expected = {0};
    if (item->end != SIGN_OK || item->mistake != SIGN_OK) {
        fail("a signature was not made, or wrong at first");
    }
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!text_base64_decode(&raw, item->signature.data, item->signature.len) ||
        EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, pkey) != 1 ||
        EVP_DigestVerify(context, (unsigned char *)raw.data, raw.len, item->message, item->len) !=
            1) {
        fail("OpenSSL does not verify a signature");
    }
    EVP_MD_CTX_free(context);
    if (bytes && (!sign_bytes(pkey, item->message, item->len, &expected) ||
                  strcmp(expected.data, item->signature.data) != 0)) {
        fail("OpenSSL's signature has other bytes");
    }
}

struct total {
    unsigned long messages, batched, verified;
};

static bool is_spoilt(const struct total *total, size_t index)
{
    return (total->messages + index) % 5 == 0;
}

static void verify_together(const struct sign_item items[], const struct pair *const used[],
                            size_t count, struct total *total)
{
    struct batch_item batch[SIGN_BATCH];
    struct buf raw[SIGN_BATCH] = {0};
    uint8_t digests[SIGN_BATCH][SHA256_DIGEST_LENGTH];
    for (size_t i = 0; i < count; i++) {
        SHA256(items[i].message, items[i].len, digests[i]);
        if (!text_base64_decode(&raw[i], items[i].signature.data, items[i].signature.len)) {
            fail("no base64");
        }
        if (is_spoilt(total, i)) {
            raw[i].data[(size_t)rand() % raw[i].len] ^= 1;
        }
        batch[i] = (struct batch_item){.key = used[i]->numbers,
                                       .signature = (uint8_t *)raw[i].data,
                                       .len = raw[i].len,
                                       .digest = digests[i]};
    }
    batch_verifier_run(verifier, batch, count);
    for (size_t i = 0; i < count; i++) {
        if (batch[i].was_batched && (batch[i].end == SIGN_OK) == is_spoilt(total, i)) {
            fail("a signature is verified wrongly");
        }
        total->verified += batch[i].was_batched;
        buf_deinit(&raw[i]);
    }
}

/* One call of the worker: 1 to 8 messages, keys at random. */
static void sign_some(struct backend_worker *worker, const struct pair keys[KEYS], bool bytes,
                      struct total *total)
{
    size_t count = 1 + (size_t)rand() % SIGN_BATCH;
    struct sign_item items[SIGN_BATCH] = {0};
    char texts[SIGN_BATCH][300];
    const struct pair *used[SIGN_BATCH];
    for (size_t i = 0; i < count; i++) {
        used[i] = &keys[rand() % KEYS];
        int len = snprintf(texts[i], sizeof texts[i], "POST\n/v3/%lu\n%*d\n", total->messages + i,
                           rand() % 200, rand());
        items[i] = (struct sign_item){.key = used[i]->key, .message = texts[i], .len = (size_t)len};
    }
    backend_sign(worker, items, count);
    verify_together(items, used, count, total);
    for (size_t i = 0; i < count; i++) {
        verify(&items[i], used[i]->pkey, bytes);
        total->batched += items[i].backend == SIGN_BY_CRYPTO_MB;
        buf_deinit(&items[i].signature);
    }
    total->messages += count;
}

static void run(struct backend *backend, int bits, unsigned long messages, bool bytes)
{
    struct pair keys[KEYS];
    struct total total = {0};
    make_keys(backend, bits, keys);
    struct backend_worker *worker = backend_worker_new(backend);
    while (total.messages < messages) {
        sign_some(worker, keys, bytes, &total);
    }
    backend_worker_free(worker);
    for (size_t i = 0; i < KEYS; i++) {
        backend_key_free(keys[i].key);
        EVP_PKEY_free(keys[i].pkey);
    }
    (void)printf(
        "RSA-%d: %lu messages, %d keys, %lu in batches, %lu verified in batches, all right\n", bits,
        total.messages, KEYS, total.batched, total.verified);
    if (total.batched == 0 || total.verified == 0) {
        fail("none was in a batch");
    }
}

int main(int argc, char **argv)
{
    AUTO_FREE char *why = NULL;
    struct backend *backend = backend_new(BACKEND_CRYPTO_MB, NULL, &why);
    if (backend == NULL) {
        (void)printf("%s\n", why);
        return 77;
    }
    (void)printf("%s\n", backend_name(backend));
    verifier = batch_verifier_new(&why);
    if (verifier == NULL) {
        fail(why);
    }
    bool bytes = argc > 1 && strcmp(argv[argc - 1], "--bytes") == 0;
    for (int i = 1; i < argc - bytes; i++) {
        run(backend, 1024 + 1024 * i, strtoul(argv[i], NULL, 10), bytes);
    }
    int status = backend_now(backend) == SIGN_BY_CRYPTO_MB ? 0 : 1;
    batch_verifier_free(verifier);
    backend_free(backend);
    return status;
}
