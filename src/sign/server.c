#include "sign/server.h"

#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/sign/key.h"
#include "sign/backend.h"
#include "sign/held_keys.h"
#include "sign/packets.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* More threads do not sign faster on any expected machine. */
enum { THREADS_MAX = 256 };

/* Strings whose parts are not all there yet. The other side sends one after the other; threads may
 * take them in another order. */
enum { PARTED_MAX = 8 };
struct parted {
    uint64_t id; /* 0: free */
    char *bytes; /* of `total` */
    uint32_t total, got;
};

struct server {
    int jobs;
    sign_path_fn *may_post;
    struct backend *backend; /* changed only while there is no key and no thread */
    struct held_keys keys;
    pthread_mutex_t lock; /* for all below */
    pthread_cond_t changed;
    unsigned wanted, running;
    pthread_t
        ended[2 * THREADS_MAX]; /* to be joined: what libraries keep for a thread ends with it */
    unsigned ended_count;
    struct parted parted[PARTED_MAX];
};

/* --- A signing thread --- */

/* What one thread works on: up to SIGN_BATCH requests, and their answers. */
struct batch {
    struct server *server;
    struct backend_worker *worker;
    size_t count; /* of items */
    struct sign_item items[SIGN_BATCH];
    struct held_key *held[SIGN_BATCH]; /* references to the items' keys */
    char *owned[SIGN_BATCH];           /* the item's string, when it came in parts */
    struct sign_answer answers[SIGN_BATCH];
    struct mmsghdr messages[SIGN_BATCH];
    struct iovec parts[SIGN_BATCH];
    char requests[SIGN_BATCH][SIGN_REQUEST_MAX];
};

/* The first request is waited for; those that wait already come with it, so that one wake-up serves
 * several. 0: the other side has ended. */
static size_t take(struct server *server, struct batch *batch)
{
    for (size_t i = 0; i < SIGN_BATCH; i++) {
        batch->parts[i] = (struct iovec){batch->requests[i], SIGN_REQUEST_MAX};
        batch->messages[i] =
            (struct mmsghdr){.msg_hdr = {.msg_iov = &batch->parts[i], .msg_iovlen = 1}};
    }
    int count;
    do {
        count = recvmmsg(server->jobs, batch->messages, SIGN_BATCH, MSG_WAITFORONE, NULL);
    } while (count < 0 && errno == EINTR);
    size_t taken = 0;
    while (taken < (size_t)(count > 0 ? count : 0) && batch->messages[taken].msg_len > 0) {
        taken++;
    }
    return taken;
}

static void parted_free(struct parted *parted)
{
    free(parted->bytes);
    *parted = (struct parted){0};
}

/* The string that this is a part of. Where all are taken, the oldest one is given up: its other
 * parts never came. */
static struct parted *parted_of(struct server *server, const struct sign_request_head *head)
{
    struct parted *oldest = &server->parted[0];
    for (size_t i = 0; i < PARTED_MAX; i++) {
        struct parted *parted = &server->parted[i];
        if (parted->id == head->id && parted->total == head->total) {
            return parted;
        }
        oldest = parted->id < oldest->id ? parted : oldest;
    }
    parted_free(oldest);
    /* All zero: parts that overlap leave a gap, and what was in this memory must not be signed. */
    *oldest =
        (struct parted){.id = head->id, .bytes = mem_zalloc(1, head->total), .total = head->total};
    return oldest;
}

/* Adds one part. The whole string, which the caller frees, or NULL. */
static char *add_part(struct server *server, const struct sign_request_head *head,
                      const char *bytes, size_t len)
{
    char *whole = NULL;
    pthread_mutex_lock(&server->lock);
    struct parted *parted = parted_of(server, head);
    memcpy(parted->bytes + head->offset, bytes, len);
    parted->got += (uint32_t)len;
    if (parted->got >= parted->total) {
        whole = parted->bytes;
        *parted = (struct parted){0};
    }
    pthread_mutex_unlock(&server->lock);
    return whole;
}

static void add_item(struct server *server, struct batch *batch,
                     const struct sign_request_head *head, const char *message, char *owned)
{
    struct sign_item *item = &batch->items[batch->count];
    batch->owned[batch->count] = owned;
    batch->answers[batch->count].id = head->id;
    bool permitted = message != NULL && sign_is_permitted(message, head->total, server->may_post);
    struct held_key *held = permitted ? held_keys_get(&server->keys, head->key) : NULL;
    batch->held[batch->count] = held;
    batch->count++;
    item->key = held == NULL ? NULL : held->key;
    item->message = message;
    item->len = head->total;
    item->signature.len = 0;
}

