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
#include "presignd/sign/sign.h"
#include "sign/crypto_mb.h"

#include <openssl/types.h>
#include <stdbool.h>

/* Keys that libcrypto_mb can hold: those of two configurations, as a reload needs. OpenSSL signs
 * for further ones. */
#define BACKEND_KEYS_MAX 2304

/* What the configuration asks for, and what made a signature. */
enum backend_choice { BACKEND_BEST, BACKEND_OPENSSL, BACKEND_CRYPTO_MB };
enum backend_kind { BY_OPENSSL, BY_CRYPTO_MB };

struct backend;
struct backend_key;
struct backend_worker;

/* `*why` (free()): why libcrypto_mb is not used, NULL when it is, or when it is not asked for.
 * NULL only when it cannot be used and `choice` is BACKEND_CRYPTO_MB. Takes about 20 ms. Reads the
 * file system, so it comes before the process confines itself. `path`: see crypto_mb_open(). */
struct backend *backend_new(enum backend_choice choice, const char *path, char **why)
    __attribute__((warn_unused_result));
/* After its keys and workers. Accepts NULL, returns NULL. */
struct backend *backend_free(struct backend *backend);
/* What signs now. Any thread. */
enum backend_kind backend_now(const struct backend *backend);
/* As `crypto_mb (libcrypto_mb.so.13)`. */
const char *backend_name(const struct backend *backend);
/* False: RLIMIT_MEMLOCK did not permit to lock the memory of keys. */
bool backend_is_locked(const struct backend *backend);

/* Takes a reference to the key. Never NULL. Any thread. */
struct backend_key *backend_key_new(struct backend *backend, EVP_PKEY *key)
    __attribute__((warn_unused_result));
/* When no item uses it any more; cleanses it. Accepts NULL, returns NULL. */
struct backend_key *backend_key_free(struct backend_key *key);

struct backend_worker *backend_worker_new(struct backend *backend)
    __attribute__((warn_unused_result));
struct backend_worker *backend_worker_free(struct backend_worker *worker);

struct backend_item {
    const struct backend_key *key;
    const void *message;
    size_t len;
    struct buf *signature;      /* base64 is appended */
    bool ok;                    /* out: it was */
    enum backend_kind by;       /* out: who made it */
    enum crypto_mb_fault fault; /* out: of libcrypto_mb, before OpenSSL made it */
};

/* Signs up to BACKEND_ITEMS_MAX items. One call at a time for each worker. */
#define BACKEND_ITEMS_MAX CRYPTO_MB_WIDTH
void backend_sign(struct backend_worker *worker, struct backend_item *items, size_t count);

#endif
