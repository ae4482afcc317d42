/* Keys and certificates for TLS servers of tests, made on the spot. */
#ifndef PRESIGND_TESTS_EXCHANGE_CERTS_H
#define PRESIGND_TESTS_EXCHANGE_CERTS_H

#include <openssl/types.h>

struct identity {
    EVP_PKEY *key;
    X509 *certificate;
};

/* A self-signed authority. */
struct identity identity_authority(const char *name);
/* A server's, for such names ("IP:127.0.0.1,DNS:localhost"), from three days ago until `days`
 * from now (negative: it has expired). */
struct identity identity_server(const struct identity *authority, const char *names, int days);
void identity_free(struct identity *identity);

/* Writes PEM; each aborts the test when it cannot. */
void certs_write_certificate(const char *path, X509 *certificate);
void certs_write_private_key(const char *path, EVP_PKEY *key);
void certs_write_public_key(const char *path, EVP_PKEY *key);

#endif
