/* Signing a request: WECHATPAY2-SHA256-RSA2048 (APIv3, "request signing"). Pure. */
#ifndef PRESIGND_SIGN_SIGN_H
#define PRESIGND_SIGN_SIGN_H

#include "presignd/base/buf.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIGN_NONCE_LENGTH 32
/* Base64 of an RSA-4096 signature, with room to spare. */
#define SIGN_SIGNATURE_MAX 1024

/* 32 characters of [0-9A-Z] from the system's random source, and a NUL. */
void sign_nonce(char out[SIGN_NONCE_LENGTH + 1]);

/* Method, path with query, timestamp in seconds, nonce, body: each followed by LF. */
void sign_message(struct buf *out, const char *method, const char *path, int64_t timestamp_s,
                  const char *nonce, const char *body, size_t body_len);

/* RSA PKCS#1 v1.5 with SHA-256, appended as base64. False when OpenSSL fails. Any thread; takes
 * about 0.3 ms. */
bool sign_bytes(EVP_PKEY *key, const void *message, size_t len, struct buf *out)
    __attribute__((warn_unused_result));
/* The same in two steps, for several signatures of one key. The context holds a reference to the
 * key, and belongs to one thread at a time; free it with EVP_PKEY_CTX_free(). NULL when OpenSSL
 * fails. */
EVP_PKEY_CTX *sign_context_new(EVP_PKEY *key) __attribute__((warn_unused_result));
/* As sign_bytes(). After false, do not use the context again. */
bool sign_with(EVP_PKEY_CTX *context, const void *message, size_t len, struct buf *out)
    __attribute__((warn_unused_result));

/* The value of the Authorization header: scheme, one space, fields separated by commas. */
void sign_authorization(struct buf *out, const char *mchid, const char *serial_no,
                        int64_t timestamp_s, const char *nonce, const char *signature);

#endif
