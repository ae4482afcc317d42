#include "presignd/sign/service.h"

#include "presignd/base/clock.h"
#include "presignd/base/confine.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "sign/packets.h"
#include "sign/server.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* The signing process's ends of the pairs. */
enum { PROCESS_JOBS = 3, PROCESS_KEYS = 4, PROCESS_REST = 5 };
/* Above them, so that moving one there overwrites none of the others. */
enum { DESCRIPTOR_MIN = 10 };

struct sign_service {
    unsigned references; /* the owner's and each key's */
    int jobs, keys;      /* our ends */
    enum sign_backend backend;
    bool is_unlocked;
    bool keys_lost; /* it did not read or answer in time, and has not since */
    struct sign_late {
        bool is_due; /* an answer to that request will still come, before any other */
        uint32_t kind;
    } late;
    uint64_t last_id;
    pid_t pid; /* 0: threads */
    bool reaped;
    int status; /* of waitpid(2) */
    char end[64];
    pthread_t thread; /* that runs sign_serve() */
    struct {
        int jobs, keys;
        sign_path_fn *may_post;
    } served; /* of threads: the other ends */
};

struct sign_key {
    unsigned references;
    struct sign_service *service;
    uint32_t number;
    EVP_PKEY *public_half;
};

/* --- Sockets --- */

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

static bool move_up(int *fd)
{
    int moved = fcntl(*fd, F_DUPFD_CLOEXEC, DESCRIPTOR_MIN);
    if (moved >= 0) {
        close(*fd);
        *fd = moved;
    }
    return moved >= 0;
}

/* Room for a few hundred requests. The kernel gives less where net.core.wmem_max says so. */
enum { SEND_BYTES = 512 * 1024 };

static bool make_pair(int *ours, int *theirs)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        return false;
    }
    *ours = pair[0];
    *theirs = pair[1];
    const int bytes = SEND_BYTES;
    (void)setsockopt(*ours, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    (void)setsockopt(*theirs, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    return move_up(ours) && move_up(theirs);
}

/* Ours of the jobs never blocks, ours of the keys for a bounded time. */
static bool make_pairs(struct sign_service *service)
{
    const struct timeval wait = {.tv_sec = SIGN_ANSWER_MS / 1000};
    return make_pair(&service->jobs, &service->served.jobs) &&
           make_pair(&service->keys, &service->served.keys) &&
           fcntl(service->jobs, F_SETFL, O_NONBLOCK) == 0 &&
           setsockopt(service->keys, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) == 0 &&
           setsockopt(service->keys, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) == 0;
}

static struct sign_service *unref(struct sign_service *service)
{
    if (--service->references == 0) {
        free(service);
    }
    return NULL;
}

static void close_all(struct sign_service *service)
{
    close_fd(&service->jobs);
    close_fd(&service->keys);
    close_fd(&service->served.jobs);
    close_fd(&service->served.keys);
}

static struct sign_service *new_service(sign_path_fn *may_post)
{
    struct sign_service *service = mem_alloc(sizeof *service);
    *service = (struct sign_service){.references = 1,
                                     .jobs = -1,
                                     .keys = -1,
                                     .served = {.jobs = -1, .keys = -1, .may_post = may_post}};
    if (!make_pairs(service)) {
        int error = errno;
        close_all(service);
        free(service);
        errno = error;
        return NULL;
    }
    return service;
}

/* --- Threads of this process --- */

static void *serve(void *context)
{
    struct sign_service *service = context;
    sign_serve(service->served.jobs, service->served.keys, service->served.may_post);
    return NULL;
}

/* The event loop handles signals, so the thread is created with all signals blocked. */
struct sign_service *sign_service_threads(sign_path_fn *may_post)
{
    struct sign_service *service = new_service(may_post);
    if (service == NULL) {
        return NULL;
    }
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&service->thread, NULL, serve, service);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        close_all(service);
        (void)unref(service);
        errno = error;
        return NULL;
    }
    (void)pthread_setname_np(service->thread, "presignd-keys");
    return service;
}

/* --- A process of its own --- */

