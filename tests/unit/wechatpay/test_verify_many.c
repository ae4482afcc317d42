/* Answers verified together, by the stand-in of libcrypto_mb. What OpenSSL says of each is what is
 * expected. */
#include "presignd/wechatpay/verify.h"

#include "crypto-mb/rsa.h"
#include "crypto-mb/stand_in.h"
#include "presignd/base/text.h"
#include "sign/known_answers.h"
#include "unit/sign/vectors.h"

#include <openssl/sha.h>

#define NOW_S INT64_C(1763884800)
#define NOW   "1763884800"
#define BODY  "{\"pre_entrustweb_id\":\"5778aadf1\"}"

enum { KEY_2048, KEY_3072, KEY_4096, KEYS };
static EVP_PKEY *pkeys[KEYS];
static struct batch_verifier *verifier;

static void open_verifier(void)
{
    char *why = NULL;
    verifier = batch_verifier_new(&why);
    cr_assert_not_null(verifier, "%s", why);
    for (size_t i = 0; i < KEYS; i++) {
        pkeys[i] = rsa_of_hex(known_answers[i].p, known_answers[i].q);
    }
}

static void close_verifier(void)
{
    verifier = batch_verifier_free(verifier);
    for (size_t i = 0; i < KEYS; i++) {
        EVP_PKEY_free(pkeys[i]);
    }
}

TestSuite(verify_many, .init = open_verifier, .fini = close_verifier, .timeout = 120);

/* Answers that differ in their nonces, in the order of their checks. */
struct round {
    size_t count;
    struct answer {
        EVP_PKEY *key;
        char nonce[16];
        struct buf signature; /* base64 */
        struct verify_check check;
    } answers[VERIFY_MANY_MAX];
};

static void round_free(struct round *round)
{
    for (size_t i = 0; i < round->count; i++) {
        buf_deinit(&round->answers[i].signature);
        verify_deinit(&round->answers[i].check);
    }
}

static struct answer *add(struct round *round, EVP_PKEY *key)
{
    struct answer *answer = &round->answers[round->count];
    *answer = (struct answer){.key = key};
    (void)snprintf(answer->nonce, sizeof answer->nonce, "n%zu", round->count++);
    answer->signature = answer_sign(key, NOW, answer->nonce, BODY, strlen(BODY));
    return answer;
}

static void add_some(struct round *round, EVP_PKEY *key, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        add(round, key);
    }
}

static enum verify_status by_openssl(const struct answer *answer, struct verify_check *check)
{
    const struct verify_key key = {.serial = "K", .key = answer->key, .not_after_ms = INT64_MAX};
    const struct verify_input input = {.serial = "K",
                                       .timestamp = NOW,
                                       .nonce = answer->nonce,
                                       .signature = answer->signature.data,
                                       .body = BODY,
                                       .body_len = strlen(BODY)};
    verify_prepare(check, &key, 1, &input, NOW_S);
    return verify_answer(&key, 1, &input, NOW_S);
}

/* Returns how many verify; `batches`: those that the library is to be given. */
static size_t verify(struct round *round, unsigned batches)
{
    struct verify_check *checks[VERIFY_MANY_MAX];
    enum verify_status expected[VERIFY_MANY_MAX] = {VERIFY_OK};
    unsigned before = stand_in_verifications();
    size_t valid = 0;
    for (size_t i = 0; i < round->count; i++) {
        checks[i] = &round->answers[i].check;
        expected[i] = by_openssl(&round->answers[i], checks[i]);
    }
    verify_many(checks, round->count, verifier);
    for (size_t i = 0; i < round->count; i++) {
        cr_assert_eq(checks[i]->status, expected[i], "answer %zu: %s", i,
                     verify_status_text(checks[i]->status));
        valid += checks[i]->status == VERIFY_OK;
    }
    cr_assert_eq(stand_in_verifications() - before, batches, "%u",
                 stand_in_verifications() - before);
    return valid;
}

static bool had_mistake(void)
{
    return batch_verifier_mistakes(verifier) > 0;
}

/* --- Which ones go together --- */

static void expect_batches(unsigned batches, size_t with_2048, size_t with_3072, size_t with_4096)
{
    AUTO(round_free) struct round round = {0};
    add_some(&round, pkeys[KEY_4096], with_4096);
    add_some(&round, pkeys[KEY_2048], with_2048);
    add_some(&round, pkeys[KEY_3072], with_3072);
    cr_assert_eq(verify(&round, batches), round.count);
    cr_assert(!had_mistake());
}

