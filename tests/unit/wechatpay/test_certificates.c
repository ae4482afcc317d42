#include "wechatpay/certificates.h"

#include "unit/sign/pem.h"

#include <jansson.h>

#define APIV3_KEY "a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb"
#define SERIAL    "5DEA10EF55877E3CF6C33255C2E7DEFFF7E427EC"

Test(certificates, the_published_ciphertext_opens_and_no_other)
{
    AUTO_BUF struct buf text = vector_read("k6_aes_gcm.json");
    json_t *k6 = json_loadb(text.data, text.len, 0, NULL);
    const char *nonce = json_string_value(json_object_get(k6, "nonce"));
    const char *data = json_string_value(json_object_get(k6, "associated_data"));
    AUTO_FREE char *sealed = mem_strdup(json_string_value(json_object_get(k6, "ciphertext")));
    AUTO_BUF struct buf out = {0};
    cr_assert(certificates_decrypt(APIV3_KEY, nonce, data, sealed, &out));
    cr_assert_str_eq(out.data, json_string_value(json_object_get(k6, "plaintext")));

    cr_assert(!certificates_decrypt("b7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb", nonce, data, sealed, &out));
    cr_assert_eq(out.len, 0);
    cr_assert(!certificates_decrypt(APIV3_KEY, "uluk4a9R25RX", data, sealed, &out));
    cr_assert(!certificates_decrypt(APIV3_KEY, "", data, sealed, &out));
    cr_assert(!certificates_decrypt(APIV3_KEY, nonce, "", sealed, &out));
    cr_assert(!certificates_decrypt(APIV3_KEY, nonce, data, "", &out));
    cr_assert(!certificates_decrypt(APIV3_KEY, nonce, data, "c2hvcnQ=", &out));
    cr_assert(!certificates_decrypt(APIV3_KEY, nonce, data, "not base64", &out));
    for (size_t i = 0; i + 2 < strlen(sealed); i++) {
        char was = sealed[i];
        sealed[i] = was == 'A' ? 'B' : 'A';
        cr_assert(!certificates_decrypt(APIV3_KEY, nonce, data, sealed, &out));
        cr_assert_eq(out.len, 0);
        sealed[i] = was;
    }
    json_decref(k6);
}

Test(certificates, the_published_answer_holds_its_certificate)
{
    AUTO_BUF struct buf body = vector_read("k7_certificates_response.json");
    size_t count = 0;
    const char *reason = NULL;
    char **items = certificates_read(body.data, body.len, APIV3_KEY, &count, &reason);
    cr_assert_not_null(items, "%s", reason);
    cr_assert_eq(count, 1);
    char *error = NULL;
    struct key_certificate found;
    cr_assert_eq(key_certificates_parse(items[0], strlen(items[0]), "k7", KEY_OF_WECHATPAY, &found,
                                        1, &error),
                 1, "%s", error);
    cr_assert_str_eq(found.serial, SERIAL);
    key_certificate_deinit(&found);
    free(items[0]);
    free(items);
}

static void expect_refused(const char *body, const char *key, const char *reason)
{
    size_t count = 7;
    const char *got = NULL;
    cr_assert_null(certificates_read(body, strlen(body), key, &count, &got));
    cr_assert_eq(count, 0);
    cr_assert_str_eq(got, reason);
}

/* k7 with one text put in another's place. */
static void expect_k7_refused(const char *old, const char *new, const char *reason)
{
    AUTO_BUF struct buf body = vector_read("k7_certificates_response.json");
    char *at = strstr(body.data, old);
    cr_assert_not_null(at);
    *at = '\0';
    AUTO_FREE char *changed = mem_printf("%s%s%s", body.data, new, at + strlen(old));
    expect_refused(changed, APIV3_KEY, reason);
}

Test(certificates, an_answer_that_will_not_do_has_a_reason)
{
    static const char none[] = "the answer has no array data with certificates";
    static const char lacks[] =
        "an element of data lacks serial_no or a field of encrypt_certificate";
    expect_refused("", APIV3_KEY, none);
    expect_refused("<html>", APIV3_KEY, none);
    expect_refused("{\"data\":{}}", APIV3_KEY, none);
    expect_refused("{\"data\":[]}", APIV3_KEY, none);
    expect_refused("{\"data\":[7]}", APIV3_KEY, lacks);
    expect_refused("{\"data\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}", APIV3_KEY,
                   "the answer has too many certificates");
    expect_k7_refused("\"nonce\"", "\"once\"", lacks);
    expect_k7_refused("AEAD_AES_256_GCM", "AEAD_SM4_GCM", "no certificate uses AEAD_AES_256_GCM");
    expect_k7_refused("14b16c03dc1b", "14b16c03dc1c",
                      "a certificate cannot be decrypted: check apiv3_key");
    expect_k7_refused(SERIAL, "00",
                      "the decrypted text is not an RSA certificate with the listed serial_no");
}
