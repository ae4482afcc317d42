/* What computes signatures: OpenSSL, one at a time, or libcrypto_mb, up to eight at a time
 * (crypto_mb.h), with OpenSSL for everything that it does not take. One backend in the process that
 * signs, one worker for each of its threads.
 *
 * A batch costs the same with one signature as with eight, so it is worth its time only from some
 * number of waiting signatures on. Nobody waits for a batch to fill. What libcrypto_mb gets wrong
 * is signed by OpenSSL, and the library is not used again in this process.
 */
#ifndef PRESIGND_SIGN_BACKEND_H
#define PRESIGND_SIGN_BACKEND_H

#include "presignd/base/buf.h"
#include "presignd/sign/backend_choice.h"
#include "presignd/sign/ends.h"
#include "presignd/sign/sign.h"
#include "sign/crypto_mb.h"

#include <openssl/types.h>
#include <stdbool.h>

/* Keys that libcrypto_mb can hold: those of two configurations, as a reload needs. OpenSSL signs
 * for further ones. */
#define BACKEND_KEYS_MAX 2304

struct backend;
struct backend_key;
struct backend_worker;

/* `*why` (free()): why libcrypto_mb is not used, NULL when it is, or when it is not asked for.
 * NULL only when it cannot be used and `choice` is BACKEND_CRYPTO_MB. Takes about 20 ms. `path`:
 * see crypto_mb_open(). */
struct backend *backend_new(enum backend_choice choice, const char *path, char **why)
    __attribute__((warn_unused_result));
/* The library that the environment names, $PRESIGND_CRYPTO_MB, for `path`; else NULL. */
const char *backend_path(void);
/* After its keys and workers. Accepts NULL, returns NULL. */
struct backend *backend_free(struct backend *backend);
/* What signs now. Any thread. */
enum sign_backend backend_now(const struct backend *backend);
/* As `crypto_mb (libcrypto_mb.so.13)`. */
const char *backend_name(const struct backend *backend);
/* The name, with the reason that backend_new() gave, if any: `openssl: WHY` (free()). */
char *backend_describe(const struct backend *backend, const char *why);
/* False: RLIMIT_MEMLOCK did not permit to lock the memory of keys. */
bool backend_is_locked(const struct backend *backend);

/* Takes over the key. Never NULL. Any thread. */
struct backend_key *backend_key_new(struct backend *backend, EVP_PKEY *key)
    __attribute__((warn_unused_result));
/* When no item uses it any more; cleanses it. Accepts NULL, returns NULL. */
struct backend_key *backend_key_free(struct backend_key *key);

struct backend_worker *backend_worker_new(struct backend *backend)
    __attribute__((warn_unused_result));
struct backend_worker *backend_worker_free(struct backend_worker *worker);

struct sign_item {
    struct backend_key *key; /* NULL: there is none, and no signature */
    const void *message;     /* the string to sign */
    size_t len;
    struct buf signature;      /* out: base64; empty at the call. The caller's */
    enum sign_end end;         /* out */
    enum sign_backend backend; /* out: what made it */
    enum sign_end mistake;     /* out: of libcrypto_mb, before OpenSSL made it. SIGN_OK: none */
};

/* Signs up to SIGN_BATCH items. One call at a time for each worker. */
#define SIGN_BATCH CRYPTO_MB_WIDTH
void backend_sign(struct backend_worker *worker, struct sign_item *items, size_t count);

#endif