Test(verify_many, three_signatures_of_a_key_size_are_worth_a_batch)
{
    expect_batches(0, 0, 0, 0);
    expect_batches(0, 1, 0, 0);
    expect_batches(0, 2, 2, 2);
    expect_batches(1, 3, 0, 0);
    expect_batches(1, 0, 3, 2);
    expect_batches(3, 3, 4, 5);
}

Test(verify_many, a_batch_has_eight)
{
    expect_batches(1, 8, 0, 0);
    expect_batches(1, 10, 0, 0);
    expect_batches(2, 11, 0, 0);
    expect_batches(2, VERIFY_MANY_MAX, 0, 0);
}

Test(verify_many, those_that_are_wrong_before_the_signature_are_not_given_to_it)
{
    AUTO(round_free) struct round round = {0};
    add_some(&round, pkeys[KEY_2048], 4);
    buf_puts(&round.answers[1].signature, "!");
    buf_deinit(&round.answers[2].signature);
    cr_assert_eq(verify(&round, 0), 2);
}

Test(verify_many, other_keys_are_openssls)
{
    static const struct {
        unsigned bits, exponent;
    } others[] = {{2048, 3}, {2560, 65537}, {1024, 65537}};
    for (size_t i = 0; i < ARRAY_LENGTH(others); i++) {
        BIGNUM *exponent = BN_new();
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
        AUTO(pkey_free_at) EVP_PKEY *key = NULL;
        AUTO(round_free) struct round round = {0};
        cr_assert(BN_set_word(exponent, others[i].exponent) == 1 &&
                  EVP_PKEY_keygen_init(context) == 1 &&
                  EVP_PKEY_CTX_set_rsa_keygen_bits(context, (int)others[i].bits) == 1 &&
                  EVP_PKEY_CTX_set1_rsa_keygen_pubexp(context, exponent) == 1 &&
                  EVP_PKEY_generate(context, &key) == 1);
        add_some(&round, key, 8);
        cr_assert_eq(verify(&round, 0), 8);
        EVP_PKEY_CTX_free(context);
        BN_free(exponent);
    }
}

/* Contexts and numbers are kept for keys in few places; here most keys lose theirs at once. */
Test(verify_many, each_of_many_keys_verifies_what_it_signed)
{
    AUTO(round_free) struct round round = {0};
    EVP_PKEY *many[VERIFY_MANY_MAX];
    for (size_t i = 0; i < VERIFY_MANY_MAX; i++) {
        many[i] = rsa_of_hex(known_answers[i % 2].p, known_answers[i % 2].q);
        add(&round, many[i]);
    }
    round.answers[5].key = many[6];
    cr_assert_eq(verify(&round, 2), VERIFY_MANY_MAX - 1);
    for (size_t i = 0; i < VERIFY_MANY_MAX; i++) {
        EVP_PKEY_free(many[i]);
    }
}

/* --- Wrong signatures --- */

static void set_signature(struct answer *answer, const unsigned char *bytes, size_t len)
{
    answer->signature.len = 0;
    text_base64(&answer->signature, bytes, len);
}

