#include "sign/backend.h"

#include "crypto-mb/rsa.h"
#include "crypto-mb/stand_in.h"
#include "presignd/base/mem.h"
#include "sign/known_answers.h"
#include "sign/locked.h"
#include "unit/sign/vectors.h"

#include <fcntl.h>
#include <openssl/sha.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- A backend with one worker, and keys --- */

/* `pkey` remains ours. */
static struct backend_key *key_new(struct backend *of, EVP_PKEY *pkey)
{
    EVP_PKEY_up_ref(pkey);
    return backend_key_new(of, pkey);
}

static struct backend *backend;
static struct backend_worker *worker;
static EVP_PKEY *pkeys[ARRAY_LENGTH(known_answers)];
static struct backend_key *keys[ARRAY_LENGTH(known_answers)];

static void open_backend(void)
{
    char *why = NULL;
    backend = backend_new(BACKEND_CRYPTO_MB, NULL, &why);
    cr_assert_not_null(backend, "%s", why);
    cr_assert_null(why);
    worker = backend_worker_new(backend);
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        pkeys[i] = rsa_of_hex(known_answers[i].p, known_answers[i].q);
        keys[i] = key_new(backend, pkeys[i]);
    }
}

static void close_backend(void)
{
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        backend_key_free(keys[i]);
        EVP_PKEY_free(pkeys[i]);
    }
    backend_worker_free(worker);
    backend_free(backend);
}

enum { KEY_2048, KEY_3072, KEY_4096 };

struct round {
    struct sign_item items[SIGN_BATCH];
    char texts[SIGN_BATCH][16];
    size_t count;
};

static void round_add(struct round *round, struct backend_key *key, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        size_t at = round->count++;
        (void)snprintf(round->texts[at], sizeof round->texts[at], "message %zu", at);
        round->items[at] = (struct sign_item){
            .key = key, .message = round->texts[at], .len = strlen(round->texts[at])};
    }
}

static void round_free(struct round *round)
{
    for (size_t i = 0; i < SIGN_BATCH; i++) {
        buf_deinit(&round->items[i].signature);
    }
    *round = (struct round){0};
}

static void expect_openssls_bytes(const struct sign_item *item, EVP_PKEY *pkey)
{
    AUTO_BUF struct buf expected = {0};
    cr_assert_eq(item->end, SIGN_OK);
    cr_assert(sign_bytes(pkey, item->message, item->len, &expected));
    cr_assert_str_eq(item->signature.data, expected.data);
}

static EVP_PKEY *pkey_of(const struct sign_item *item)
{
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        if (item->key == keys[i]) {
            return pkeys[i];
        }
    }
    cr_assert(false);
    return NULL;
}

/* Signs; each signature must be OpenSSL's. Returns how many libcrypto_mb made. */
static size_t round_sign(struct round *round)
{
    size_t batched = 0;
    backend_sign(worker, round->items, round->count);
    for (size_t i = 0; i < round->count; i++) {
        expect_openssls_bytes(&round->items[i], pkey_of(&round->items[i]));
        batched += round->items[i].backend == SIGN_BY_CRYPTO_MB;
    }
    return batched;
}

static void expect_batched(size_t expected, unsigned with_2048, unsigned with_3072,
                           unsigned with_4096)
{
    struct round round = {0};
    round_add(&round, keys[KEY_4096], with_4096);
    round_add(&round, keys[KEY_2048], with_2048);
    round_add(&round, keys[KEY_3072], with_3072);
    cr_assert_eq(round_sign(&round), expected, "%u %u %u", with_2048, with_3072, with_4096);
    round_free(&round);
}

TestSuite(backend, .init = open_backend, .fini = close_backend);

/* --- What is signed by which --- */

Test(backend, a_batch_pays_from_some_number_on)
{
    expect_batched(0, 0, 0, 0);
    expect_batched(0, 3, 0, 0);
    expect_batched(4, 4, 0, 0);
    expect_batched(8, 8, 0, 0);
    expect_batched(0, 0, 5, 0);
    expect_batched(6, 0, 6, 0);
    expect_batched(8, 0, 8, 0);
    expect_batched(0, 0, 0, 2);
    expect_batched(3, 0, 0, 3);
    expect_batched(8, 0, 0, 8);
}

