/* Merchants with their keys and limits: built once from the configuration, then read only.
 *
 * A reload builds a new table. A call in flight holds a reference to its merchant. Reference counts
 * are atomic, but the last reference of a merchant with a sign_key is dropped on the event loop's
 * thread: see sign_key_unref().
 */
#ifndef PRESIGND_WECHATPAY_MERCHANT_H
#define PRESIGND_WECHATPAY_MERCHANT_H

#include "presignd/sign/key.h"
#include "presignd/sign/service.h"
#include "presignd/wechatpay/endpoint.h"
#include "presignd/wechatpay/platform_keys.h"
#include "presignd/wechatpay/verify.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* WeChat Pay's keys in one merchant's configuration. */
#define MERCHANT_VERIFY_KEYS_MAX 16
/* With those of the certificate list. */
#define MERCHANT_KEYS_MAX (MERCHANT_VERIFY_KEYS_MAX + PLATFORM_KEYS_MAX)

/* One merchant's configuration. Paths are resolved (no @NAME). An empty string and NULL both mean
 * "not given". */
struct merchant_spec {
    const char *mchid;
    enum merchant_mode mode;
    bool is_default;
    const char *serial_no;        /* may be missing with certificate_path */
    const char *certificate_path; /* of the merchant's API certificate */
    const char *private_key_path;
    bool key_is_credential; /* the service manager passes it */
    /* It reads the private key; NULL: merchant_new() reads it itself. */
    struct sign_service *service;
    const char *public_key_id;
    const char *public_key_path;
    const char *const *certificate_paths; /* platform certificates, NULL-ended; may be NULL */
    bool certificates_auto;               /* platform certificates are downloaded */
    const char *apiv3_key;                /* opens the list; secret */
    unsigned max_in_flight;
    unsigned rate_per_s; /* 0: no limit */
    /* The caller has reported missing keys; validate only those present. The result is good for
     * finding further errors only. */
    bool missing_reported;
};

struct merchant {
    char *mchid;
    enum merchant_mode mode;
    bool is_default;
    char *serial_no;
    /* Of the merchant's own certificate, which private_key belongs to; 0: none is configured. */
    int64_t certificate_not_before_ms, certificate_not_after_ms;
    EVP_PKEY *private_key;            /* with `sign_key`, its public half only */
    struct sign_key *sign_key;        /* NULL: `private_key` signs */
    char key_sha256[KEY_SHA256_SIZE]; /* of its public key; "" without one */
    bool key_is_credential;
    char *public_key_id; /* sent as Wechatpay-Serial; NULL without a public key */
    /* Those of the configuration. Answers are verified with merchant_keys(). */
    struct verify_key verify_keys[MERCHANT_VERIFY_KEYS_MAX];
    size_t verify_key_count;
    struct platform_keys
        *platform_keys; /* a reference; NULL without platform_certificates = auto */
    char *apiv3_key;    /* secret; NULL when none is given */
    unsigned max_in_flight;
    unsigned rate_per_s;
    unsigned references; /* atomic */
};

/* Reads the keys (blocking file reads). NULL and every error (free()), one per line: "merchant
 * MCHID: KEY: what is wrong", where KEY is the configuration key. It is an error to have no key to
 * verify with, or the merchant's own public key as WeChat Pay's. The serial number is converted to
 * upper case. With a certificate, serial_no is its own: it is an error when the private key, or a
 * given serial_no, is of another one. */
struct merchant *merchant_new(const struct merchant_spec *spec, char **errors)
    __attribute__((warn_unused_result));
/* A merchant that only routes events and neither signs nor verifies, for programs without keys.
 * Reads no file. */
struct merchant *merchant_new_keyless(const struct merchant_spec *spec, char **errors)
    __attribute__((warn_unused_result));
struct merchant *merchant_ref(struct merchant *merchant);
/* The keys that verify this merchant's answers: the configuration's and the certificate list's.
 * Borrowed from the merchant or written to `room`. The event loop's thread only. */
const struct verify_key *merchant_keys(const struct merchant *merchant,
                                       struct verify_key room[MERCHANT_KEYS_MAX], size_t *count);
/* Gives `merchant`, which nobody uses yet, the platform keys of an earlier configuration's. Both
 * have some. */
void merchant_share_platform_keys(struct merchant *merchant, const struct merchant *earlier);
/* Whether one of them is valid at that time. Without one no answer can be verified (yet). */
bool merchant_has_keys(const struct merchant *merchant, int64_t now_s);
/* Likewise of its platform keys alone. */
bool merchant_has_listed_keys(const struct merchant *merchant, int64_t now_s);
/* True when both have the same keys and limits, so that a reload changed nothing. Compares keys,
 * not paths. */
bool merchant_same(const struct merchant *a, const struct merchant *b);
/* Frees at the last reference. Accepts NULL, returns NULL. */
struct merchant *merchant_unref(struct merchant *merchant);

/* A table of merchants with different numbers; takes over one reference of each. */
struct merchants;
struct merchants *merchants_new(struct merchant *const *items, size_t count);
struct merchants *merchants_ref(struct merchants *table);
struct merchants *merchants_unref(struct merchants *table);
size_t merchants_count(const struct merchants *table);
struct merchant *merchants_at(const struct merchants *table, size_t index);
/* Finds by number, or NULL. Borrowed. */
struct merchant *merchants_find(const struct merchants *table, const char *mchid);
/* The merchant for events of that mode that name none: the only one of the mode, otherwise the one
 * with default = yes, otherwise NULL. Borrowed. */
struct merchant *merchants_default(const struct merchants *table, enum merchant_mode mode);

#endif
