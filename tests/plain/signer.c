/* The signing threads, and a signing process, return every job once, with the same signature as
 * sign_bytes(). A plain program, so that it runs under ThreadSanitizer too; it is its own signing
 * process. */
#include "presignd/sign/signer.h"

#include "presignd/base/loop.h"
#include "presignd/sign/key.h"
#include "presignd/sign/sign.h"
#include "sign/packets.h"

#include <malloc.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { JOBS = 60, KEYS = 2, ROUNDS = 2, LARGE_EVERY = 15, LARGE_BYTES = 300000 };

static char directory[] = "/tmp/presignd-signer-XXXXXX";

struct pool {
    struct loop *loop;
    bool own_process;
    struct sign_service *service;
    struct signer *signer;
    EVP_PKEY *keys[KEYS];
    struct sign_key *held[KEYS];
    struct sign_key *dropped; /* another service's: this one does not have it */
    int back, left;
    int wrong;
};

struct item {
    struct signer_job job;
    struct pool *pool;
    int number, returns, rounds;
    bool may_fail;
};

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                        \
        }                                                                   \
    } while (0)

static bool may_post(const char *path, size_t len)
{
    return len == strlen("/path") && memcmp(path, "/path", len) == 0;
}

static const char *key_path(int index)
{
    static char path[64];
    (void)snprintf(path, sizeof path, "%s/%d.pem", directory, index);
    return path;
}

static bool is_right(const struct item *item)
{
    const struct signer_job *job = &item->job;
    AUTO_BUF struct buf expected = {0};
    CHECK(sign_bytes(item->pool->keys[item->number % KEYS], job->message.data, job->message.len,
                     &expected));
    return job->signature.len == expected.len &&
           memcmp(job->signature.data, expected.data, expected.len) == 0;
}

