/* A pool of signing threads, because one RSA signature takes 0.3 ms. A worker takes up to
 * SIGNER_BATCH jobs at once, so that one wake-up of the loop serves several results. Results are
 * delivered on the loop's thread.
 */
#ifndef PRESIGND_SIGN_SIGNER_H
#define PRESIGND_SIGN_SIGNER_H

#include "presignd/base/buf.h"
#include "presignd/base/list.h"
#include "presignd/base/loop.h"

#include <openssl/types.h>
#include <stdbool.h>

#define SIGNER_BATCH 8

struct signer;

/* One request to sign, embedded in its owner, which must live until `done` was called. */
struct signer_job {
    struct list_link link;
    EVP_PKEY *key;                        /* the owner holds a reference */
    struct buf message;                   /* in: the string to sign */
    struct buf signature;                 /* out: base64 */
    bool ok;                              /* out: `signature` is valid */
    void (*done)(struct signer_job *job); /* on the loop's thread */
};

/* `threads` 0: one for each core. NULL with errno set. */
struct signer *signer_new(struct loop *loop, unsigned threads) __attribute__((warn_unused_result));
/* Changes the number of threads. To have fewer, it waits for the ending threads' jobs (a few
 * milliseconds). False when the system creates too few threads; the signer continues with those
 * that it has. */
bool signer_resize(struct signer *signer, unsigned threads) __attribute__((warn_unused_result));
/* Waits for running signatures. Calls `done` of every unfinished job from inside; `ok` is false for
 * those that were not signed. Accepts NULL, returns NULL. */
struct signer *signer_free(struct signer *signer);
/* Never blocks. The caller bounds how many it submits (calls in flight). */
void signer_submit(struct signer *signer, struct signer_job *job);
size_t signer_waiting(const struct signer *signer);

#endif
