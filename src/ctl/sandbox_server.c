/* HTTPS by libmicrohttpd, whose threads do the work of requests from the first byte to the
 * last: RSA is what a request costs, and so it spreads over the cores by itself. An answer that
 * is to come later suspends its connection; the event loop's thread continues it. */
#include "presignd/base/clock.h"
#include "presignd/base/heap.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    /* WeChat Pay keeps an idle connection about as long. */
    IDLE_TIMEOUT_S = 8,
    BACKLOG = 1024,
    CONNECTIONS_MAX = 8192,
    CONNECTIONS_MIN = 128, /* one for each thread at least */
    /* Descriptors that are not connections: threads' epoll sets, files. */
    DESCRIPTORS_RESERVED = 256,
    DROPS = 8, /* of a slow body */
};

struct sandbox_server {
    struct sandbox_settings settings;
    struct loop *loop;
    struct loop_timer timer;
    struct MHD_Daemon *http;
    pthread_mutex_t lock; /* guards waiting and stopping */
    struct heap waiting;
    bool stopping;
    atomic_llong answered;
    atomic_int failure; /* errno of the ledger */
};

/* One request from its first line to the end of its answer. */
struct exchange {
    struct sandbox_server *server;
    struct MHD_Connection *connection;
    struct heap_slot slot;
    char *path;
    struct buf body;
    bool begun, body_too_large, decided, continued;
    struct sandbox_reply reply;
    int64_t next_drop_ms;
};

/* ---- connections that wait */

/* False when the server stops, which waits for nobody. */
static bool suspend_until(struct exchange *exchange, int64_t mono_ms)
{
    struct sandbox_server *server = exchange->server;
    pthread_mutex_lock(&server->lock);
    bool stopping = server->stopping;
    if (!stopping) {
        MHD_suspend_connection(exchange->connection);
        heap_set(&server->waiting, &exchange->slot, mono_ms);
    }
    bool first = heap_first(&server->waiting) == &exchange->slot;
    pthread_mutex_unlock(&server->lock);
    if (first) {
        loop_wake(server->loop);
    }
    return !stopping;
}

/* Under the lock. */
static void continue_until(struct sandbox_server *server, int64_t mono_ms)
{
    struct heap_slot *slot;
    while ((slot = heap_first(&server->waiting)) != NULL && slot->at <= mono_ms) {
        heap_remove(&server->waiting, slot);
        MHD_resume_connection(CONTAINER_OF(slot, struct exchange, slot)->connection);
    }
}

static bool all_answered(struct sandbox_server *server)
{
    return server->settings.max_requests > 0 &&
           atomic_load(&server->answered) >= server->settings.max_requests;
}

void sandbox_server_step(struct sandbox_server *server)
{
    pthread_mutex_lock(&server->lock);
    continue_until(server, clock_now(&clock_system).mono_ms);
    const struct heap_slot *next = heap_first(&server->waiting);
    int64_t next_ms = next == NULL ? -1 : next->at;
    pthread_mutex_unlock(&server->lock);
    if (next_ms >= 0) {
        loop_timer_set(&server->timer, next_ms);
    }
    if (atomic_load(&server->failure) != 0) {
        (void)fprintf(stderr, "presignctl sandbox: the ledger cannot be written: %s\n",
                      strerror(atomic_load(&server->failure)));
        loop_stop(server->loop, EX_UNAVAILABLE);
    } else if (all_answered(server)) {
        loop_stop(server->loop, EX_OK);
    }
}

/* The step does the work. */
static void on_timer(void *context)
{
    (void)context;
}

/* ---- what is sent */

static ssize_t drop(struct exchange *exchange, uint64_t at, char *out, size_t max)
{
    const struct sandbox_reply *reply = &exchange->reply;
    int64_t now_ms = clock_now(&clock_system).mono_ms;
    if (at > 0 && now_ms < exchange->next_drop_ms &&
        suspend_until(exchange, exchange->next_drop_ms)) {
        return 0;
    }
    exchange->next_drop_ms = now_ms + reply->body_ms / (DROPS - 1);
    size_t left = reply->body.len - (size_t)at;
    size_t len = reply->body.len / DROPS + 1;
    len = len < left ? len : left;
    len = len < max ? len : max;
    memcpy(out, reply->body.data + at, len);
    return (ssize_t)len;
}

/* libmicrohttpd asks for the bytes of a body that is slow, or shorter than announced. */
static ssize_t on_body_wanted(void *context, uint64_t at, char *out, size_t max)
{
    struct exchange *exchange = context;
    const struct sandbox_reply *reply = &exchange->reply;
    if (at >= reply->body.len) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    if (reply->body_ms > 0) {
        return drop(exchange, at, out, max);
    }
    size_t left = reply->body.len - (size_t)at;
    size_t len = left < max ? left : max;
    memcpy(out, reply->body.data + at, len);
    return (ssize_t)len;
}

