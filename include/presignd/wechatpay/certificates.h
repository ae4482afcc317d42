/* The list of platform certificates: the answer of GET /v3/certificates, each certificate encrypted
 * with AEAD_AES_256_GCM under the merchant's APIv3 key. Pure.
 *
 * That a certificate opens with the APIv3 key vouches for it: only WeChat Pay and the merchant have
 * the key. The answer's signature is not looked at here. One element that cannot be used does not
 * spoil the list.
 *
 * Source: APIv3, "platform certificates" and "decryption of callbacks and certificates".
 */
#ifndef PRESIGND_WECHATPAY_CERTIFICATES_H
#define PRESIGND_WECHATPAY_CERTIFICATES_H

#include "presignd/base/buf.h"
#include "presignd/wechatpay/platform_keys.h"

#include <stdbool.h>
#include <stddef.h>

/* An APIv3 key's length in bytes. */
#define APIV3_KEY_LENGTH 32

enum certificates_status {
    CERTIFICATES_OK,            /* at least one certificate */
    CERTIFICATES_NO_LIST,       /* not JSON, without the array, or with too many elements */
    CERTIFICATES_EMPTY,         /* no element, or none of an algorithm that is known */
    CERTIFICATES_UNDECRYPTABLE, /* not one opens with the APIv3 key */
    CERTIFICATES_ODD, /* what opens is no usable certificate, or nothing could be opened */
};

struct certificate_list {
    struct verify_key items[PLATFORM_KEYS_MAX]; /* owned; expired and future ones included */
    size_t count;
    size_t skipped;          /* elements that cannot be used; not those of another algorithm */
    const char *skipped_why; /* static text, of the first one; NULL: none */
    int64_t signed_s;        /* when WeChat Pay signed its answer, since 1970; 0: not known */
};

/* `list` is all zero on entry; give it to certificate_list_deinit(). */
enum certificates_status certificates_open(const char *body, size_t len,
                                           const char apiv3_key[APIV3_KEY_LENGTH],
                                           struct certificate_list *list)
    __attribute__((warn_unused_result));
void certificate_list_deinit(struct certificate_list *list);

/* AES-256-GCM. The last 16 bytes of the decoded ciphertext are the tag. False when it does not
 * authenticate; `out` is empty then. */
bool certificates_decrypt(const char apiv3_key[APIV3_KEY_LENGTH], const char *nonce,
                          const char *associated_data, const char *ciphertext_base64,
                          struct buf *out) __attribute__((warn_unused_result));

#endif
