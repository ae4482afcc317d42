#include "presignd/sign/signer.h"

#include "presignd/base/clock.h"
#include "sign/packets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* Packets of one system call. */
enum { SEND_MAX = 16, RECEIVE_MAX = 16 };
/* A job that is so many times SIGNER_TIMEOUT_MS old is lost although others are signed. */
enum { TIMEOUTS_MAX = 6 };

struct signer {
    struct loop *loop;
    struct sign_service *service;
    int fd; /* the service's */
    struct loop_fd *watch;
    struct loop_deferred sender;
    struct loop_timer timer; /* set while there are jobs: the oldest one may be lost then */
    struct list waiting;     /* not sent; in the order of submission, and after all of `sent` */
    struct list sent;
    int64_t answered_ms; /* mono: of the last answer */
    int64_t silent_ms;   /* mono: since when jobs are lost; 0: they are not */
    bool blocked;        /* the socket is full */
    bool ended;          /* the other side is */
    loop_fn *on_end;
    void *context;
    uint64_t counts[SIGN_BACKEND_COUNT][SIGN_END_COUNT];
};

static int64_t now_ms(void)
{
    return clock_now(&clock_system).mono_ms;
}

/* `done` may submit jobs and free its own, but must not free the signer. */
static void lose(struct list *jobs, struct signer_job *job)
{
    list_remove(jobs, &job->link);
    job->ok = false;
    job->lost = true;
    job->done(job);
}

/* Only those that are there now: a job may be submitted again at once. */
static void lose_all(struct list *jobs)
{
    struct list_link *link;
    for (size_t count = jobs->count; count > 0 && (link = list_first(jobs)) != NULL; count--) {
        lose(jobs, CONTAINER_OF(link, struct signer_job, link));
    }
}

/* The other side has ended: a signing process that was killed, or crashed. */
static void end(struct signer *signer)
{
    if (!signer->ended) {
        signer->ended = true;
        signer->blocked = false;
        signer->watch = loop_fd_remove(signer->watch);
        if (signer->on_end != NULL) {
            signer->on_end(signer->context);
        }
    }
    lose_all(&signer->sent);
    lose_all(&signer->waiting);
}

/* --- Sending --- */

struct sending {
    struct sign_request_head heads[SEND_MAX];
    struct iovec parts[SEND_MAX][2];
    struct mmsghdr messages[SEND_MAX];
};

static size_t part_of(const struct signer_job *job)
{
    size_t left = job->message.len - job->sent;
    return left < SIGN_PART_MAX ? left : SIGN_PART_MAX;
}

static void add_message(struct sending *sending, size_t index, const struct signer_job *job)
{
    struct sign_request_head *head = &sending->heads[index];
    struct iovec *parts = sending->parts[index];
    *head = (struct sign_request_head){.id = job->id,
                                       .key = sign_key_number(job->key),
                                       .total = (uint32_t)job->message.len,
                                       .offset = (uint32_t)job->sent};
    parts[0] = (struct iovec){head, sizeof *head};
    parts[1] = (struct iovec){job->message.data + job->sent, part_of(job)};
    sending->messages[index] = (struct mmsghdr){
        .msg_hdr = {.msg_iov = parts, .msg_iovlen = ARRAY_LENGTH(sending->parts[0])}};
}

/* Sends the first part that is not sent of each of the first waiting jobs. A job of which parts are
 * left is the last one of its system call. */
