#include "ctl/sandbox/sandbox.h"
#include "presignd/base/text.h"
#include "presignd/sign/sign.h"

#include <openssl/evp.h>
#include <stdlib.h>

enum { NONCE_BYTES = 12, TAG_BYTES = 16, BEIJING_OFFSET_MS = 8 * 3600 * 1000 };

#define ASSOCIATED_DATA "certificate"
/* The serial of no certificate. */
#define ODD_SERIAL "7E00000000000000000000000000000000000000"

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

/* `serial`: NULL for the certificate's. */
static void add_item(const char *apiv3_key, const struct sandbox_pair *pair, const char *serial,
                     struct buf *out)
{
    AUTO_BUF struct buf sealed = {0};
    add_sealed(apiv3_key, &pair->pem, &sealed);
    buf_puts(out, out->data[out->len - 1] == '[' ? "{" : ",{");
    buf_json_member(out, "serial_no", serial == NULL ? pair->serial : serial);
    add_time("effective_time", pair->not_before_s, out);
    add_time("expire_time", pair->not_after_s, out);
    buf_json_member_raw(out, "encrypt_certificate", sealed.data, sealed.len);
    buf_putc(out, '}');
}

/* Elements that are no certificate, or that nobody can read, before and after the good ones. */
static void add_odd(const struct sandbox_list *list, struct buf *out)
{
    static const char other_key[] = "presignctl-sandbox-another-key!!";
    struct sandbox_pair words = {.serial = ODD_SERIAL};
    buf_puts(&words.pem, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    add_item(list->apiv3_key, &words, NULL, out);
    add_item(other_key, list->items[0], ODD_SERIAL, out);
    buf_deinit(&words.pem);
    buf_puts(out, ",null,17,\"text\",[],{},{\"serial_no\":\"" ODD_SERIAL
                  "\",\"encrypt_certificate\":{\"algorithm\":\"AEAD_SM4_GCM\",\"nonce\":\"odd\","
                  "\"associated_data\":\"certificate\",\"ciphertext\":\"b2Rk\"}}");
}

void sandbox_list_body(const struct sandbox_list *list, struct sandbox_fault fault, struct buf *out)
{
    const enum sandbox_effect effect = sandbox_effect_of(fault);
    const size_t times = effect == EFFECT_LIST_EMPTY  ? 0
                         : effect == EFFECT_LIST_MANY ? (size_t)fault.param
                                                      : 1;
    buf_puts(out, "{\"data\":[");
    if (effect == EFFECT_LIST_ODD) {
        add_odd(list, out);
    }
    for (size_t i = 0; i < list->count * times; i++) {
        add_item(list->apiv3_key, list->items[i % list->count],
                 effect == EFFECT_LIST_SERIALS ? ODD_SERIAL : NULL, out);
    }
    buf_puts(out, "]}");
    if (effect == EFFECT_LIST_CUT) {
        out->len /= 2;
        out->data[out->len] = '\0';
    }
}
