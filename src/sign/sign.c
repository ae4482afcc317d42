#include "presignd/sign/sign.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void sign_nonce(char out[SIGN_NONCE_LENGTH + 1])
{
    static const char letters[36] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t filled = 0;
    while (filled < SIGN_NONCE_LENGTH) {
        unsigned char random[SIGN_NONCE_LENGTH + 8];
        if (getentropy(random, sizeof random) != 0) {
            abort(); /* fails only on a kernel without getrandom(2) */
        }
        for (size_t i = 0; i < sizeof random && filled < SIGN_NONCE_LENGTH; i++) {
            /* 252 is the greatest multiple of 36 in a byte: values above it would bias the choice.
             */
            if (random[i] < 252) {
                out[filled++] = letters[random[i] % 36];
            }
        }
    }
    out[SIGN_NONCE_LENGTH] = '\0';
}

void sign_message(struct buf *out, const char *method, const char *path, int64_t timestamp_s,
                  const char *nonce, const char *body, size_t body_len)
{
    buf_printf(out, "%s\n%s\n%" PRId64 "\n%s\n", method, path, timestamp_s, nonce);
    buf_append(out, body, body_len);
    buf_putc(out, '\n');
}

EVP_PKEY_CTX *sign_context_new(EVP_PKEY *key)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    bool ok = context != NULL && EVP_PKEY_sign_init(context) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) == 1 &&
              EVP_PKEY_CTX_set_signature_md(context, EVP_sha256()) == 1;
    if (!ok) {
        EVP_PKEY_CTX_free(context);
        ERR_clear_error();
    }
    return ok ? context : NULL;
}

bool sign_with(EVP_PKEY_CTX *context, const void *message, size_t len, struct buf *out)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    unsigned char raw[SIGN_SIGNATURE_MAX];
    size_t raw_len = sizeof raw;
    bool ok = SHA256(message, len, digest) != NULL &&
              EVP_PKEY_sign(context, raw, &raw_len, digest, sizeof digest) == 1;
    ERR_clear_error();
    if (ok) {
        text_base64(out, raw, raw_len);
    }
    return ok;
}

bool sign_bytes(EVP_PKEY *key, const void *message, size_t len, struct buf *out)
{
    EVP_PKEY_CTX *context = sign_context_new(key);
    bool ok = context != NULL && sign_with(context, message, len, out);
    EVP_PKEY_CTX_free(context);
    return ok;
}

void sign_authorization(struct buf *out, const char *mchid, const char *serial_no,
                        int64_t timestamp_s, const char *nonce, const char *signature)
{
    buf_printf(out,
               "WECHATPAY2-SHA256-RSA2048 mchid=\"%s\",nonce_str=\"%s\",signature=\"%s\","
               "timestamp=\"%" PRId64 "\",serial_no=\"%s\"",
               mchid, nonce, signature, timestamp_s, serial_no);
}
