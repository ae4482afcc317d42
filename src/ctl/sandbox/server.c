/* The listening socket and the threads of its connections. One thread accepts; each connection has
 * its own (connection.c), since a request's RSA signatures take most of the time. */
#include "ctl/sandbox/sandbox.h"
#include "presignd/base/address.h"
#include "presignd/base/clock.h"
#include "presignd/base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    BACKLOG = 1024,
    CONNECTIONS_MAX = 8192,
    CONNECTIONS_MIN = 128,
    DESCRIPTORS_RESERVED = 256, /* for everything but connections */
    STACK_BYTES = 1 << 20,      /* enough for AddressSanitizer */
    PAUSE_MS = 10,              /* after the system had no descriptor or thread */
};

struct sandbox_server {
    struct sandbox_settings settings;
    struct loop *loop;
    SSL_CTX *tls;
    int listen_fd, stop_fd; /* stop_fd is readable once the server stops */
    pthread_t accepting;
    bool accepts;
    pthread_mutex_t lock; /* guards live */
    pthread_cond_t none_live;
    size_t live, live_max; /* connections */
    atomic_llong answered;
    atomic_int failure; /* errno of the ledger */
};

static bool all_answered(struct sandbox_server *server)
{
    return server->settings.max_requests > 0 &&
           atomic_load(&server->answered) >= server->settings.max_requests;
}

void sandbox_server_step(struct sandbox_server *server)
{
    if (atomic_load(&server->failure) != 0) {
        (void)fprintf(stderr, "presignctl sandbox: the ledger cannot be written: %s\n",
                      strerror(atomic_load(&server->failure)));
        loop_stop(server->loop, EX_UNAVAILABLE);
    } else if (all_answered(server)) {
        loop_stop(server->loop, EX_OK);
    }
}

void sandbox_server_note(struct sandbox_server *server, const struct sandbox_entry *entry)
{
    if (!sandbox_ledger_write(server->settings.ledger_fd, entry)) {
        atomic_store(&server->failure, errno);
        loop_wake(server->loop);
    }
}

void sandbox_server_answered(struct sandbox_server *server)
{
    atomic_fetch_add(&server->answered, 1);
    if (all_answered(server)) {
        loop_wake(server->loop);
    }
}

/* ---- connections */

struct task {
    struct sandbox_server *server;
    int fd;
    struct sandbox_fault fault;
};

static void end_task(struct task *task)
{
    struct sandbox_server *server = task->server;
    free(task);
    pthread_mutex_lock(&server->lock);
    server->live--;
    if (server->live == 0) {
        pthread_cond_signal(&server->none_live);
    }
    pthread_mutex_unlock(&server->lock);
}

static void *run_task(void *context)
{
    struct task *task = context;
    struct sandbox_server *server = task->server;
    sandbox_connection_serve(server, &server->settings, server->tls, task->fd, server->stop_fd,
                             task->fault);
    OPENSSL_thread_stop(); /* the server may be freed before a detached thread ends */
    end_task(task);
    return NULL;
}

static bool start_task(struct task *task)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    bool started = pthread_create(&thread, &attributes, run_task, task) == 0;
    pthread_attr_destroy(&attributes);
    return started;
}

/* False when the system has no descriptor or no thread. */
static bool accept_one(struct sandbox_server *server)
{
    const int yes = 1;
    int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        return errno == EAGAIN || errno == ECONNABORTED || errno == EINTR;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct task *task = mem_zalloc(1, sizeof *task);
    *task = (struct task){server, fd, sandbox_faults_choose_connection(server->settings.faults)};
    pthread_mutex_lock(&server->lock);
    server->live++;
    pthread_mutex_unlock(&server->lock);
    if (start_task(task)) {
        return true;
    }
    close(fd);
    end_task(task);
    return false;
}

static bool has_room(struct sandbox_server *server)
{
    pthread_mutex_lock(&server->lock);
    bool room = server->live < server->live_max;
    pthread_mutex_unlock(&server->lock);
    return room;
}

static void *run_accept(void *context)
{
    struct sandbox_server *server = context;
    bool room = true;
    for (;;) {
        struct pollfd polled[] = {{server->stop_fd, POLLIN, 0}, {server->listen_fd, POLLIN, 0}};
        int ready = poll(polled, room ? 2 : 1, room ? -1 : PAUSE_MS);
        if (polled[0].revents != 0 || (ready < 0 && errno != EINTR)) {
            return NULL;
        }
        room = has_room(server) && (polled[1].revents == 0 || accept_one(server));
    }
}