Test(backend, each_batch_has_keys_of_one_size)
{
    expect_batched(8, 5, 0, 3);
    expect_batched(0, 3, 3, 2);
    expect_batched(5, 5, 1, 2);
    expect_batched(6, 1, 6, 1);
}

Test(backend, keys_of_one_size_share_a_batch)
{
    EVP_PKEY *other = EVP_RSA_gen(2048);
    struct backend_key *key = key_new(backend, other);
    struct round round = {0};
    round_add(&round, keys[KEY_2048], 2);
    round_add(&round, key, 2);
    backend_sign(worker, round.items, round.count);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(round.items[i].backend, SIGN_BY_CRYPTO_MB);
        expect_openssls_bytes(&round.items[i], i < 2 ? pkeys[KEY_2048] : other);
    }
    round_free(&round);
    backend_key_free(key);
    EVP_PKEY_free(other);
}

/* --- Keys that OpenSSL signs for --- */

static EVP_PKEY *generate(unsigned bits, unsigned primes, unsigned exponent)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    BIGNUM *e = BN_new();
    EVP_PKEY *key = NULL;
    cr_assert(BN_set_word(e, exponent) && EVP_PKEY_keygen_init(context) == 1 &&
              EVP_PKEY_CTX_set_rsa_keygen_bits(context, (int)bits) == 1 &&
              EVP_PKEY_CTX_set_rsa_keygen_primes(context, (int)primes) == 1 &&
              EVP_PKEY_CTX_set1_rsa_keygen_pubexp(context, e) == 1 &&
              EVP_PKEY_generate(context, &key) == 1);
    BN_free(e);
    EVP_PKEY_CTX_free(context);
    return key;
}

static EVP_PKEY *uneven(void)
{
    BIGNUM *p = BN_new(), *q = BN_new();
    cr_assert(BN_generate_prime_ex(p, 1040, 0, NULL, NULL, NULL) &&
              BN_generate_prime_ex(q, 1008, 0, NULL, NULL, NULL));
    EVP_PKEY *key = rsa_of(p, q);
    BN_free(p);
    BN_free(q);
    return key;
}

static void expect_signed_by(EVP_PKEY *pkey, enum sign_backend by)
{
    struct backend_key *key = key_new(backend, pkey);
    struct round round = {0};
    round_add(&round, keys[KEY_2048], 2);
    round_add(&round, key, 4);
    round_add(&round, keys[KEY_2048], 2);
    backend_sign(worker, round.items, round.count);
    for (size_t i = 0; i < round.count; i++) {
        bool others = i < 2 || i >= 6;
        expect_openssls_bytes(&round.items[i], others ? pkeys[KEY_2048] : pkey);
        cr_assert_eq(round.items[i].backend, others ? SIGN_BY_CRYPTO_MB : by, "%zu", i);
    }
    cr_assert_eq(backend_now(backend), SIGN_BY_CRYPTO_MB);
    round_free(&round);
    backend_key_free(key);
    EVP_PKEY_free(pkey);
}

Test(backend, openssl_signs_for_other_public_exponents)
{
    expect_signed_by(generate(2048, 2, 3), SIGN_BY_OPENSSL);
    expect_signed_by(generate(2048, 2, 257), SIGN_BY_OPENSSL);
}

Test(backend, openssl_signs_for_keys_of_three_primes)
{
    expect_signed_by(generate(2048, 3, 65537), SIGN_BY_OPENSSL);
}

Test(backend, openssl_signs_for_other_sizes)
{
    expect_signed_by(generate(2056, 2, 65537), SIGN_BY_OPENSSL);
    expect_signed_by(uneven(), SIGN_BY_OPENSSL);
}

Test(backend, the_smaller_prime_may_come_first)
{
    expect_signed_by(rsa_of_hex(known_answers[KEY_2048].q, known_answers[KEY_2048].p),
                     SIGN_BY_CRYPTO_MB);
}

/* --- Faults --- */