/* A packet that is no request, or belongs to none, is answered as a failure. */
static void read_packet(struct server *server, struct batch *batch, size_t index)
{
    const struct mmsghdr *message = &batch->messages[index];
    struct sign_request_head head = {0};
    size_t size = message->msg_len, len = size > sizeof head ? size - sizeof head : 0;
    const char *bytes = batch->requests[index] + sizeof head;
    memcpy(&head, batch->requests[index], size < sizeof head ? size : sizeof head);
    bool cut = (message->msg_hdr.msg_flags & MSG_TRUNC) != 0;
    if (cut || len == 0 || head.id == 0 || head.total > SIGN_STRING_MAX ||
        head.offset > head.total || len > head.total - head.offset) {
        add_item(server, batch, &head, NULL, NULL);
    } else if (len == head.total) {
        add_item(server, batch, &head, bytes, NULL);
    } else {
        char *whole = add_part(server, &head, bytes, len);
        if (whole != NULL) {
            add_item(server, batch, &head, whole, whole);
        }
    }
}

static void write_answer(struct batch *batch, size_t index)
{
    struct sign_item *item = &batch->items[index];
    struct sign_answer *answer = &batch->answers[index];
    size_t len = item->end == SIGN_OK ? item->signature.len : 0;
    assert(len <= sizeof answer->signature);
    held_key_unref(batch->held[index]);
    free(batch->owned[index]);
    answer->end = (uint8_t)item->end;
    answer->backend = (uint8_t)item->backend;
    answer->mistake = (uint8_t)item->mistake;
    answer->len = (uint16_t)len;
    if (len > 0) {
        memcpy(answer->signature, item->signature.data, len);
    }
    batch->parts[index] = (struct iovec){answer, offsetof(struct sign_answer, signature) + len};
    batch->messages[index] =
        (struct mmsghdr){.msg_hdr = {.msg_iov = &batch->parts[index], .msg_iovlen = 1}};
}

/* Blocks while the other side does not read. False: it has ended. */
static bool give(struct server *server, struct batch *batch, size_t count)
{
    size_t given = 0;
    while (given < count) {
        int sent = sendmmsg(server->jobs, batch->messages + given, (unsigned)(count - given),
                            MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR && errno != ENOBUFS && errno != ENOMEM) {
            return false;
        }
        given += sent > 0 ? (size_t)sent : 0;
    }
    return true;
}

/* With the lock. A resize joins before it starts threads, so there is room for all. */
static void note_end(struct server *server)
{
    assert(server->ended_count < 2 * THREADS_MAX);
    server->ended[server->ended_count++] = pthread_self();
    server->running--;
    pthread_cond_signal(&server->changed);
}

/* True: this thread is one too many, and counted as ended. */
static bool is_surplus(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    bool surplus = server->running > server->wanted;
    if (surplus) {
        note_end(server);
    }
    pthread_mutex_unlock(&server->lock);
    return surplus;
}

static void count_end(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    note_end(server);
    pthread_mutex_unlock(&server->lock);
}

static struct batch *batch_new(struct server *server)
{
    struct batch *batch = mem_zalloc(1, sizeof *batch);
    batch->server = server;
    batch->worker = backend_worker_new(server->backend);
    return batch;
}

static void batch_free(struct batch *batch)
{
    backend_worker_free(batch->worker);
    for (size_t i = 0; i < SIGN_BATCH; i++) {
        buf_deinit(&batch->items[i].signature);
    }
    free(batch);
}

/* False: the other side has ended. */
static bool sign_batch(struct server *server, struct batch *batch)
{
    size_t packets = take(server, batch);
    batch->count = 0;
    for (size_t i = 0; i < packets; i++) {
        read_packet(server, batch, i);
    }
    backend_sign(batch->worker, batch->items, batch->count);
    for (size_t i = 0; i < batch->count; i++) {
        write_answer(batch, i);
    }
    return packets > 0 && give(server, batch, batch->count);
}

static void *work(void *context)
{
    struct batch *batch = context;
    struct server *server = batch->server;
    bool surplus = false;
    while (!surplus && sign_batch(server, batch)) {
        surplus = is_surplus(server);
    }
    batch_free(batch);
    if (!surplus) {
        count_end(server);
    }
    return NULL;
}

/* --- The number of threads --- */