/* EMSA-PKCS1-v1_5 (RFC 8017, section 9.2) of this answer. */
static void pad(const struct answer *answer, unsigned char block[256])
{
    static const unsigned char info[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                         0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
    char text[256];
    int len = snprintf(text, sizeof text, NOW "\n%s\n" BODY "\n", answer->nonce);
    memset(block, 0xff, 256);
    block[0] = 0;
    block[1] = 1;
    block[256 - 32 - sizeof info - 1] = 0;
    memcpy(block + 256 - 32 - sizeof info, info, sizeof info);
    SHA256((unsigned char *)text, (size_t)len, block + 256 - 32);
}

/* Signs any block, as only the owner of the private key could. */
static void sign_block(struct answer *answer, const unsigned char block[256])
{
    unsigned char signature[256];
    size_t len = sizeof signature;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(answer->key, NULL);
    cr_assert(EVP_PKEY_sign_init(context) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(context, RSA_NO_PADDING) == 1 &&
              EVP_PKEY_sign(context, signature, &len, block, 256) == 1 && len == 256);
    EVP_PKEY_CTX_free(context);
    set_signature(answer, signature, len);
}

static BIGNUM *modulus(void)
{
    BIGNUM *n = NULL;
    cr_assert_eq(EVP_PKEY_get_bn_param(pkeys[KEY_2048], OSSL_PKEY_PARAM_RSA_N, &n), 1);
    return n;
}

static bool add_modulus(struct answer *answer)
{
    AUTO_BUF struct buf raw = {0};
    unsigned char sum[256];
    cr_assert(text_base64_decode(&raw, answer->signature.data, answer->signature.len));
    BIGNUM *s = BN_bin2bn((unsigned char *)raw.data, (int)raw.len, NULL), *n = modulus();
    cr_assert_eq(BN_add(s, s, n), 1);
    bool fits = BN_bn2binpad(s, sum, sizeof sum) > 0;
    if (fits) {
        set_signature(answer, sum, sizeof sum);
    }
    BN_free(s);
    BN_free(n);
    return fits;
}

/* One wrong answer among good ones. */
#define EXPECT_WRONG(...)                                                              \
    do {                                                                               \
        AUTO(round_free) struct round round = {0};                                     \
        add_some(&round, pkeys[KEY_2048], 5);                                          \
        struct answer *answer = &round.answers[2];                                     \
        unsigned char block[256];                                                      \
        pad(answer, block);                                                            \
        __VA_ARGS__                                                                    \
        cr_assert_eq(verify(&round, 1), 4, "line %d", __LINE__);                       \
        cr_assert_eq(answer->check.status, VERIFY_BAD_SIGNATURE, "line %d", __LINE__); \
        cr_assert(!had_mistake(), "line %d", __LINE__);                                \
    } while (0)

Test(verify_many, the_whole_block_counts)
{
    AUTO(round_free) struct round right = {0};
    unsigned char whole[256];
    add_some(&right, pkeys[KEY_2048], 3);
    pad(&right.answers[0], whole);
    sign_block(&right.answers[0], whole);
    cr_assert_eq(verify(&right, 1), 3);
    EXPECT_WRONG(block[255] ^= 1; sign_block(answer, block););
    EXPECT_WRONG(block[0] = 1; sign_block(answer, block););
    EXPECT_WRONG(block[1] = 2; sign_block(answer, block););
    EXPECT_WRONG(block[2] = 0; sign_block(answer, block););
    EXPECT_WRONG(block[100] = 0xfe; sign_block(answer, block););
    /* The digest without its identifier, or with that of another algorithm, or without NULL. */
    EXPECT_WRONG(memset(block + 204, 0xff, 19); block[223] = 0; sign_block(answer, block););
    EXPECT_WRONG(block[219] = 3; sign_block(answer, block););
    EXPECT_WRONG(memmove(block + 208, block + 205, 15); block[207] = 0; block[209] = 0x2f;
                 block[211] = 0x0b; block[222] = 0x04; block[223] = 0x20;
                 sign_block(answer, block););
    /* Something behind the digest, and less padding instead. */
    EXPECT_WRONG(memmove(block + 2, block + 3, 253); sign_block(answer, block););
}

Test(verify_many, wrong_signatures_do_not_verify)
{
    static const unsigned char zeros[257];
    EXPECT_WRONG(answer->signature.data[10] ^= 1;);
    EXPECT_WRONG(set_signature(answer, zeros, 256););
    EXPECT_WRONG(set_signature(answer, block, 256););
    EXPECT_WRONG(set_signature(answer, zeros, 257););
    EXPECT_WRONG(set_signature(answer, zeros, 255););
    EXPECT_WRONG(set_signature(answer, zeros, 1););
    EXPECT_WRONG(buf_deinit(&answer->signature);
                 answer->signature =
                     answer_sign(pkeys[KEY_3072], NOW, answer->nonce, BODY, strlen(BODY)););
    EXPECT_WRONG(buf_deinit(&answer->signature);
                 answer->signature = answer_sign(pkeys[KEY_2048], NOW, "n1", BODY, strlen(BODY)););
    EXPECT_WRONG(BIGNUM *n = modulus(); BN_bn2bin(n, block); set_signature(answer, block, 256);
                 BN_free(n););
}

/* It opens like the valid one below it; RFC 8017, section 8.2.2, step 2a with 5.2.2, step 1. */
Test(verify_many, a_signature_lies_below_the_modulus)
{
    AUTO(round_free) struct round round = {0};
    size_t above = 0;
    add_some(&round, pkeys[KEY_2048], VERIFY_MANY_MAX);
    for (size_t i = 0; i < round.count; i++) {
        above += add_modulus(&round.answers[i]);
    }
    cr_assert_gt(above, 0);
    cr_assert_eq(verify(&round, (unsigned)((VERIFY_MANY_MAX - above + 5) / 8)),
                 VERIFY_MANY_MAX - above);
    cr_assert(!had_mistake());
}

Test(verify_many, the_published_answer_verifies)
{
    char *error = NULL;
    AUTO(pkey_free_at)
    EVP_PKEY *key = key_public_read(VECTORS "k3_wechatpay_public_key.pem", &error);
    AUTO_BUF struct buf message = vector_read("k3_response.msg");
    AUTO_BUF struct buf signature = vector_read("k3_response.sig.b64");
    struct verify_check kept[3] = {0}, *checks[3];
    const struct verify_key keys[] = {{.serial = "K", .key = key, .not_after_ms = INT64_MAX}};
    char *nonce = strchr(message.data, '\n') + 1, *body = strchr(nonce, '\n') + 1;
    nonce[-1] = body[-1] = '\0';
    for (size_t i = 0; i < 3; i++) {
        const struct verify_input input = {.serial = "K",
                                           .timestamp = message.data,
                                           .nonce = nonce,
                                           .signature = signature.data,
                                           .body = body,
                                           .body_len = strlen(body) - 1 - (i == 1)};
        checks[i] = &kept[i];
        verify_prepare(checks[i], keys, 1, &input, INT64_C(1722850421));
    }
    unsigned before = stand_in_verifications();
    verify_many(checks, 3, verifier);
    cr_assert_eq(stand_in_verifications(), before + 1);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(kept[i].status, i == 1 ? VERIFY_BAD_SIGNATURE : VERIFY_OK);
        verify_deinit(&kept[i]);
    }
}

