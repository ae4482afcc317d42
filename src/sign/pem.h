/* The text of a key's file, cut into its PEM blocks (RFC 7468). Text around the blocks, a byte
 * order mark, spaces before a line and any line ends are taken. Decoded bytes are cleansed. */
#ifndef PRESIGND_SIGN_PEM_H
#define PRESIGND_SIGN_PEM_H

#include <stddef.h>

/* Of one file; KEY_FILE_MAX has room for some fifty certificates. */
#define PEM_BLOCKS_MAX 64

/* By label. A private key is PEM_PRIVATE in PKCS#8 and in PKCS#1, a public key likewise: labels and
 * content are mixed up often. */
enum pem_kind {
    PEM_NONE,
    PEM_PRIVATE,
    PEM_ENCRYPTED,
    PEM_EC,
    PEM_OPENSSH,
    PEM_PUBLIC,
    PEM_CERTIFICATE,
    PEM_REQUEST,
};
/* For messages: "a private key". */
const char *pem_kind_text(enum pem_kind kind);

enum pem_fault {
    PEM_FINE,
    PEM_DAMAGED,
    PEM_MANY, /* more than PEM_BLOCKS_MAX blocks */
    PEM_UTF16,
    PEM_DER,    /* a key or a certificate, without its text form */
    PEM_PKCS12, /* an archive, as apiclient_cert.p12 */
};

struct pem_block {
    enum pem_kind kind;
    unsigned char *der;
    long len;
};

struct pem {
    struct pem_block blocks[PEM_BLOCKS_MAX];
    size_t count;
    enum pem_fault fault;
    enum pem_kind damaged; /* of PEM_DAMAGED: the block's kind, PEM_NONE if it is another one */
};

/* Blocks with other labels are left out. `len`: KEY_FILE_MAX at most. The first fault ends it. */
void pem_parse(struct pem *out, const char *text, size_t len);
void pem_deinit(struct pem *pem);
/* How many blocks are of that kind. */
size_t pem_count(const struct pem *pem, enum pem_kind kind);

#endif