/* The cores that this process may use: a container may have fewer. */
static unsigned cores(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* Without the lock, on the thread that starts them all. */
static void join_ended(struct server *server)
{
    pthread_t ended[2 * THREADS_MAX];
    pthread_mutex_lock(&server->lock);
    unsigned count = server->ended_count;
    memcpy(ended, server->ended, count * sizeof ended[0]);
    server->ended_count = 0;
    pthread_mutex_unlock(&server->lock);
    for (unsigned i = 0; i < count; i++) {
        (void)pthread_join(ended[i], NULL);
    }
}

static bool start_thread(struct server *server)
{
    pthread_t thread;
    struct batch *batch = batch_new(server);
    if (pthread_create(&thread, NULL, work, batch) != 0) {
        batch_free(batch);
        return false;
    }
    (void)pthread_setname_np(thread, "presignd-sign");
    return true;
}

/* They have the signal mask of the thread that serves: all are blocked, or, in the signing process,
 * none that anyone sends is handled. */
static bool resize(struct server *server, unsigned threads)
{
    threads = threads == 0 ? cores() : threads;
    join_ended(server);
    pthread_mutex_lock(&server->lock);
    server->wanted = threads < THREADS_MAX ? threads : THREADS_MAX;
    bool started = true;
    while (started && server->running < server->wanted) {
        started = start_thread(server);
        server->running += started;
    }
    if (!started && server->running > 0) {
        server->wanted = server->running; /* fewer than wanted share the work */
    }
    pthread_mutex_unlock(&server->lock);
    return started;
}

static void end_threads(struct server *server)
{
    (void)shutdown(server->jobs, SHUT_RDWR);
    pthread_mutex_lock(&server->lock);
    while (server->running > 0) {
        pthread_cond_wait(&server->changed, &server->lock);
    }
    pthread_mutex_unlock(&server->lock);
    join_ended(server);
}

/* --- The backend --- */

/* Returns the bytes of the answer's content. The keys and workers of a backend end before it. */
static size_t choose(struct server *server, uint32_t choice, struct key_answer *answer)
{
    AUTO_FREE char *why = NULL;
    AUTO_FREE char *text = NULL;
    pthread_mutex_lock(&server->lock);
    bool early = server->running == 0 && server->keys.count == 0 && choice <= BACKEND_CRYPTO_MB;
    pthread_mutex_unlock(&server->lock);
    struct backend *chosen =
        early ? backend_new((enum backend_choice)choice, backend_path(), &why) : NULL;
    if (chosen != NULL) {
        backend_free(server->backend);
        server->backend = chosen;
        answer->number = backend_now(chosen);
        text = backend_describe(chosen, why);
    }
    answer->ok = chosen != NULL;
    const char *said = text != NULL ? text : why != NULL ? why : "it comes too late";
    size_t size = strnlen(said, sizeof answer->content);
    memcpy(answer->content, said, size);
    return size;
}

/* --- Keys --- */

/* Returns the bytes of the answer's content. */
static size_t load(struct server *server, const char *path, struct key_answer *answer)
{
    AUTO_FREE char *error = NULL;
    EVP_PKEY *key = key_private_read(path, &error);
    unsigned char *der = NULL;
    int len = key == NULL ? 0 : i2d_PUBKEY(key, &der);
    if (key != NULL && len > 0 && (size_t)len <= sizeof answer->content) {
        struct backend_key *whole = backend_key_new(server->backend, key);
        answer->number = held_keys_add(&server->keys, whole);
        error = answer->number == 0 ? mem_printf("%s: is one key too many", path) : NULL;
    } else if (key != NULL) {
        EVP_PKEY_free(key);
        error = mem_printf("%s: its public half cannot be written", path);
    }
    answer->ok = error == NULL;
    const char *content = error == NULL ? (const char *)der : error;
    size_t size = error == NULL ? (size_t)len : strnlen(error, sizeof answer->content);
    if (content != NULL) {
        memcpy(answer->content, content, size);
    }
    OPENSSL_free(der);
    return size;
}

/* False: the other side has ended. */
static bool answer_request(struct server *server, int keys)
{
    struct key_request request = {0};
    struct key_answer answer = {0};
    ssize_t len = recv(keys, &request, sizeof request, 0);
    if (len <= 0) {
        return len < 0 && errno == EINTR;
    }
    size_t content = 0;
    switch (request.kind) {
    case KEY_UNLOAD:
        held_keys_drop(&server->keys, request.number);
        return true;
    case KEY_LOAD:
        request.path[sizeof request.path - 1] = '\0';
        content = load(server, request.path, &answer);
        break;
    case KEY_THREADS:
        answer.ok = resize(server, request.number);
        answer.number = backend_is_locked(server->backend);
        break;
    case KEY_BACKEND:
        content = choose(server, request.number, &answer);
        break;
    default:
        break;
    }
    return send(keys, &answer, offsetof(struct key_answer, content) + content, MSG_NOSIGNAL) > 0;
}

void sign_serve(int jobs, int keys, sign_path_fn *may_post)
{
    AUTO_FREE char *none = NULL;
    struct server server = {
        .jobs = jobs, .may_post = may_post, .backend = backend_new(BACKEND_OPENSSL, NULL, &none)};
    held_keys_init(&server.keys);
    pthread_mutex_init(&server.lock, NULL);
    pthread_cond_init(&server.changed, NULL);
    while (answer_request(&server, keys)) {
    }
    end_threads(&server);
    for (size_t i = 0; i < PARTED_MAX; i++) {
        parted_free(&server.parted[i]);
    }
    held_keys_deinit(&server.keys);
    backend_free(server.backend);
    pthread_cond_destroy(&server.changed);
    pthread_mutex_destroy(&server.lock);
    close(jobs);
    close(keys);
}