/* ---- life */

static bool parse_address(const char *text, union address *address)
{
    static const char name[] = "localhost:";
    AUTO_FREE char *numeric = strncmp(text, name, strlen(name)) == 0
                                  ? mem_printf("127.0.0.1:%s", text + strlen(name))
                                  : mem_strdup(text);
    return address_parse(numeric, address) && address->any.sa_family == AF_INET;
}

bool sandbox_address_valid(const char *address_text, bool *loopback)
{
    union address parsed;
    bool valid = parse_address(address_text, &parsed);
    *loopback = valid && ntohl(parsed.v4.sin_addr.s_addr) == INADDR_LOOPBACK;
    return valid;
}

int sandbox_listen(const char *address_text, int *port, char **error)
{
    union address address;
    socklen_t len = sizeof address;
    int yes = 1;
    if (!parse_address(address_text, &address)) {
        *error = mem_printf("--listen %s: not an IPv4 address and a port", address_text);
        return -1;
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, &address.any, address_len(&address)) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, &address.any, &len) != 0) {
        *error = mem_printf("--listen %s: %s", address_text, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    *port = address_port(&address);
    return fd;
}

/* Raises the soft limit of descriptors to the hard limit. */
static unsigned connection_limit(void)
{
    const rlim_t wanted = CONNECTIONS_MAX + DESCRIPTORS_RESERVED;
    struct rlimit limit = {.rlim_cur = wanted, .rlim_max = wanted};
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < CONNECTIONS_MIN + DESCRIPTORS_RESERVED) {
        return CONNECTIONS_MIN;
    }
    return limit.rlim_cur < wanted ? (unsigned)limit.rlim_cur - DESCRIPTORS_RESERVED
                                   : CONNECTIONS_MAX;
}

static bool load_pair(SSL_CTX *tls, const struct sandbox_keys *keys)
{
    AUTO_FREE char *certificate = mem_printf("%s/" SANDBOX_TLS_CERTIFICATE, keys->dir);
    AUTO_FREE char *key = mem_printf("%s/" SANDBOX_TLS_KEY, keys->dir);
    bool ok = SSL_CTX_use_certificate_file(tls, certificate, SSL_FILETYPE_PEM) == 1 &&
              SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) == 1;
    ERR_clear_error();
    return ok;
}

static bool open_parts(struct sandbox_server *server, char **error)
{
    server->tls = SSL_CTX_new(TLS_server_method());
    if (server->tls == NULL || SSL_CTX_set_min_proto_version(server->tls, TLS1_2_VERSION) != 1 ||
        !load_pair(server->tls, server->settings.keys)) {
        *error = mem_strdup("TLS cannot be set up: " SANDBOX_TLS_CERTIFICATE " and " SANDBOX_TLS_KEY
                            " must be a pair");
        return false;
    }
    (void)SSL_CTX_set_mode(server->tls, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                            SSL_MODE_RELEASE_BUFFERS);
    server->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->stop_fd < 0 || pthread_create(&server->accepting, NULL, run_accept, server) != 0) {
        *error = mem_strdup("the system has no descriptor or no thread");
        return false;
    }
    server->accepts = true;
    return true;
}

struct sandbox_server *sandbox_server_new(struct loop *loop, int fd,
                                          const struct sandbox_settings *settings, char **error)
{
    struct sandbox_server *server = mem_zalloc(1, sizeof *server);
    server->settings = *settings;
    server->loop = loop;
    server->listen_fd = fd;
    server->stop_fd = -1;
    server->live_max = connection_limit();
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->none_live, NULL);
    return open_parts(server, error) ? server : sandbox_server_free(server);
}

struct sandbox_server *sandbox_server_free(struct sandbox_server *server)
{
    if (server == NULL) {
        return NULL;
    }
    if (server->accepts) {
        (void)eventfd_write(server->stop_fd, 1);
        pthread_join(server->accepting, NULL);
    }
    pthread_mutex_lock(&server->lock);
    while (server->live > 0) {
        pthread_cond_wait(&server->none_live, &server->lock);
    }
    pthread_mutex_unlock(&server->lock);
    close(server->listen_fd);
    if (server->stop_fd >= 0) {
        close(server->stop_fd);
    }
    SSL_CTX_free(server->tls);
    pthread_cond_destroy(&server->none_live);
    pthread_mutex_destroy(&server->lock);
    free(server);
    return NULL;
}
