/* Signs up to SIGN_BATCH strings at once, with whatever keys: what a signing thread does. */
#ifndef PRESIGND_SIGN_ITEMS_H
#define PRESIGND_SIGN_ITEMS_H

#include "presignd/base/buf.h"
#include "presignd/sign/ends.h"
#include "sign/held_keys.h"

#include <stddef.h>

#define SIGN_BATCH 8

struct sign_item {
    struct held_key *key; /* NULL: there is none with that number */
    const char *message;  /* the string to sign */
    size_t len;
    struct buf signature; /* out: base64; empty at the call. The caller's */
    enum sign_end end;    /* out */
    enum sign_backend backend;
};

/* What a thread keeps from one call to the next. */
struct sign_worker {
    int unused;
};

/* `count` is SIGN_BATCH at most. */
void sign_items(struct sign_worker *worker, struct sign_item *items, size_t count);

#endif
