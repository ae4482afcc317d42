#include "exchange/certs.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

enum { DAY_S = 86400 };

static void require(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "test set-up: %s failed\n", what);
        abort();
    }
}

static void extend(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    require(extension != NULL && X509_add_ext(certificate, extension, -1), value);
    X509_EXTENSION_free(extension);
}

static struct identity begin(const char *name, long serial, int days)
{
    struct identity identity = {.key = EVP_EC_gen("P-256"), .certificate = X509_new()};
    require(identity.key != NULL, "making a key");
    X509 *certificate = identity.certificate;
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3L * DAY_S);
    X509_gmtime_adj(X509_getm_notAfter(certificate), (long)days * DAY_S);
    X509_set_pubkey(certificate, identity.key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                               (const unsigned char *)name, -1, -1, 0);
    return identity;
}

struct identity identity_authority(const char *name)
{
    struct identity identity = begin(name, 1, 10);
    X509_set_issuer_name(identity.certificate, X509_get_subject_name(identity.certificate));
    extend(identity.certificate, identity.certificate, NID_basic_constraints, "critical,CA:TRUE");
    extend(identity.certificate, identity.certificate, NID_key_usage, "critical,keyCertSign");
    require(X509_sign(identity.certificate, identity.key, EVP_sha256()), "signing a certificate");
    return identity;
}

struct identity identity_server(const struct identity *authority, const char *names, int days)
{
    struct identity identity = begin("presignd test server", 2, days);
    X509_set_issuer_name(identity.certificate, X509_get_subject_name(authority->certificate));
    extend(identity.certificate, authority->certificate, NID_subject_alt_name, names);
    require(X509_sign(identity.certificate, authority->key, EVP_sha256()), "signing a certificate");
    return identity;
}

void identity_free(struct identity *identity)
{
    EVP_PKEY_free(identity->key);
    X509_free(identity->certificate);
}

static FILE *open_for_writing(const char *path)
{
    FILE *file = fopen(path, "we");
    require(file != NULL, path);
    return file;
}

void certs_write_certificate(const char *path, X509 *certificate)
{
    FILE *file = open_for_writing(path);
    require(PEM_write_X509(file, certificate), path);
    fclose(file);
}

void certs_write_private_key(const char *path, EVP_PKEY *key)
{
    FILE *file = open_for_writing(path);
    require(PEM_write_PKCS8PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), path);
    fclose(file);
}

void certs_write_public_key(const char *path, EVP_PKEY *key)
{
    FILE *file = open_for_writing(path);
    require(PEM_write_PUBKEY(file, key), path);
    fclose(file);
}