static bool send_some(struct signer *signer)
{
    struct sending sending;
    unsigned count = 0;
    bool parted = false;
    LIST_FOREACH (&signer->waiting, link) {
        if (count == SEND_MAX || parted) {
            break;
        }
        const struct signer_job *job = CONTAINER_OF(link, struct signer_job, link);
        parted = job->message.len - job->sent > SIGN_PART_MAX;
        add_message(&sending, count++, job);
    }
    int sent =
        count == 0 ? 0 : sendmmsg(signer->fd, sending.messages, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    for (int i = 0; i < sent; i++) {
        struct list_link *link = list_first(&signer->waiting);
        struct signer_job *job = CONTAINER_OF(link, struct signer_job, link);
        job->sent += part_of(job);
        if (job->sent == job->message.len) {
            list_push_back(&signer->sent, list_pop_front(&signer->waiting));
        }
    }
    return sent > 0 || (sent < 0 && errno == EINTR);
}

static void watch_room(struct signer *signer, bool blocked)
{
    if (signer->watch != NULL && blocked != signer->blocked) {
        signer->blocked = blocked;
        loop_fd_modify(signer->watch, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

static void send_jobs(void *context)
{
    struct signer *signer = context;
    if (signer->ended) {
        end(signer);
        return;
    }
    while (send_some(signer)) {
    }
    /* On EPIPE the watch tells of the end. */
    watch_room(signer, !list_empty(&signer->waiting));
}

/* --- Receiving --- */

/* Answers come nearly in the order of their requests, so it is one of the first. */
static struct signer_job *find(const struct signer *signer, uint64_t id)
{
    LIST_FOREACH (&signer->sent, link) {
        struct signer_job *job = CONTAINER_OF(link, struct signer_job, link);
        if (job->id == id) {
            return job;
        }
    }
    return NULL;
}

/* An answer that comes too late has no job any more. */
static void take_answer(struct signer *signer, const struct sign_answer *answer, size_t len)
{
    bool whole = len >= offsetof(struct sign_answer, signature) &&
                 len == offsetof(struct sign_answer, signature) + answer->len &&
                 answer->end < SIGN_END_COUNT && answer->backend < SIGN_BACKEND_COUNT &&
                 answer->mistake < SIGN_END_COUNT;
    struct signer_job *job = whole ? find(signer, answer->id) : NULL;
    if (whole) {
        signer->counts[answer->backend][answer->end]++;
    }
    if (whole && answer->mistake != SIGN_OK) {
        signer->counts[SIGN_BY_CRYPTO_MB][answer->mistake]++;
    }
    if (job != NULL) {
        list_remove(&signer->sent, &job->link);
        job->ok = answer->end == SIGN_OK && answer->len > 0;
        job->lost = false;
        buf_append(&job->signature, answer->signature, answer->len);
        job->done(job);
    }
}

/* How many packets came; -1: the other side has ended. */
static int receive_some(struct signer *signer)
{
    struct sign_answer answers[RECEIVE_MAX];
    struct iovec parts[RECEIVE_MAX];
    struct mmsghdr messages[RECEIVE_MAX];
    for (size_t i = 0; i < RECEIVE_MAX; i++) {
        parts[i] = (struct iovec){&answers[i], sizeof answers[i]};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
    }
    int count = recvmmsg(signer->fd, messages, RECEIVE_MAX, MSG_DONTWAIT, NULL);
    if (count < 0) {
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    }
    signer->answered_ms = now_ms();
    signer->silent_ms = 0;
    for (int i = 0; i < count; i++) {
        if (messages[i].msg_len == 0) {
            return -1;
        }
        take_answer(signer, &answers[i], messages[i].msg_len);
    }
    return count;
}

static void on_socket(void *context, uint32_t epoll_events)
{
    struct signer *signer = context;
    int count = RECEIVE_MAX;
    while (count == RECEIVE_MAX) {
        count = receive_some(signer);
    }
    if (count < 0) {
        end(signer);
    } else if ((epoll_events & EPOLLOUT) != 0) {
        send_jobs(signer);
    }
}

/* --- Deadlines --- */

static struct signer_job *oldest(const struct signer *signer, struct list **list)
{
    const struct list *jobs = list_empty(&signer->sent) ? &signer->waiting : &signer->sent;
    *list = (struct list *)jobs;
    return list_empty(jobs) ? NULL : CONTAINER_OF(list_first(jobs), struct signer_job, link);
}

static int64_t loss_ms(const struct signer *signer, const struct signer_job *job)
{
    int64_t last_ms = job->submitted_ms + TIMEOUTS_MAX * SIGNER_TIMEOUT_MS;
    int64_t since_ms =
        job->submitted_ms > signer->answered_ms ? job->submitted_ms : signer->answered_ms;
    return since_ms + SIGNER_TIMEOUT_MS < last_ms ? since_ms + SIGNER_TIMEOUT_MS : last_ms;
}

static void on_timer(void *context)
{
    struct signer *signer = context;
    struct list *list;
    struct signer_job *job;
    int64_t at_ms = now_ms();
    /* Jobs that are submitted meanwhile are younger, so this ends. */
    while ((job = oldest(signer, &list)) != NULL && loss_ms(signer, job) <= at_ms) {
        signer->silent_ms = signer->silent_ms == 0 ? at_ms : signer->silent_ms;
        lose(list, job);
    }
    if (job != NULL) {
        loop_timer_set(&signer->timer, loss_ms(signer, job));
    }
}

/* --- The signer --- */

struct signer *signer_new(struct loop *loop, struct sign_service *service)
{
    struct signer *signer = mem_zalloc(1, sizeof *signer);
    *signer = (struct signer){.loop = loop,
                              .service = service,
                              .fd = sign_service_socket(service),
                              .sender = {.fn = send_jobs, .context = signer}};
    list_init(&signer->waiting);
    list_init(&signer->sent);
    loop_timer_init(&signer->timer, loop, on_timer, signer);
    signer->watch = loop_fd_add(loop, signer->fd, EPOLLIN, on_socket, signer);
    if (signer->watch == NULL) {
        int error = errno;
        free(signer);
        errno = error;
        return NULL;
    }
    return signer;
}

void signer_notify_end(struct signer *signer, loop_fn *on_end, void *context)
{
    signer->on_end = on_end;
    signer->context = context;
}

struct signer *signer_free(struct signer *signer)
{
    if (signer == NULL) {
        return NULL;
    }
    lose_all(&signer->sent);
    lose_all(&signer->waiting);
    loop_fd_remove(signer->watch);
    loop_timer_stop(&signer->timer);
    loop_defer_cancel(&signer->sender);
    free(signer);
    return NULL;
}

void signer_submit(struct signer *signer, struct signer_job *job)
{
    job->id = sign_service_next_id(signer->service);
    job->submitted_ms = now_ms();
    job->sent = 0;
    list_push_back(&signer->waiting, &job->link);
    if (signer->timer.source == NULL) {
        loop_timer_set(&signer->timer, job->submitted_ms + SIGNER_TIMEOUT_MS);
    }
    if (!signer->blocked) {
        loop_defer(signer->loop, &signer->sender);
    }
}

size_t signer_waiting(const struct signer *signer)
{
    return signer->waiting.count + signer->sent.count;
}

int64_t signer_silent_ms(const struct signer *signer, int64_t at_ms)
{
    return signer->silent_ms == 0 ? 0 : at_ms - signer->silent_ms + SIGNER_TIMEOUT_MS;
}

uint64_t signer_count(const struct signer *signer, enum sign_backend backend, enum sign_end end)
{
    return signer->counts[backend][end];
}

uint64_t signer_mistakes(const struct signer *signer)
{
    return signer->counts[SIGN_BY_CRYPTO_MB][SIGN_WRONG] +
           signer->counts[SIGN_BY_CRYPTO_MB][SIGN_FAILED];
}

enum sign_backend signer_backend(const struct signer *signer)
{
    return signer_mistakes(signer) > 0 ? SIGN_BY_OPENSSL : sign_service_backend(signer->service);
}