static void on_back(struct signer_job *job)
{
    struct item *item = CONTAINER_OF(job, struct item, job);
    struct pool *pool = item->pool;
    item->returns++;
    pool->back++;
    bool expect_ok = job->key != pool->dropped;
    if (!item->may_fail && (job->ok != expect_ok || job->lost)) {
        pool->wrong++;
    }
    if (job->ok && !is_right(item)) {
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
    *item = (struct item){.pool = pool, .number = number, .may_fail = may_fail, .rounds = ROUNDS};
    item->job.key = number % 10 == 9 ? pool->dropped : pool->held[number % KEYS];
    item->job.done = on_back;
    struct buf *message = &item->job.message;
    buf_printf(message, "POST\n/path\n17%08d\n%032d\n", number, number);
    for (int i = 0; number % LARGE_EVERY == 0 && i < LARGE_BYTES / 10; i++) {
        buf_printf(message, "%010d", i);
    }
    buf_puts(message, "body\n");
}

static void release(struct item *items)
{
    for (int i = 0; i < JOBS; i++) {
        buf_deinit(&items[i].job.message);
        buf_deinit(&items[i].job.signature);
    }
}

static void open_pool(struct pool *pool, unsigned threads)
{
    char *error = NULL;
    pool->back = pool->wrong = 0;
    pool->service =
        pool->own_process ? sign_service_process(&error) : sign_service_threads(may_post);
    CHECK(pool->service != NULL && (sign_service_pid(pool->service) != 0) == pool->own_process);
    CHECK(sign_service_resize(pool->service, threads));
    for (int i = 0; i < KEYS; i++) {
        pool->held[i] = sign_key_load(pool->service, key_path(i), &error);
        CHECK(pool->held[i] != NULL);
        CHECK(EVP_PKEY_eq(sign_key_public(pool->held[i]), pool->keys[i]) == 1);
    }
    CHECK(sign_key_load(pool->service, key_path(KEYS), &error) == NULL);
    CHECK(strstr(error, "cannot be read") != NULL && strstr(error, key_path(KEYS)) == error);
    free(error);
    pool->signer = signer_new(pool->loop, pool->service);
    CHECK(pool->signer != NULL);
}

static void close_pool(struct pool *pool)
{
    signer_free(pool->signer);
    for (int i = 0; i < KEYS; i++) {
        sign_key_unref(pool->held[i]);
    }
    sign_service_free(pool->service);
}

/* Changes to `later` threads (0: no change) while jobs wait and are signed. */
static void test_all_come_back(struct pool *pool, unsigned threads, unsigned later)
{
    static struct item items[JOBS];
    open_pool(pool, threads);
    pool->left = JOBS;
    for (int i = 0; i < JOBS; i++) {
        prepare(pool, &items[i], i, false);
        signer_submit(pool->signer, &items[i].job);
    }
    CHECK(later == 0 || sign_service_resize(pool->service, later));
    CHECK(signer_waiting(pool->signer) == JOBS);
    CHECK(loop_run(pool->loop) == 0);
    CHECK(pool->wrong == 0);
    CHECK(pool->back == JOBS * ROUNDS);
    CHECK(signer_waiting(pool->signer) == 0);
    uint64_t ok = signer_count(pool->signer, SIGN_BY_OPENSSL, SIGN_OK);
    uint64_t failed = signer_count(pool->signer, SIGN_BY_OPENSSL, SIGN_FAILED);
    const size_t all = (size_t)JOBS * ROUNDS;
    CHECK(ok + failed == all && failed == all / 10);
    close_pool(pool);
    CHECK(pool->back == JOBS * ROUNDS);
    release(items);
}

/* The loop does not run: signer_free() returns all jobs. */
static void test_free_hands_back(struct pool *pool)
{
    static struct item items[JOBS];
    open_pool(pool, 2);
    pool->left = JOBS + 1;
    for (int i = 0; i < JOBS; i++) {
        prepare(pool, &items[i], i, true);
        signer_submit(pool->signer, &items[i].job);
    }
    CHECK(pool->back == 0);
    close_pool(pool);
    CHECK(pool->back == JOBS);
    CHECK(pool->wrong == 0);
    for (int i = 0; i < JOBS; i++) {
        CHECK(items[i].returns == 1 && items[i].job.lost);
    }
    release(items);
}

static void note(void *context)
{
    ++*(int *)context;
}

/* Killed while it signs: every job comes back, and the owner is told once. */
static void test_killed(struct pool *pool)
{
    static struct item items[JOBS];
    int told = 0;
    open_pool(pool, 1);
    pool->left = JOBS;
    signer_notify_end(pool->signer, note, &told);
    for (int i = 0; i < JOBS; i++) {
        prepare(pool, &items[i], i, true);
        signer_submit(pool->signer, &items[i].job);
    }
    CHECK(sign_service_end(pool->service) == NULL);
    CHECK(kill(sign_service_pid(pool->service), SIGKILL) == 0);
    CHECK(loop_run(pool->loop) == 0);
    CHECK(told == 1 && pool->wrong == 0 && pool->back == JOBS);
    pool->left = 1;
    signer_submit(pool->signer, &items[0].job);
    CHECK(loop_run(pool->loop) == 0);
    CHECK(told == 1 && items[0].job.lost && !items[0].job.ok);
    char *error = NULL;
    CHECK(sign_key_load(pool->service, key_path(0), &error) == NULL);
    free(error);
    close_pool(pool);
    release(items);
}

static void send_packet(int fd, const struct sign_request_head *head, const char *bytes, size_t len)
{
    struct iovec parts[] = {{(void *)head, sizeof *head}, {(void *)bytes, len}};
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = ARRAY_LENGTH(parts)};
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    CHECK(poll(&ready, 1, 60000) == 1);
    CHECK(sendmsg(fd, &message, MSG_NOSIGNAL) == (ssize_t)(sizeof *head + len));
}

static struct sign_answer receive_answer(int fd)
{
    struct sign_answer answer = {0};
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    CHECK(poll(&ready, 1, 60000) == 1);
    CHECK(recv(fd, &answer, sizeof answer, 0) >= (ssize_t)offsetof(struct sign_answer, signature));
    return answer;
}

/* A hostile other side sends the first part twice, and never the second one. What happens to be in
 * the service's memory must not come into the string: its signature would tell it. */
static void test_overlapping_parts(struct pool *pool)
{
    static const char part[] = "POST\n/path\n1700000000\n00000000000000000000000000000000\nbody";
    enum { PART = sizeof part - 1, TOTAL = 2 * PART + 1 };
    char whole[TOTAL] = {0};
    AUTO_BUF struct buf expected = {0};
    memcpy(whole, part, PART);
    whole[TOTAL - 1] = '\n';
    open_pool(pool, 1);
    int fd = sign_service_socket(pool->service);
    struct sign_request_head head = {
        .id = 1, .key = sign_key_number(pool->held[0]), .total = TOTAL, .offset = 0};
    send_packet(fd, &head, part, PART);
    send_packet(fd, &head, part, PART);
    head.offset = TOTAL - 1;
    send_packet(fd, &head, "\n", 1);
    struct sign_answer answer = receive_answer(fd);
    CHECK(sign_bytes(pool->keys[0], whole, TOTAL, &expected));
    CHECK(answer.id == 1 && answer.end == SIGN_OK && answer.len == expected.len);
    CHECK(memcmp(answer.signature, expected.data, expected.len) == 0);
    close_pool(pool);
}