static void expect_fallback(enum stand_in_fault fault, enum sign_end expected, int other)
{
    stand_in_set(fault, 1);
    struct round round = {0};
    round_add(&round, keys[KEY_2048], 6);
    cr_assert_eq(round_sign(&round), 6);
    round_free(&round);

    round_add(&round, keys[KEY_2048], 6);
    cr_assert_eq(round_sign(&round),
                 other == 0 ? 4 : 5); /* the signatures are right all the same */
    cr_assert_eq(round.items[0].mistake, other == 0 ? expected : SIGN_OK);
    cr_assert_eq(round.items[1].mistake, expected);
    cr_assert_eq(round.items[1].backend, SIGN_BY_OPENSSL);
    cr_assert_eq(round.items[2].mistake, SIGN_OK);
    round_free(&round);

    cr_assert_eq(backend_now(backend), SIGN_BY_OPENSSL);
    unsigned before = stand_in_batches();
    expect_batched(0, 8, 0, 0);
    expect_batched(0, 0, 0, 8);
    cr_assert_eq(stand_in_batches(), before, "the library is not used again");
}

Test(backend, a_wrong_signature_is_made_by_openssl_and_ends_the_librarys_use)
{
    expect_fallback(STAND_IN_WRONG, SIGN_WRONG, 1);
}

Test(backend, an_error_ends_the_librarys_use)
{
    expect_fallback(STAND_IN_STATUS, SIGN_FAILED, 1);
}

/* The batch before signed the same message in the same slot. */
Test(backend, a_signature_that_was_not_written_is_no_signature)
{
    expect_fallback(STAND_IN_SILENT, SIGN_WRONG, 1);
}

Test(backend, signatures_in_each_others_place_are_wrong)
{
    expect_fallback(STAND_IN_EXCHANGED, SIGN_WRONG, 0);
}

Test(backend, a_signature_that_cannot_be_checked_does_not_leave)
{
    expect_fallback(STAND_IN_OPEN, SIGN_WRONG, 1);
}

Test(backend, an_error_of_the_check_counts)
{
    expect_fallback(STAND_IN_OPEN_STATUS, SIGN_FAILED, 1);
}

/* --- The start --- */

static void expect_openssl(const char *path, const char *text)
{
    AUTO_FREE char *why = NULL, *refused = NULL;
    struct backend *best = backend_new(BACKEND_BEST, path, &why);
    cr_assert_not_null(best);
    cr_assert_eq(backend_now(best), SIGN_BY_OPENSSL);
    cr_assert_str_eq(backend_name(best), "openssl");
    cr_assert(backend_is_locked(best));
    cr_assert(why != NULL && strstr(why, text) != NULL, "%s", why);
    cr_assert_null(backend_new(BACKEND_CRYPTO_MB, path, &refused));
    cr_assert_str_eq(refused, why);

    struct backend_key *key = key_new(best, pkeys[KEY_2048]);
    struct backend_worker *other = backend_worker_new(best);
    struct round round = {0};
    round_add(&round, key, 8);
    backend_sign(other, round.items, round.count);
    for (size_t i = 0; i < round.count; i++) {
        expect_openssls_bytes(&round.items[i], pkeys[KEY_2048]);
        cr_assert_eq(round.items[i].backend, SIGN_BY_OPENSSL);
    }
    round_free(&round);
    backend_worker_free(other);
    backend_key_free(key);
    backend_free(best);
}

Test(backend, a_library_that_fits_another_processor_is_not_used)
{
    stand_in_set(STAND_IN_INAPPLICABLE, 0);
    expect_openssl(NULL, "libcrypto_mb.so.13 cannot be used on this processor");
}

Test(backend, a_library_that_signs_wrongly_is_not_used)
{
    stand_in_set(STAND_IN_WRONG, 0);
    expect_openssl(NULL, "gives wrong signatures with keys of 2048 bits");
    stand_in_set(STAND_IN_WRONG, 2);
    AUTO_FREE char *why = NULL;
    cr_assert_null(backend_new(BACKEND_CRYPTO_MB, NULL, &why));
    cr_assert_str_eq(why, "libcrypto_mb.so.13 gives wrong signatures with keys of 4096 bits");
}

Test(backend, openssl_can_be_asked_for)
{
    char *why = NULL;
    unsigned before = stand_in_batches();
    struct backend *asked = backend_new(BACKEND_OPENSSL, NULL, &why);
    cr_assert_null(why);
    cr_assert_eq(backend_now(asked), SIGN_BY_OPENSSL);
    cr_assert_eq(stand_in_batches(), before);
    backend_free(asked);
    cr_assert_str_eq(backend_name(backend), "crypto_mb (libcrypto_mb.so.13)");
}

/* --- Paths --- */

