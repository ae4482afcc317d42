#include "presignd/sign/sign.h"

#include "unit/sign/vectors.h"

/* A request of the vectors, rebuilt from its parts. */
static void expect_published(const char *name, const char *method, const char *path)
{
    AUTO_FREE char *msg_name = mem_printf("%s_request.msg", name);
    AUTO_FREE char *sig_name = mem_printf("%s_request.sig.b64", name);
    AUTO_BUF struct buf published = vector_read(msg_name);
    AUTO_BUF struct buf expected = vector_read(sig_name);
    AUTO(pkey_free_at) EVP_PKEY *key = vector_merchant_key();

    const char *nonce = strstr(published.data, VECTOR_SALT);
    cr_assert_not_null(nonce);
    const char *body = nonce + SIGN_NONCE_LENGTH + 1;
    size_t body_len = published.len - (size_t)(body - published.data) - 1;
    AUTO_BUF struct buf message = {0};
    sign_message(&message, method, path, VECTOR_TIME, VECTOR_SALT, body, body_len);
    cr_assert_eq(message.len, published.len);
    cr_assert_arr_eq(message.data, published.data, published.len);

    AUTO_BUF struct buf signature = {0};
    cr_assert(sign_bytes(key, message.data, message.len, &signature));
    cr_assert_str_eq(signature.data, expected.data);

    AUTO_BUF struct buf header = {0};
    sign_authorization(&header, "1900007291", "408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB",
                       VECTOR_TIME, VECTOR_SALT, signature.data);
    AUTO_FREE char *whole =
        mem_printf("WECHATPAY2-SHA256-RSA2048 mchid=\"1900007291\",nonce_str=\"" VECTOR_SALT
                   "\",signature=\"%s\",timestamp=\"1554208460\","
                   "serial_no=\"408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB\"",
                   expected.data);
    cr_assert_str_eq(header.data, whole);
}

Test(sign, requests_have_their_published_signature)
{
    expect_published("k1", "POST", "/v3/pay/transactions/jsapi");
    expect_published("k2", "GET", "/v3/refund/domestic/refunds/123123123123");
    expect_published(
        "k4", "POST",
        "/v3/papay/scheduled-deduct-sign/partner/contracts/pre-entrust-sign/mini-program");
    expect_published("k5", "POST",
                     "/v3/papay/scheduled-deduct-sign/contracts/pre-entrust-sign/app");
}

Test(sign, nonces_use_every_letter_and_do_not_repeat)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    unsigned seen[36] = {0};
    char last[SIGN_NONCE_LENGTH + 1] = "";
    for (int i = 0; i < 10000; i++) {
        char nonce[SIGN_NONCE_LENGTH + 1];
        sign_nonce(nonce);
        cr_assert_eq(strlen(nonce), SIGN_NONCE_LENGTH);
        cr_assert_str_neq(nonce, last);
        memcpy(last, nonce, sizeof nonce);
        for (size_t j = 0; j < SIGN_NONCE_LENGTH; j++) {
            const char *at = strchr(letters, nonce[j]);
            cr_assert_not_null(at);
            seen[at - letters]++;
        }
    }
    /* 8889 of each are expected, with a standard deviation of 93; a plain remainder of a byte
     * would give four of them 10000. */
    for (size_t i = 0; i < ARRAY_LENGTH(seen); i++) {
        cr_assert(seen[i] > 8200 && seen[i] < 9600, "%c %u", letters[i], seen[i]);
    }
}

Test(sign, a_public_key_cannot_sign)
{
    char *error = NULL;
    AUTO(pkey_free_at)
    EVP_PKEY *key = key_public_read(VECTORS "k3_wechatpay_public_key.pem", &error);
    cr_assert_not_null(key);
    AUTO_BUF struct buf out = {0};
    cr_assert(!sign_bytes(key, "x", 1, &out));
    cr_assert_eq(out.len, 0);
}
