#include "presignd/sign/key.h"

#include "presignd/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* APIv3 uses RSA of 2048 bits. */
#define KEY_BITS_MIN 2048
/* A signature with 16384 bits takes seconds. */
#define KEY_BITS_MAX 4096

/* A file's bytes; cleansed before free. */
struct secret {
    char *bytes;
    size_t len;
};

static void secret_deinit(struct secret *secret)
{
    if (secret->bytes != NULL) {
        OPENSSL_cleanse(secret->bytes, KEY_FILE_MAX + 1);
    }
    free(secret->bytes);
}

static void close_at(const int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

static void bio_free_at(BIO **bio)
{
    BIO_free(*bio);
}

static void x509_free_at(X509 **certificate)
{
    X509_free(*certificate);
}

/* Not stdio: its buffer would keep a copy. */
static bool read_all(int fd, struct secret *out)
{
    out->bytes = mem_zalloc(1, KEY_FILE_MAX + 1);
    ssize_t got;
    while ((got = read(fd, out->bytes + out->len, KEY_FILE_MAX + 1 - out->len)) != 0) {
        if (got < 0 && errno != EINTR) {
            return false;
        }
        out->len += got > 0 ? (size_t)got : 0;
        if (out->len > KEY_FILE_MAX) {
            break;
        }
    }
    return true;
}

/* Non-blocking, so that a pipe in place of a file cannot block the start. */
static bool read_file(const char *path, struct secret *out, char **error)
{
    AUTO(close_at) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) {
        *error = mem_printf("%s: cannot be read: %s", path, strerror(errno));
        return false;
    }
    if (!S_ISREG(status.st_mode)) {
        *error = mem_printf("%s: is no regular file: give the path of a PEM file", path);
        return false;
    }
    if (!read_all(fd, out)) {
        *error = mem_printf("%s: cannot be read: %s", path, strerror(errno));
        return false;
    }
    if (out->len > KEY_FILE_MAX) {
        *error = mem_printf("%s: is larger than %d bytes: give a PEM file with one key", path,
                            KEY_FILE_MAX);
        return false;
    }
    return true;
}

bool key_file_check(const char *path, char **error)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        *error = mem_printf("%s: cannot be read: %s", path, strerror(errno));
        return false;
    }
    if ((status.st_mode & S_IRWXO) != 0) {
        *error = mem_printf("%s: is open to every user of this machine: chmod o= it, and give it "
                            "to the service as a credential",
                            path);
        return false;
    }
    /* Of the packaged unit (sysusers.d): whoever reads metrics would read the key. The database of
     * groups may be another machine's, so it is asked only about keys that a group reads. */
    bool for_group = (status.st_mode & S_IRGRP) != 0;
    const struct group *group = for_group ? getgrgid(status.st_gid) : NULL;
    if (group != NULL && strcmp(group->gr_name, "presignd-metrics") == 0) {
        *error = mem_printf("%s: can be read by the group presignd-metrics, which is for programs "
                            "that read metrics: chgrp it",
                            path);
        return false;
    }
    return true;
}

/* The kinds of PEM blocks, by label (RFC 7468). */
enum pem_kind { PEM_NONE, PEM_PRIVATE, PEM_ENCRYPTED, PEM_EC, PEM_PUBLIC, PEM_CERTIFICATE };

static const struct {
    const char *begin;
    enum pem_kind kind;
} pem_labels[] = {
    {"-----BEGIN PRIVATE KEY-----", PEM_PRIVATE},
    {"-----BEGIN RSA PRIVATE KEY-----", PEM_PRIVATE},
    {"-----BEGIN ENCRYPTED PRIVATE KEY-----", PEM_ENCRYPTED},
    {"-----BEGIN EC PRIVATE KEY-----", PEM_EC},
    {"-----BEGIN PUBLIC KEY-----", PEM_PUBLIC},
    {"-----BEGIN CERTIFICATE-----", PEM_CERTIFICATE},
};

static const char *pem_kind_text(enum pem_kind kind)
{
    static const char *const texts[] = {
        [PEM_NONE] = "no PEM text of a key or certificate",
        [PEM_PRIVATE] = "a private key",
        [PEM_ENCRYPTED] = "an encrypted private key",
        [PEM_EC] = "an elliptic curve key",
        [PEM_PUBLIC] = "a public key",
        [PEM_CERTIFICATE] = "a certificate",
    };
    return texts[kind];
}

