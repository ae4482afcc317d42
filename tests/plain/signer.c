/* The signing pool returns every job once, with the same signature as sign() without it.
 * A plain program, so that it runs under ThreadSanitizer too. */
#include "presignd/sign/signer.h"

#include "presignd/base/loop.h"
#include "presignd/sign/sign.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JOBS = 60, KEYS = 2, ROUNDS = 2 };

struct pool {
    struct loop *loop;
    struct signer *signer;
    EVP_PKEY *keys[KEYS];
    EVP_PKEY *public_only; /* has no private half: it cannot sign */
    int back, left;
    int wrong;
};

struct item {
    struct signer_job job;
    struct pool *pool;
    int returns, rounds;
    bool may_fail;
};

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                        \
        }                                                                   \
    } while (0)

static bool is_right(const struct signer_job *job)
{
    AUTO_BUF struct buf expected = {0};
    CHECK(sign_bytes(job->key, job->message.data, job->message.len, &expected));
    return job->signature.len == expected.len &&
           memcmp(job->signature.data, expected.data, expected.len) == 0;
}

static void on_back(struct signer_job *job)
{
    struct item *item = CONTAINER_OF(job, struct item, job);
    struct pool *pool = item->pool;
    item->returns++;
    pool->back++;
    bool expect_ok = job->key != pool->public_only;
    if (!item->may_fail && job->ok != expect_ok) {
        pool->wrong++;
    }
    if (job->ok && !is_right(job)) {
        pool->wrong++;
    }
    /* A retry submits from within the callback, too. */
    if (!item->may_fail && item->returns < item->rounds) {
        job->signature.len = 0;
        signer_submit(pool->signer, job);
    } else if (--pool->left == 0) {
        loop_stop(pool->loop, 0);
    }
}

static void prepare(struct pool *pool, struct item *item, int number, bool may_fail)
{
    *item = (struct item){.pool = pool, .may_fail = may_fail, .rounds = ROUNDS};
    item->job.key = number % 10 == 9 ? pool->public_only : pool->keys[number % KEYS];
    item->job.done = on_back;
    buf_printf(&item->job.message, "POST\n/path\n%d\nnonce\nbody\n", number);
}

static void release(struct item *items)
{
    for (int i = 0; i < JOBS; i++) {
        buf_deinit(&items[i].job.message);
        buf_deinit(&items[i].job.signature);
    }
}

/* Changes to `later` threads (0: no change) while jobs wait and are signed. */
static void test_all_come_back(struct pool *pool, unsigned threads, unsigned later)
{
    static struct item items[JOBS];
    pool->back = pool->wrong = 0;
    pool->left = JOBS;
    pool->signer = signer_new(pool->loop, threads);
    CHECK(pool->signer != NULL);
    for (int i = 0; i < JOBS; i++) {
        prepare(pool, &items[i], i, false);
        signer_submit(pool->signer, &items[i].job);
    }
    CHECK(later == 0 || signer_resize(pool->signer, later));
    CHECK(loop_run(pool->loop) == 0);
    CHECK(pool->wrong == 0);
    CHECK(pool->back == JOBS * ROUNDS);
    CHECK(signer_waiting(pool->signer) == 0);
    signer_free(pool->signer);
    CHECK(pool->back == JOBS * ROUNDS);
    release(items);
}

/* The loop does not run: signer_free() returns all jobs, signed or not. */
static void test_free_hands_back(struct pool *pool)
{
    static struct item items[JOBS];
    pool->back = pool->wrong = 0;
    pool->left = JOBS + 1;
    pool->signer = signer_new(pool->loop, 2);
    CHECK(pool->signer != NULL);
    for (int i = 0; i < JOBS; i++) {
        prepare(pool, &items[i], i, true);
        signer_submit(pool->signer, &items[i].job);
    }
    CHECK(pool->back == 0);
    signer_free(pool->signer);
    CHECK(pool->back == JOBS);
    CHECK(pool->wrong == 0);
    for (int i = 0; i < JOBS; i++) {
        CHECK(items[i].returns == 1);
    }
    release(items);
}

static EVP_PKEY *public_half(EVP_PKEY *key)
{
    EVP_PKEY *half = NULL;
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    const unsigned char *at = der;
    half = d2i_PUBKEY(NULL, &at, len);
    OPENSSL_free(der);
    return half;
}

int main(void)
{
    struct pool pool = {.loop = loop_new()};
    CHECK(pool.loop != NULL);
    for (int i = 0; i < KEYS; i++) {
        pool.keys[i] = EVP_RSA_gen(2048);
        CHECK(pool.keys[i] != NULL);
    }
    pool.public_only = public_half(pool.keys[0]);
    CHECK(pool.public_only != NULL);
    test_all_come_back(&pool, 1, 0);
    test_all_come_back(&pool, 4, 0);
    test_all_come_back(&pool, 0, 0);
    test_all_come_back(&pool, 1, 4);
    test_all_come_back(&pool, 4, 1);
    test_free_hands_back(&pool);
    CHECK(signer_free(NULL) == NULL);
    for (int i = 0; i < KEYS; i++) {
        EVP_PKEY_free(pool.keys[i]);
    }
    EVP_PKEY_free(pool.public_only);
    loop_free(pool.loop);
    return 0;
}
