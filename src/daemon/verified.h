/* Which kind of key verified each merchant's answers, and when a platform certificate did last:
 * after the move to the public key this tells when the certificates can go. Pure, but for the file,
 * which key_memory.c reads and writes. One thread. */
#ifndef PRESIGND_DAEMON_VERIFIED_H
#define PRESIGND_DAEMON_VERIFIED_H

#include "presignd/base/buf.h"
#include "presignd/base/list.h"
#include "presignd/base/map.h"
#include "presignd/wechatpay/verify.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* The file of the state directory. */
#define VERIFIED_FILE "verified.json"
/* What the file says may be so much older than what is known. */
#define VERIFIED_KEEP_MS INT64_C(3600000)

/* One merchant. There are as many as were ever configured, and those of the file. */
struct verified_merchant {
    struct list_link link;
    char *mchid;
    bool any;            /* an answer was verified since the start */
    enum verify_kind by; /* the last one */
    /* Wall clock: when a certificate verified an answer last. 0: not known. Before the first such
     * answer, since when it has been watched. */
    int64_t certificate_ms;
    int64_t kept_ms; /* certificate_ms in the file */
};

struct verified {
    struct map *by_mchid;
    struct list merchants;
};

void verified_init(struct verified *verified);
void verified_deinit(struct verified *verified);

/* A key verified an answer. */
void verified_note(struct verified *verified, const char *mchid, enum verify_kind by,
                   int64_t wall_ms);
/* The merchant has certificates from now on; nothing happens if that was known. */
void verified_watch(struct verified *verified, const char *mchid, int64_t wall_ms);
/* NULL: nothing is known. */
const struct verified_merchant *verified_find(const struct verified *verified, const char *mchid);

/* Whether the file is older than VERIFIED_KEEP_MS, or (`at_all`) differs in any way. */
bool verified_is_stale(const struct verified *verified, bool at_all);
/* Appends the file's content. */
void verified_write(const struct verified *verified, struct buf *out);
/* It was written. */
void verified_kept(struct verified *verified);
/* Reads what verified_write() wrote. Items that are not whole, or of the time after `wall_ms`, are
 * left out; CONFIG_MERCHANTS_MAX at most. `list` may be NULL. */
void verified_read(struct verified *verified, const json_t *list, int64_t wall_ms);

#endif
