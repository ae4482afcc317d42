/* Merchants with their keys and limits: built once from the configuration, then read only.
 *
 * A reload builds a new table; calls in flight hold a reference to the merchant they began
 * with. Counts of references are atomic, since signing threads hold them too.
 */
#ifndef PRESIGND_WECHATPAY_MERCHANT_H
#define PRESIGND_WECHATPAY_MERCHANT_H

#include "presignd/wechatpay/endpoint.h"
#include "presignd/wechatpay/verify.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* WeChat Pay's keys that one merchant may hold at once. */
#define MERCHANT_VERIFY_KEYS_MAX 16

/* What the configuration says of one merchant; paths are resolved already (no @NAME). Empty
 * strings and NULL both mean "not given". */
struct merchant_spec {
    const char *mchid;
    enum merchant_mode mode;
    bool is_default;
    const char *serial_no;
    const char *private_key_path;
    const char *public_key_id;
    const char *public_key_path;
    const char *const *certificate_paths; /* platform certificates, NULL-ended; may be NULL */
    unsigned max_in_flight;
    unsigned rate_per_s; /* 0: no limit */
    /* Somebody else has told what is missing; only what is given is judged. For finding more
     * problems in a configuration that is refused already: the merchant is of no other use. */
    bool missing_is_told;
};

struct merchant {
    char *mchid;
    enum merchant_mode mode;
    bool is_default;
    char *serial_no;
    EVP_PKEY *private_key;
    char *public_key_id; /* sent as Wechatpay-Serial; NULL without a public key */
    struct verify_key verify_keys[MERCHANT_VERIFY_KEYS_MAX];
    size_t verify_key_count;
    unsigned max_in_flight;
    unsigned rate_per_s;
    unsigned references; /* atomic */
};

/* Reads the keys (blocking file reads). NULL and every reason (free()), a line each of the form
 * "merchant MCHID: KEY: what is wrong", where KEY is the configuration's. Refuses a
 * merchant without any key to verify with, and a key pair where the public key is the
 * merchant's own. The serial number is turned into upper case. */
struct merchant *merchant_new(const struct merchant_spec *spec, char **errors)
    __attribute__((warn_unused_result));
/* A merchant that events can be routed to and that neither signs nor verifies: for programs
 * that judge events without holding keys. Reads no file. */
struct merchant *merchant_new_keyless(const struct merchant_spec *spec, char **errors)
    __attribute__((warn_unused_result));
struct merchant *merchant_ref(struct merchant *merchant);
/* True when both sign, verify and are limited alike: a reload has changed nothing of them. Keys are
 * compared, not paths. */
bool merchant_same(const struct merchant *a, const struct merchant *b);
/* Frees at the last reference. Accepts NULL, returns NULL. */
struct merchant *merchant_unref(struct merchant *merchant);

/* A table of merchants, whose numbers differ; takes over one reference of each. */
struct merchants;
struct merchants *merchants_new(struct merchant *const *items, size_t count);
struct merchants *merchants_ref(struct merchants *table);
struct merchants *merchants_unref(struct merchants *table);
size_t merchants_count(const struct merchants *table);
struct merchant *merchants_at(const struct merchants *table, size_t index);
/* By its number; NULL when there is none. Borrowed. */
struct merchant *merchants_find(const struct merchants *table, const char *mchid);
/* Who signs an event of that mode that names no merchant: the only one of the mode, else the
 * one of the mode that says default = yes, else NULL. Borrowed. */
struct merchant *merchants_default(const struct merchants *table, enum merchant_mode mode);

#endif