static char *file_in(const char *directory, const char *name, mode_t mode)
{
    char *path = mem_printf("%s/%s", directory, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    cr_assert(fd >= 0 && write(fd, "no library", 10) == 10 && fchmod(fd, mode) == 0);
    close(fd);
    return path;
}

Test(backend, a_path_is_roots_alone)
{
    expect_openssl("libcrypto_mb.so.13", "libcrypto_mb.so.13: is no absolute path");
    expect_openssl("/nowhere/libcrypto_mb.so.13", "No such file or directory");
    char directory[] = "/tmp/presignd-backend-XXXXXX";
    cr_assert_not_null(mkdtemp(directory));
    AUTO_FREE char *open_to_all = file_in(directory, "all.so", 0666);
    AUTO_FREE char *roots = file_in(directory, "root.so", 0644);
    expect_openssl(open_to_all, "all.so: others than root may change it");
    if (getuid() == 0) {
        expect_openssl(roots, "root.so: file too short");
        cr_assert_eq(chown(roots, 1, 1), 0);
    }
    expect_openssl(roots, "root.so: others than root may change it");
    cr_assert_eq(chmod(directory, 0777), 0);
    cr_assert(getuid() != 0 || chown(roots, 0, 0) == 0);
    expect_openssl(roots, "others than root may change it");
    cr_assert(unlink(open_to_all) == 0 && unlink(roots) == 0 && rmdir(directory) == 0);
}

Test(backend, a_library_without_the_functions_is_not_used)
{

    static const char *const paths[] = {"/usr/lib/x86_64-linux-gnu/libm.so.6",
                                        "/usr/lib/aarch64-linux-gnu/libm.so.6",
                                        "/usr/lib64/libm.so.6"};
    for (size_t i = 0; i < ARRAY_LENGTH(paths); i++) {
        if (access(paths[i], R_OK) == 0) {
            expect_openssl(paths[i], "has no mbx_is_crypto_mb_applicable");
            return;
        }
    }
    cr_skip_test("no libm where it is looked for");
}

/* --- Memory --- */

static bool all_zero(const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    while (size > 0 && at[size - 1] == 0) {
        size--;
    }
    return size == 0;
}

Test(backend, a_freed_key_leaves_nothing)
{
    struct locked_slots slots;
    locked_slots_init(&slots, sizeof(struct crypto_mb_key), 2);
    void *first = locked_slots_take(&slots);
    void *second = locked_slots_take(&slots);
    memset(first, 0xff, sizeof(struct crypto_mb_key));
    memset(second, 0xff, sizeof(struct crypto_mb_key));
    locked_slots_give_back(&slots, first);
    cr_assert(all_zero(first, sizeof(struct crypto_mb_key)));
    locked_slots_give_back(&slots, second);
    cr_assert(
        all_zero((char *)second + sizeof(void *), sizeof(struct crypto_mb_key) - sizeof(void *)));
    cr_assert_eq(locked_slots_take(&slots), second);
    cr_assert(all_zero(second, sizeof(struct crypto_mb_key)));
    locked_slots_deinit(&slots);
}

Test(backend, a_batch_leaves_nothing)
{
    char *why = NULL;
    struct crypto_mb *library = crypto_mb_open(NULL, &why);
    struct locked memory;
    locked_map(&memory, crypto_mb_work_size(library));
    struct crypto_mb_key key = {0};
    const struct crypto_mb_key *const all[] = {&key};
    const uint8_t digest[1][CRYPTO_MB_DIGEST_SIZE] = {{1, 2, 3}};
    enum sign_end fault = SIGN_OK;
    BIGNUM *p = NULL, *q = NULL, *n = NULL;
    EVP_PKEY_get_bn_param(pkeys[0], OSSL_PKEY_PARAM_RSA_FACTOR1, &p);
    EVP_PKEY_get_bn_param(pkeys[0], OSSL_PKEY_PARAM_RSA_FACTOR2, &q);
    EVP_PKEY_get_bn_param(pkeys[0], OSSL_PKEY_PARAM_RSA_N, &n);
    cr_assert(crypto_mb_key_fill(&key, 2048, n, p, q));
    crypto_mb_sign(library, memory.bytes, 2048, all, digest, 1, &fault);
    cr_assert_eq(fault, SIGN_OK);
    cr_assert(!all_zero(memory.bytes, memory.size));
    crypto_mb_cleanse(library, memory.bytes);
    cr_assert(all_zero(memory.bytes, memory.size));
    BN_free(p);
    BN_free(q);
    BN_free(n);
    locked_unmap(&memory);
    crypto_mb_free(library);
}

Test(backend, openssl_signs_for_more_keys_than_the_memory_holds)
{
    static struct backend_key *many[BACKEND_KEYS_MAX];
    struct round round = {0};
    for (size_t i = 0; i < BACKEND_KEYS_MAX; i++) {
        many[i] = key_new(backend, pkeys[KEY_2048]); /* three slots are taken */
    }
    round_add(&round, many[BACKEND_KEYS_MAX - 1], 4);
    round_add(&round, many[0], 4);
    backend_sign(worker, round.items, round.count);
    for (size_t i = 0; i < round.count; i++) {
        expect_openssls_bytes(&round.items[i], pkeys[KEY_2048]);
        cr_assert_eq(round.items[i].backend, i < 4 ? SIGN_BY_OPENSSL : SIGN_BY_CRYPTO_MB);
    }
    round_free(&round);
    for (size_t i = 0; i < BACKEND_KEYS_MAX; i++) {
        backend_key_free(many[i]);
    }
}

/* OpenSSL calls it when the last reference to a key has ended, and with it the key's numbers. */
static void note_end(void *parent, void *ended, CRYPTO_EX_DATA *data, int index, long argl,
                     void *argp)
{
    (void)parent;
    (void)data;
    (void)index;
    (void)argl;
    (void)argp;
    if (ended != NULL) {
        *(bool *)ended = true;
    }
}

/* The worker goes on: it keeps nothing of a key. */
Test(backend, a_key_that_has_signed_ends_when_it_is_freed)
{
    bool ended = false;
    int index = CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_EVP_PKEY, 0, NULL, NULL, NULL, note_end);
    EVP_PKEY *pkey = rsa_of_hex(known_answers[0].p, known_answers[0].q);
    cr_assert(index >= 0 && EVP_PKEY_set_ex_data(pkey, index, &ended) == 1);
    struct backend_key *key = backend_key_new(backend, pkey);
    struct round round = {0};
    round_add(&round, key, 2);
    backend_sign(worker, round.items, round.count);
    cr_assert_eq(round.items[0].backend, SIGN_BY_OPENSSL);
    cr_assert_eq(round.items[1].end, SIGN_OK);
    round_free(&round);
    cr_assert(!ended);
    backend_key_free(key);
    cr_assert(ended);
}

