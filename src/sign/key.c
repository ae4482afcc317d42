#include "presignd/sign/key.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "sign/pem.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
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
        *error = mem_printf("%s: is larger than %d bytes: give a PEM file", path, KEY_FILE_MAX);
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

/* --- What a file is read for --- */

enum use { USE_PRIVATE, USE_PUBLIC, USE_MERCHANT_CERTIFICATE, USE_PLATFORM_CERTIFICATE };

static const struct {
    const char *give;
    const char *from_der, *from_pkcs12; /* commands of openssl; NULL: none helps */
} uses[] = {
    [USE_PRIVATE] = {"give the merchant's private key (apiclient_key.pem)",
                     "openssl pkey -inform DER", "openssl pkcs12 -nocerts -nodes"},
    [USE_PUBLIC] = {"give WeChat Pay's public key (pub_key.pem)", "openssl pkey -pubin -inform DER",
                    NULL},
    [USE_MERCHANT_CERTIFICATE] = {"give the merchant's certificate (apiclient_cert.pem)",
                                  "openssl x509 -inform DER", "openssl pkcs12 -nokeys -clcerts"},
    [USE_PLATFORM_CERTIFICATE] = {"give a platform certificate of WeChat Pay",
                                  "openssl x509 -inform DER", NULL},
};

/* "PATH: holds WHAT: give ..." */
static bool refuse(const char *what, const char *held, enum use use, char **error)
{
    *error = mem_printf("%s: holds %s: %s", what, held, uses[use].give);
    return false;
}

static bool refuse_damaged(const char *what, enum pem_kind kind, char **error)
{
    *error = mem_printf("%s: is %s that is damaged: download or copy it again", what,
                        kind == PEM_NONE ? "a PEM file" : pem_kind_text(kind));
    return false;
}

static bool refuse_binary(const char *what, const struct pem *pem, enum use use, char **error)
{
    const char *held =
        pem->fault == PEM_PKCS12 ? "a PKCS#12 archive" : "a key or certificate as DER";
    const char *command = pem->fault == PEM_PKCS12 ? uses[use].from_pkcs12 : uses[use].from_der;
    if (command == NULL) {
        return refuse(what, held, use, error);
    }
    *error = mem_printf("%s: holds %s: %s, or convert it (%s -in OLD -out NEW)", what, held,
                        uses[use].give, command);
    return false;
}

/* Cuts the text into blocks. False: `pem` has nothing to free. */
static bool open_pem(struct pem *pem, const char *text, size_t len, const char *what, enum use use,
                     char **error)
{
    *pem = (struct pem){0};
    if (len > KEY_FILE_MAX) {
        return refuse(what, "too many bytes", use, error);
    }
    pem_parse(pem, text, len);
    bool ok = true;
    if (pem->fault == PEM_UTF16) {
        *error = mem_printf("%s: is UTF-16 text: save it as UTF-8 or ASCII", what);
        ok = false;
    } else if (pem->fault == PEM_DER || pem->fault == PEM_PKCS12) {
        ok = refuse_binary(what, pem, use, error);
    } else if (pem->fault == PEM_MANY) {
        *error = mem_printf("%s: holds more than %d keys and certificates: leave old ones out",
                            what, PEM_BLOCKS_MAX);
        ok = false;
    } else if (pem->fault == PEM_DAMAGED) {
        ok = refuse_damaged(what, pem->damaged, error);
    } else if (pem->count == 0) {
        ok = refuse(what, pem_kind_text(PEM_NONE), use, error);
    }
    if (!ok) {
        pem_deinit(pem);
    }
    return ok;
}

/* --- Keys --- */

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

/* The one private key. Certificates beside it, as openssl pkcs12 writes them, are not looked at. */
static const struct pem_block *private_block(const struct pem *pem, const char *what, char **error)
{
    size_t keys = pem_count(pem, PEM_PRIVATE);
    size_t others = pem_count(pem, PEM_ENCRYPTED) + pem_count(pem, PEM_EC);
    if (keys + others > 1) {
        *error =
            mem_printf("%s: holds %zu private keys: leave the merchant's", what, keys + others);
        return NULL;
    }
    if (pem_count(pem, PEM_ENCRYPTED) > 0) {
        *error =
            mem_printf("%s: is an encrypted private key: decrypt it first (openssl pkey)", what);
        return NULL;
    }
    if (keys == 0) {
        (void)refuse(what, pem_kind_text(pem->blocks[0].kind), USE_PRIVATE, error);
        return NULL;
    }
    const struct pem_block *block = pem->blocks;
    while (block->kind != PEM_PRIVATE) {
        block++;
    }
    return block;
}

