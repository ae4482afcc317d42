/* libcrypto_mb of Intel's Cryptography Primitives Library: eight RSA operations at once by AVX-512
 * IFMA. Loaded at run time when it is there. It computes on plain numbers: padding, checks and
 * memory are ours. Its interface: crypto_mb/rsa.h of its package, sonames 11 to 13.
 */
#ifndef PRESIGND_SIGN_CRYPTO_MB_H
#define PRESIGND_SIGN_CRYPTO_MB_H

#include "presignd/sign/crypto_mb_sizes.h"
#include "presignd/sign/ends.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRYPTO_MB_WIDTH 8
/* SHA-256. */
#define CRYPTO_MB_DIGEST_SIZE 32

/* A key as the library reads it: words of 64 bits, the lowest first. A shorter key fills the first
 * words of each array. */
struct crypto_mb_key {
    uint64_t n[CRYPTO_MB_WORDS_MAX];
    uint64_t p[CRYPTO_MB_WORDS_MAX / 2];
    uint64_t q[CRYPTO_MB_WORDS_MAX / 2];
    uint64_t dp[CRYPTO_MB_WORDS_MAX / 2];
    uint64_t dq[CRYPTO_MB_WORDS_MAX / 2];
    uint64_t iq[CRYPTO_MB_WORDS_MAX / 2];
} __attribute__((aligned(64)));

/* The memory that one batch works in. What it holds afterwards reveals keys: see
 * crypto_mb_cleanse(). */
struct crypto_mb_work {
    uint8_t block[CRYPTO_MB_WIDTH][CRYPTO_MB_BYTES_MAX];     /* the padded digests */
    uint8_t signature[CRYPTO_MB_WIDTH][CRYPTO_MB_BYTES_MAX]; /* big-endian, bits / 8 bytes */
    uint8_t opened[CRYPTO_MB_WIDTH][CRYPTO_MB_BYTES_MAX];    /* what the signatures sign */
    uint8_t buffer[] __attribute__((aligned(64)));           /* the library's own */
} __attribute__((aligned(64)));

struct crypto_mb;

/* Loads the library and lets it sign what has a known signature, with a key of each size: about
 * 15 ms. Without `path`: by soname, as ld.so(8) finds it. A path must be absolute, and root alone
 * may change the file and its directories. NULL and a reason (free()). The code stays loaded for
 * the rest of the process; crypto_mb_free() frees only what describes it. */
struct crypto_mb *crypto_mb_open(const char *path, char **why) __attribute__((warn_unused_result));
struct crypto_mb *crypto_mb_free(struct crypto_mb *library);
/* The file's name, as it was asked for. */
const char *crypto_mb_name(const struct crypto_mb *library);
/* The size of a struct crypto_mb_work with the buffer for every size of key. */
size_t crypto_mb_work_size(const struct crypto_mb *library);
/* For work without secrets, as its memory is not locked. Never NULL; free(). */
struct crypto_mb_work *crypto_mb_work_new(const struct crypto_mb *library)
    __attribute__((warn_unused_result));

/* Keys of 2048, 3072 and 4096 bits. */
bool crypto_mb_takes(int bits);
/* From modulus and primes, for the public exponent 65537. False when they are no such key. */
bool crypto_mb_key_fill(struct crypto_mb_key *key, int bits, const BIGNUM *n, const BIGNUM *p,
                        const BIGNUM *q) __attribute__((warn_unused_result));

/* RSA PKCS#1 v1.5 with SHA-256 (RFC 8017, section 8.2) of `count` digests, 1 to CRYPTO_MB_WIDTH,
 * each by its key; all keys have `bits` bits. A signature in `work` may be used only where its end
 * is SIGN_OK, neither SIGN_FAILED, an error of the library, nor SIGN_WRONG: each one is opened with
 * the public exponent first, as a wrong one can reveal the key (Boneh, DeMillo, Lipton 1997). Any
 * thread, with a `work` of its own; 0.6 ms and more. */
void crypto_mb_sign(const struct crypto_mb *library, struct crypto_mb_work *work, int bits,
                    const struct crypto_mb_key *const keys[],
                    const uint8_t digests[][CRYPTO_MB_DIGEST_SIZE], size_t count,
                    enum sign_end ends[]);
/* Verifies `count` signatures, 1 to CRYPTO_MB_WIDTH, by their keys with the public exponent 65537.
 * A signature has bits / 8 bytes, and must be below its modulus (RFC 8017, section 8.2.2, step 2).
 * `n` as in struct crypto_mb_key; the elements of `n` and `signatures` from `count` on are NULL.
 * `ends`: SIGN_OK when the whole opened block is the expected one, else SIGN_WRONG; SIGN_FAILED
 * after an error of the library. Nothing here is secret. Takes 0.04 ms and more. */
void crypto_mb_verify(const struct crypto_mb *library, struct crypto_mb_work *work, int bits,
                      const uint64_t *const n[CRYPTO_MB_WIDTH],
                      const uint8_t *const signatures[CRYPTO_MB_WIDTH],
                      const uint8_t digests[][CRYPTO_MB_DIGEST_SIZE], size_t count,
                      enum sign_end ends[]);
/* After the signatures were taken. */
void crypto_mb_cleanse(const struct crypto_mb *library, struct crypto_mb_work *work);

#endif
