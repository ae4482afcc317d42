/* Hands strings to the signing threads and takes their signatures, for the event loop. One RSA
 * signature takes 0.3 ms. All that is submitted in a round goes out together, after its step.
 */
#ifndef PRESIGND_SIGN_SIGNER_H
#define PRESIGND_SIGN_SIGNER_H

#include "presignd/base/buf.h"
#include "presignd/base/list.h"
#include "presignd/base/loop.h"
#include "presignd/sign/ends.h"
#include "presignd/sign/service.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A job ends as lost when it is this old and no signature at all has come for as long; at the
 * latest when it is six times as old. */
#define SIGNER_TIMEOUT_MS INT64_C(10000)

struct signer;

/* One request to sign, embedded in its owner, which must live until `done` was called. */
struct signer_job {
    struct list_link link;
    uint64_t id;
    int64_t submitted_ms;                 /* mono */
    size_t sent;                          /* bytes of the message */
    const struct sign_key *key;           /* the owner holds a reference */
    struct buf message;                   /* in: the string to sign */
    struct buf signature;                 /* out: base64 */
    bool ok;                              /* out: `signature` is valid */
    bool lost;                            /* out, if not ok: no answer came; another try may help */
    void (*done)(struct signer_job *job); /* on the loop's thread */
};

/* `service` must live longer, and have one signer at a time. NULL with errno set. */
struct signer *signer_new(struct loop *loop, struct sign_service *service)
    __attribute__((warn_unused_result));
/* `on_end` is called once when the signing process has ended by itself; then all jobs are lost,
 * and those that come later. */
void signer_notify_end(struct signer *signer, loop_fn *on_end, void *context);
/* Calls `done` of every unfinished job from inside; they are lost. Accepts NULL, returns NULL. */
struct signer *signer_free(struct signer *signer);
/* Never blocks. The caller bounds how many it submits (calls in flight). `done` is never called
 * from inside. */
void signer_submit(struct signer *signer, struct signer_job *job);
/* Jobs that are not done. */
size_t signer_waiting(const struct signer *signer);
/* 0: signatures come, or none is wanted. Else for how long jobs have been lost without one. */
int64_t signer_silent_ms(const struct signer *signer, int64_t at_ms);
/* How many signatures libcrypto_mb made wrong or failed to make. OpenSSL made them again. After the
 * first one the library does not sign any more. */
uint64_t signer_mistakes(const struct signer *signer);
/* What signs now. */
enum sign_backend signer_backend(const struct signer *signer);
/* Signatures since the start. */
uint64_t signer_count(const struct signer *signer, enum sign_backend backend, enum sign_end end);

#endif
