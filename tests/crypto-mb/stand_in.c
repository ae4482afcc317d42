#include "crypto-mb/stand_in.h"

#include <openssl/bn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WIDTH = 8, STATUS_ERROR = 8 };

/* Exported under the library's names, with its parameters. */
int mbx_is_crypto_mb_applicable(uint64_t features);
const void *mbx_RSA_private_crt_Method(int bits);
const void *mbx_RSA_pub65537_Method(int bits);
int mbx_RSA_Method_BufSize(const void *method);
uint32_t mbx_rsa_private_crt_mb8(const uint8_t *const from[], uint8_t *const to[],
                                 const uint64_t *const p[], const uint64_t *const q[],
                                 const uint64_t *const dp[], const uint64_t *const dq[],
                                 const uint64_t *const iq[], int bits, const void *method,
                                 uint8_t *buffer);
uint32_t mbx_rsa_public_mb8(const uint8_t *const from[], uint8_t *const to[],
                            const uint64_t *const n[], int bits, const void *method,
                            uint8_t *buffer);

static atomic_uint batches, verifications;
static atomic_uint faulty_from, verifies_wrongly_from;
static _Thread_local bool has_signed; /* what is opened next is its own */
static atomic_int fault;

static const struct method {
    int bits, buffer_size;
} methods[] = {{2048, 55000}, {3072, 82000}, {4096, 109000}};

void stand_in_set(enum stand_in_fault wanted, unsigned good)
{
    faulty_from = batches + good;
    verifies_wrongly_from = verifications + good;
    fault = (int)wanted;
}

unsigned stand_in_batches(void)
{
    return batches;
}

unsigned stand_in_verifications(void)
{
    return verifications;
}

static void __attribute__((constructor)) read_environment(void)
{
    static const char *const names[STAND_IN_FAULTS] = {
        "none",       "inapplicable",  "wrong",        "status", "silent",
        "exchanged",  "open",          "open_status",  "slow",   "verify",
        "verify_all", "verify_status", "verify_silent"};
    const char *wanted = getenv("PRESIGND_STAND_IN");
    for (int i = 0; wanted != NULL && i < STAND_IN_FAULTS; i++) {
        size_t len = strlen(names[i]);
        if (strncmp(wanted, names[i], len) == 0 && wanted[len] == ':') {
            stand_in_set((enum stand_in_fault)i, (unsigned)strtoul(wanted + len + 1, NULL, 10));
        }
    }
}

/* Of the batch that runs. */
static int fault_now(void)
{
    return batches > faulty_from ? fault : STAND_IN_NONE;
}

static void spoil_opened(uint8_t *const to[], int bits, int of_verifying)
{
    if (fault_now() == STAND_IN_OPEN && to[1] != NULL) {
        to[1][0] ^= 1;
    }
    for (int i = 0; i < WIDTH; i++) {
        if (to[i] != NULL &&
            (of_verifying == STAND_IN_VERIFY_ALL || (of_verifying == STAND_IN_VERIFY && i == 1))) {
            to[i][bits / 8 - 1] ^= 1;
        }
    }
}

int mbx_is_crypto_mb_applicable(uint64_t features)
{
    (void)features;
    return fault != STAND_IN_INAPPLICABLE;
}

static const void *method_of(int bits)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (methods[i].bits == bits) {
            return &methods[i];
        }
    }
    return NULL;
}

const void *mbx_RSA_private_crt_Method(int bits)
{
    return method_of(bits);
}

const void *mbx_RSA_pub65537_Method(int bits)
{
    return method_of(bits);
}

int mbx_RSA_Method_BufSize(const void *method)
{
    return ((const struct method *)method)->buffer_size;
}

static BIGNUM *words(const uint64_t *from, int bits)
{
    return BN_lebin2bn((const unsigned char *)from, bits / 8, NULL);
}

