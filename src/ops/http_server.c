/* libmicrohttpd has an epoll set of its own. The loop watches that set's descriptor, and a timer
 * handles the library's timeouts.
 *
 * This file limits connections itself: libmicrohttpd restarts its timeout with each byte, and at
 * its limit of connections it stops listening until it is called again after one has ended. Here a
 * connection is closed by shutdown(2); the library then frees it as if the peer had closed it. */
#include "presignd/ops/http_server.h"

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
    /* Beyond HTTP_CONNECTIONS_MAX, for connections that are accepted while others close. */
    SURPLUS = 16,
    /* Consecutive calls of the library: it accepts only in the call after one that freed. */
    RUNS_MAX = 4,
    CONNECTION_BYTES_MAX = 16 * 1024, /* for a request's head */
    BACKLOG = 64,
    RETIRE_MS = 1000,
    CONTENT_TOO_LARGE = 413, /* libmicrohttpd has changed the name of its constant */
    /* A connection that cannot be accepted for lack of descriptors keeps the set ready. After this
     * many rounds without an event, the listener is paused for PAUSE_MS. */
    EMPTY_ROUNDS_MAX = 64,
    PAUSE_MS = 500,
};

struct client {
    struct list_link link; /* in the server's clients, until it is shut down */
    bool listed;
    bool asked; /* its request is complete, and it gets its answer */
    int fd;
    int64_t uid;    /* of the peer, on a Unix socket */
    int64_t end_ms; /* monotonic deadline of its request, or of its answer */
};

struct http_server {
    struct http_server_config config;
    struct loop_fd *watch;
    struct loop_timer timer;
    struct MHD_Daemon *http;
    int port;
    char *path; /* of a Unix socket, else NULL */
    dev_t device;
    ino_t inode;         /* of the socket's file: another process may replace it */
    struct list clients; /* by end_ms */
    int64_t wait_ms;
    bool freed;                /* the current call of the library freed a connection */
    unsigned empty_rounds;     /* since the last connection, disconnection or request */
    struct http_server **slot; /* retired: where the pointer to it is */
    int64_t retired_ms;        /* mono: when it is freed at the latest */
};

/* A request whose body is being read. */
struct upload {
    struct buf body;
    bool too_large;
};

/* An answer's headers. NULL: left out. */
struct head {
    unsigned status;
    const char *content_type, *allow, *location, *connection;
};

static bool add_headers(struct MHD_Response *response, const struct head *head)
{
    const char *const headers[][2] = {
        {"Content-Type", head->content_type},
        {"Cache-Control", "no-store"},
        {"Allow", head->allow},
        {"Location", head->location},
        {"Connection", head->connection},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(headers); i++) {
        if (headers[i][1] != NULL &&
            MHD_add_response_header(response, headers[i][0], headers[i][1]) != MHD_YES) {
            return false;
        }
    }
    return true;
}

static enum MHD_Result respond(const struct http_server *server, struct MHD_Connection *connection,
                               struct head head, struct buf *body)
{
    size_t len = body->len;
    char *bytes = buf_take(body);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(len, bytes, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(bytes);
        return MHD_NO; /* closes the connection */
    }
    head.connection = server->slot != NULL ? "close" : NULL;
    enum MHD_Result done = add_headers(response, &head)
                               ? MHD_queue_response(connection, head.status, response)
                               : MHD_NO;
    MHD_destroy_response(response);
    return done;
}

static enum MHD_Result respond_error(const struct http_server *server,
                                     struct MHD_Connection *connection, struct head head,
                                     const char *text)
{
    AUTO_BUF struct buf body = {0};
    if (server->config.json) {
        buf_putc(&body, '{');
        buf_json_member(&body, "error", text);
        buf_putc(&body, '}');
    } else {
        buf_puts(&body, text);
    }
    buf_putc(&body, '\n');
    head.content_type = server->config.json ? "application/json" : "text/plain; charset=utf-8";
    return respond(server, connection, head, &body);
}

static struct client *client_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

