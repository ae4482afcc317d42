/* A pool of threads that sign, so that RSA's 0.3 ms never stops the event loop.
 *
 * A worker takes all that waits up to SIGNER_BATCH at once: one at a time is signed by OpenSSL
 * today, and a batch signer can take the whole lot later. Results come back to the loop's
 * thread.
 */
#ifndef PRESIGND_WECHATPAY_SIGNER_H
#define PRESIGND_WECHATPAY_SIGNER_H

#include "presignd/base/buf.h"
#include "presignd/base/list.h"
#include "presignd/base/loop.h"
#include "presignd/wechatpay/merchant.h"

#include <stdbool.h>

#define SIGNER_BATCH 8

struct signer;

/* One request to sign, embedded in its owner, which must live until `done` was called. */
struct signer_job {
    struct list_link link;
    struct merchant *merchant;            /* the owner's reference covers it */
    struct buf message;                   /* in: the string to sign */
    struct buf signature;                 /* out: base64 */
    bool ok;                              /* out: `signature` is there */
    void (*done)(struct signer_job *job); /* on the loop's thread */
};

/* `threads` of them; 0: as many as there are cores. NULL with errno set. */
struct signer *signer_new(struct loop *loop, unsigned threads) __attribute__((warn_unused_result));
/* Another number of threads, as for signer_new(). When there are to be fewer it waits for what
 * the leaving ones have in hand (a few milliseconds). False when the system gives not as many;
 * the signer goes on with those that it has. */
bool signer_resize(struct signer *signer, unsigned threads);
/* Waits for the signatures in hand. Every job that was not handed back yet is handed back from
 * inside, those that were not signed with `ok` false. Accepts NULL, returns NULL. */
struct signer *signer_free(struct signer *signer);
/* Never blocks. The caller bounds how many it submits (calls in flight). */
void signer_submit(struct signer *signer, struct signer_job *job);
size_t signer_waiting(const struct signer *signer);

#endif
