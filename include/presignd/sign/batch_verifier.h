/* Signatures of answers, verified up to eight at a time by libcrypto_mb (RSA with SHA-256, public
 * exponent 65537, 2048, 3072 or 4096 bits). It holds nothing that is secret. One thread at a time.
 *
 * It only says which signatures are valid. For all others OpenSSL decides; if it finds one valid,
 * the library made a mistake, and is not used again here.
 */
#ifndef PRESIGND_SIGN_BATCH_VERIFIER_H
#define PRESIGND_SIGN_BATCH_VERIFIER_H

#include "presignd/sign/ends.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch_verifier;

/* Loads the library that backend_new() loads, and tests it: 15 ms. NULL and why it cannot be used
 * (free()). */
struct batch_verifier *batch_verifier_new(char **why) __attribute__((warn_unused_result));
/* Accepts NULL, returns NULL. */
struct batch_verifier *batch_verifier_free(struct batch_verifier *verifier);

/* A modulus. */
struct batch_key {
    int bits;       /* 0: OpenSSL verifies */
    uint64_t n[64]; /* the lowest word first */
    uint8_t big_endian[512];
};
/* All zero for a key that the library does not take. */
void batch_key_fill(struct batch_key *out, const EVP_PKEY *key);

struct batch_item {
    struct batch_key key;
    const uint8_t *signature; /* `len` bytes; another length than the key's is for OpenSSL */
    size_t len;
    const uint8_t *digest; /* SHA-256 */
    bool was_opened;       /* out. False: OpenSSL has to verify it */
    enum sign_end end;     /* out, of those: SIGN_OK: valid. Else OpenSSL has to decide */
};
/* NULL opens none. From three signatures of a key size on: a batch costs as much with one as with
 * eight. On Zen 4 it takes 43 us with 2048 bits, OpenSSL 17 us for each. */
void batch_verifier_run(struct batch_verifier *verifier, struct batch_item *items, size_t count);
/* OpenSSL found valid what ended otherwise here: counts that, and ends the library's use. */
void batch_verifier_refute(struct batch_verifier *verifier, enum sign_end end);
/* How often that was, with SIGN_WRONG or SIGN_FAILED, and with any. Both accept NULL. */
uint64_t batch_verifier_count(const struct batch_verifier *verifier, enum sign_end end);
uint64_t batch_verifier_mistakes(const struct batch_verifier *verifier);

#endif
