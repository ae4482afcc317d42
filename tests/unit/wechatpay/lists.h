/* Certificate lists as WeChat Pay makes them: for tests. */
#ifndef PRESIGND_TESTS_UNIT_WECHATPAY_LISTS_H
#define PRESIGND_TESTS_UNIT_WECHATPAY_LISTS_H

#include "presignd/base/text.h"
#include "presignd/sign/sign.h"
#include "presignd/wechatpay/caller.h"
#include "unit/sign/pem.h"

#include <inttypes.h>
#include <openssl/x509.h>

#define LISTS_KEY "0123456789abcdefghijABCDEFGHIJ01"

struct listed {
    EVP_PKEY *key;
    const char *serial; /* hex */
    int64_t from_s, to_s;
};

/* An answer with its signature. All zero before; signed_list_deinit() after. */
struct signed_list {
    struct buf body, signature;
    char timestamp[24];
    const char *serial; /* borrowed */
};

static inline void signed_list_deinit(struct signed_list *list)
{
    buf_deinit(&list->body);
    buf_deinit(&list->signature);
}

static inline struct buf listed_pem(const struct listed *from)
{
    X509 *certificate = X509_new();
    BIGNUM *number = NULL;
    BN_hex2bn(&number, from->serial);
    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    ASN1_TIME_set(X509_getm_notBefore(certificate), from->from_s);
    ASN1_TIME_set(X509_getm_notAfter(certificate), from->to_s);
    X509_set_pubkey(certificate, from->key);
    cr_assert_neq(X509_sign(certificate, from->key, EVP_sha256()), 0);
    BIO *bio = BIO_new(BIO_s_mem());
    cr_assert_eq(PEM_write_bio_X509(bio, certificate), 1);
    X509_free(certificate);
    return pem_take(bio);
}

/* AES-256-GCM, nonce "0123456789ab", associated data "certificate". */
static inline void listed_seal(const char *apiv3_key, const struct buf *plain, struct buf *out)
{
    static const unsigned char nonce[] = "0123456789ab", data[] = "certificate";
    AUTO_FREE unsigned char *sealed = mem_alloc(plain->len + 16);
    int done;
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    cr_assert(EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, (const unsigned char *)apiv3_key,
                                 nonce) == 1 &&
              EVP_EncryptUpdate(context, NULL, &done, data, sizeof data - 1) == 1 &&
              EVP_EncryptUpdate(context, sealed, &done, (const unsigned char *)plain->data,
                                (int)plain->len) == 1 &&
              EVP_EncryptFinal_ex(context, sealed + plain->len, &done) == 1 &&
              EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, sealed + plain->len) == 1);
    EVP_CIPHER_CTX_free(context);
    text_base64(out, sealed, plain->len + 16);
}

static inline void listed_put(struct buf *body, const char *apiv3_key, const struct listed *item)
{
    AUTO_BUF struct buf pem = listed_pem(item);
    buf_printf(body,
               "%s{\"serial_no\":\"%s\",\"effective_time\":\"2000-01-01T00:00:00+08:00\","
               "\"expire_time\":\"2001-01-01T00:00:00+08:00\",\"encrypt_certificate\":{"
               "\"algorithm\":\"AEAD_AES_256_GCM\",\"nonce\":\"0123456789ab\","
               "\"associated_data\":\"certificate\",\"ciphertext\":\"",
               body->data[body->len - 1] == '[' ? "" : ",", item->serial);
    listed_seal(apiv3_key, &pem, body);
    buf_puts(body, "\"}}");
}

/* Takes over `body`, and signs it. */
static inline void signed_list_sign(struct signed_list *list, struct buf *body, EVP_PKEY *signer,
                                    const char *serial, int64_t now_s)
{
    AUTO_BUF struct buf message = {0};
    signed_list_deinit(list);
    list->body = *body;
    *body = (struct buf){0};
    snprintf(list->timestamp, sizeof list->timestamp, "%" PRId64, now_s);
    list->serial = serial;
    buf_printf(&message, "%s\nnonce\n%s\n", list->timestamp, list->body.data);
    cr_assert(sign_bytes(signer, message.data, message.len, &list->signature));
}

static inline void signed_list_make(struct signed_list *list, const char *apiv3_key,
                                    const struct listed *items, size_t count, EVP_PKEY *signer,
                                    const char *serial, int64_t now_s)
{
    AUTO_BUF struct buf body = {0};
    buf_puts(&body, "{\"data\":[");
    for (size_t i = 0; i < count; i++) {
        listed_put(&body, apiv3_key, &items[i]);
    }
    buf_puts(&body, "]}");
    signed_list_sign(list, &body, signer, serial, now_s);
}

/* The answer as the caller gives it; borrowed from `list`. */
static inline struct caller_got signed_list_got(const struct signed_list *list)
{
    return (struct caller_got){.status = 200,
                               .input.verify = {.serial = list->serial,
                                                .timestamp = list->timestamp,
                                                .nonce = "nonce",
                                                .signature = list->signature.data,
                                                .body = list->body.data,
                                                .body_len = list->body.len}};
}

#endif
