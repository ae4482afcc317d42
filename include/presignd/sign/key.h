/* Merchants' private keys and WeChat Pay's public keys, from PEM. The only module that reads
 * key bytes; buffers are cleansed, errors name the file and never its content. */
#ifndef PRESIGND_SIGN_KEY_H
#define PRESIGND_SIGN_KEY_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Larger key files are an error. */
#define KEY_FILE_MAX 65536

/* Files are taken as they come: text around the PEM blocks, a byte order mark, any line ends,
 * PKCS#1 under the label of PKCS#8 and the reverse. What is no PEM text is named, with openssl's
 * command that converts it. */

/* Reads the RSA private key of at least 2048 bits (PKCS#8 or PKCS#1, not encrypted) of a file that
 * may also hold certificates. NULL and a reason (free()) that names the path. Does not check the
 * file's mode: see key_file_check(). */
EVP_PKEY *key_private_read(const char *path, char **error) __attribute__((warn_unused_result));
/* Reads an RSA public key, the only one of the file: PEM "PUBLIC KEY", "RSA PUBLIC KEY" or a
 * certificate. */
EVP_PKEY *key_public_read(const char *path, char **error) __attribute__((warn_unused_result));
/* The same from memory; errors name `what` instead of the path. */
EVP_PKEY *key_private_parse(const char *text, size_t len, const char *what, char **error)
    __attribute__((warn_unused_result));
EVP_PKEY *key_public_parse(const char *text, size_t len, const char *what, char **error)
    __attribute__((warn_unused_result));

/* Whose certificate it is: for the errors. */
enum key_owner { KEY_OF_MERCHANT, KEY_OF_WECHATPAY };

struct key_certificate {
    EVP_PKEY *key;
    char *serial; /* upper-case hex with an even number of digits, as in Wechatpay-Serial */
    int64_t not_before_ms, not_after_ms; /* wall clock */
};
void key_certificate_deinit(struct key_certificate *certificate);

/* Reads all certificates of a PEM file, which holds nothing else, in the file's order. Their
 * number; 0 and a reason (free()): none, one that is no RSA certificate, or more than `max`. */
size_t key_certificates_read(const char *path, enum key_owner owner, struct key_certificate *out,
                             size_t max, char **error) __attribute__((warn_unused_result));
size_t key_certificates_parse(const char *text, size_t len, const char *what, enum key_owner owner,
                              struct key_certificate *out, size_t max, char **error)
    __attribute__((warn_unused_result));

/* Lower-case hex of the SHA-256 of the public key (DER, SubjectPublicKeyInfo), as
 * `openssl pkey -pubout -outform DER | sha256sum` prints it; "" when OpenSSL has no memory. */
#define KEY_SHA256_SIZE 65
void key_sha256(const EVP_PKEY *key, char out[KEY_SHA256_SIZE]);

/* False and a reason (free()) when every user of the machine may read or write the file, or the
 * scrapers' group may read it. Asks the system's database of groups. */
bool key_file_check(const char *path, char **error) __attribute__((warn_unused_result));

#endif