static bool add(struct MHD_Response *response, const char *name, const char *value)
{
    return value == NULL || MHD_add_response_header(response, name, value) == MHD_YES;
}

static bool add_int(struct MHD_Response *response, const char *name, int64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, value);
    return add(response, name, text);
}

static bool add_headers(struct MHD_Response *response, const struct sandbox_reply *reply)
{
    bool ok = add(response, "Request-ID", reply->request_id) &&
              add(response, "Content-Type", reply->body.len == 0 ? NULL : reply->content_type) &&
              add(response, "Content-Encoding", reply->content_encoding) &&
              add(response, "Location", reply->location) &&
              (reply->retry_after_s < 0 || add_int(response, "Retry-After", reply->retry_after_s));
    if (ok && reply->serial != NULL) {
        ok = add(response, "Wechatpay-Serial", reply->serial) &&
             add_int(response, "Wechatpay-Timestamp", reply->timestamp_s) &&
             add(response, "Wechatpay-Nonce", reply->nonce) &&
             add(response, "Wechatpay-Signature", reply->signature.data) &&
             add(response, "Wechatpay-Signature-Type", "WECHATPAY2-SHA256-RSA2048");
    }
    return ok;
}

/* The exchange outlives the response: it is freed when the request is over. */
static struct MHD_Response *response_of(struct exchange *exchange)
{
    struct sandbox_reply *reply = &exchange->reply;
    if (reply->body_ms > 0 || reply->missing > 0) {
        return MHD_create_response_from_callback(reply->body.len + reply->missing, 1024,
                                                 on_body_wanted, exchange, NULL);
    }
    return MHD_create_response_from_buffer(reply->body.len, reply->body.data,
                                           MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result send_reply(struct exchange *exchange)
{
    struct MHD_Response *response = response_of(exchange);
    enum MHD_Result queued = MHD_NO;
    if (response != NULL && add_headers(response, &exchange->reply)) {
        queued = MHD_queue_response(exchange->connection, exchange->reply.status, response);
    }
    if (response != NULL) {
        MHD_destroy_response(response);
    }
    return queued;
}

/* A socket that is told to connect to nowhere sends a reset at once, and nothing that TLS would
 * say at its end can overtake it (connect(2), AF_UNSPEC). */
static enum MHD_Result reset(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    if (info != NULL) {
        (void)connect(info->connect_fd, &nowhere, sizeof nowhere);
    }
    return MHD_NO;
}

/* ---- what comes in */

static const char *header(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static void decide(struct exchange *exchange, const char *method)
{
    struct sandbox_server *server = exchange->server;
    const struct sandbox_settings *settings = &server->settings;
    struct MHD_Connection *connection = exchange->connection;
    const struct sandbox_request request = {
        .method = method,
        .path = exchange->path,
        .content_type = header(connection, "Content-Type"),
        .accept = header(connection, "Accept"),
        .user_agent = header(connection, "User-Agent"),
        .authorization = header(connection, "Authorization"),
        .serial = header(connection, "Wechatpay-Serial"),
        .body = exchange->body.data == NULL ? "" : exchange->body.data,
        .body_len = exchange->body.len,
        .body_too_large = exchange->body_too_large,
    };
    int64_t wall_ms = clock_now(&clock_system).wall_ms;
    struct sandbox_verdict verdict = {0};
    struct sandbox_fault fault = {0};
    sandbox_check(settings->rules, &request, wall_ms / 1000, &verdict);
    if (verdict.status == 0) {
        fault = sandbox_faults_choose(settings->faults, verdict.merchant->mchid,
                                      verdict.out_contract_code);
    }
    sandbox_reply_make(settings->keys, &verdict, fault, wall_ms / 1000, &exchange->reply);
    exchange->reply.delay_ms += settings->delay_ms;
    const struct sandbox_entry entry = {wall_ms, &request, &verdict, fault, &exchange->reply};
    if (!sandbox_ledger_write(settings->ledger_fd, &entry)) {
        atomic_store(&server->failure, errno);
        loop_wake(server->loop);
    }
    free(verdict.issue);
}

/* The whole request is here. Called again when the connection continues. */
static enum MHD_Result answer(struct exchange *exchange, const char *method)
{
    if (!exchange->decided) {
        exchange->decided = true;
        decide(exchange, method);
    }
    int64_t delay_ms = exchange->continued ? 0 : exchange->reply.delay_ms;
    exchange->continued = true;
    if (delay_ms > 0 && suspend_until(exchange, clock_now(&clock_system).mono_ms + delay_ms)) {
        return MHD_YES;
    }
    return exchange->reply.reset ? reset(exchange->connection) : send_reply(exchange);
}

/* libmicrohttpd's handler: once for the head, then for parts of the body, then at its end. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_len, void **request)
{
    struct exchange *exchange = *request;
    (void)context, (void)url, (void)version;
    if (!exchange->begun) {
        exchange->begun = true;
        return MHD_YES;
    }
    if (*upload_len == 0) {
        exchange->connection = connection;
        return answer(exchange, method);
    }
    exchange->body_too_large =
        exchange->body_too_large || exchange->body.len + *upload_len > SANDBOX_BODY_MAX;
    if (!exchange->body_too_large) {
        buf_append(&exchange->body, upload, *upload_len);
    }
    *upload_len = 0;
    return MHD_YES;
}

/* The only place that sees the path as it was sent, which is what was signed. */
static void *on_request_line(void *context, const char *uri, struct MHD_Connection *connection)
{
    (void)connection;
    struct exchange *exchange = mem_zalloc(1, sizeof *exchange);
    exchange->server = context;
    exchange->path = mem_strdup(uri);
    return exchange;
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode how)
{
    struct sandbox_server *server = context;
    struct exchange *exchange = *request;
    (void)connection, (void)how;
    if (exchange == NULL) {
        return;
    }
    if (exchange->decided) {
        atomic_fetch_add(&server->answered, 1);
        if (all_answered(server)) {
            loop_wake(server->loop);
        }
    }
    pthread_mutex_lock(&server->lock);
    heap_remove(&server->waiting, &exchange->slot);
    pthread_mutex_unlock(&server->lock);
    sandbox_reply_deinit(&exchange->reply);
    buf_deinit(&exchange->body);
    free(exchange->path);
    free(exchange);
    *request = NULL;
}

/* ---- life */

/* Only the loopback: the sandbox issues ids to everyone who holds its toy keys. */
static bool parse_address(const char *text, struct sockaddr_in *address)
{
    char host[INET_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    int64_t port;
    if (colon == NULL || (size_t)(colon - text) >= sizeof host ||
        !text_int(colon + 1, 0, UINT16_MAX, &port)) {
        return false;
    }
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    return inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host,
                     &address->sin_addr) == 1 &&
           ntohl(address->sin_addr.s_addr) == INADDR_LOOPBACK;
}

bool sandbox_address_valid(const char *address_text)
{
    struct sockaddr_in parsed;
    return parse_address(address_text, &parsed);
}

int sandbox_listen(const char *address_text, int *port, char **error)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    int yes = 1;
    if (!parse_address(address_text, &address)) {
        *error = mem_printf("--listen %s: is no address of the loopback", address_text);
        return -1;
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, BACKLOG) != 0 || getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        *error = mem_printf("--listen %s: %s", address_text, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    *port = ntohs(address.sin_port);
    return fd;
}

/* As many connections as descriptors allow once the soft limit is raised to the hard one. */
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

static struct MHD_Daemon *start_http(struct sandbox_server *server, int fd)
{
    const struct sandbox_settings *settings = &server->settings;
    return MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TLS, 0, NULL, NULL,
        on_request, server, MHD_OPTION_LISTEN_SOCKET, (MHD_socket)fd, MHD_OPTION_THREAD_POOL_SIZE,
        settings->threads, MHD_OPTION_HTTPS_MEM_KEY, settings->keys->tls_key,
        MHD_OPTION_HTTPS_MEM_CERT, settings->keys->tls_certificate, MHD_OPTION_CONNECTION_LIMIT,
        connection_limit(), MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S,
        MHD_OPTION_URI_LOG_CALLBACK, on_request_line, server, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, server, MHD_OPTION_END);
}

struct sandbox_server *sandbox_server_new(struct loop *loop, int fd,
                                          const struct sandbox_settings *settings, char **error)
{
    struct sandbox_server *server = mem_zalloc(1, sizeof *server);
    server->settings = *settings;
    server->loop = loop;
    pthread_mutex_init(&server->lock, NULL);
    loop_timer_init(&server->timer, loop, on_timer, server);
    server->http = start_http(server, fd);
    if (server->http == NULL) {
        close(fd);
        *error = mem_strdup("the HTTPS server does not start: is libmicrohttpd built with TLS, and "
                            "are server.pem and server-key.pem a pair?");
        return sandbox_server_free(server);
    }
    return server;
}

struct sandbox_server *sandbox_server_free(struct sandbox_server *server)
{
    if (server == NULL) {
        return NULL;
    }
    loop_timer_stop(&server->timer);
    pthread_mutex_lock(&server->lock);
    server->stopping = true;
    continue_until(server, INT64_MAX);
    pthread_mutex_unlock(&server->lock);
    if (server->http != NULL) {
        MHD_stop_daemon(server->http);
    }
    heap_deinit(&server->waiting);
    pthread_mutex_destroy(&server->lock);
    free(server);
    return NULL;
}
