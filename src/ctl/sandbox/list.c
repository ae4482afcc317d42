#include "ctl/sandbox/sandbox.h"
#include "presignd/base/text.h"
#include "presignd/sign/sign.h"

#include <openssl/evp.h>
#include <stdlib.h>

enum { NONCE_BYTES = 12, TAG_BYTES = 16, BEIJING_OFFSET_MS = 8 * 3600 * 1000 };

#define ASSOCIATED_DATA "certificate"

/* Ciphertext and tag. Encrypting memory fails only without memory. */
static void seal(const char *key, const char *nonce, const struct buf *plain, struct buf *out)
{
    int len = 0;
    buf_reserve(out, plain->len + TAG_BYTES);
    unsigned char *bytes = (unsigned char *)out->data;
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    if (context == NULL ||
        EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, (const unsigned char *)key,
                           (const unsigned char *)nonce) != 1 ||
        EVP_EncryptUpdate(context, NULL, &len, (const unsigned char *)ASSOCIATED_DATA,
                          sizeof ASSOCIATED_DATA - 1) != 1 ||
        EVP_EncryptUpdate(context, bytes, &len, (const unsigned char *)plain->data,
                          (int)plain->len) != 1 ||
        EVP_EncryptFinal_ex(context, bytes + len, &len) != 1 ||
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, bytes + plain->len) != 1) {
        abort();
    }
    EVP_CIPHER_CTX_free(context);
    out->len = plain->len + TAG_BYTES;
}

static void add_sealed(const char *apiv3_key, const struct buf *pem, struct buf *out)
{
    char nonce[SIGN_NONCE_LENGTH + 1];
    AUTO_BUF struct buf sealed = {0}, text = {0};
    sign_nonce(nonce);
    nonce[NONCE_BYTES] = '\0';
    seal(apiv3_key, nonce, pem, &sealed);
    text_base64(&text, sealed.data, sealed.len);
    buf_puts(out, "{\"algorithm\":\"AEAD_AES_256_GCM\"");
    buf_json_member(out, "nonce", nonce);
    buf_json_member(out, "associated_data", ASSOCIATED_DATA);
    buf_json_member(out, "ciphertext", text.data);
    buf_putc(out, '}');
}

/* In Beijing's time, as WeChat Pay writes it. */
static void add_time(const char *name, int64_t at_s, struct buf *out)
{
    char time[TEXT_TIME_SIZE];
    AUTO_BUF struct buf text = {0};
    text_time(time, at_s * 1000 + BEIJING_OFFSET_MS, false);
    buf_append(&text, time, strlen(time) - 1); /* without its Z */
    buf_puts(&text, "+08:00");
    buf_json_member(out, name, text.data);
}

static void add_item(const struct sandbox_list *list,
                     const struct sandbox_platform_certificate *certificate, struct buf *out)
{
    AUTO_BUF struct buf sealed = {0};
    add_sealed(list->apiv3_key, &certificate->pem, &sealed);
    buf_putc(out, '{');
    buf_json_member(out, "serial_no", certificate->serial);
    add_time("effective_time", certificate->not_before_s, out);
    add_time("expire_time", certificate->not_after_s, out);
    buf_json_member_raw(out, "encrypt_certificate", sealed.data, sealed.len);
    buf_putc(out, '}');
}

void sandbox_list_body(const struct sandbox_list *list, struct buf *out)
{
    buf_puts(out, "{\"data\":[");
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0) {
            buf_putc(out, ',');
        }
        add_item(list, list->items[i], out);
    }
    buf_puts(out, "]}");
}
