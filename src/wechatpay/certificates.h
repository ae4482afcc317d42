/* The answer of GET /v3/certificates: platform certificates under AEAD_AES_256_GCM. Pure. */
#ifndef PRESIGND_WECHATPAY_CERTIFICATES_H
#define PRESIGND_WECHATPAY_CERTIFICATES_H

#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stddef.h>

/* An APIv3 key's length in bytes. */
#define APIV3_KEY_LENGTH 32
/* Certificates in one answer; an answer with more is an error. */
#define CERTIFICATES_MAX 16

/* AES-256-GCM. The last 16 bytes of the decoded ciphertext are the tag. False when it does not
 * authenticate; `out` is empty then. */
bool certificates_decrypt(const char apiv3_key[APIV3_KEY_LENGTH], const char *nonce,
                          const char *associated_data, const char *ciphertext_base64,
                          struct buf *out) __attribute__((warn_unused_result));

/* The `*count` PEM texts in the answer's body; free each and the array. NULL and a static
 * text. */
char **certificates_read(const char *body, size_t len, const char apiv3_key[APIV3_KEY_LENGTH],
                         size_t *count, const char **why) __attribute__((warn_unused_result));

#endif
