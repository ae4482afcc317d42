#include "wechatpay/certificates.h"

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

/* True for a certificate with a usable key and the serial that the answer lists. */
static bool is_certificate(const struct buf *pem, const char *listed_serial)
{
    AUTO_FREE char *error = NULL;
    struct key_certificate found = {0};
    bool ok =
        key_certificates_parse(pem->data, pem->len, "", KEY_OF_WECHATPAY, &found, 1, &error) == 1 &&
        text_equal_nocase(found.serial, listed_serial);
    key_certificate_deinit(&found);
    return ok;
}

/* Reads one element of `data` into `pem`; skips an element of another algorithm. Returns NULL, or
 * what is wrong. */
static const char *read_item(const json_t *item, const char *apiv3_key, struct buf *pem)
{
    const json_t *sealed = json_object_get(item, "encrypt_certificate");
    const char *algorithm = json_text(sealed, "algorithm");
    const char *nonce = json_text(sealed, "nonce");
    const char *ciphertext = json_text(sealed, "ciphertext");
    const char *serial = json_text(item, "serial_no");
    if (*algorithm == '\0' || *nonce == '\0' || *ciphertext == '\0' || *serial == '\0') {
        return "an element of data lacks serial_no or a field of encrypt_certificate";
    }
    if (strcmp(algorithm, "AEAD_AES_256_GCM") != 0) {
        return NULL;
    }
    if (!certificates_decrypt(apiv3_key, nonce, json_text(sealed, "associated_data"), ciphertext,
                              pem)) {
        return "a certificate cannot be decrypted: check apiv3_key";
    }
    if (!is_certificate(pem, serial)) {
        return "the decrypted text is not an RSA certificate with the listed serial_no";
    }
    return NULL;
}

static void free_all(char **items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(items[i]);
    }
    free(items);
}

char **certificates_read(const char *body, size_t len, const char apiv3_key[APIV3_KEY_LENGTH],
                         size_t *count, const char **why)
{
    AUTO_JSON json_t *root =
        json_read(body, len, ANSWER_NESTING_MAX, JSON_READ_NUL | JSON_READ_BIG_INTEGERS, NULL);
    const json_t *data = json_object_get(root, "data");
    size_t size = json_array_size(data);
    *count = 0;
    *why = size == 0                 ? "the answer has no array data with certificates"
           : size > CERTIFICATES_MAX ? "the answer has too many certificates"
                                     : NULL;
    if (*why != NULL) {
        return NULL;
    }
    char **items = mem_zalloc(size, sizeof *items);
    for (size_t i = 0; i < size && *why == NULL; i++) {
        AUTO_BUF struct buf pem = {0};
        *why = read_item(json_array_get(data, i), apiv3_key, &pem);
        if (*why == NULL && pem.len > 0) {
            items[(*count)++] = buf_take(&pem);
        }
    }
    if (*why == NULL && *count == 0) {
        *why = "no certificate uses AEAD_AES_256_GCM";
    }
    if (*why != NULL) {
        free_all(items, *count);
        *count = 0;
        return NULL;
    }
    return items;
}