/* What smaps(5) has in the line `name` of the mapping with `address`. */
static bool smaps_says(const void *address, const char *name, const char *text)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    char line[512];
    bool inside = false, says = false;
    while (fgets(line, sizeof line, file) != NULL) {
        char *end = NULL;
        unsigned long from = strtoul(line, &end, 16);
        if (*end == '-') {
            inside = (unsigned long)address >= from &&
                     (unsigned long)address < strtoul(end + 1, NULL, 16);
        }
        says |= inside && strncmp(line, name, strlen(name)) == 0 && strstr(line, text) != NULL;
    }
    (void)fclose(file);
    return says;
}

Test(backend, memory_of_keys_is_locked_and_in_no_core_dump)
{
    struct locked memory;
    locked_map(&memory, 4096);
    cr_assert(memory.is_locked);
    *(char *)memory.bytes = 1;
    cr_assert(smaps_says(memory.bytes, "VmFlags:", " lo"));
    cr_assert(smaps_says(memory.bytes, "VmFlags:", " dd"));
    locked_unmap(&memory);
}

Test(backend, memory_that_cannot_be_locked_is_told_and_used)
{
    /* Root may lock any amount. */
    cr_assert(getuid() != 0 || setresuid(65534, 65534, 65534) == 0);
    cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){0, 0}), 0);
    char *why = NULL;
    struct backend *unlocked = backend_new(BACKEND_CRYPTO_MB, NULL, &why);
    cr_assert(!backend_is_locked(unlocked));
    backend_free(unlocked);
    cr_assert(backend_is_locked(backend));
    struct backend_worker *late = backend_worker_new(backend);
    cr_assert(!backend_is_locked(backend));
    backend_worker_free(late);
    expect_batched(8, 8, 0, 0);
}
