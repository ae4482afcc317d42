/* The platform certificates that WeChat Pay's certificate list brought for one merchant
 * (`platform_certificates = auto`). The configuration's own keys are in struct merchant.
 *
 * One object for each merchant id. It survives a reload: merchants of the old and of the new
 * configuration share it, so that calls in flight see a list that comes meanwhile. The keys are
 * read and replaced on the event loop's thread only; references may be dropped on any thread.
 */
#ifndef PRESIGND_WECHATPAY_PLATFORM_KEYS_H
#define PRESIGND_WECHATPAY_PLATFORM_KEYS_H

#include "presignd/wechatpay/verify.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Certificates of one list. */
#define PLATFORM_KEYS_MAX 16

struct platform_keys;

/* Without keys. */
struct platform_keys *platform_keys_new(void) __attribute__((warn_unused_result, returns_nonnull));
struct platform_keys *platform_keys_ref(struct platform_keys *keys);
/* Frees at the last reference. Accepts NULL, returns NULL. */
struct platform_keys *platform_keys_unref(struct platform_keys *keys);

/* Replaces all keys by those `count` (PLATFORM_KEYS_MAX at most). Takes over each `serial` (free())
 * and `key`. `signed_s`: when WeChat Pay signed the list; 0: not known. False: they are the same
 * keys as before. */
bool platform_keys_set(struct platform_keys *keys, const struct verify_key *items, size_t count,
                       int64_t signed_s);
/* When WeChat Pay signed the present list, in seconds since 1970. 0: not known, or no list. Accepts
 * NULL: 0. */
int64_t platform_keys_signed_s(const struct platform_keys *keys);
/* The keys, expired ones and those that are not valid yet included. Borrowed until the next
 * platform_keys_set(). */
const struct verify_key *platform_keys_get(const struct platform_keys *keys, size_t *count);

#endif
