#include "presignd/wechatpay/verify.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <assert.h>
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
    struct batch_public_key *numbers; /* stays with the slot; NULL: no batch has needed it yet */
    bool has_numbers;                 /* they are this key's */
};

static void kept_drop(struct kept *kept)
{
    EVP_PKEY_CTX_free(kept->verifier);
    EVP_MD_CTX_free(kept->digest);
    EVP_PKEY_free(kept->key);
    *kept = (struct kept){.numbers = kept->numbers};
}

static bool kept_make(struct kept *kept, EVP_PKEY *key, enum verify_algorithm algorithm)
{
    const EVP_MD *digest = algorithms[algorithm].digest();
    kept->digest = EVP_MD_CTX_new();
    kept->verifier = EVP_PKEY_CTX_new(key, NULL);
    if (kept->digest == NULL || kept->verifier == NULL ||
        EVP_DigestInit_ex(kept->digest, digest, NULL) != 1 ||
        EVP_PKEY_verify_init(kept->verifier) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(kept->verifier, RSA_PKCS1_PADDING) != 1 ||
        EVP_PKEY_CTX_set_signature_md(kept->verifier, digest) != 1 || EVP_PKEY_up_ref(key) != 1) {
        kept_drop(kept);
        return false;
    }
    kept->key = key;
    kept->algorithm = algorithm;
    return true;
}

/* NULL when the key is of another kind than its algorithm, or without memory. The result is valid
 * until the next call. */
static struct kept *kept_of(const struct verify_check *check)
{
    enum { SLOTS = 64, ALIGNMENT = 16 };
    static _Thread_local struct kept slots[SLOTS];
    struct kept *kept = &slots[(uintptr_t)check->key / ALIGNMENT % SLOTS];
    if (kept->key == check->key && kept->algorithm == check->algorithm) {
        return kept;
    }
    kept_drop(kept);
    return kept_make(kept, check->key, check->algorithm) ? kept : NULL;
}

/* The signed text is timestamp LF nonce LF body LF. It is digested in pieces to avoid a copy. */
static bool digest(struct verify_check *check, const struct verify_input *input)
{
    const struct kept *kept = kept_of(check);
    /* Without an algorithm, the context begins again with the one that it has. */
    bool ok = kept != NULL && EVP_DigestInit_ex(kept->digest, NULL, NULL) == 1 &&
              EVP_DigestUpdate(kept->digest, input->timestamp, strlen(input->timestamp)) == 1 &&
              EVP_DigestUpdate(kept->digest, "\n", 1) == 1 &&
              EVP_DigestUpdate(kept->digest, input->nonce, strlen(input->nonce)) == 1 &&
              EVP_DigestUpdate(kept->digest, "\n", 1) == 1 &&
              EVP_DigestUpdate(kept->digest, input->body, input->body_len) == 1 &&
              EVP_DigestUpdate(kept->digest, "\n", 1) == 1 &&
              EVP_DigestFinal_ex(kept->digest, check->digest, &check->digest_len) == 1;
    if (!ok) {
        ERR_clear_error();
    }
    return ok;
}

/* The serial is checked last: an unknown serial makes the caller fetch certificates, and an invalid
 * answer should not cause that. */
static enum verify_status prepare(struct verify_check *check, const struct verify_key *keys,
                                  size_t key_count, const struct verify_input *input, int64_t now_s)
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
    if (!text_base64_decode(&check->signature, input->signature, strlen(input->signature))) {
        return VERIFY_BAD_ENCODING;
    }
    const struct verify_key *key = find_key(keys, key_count, input->serial, now_s);
    if (key == NULL) {
        return VERIFY_UNKNOWN_SERIAL;
    }
    if (!algorithm_matches(key, input->signature_type)) {
        return VERIFY_WRONG_ALGORITHM;
    }
    check->key = key->key;
    check->algorithm = key->algorithm;
    return digest(check, input) ? VERIFY_OK : VERIFY_BAD_SIGNATURE;
}

void verify_prepare(struct verify_check *check, const struct verify_key *keys, size_t key_count,
                    const struct verify_input *input, int64_t now_s)
{
    check->signature.len = 0;
    check->status = prepare(check, keys, key_count, input, now_s);
}

void verify_deinit(struct verify_check *check)
{
    buf_deinit(&check->signature);
}

/* By OpenSSL. */
static void finish(struct verify_check *check)
{
    const struct kept *kept = check->status == VERIFY_OK ? kept_of(check) : NULL;
    if (check->status == VERIFY_OK &&
        (kept == NULL ||
         EVP_PKEY_verify(kept->verifier, (const unsigned char *)check->signature.data,
                         check->signature.len, check->digest, check->digest_len) != 1)) {
        check->status = VERIFY_BAD_SIGNATURE;
        ERR_clear_error();
    }
}

/* Copies the key's numbers: the next call of kept_of() may give their slot to another key. */
static struct batch_item item_of(const struct verify_check *check)
{
    struct kept *kept = check->status == VERIFY_OK ? kept_of(check) : NULL;
    if (kept == NULL || check->algorithm != VERIFY_SHA256_RSA2048) {
        return (struct batch_item){.len = 0};
    }
    if (!kept->has_numbers) {
        kept->numbers = kept->numbers == NULL ? mem_alloc(sizeof *kept->numbers) : kept->numbers;
        batch_public_key_fill(kept->numbers, check->key);
        kept->has_numbers = true;
    }
    return (struct batch_item){.key = *kept->numbers,
                               .signature = (const uint8_t *)check->signature.data,
                               .len = check->signature.len,
                               .digest = check->digest};
}

static void finish_in_batches(struct verify_check *const checks[], size_t count,
                              struct batch_verifier *verifier)
{
    struct batch_item items[VERIFY_MANY_MAX];
    for (size_t i = 0; i < count; i++) {
        items[i] = item_of(checks[i]);
    }
    batch_verifier_run(verifier, items, count);
    for (size_t i = 0; i < count; i++) {
        if (items[i].was_batched && items[i].end == SIGN_OK) {
            continue;
        }
        finish(checks[i]);
        if (items[i].was_batched && checks[i]->status == VERIFY_OK) {
            batch_verifier_report_mistake(verifier, items[i].end);
        }
    }
}

void verify_many(struct verify_check *const checks[], size_t count, struct batch_verifier *verifier)
{
    assert(count <= VERIFY_MANY_MAX);
    if (verifier != NULL) {
        finish_in_batches(checks, count, verifier);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        finish(checks[i]);
    }
}

enum verify_status verify_answer(const struct verify_key *keys, size_t key_count,
                                 const struct verify_input *input, int64_t now_s)
{
    AUTO(verify_deinit) struct verify_check check = {0};
    verify_prepare(&check, keys, key_count, input, now_s);
    finish(&check);
    return check.status;
}