/* The kind of the first block. */
static enum pem_kind pem_kind_of(const char *pem, size_t len)
{
    const char *first = NULL;
    enum pem_kind kind = PEM_NONE;
    for (size_t i = 0; i < ARRAY_LENGTH(pem_labels); i++) {
        const char *begin = pem_labels[i].begin;
        const char *at = memmem(pem, len, begin, strlen(begin));
        if (at != NULL && (first == NULL || at < first)) {
            first = at;
            kind = pem_labels[i].kind;
        }
    }
    return kind;
}

/* Replaces OpenSSL's prompt on the terminal. A PKCS#1 key shows that it is encrypted only by asking
 * for a password. */
/* NOLINTNEXTLINE(readability-non-const-parameter): the type is OpenSSL's */
static int refuse_password(char *out, int size, int writing, void *asked)
{
    (void)out;
    (void)size;
    (void)writing;
    *(bool *)asked = true;
    return -1;
}

/* Returns the key when it is usable; otherwise frees it and returns NULL. */
static EVP_PKEY *checked(EVP_PKEY *key, const char *what, char **error)
{
    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA) {
        *error = mem_printf("%s: is no RSA key: APIv3 signs with RSA of 2048 bits", what);
    } else if (EVP_PKEY_get_bits(key) < KEY_BITS_MIN || EVP_PKEY_get_bits(key) > KEY_BITS_MAX) {
        *error = mem_printf("%s: has %d bits: APIv3 keys have 2048 (%d to %d are taken)", what,
                            EVP_PKEY_get_bits(key), KEY_BITS_MIN, KEY_BITS_MAX);
    } else {
        return key;
    }
    EVP_PKEY_free(key);
    return NULL;
}

/* A key with inconsistent parts would get a 401 for every request. OpenSSL's own check proves the
 * primes and takes 0.1 s; one signature takes 0.3 ms. */
