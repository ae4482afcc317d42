/* libmicrohttpd has an epoll set of its own. The loop watches that set's descriptor, and a timer
 * handles the library's timeouts.
 *
 * This file limits connections itself: libmicrohttpd restarts its timeout with each byte, and at
 * its limit of connections it stops listening until it is called again after one has ended. Here a
 * connection is closed by shutdown(2); the library then frees it as if the peer had closed it. */
#include "presignd/ops/admin.h"

#include "presignd/base/address.h"
#include "presignd/base/clock.h"
#include "presignd/base/list.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    WAIT_MS = 10000,
    /* Beyond ADMIN_CONNECTIONS_MAX, for connections that are accepted while others close. */
    SURPLUS = 16,
    /* Consecutive calls of the library: it accepts only in the call after one that freed. */
    RUNS_MAX = 4,
    CONNECTION_BYTES_MAX = 16 * 1024, /* for a request's head */
    BACKLOG = 64,
    SOCKET_MODE = 0660,
    /* A connection that cannot be accepted for lack of descriptors keeps the set ready. After this
     * many rounds without an event, the listener is paused for PAUSE_MS. */
    EMPTY_ROUNDS_MAX = 64,
    PAUSE_MS = 500,
};

struct client {
    struct list_link link; /* in the admin's clients, until it is shut down */
    bool listed;
    bool asked; /* the head of its request is complete, and it gets its answer */
    int fd;
    int64_t end_ms; /* monotonic deadline of its request, or of its answer */
};

struct admin {
    const struct admin_page *pages;
    size_t page_count;
    void *context;
    struct loop_fd *watch;
    struct loop_timer timer;
    struct MHD_Daemon *http;
    int port;
    char *path; /* of a Unix socket, else NULL */
    dev_t device;
    ino_t inode;         /* of the socket's file: another process may replace it */
    struct list clients; /* by end_ms */
    int64_t wait_ms;
    bool freed;            /* the current call of the library freed a connection */
    unsigned empty_rounds; /* since the last connection, disconnection or request */
};

static enum MHD_Result respond(struct MHD_Connection *connection, unsigned status,
                               const char *content_type, struct buf *body)
{
    size_t len = body->len;
    char *bytes = buf_take(body);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(len, bytes, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(bytes);
        return MHD_NO; /* closes the connection */
    }
    enum MHD_Result done = MHD_add_response_header(response, "Content-Type", content_type);
    if (done == MHD_YES) {
        done = MHD_add_response_header(response, "Cache-Control", "no-store");
    }
    if (done == MHD_YES && status == MHD_HTTP_METHOD_NOT_ALLOWED) {
        done = MHD_add_response_header(response, "Allow", "GET, HEAD");
    }
    if (done == MHD_YES) {
        done = MHD_queue_response(connection, status, response);
    }
    MHD_destroy_response(response);
    return done;
}

static enum MHD_Result respond_text(struct MHD_Connection *connection, unsigned status,
                                    const char *text)
{
    AUTO_BUF struct buf body = {0};
    buf_puts(&body, text);
    return respond(connection, status, "text/plain; charset=utf-8", &body);
}

static struct client *client_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

/* Sets a new deadline, at most twice for a request: after its head, and after its answer. */
static void client_renew(struct admin *admin, struct client *client, bool asked)
{
    if (client == NULL || !client->listed) {
        return;
    }
    client->asked = asked;
    client->end_ms = clock_now(&clock_system).mono_ms + admin->wait_ms;
    list_remove(&admin->clients, &client->link);
    list_push_back(&admin->clients, &client->link);
}

/* The path of a request target. Servers have to accept the absolute form (RFC 9112, 3.2.2). */
static const char *path_of(const char *target)
{
    const char *authority = *target == '/' ? NULL : strstr(target, "://");
    if (authority == NULL) {
        return target;
    }
    const char *path = strchr(authority + 3, '/');
    return path != NULL ? path : "/";
}

/* libmicrohttpd calls this when the head is complete. Answering at once skips the body. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_len, void **request)
{
    struct admin *admin = context;
    (void)version, (void)upload, (void)request;
    *upload_len = 0;
    admin->empty_rounds = 0;
    client_renew(admin, client_of(connection), true);
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        return respond_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    const char *path = path_of(url);
    for (size_t i = 0; i < admin->page_count; i++) {
        const struct admin_page *page = &admin->pages[i];
        if (strcmp(path, page->path) == 0) {
            AUTO_BUF struct buf body = {0};
            int status = page->write(admin->context, &body);
            return respond(connection, (unsigned)status, page->content_type, &body);
        }
    }
    return respond_text(connection, MHD_HTTP_NOT_FOUND, "no such page\n");
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode code)
{
    (void)request, (void)code;
    client_renew(context, client_of(connection), false);
}

/* `client` is off the list already. */
static void shut_down(struct client *client)
{
    client->listed = false;
    (void)shutdown(client->fd, SHUT_RDWR);
}