/* None of them is signed, and each that can be is answered. */
static void test_odd_packets(struct pool *pool)
{
    static const struct sign_request_head odd[] = {
        {.id = 1, .total = 0},
        {.id = 2, .total = 3},                         /* fewer than come */
        {.id = 3, .total = SIGN_STRING_MAX + 1},       /* more than may */
        {.id = 4, .total = 100, .offset = 97},         /* beyond the end */
        {.id = 5, .total = 100, .offset = UINT32_MAX}, /* the sum would wrap */
        {.id = 6, .total = 4, .offset = 4},
        {.id = 0, .total = 4},
        {.id = 7, .total = 4}, /* no such key, no such request */
    };
    open_pool(pool, 1);
    int fd = sign_service_socket(pool->service);
    for (size_t i = 0; i < ARRAY_LENGTH(odd); i++) {
        send_packet(fd, &odd[i], "four", 4);
        struct sign_answer answer = receive_answer(fd);
        CHECK(answer.id == odd[i].id && answer.end == SIGN_FAILED && answer.len == 0);
    }
    for (uint64_t id = 10; id < 200; id++) { /* strings that never become whole */
        const struct sign_request_head head = {.id = id, .total = SIGN_STRING_MAX};
        send_packet(fd, &head, "four", 4);
    }
    const struct sign_request_head last = {.id = 200, .total = 0};
    send_packet(fd, &last, "four", 4);
    CHECK(receive_answer(fd).id == 200);
    close_pool(pool);
}

enum { UNLOADED = 40, SMALL_BYTES = 4608, CONTINUE_AFTER_MS = 300 };

static void *continue_later(void *context)
{
    const struct timespec wait = {.tv_nsec = CONTINUE_AFTER_MS * 1000000L};
    (void)nanosleep(&wait, NULL);
    CHECK(kill(*(const pid_t *)context, SIGCONT) == 0);
    return NULL;
}

/* Of the pairs' sockets, which this program has as its only ones. */
static void set_sockets(int option, const void *value, size_t size)
{
    for (int fd = 0; fd < 64; fd++) {
        (void)setsockopt(fd, SOL_SOCKET, option, value, (socklen_t)size);
    }
}

static bool still_signs(struct pool *pool, uint32_t key, uint64_t id)
{
    static const char text[] = "POST\n/path\n1700000000\n00000000000000000000000000000000\nbody\n";
    struct sign_request_head head = {.id = id, .key = key, .total = sizeof text - 1};
    int fd = sign_service_socket(pool->service);
    send_packet(fd, &head, text, sizeof text - 1);
    return receive_answer(fd).end == SIGN_OK;
}

/* More keys are dropped than the socket has room for, while the process is stopped: it still frees
 * every one. */
