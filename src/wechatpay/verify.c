#include "presignd/wechatpay/verify.h"

#include "presignd/base/buf.h"
#include "presignd/base/text.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdbool.h>
#include <string.h>

/* By enum verify_algorithm. */
static const struct {
    const char *name; /* in Wechatpay-Signature-Type */
    const EVP_MD *(*digest)(void);
} algorithms[] = {
    [VERIFY_SHA256_RSA2048] = {"WECHATPAY2-SHA256-RSA2048", EVP_sha256},
};

const char *verify_status_text(enum verify_status status)
{
    switch (status) {
    case VERIFY_OK:
        return "the signature is valid";
    case VERIFY_UNSIGNED:
        return "the answer is not signed";
    case VERIFY_UNKNOWN_SERIAL:
        return "Wechatpay-Serial names a key that is not configured, not valid yet or expired";
    case VERIFY_BAD_TIMESTAMP:
        return "Wechatpay-Timestamp is not within five minutes of our clock";
    case VERIFY_SIGNATURE_TEST:
        return "the signature is a signature test, which must fail";
    case VERIFY_BAD_ENCODING:
        return "the signature is not base64";
    case VERIFY_WRONG_ALGORITHM:
        return "Wechatpay-Signature-Type names another algorithm than that of the key";
    case VERIFY_BAD_SIGNATURE:
        return "the signature does not match the answer";
    }
    return "";
}

const char *verify_kind_name(enum verify_kind kind)
{
    return kind == VERIFY_BY_PUBLIC_KEY ? "public_key" : "certificate";
}

enum verify_kind verify_kind_of(const char *serial)
{
    bool is_id = strncmp(serial, VERIFY_KEY_ID_PREFIX, strlen(VERIFY_KEY_ID_PREFIX)) == 0;
    return is_id ? VERIFY_BY_PUBLIC_KEY : VERIFY_BY_CERTIFICATE;
}

static bool is_missing(const char *header)
{
    return header == NULL || header[0] == '\0';
}

static bool timestamp_is_near(const char *timestamp, int64_t now_s)
{
    int64_t at_s;
    return text_int(timestamp, 0, INT64_MAX, &at_s) && at_s >= now_s - VERIFY_CLOCK_SKEW_S &&
           at_s <= now_s + VERIFY_CLOCK_SKEW_S;
}

/* The beginning has the tolerance of Wechatpay-Timestamp: our clock may be late. */
bool verify_key_is_valid(const struct verify_key *key, int64_t now_s)
{
    return key->not_after_ms / 1000 >= now_s &&
           key->not_before_ms / 1000 <= now_s + VERIFY_CLOCK_SKEW_S;
}

bool verify_any_is_valid(const struct verify_key *keys, size_t count, int64_t now_s)
{
    for (size_t i = 0; i < count; i++) {
        if (verify_key_is_valid(&keys[i], now_s)) {
            return true;
        }
    }
    return false;
}

bool verify_same_serial(const char *a, const char *b)
{
    return text_equal_nocase(a + strspn(a, "0"), b + strspn(b, "0"));
}

/* A certificate outside its time counts as unknown. */
static const struct verify_key *find_key(const struct verify_key *keys, size_t count,
                                         const char *serial, int64_t now_s)
{
    for (size_t i = 0; i < count; i++) {
        if (verify_same_serial(keys[i].serial, serial) && verify_key_is_valid(&keys[i], now_s)) {
            return &keys[i];
        }
    }
    return NULL;
}

static bool algorithm_matches(const struct verify_key *key, const char *signature_type)
{
    const char *named = is_missing(signature_type) ? algorithms[0].name : signature_type;
    return strcmp(named, algorithms[key->algorithm].name) == 0;
}

/* To make the contexts of a verification takes a fifth of its time, so those of the last keys are
 * kept, for each thread. A key that was replaced stays until another one takes its slot. */
struct kept {
    EVP_PKEY *key; /* a reference, so that no other key gets its address; NULL: unused */
    enum verify_algorithm algorithm;
    EVP_MD_CTX *digest;
    EVP_PKEY_CTX *verifier;
};