static void shut_down_overdue(struct admin *admin, int64_t now_ms)
{
    struct list_link *first;
    while ((first = list_first(&admin->clients)) != NULL) {
        struct client *client = CONTAINER_OF(first, struct client, link);
        if (client->end_ms > now_ms) {
            return;
        }
        (void)list_pop_front(&admin->clients);
        shut_down(client);
    }
}

/* At the limit, shuts down the oldest connection without a complete request. */
static void make_room(struct admin *admin, const struct client *newest)
{
    if (admin->clients.count <= ADMIN_CONNECTIONS_MAX) {
        return;
    }
    LIST_FOREACH (&admin->clients, link) {
        struct client *client = CONTAINER_OF(link, struct client, link);
        if (!client->asked && client != newest) {
            list_remove(&admin->clients, &client->link);
            shut_down(client);
            return;
        }
    }
}

static void client_begin(struct admin *admin, struct MHD_Connection *connection, void **own)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct client *client = mem_zalloc(1, sizeof *client);
    client->listed = true;
    client->fd = info->connect_fd;
    client->end_ms = clock_now(&clock_system).mono_ms + admin->wait_ms;
    list_push_back(&admin->clients, &client->link);
    *own = client;
    make_room(admin, client);
}

static void on_connection(void *context, struct MHD_Connection *connection, void **own,
                          enum MHD_ConnectionNotificationCode code)
{
    struct admin *admin = context;
    struct client *client = *own;
    admin->empty_rounds = 0;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        client_begin(admin, connection, own);
        return;
    }
    if (client->listed) {
        list_remove(&admin->clients, &client->link);
    }
    free(client);
    *own = NULL;
    admin->freed = true;
}

/* Sets the timer to the next deadline, ours or the library's. */
static void arm(struct admin *admin, int64_t now_ms)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;
    const struct list_link *first = list_first(&admin->clients);
    int64_t next_ms = first == NULL ? INT64_MAX : CONTAINER_OF(first, struct client, link)->end_ms;
    if (admin->freed) {
        next_ms = now_ms;
    } else if (MHD_get_timeout(admin->http, &wait_ms) == MHD_YES &&
               now_ms + (int64_t)wait_ms < next_ms) {
        next_ms = now_ms + (int64_t)wait_ms;
    }
    if (next_ms == INT64_MAX) {
        loop_timer_stop(&admin->timer);
    } else {
        loop_timer_set(&admin->timer, next_ms);
    }
}

/* Lets libmicrohttpd work, and sets the timer for its next call. */
static void run(struct admin *admin)
{
    int64_t now_ms = clock_now(&clock_system).mono_ms;
    shut_down_overdue(admin, now_ms);
    for (int i = 0; i < RUNS_MAX; i++) {
        admin->freed = false;
        (void)MHD_run(admin->http);
        if (!admin->freed) {
            break;
        }
    }
    arm(admin, now_ms);
}

static void on_ready(void *context, uint32_t epoll_events)
{
    struct admin *admin = context;
    (void)epoll_events;
    admin->empty_rounds++;
    run(admin);
    if (admin->empty_rounds >= EMPTY_ROUNDS_MAX) {
        loop_fd_modify(admin->watch, 0);
        loop_timer_set(&admin->timer, clock_now(&clock_system).mono_ms + PAUSE_MS);
    }
}

static void on_timer(void *context)
{
    struct admin *admin = context;
    if (admin->empty_rounds >= EMPTY_ROUNDS_MAX) {
        admin->empty_rounds = 0;
        loop_fd_modify(admin->watch, EPOLLIN);
    }
    run(admin);
}

/* A socket without a listener refuses connections. False with errno when the path is taken by
 * anything else. */
static bool remove_stale(const union address *address)
{
    struct stat file;
    if (lstat(address->un.sun_path, &file) != 0) {
        return errno == ENOENT;
    }
    int fd = S_ISSOCK(file.st_mode) ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
                                    : -1;
    bool refused =
        fd >= 0 && connect(fd, &address->any, address_len(address)) != 0 && errno == ECONNREFUSED;
    if (fd >= 0) {
        close(fd);
    }
    errno = EADDRINUSE;
    return refused && unlink(address->un.sun_path) == 0;
}