static void test_all_are_unloaded(struct pool *pool)
{
    struct sign_key *keys[UNLOADED];
    uint32_t numbers[UNLOADED];
    char *error = NULL;
    pthread_t thread;
    open_pool(pool, 1);
    pid_t pid = sign_service_pid(pool->service);
    for (int i = 0; i < UNLOADED; i++) {
        keys[i] = sign_key_load(pool->service, key_path(0), &error);
        CHECK(keys[i] != NULL);
        numbers[i] = sign_key_number(keys[i]);
    }
    CHECK(still_signs(pool, numbers[UNLOADED - 1], 1));
    const int bytes = SMALL_BYTES;
    set_sockets(SO_SNDBUF, &bytes, sizeof bytes);
    CHECK(kill(pid, SIGSTOP) == 0);
    CHECK(pthread_create(&thread, NULL, continue_later, &pid) == 0);
    for (int i = 0; i < UNLOADED; i++) {
        sign_key_unref(keys[i]);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(sign_service_resize(pool->service, 1)); /* answered after them */
    for (int i = 0; i < UNLOADED; i++) {
        CHECK(!still_signs(pool, numbers[i], 2 + (uint64_t)i));
    }
    close_pool(pool);
}

static void expect_silence(struct pool *pool)
{
    AUTO_FREE char *error = NULL;
    CHECK(sign_key_load(pool->service, key_path(0), &error) == NULL);
    CHECK(strstr(error, "does not answer") != NULL);
    CHECK(!sign_service_answers(pool->service));
}

/* The keys that were loaded go on; none can be loaded, for no fault of the key's. */
static void test_silent(struct pool *pool)
{
    open_pool(pool, 1);
    CHECK(sign_service_answers(pool->service));
    CHECK(kill(sign_service_pid(pool->service), SIGKILL) == 0);
    expect_silence(pool);
    close_pool(pool);
}

/* An answer that came too late is not taken for that to a later question, and the key that nobody
 * waits for any more is freed. */
static void test_late_answer(struct pool *pool)
{
    const struct timeval soon = {.tv_usec = 100000}, later = {.tv_sec = 60};
    struct sign_key *key = NULL;
    open_pool(pool, 1);
    pid_t pid = sign_service_pid(pool->service);
    uint32_t last = sign_key_number(pool->held[KEYS - 1]);
    set_sockets(SO_RCVTIMEO, &soon, sizeof soon);
    CHECK(kill(pid, SIGSTOP) == 0);
    expect_silence(pool);
    expect_silence(pool); /* at once, and without a question */
    set_sockets(SO_RCVTIMEO, &later, sizeof later);
    CHECK(kill(pid, SIGCONT) == 0);
    while (key == NULL) {
        AUTO_FREE char *error = NULL;
        key = sign_key_load(pool->service, key_path(1), &error);
    }
    CHECK(sign_service_answers(pool->service));
    CHECK(EVP_PKEY_eq(sign_key_public(key), pool->keys[1]) == 1);
    CHECK(sign_key_number(key) == last + 2);
    CHECK(sign_service_resize(pool->service, 1));
    CHECK(!still_signs(pool, last + 1, 1));
    CHECK(still_signs(pool, last + 2, 2));
    sign_key_unref(key);
    close_pool(pool);
}

static void make_keys(struct pool *pool)
{
    CHECK(mkdtemp(directory) != NULL);
    for (int i = 0; i < KEYS; i++) {
        pool->keys[i] = EVP_RSA_gen(2048);
        FILE *file = fopen(key_path(i), "we");
        CHECK(pool->keys[i] != NULL && file != NULL);
        CHECK(PEM_write_PrivateKey(file, pool->keys[i], NULL, NULL, 0, NULL, NULL) == 1);
        CHECK(fclose(file) == 0);
    }
}

static void drop_keys(struct pool *pool)
{
    for (int i = 0; i < KEYS; i++) {
        EVP_PKEY_free(pool->keys[i]);
        CHECK(unlink(key_path(i)) == 0);
    }
    CHECK(rmdir(directory) == 0);
}

/* A key with a number that only its own service has given. */
static struct sign_key *foreign_key(struct sign_service **service)
{
    char *error = NULL;
    *service = sign_service_threads(may_post);
    CHECK(*service != NULL);
    struct sign_key *key = NULL;
    for (int i = 0; i <= KEYS; i++) {
        sign_key_unref(key);
        key = sign_key_load(*service, key_path(0), &error);
        CHECK(key != NULL);
    }
    return key;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], SIGN_PROCESS_ARGUMENT) == 0) {
        return sign_process_main(may_post);
    }
    struct pool pool = {.loop = loop_new()};
    struct sign_service *other;
    CHECK(pool.loop != NULL);
    (void)mallopt(M_PERTURB, 0xa5); /* memory that nobody has set is never zero */
    make_keys(&pool);
    pool.dropped = foreign_key(&other);
    for (int own_process = 0; own_process < 2; own_process++) {
        pool.own_process = own_process == 1;
        test_all_come_back(&pool, 1, 0);
        test_all_come_back(&pool, 4, 0);
        test_all_come_back(&pool, 0, 0);
        test_all_come_back(&pool, 1, 4);
        test_all_come_back(&pool, 4, 1);
        test_free_hands_back(&pool);
        test_overlapping_parts(&pool);
        test_odd_packets(&pool);
    }
    test_killed(&pool);
    test_all_are_unloaded(&pool);
    test_silent(&pool);
    test_late_answer(&pool);
    CHECK(signer_free(NULL) == NULL);
    sign_key_unref(pool.dropped);
    sign_service_free(other);
    drop_keys(&pool);
    loop_free(pool.loop);
    return 0;
}