/* It talks to nobody but us, systemd included. */
static bool is_withheld(const char *variable)
{
    static const char *const withheld[] = {"NOTIFY_SOCKET=", "WATCHDOG_", "LISTEN_",
                                           "CREDENTIALS_DIRECTORY="};
    for (size_t i = 0; i < ARRAY_LENGTH(withheld); i++) {
        if (strncmp(variable, withheld[i], strlen(withheld[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* Free it; the strings are the environment's. */
static char **environment(void)
{
    size_t count = 0, kept = 0;
    while (environ[count] != NULL) {
        count++;
    }
    char **copy = mem_zalloc(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++) {
        if (!is_withheld(environ[i])) {
            copy[kept++] = environ[i];
        }
    }
    return copy;
}

/* Returns an errno value. */
static int spawn(struct sign_service *service)
{
    char name[] = "presignd", argument[] = SIGN_PROCESS_ARGUMENT;
    char *const arguments[] = {name, argument, NULL};
    AUTO_FREE char **variables = environment();
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    (void)posix_spawn_file_actions_init(&files);
    int error =
        posix_spawn_file_actions_adddup2(&files, service->served.jobs, PROCESS_JOBS) != 0 ||
                posix_spawn_file_actions_adddup2(&files, service->served.keys, PROCESS_KEYS) != 0 ||
                posix_spawn_file_actions_addclosefrom_np(&files, PROCESS_REST) != 0
            ? ENOMEM
            : posix_spawn(&service->pid, "/proc/self/exe", &files, &attributes, arguments,
                          variables);
    (void)posix_spawn_file_actions_destroy(&files);
    (void)posix_spawnattr_destroy(&attributes);
    return error;
}

struct sign_service *sign_service_process(char **error)
{
    struct sign_service *service = new_service(NULL);
    if (service == NULL) {
        *error = mem_printf("no socket pair for the signing process: %s", strerror(errno));
        return NULL;
    }
    int failed = spawn(service);
    close_fd(&service->served.jobs);
    close_fd(&service->served.keys);
    if (failed != 0) {
        *error = mem_printf("the signing process cannot be started from /proc/self/exe: %s; set "
                            "daemon.sign_process = no to sign in this process",
                            strerror(failed));
        close_all(service);
        return unref(service);
    }
    return service;
}

int sign_process_main(sign_path_fn *may_post)
{
    /* systemd and a terminal send these to all processes of the service; we end with the main one,
     * after its last call is signed. */
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE};
    for (size_t i = 0; i < ARRAY_LENGTH(ignored); i++) {
        (void)signal(ignored[i], SIG_IGN);
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_NAME, "presignd-keys");
    if (!confine_to_reading()) {
        log_warning("the signing process runs without Landlock: %s", strerror(errno));
    }
    sign_serve(PROCESS_JOBS, PROCESS_KEYS, may_post);
    return EXIT_SUCCESS;
}

static void note_end(struct sign_service *service)
{
    if (WIFSIGNALED(service->status)) {
        (void)snprintf(service->end, sizeof service->end, "was killed by signal %d",
                       WTERMSIG(service->status));
    } else {
        (void)snprintf(service->end, sizeof service->end, "ended with status %d",
                       WEXITSTATUS(service->status));
    }
}

/* --- Its end --- */

enum { REAP_STEP_MS = 5, REAP_MS = 200 };

/* Waits for the process's end for that time. */
static bool reap(struct sign_service *service, int64_t wait_ms)
{
    int64_t end_ms = clock_now(&clock_system).mono_ms + wait_ms;
    while (!service->reaped) {
        const struct timespec step = {.tv_nsec = REAP_STEP_MS * 1000000L};
        if (waitpid(service->pid, &service->status, WNOHANG) == service->pid) {
            service->reaped = true;
            note_end(service);
        } else if (clock_now(&clock_system).mono_ms >= end_ms) {
            return false;
        } else {
            (void)nanosleep(&step, NULL);
        }
    }
    return true;
}

const char *sign_service_end(struct sign_service *service)
{
    return service->pid != 0 && reap(service, REAP_MS) ? service->end : NULL;
}

struct sign_service *sign_service_free(struct sign_service *service)
{
    if (service == NULL) {
        return NULL;
    }
    close_fd(&service->jobs);
    close_fd(&service->keys);
    if (service->pid != 0) {
        if (!reap(service, SIGN_END_MS)) {
            (void)kill(service->pid, SIGKILL);
            (void)reap(service, INT32_MAX);
        }
    } else {
        pthread_join(service->thread, NULL);
    }
    return unref(service);
}

pid_t sign_service_pid(const struct sign_service *service)
{
    return service->pid;
}

int sign_service_socket(const struct sign_service *service)
{
    return service->jobs;
}

uint64_t sign_service_next_id(struct sign_service *service)
{
    return ++service->last_id;
}

/* --- Keys --- */

/* Has no answer. It waits only while the socket is full, which takes hundreds of keys: a reload
 * must not leave them behind. */
static void unload(struct sign_service *service, uint32_t number)
{
    const struct key_request request = {.kind = KEY_UNLOAD, .number = number};
    int flags = MSG_NOSIGNAL | (service->keys_lost ? MSG_DONTWAIT : 0);
    if (service->keys >= 0 &&
        send(service->keys, &request, offsetof(struct key_request, path), flags) < 0) {
        service->keys_lost = true;
    }
}

/* False: it is still lost. Never waits, so that of many questions only the first one does. */
static bool is_back(struct sign_service *service)
{
    struct key_answer answer = {0};
    struct pollfd room = {.fd = service->keys, .events = POLLOUT};
    bool due = service->keys_lost && service->late.is_due;
    if (due && recv(service->keys, &answer, sizeof answer, MSG_DONTWAIT) <= 0) {
        return false;
    }
    service->keys_lost = service->keys_lost && poll(&room, 1, 0) != 1;
    service->late.is_due = false;
    if (due && service->late.kind == KEY_LOAD && answer.ok) {
        unload(service, answer.number); /* nobody waits for it any more */
    }
    return !service->keys_lost;
}

/* Returns the bytes of the answer's content, or -1. */
static ssize_t ask(struct sign_service *service, const struct key_request *request, size_t len,
                   struct key_answer *answer)
{
    ssize_t got = -1;
    if (service->keys < 0 || !is_back(service)) {
        return -1;
    }
    if (send(service->keys, request, len, MSG_NOSIGNAL) == (ssize_t)len) {
        service->late = (struct sign_late){.is_due = true, .kind = request->kind};
        do {
            got = recv(service->keys, answer, sizeof *answer, 0);
        } while (got < 0 && errno == EINTR);
    }
    service->keys_lost = got < (ssize_t)offsetof(struct key_answer, content);
    service->late.is_due = service->late.is_due && service->keys_lost;
    return service->keys_lost ? -1 : got - (ssize_t)offsetof(struct key_answer, content);
}

static struct sign_key *take_key(struct sign_service *service, const struct key_answer *answer,
                                 size_t len)
{
    const unsigned char *der = (const unsigned char *)answer->content;
    EVP_PKEY *public_half = d2i_PUBKEY(NULL, &der, (long)len);
    if (public_half == NULL) {
        mem_exhausted(); /* the other side has just written it */
    }
    struct sign_key *key = mem_alloc(sizeof *key);
    *key = (struct sign_key){
        .references = 1, .service = service, .number = answer->number, .public_half = public_half};
    service->references++;
    return key;
}

struct sign_key *sign_key_load(struct sign_service *service, const char *path, char **error)
{
    struct key_request request = {.kind = KEY_LOAD};
    struct key_answer answer = {0};
    int len = snprintf(request.path, sizeof request.path, "%s", path);
    if (len < 0 || (size_t)len >= sizeof request.path) {
        *error = mem_printf("%.64s...: is too long a path", path);
        return NULL;
    }
    size_t size = offsetof(struct key_request, path) + (size_t)len + 1;
    ssize_t content = ask(service, &request, size, &answer);
    if (content < 0) {
        *error = mem_printf("%s: the signing process does not answer: try again, or restart", path);
        return NULL;
    }
    if (!answer.ok) {
        *error = mem_dup(answer.content, (size_t)content);
        return NULL;
    }
    return take_key(service, &answer, (size_t)content);
}

struct sign_key *sign_key_unref(struct sign_key *key)
{
    if (key != NULL && --key->references == 0) {
        unload(key->service, key->number);
        EVP_PKEY_free(key->public_half);
        (void)unref(key->service);
        free(key);
    }
    return NULL;
}

EVP_PKEY *sign_key_public(const struct sign_key *key)
{
    return key->public_half;
}

uint32_t sign_key_number(const struct sign_key *key)
{
    return key->number;
}

bool sign_service_resize(struct sign_service *service, unsigned threads)
{
    const struct key_request request = {.kind = KEY_THREADS, .number = threads};
    struct key_answer answer = {0};
    bool answered = ask(service, &request, offsetof(struct key_request, path), &answer) >= 0;
    service->is_unlocked = answered && answer.number == 0;
    return answered && answer.ok;
}

bool sign_service_answers(const struct sign_service *service)
{
    return !service->keys_lost;
}

bool sign_service_is_locked(const struct sign_service *service)
{
    return !service->is_unlocked;
}

/* --- The backend --- */

char *sign_service_choose(struct sign_service *service, enum backend_choice choice, char **why)
{
    const struct key_request request = {.kind = KEY_BACKEND, .number = (uint32_t)choice};
    struct key_answer answer = {0};
    ssize_t content = ask(service, &request, offsetof(struct key_request, path), &answer);
    if (content < 0) {
        *why = mem_strdup("the signing process does not answer");
        return NULL;
    }
    char *text = mem_dup(answer.content, (size_t)content);
    if (!answer.ok) {
        *why = text;
        return NULL;
    }
    service->backend = answer.number == SIGN_BY_CRYPTO_MB ? SIGN_BY_CRYPTO_MB : SIGN_BY_OPENSSL;
    return text;
}

enum sign_backend sign_service_backend(const struct sign_service *service)
{
    return service->backend;
}
