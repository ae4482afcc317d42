#include "sign/crypto_mb.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "sign/bignum.h"
#include "sign/known_answers.h"

#include <dlfcn.h>
#include <errno.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The library's prototypes. A status has four bits for each slot; zero is success. A method says
 * which operation of which size is meant. */
struct functions {
    int (*is_applicable)(uint64_t features);
    const void *(*private_method)(int bits);
    const void *(*public_method)(int bits);
    int (*buffer_size)(const void *method);
    uint32_t (*private_operation)(const uint8_t *const from[], uint8_t *const to[],
                                  const uint64_t *const p[], const uint64_t *const q[],
                                  const uint64_t *const dp[], const uint64_t *const dq[],
                                  const uint64_t *const iq[], int bits, const void *method,
                                  uint8_t *buffer);
    uint32_t (*public_operation)(const uint8_t *const from[], uint8_t *const to[],
                                 const uint64_t *const n[], int bits, const void *method,
                                 uint8_t *buffer);
};

static const struct {
    const char *name;
    size_t offset;
} symbols[] = {
    {"mbx_is_crypto_mb_applicable", offsetof(struct functions, is_applicable)},
    {"mbx_RSA_private_crt_Method", offsetof(struct functions, private_method)},
    {"mbx_RSA_pub65537_Method", offsetof(struct functions, public_method)},
    {"mbx_RSA_Method_BufSize", offsetof(struct functions, buffer_size)},
    {"mbx_rsa_private_crt_mb8", offsetof(struct functions, private_operation)},
    {"mbx_rsa_public_mb8", offsetof(struct functions, public_operation)},
};

/* The newest first. The functions above are the same in all. */
static const char *const sonames[] = {"libcrypto_mb.so.13", "libcrypto_mb.so.12",
                                      "libcrypto_mb.so.11"};

struct crypto_mb {
    char *name;
    struct functions call;
    size_t buffer_size;
};

/* --- Loading --- */

static bool only_root_writes(const char *path, char **why)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        *why = mem_printf("%s: %s", path, strerror(errno));
        return false;
    }
    /* In a sticky directory nobody replaces root's files. */
    bool sticky = S_ISDIR(status.st_mode) && (status.st_mode & S_ISVTX) != 0;
    if (status.st_uid != 0 || ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0 && !sticky)) {
        *why = mem_printf("%s: others than root may change it: a library is code that signs", path);
        return false;
    }
    return true;
}

/* The file and every directory above it, without symbolic links. */
static bool is_roots_file(const char *path, char **why)
{
    AUTO_FREE char *real = path[0] == '/' ? realpath(path, NULL) : NULL;
    if (real == NULL) {
        *why = mem_printf("%s: %s", path, path[0] == '/' ? strerror(errno) : "is no absolute path");
        return false;
    }
    bool ok = only_root_writes(real, why);
    for (char *slash; ok && (slash = strrchr(real, '/')) != NULL;) {
        *slash = '\0';
        ok = only_root_writes(slash == real ? "/" : real, why);
    }
    return ok;
}

