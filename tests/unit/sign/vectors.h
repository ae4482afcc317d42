/* The files of tests/vectors, and a key pair that stands for WeChat Pay's. */
#ifndef PRESIGND_TESTS_SIGN_VECTORS_H
#define PRESIGND_TESTS_SIGN_VECTORS_H

#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "presignd/sign/key.h"
#include "presignd/sign/sign.h"
#include "presignd/wechatpay/verify.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <string.h>

#define VECTORS     PRESIGND_SOURCE_DIR "/tests/vectors/"
#define MERCHANT    VECTORS "merchant_private_key.pem"
#define VECTOR_TIME INT64_C(1554208460)
#define VECTOR_SALT "593BEC0C930BF1AFEB40B4A08C8FB242"

static inline void pkey_free_at(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

/* The whole file, for the caller to deinit. */
static inline struct buf vector_read(const char *name)
{
    struct buf out = {0};
    buf_puts(&out, ""); /* never NULL */
    AUTO_FREE char *path = mem_printf(VECTORS "%s", name);
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    char bytes[4096];
    size_t got;
    while ((got = fread(bytes, 1, sizeof bytes, file)) > 0) {
        buf_append(&out, bytes, got);
    }
    fclose(file);
    return out;
}

static inline EVP_PKEY *vector_merchant_key(void)
{
    char *error = NULL;
    EVP_PKEY *key = key_private_read(MERCHANT, &error);
    cr_assert_not_null(key, "%s", error);
    return key;
}

/* The base64 signature of an answer, for the caller to deinit. */
static inline struct buf answer_sign(EVP_PKEY *key, const char *timestamp, const char *nonce,
                                     const char *body, size_t body_len)
{
    AUTO_BUF struct buf message = {0};
    buf_printf(&message, "%s\n%s\n", timestamp, nonce);
    buf_append(&message, body, body_len);
    buf_putc(&message, '\n');
    struct buf signature = {0};
    cr_assert(sign_bytes(key, message.data, message.len, &signature));
    return signature;
}

#endif