/* Sets a new deadline, at most twice for a request: after its head, and after its answer. */
static void client_renew(struct http_server *server, struct client *client, bool asked)
{
    if (client == NULL || !client->listed) {
        return;
    }
    client->asked = asked;
    client->end_ms = clock_mono_ms() + server->wait_ms;
    list_remove(&server->clients, &client->link);
    list_push_back(&server->clients, &client->link);
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

static bool takes(const struct http_route *route, const char *method)
{
    return strcmp(route->method, method) == 0 || (strcmp(route->method, MHD_HTTP_METHOD_GET) == 0 &&
                                                  strcmp(method, MHD_HTTP_METHOD_HEAD) == 0);
}

/* The route of the path, preferably one that takes the method; NULL: no such path. */
static const struct http_route *route_of(const struct http_server *server, const char *path,
                                         const char *method)
{
    const struct http_route *other = NULL;
    for (size_t i = 0; i < server->config.route_count; i++) {
        const struct http_route *route = &server->config.routes[i];
        if (strcmp(path, route->path) == 0) {
            if (takes(route, method)) {
                return route;
            }
            other = route;
        }
    }
    return other;
}

static enum MHD_Result answer(struct http_server *server, struct MHD_Connection *connection,
                              const struct http_route *route, const struct buf *received)
{
    AUTO_BUF struct buf body = {0};
    const struct client *client = client_of(connection);
    const struct http_request request = {.data = route->data,
                                         .body = received,
                                         .uid = client == NULL ? -1 : client->uid,
                                         .connection = connection};
    if (route->answer == NULL) {
        return respond(server, connection,
                       (struct head){.status = MHD_HTTP_FOUND, .location = route->location}, &body);
    }
    int status = route->answer(server->config.context, &request, &body);
    return respond(server, connection,
                   (struct head){.status = (unsigned)status, .content_type = route->content_type},
                   &body);
}

static enum MHD_Result dispatch(struct http_server *server, struct MHD_Connection *connection,
                                const char *url, const char *method, const struct buf *received)
{
    const struct http_route *route = route_of(server, path_of(url), method);
    server->empty_rounds = 0;
    client_renew(server, client_of(connection), true);
    if (server->slot != NULL) {
        return respond_error(server, connection,
                             (struct head){.status = MHD_HTTP_SERVICE_UNAVAILABLE},
                             "this socket is closed: the configuration was changed");
    }
    if (route == NULL) {
        return respond_error(server, connection, (struct head){.status = MHD_HTTP_NOT_FOUND},
                             "no such page");
    }
    if (!takes(route, method)) {
        bool get = strcmp(route->method, MHD_HTTP_METHOD_GET) == 0;
        return respond_error(server, connection,
                             (struct head){.status = MHD_HTTP_METHOD_NOT_ALLOWED,
                                           .allow = get ? "GET, HEAD" : "POST"},
                             get ? "only GET and HEAD" : "only POST");
    }
    return answer(server, connection, route, received);
}

static enum MHD_Result refuse_body(struct http_server *server, struct MHD_Connection *connection)
{
    AUTO_FREE char *text = mem_printf("the body has more than %zu bytes", server->config.body_max);
    client_renew(server, client_of(connection), true);
    return respond_error(server, connection, (struct head){.status = CONTENT_TOO_LARGE}, text);
}

/* A body without a length is cut while it is read. */
static bool announces_too_much(const struct http_server *server, struct MHD_Connection *connection)
{
    int64_t len = 0;
    const char *text = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
    return text != NULL && !text_int(text, 0, (int64_t)server->config.body_max, &len);
}

static void take_body(const struct http_server *server, struct upload *upload, const char *bytes,
                      size_t len)
{
    upload->too_large = upload->too_large || len > server->config.body_max - upload->body.len;
    if (!upload->too_large) {
        buf_append(&upload->body, bytes, len);
    }
}

/* libmicrohttpd calls this when the head is complete, then with each part of the body, and without
 * one at its end. Answering the first call skips the body. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *, const char *bytes, size_t *len,
                                  void **request)
{
    struct http_server *server = context;
    struct upload *upload = *request;
    if (server->config.body_max == 0) {
        static const struct buf none;
        *len = 0;
        return dispatch(server, connection, url, method, &none);
    }
    if (upload == NULL) {
        *request = mem_zalloc(1, sizeof *upload);
        return announces_too_much(server, connection) ? refuse_body(server, connection) : MHD_YES;
    }
    if (*len > 0) {
        take_body(server, upload, bytes, *len);
        *len = 0;
        return MHD_YES;
    }
    return upload->too_large ? refuse_body(server, connection)
                             : dispatch(server, connection, url, method, &upload->body);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode)
{
    struct upload *upload = *request;
    if (upload != NULL) {
        buf_deinit(&upload->body);
        free(upload);
        *request = NULL;
    }
    client_renew(context, client_of(connection), false);
}

const char *http_argument(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

/* `client` is off the list already. */
static void shut_down(struct client *client)
{
    client->listed = false;
    (void)shutdown(client->fd, SHUT_RDWR);
}

static void shut_down_overdue(struct http_server *server, int64_t now_ms)
{
    struct list_link *first;
    while ((first = list_first(&server->clients)) != NULL) {
        struct client *client = CONTAINER_OF(first, struct client, link);
        if (client->end_ms > now_ms) {
            return;
        }
        (void)list_pop_front(&server->clients);
        shut_down(client);
    }
}

/* At the limit, shuts down the oldest connection without a complete request. */
static void make_room(struct http_server *server, const struct client *newest)
{
    if (server->clients.count <= HTTP_CONNECTIONS_MAX) {
        return;
    }
    LIST_FOREACH (&server->clients, link) {
        struct client *client = CONTAINER_OF(link, struct client, link);
        if (!client->asked && client != newest) {
            list_remove(&server->clients, &client->link);
            shut_down(client);
            return;
        }
    }
}

static int64_t peer_uid(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 ? (int64_t)peer.uid : -1;
}

static void client_begin(struct http_server *server, struct MHD_Connection *connection, void **own)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct client *client = mem_zalloc(1, sizeof *client);
    client->listed = true;
    client->fd = info->connect_fd;
    client->uid = server->path == NULL ? -1 : peer_uid(client->fd);
    client->end_ms = clock_mono_ms() + server->wait_ms;
    list_push_back(&server->clients, &client->link);
    *own = client;
    make_room(server, client);
}

