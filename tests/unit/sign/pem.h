/* Keys and certificates made on the spot, as PEM text and as files. */
#ifndef PRESIGND_TESTS_SIGN_PEM_H
#define PRESIGND_TESTS_SIGN_PEM_H

#include "unit/sign/vectors.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <unistd.h>

enum pem_form { FORM_PKCS8, FORM_PKCS1, FORM_ENCRYPTED, FORM_PKCS1_ENCRYPTED, FORM_PUBLIC };

static inline struct buf pem_take(BIO *bio)
{
    char *bytes;
    long len = BIO_get_mem_data(bio, &bytes);
    struct buf out = {0};
    buf_append(&out, bytes, (size_t)len);
    BIO_free(bio);
    return out;
}

/* For the caller to deinit. */
static inline struct buf pem_of(EVP_PKEY *key, enum pem_form form)
{
    BIO *bio = BIO_new(BIO_s_mem());
    unsigned char password[] = "secret";
    const EVP_CIPHER *aes = EVP_aes_128_cbc();
    int ok = 0;
    switch (form) {
    case FORM_PKCS8:
        ok = PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
        break;
    case FORM_PKCS1:
        ok = PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0, NULL, NULL);
        break;
    case FORM_ENCRYPTED:
        ok = PEM_write_bio_PKCS8PrivateKey(bio, key, aes, (char *)password, 6, NULL, NULL);
        break;
    case FORM_PKCS1_ENCRYPTED:
        ok = PEM_write_bio_PrivateKey_traditional(bio, key, aes, password, 6, NULL, NULL);
        break;
    case FORM_PUBLIC:
        ok = PEM_write_bio_PUBKEY(bio, key);
        break;
    }
    cr_assert_eq(ok, 1);
    return pem_take(bio);
}

/* A self-signed certificate with that serial number. The times are as ASN1_TIME_set_string() takes
 * them. */
static inline struct buf pem_certificate_at(EVP_PKEY *key, const char *serial_hex,
                                            const char *not_before, const char *not_after)
{
    X509 *certificate = X509_new();
    BIGNUM *number = NULL;
    BN_hex2bn(&number, serial_hex);
    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    cr_assert_eq(ASN1_TIME_set_string(X509_getm_notBefore(certificate), not_before), 1);
    cr_assert_eq(ASN1_TIME_set_string(X509_getm_notAfter(certificate), not_after), 1);
    X509_set_pubkey(certificate, key);
    cr_assert_neq(X509_sign(certificate, key, EVP_sha256()), 0);
    BIO *bio = BIO_new(BIO_s_mem());
    cr_assert_eq(PEM_write_bio_X509(bio, certificate), 1);
    X509_free(certificate);
    return pem_take(bio);
}

/* Valid from 2023-09-19T15:15:58Z to 2028-09-17T15:15:58Z. */
static inline struct buf pem_certificate(EVP_PKEY *key, const char *serial_hex)
{
    return pem_certificate_at(key, serial_hex, "20230919151558Z", "20280917151558Z");
}

static inline EVP_PKEY *rsa_new(unsigned bits)
{
    EVP_PKEY *key = EVP_RSA_gen(bits);
    cr_assert_not_null(key);
    return key;
}

/* A file under /tmp, removed by file_remove_at(). */
static inline char *file_with(const void *bytes, size_t len)
{
    char *path = mem_strdup("/tmp/presignd-test-XXXXXX");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, bytes, len), (ssize_t)len);
    close(fd);
    return path;
}

static inline void file_remove_at(char **path)
{
    unlink(*path);
    free(*path);
}

#endif
