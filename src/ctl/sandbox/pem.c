#include "ctl/sandbox/sandbox.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { RSA_BITS = 2048, SERIAL_BYTES = 20, DAY_S = 86400, VALID_S = 10 * 365 * DAY_S };

/* Creating a key or a certificate fails only without memory or randomness. */
static void must(bool done)
{
    if (!done) {
        abort();
    }
}

EVP_PKEY *sandbox_rsa_new(void)
{
    EVP_PKEY *key = EVP_RSA_gen(RSA_BITS);
    must(key != NULL);
    return key;
}

/* For the server, a handshake with P-256 takes a tenth of the time of RSA. */
EVP_PKEY *sandbox_tls_key_new(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    must(key != NULL);
    return key;
}

static void take_text(BIO *bio, struct buf *out)
{
    char *bytes;
    long len = BIO_get_mem_data(bio, &bytes);
    must(len > 0);
    buf_append(out, bytes, (size_t)len);
    BIO_free(bio);
}

void sandbox_pem_private(EVP_PKEY *key, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    must(bio != NULL && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1);
    take_text(bio, out);
}

void sandbox_pem_public(EVP_PKEY *key, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    must(bio != NULL && PEM_write_bio_PUBKEY(bio, key) == 1);
    take_text(bio, out);
}

/* The first byte is 0x40 to 0x7f: the number is positive and has 40 hex digits. */
static void serial_bytes(EVP_PKEY *key, unsigned number, unsigned char out[SERIAL_BYTES])
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    unsigned char *der = NULL;
    AUTO_BUF struct buf text = {0};
    int len = i2d_PUBKEY(key, &der);
    must(len > 0);
    buf_append(&text, der, (size_t)len);
    OPENSSL_free(der);
    if (number > 1) {
        buf_printf(&text, "%u", number);
    }
    must(SHA256((const unsigned char *)text.data, text.len, digest) != NULL);
    memcpy(out, digest, SERIAL_BYTES);
    out[0] = (unsigned char)((out[0] & 0x3f) | 0x40);
}

void sandbox_serial(EVP_PKEY *key, unsigned number, char out[SANDBOX_SERIAL_SIZE])
{
    unsigned char bytes[SERIAL_BYTES];
    serial_bytes(key, number, bytes);
    for (size_t i = 0; i < SERIAL_BYTES; i++) {
        (void)snprintf(out + 2 * i, 3, "%02X", bytes[i]);
    }
}

static void set_name(X509_NAME *name, const char *common_name)
{
    must(X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"presignd", -1,
                                    -1, 0) == 1 &&
         X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name,
                                    -1, -1, 0) == 1);
}

/* The issuer's key is for the authority key identifier. */
static void extend(X509 *x509, EVP_PKEY *issuer_key, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, x509, x509, NULL, NULL, 0);
    must(X509V3_set_issuer_pkey(&context, issuer_key) == 1);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    must(extension != NULL && X509_add_ext(x509, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

static void set_serial(X509 *x509, EVP_PKEY *key, unsigned number)
{
    unsigned char bytes[SERIAL_BYTES];
    serial_bytes(key, number, bytes);
    BIGNUM *value = BN_bin2bn(bytes, sizeof bytes, NULL);
    must(value != NULL && BN_to_ASN1_INTEGER(value, X509_get_serialNumber(x509)) != NULL);
    BN_free(value);
}

/* Since yesterday, in case clocks differ. */
static void set_validity(X509 *x509, const struct sandbox_certificate *certificate)
{
    time_t now = time(NULL);
    time_t from = certificate->not_before_s != 0 ? certificate->not_before_s : now - DAY_S;
    time_t until = certificate->not_after_s != 0 ? certificate->not_after_s : now + VALID_S;
    must(ASN1_TIME_set(X509_getm_notBefore(x509), from) != NULL &&
         ASN1_TIME_set(X509_getm_notAfter(x509), until) != NULL);
}

void sandbox_pem_certificate(const struct sandbox_certificate *certificate, struct buf *out)
{
    X509 *x509 = X509_new();
    must(x509 != NULL && X509_set_version(x509, X509_VERSION_3) == 1);
    EVP_PKEY *issuer_key = certificate->issuer_key;
    set_serial(x509, certificate->key, certificate->number);
    set_validity(x509, certificate);
    set_name(X509_get_subject_name(x509), certificate->common_name);
    set_name(X509_get_issuer_name(x509), certificate->issuer_name);
    must(X509_set_pubkey(x509, certificate->key) == 1);
    extend(x509, issuer_key, NID_basic_constraints,
           certificate->authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    extend(x509, issuer_key, NID_key_usage,
           certificate->authority ? "critical,keyCertSign" : "critical,digitalSignature");
    extend(x509, issuer_key, NID_subject_key_identifier, "hash");
    extend(x509, issuer_key, NID_authority_key_identifier, "keyid:always");
    if (certificate->alternative_names != NULL) {
        extend(x509, issuer_key, NID_ext_key_usage, "serverAuth");
        extend(x509, issuer_key, NID_subject_alt_name, certificate->alternative_names);
    }
    must(X509_sign(x509, issuer_key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    must(bio != NULL && PEM_write_bio_X509(bio, x509) == 1);
    take_text(bio, out);
    X509_free(x509);
}

static bool read_time(const ASN1_TIME *time, int64_t *out_s)
{
    struct tm parts;
    if (ASN1_TIME_to_tm(time, &parts) != 1) {
        return false;
    }
    *out_s = timegm(&parts);
    return true;
}

/* NULL when the text has no certificate. */
static X509 *read_certificate(const struct buf *pem)
{
    BIO *bio = pem->len == 0 ? NULL : BIO_new_mem_buf(pem->data, (int)pem->len);
    X509 *x509 = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    ERR_clear_error();
    return x509;
}

bool sandbox_pem_belongs(const struct buf *pem, EVP_PKEY *key)
{
    X509 *x509 = read_certificate(pem);
    bool belongs = x509 != NULL && EVP_PKEY_eq(X509_get0_pubkey(x509), key) == 1;
    X509_free(x509);
    return belongs;
}

bool sandbox_pem_validity(const struct buf *pem, int64_t *not_before_s, int64_t *not_after_s)
{
    X509 *x509 = read_certificate(pem);
    bool ok = x509 != NULL && read_time(X509_get0_notBefore(x509), not_before_s) &&
              read_time(X509_get0_notAfter(x509), not_after_s);
    X509_free(x509);
    return ok;
}

bool sandbox_is_address(const char *name)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

bool sandbox_pem_names(const char *path, const char *name)
{
    FILE *file = fopen(path, "re");
    X509 *x509 = file == NULL ? NULL : PEM_read_X509(file, NULL, NULL, NULL);
    bool names =
        x509 != NULL && (sandbox_is_address(name) ? X509_check_ip_asc(x509, name, 0) == 1
                                                  : X509_check_host(x509, name, 0, 0, NULL) == 1);
    X509_free(x509);
    if (file != NULL) {
        (void)fclose(file);
    }
    return names;
}