static void on_connection(void *context, struct MHD_Connection *connection, void **own,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *server = context;
    struct client *client = *own;
    server->empty_rounds = 0;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        client_begin(server, connection, own);
        return;
    }
    if (client->listed) {
        list_remove(&server->clients, &client->link);
    }
    free(client);
    *own = NULL;
    server->freed = true;
}

/* When a retired server is to be freed: when its last connection has ended, within a second. */
static int64_t retired_end_ms(const struct http_server *server, int64_t now_ms)
{
    return server->slot == NULL           ? INT64_MAX
           : list_empty(&server->clients) ? now_ms
                                          : server->retired_ms;
}

/* Sets the timer to the next deadline, ours or the library's. */
static void arm(struct http_server *server, int64_t now_ms)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;
    const struct list_link *first = list_first(&server->clients);
    int64_t next_ms = first == NULL ? INT64_MAX : CONTAINER_OF(first, struct client, link)->end_ms;
    int64_t end_ms = retired_end_ms(server, now_ms);
    next_ms = end_ms < next_ms ? end_ms : next_ms;
    if (server->freed) {
        next_ms = now_ms;
    } else if (MHD_get_timeout(server->http, &wait_ms) == MHD_YES &&
               now_ms + (int64_t)wait_ms < next_ms) {
        next_ms = now_ms + (int64_t)wait_ms;
    }
    if (next_ms == INT64_MAX) {
        loop_timer_stop(&server->timer);
    } else {
        loop_timer_set(&server->timer, next_ms);
    }
}

/* Lets libmicrohttpd work, and sets the timer for its next call. */
static void run(struct http_server *server)
{
    int64_t now_ms = clock_mono_ms();
    shut_down_overdue(server, now_ms);
    for (int i = 0; i < RUNS_MAX; i++) {
        server->freed = false;
        (void)MHD_run(server->http);
        if (!server->freed) {
            break;
        }
    }
    arm(server, now_ms);
}

static void on_ready(void *context, uint32_t)
{
    struct http_server *server = context;
    server->empty_rounds++;
    run(server);
    if (server->empty_rounds >= EMPTY_ROUNDS_MAX) {
        loop_fd_modify(server->watch, 0);
        loop_timer_set(&server->timer, clock_mono_ms() + PAUSE_MS);
    }
}

