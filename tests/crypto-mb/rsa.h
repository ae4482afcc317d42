/* RSA keys of given primes. */
#ifndef PRESIGND_TESTS_RSA_H
#define PRESIGND_TESTS_RSA_H

#include <assert.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

/* n, e, d, p, q, dp, dq, iq for the public exponent 65537. Takes the primes in their order. */
static inline EVP_PKEY *rsa_of(const BIGNUM *p, const BIGNUM *q)
{
    BN_CTX *context = BN_CTX_new();
    BIGNUM *n = BN_new(), *e = BN_new(), *d = BN_new(), *p1 = BN_new(), *q1 = BN_new();
    BIGNUM *phi = BN_new(), *dp = BN_new(), *dq = BN_new(), *iq = BN_new();
    assert(BN_set_word(e, 65537) && BN_mul(n, p, q, context) && BN_sub(p1, p, BN_value_one()) &&
           BN_sub(q1, q, BN_value_one()) && BN_mul(phi, p1, q1, context) &&
           BN_mod_inverse(d, e, phi, context) && BN_mod(dp, d, p1, context) &&
           BN_mod(dq, d, q1, context) && BN_mod_inverse(iq, q, p, context));
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    assert(OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) &&
           OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) &&
           OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_D, d) &&
           OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_FACTOR1, p) &&
           OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_FACTOR2, q) &&
           OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_EXPONENT1, dp) &&
           OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_EXPONENT2, dq) &&
           OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, iq));
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *making = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY *key = NULL;
    assert(EVP_PKEY_fromdata_init(making) == 1 &&
           EVP_PKEY_fromdata(making, &key, EVP_PKEY_KEYPAIR, params) == 1);
    EVP_PKEY_CTX_free(making);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    BIGNUM *const all[] = {n, e, d, p1, q1, phi, dp, dq, iq};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        BN_free(all[i]);
    }
    BN_CTX_free(context);
    return key;
}

static inline EVP_PKEY *rsa_of_hex(const char *p_hex, const char *q_hex)
{
    BIGNUM *p = NULL, *q = NULL;
    assert(BN_hex2bn(&p, p_hex) > 0 && BN_hex2bn(&q, q_hex) > 0);
    EVP_PKEY *key = rsa_of(p, q);
    BN_free(p);
    BN_free(q);
    return key;
}

#endif