static void kept_drop(struct kept *kept)
{
    EVP_PKEY_CTX_free(kept->verifier);
    EVP_MD_CTX_free(kept->digest);
    EVP_PKEY_free(kept->key);
    *kept = (struct kept){0};
}

static bool kept_make(struct kept *kept, const struct verify_key *key)
{
    const EVP_MD *digest = algorithms[key->algorithm].digest();
    kept->digest = EVP_MD_CTX_new();
    kept->verifier = EVP_PKEY_CTX_new(key->key, NULL);
    if (kept->digest == NULL || kept->verifier == NULL ||
        EVP_DigestInit_ex(kept->digest, digest, NULL) != 1 ||
        EVP_PKEY_verify_init(kept->verifier) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(kept->verifier, RSA_PKCS1_PADDING) != 1 ||
        EVP_PKEY_CTX_set_signature_md(kept->verifier, digest) != 1 ||
        EVP_PKEY_up_ref(key->key) != 1) {
        kept_drop(kept);
        return false;
    }
    kept->key = key->key;
    kept->algorithm = key->algorithm;
    return true;
}

/* NULL when the key is of another kind than its algorithm, or without memory. */
static const struct kept *kept_of(const struct verify_key *key)
{
    enum { SLOTS = 64, ALIGNMENT = 16 };
    static _Thread_local struct kept slots[SLOTS];
    struct kept *kept = &slots[(uintptr_t)key->key / ALIGNMENT % SLOTS];
    if (kept->key == key->key && kept->algorithm == key->algorithm) {
        return kept;
    }
    kept_drop(kept);
    return kept_make(kept, key) ? kept : NULL;
}

/* The signed text is timestamp LF nonce LF body LF. It is digested in pieces to avoid a copy. */
static bool signature_matches(const struct verify_key *key, const struct verify_input *input,
                              const struct buf *signature)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned sum_len = 0;
    const struct kept *kept = kept_of(key);
    /* Without an algorithm, the context begins again with the one that it has. */
    bool ok = kept != NULL && EVP_DigestInit_ex(kept->digest, NULL, NULL) == 1 &&
              EVP_DigestUpdate(kept->digest, input->timestamp, strlen(input->timestamp)) == 1 &&
              EVP_DigestUpdate(kept->digest, "\n", 1) == 1 &&
              EVP_DigestUpdate(kept->digest, input->nonce, strlen(input->nonce)) == 1 &&
              EVP_DigestUpdate(kept->digest, "\n", 1) == 1 &&
              EVP_DigestUpdate(kept->digest, input->body, input->body_len) == 1 &&
              EVP_DigestUpdate(kept->digest, "\n", 1) == 1 &&
              EVP_DigestFinal_ex(kept->digest, sum, &sum_len) == 1 &&
              EVP_PKEY_verify(kept->verifier, (const unsigned char *)signature->data,
                              signature->len, sum, sum_len) == 1;
    ERR_clear_error();
    return ok;
}

/* The serial is checked last: an unknown serial makes the caller fetch certificates, and an invalid
 * answer should not cause that. */
enum verify_status verify_answer(const struct verify_key *keys, size_t key_count,
                                 const struct verify_input *input, int64_t now_s)
{
    static const char probe[] = "WECHATPAY/SIGNTEST/";
    if (is_missing(input->serial) || is_missing(input->timestamp) || is_missing(input->nonce) ||
        is_missing(input->signature)) {
        return VERIFY_UNSIGNED;
    }
    if (strncmp(input->signature, probe, sizeof probe - 1) == 0) {
        return VERIFY_SIGNATURE_TEST;
    }
    if (!timestamp_is_near(input->timestamp, now_s)) {
        return VERIFY_BAD_TIMESTAMP;
    }
    AUTO_BUF struct buf signature = {0};
    if (!text_base64_decode(&signature, input->signature, strlen(input->signature))) {
        return VERIFY_BAD_ENCODING;
    }
    const struct verify_key *key = find_key(keys, key_count, input->serial, now_s);
    if (key == NULL) {
        return VERIFY_UNKNOWN_SERIAL;
    }
    if (!algorithm_matches(key, input->signature_type)) {
        return VERIFY_WRONG_ALGORITHM;
    }
    return signature_matches(key, input, &signature) ? VERIFY_OK : VERIFY_BAD_SIGNATURE;
}
