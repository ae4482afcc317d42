#include "sign/pem.h"

#include "presignd/base/mem.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BEGIN "-----BEGIN "

static const struct {
    const char *label;
    enum pem_kind kind;
} labels[] = {
    {"PRIVATE KEY", PEM_PRIVATE},
    {"RSA PRIVATE KEY", PEM_PRIVATE},
    {"ENCRYPTED PRIVATE KEY", PEM_ENCRYPTED},
    {"EC PRIVATE KEY", PEM_EC},
    {"OPENSSH PRIVATE KEY", PEM_OPENSSH},
    {"PUBLIC KEY", PEM_PUBLIC},
    {"RSA PUBLIC KEY", PEM_PUBLIC},
    {"CERTIFICATE", PEM_CERTIFICATE},
    {"X509 CERTIFICATE", PEM_CERTIFICATE},
    {"TRUSTED CERTIFICATE", PEM_CERTIFICATE},
    {"CERTIFICATE REQUEST", PEM_REQUEST},
    {"NEW CERTIFICATE REQUEST", PEM_REQUEST},
};

const char *pem_kind_text(enum pem_kind kind)
{
    static const char *const texts[] = {
        [PEM_NONE] = "no PEM text of a key or certificate",
        [PEM_PRIVATE] = "a private key",
        [PEM_ENCRYPTED] = "an encrypted private key",
        [PEM_EC] = "an elliptic curve key",
        [PEM_OPENSSH] = "a key of OpenSSH",
        [PEM_PUBLIC] = "a public key",
        [PEM_CERTIFICATE] = "a certificate",
        [PEM_REQUEST] = "a certificate request",
    };
    return texts[kind];
}

static void bio_free_at(BIO **bio)
{
    BIO_free(*bio);
}

static enum pem_kind kind_of(const char *label, size_t len)
{
    for (size_t i = 0; i < ARRAY_LENGTH(labels); i++) {
        if (strlen(labels[i].label) == len && memcmp(labels[i].label, label, len) == 0) {
            return labels[i].kind;
        }
    }
    return PEM_NONE;
}

/* The kind of the first block of `text`. */
static enum pem_kind first_kind(const char *text, size_t len)
{
    const char *end = text + len;
    const char *label = memmem(text, len, BEGIN, strlen(BEGIN));
    label = label == NULL ? end : label + strlen(BEGIN);
    const char *dashes = memmem(label, (size_t)(end - label), "-----", strlen("-----"));
    return dashes == NULL ? PEM_NONE : kind_of(label, (size_t)(dashes - label));
}

/* --- The text, as OpenSSL's reader wants it --- */

/* The text without its byte order mark and without spaces before a line, with LF as line end. A
 * secret: to be cleansed, `len` bytes. */
static char *clean_copy(const char *text, size_t *len)
{
    size_t at = *len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    char *copy = mem_zalloc(1, *len + 1);
    size_t written = 0;
    for (bool begins = true; at < *len; at++) {
        char c = text[at];
        bool crlf = c == '\r' && at + 1 < *len && text[at + 1] == '\n';
        if (!crlf && !(begins && (c == ' ' || c == '\t'))) {
            c = (char)(c == '\r' ? '\n' : c);
            copy[written++] = c;
            begins = c == '\n';
        }
    }
    *len = written;
    return copy;
}

/* True when the label alone does not tell it: a PKCS#1 key's header says that it is encrypted. */
static bool is_encrypted(const char *header)
{
    return strstr(header, "ENCRYPTED") != NULL;
}

/* Takes over `der`. False: there is one block too many. */
static bool take_block(struct pem *out, const char *label, const char *header, unsigned char *der,
                       long len)
{
    enum pem_kind kind = kind_of(label, strlen(label));
    bool many = out->count == PEM_BLOCKS_MAX;
    if (kind == PEM_NONE || many) {
        OPENSSL_clear_free(der, (size_t)len);
        out->fault = many ? PEM_MANY : out->fault;
        return !many;
    }
    kind = is_encrypted(header) ? PEM_ENCRYPTED : kind;
    out->blocks[out->count++] = (struct pem_block){kind, der, len};
    return true;
}

/* False at the end and at the first fault. */
static bool read_block(struct pem *out, BIO *bio, const char *text, size_t text_len)
{
    size_t begin = text_len - BIO_pending(bio);
    char *label = NULL, *header = NULL;
    unsigned char *der = NULL;
    long len = 0;
    if (PEM_read_bio(bio, &label, &header, &der, &len) == 1) {
        bool taken = take_block(out, label, header, der, len);
        OPENSSL_free(label);
        OPENSSL_free(header);
        return taken;
    }
    enum pem_kind kind = first_kind(text + begin, text_len - begin);
    bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (!ended || kind != PEM_NONE) {
        out->fault = PEM_DAMAGED;
        out->damaged = kind;
    }
    return false;
}

static void read_blocks(struct pem *out, const char *text, size_t len)
{
    size_t copy_len = len;
    char *copy = clean_copy(text, &copy_len);
    AUTO(bio_free_at) BIO *bio = BIO_new_mem_buf(copy, (int)copy_len);
    while (bio != NULL && read_block(out, bio, copy, copy_len)) {
    }
    ERR_clear_error();
    OPENSSL_cleanse(copy, len + 1);
    free(copy);
}

/* --- What is no text --- */

static bool is_pkcs12(const char *text, size_t len)
{
    const unsigned char *at = (const unsigned char *)text;
    PKCS12 *archive = d2i_PKCS12(NULL, &at, (long)len);
    PKCS12_free(archive);
    ERR_clear_error();
    return archive != NULL;
}

static enum pem_fault binary_kind(const char *text, size_t len)
{
    bool marked =
        len >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0);
    /* A SEQUENCE whose length needs more than one byte: keys and certificates are that long. */
    bool der = len >= 2 && text[0] == 0x30 && ((unsigned char)text[1] & 0x80) != 0;
    return marked ? PEM_UTF16 : der && is_pkcs12(text, len) ? PEM_PKCS12 : der ? PEM_DER : PEM_FINE;
}

void pem_parse(struct pem *out, const char *text, size_t len)
{
    *out = (struct pem){.fault = binary_kind(text, len)};
    if (out->fault == PEM_FINE) {
        read_blocks(out, text, len);
    }
}

void pem_deinit(struct pem *pem)
{
    for (size_t i = 0; i < pem->count; i++) {
        OPENSSL_clear_free(pem->blocks[i].der, (size_t)pem->blocks[i].len);
    }
    pem->count = 0;
}

size_t pem_count(const struct pem *pem, enum pem_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < pem->count; i++) {
        count += pem->blocks[i].kind == kind;
    }
    return count;
}