/* Never unloaded: a thread may be in it, and its data may hold numbers of a key. */
static void *load(const char *name)
{
    return dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

static void *load_path(const char *path, char **why)
{
    if (!is_roots_file(path, why)) {
        return NULL;
    }
    void *handle = load(path);
    if (handle == NULL) {
        *why = mem_strdup(dlerror());
    }
    return handle;
}

static void *load_soname(const char **name, char **why)
{
    for (size_t i = 0; i < ARRAY_LENGTH(sonames); i++) {
        void *handle = load(sonames[i]);
        const char *error = handle != NULL ? NULL : dlerror();
        if (handle != NULL) {
            *name = sonames[i];
            free(*why);
            *why = NULL;
            return handle;
        }
        /* What is there and cannot be loaded says more than what is not there. */
        if (*why == NULL && strstr(error, "No such file") == NULL) {
            *why = mem_strdup(error);
        }
    }
    if (*why == NULL) {
        *why = mem_printf("%s is not installed", "libcrypto_mb");
    }
    return NULL;
}

static bool find_symbols(struct crypto_mb *library, void *handle, char **why)
{
    for (size_t i = 0; i < ARRAY_LENGTH(symbols); i++) {
        void *symbol = dlsym(handle, symbols[i].name);
        if (symbol == NULL) {
            *why = mem_printf("%s has no %s", library->name, symbols[i].name);
            return false;
        }
        /* As dlsym(3) shows it: POSIX wants both kinds of pointers alike. */
        *(void **)((char *)&library->call + symbols[i].offset) = symbol;
    }
    return true;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static bool find_buffer_size(struct crypto_mb *library, char **why)
{
    for (size_t i = 0; i < ARRAY_LENGTH(known_answers); i++) {
        const void *private_method = library->call.private_method(known_answers[i].bits);
        const void *public_method = library->call.public_method(known_answers[i].bits);
        if (private_method == NULL || public_method == NULL) {
            *why = mem_printf("%s has no keys of %d bits", library->name, known_answers[i].bits);
            return false;
        }
        size_t most = larger((size_t)library->call.buffer_size(private_method),
                             (size_t)library->call.buffer_size(public_method));
        library->buffer_size = larger(library->buffer_size, most);
    }
    return true;
}

/* --- Known answers --- */

static void bn_ctx_free_at(BN_CTX **context)
{
    BN_CTX_free(*context);
}

static bool known_key(struct crypto_mb_key *key, const struct known_answer *known)
{
    AUTO(bn_ctx_free_at) BN_CTX *context = BN_CTX_new();
    AUTO_BIGNUM BIGNUM *p = NULL, *q = NULL, *n = BN_new();
    return BN_hex2bn(&p, known->p) > 0 && BN_hex2bn(&q, known->q) > 0 && context != NULL &&
           n != NULL && BN_mul(n, p, q, context) == 1 &&
           crypto_mb_key_fill(key, known->bits, n, p, q);
}

static bool signs_the_known(const struct crypto_mb *library, struct crypto_mb_work *work,
                            const struct known_answer *known)
{
    struct crypto_mb_key key = {0};
    const struct crypto_mb_key *keys[CRYPTO_MB_WIDTH];
    uint8_t digests[CRYPTO_MB_WIDTH][CRYPTO_MB_DIGEST_SIZE];
    enum sign_end ends[CRYPTO_MB_WIDTH];
    for (unsigned i = 0; i < CRYPTO_MB_WIDTH; i++) {
        char text[] = "presignd ?";
        text[sizeof text - 2] = (char)('0' + i);
        SHA256((const unsigned char *)text, sizeof text - 1, digests[i]);
        keys[i] = &key;
    }
    if (!known_key(&key, known)) {
        return false;
    }
    crypto_mb_sign(library, work, known->bits, keys, digests, CRYPTO_MB_WIDTH, ends);
    size_t len = (size_t)known->bits / 8;
    uint8_t all[CRYPTO_MB_WIDTH * CRYPTO_MB_BYTES_MAX];
    uint8_t sha256[SHA256_DIGEST_LENGTH];
    char hex[2 * sizeof sha256 + 1];
    for (size_t i = 0; i < CRYPTO_MB_WIDTH; i++) {
        if (ends[i] != SIGN_OK) {
            return false;
        }
        memcpy(all + i * len, work->signature[i], len);
    }
    SHA256(all, CRYPTO_MB_WIDTH * len, sha256);
    text_hex(hex, sha256, sizeof sha256);
    return strcmp(hex, known->sha256) == 0;
}

static bool passes_its_test(const struct crypto_mb *library, char **why)
{
    struct crypto_mb_work *work = crypto_mb_work_new(library);
    bool ok = true;
    for (size_t i = 0; ok && i < ARRAY_LENGTH(known_answers); i++) {
        ok = signs_the_known(library, work, &known_answers[i]);
        if (!ok) {
            *why = mem_printf("%s gives wrong signatures with keys of %d bits", library->name,
                              known_answers[i].bits);
        }
    }
    free(work);
    return ok;
}

struct crypto_mb *crypto_mb_open(const char *path, char **why)
{
    *why = NULL;
    const char *name = path;
    void *handle = path != NULL ? load_path(path, why) : load_soname(&name, why);
    if (handle == NULL) {
        return NULL;
    }
    struct crypto_mb *library = mem_zalloc(1, sizeof *library);
    library->name = mem_strdup(name);
    if (!find_symbols(library, handle, why)) {
        return crypto_mb_free(library);
    }
    if (!library->call.is_applicable(0)) {
        *why = mem_printf("%s cannot be used on this processor, which lacks AVX-512 IFMA", name);
        return crypto_mb_free(library);
    }
    if (!find_buffer_size(library, why) || !passes_its_test(library, why)) {
        return crypto_mb_free(library);
    }
    return library;
}

struct crypto_mb *crypto_mb_free(struct crypto_mb *library)
{
    if (library != NULL) {
        free(library->name);
        free(library);
    }
    return NULL;
}

const char *crypto_mb_name(const struct crypto_mb *library)
{
    return library->name;
}

size_t crypto_mb_work_size(const struct crypto_mb *library)
{
    return sizeof(struct crypto_mb_work) + library->buffer_size;
}

struct crypto_mb_work *crypto_mb_work_new(const struct crypto_mb *library)
{
    struct crypto_mb_work *work = aligned_alloc(64, (crypto_mb_work_size(library) + 63) / 64 * 64);
    if (work == NULL) {
        mem_exhausted();
    }
    return work;
}

/* --- Keys --- */

bool crypto_mb_takes(int bits)
{
    for (size_t i = 0; i < ARRAY_LENGTH(known_answers); i++) {
        if (known_answers[i].bits == bits) {
            return true;
        }
    }
    return false;
}

/* As words, the lowest first: the library exists for little-endian machines only. */
static bool put(uint64_t *words, int bits, const BIGNUM *number)
{
    return BN_bn2lebinpad(number, (unsigned char *)words, bits / 8) == bits / 8;
}

/* BN_CTX_free() cleanses all numbers of a context. */
static BIGNUM *secret(BN_CTX *context)
{
    BIGNUM *number = BN_CTX_get(context);
    if (number == NULL) {
        mem_exhausted();
    }
    BN_set_flags(number, BN_FLG_CONSTTIME);
    return number;
}

/* The private exponent for one prime: 65537^-1 mod (prime - 1). */
static bool put_exponent(uint64_t *words, int bits, const BIGNUM *prime, BN_CTX *context)
{
    BIGNUM *order = secret(context);
    BIGNUM *exponent = secret(context);
    BIGNUM *e = BN_CTX_get(context);
    return e != NULL && BN_set_word(e, RSA_F4) == 1 && BN_sub(order, prime, BN_value_one()) == 1 &&
           BN_mod_inverse(exponent, e, order, context) != NULL && put(words, bits, exponent);
}

static bool put_coefficient(uint64_t *words, int bits, const BIGNUM *p, const BIGNUM *q,
                            BN_CTX *context)
{
    BIGNUM *modulus = secret(context);
    BIGNUM *coefficient = secret(context);
    return BN_copy(modulus, p) != NULL &&
           BN_mod_inverse(coefficient, q, modulus, context) != NULL &&
           put(words, bits, coefficient);
}

/* The exponents and the coefficient are computed, not taken from the key's file: OpenSSL signs even
 * when those there are wrong, since it then uses d. */
bool crypto_mb_key_fill(struct crypto_mb_key *key, int bits, const BIGNUM *n, const BIGNUM *p,
                        const BIGNUM *q)
{
    AUTO(bn_ctx_free_at) BN_CTX *context = BN_CTX_new();
    int half = bits / 2;
    if (context == NULL) {
        mem_exhausted();
    }
    BN_CTX_start(context);
    /* The library subtracts a number below q from one below p, and adds p once. */
    bool in_order = BN_cmp(p, q) > 0;
    const BIGNUM *large = in_order ? p : q;
    const BIGNUM *small = in_order ? q : p;
    BIGNUM *product = secret(context);
    bool ok = BN_num_bits(n) == bits && BN_num_bits(p) == half && BN_num_bits(q) == half &&
              BN_mul(product, p, q, context) == 1 && BN_cmp(product, n) == 0 &&
              put(key->n, bits, n) && put(key->p, half, large) && put(key->q, half, small) &&
              put_exponent(key->dp, half, large, context) &&
              put_exponent(key->dq, half, small, context) &&
              put_coefficient(key->iq, half, large, small, context);
    BN_CTX_end(context);
    ERR_clear_error();
    return ok;
}

/* --- Signing and verifying --- */

/* EMSA-PKCS1-v1_5 (RFC 8017, section 9.2). */
static void pad(uint8_t *block, size_t len, const uint8_t digest[CRYPTO_MB_DIGEST_SIZE])
{
    static const uint8_t digest_info[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60,
                                          0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
                                          0x01, 0x05, 0x00, 0x04, 0x20};
    size_t text = sizeof digest_info + CRYPTO_MB_DIGEST_SIZE;
    memset(block, 0xff, len);
    block[0] = 0;
    block[1] = 1;
    block[len - text - 1] = 0;
    memcpy(block + len - text, digest_info, sizeof digest_info);
    memcpy(block + len - CRYPTO_MB_DIGEST_SIZE, digest, CRYPTO_MB_DIGEST_SIZE);
}

static bool slot_failed(uint32_t status, size_t slot)
{
    return ((status >> (4 * slot)) & 0xf) != 0;
}

/* Slots without an item stay NULL: the library leaves them out and reports an error for each. */
static uint32_t private_operation(const struct crypto_mb *library, struct crypto_mb_work *work,
                                  int bits, const struct crypto_mb_key *const keys[], size_t count)
{
    const uint8_t *from[CRYPTO_MB_WIDTH] = {NULL};
    uint8_t *to[CRYPTO_MB_WIDTH] = {NULL};
    const uint64_t *p[CRYPTO_MB_WIDTH] = {NULL}, *q[CRYPTO_MB_WIDTH] = {NULL};
    const uint64_t *dp[CRYPTO_MB_WIDTH] = {NULL}, *dq[CRYPTO_MB_WIDTH] = {NULL};
    const uint64_t *iq[CRYPTO_MB_WIDTH] = {NULL};
    for (size_t i = 0; i < count; i++) {
        from[i] = work->block[i];
        to[i] = work->signature[i];
        p[i] = keys[i]->p;
        q[i] = keys[i]->q;
        dp[i] = keys[i]->dp;
        dq[i] = keys[i]->dq;
        iq[i] = keys[i]->iq;
    }
    return library->call.private_operation(from, to, p, q, dp, dq, iq, bits,
                                           library->call.private_method(bits), work->buffer);
}

void crypto_mb_verify(const struct crypto_mb *library, struct crypto_mb_work *work, int bits,
                      const uint64_t *const n[CRYPTO_MB_WIDTH],
                      const uint8_t *const signatures[CRYPTO_MB_WIDTH],
                      const uint8_t digests[][CRYPTO_MB_DIGEST_SIZE], size_t count,
                      enum sign_end ends[])
{
    uint8_t *to[CRYPTO_MB_WIDTH] = {NULL};
    size_t len = (size_t)bits / 8;
    for (size_t i = 0; i < count; i++) {
        pad(work->block[i], len, digests[i]);
        to[i] = work->opened[i];
    }
    /* A call that writes nothing must not find an earlier batch's blocks in its place. */
    memset(work->opened, 0, sizeof work->opened);
    uint32_t status = library->call.public_operation(
        signatures, to, n, bits, library->call.public_method(bits), work->buffer);
    for (size_t i = 0; i < count; i++) {
        bool opens = memcmp(work->opened[i], work->block[i], len) == 0;
        ends[i] = slot_failed(status, i) ? SIGN_FAILED : opens ? SIGN_OK : SIGN_WRONG;
    }
}

void crypto_mb_sign(const struct crypto_mb *library, struct crypto_mb_work *work, int bits,
                    const struct crypto_mb_key *const keys[],
                    const uint8_t digests[][CRYPTO_MB_DIGEST_SIZE], size_t count,
                    enum sign_end ends[])
{
    const uint64_t *n[CRYPTO_MB_WIDTH] = {NULL};
    const uint8_t *signatures[CRYPTO_MB_WIDTH] = {NULL};
    for (size_t i = 0; i < count; i++) {
        pad(work->block[i], (size_t)bits / 8, digests[i]);
        n[i] = keys[i]->n;
        signatures[i] = work->signature[i];
    }
    memset(work->signature, 0, sizeof work->signature);
    uint32_t status = private_operation(library, work, bits, keys, count);
    crypto_mb_verify(library, work, bits, n, signatures, digests, count, ends);
    for (size_t i = 0; i < count; i++) {
        ends[i] = slot_failed(status, i) ? SIGN_FAILED : ends[i];
    }
}

void crypto_mb_cleanse(const struct crypto_mb *library, struct crypto_mb_work *work)
{
    OPENSSL_cleanse(work, crypto_mb_work_size(library));
}