/* Connections are possible only after listen(), when the mode is set. */
static bool bind_to(int fd, const union address *address)
{
    int yes = 1;
    bool is_unix = address->any.sa_family == AF_UNIX;
    bool ready = is_unix ? remove_stale(address)
                         : setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0;
    return ready && bind(fd, &address->any, address_len(address)) == 0 &&
           (!is_unix || chmod(address->un.sun_path, SOCKET_MODE) == 0);
}

static int listen_socket(const union address *address)
{
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    if (!bind_to(fd, address) || listen(fd, BACKLOG) != 0) {
        int failure = errno;
        close(fd);
        errno = failure;
        return -1;
    }
    return fd;
}

static int bound_port(int fd)
{
    union address address = {0};
    socklen_t len = sizeof address;
    return getsockname(fd, &address.any, &len) == 0 ? address_port(&address) : 0;
}

/* Notes which file to remove at the end. */
static void note_path(struct admin *admin, const union address *address)
{
    struct stat file;
    if (address->any.sa_family == AF_UNIX && lstat(address->un.sun_path, &file) == 0) {
        admin->path = mem_strdup(address->un.sun_path);
        admin->device = file.st_dev;
        admin->inode = file.st_ino;
    }
}

static void remove_path(struct admin *admin)
{
    struct stat file;
    if (admin->path != NULL && lstat(admin->path, &file) == 0 && file.st_dev == admin->device &&
        file.st_ino == admin->inode) {
        (void)unlink(admin->path);
    }
    free(admin->path);
}

/* Takes over the socket, unless it returns NULL. */
static struct MHD_Daemon *start_http(struct admin *admin, int fd)
{
    return MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, admin,
                            MHD_OPTION_LISTEN_SOCKET, (MHD_socket)fd, MHD_OPTION_CONNECTION_LIMIT,
                            (unsigned)(ADMIN_CONNECTIONS_MAX + SURPLUS),
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES_MAX,
                            MHD_OPTION_NOTIFY_CONNECTION, on_connection, admin,
                            MHD_OPTION_NOTIFY_COMPLETED, on_completed, admin, MHD_OPTION_END);
}

static bool attach(struct admin *admin, struct loop *loop)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(admin->http, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL) {
        errno = ENOTSUP;
        return false;
    }
    admin->watch = loop_fd_add(loop, info->epoll_fd, EPOLLIN, on_ready, admin);
    return admin->watch != NULL;
}

struct admin *admin_new(struct loop *loop, const char *listen, const struct admin_page *pages,
                        size_t page_count, void *context, char **error)
{
    union address address;
    if (!address_parse(listen, &address)) {
        *error = mem_printf("admin_listen: %s is neither a numeric address with a port nor "
                            "unix: and an absolute path",
                            listen);
        return NULL;
    }
    int fd = listen_socket(&address);
    if (fd < 0) {
        *error = mem_printf("admin_listen: cannot listen on %s: %s", listen, strerror(errno));
        return NULL;
    }
    struct admin *admin = mem_zalloc(1, sizeof *admin);
    *admin = (struct admin){
        .pages = pages, .page_count = page_count, .context = context, .wait_ms = WAIT_MS};
    list_init(&admin->clients);
    admin->port = bound_port(fd);
    note_path(admin, &address);
    loop_timer_init(&admin->timer, loop, on_timer, admin);
    admin->http = start_http(admin, fd);
    if (admin->http == NULL) {
        close(fd);
    }
    if (admin->http == NULL || !attach(admin, loop)) {
        *error = mem_printf("admin_listen: cannot serve %s: %s", listen, strerror(errno));
        return admin_free(admin);
    }
    return admin;
}

struct admin *admin_free(struct admin *admin)
{
    if (admin == NULL) {
        return NULL;
    }
    loop_timer_stop(&admin->timer);
    if (admin->watch != NULL) {
        loop_fd_remove(admin->watch);
    }
    if (admin->http != NULL) {
        MHD_stop_daemon(admin->http);
    }
    remove_path(admin);
    free(admin);
    return NULL;
}

void admin_set_wait(struct admin *admin, int64_t wait_ms)
{
    admin->wait_ms = wait_ms;
}

int admin_port(const struct admin *admin)
{
    return admin->port;
}