static bool signs_and_verifies(EVP_PKEY *key)
{
    static const unsigned char text[] = "presignd";
    unsigned char signature[KEY_BITS_MAX / 8];
    size_t len = sizeof signature;
    EVP_MD_CTX *sign = EVP_MD_CTX_new();
    EVP_MD_CTX *verify = EVP_MD_CTX_new();
    bool ok = sign != NULL && verify != NULL &&
              EVP_DigestSignInit(sign, NULL, EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestSign(sign, signature, &len, text, sizeof text) == 1 &&
              EVP_DigestVerifyInit(verify, NULL, EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestVerify(verify, signature, len, text, sizeof text) == 1;
    EVP_MD_CTX_free(sign);
    EVP_MD_CTX_free(verify);
    ERR_clear_error();
    return ok;
}

EVP_PKEY *key_private_parse(const char *pem, size_t len, const char *what, char **error)
{
    enum pem_kind kind = pem_kind_of(pem, len);
    bool asked = false;
    EVP_PKEY *key = NULL;
    if (kind == PEM_PRIVATE && len <= KEY_FILE_MAX) {
        AUTO(bio_free_at) BIO *bio = BIO_new_mem_buf(pem, (int)len);
        key = PEM_read_bio_PrivateKey(bio, NULL, refuse_password, &asked);
        ERR_clear_error();
    }
    if (asked || kind == PEM_ENCRYPTED) {
        *error =
            mem_printf("%s: is an encrypted private key: decrypt it first (openssl pkey)", what);
        return NULL;
    }
    if (kind != PEM_PRIVATE) {
        *error = mem_printf("%s: holds %s: give the merchant's private key (apiclient_key.pem)",
                            what, pem_kind_text(kind));
        return NULL;
    }
    if (key == NULL) {
        *error = mem_printf("%s: is a damaged private key: download or copy it again", what);
        return NULL;
    }
    key = checked(key, what, error);
    if (key != NULL && !signs_and_verifies(key)) {
        *error = mem_printf("%s: the parts of this private key do not belong together: download "
                            "or copy it again",
                            what);
        EVP_PKEY_free(key);
        return NULL;
    }
    return key;
}

static X509 *certificate_parse(const char *pem, size_t len)
{
    if (len > KEY_FILE_MAX) {
        return NULL;
    }
    AUTO(bio_free_at) BIO *bio = BIO_new_mem_buf(pem, (int)len);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    ERR_clear_error();
    return certificate;
}

static EVP_PKEY *certificate_key(const X509 *certificate)
{
    EVP_PKEY *key = certificate == NULL ? NULL : X509_get0_pubkey(certificate);
    if (key != NULL) {
        EVP_PKEY_up_ref(key);
    }
    ERR_clear_error();
    return key;
}

static EVP_PKEY *public_parse(const char *pem, size_t len)
{
    if (len > KEY_FILE_MAX) {
        return NULL;
    }
    AUTO(bio_free_at) BIO *bio = BIO_new_mem_buf(pem, (int)len);
    EVP_PKEY *key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    ERR_clear_error();
    return key;
}

EVP_PKEY *key_public_parse(const char *pem, size_t len, const char *what, char **error)
{
    enum pem_kind kind = pem_kind_of(pem, len);
    if (kind != PEM_PUBLIC && kind != PEM_CERTIFICATE) {
        *error = mem_printf("%s: holds %s: give WeChat Pay's public key (pub_key.pem)", what,
                            pem_kind_text(kind));
        return NULL;
    }
    AUTO(x509_free_at)
    X509 *certificate = kind == PEM_CERTIFICATE ? certificate_parse(pem, len) : NULL;
    EVP_PKEY *key = kind == PEM_PUBLIC ? public_parse(pem, len) : certificate_key(certificate);
    if (key == NULL) {
        *error = mem_printf("%s: is %s that is damaged: download or copy it again", what,
                            pem_kind_text(kind));
        return NULL;
    }
    return checked(key, what, error);
}

/* Upper-case hex with an even number of digits, as in Wechatpay-Serial. NULL for an invalid serial
 * (RFC 5280, section 4.1.2.2: positive, at most 20 bytes). */
static char *serial_text(const X509 *certificate)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    if (number == NULL || BN_is_negative(number) || BN_is_zero(number) ||
        BN_num_bytes(number) > 20) {
        BN_free(number);
        return NULL;
    }
    char *hex = BN_bn2hex(number);
    char *copy = mem_strdup(hex);
    OPENSSL_free(hex);
    BN_free(number);
    return copy;
}

EVP_PKEY *key_certificate_parse(const char *pem, size_t len, const char *what, char **serial,
                                int64_t *not_after_ms, char **error)
{
    enum pem_kind kind = pem_kind_of(pem, len);
    if (kind != PEM_CERTIFICATE) {
        *error = mem_printf("%s: holds %s: give a platform certificate of WeChat Pay", what,
                            pem_kind_text(kind));
        return NULL;
    }
    AUTO(x509_free_at) X509 *certificate = certificate_parse(pem, len);
    EVP_PKEY *key = certificate_key(certificate);
    AUTO_FREE char *number = key == NULL ? NULL : serial_text(certificate);
    struct tm end;
    if (number == NULL || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) != 1) {
        *error = mem_printf("%s: is a damaged certificate: download or copy it again", what);
        EVP_PKEY_free(key);
        ERR_clear_error();
        return NULL;
    }
    key = checked(key, what, error);
    if (key != NULL) {
        *serial = mem_strdup(number);
        *not_after_ms = (int64_t)timegm(&end) * 1000;
    }
    return key;
}

void key_sha256(const EVP_PKEY *key, char out[KEY_SHA256_SIZE])
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    bool known = len > 0 && SHA256(der, (size_t)len, digest) != NULL;
    OPENSSL_free(der);
    out[0] = '\0';
    for (size_t i = 0; known && i < sizeof digest; i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", digest[i]);
    }
}

EVP_PKEY *key_private_read(const char *path, char **error)
{
    AUTO(secret_deinit) struct secret file = {0};
    return read_file(path, &file, error) ? key_private_parse(file.bytes, file.len, path, error)
                                         : NULL;
}

EVP_PKEY *key_public_read(const char *path, char **error)
{
    AUTO(secret_deinit) struct secret file = {0};
    return read_file(path, &file, error) ? key_public_parse(file.bytes, file.len, path, error)
                                         : NULL;
}

EVP_PKEY *key_certificate_read(const char *path, char **serial, int64_t *not_after_ms, char **error)
{
    AUTO(secret_deinit) struct secret file = {0};
    return read_file(path, &file, error)
               ? key_certificate_parse(file.bytes, file.len, path, serial, not_after_ms, error)
               : NULL;
}
