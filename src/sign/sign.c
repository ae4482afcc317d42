#include "presignd/sign/sign.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/evp.h>
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

bool sign_bytes(EVP_PKEY *key, const void *message, size_t len, struct buf *out)
{
    unsigned char raw[SIGN_SIGNATURE_MAX];
    size_t raw_len = sizeof raw;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok = context != NULL && EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestSign(context, raw, &raw_len, message, len) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    if (ok) {
        text_base64(out, raw, raw_len);
    }
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
