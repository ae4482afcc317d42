/* Keeps the platform certificates of merchants with `platform_certificates = auto` fresh: fetches
 * their lists when they are due, judges them, and replaces the merchants' platform keys.
 *
 * On the event loop's thread; nothing blocks. One request for each merchant at a time, at most
 * REFRESHER_RUNNING_MAX in all. A host that does not answer with a list is followed by the other
 * one. Lists that must survive a restart are kept by the owner, encrypted as they came.
 */
#ifndef PRESIGND_WECHATPAY_REFRESHER_H
#define PRESIGND_WECHATPAY_REFRESHER_H

#include "presignd/base/buf.h"
#include "presignd/wechatpay/refresh.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REFRESHER_RUNNING_MAX 16

/* The end of one refresh. Borrowed. */
struct refresher_end {
    struct merchant *merchant;
    struct refresh_verdict verdict, before; /* `before`: of the last one; all zero at first */
    bool changed;          /* the merchant's platform keys are others than before */
    size_t skipped;        /* elements of the list that cannot be used */
    size_t skipped_before; /* of the list that was taken before */
    const char *skipped_why;
    const char *body; /* of a list that was taken, as it came: keep it, then call refresher_kept().
                       * Else, and where a list with the same keys is kept already, NULL */
    size_t body_len;
};

struct refresher_events {
    /* Appends the list that was kept for this merchant id, if there is one. */
    void (*read)(void *context, const char *mchid, struct buf *out);
    void (*ended)(void *context, const struct refresher_end *end);
};

struct refresher;
/* All are borrowed. The caller has to be freed first: it may owe an answer. */
struct refresher *refresher_new(struct loop *loop, const struct clock *clock, struct caller *caller,
                                const struct refresher_events *events, void *context)
    __attribute__((warn_unused_result, returns_nonnull));
/* Accepts NULL, returns NULL. */
struct refresher *refresher_free(struct refresher *refresher);
/* Takes a new table of merchants, before anyone else uses it. A merchant that was there before
 * shares the platform keys that it had, unless its APIv3 key is another one: then the kept list is
 * opened again, or dropped. Merchants that are new, changed, or had a fault are due at once.
 * `timeout_ms`: of each request. `running_max`: requests at a time, 1 to REFRESHER_RUNNING_MAX;
 * what is outside counts as the nearest. */
void refresher_configure(struct refresher *refresher, struct merchants *merchants,
                         int64_t timeout_ms, unsigned running_max);
/* An answer to that merchant named an unknown key, or it has none. True: a refresh runs, or
 * begins within REFRESH_AT_ONCE_MS or after the end of Retry-After; `ended` follows. False: this
 * merchant has no automatic certificates. */
bool refresher_want(struct refresher *refresher, const char *mchid);

/* The list of this end was kept: lists with the same keys need not be, each of which would wait for
 * the disk on the event loop. Call it from `ended`. */
void refresher_kept(struct refresher *refresher, const char *mchid);

/* For the status. */
struct refresher_state {
    int64_t list_ms;   /* wall: when the last list was taken by this process; 0: none yet */
    const char *fault; /* static: what was wrong with the last refresh; NULL: nothing */
};
/* False: this merchant has no automatic certificates. */
bool refresher_state(const struct refresher *refresher, const char *mchid,
                     struct refresher_state *state);

#endif
