#include "presignd/wechatpay/certificates.h"

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
    struct certificate_list list = {0};
    cr_assert_eq(certificates_open(body.data, body.len, APIV3_KEY, &list), CERTIFICATES_OK);
    cr_assert_eq(list.count, 1);
    cr_assert_eq(list.skipped, 0);
    cr_assert_null(list.skipped_why);
    cr_assert_str_eq(list.items[0].serial, SERIAL);
    cr_assert_eq(EVP_PKEY_get_bits(list.items[0].key), 2048);
    cr_assert_lt(list.items[0].not_before_ms, list.items[0].not_after_ms);
    certificate_list_deinit(&list);
    cr_assert_eq(list.count, 0);
}

static void expect_refused(const char *body, size_t len, const char *key,
                           enum certificates_status status, const char *why)
{
    struct certificate_list list = {0};
    cr_assert_eq(certificates_open(body, len, key, &list), status, "%s", body);
    cr_assert_eq(list.count, 0);
    cr_assert_eq(list.skipped > 0, why != NULL);
    cr_assert(why == NULL ? list.skipped_why == NULL : strcmp(list.skipped_why, why) == 0);
    certificate_list_deinit(&list);
}

/* k7 with one text put in another's place. */
static char *k7_with(const char *old, const char *new)
{
    AUTO_BUF struct buf body = vector_read("k7_certificates_response.json");
    char *at = strstr(body.data, old);
    cr_assert_not_null(at);
    *at = '\0';
    return mem_printf("%s%s%s", body.data, new, at + strlen(old));
}

static void expect_k7_refused(const char *old, const char *new, enum certificates_status status,
                              const char *why)
{
    AUTO_FREE char *changed = k7_with(old, new);
    expect_refused(changed, strlen(changed), APIV3_KEY, status, why);
}

static const char LACKS[] = "an element of data lacks serial_no or a field of encrypt_certificate";
static const char CLOSED[] = "a certificate does not open with apiv3_key";
static const char ODD[] =
    "what an element decrypts to is no RSA certificate with its serial_no, or is there twice";

Test(certificates, what_is_no_list_is_named)
{
    static const char many[] = "{\"data\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}";
    expect_refused("", 0, APIV3_KEY, CERTIFICATES_NO_LIST, NULL);
    expect_refused("<html>", 6, APIV3_KEY, CERTIFICATES_NO_LIST, NULL);
    expect_refused("{\"data\":{}}", 11, APIV3_KEY, CERTIFICATES_NO_LIST, NULL);
    expect_refused(many, strlen(many), APIV3_KEY, CERTIFICATES_NO_LIST, NULL);
    expect_refused("{\"data\":[]}", 11, APIV3_KEY, CERTIFICATES_EMPTY, NULL);
    expect_refused("{\"data\":[7]}", 12, APIV3_KEY, CERTIFICATES_ODD, LACKS);
    expect_k7_refused("\"nonce\"", "\"once\"", CERTIFICATES_ODD, LACKS);
    expect_k7_refused("AEAD_AES_256_GCM", "AEAD_SM4_GCM", CERTIFICATES_EMPTY, NULL);
    expect_k7_refused("14b16c03dc1b", "14b16c03dc1c", CERTIFICATES_UNDECRYPTABLE, CLOSED);
    expect_k7_refused(SERIAL, "00", CERTIFICATES_ODD, ODD);
}

Test(certificates, a_truncated_list_is_none)
{
    AUTO_BUF struct buf body = vector_read("k7_certificates_response.json");
    size_t end = (size_t)(strrchr(body.data, '}') - body.data);
    for (size_t len = 0; len <= end; len++) {
        AUTO_FREE char *part = mem_dup(body.data, len);
        expect_refused(part, len, APIV3_KEY, CERTIFICATES_NO_LIST, NULL);
    }
}

/* The element of k7, with one text put in another's place. */
static char *element_with(const char *old, const char *new)
{
    AUTO_FREE char *body = k7_with(old, new);
    char *from = strchr(body, '[') + 1;
    return mem_dup(from, (size_t)(strrchr(body, ']') - from));
}

Test(certificates, an_odd_element_does_not_spoil_the_list)
{
    AUTO_FREE char *good = element_with(SERIAL, SERIAL);
    AUTO_FREE char *closed = element_with("14b16c03dc1b", "14b16c03dc1c");
    AUTO_FREE char *body = mem_printf("{\"data\":[{\"a\":null},%s,17,%s,%s]}", closed, good, good);
    struct certificate_list list = {0};
    cr_assert_eq(certificates_open(body, strlen(body), APIV3_KEY, &list), CERTIFICATES_OK);
    cr_assert_eq(list.count, 1, "the second copy is skipped");
    cr_assert_eq(list.skipped, 4);
    cr_assert_str_eq(list.skipped_why, LACKS, "the first one's reason");
    certificate_list_deinit(&list);
    expect_refused(body, strlen(body), "b7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb",
                   CERTIFICATES_UNDECRYPTABLE, LACKS);
}