/* q * (iq * (c^dp mod p - c^dq mod q) mod p) + c^dq mod q */
static void private_slot(const uint8_t *from, uint8_t *to, BIGNUM *const key[5], int bits)
{
    BN_CTX *context = BN_CTX_new();
    BIGNUM *c = BN_bin2bn(from, bits / 8, NULL), *a = BN_new(), *b = BN_new();
    BIGNUM *p = key[0], *q = key[1], *dp = key[2], *dq = key[3], *iq = key[4];
    if (BN_mod_exp(a, c, dp, p, context) != 1 || BN_mod_exp(b, c, dq, q, context) != 1 ||
        BN_mod_sub(a, a, b, p, context) != 1 || BN_mod_mul(a, a, iq, p, context) != 1 ||
        BN_mul(a, a, q, context) != 1 || BN_add(a, a, b) != 1 ||
        BN_bn2binpad(a, to, bits / 8) < 0) {
        abort();
    }
    BN_free(c);
    BN_free(a);
    BN_free(b);
    BN_CTX_free(context);
}

static void spoil(uint8_t *const to[], int bits)
{
    uint8_t other[512];
    size_t len = (size_t)bits / 8;
    if (fault_now() == STAND_IN_WRONG && to[1] != NULL) {
        to[1][len - 1] ^= 1;
    } else if (fault_now() == STAND_IN_EXCHANGED && to[0] != NULL && to[1] != NULL) {
        memcpy(other, to[0], len);
        memcpy(to[0], to[1], len);
        memcpy(to[1], other, len);
    } else if (fault_now() == STAND_IN_SLOW) {
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
}

uint32_t mbx_rsa_private_crt_mb8(const uint8_t *const from[], uint8_t *const to[],
                                 const uint64_t *const p[], const uint64_t *const q[],
                                 const uint64_t *const dp[], const uint64_t *const dq[],
                                 const uint64_t *const iq[], int bits, const void *method,
                                 uint8_t *buffer)
{
    uint32_t status = 0;
    batches++;
    has_signed = true;
    /* The real one leaves numbers of the keys there. */
    memset(buffer, 0xa5, (size_t)mbx_RSA_Method_BufSize(method));
    for (int i = 0; i < WIDTH; i++) {
        if (from[i] == NULL) {
            status |= UINT32_C(2) << (4 * i);
            continue;
        }
        BIGNUM *key[5] = {words(p[i], bits / 2), words(q[i], bits / 2), words(dp[i], bits / 2),
                          words(dq[i], bits / 2), words(iq[i], bits / 2)};
        if (fault_now() != STAND_IN_SILENT || i != 1) {
            private_slot(from[i], to[i], key, bits);
        }
        for (int j = 0; j < 5; j++) {
            BN_free(key[j]);
        }
    }
    spoil(to, bits);
    return fault_now() == STAND_IN_STATUS ? status | STATUS_ERROR << 4 : status;
}

uint32_t mbx_rsa_public_mb8(const uint8_t *const from[], uint8_t *const to[],
                            const uint64_t *const n[], int bits, const void *method,
                            uint8_t *buffer)
{
    uint32_t status = 0;
    bool verifies = !has_signed;
    verifications += verifies;
    has_signed = false;
    int of_verifying =
        verifies && verifications > verifies_wrongly_from ? fault : (int)STAND_IN_NONE;
    memset(buffer, 0x5a, (size_t)mbx_RSA_Method_BufSize(method));
    for (int i = 0; i < WIDTH; i++) {
        if (from[i] == NULL) {
            status |= UINT32_C(2) << (4 * i);
            continue;
        }
        if (of_verifying == STAND_IN_VERIFY_SILENT) {
            continue;
        }
        BN_CTX *context = BN_CTX_new();
        BIGNUM *number = BN_bin2bn(from[i], bits / 8, NULL), *modulus = words(n[i], bits);
        BIGNUM *e = BN_new(), *out = BN_new();
        if (BN_set_word(e, 65537) != 1 || BN_mod_exp(out, number, e, modulus, context) != 1 ||
            BN_bn2binpad(out, to[i], bits / 8) < 0) {
            abort();
        }
        BN_free(number);
        BN_free(modulus);
        BN_free(e);
        BN_free(out);
        BN_CTX_free(context);
    }
    spoil_opened(to, bits, of_verifying);
    bool fails = fault_now() == STAND_IN_OPEN_STATUS || of_verifying == STAND_IN_VERIFY_STATUS;
    return fails ? status | STATUS_ERROR << 4 : status;
}