/* --- Faults of the library --- */

static void expect_end(enum stand_in_fault fault, enum sign_end end, uint64_t mistakes)
{
    AUTO(round_free) struct round round = {0};
    add_some(&round, pkeys[KEY_2048], 8);
    cr_assert_eq(verify(&round, 1), 8);
    stand_in_set(fault, 0);
    cr_assert_eq(verify(&round, 1), 8);
    cr_assert(had_mistake());
    cr_assert_eq(batch_verifier_count(verifier, end), mistakes);
    cr_assert_eq(batch_verifier_count(verifier, SIGN_OK), 0);
    stand_in_set(STAND_IN_NONE, 0);
    cr_assert_eq(verify(&round, 0), 8, "the library is not used again");
}

Test(verify_many, a_mistake_changes_no_answer_and_ends_the_librarys_use)
{
    expect_end(STAND_IN_VERIFY, SIGN_WRONG, 1);
}

Test(verify_many, mistakes_in_every_slot_change_no_answer)
{
    expect_end(STAND_IN_VERIFY_ALL, SIGN_WRONG, 8);
}

Test(verify_many, an_error_of_the_library_changes_no_answer)
{
    expect_end(STAND_IN_VERIFY_STATUS, SIGN_FAILED, 1);
}

Test(verify_many, a_library_that_writes_nothing_changes_no_answer)
{
    expect_end(STAND_IN_VERIFY_SILENT, SIGN_WRONG, 8);
}

/* The batch before opened the same blocks in the same slots. */
Test(verify_many, a_library_that_writes_nothing_makes_no_answer_valid)
{
    AUTO(round_free) struct round round = {0};
    add_some(&round, pkeys[KEY_2048], 8);
    cr_assert_eq(verify(&round, 1), 8);
    for (size_t i = 0; i < 8; i++) {
        round.answers[i].signature.data[20] ^= 1;
    }
    stand_in_set(STAND_IN_VERIFY_SILENT, 0);
    cr_assert_eq(verify(&round, 1), 0);
    cr_assert(!had_mistake(), "OpenSSL agrees");
    stand_in_set(STAND_IN_VERIFY, 0);
    cr_assert_eq(verify(&round, 1), 0);
    cr_assert(!had_mistake());
}

Test(verify_many, a_library_that_opens_wrongly_is_not_used)
{
    char *why = NULL;
    stand_in_set(STAND_IN_OPEN, 0);
    cr_assert_null(batch_verifier_new(&why));
    cr_assert_str_eq(why, "libcrypto_mb.so.13 gives wrong signatures with keys of 2048 bits");
    free(why);
    cr_assert_null(batch_verifier_free(NULL));
    cr_assert(!batch_verifier_mistakes(NULL));
}