static void on_timer(void *context)
{
    struct http_server *server = context;
    int64_t now_ms = clock_mono_ms();
    if (retired_end_ms(server, now_ms) <= now_ms) {
        struct http_server **slot = server->slot;
        *slot = http_server_free(server);
        return;
    }
    if (server->empty_rounds >= EMPTY_ROUNDS_MAX) {
        server->empty_rounds = 0;
        loop_fd_modify(server->watch, EPOLLIN);
    }
    run(server);
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
static bool bind_to(int fd, const union address *address, mode_t mode)
{
    int yes = 1;
    bool is_unix = address->any.sa_family == AF_UNIX;
    bool ready = is_unix ? remove_stale(address)
                         : setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0;
    return ready && bind(fd, &address->any, address_len(address)) == 0 &&
           (!is_unix || chmod(address->un.sun_path, mode) == 0);
}

static int listen_socket(const union address *address, mode_t mode)
{
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    if (!bind_to(fd, address, mode) || listen(fd, BACKLOG) != 0) {
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
static void note_path(struct http_server *server, const union address *address)
{
    struct stat file;
    if (address->any.sa_family == AF_UNIX && lstat(address->un.sun_path, &file) == 0) {
        server->path = mem_strdup(address->un.sun_path);
        server->device = file.st_dev;
        server->inode = file.st_ino;
    }
}

static void remove_path(struct http_server *server)
{
    struct stat file;
    if (server->path != NULL && lstat(server->path, &file) == 0 && file.st_dev == server->device &&
        file.st_ino == server->inode) {
        (void)unlink(server->path);
    }
    free(server->path);
}

/* Takes over the socket, unless it returns NULL. */
static struct MHD_Daemon *start_http(struct http_server *server, int fd)
{
    return MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, server,
                            MHD_OPTION_LISTEN_SOCKET, (MHD_socket)fd, MHD_OPTION_CONNECTION_LIMIT,
                            (unsigned)(HTTP_CONNECTIONS_MAX + SURPLUS),
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES_MAX,
                            MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,
                            MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_END);
}

static bool attach(struct http_server *server, struct loop *loop)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(server->http, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL) {
        errno = ENOTSUP;
        return false;
    }
    server->watch = loop_fd_add(loop, info->epoll_fd, EPOLLIN, on_ready, server);
    return server->watch != NULL;
}

struct http_server *http_server_new(struct loop *loop, const char *listen,
                                    const struct http_server_config *config, char **error)
{
    union address address;
    if (!address_parse(listen, &address)) {
        *error = mem_printf("%s: %s is neither a numeric address with a port nor "
                            "unix: and an absolute path",
                            config->key, listen);
        return NULL;
    }
    int fd = listen_socket(&address, config->mode);
    if (fd < 0) {
        *error = mem_printf("%s: cannot listen on %s: %s", config->key, listen, strerror(errno));
        return NULL;
    }
    struct http_server *server = mem_zalloc(1, sizeof *server);
    *server = (struct http_server){.config = *config, .wait_ms = WAIT_MS};
    list_init(&server->clients);
    server->port = bound_port(fd);
    note_path(server, &address);
    loop_timer_init(&server->timer, loop, on_timer, server);
    server->http = start_http(server, fd);
    if (server->http == NULL) {
        close(fd);
    }
    if (server->http == NULL || !attach(server, loop)) {
        *error = mem_printf("%s: cannot serve %s: %s", config->key, listen, strerror(errno));
        return http_server_free(server);
    }
    return server;
}

struct http_server *http_server_free(struct http_server *server)
{
    if (server == NULL) {
        return NULL;
    }
    loop_timer_stop(&server->timer);
    if (server->watch != NULL) {
        loop_fd_remove(server->watch);
    }
    if (server->http != NULL) {
        MHD_stop_daemon(server->http);
    }
    remove_path(server);
    free(server);
    return NULL;
}

void http_server_retire(struct http_server *server, struct http_server **slot)
{
    if (server == NULL) {
        return;
    }
    *slot = http_server_free(*slot);
    *slot = server;
    server->slot = slot;
    server->retired_ms = clock_mono_ms() + RETIRE_MS;
    MHD_socket listener = MHD_quiesce_daemon(server->http);
    if (listener != MHD_INVALID_SOCKET) {
        close(listener);
    }
    remove_path(server);
    server->path = NULL;
    loop_timer_set(&server->timer, 0);
}

void http_server_set_wait(struct http_server *server, int64_t wait_ms)
{
    server->wait_ms = wait_ms;
}

int http_server_port(const struct http_server *server)
{
    return server->port;
}
