/* Verifies signatures of answers by libcrypto_mb, up to eight at a time (RSA PKCS#1 v1.5 with
 * SHA-256, public exponent 65537, 2048, 3072 or 4096 bits). It holds no secrets. One thread at a
 * time.
 *
 * It only says which signatures are valid. OpenSSL decides about all others. If OpenSSL finds one
 * of them valid, the library made a mistake; this verifier does not use it again.
 */
#ifndef PRESIGND_SIGN_BATCH_VERIFIER_H
#define PRESIGND_SIGN_BATCH_VERIFIER_H

#include "presignd/sign/crypto_mb_sizes.h"
#include "presignd/sign/ends.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch_verifier;

/* Loads the library that the signing backend loads, too, and tests it. Blocks for about 15 ms.
 * NULL and why it cannot be used (free()). */
struct batch_verifier *batch_verifier_new(char **why) __attribute__((warn_unused_result));
/* Accepts NULL, returns NULL. */
struct batch_verifier *batch_verifier_free(struct batch_verifier *verifier);

/* A public key with the exponent 65537: its modulus, in both orders that a batch needs. It owns
 * nothing. */
struct batch_public_key {
    int bits;                                /* 0: OpenSSL verifies */
    uint64_t n[CRYPTO_MB_WORDS_MAX];         /* the lowest word first */
    uint8_t big_endian[CRYPTO_MB_BYTES_MAX]; /* the first bits / 8 bytes */
};
/* All zero for a key that the library does not take. */
void batch_public_key_fill(struct batch_public_key *out, const EVP_PKEY *key);

/* One signature. The caller owns what the pointers name. */
struct batch_item {
    struct batch_public_key key;
    const uint8_t *signature; /* `len` bytes; another length than the key's is for OpenSSL */
    size_t len;
    const uint8_t *digest; /* SHA-256 */
    bool was_batched;      /* out. False: it was in no batch, OpenSSL has to verify it */
    enum sign_end end;     /* out, if was_batched. SIGN_OK: valid. Else OpenSSL has to decide */
};
/* Verifies the signatures of each key size in batches, where at least three are there: a batch
 * costs as much with one signature as with eight. With 2048 bits on Zen 4, a batch takes 43 us, and
 * OpenSSL takes 17 us for each signature. NULL: verifies none. */
void batch_verifier_run(struct batch_verifier *verifier, struct batch_item *items, size_t count);
/* OpenSSL found a signature valid that ended here as `end`, SIGN_WRONG or SIGN_FAILED. Counts the
 * mistake. The verifier runs no more batches. */
void batch_verifier_report_mistake(struct batch_verifier *verifier, enum sign_end end);
/* The mistakes with that end, and all of them. Both accept NULL: 0. */
uint64_t batch_verifier_count(const struct batch_verifier *verifier, enum sign_end end);
uint64_t batch_verifier_mistakes(const struct batch_verifier *verifier);

#endif