/* PKCS#8 or PKCS#1, whatever the label says. */
static EVP_PKEY *private_key(const struct pem_block *block, const char *what, char **error)
{
    const unsigned char *der = block->der;
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &der, block->len);
    ERR_clear_error();
    if (key == NULL) {
        (void)refuse_damaged(what, PEM_PRIVATE, error);
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

EVP_PKEY *key_private_parse(const char *text, size_t len, const char *what, char **error)
{
    AUTO(pem_deinit) struct pem pem;
    if (!open_pem(&pem, text, len, what, USE_PRIVATE, error)) {
        return NULL;
    }
    const struct pem_block *block = private_block(&pem, what, error);
    return block == NULL ? NULL : private_key(block, what, error);
}

static X509 *certificate_of(const struct pem_block *block)
{
    const unsigned char *der = block->der;
    X509 *certificate = d2i_X509(NULL, &der, block->len);
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

/* SubjectPublicKeyInfo or PKCS#1, whatever the label says. */
static EVP_PKEY *public_key(const struct pem_block *block)
{
    const unsigned char *der = block->der;
    EVP_PKEY *key = d2i_PUBKEY(NULL, &der, block->len);
    if (key == NULL) {
        der = block->der;
        key = d2i_PublicKey(EVP_PKEY_RSA, NULL, &der, block->len);
    }
    ERR_clear_error();
    return key;
}

/* True when the file holds nothing but blocks of those two kinds. */
static bool holds_only(const struct pem *pem, enum pem_kind kind, enum pem_kind other,
                       const char *what, enum use use, char **error)
{
    for (size_t i = 0; i < pem->count; i++) {
        enum pem_kind held = pem->blocks[i].kind;
        if (held != kind && held != other) {
            return refuse(what, pem_kind_text(held), use, error);
        }
    }
    return true;
}

EVP_PKEY *key_public_parse(const char *text, size_t len, const char *what, char **error)
{
    AUTO(pem_deinit) struct pem pem;
    if (!open_pem(&pem, text, len, what, USE_PUBLIC, error) ||
        !holds_only(&pem, PEM_PUBLIC, PEM_CERTIFICATE, what, USE_PUBLIC, error)) {
        return NULL;
    }
    if (pem.count > 1) {
        *error = mem_printf("%s: holds %zu keys: leave the one of wechatpay_public_key_id", what,
                            pem.count);
        return NULL;
    }
    const struct pem_block *block = &pem.blocks[0];
    AUTO(x509_free_at)
    X509 *certificate = block->kind == PEM_CERTIFICATE ? certificate_of(block) : NULL;
    EVP_PKEY *key = block->kind == PEM_PUBLIC ? public_key(block) : certificate_key(certificate);
    if (key == NULL) {
        (void)refuse_damaged(what, block->kind, error);
        return NULL;
    }
    return checked(key, what, error);
}

/* --- Certificates --- */

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

/* False for a time that is none; a certificate's times are in UTC (RFC 5280, section 4.1.2.5). */
static bool time_ms(const ASN1_TIME *from, int64_t *out)
{
    struct tm parts;
    bool ok = ASN1_TIME_to_tm(from, &parts) == 1;
    *out = ok ? (int64_t)timegm(&parts) * 1000 : 0;
    return ok;
}

static bool read_certificate(const struct pem_block *block, const char *what,
                             struct key_certificate *out, char **error)
{
    *out = (struct key_certificate){0};
    AUTO(x509_free_at) X509 *certificate = certificate_of(block);
    EVP_PKEY *key = certificate_key(certificate);
    AUTO_FREE char *serial = key == NULL ? NULL : serial_text(certificate);
    if (serial == NULL || !time_ms(X509_get0_notBefore(certificate), &out->not_before_ms) ||
        !time_ms(X509_get0_notAfter(certificate), &out->not_after_ms)) {
        EVP_PKEY_free(key);
        ERR_clear_error();
        return refuse_damaged(what, PEM_CERTIFICATE, error);
    }
    out->key = checked(key, what, error);
    out->serial = out->key == NULL ? NULL : mem_strdup(serial);
    return out->key != NULL;
}

void key_certificate_deinit(struct key_certificate *certificate)
{
    EVP_PKEY_free(certificate->key);
    free(certificate->serial);
    *certificate = (struct key_certificate){0};
}

static size_t read_certificates(const struct pem *pem, const char *what,
                                struct key_certificate *out, size_t max, char **error)
{
    if (pem->count > max) {
        *error = mem_printf("%s: holds %zu certificates, %zu are the most: leave old ones out",
                            what, pem->count, max);
        return 0;
    }
    for (size_t i = 0; i < pem->count; i++) {
        AUTO_FREE char *name =
            pem->count == 1 ? mem_strdup(what) : mem_printf("%s: certificate %zu", what, i + 1);
        if (!read_certificate(&pem->blocks[i], name, &out[i], error)) {
            while (i > 0) {
                key_certificate_deinit(&out[--i]);
            }
            return 0;
        }
    }
    return pem->count;
}

size_t key_certificates_parse(const char *text, size_t len, const char *what, enum key_owner owner,
                              struct key_certificate *out, size_t max, char **error)
{
    enum use use = owner == KEY_OF_MERCHANT ? USE_MERCHANT_CERTIFICATE : USE_PLATFORM_CERTIFICATE;
    AUTO(pem_deinit) struct pem pem;
    if (!open_pem(&pem, text, len, what, use, error) ||
        !holds_only(&pem, PEM_CERTIFICATE, PEM_CERTIFICATE, what, use, error)) {
        return 0;
    }
    return read_certificates(&pem, what, out, max, error);
}

void key_sha256(const EVP_PKEY *key, char out[KEY_SHA256_SIZE])
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    bool known = len > 0 && SHA256(der, (size_t)len, digest) != NULL;
    OPENSSL_free(der);
    text_hex(out, digest, known ? sizeof digest : 0);
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

size_t key_certificates_read(const char *path, enum key_owner owner, struct key_certificate *out,
                             size_t max, char **error)
{
    AUTO(secret_deinit) struct secret file = {0};
    return read_file(path, &file, error)
               ? key_certificates_parse(file.bytes, file.len, path, owner, out, max, error)
               : 0;
}
