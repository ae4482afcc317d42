/* Merchants' private keys and WeChat Pay's public keys, from PEM. The only module that reads
 * key bytes; buffers are cleansed, errors name the file and never its content. */
#ifndef PRESIGND_WECHATPAY_KEY_H
#define PRESIGND_WECHATPAY_KEY_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Key files larger than this are refused. */
#define KEY_FILE_MAX 65536

/* Reads an RSA private key of at least 2048 bits (PKCS#8 or PKCS#1, not encrypted). NULL and
 * a reason (free()) naming the path. A file that others may read is refused only by
 * key_file_check(), since credentials and containers differ. */
EVP_PKEY *key_private_read(const char *path, char **error) __attribute__((warn_unused_result));
/* An RSA public key: a PEM "PUBLIC KEY", or a certificate's. */
EVP_PKEY *key_public_read(const char *path, char **error) __attribute__((warn_unused_result));
/* A PEM certificate: its key, its serial as upper-case hex (free()), its end of validity. */
EVP_PKEY *key_certificate_read(const char *path, char **serial, int64_t *not_after_ms, char **error)
    __attribute__((warn_unused_result));
/* The same from memory; `what` stands in errors for the path. */
EVP_PKEY *key_private_parse(const char *pem, size_t len, const char *what, char **error)
    __attribute__((warn_unused_result));
EVP_PKEY *key_public_parse(const char *pem, size_t len, const char *what, char **error)
    __attribute__((warn_unused_result));
EVP_PKEY *key_certificate_parse(const char *pem, size_t len, const char *what, char **serial,
                                int64_t *not_after_ms, char **error)
    __attribute__((warn_unused_result));

/* False and a reason (free()) when every user of the machine may use the file. */
bool key_file_check(const char *path, char **error) __attribute__((warn_unused_result));

#endif
