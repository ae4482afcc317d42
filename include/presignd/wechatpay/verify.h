/* Verifying an answer (APIv3, "response and callback verification"). Pure. */
#ifndef PRESIGND_WECHATPAY_VERIFY_H
#define PRESIGND_WECHATPAY_VERIFY_H

#include "presignd/base/buf.h"
#include "presignd/sign/batch_verifier.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The greatest difference between an answer's Wechatpay-Timestamp and our clock. */
#define VERIFY_CLOCK_SKEW_S 300
/* Bytes of the largest digest. */
#define VERIFY_DIGEST_MAX 64

enum verify_status {
    VERIFY_OK,
    VERIFY_UNSIGNED,        /* one or all of the signature's headers are missing */
    VERIFY_UNKNOWN_SERIAL,  /* Wechatpay-Serial names an unknown key */
    VERIFY_BAD_TIMESTAMP,   /* not a number, or more than VERIFY_CLOCK_SKEW_S off */
    VERIFY_SIGNATURE_TEST,  /* begins with WECHATPAY/SIGNTEST/ */
    VERIFY_BAD_ENCODING,    /* not base64 */
    VERIFY_WRONG_ALGORITHM, /* Wechatpay-Signature-Type is not that of the key */
    VERIFY_BAD_SIGNATURE,
};
/* For messages. Quotes nothing of the answer. */
const char *verify_status_text(enum verify_status status);

/* How a key signs: a value of Wechatpay-Signature-Type. Zero is what a missing header means. */
enum verify_algorithm {
    VERIFY_SHA256_RSA2048, /* WECHATPAY2-SHA256-RSA2048, also with larger RSA keys */
};

/* What an id of a public key begins with. No certificate's serial number does. */
#define VERIFY_KEY_ID_PREFIX "PUB_KEY_ID_"

/* The two kinds of WeChat Pay's keys, with their names in metrics and in the status. */
enum verify_kind { VERIFY_BY_PUBLIC_KEY, VERIFY_BY_CERTIFICATE, VERIFY_KIND_COUNT };
const char *verify_kind_name(enum verify_kind kind);
/* By a serial or id, as in Wechatpay-Serial. */
enum verify_kind verify_kind_of(const char *serial);

/* A key with the serial or PUB_KEY_ID_… of Wechatpay-Serial. It is used from VERIFY_CLOCK_SKEW_S
 * before not_before_ms to not_after_ms; outside, it counts as unknown. */
struct verify_key {
    const char *serial;
    EVP_PKEY *key;
    int64_t not_before_ms; /* 0 for a public key */
    int64_t not_after_ms;  /* INT64_MAX for a public key: it does not expire */
    enum verify_algorithm algorithm;
};

/* An answer's signature headers, NULL when absent, and its raw body. */
struct verify_input {
    const char *serial, *timestamp, *nonce, *signature;
    const char *signature_type;
    const char *body;
    size_t body_len;
};

/* Whether both are the same number: openssl prints whole bytes, so often a 0 first, which other
 * programs leave out; and there are both cases. For ids of public keys, too. */
bool verify_same_serial(const char *a, const char *b);

/* Whether it is within its time. */
bool verify_key_is_valid(const struct verify_key *key, int64_t now_s);
/* Whether one of them is. */
bool verify_any_is_valid(const struct verify_key *keys, size_t count, int64_t now_s);

/* The verification of an answer, in two steps: verify_prepare() checks everything but the
 * signature, verify_many() verifies the signatures of several answers. All zero at first,
 * verify_deinit() at last; it may be prepared again in between. */
struct verify_check {
    enum verify_status status; /* after verify_prepare(), VERIFY_OK: only the signature is left */
    EVP_PKEY *key;             /* borrowed from the keys */
    enum verify_algorithm algorithm;
    unsigned char digest[VERIFY_DIGEST_MAX];
    unsigned digest_len;
    struct buf signature;
};
/* Borrows the keys until verify_many(); copies what it needs of the input. */
void verify_prepare(struct verify_check *check, const struct verify_key *keys, size_t key_count,
                    const struct verify_input *input, int64_t now_s);
/* Sets the final status of up to VERIFY_MANY_MAX checks. `verifier` verifies the signatures that it
 * takes; OpenSSL verifies all that are not valid then. Without a verifier (NULL), OpenSSL verifies
 * all. */
#define VERIFY_MANY_MAX 16
void verify_many(struct verify_check *const checks[], size_t count,
                 struct batch_verifier *verifier);
void verify_deinit(struct verify_check *check);

/* Both steps for one answer, by OpenSSL. */
enum verify_status verify_answer(const struct verify_key *keys, size_t key_count,
                                 const struct verify_input *input, int64_t now_s)
    __attribute__((warn_unused_result));

#endif
