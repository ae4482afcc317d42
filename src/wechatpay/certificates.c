#include "presignd/wechatpay/certificates.h"

#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/sign/key.h"
#include "presignd/wechatpay/answer.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define TAG_LENGTH 16
/* The API's nonces have 12 bytes; OpenSSL's bound is 128. */
#define NONCE_MAX 128

static void cipher_free_at(EVP_CIPHER_CTX **context)
{
    EVP_CIPHER_CTX_free(*context);
}

/* Decrypts `sealed` (ciphertext, then tag) to `plain`, which has room for all of it. */
static bool open_sealed(const char *key, const char *nonce, const char *associated_data,
                        const struct buf *sealed, unsigned char *plain)
{
    const unsigned char *bytes = (const unsigned char *)sealed->data;
    int len = (int)(sealed->len - TAG_LENGTH);
    unsigned char tag[TAG_LENGTH];
    memcpy(tag, bytes + len, sizeof tag);
    int done;
    AUTO(cipher_free_at) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    return context != NULL &&
           EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), NULL, NULL, NULL) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_IVLEN, (int)strlen(nonce), NULL) == 1 &&
           EVP_DecryptInit_ex(context, NULL, NULL, (const unsigned char *)key,
                              (const unsigned char *)nonce) == 1 &&
           EVP_DecryptUpdate(context, NULL, &done, (const unsigned char *)associated_data,
                             (int)strlen(associated_data)) == 1 &&
           EVP_DecryptUpdate(context, plain, &done, bytes, len) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, sizeof tag, tag) == 1 &&
           EVP_DecryptFinal_ex(context, plain + done, &done) == 1;
}

bool certificates_decrypt(const char apiv3_key[APIV3_KEY_LENGTH], const char *nonce,
                          const char *associated_data, const char *ciphertext_base64,
                          struct buf *out)
{
    buf_deinit(out);
    size_t text_len = strlen(ciphertext_base64);
    AUTO_BUF struct buf sealed = {0};
    if (text_len > KEY_FILE_MAX || nonce[0] == '\0' || strlen(nonce) > NONCE_MAX ||
        strlen(associated_data) > KEY_FILE_MAX ||
        !text_base64_decode(&sealed, ciphertext_base64, text_len) || sealed.len < TAG_LENGTH) {
        return false;
    }
    buf_reserve(out, sealed.len);
    bool ok = open_sealed(apiv3_key, nonce, associated_data, &sealed, (unsigned char *)out->data);
    ERR_clear_error();
    if (!ok) {
        /* Unauthenticated plaintext must not leave this function. */
        OPENSSL_cleanse(out->data, sealed.len);
        buf_deinit(out);
        return false;
    }
    out->len = sealed.len - TAG_LENGTH;
    out->data[out->len] = '\0';
    return true;
}

/* What an element is. */
enum element { ELEMENT_TAKEN, ELEMENT_FOREIGN, ELEMENT_CLOSED, ELEMENT_ODD };

static bool is_listed(const struct certificate_list *list, const char *serial)
{
    for (size_t i = 0; i < list->count; i++) {
        if (verify_same_serial(list->items[i].serial, serial)) {
            return true;
        }
    }
    return false;
}

/* False when it is no certificate with a usable key and the serial that the element names. The
 * times are the certificate's own: expire_time is not encrypted. */
static bool take_certificate(const struct buf *pem, const char *listed_serial,
                             struct certificate_list *list)
{
    AUTO_FREE char *error = NULL;
    AUTO(key_certificate_deinit) struct key_certificate found = {0};
    if (key_certificates_parse(pem->data, pem->len, "", KEY_OF_WECHATPAY, &found, 1, &error) != 1 ||
        !verify_same_serial(found.serial, listed_serial) || is_listed(list, found.serial)) {
        return false;
    }
    list->items[list->count++] = (struct verify_key){.serial = found.serial,
                                                     .key = found.key,
                                                     .not_before_ms = found.not_before_ms,
                                                     .not_after_ms = found.not_after_ms};
    found = (struct key_certificate){0}; /* moved */
    return true;
}

static enum element take_element(const json_t *item, const char *apiv3_key,
                                 struct certificate_list *list, const char **why)
{
    const json_t *sealed = json_object_get(item, "encrypt_certificate");
    const char *algorithm = json_text(sealed, "algorithm");
    const char *nonce = json_text(sealed, "nonce");
    const char *ciphertext = json_text(sealed, "ciphertext");
    const char *serial = json_text(item, "serial_no");
    AUTO_BUF struct buf pem = {0};
    if (*algorithm == '\0' || *nonce == '\0' || *ciphertext == '\0' || *serial == '\0') {
        *why = "an element of data lacks serial_no or a field of encrypt_certificate";
        return ELEMENT_ODD;
    }
    if (strcmp(algorithm, "AEAD_AES_256_GCM") != 0) {
        return ELEMENT_FOREIGN;
    }
    if (!certificates_decrypt(apiv3_key, nonce, json_text(sealed, "associated_data"), ciphertext,
                              &pem)) {
        *why = "a certificate does not open with apiv3_key";
        return ELEMENT_CLOSED;
    }
    if (!take_certificate(&pem, serial, list)) {
        *why = "what an element decrypts to is no RSA certificate with its serial_no, or is there "
               "twice";
        return ELEMENT_ODD;
    }
    return ELEMENT_TAKEN;
}

enum certificates_status certificates_open(const char *body, size_t len,
                                           const char apiv3_key[APIV3_KEY_LENGTH],
                                           struct certificate_list *list)
{
    size_t seen[ELEMENT_ODD + 1] = {0};
    AUTO_JSON json_t *root =
        json_read(body, len, ANSWER_NESTING_MAX, JSON_READ_NUL | JSON_READ_BIG_INTEGERS, NULL);
    const json_t *data = json_object_get(root, "data");
    size_t size = json_array_size(data);
    if (!json_is_array(data) || size > PLATFORM_KEYS_MAX) {
        return CERTIFICATES_NO_LIST;
    }
    for (size_t i = 0; i < size; i++) {
        const char *why = NULL;
        seen[take_element(json_array_get(data, i), apiv3_key, list, &why)]++;
        list->skipped_why = list->skipped_why == NULL ? why : list->skipped_why;
    }
    list->skipped = seen[ELEMENT_CLOSED] + seen[ELEMENT_ODD];
    return list->count > 0            ? CERTIFICATES_OK
           : list->skipped == 0       ? CERTIFICATES_EMPTY
           : seen[ELEMENT_CLOSED] > 0 ? CERTIFICATES_UNDECRYPTABLE
                                      : CERTIFICATES_ODD;
}

void certificate_list_deinit(struct certificate_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free((char *)list->items[i].serial);
        EVP_PKEY_free(list->items[i].key);
    }
    *list = (struct certificate_list){0};
}
