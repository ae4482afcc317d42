/* Reads the list of platform certificates, or a file that an operator configured as a key. An input
 * that begins with "-----" is such a file, as is what follows "file". The rest of an input that
 * begins with "seal" is encrypted as a certificate of the list, so that the code behind the
 * decryption is reached. */
#include "fuzz.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/sign/key.h"
#include "presignd/wechatpay/refresh.h"

#include <openssl/evp.h>
#include <string.h>

#define KEY   "a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb"
#define NONCE "0123456789ab"

static void seal(const char *plain, size_t len, struct buf *list)
{
    AUTO_FREE unsigned char *sealed = mem_alloc(len + 16);
    int done;
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    PROMISE(EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, (const unsigned char *)KEY,
                               (const unsigned char *)NONCE) == 1 &&
            EVP_EncryptUpdate(context, sealed, &done, (const unsigned char *)plain, (int)len) ==
                1 &&
            EVP_EncryptFinal_ex(context, sealed + len, &done) == 1 &&
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, sealed + len) == 1);
    EVP_CIPHER_CTX_free(context);
    buf_puts(list, "{\"data\":[{\"serial_no\":\"5DEA10EF55877E3CF6C33255C2E7DEFFF7E427EC\","
                   "\"encrypt_certificate\":{\"algorithm\":\"AEAD_AES_256_GCM\","
                   "\"nonce\":\"" NONCE "\",\"ciphertext\":\"");
    text_base64(list, sealed, len + 16);
    buf_puts(list, "\"}}]}");
}

/* The same as an answer of WeChat Pay's that no key verifies. */
static void judge(const char *body, size_t len)
{
    static char apiv3_key[] = KEY;
    struct platform_keys *keys = platform_keys_new();
    const struct merchant merchant = {.platform_keys = keys, .apiv3_key = apiv3_key};
    struct caller_got got = {.status = len % 2 == 0 ? 200 : 404,
                             .input.verify = {.serial = "A",
                                              .timestamp = "1700000000",
                                              .nonce = "n",
                                              .signature = "c2hvcnQ=",
                                              .body = body,
                                              .body_len = len}};
    struct certificate_list list = {0};
    struct refresh_verdict verdict = refresh_judge(&merchant, &got, 1700000000, &list);
    PROMISE(verdict.end != REFRESH_OK && list.count == 0);
    PROMISE(verdict.is_fault && verdict.text[0] != '\0');
    platform_keys_unref(keys);
}

static void read_list(const char *body, size_t len)
{
    struct certificate_list list = {0};
    enum certificates_status status = certificates_open(body, len, KEY, &list);
    PROMISE((status == CERTIFICATES_OK) == (list.count > 0));
    PROMISE(list.count + list.skipped <= PLATFORM_KEYS_MAX);
    PROMISE((list.skipped > 0) == (list.skipped_why != NULL));
    certificate_list_deinit(&list);
    judge(body, len);
}

static void read_key(const char *pem, size_t len)
{
    enum { MAX = 3 };
    char *errors[3] = {NULL, NULL, NULL};
    struct key_certificate found[MAX] = {0};
    size_t count = key_certificates_parse(pem, len, "F", KEY_OF_MERCHANT, found, MAX, &errors[2]);
    PROMISE(count <= MAX && (count == 0) == (found[0].key == NULL));
    EVP_PKEY *keys[] = {key_private_parse(pem, len, "F", &errors[0]),
                        key_public_parse(pem, len, "F", &errors[1]), found[0].key};
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        PROMISE((keys[i] == NULL) == (errors[i] != NULL));
        free(errors[i]);
    }
    EVP_PKEY_free(keys[0]);
    EVP_PKEY_free(keys[1]);
    for (size_t i = 0; i < MAX; i++) {
        key_certificate_deinit(&found[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FREE char *text = mem_alloc(size);
    memcpy(text, data, size);
    AUTO_BUF struct buf list = {0};
    if (size > 4 && memcmp(text, "seal", 4) == 0) {
        seal(text + 4, size - 4, &list);
        read_list(list.data, list.len);
    } else if (size > 5 && memcmp(text, "-----", 5) == 0) {
        read_key(text, size);
    } else if (size > 4 && memcmp(text, "file", 4) == 0) {
        read_key(text + 4, size - 4);
    } else {
        read_list(text, size);
    }
    return 0;
}
