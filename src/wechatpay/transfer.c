#include "wechatpay/transfer.h"

#include "presignd/base/clock.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/version.h"
#include "wechatpay/connection.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    /* The server closes an idle connection after about 8 s. A request on a connection that it is
     * closing ends as "unknown", so we close first. */
    IDLE_MS = 7000,
    /* curl truncates the idle time to seconds and may accept an equal value. */
    IDLE_CURL_S = IDLE_MS / 1000 - 1,
    /* The TTL of the API's DNS records is 30 s or more. */
    DNS_CACHE_S = 30,
    /* Answers have about 1000 bytes; curl's default of 16 KiB costs 6 MiB more at 512 calls. */
    RECEIVE_BUFFER = 4096,
    /* curl's minimum; allocated only while a request is in flight. */
    UPLOAD_BUFFER = 16384,
    /* Descriptors of one resolver thread: curl's pair, /etc/hosts, a socket for each name
     * server. */
    RESOLVER_DESCRIPTORS = 8,
    /* A larger buffer is freed instead of reused. */
    REUSE_BYTES_MAX = 4096,
};

struct transfer_client {
    struct loop *loop;
    const struct clock *clock;
    char *ca_file, *proxy_ca_file, *proxy;
    int64_t connect_timeout_ms;
    unsigned max_connections;
    unsigned connecting_max;

    CURLM *multi;        /* NULL until the first transfer */
    CURLSH *share;       /* TLS sessions; without it each easy handle has its own */
    struct list sockets; /* that curl wants to be watched */
    struct list connections;
    uint64_t connection_count; /* ever */
    bool tls_in_tls;           /* to an https proxy: see connection_is_open() */
    CURL **easies;             /* idle ones, at most max_connections */
    size_t easy_count;
    struct curl_slist *constant_lines;

    struct list waiting[TRANSFER_HOSTS_MAX];
    struct heap waits; /* the waiting transfers by sent_by_ms */
    size_t connecting[TRANSFER_HOSTS_MAX];
    bool resolving[TRANSFER_HOSTS_MAX]; /* see transfer.resolving */
    struct list running;
    struct list finished;
    struct loop_deferred deliverer;
    struct loop_timer curl_timer, idle_timer, wait_timer;
};

/* A descriptor that curl wants to be watched. */
struct socket {
    struct list_link link;
    struct transfer_client *client;
    curl_socket_t fd;
    struct loop_fd *watch;
};

static const char proxy_reason[] = "the proxy refused the connection: check its log";

/* curl's codes and their texts for people. */
static const struct ending {
    CURLcode code;
    bool sent;
    const char *reason;
} endings[] = {
    {CURLE_COULDNT_RESOLVE_HOST, false, "the host's name could not be resolved"},
    {CURLE_COULDNT_RESOLVE_PROXY, false, "the proxy's name could not be resolved"},
    {CURLE_COULDNT_CONNECT, false, "the connection was refused, or no route leads there"},
    {CURLE_OPERATION_TIMEDOUT, false, "no connection was made in time"},
    {CURLE_SSL_CONNECT_ERROR, false, "the TLS handshake failed"},
    {CURLE_PEER_FAILED_VERIFICATION, false,
     "the server's certificate is not trusted: look at its name, its validity and ca_file"},
    {CURLE_PROXY, false, proxy_reason},
    {CURLE_SSL_CACERT_BADFILE, false, "the file of trusted certificates cannot be read"},
    {CURLE_ABORTED_BY_CALLBACK, false,
     "the server closed the connection, or sent something, before a request was sent"},
    {CURLE_OK, true, "the connection was closed inside the answer's headers"},
    {CURLE_OPERATION_TIMEDOUT, true, "no whole answer came in time"},
    {CURLE_ABORTED_BY_CALLBACK, true, "a kept connection was closed under the request"},
    {CURLE_GOT_NOTHING, true, "the connection was closed without an answer"},
    {CURLE_PARTIAL_FILE, true, "the connection was closed inside the answer"},
    {CURLE_RECV_ERROR, true, "the connection was reset before the answer's end"},
    {CURLE_SEND_ERROR, true, "the connection was reset while sending"},
};

static const char shortage_reason[] =
    "this process has no descriptor left: raise LimitNOFILE=, or lower max_connections";
static const char expired_reason[] = "the event's time passed before it could be sent";

static const char *reason_of(CURLcode code, bool sent)
{
    for (size_t i = 0; i < ARRAY_LENGTH(endings); i++) {
        if (endings[i].code == code && endings[i].sent == sent) {
            return endings[i].reason;
        }
    }
    return sent ? "the answer was not valid HTTP" : "the connection could not be made";
}

/* ---- curl's callbacks. ---- */

static const char *const header_names[TRANSFER_HEADER_COUNT] = {
    [TRANSFER_HEADER_SERIAL] = "Wechatpay-Serial",
    [TRANSFER_HEADER_TIMESTAMP] = "Wechatpay-Timestamp",
    [TRANSFER_HEADER_NONCE] = "Wechatpay-Nonce",
    [TRANSFER_HEADER_SIGNATURE] = "Wechatpay-Signature",
    [TRANSFER_HEADER_SIGNATURE_TYPE] = "Wechatpay-Signature-Type",
    [TRANSFER_HEADER_REQUEST_ID] = "Request-ID",
    [TRANSFER_HEADER_RETRY_AFTER] = "Retry-After",
    [TRANSFER_HEADER_CONTENT_ENCODING] = "Content-Encoding",
    [TRANSFER_HEADER_DATE] = "Date",
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void keep_header(struct transfer *transfer, enum transfer_header header, const char *value,
                        size_t len)
{
    if (transfer->header_at[header] != 0) {
        transfer->header_repeated[header] = true;
        return;
    }
    while (len > 0 && is_space(value[len - 1])) {
        len--;
    }
    while (len > 0 && is_space(*value)) {
        value++;
        len--;
    }
    transfer->header_at[header] = transfer->header_text.len + 1;
    buf_append(&transfer->header_text, value, len);
    buf_putc(&transfer->header_text, '\0');
}

static void read_header(struct transfer *transfer, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    if (colon == NULL) {
        return;
    }
    size_t name_len = (size_t)(colon - line);
    for (size_t i = 0; i < TRANSFER_HEADER_COUNT; i++) {
        if (strlen(header_names[i]) == name_len && text_prefix_nocase(line, len, header_names[i])) {
            keep_header(transfer, (enum transfer_header)i, colon + 1, len - name_len - 1);
        }
    }
}

/* 0 for a status that HTTP does not have: libcurl 8 accepts 050 and 1000. */
static int status_of(const char *line, size_t len)
{
    const char *space = memchr(line, ' ', len);
    long status = space == NULL ? 0 : strtol(space, NULL, 10);
    return status >= 100 && status <= 999 ? (int)status : 0;
}

/* Discards the previous header block, which belongs to an interim answer (RFC 9110, 15.2). */
static void begin_headers(struct transfer *transfer, const char *line, size_t len)
{
    transfer->http_status = status_of(line, len);
    transfer->in_headers = true;
    transfer->header_text.len = 0;
    memset(transfer->header_at, 0, sizeof transfer->header_at);
    memset(transfer->header_repeated, 0, sizeof transfer->header_repeated);
}

/* Bytes that curl passed to TLS or to the kernel, including a proxy's CONNECT. */
static long request_bytes(const struct transfer *transfer)
{
    long bytes = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &bytes);
    return bytes;
}

static bool is_sent_completely(const struct transfer *transfer)
{
    curl_off_t bytes = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_UPLOAD_T, &bytes);
    return transfer->body == NULL || (size_t)bytes == transfer->body_len;
}

/* One complete line, which curl terminates with a NUL. Lines after a final answer's block are
 * trailers; the API has none. */
static size_t on_header(char *line, size_t size, size_t count, void *context)
{
    struct transfer *transfer = context;
    size_t len = size * count;
    transfer->header_bytes += len;
    if (transfer->header_bytes > ANSWER_HEADERS_MAX) {
        transfer->too_large = true;
        return 0;
    }
    if (transfer->in_headers) {
        transfer->in_headers = line[0] != '\r' && line[0] != '\n';
        read_header(transfer, line, len);
    } else if (transfer->http_status < 200 && text_prefix_nocase(line, len, "HTTP/")) {
        begin_headers(transfer, line, len);
        transfer->is_early = transfer->http_status >= 200 && !is_sent_completely(transfer);
    }
    return transfer->is_early || transfer->http_status == 0 ? 0 : len;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *context)
{
    struct transfer *transfer = context;
    size_t len = size * count;
    if (len > ANSWER_BODY_MAX - transfer->answer.len) {
        transfer->too_large = true;
        return 0;
    }
    buf_append(&transfer->answer, bytes, len);
    return len;
}

/* NULL for plain HTTP. */
static SSL *tls_of(CURL *easy)
{
    const struct curl_tlssessioninfo *info = NULL;
    bool is_known = curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &info) == CURLE_OK &&
                    info != NULL && info->backend == CURLSSLBACKEND_OPENSSL;
    return is_known ? info->internals : NULL;
}

static bool is_silent(const struct transfer *transfer, const struct connection *connection)
{
    return transfer->client->tls_in_tls ? connection_is_open(connection)
                                        : connection_is_silent(connection, tls_of(transfer->easy));
}

/* True when the request may be sent on the connection that curl chose. A connection with an unknown
 * address is accepted without a check. */
static bool may_take(struct transfer *transfer, const char *peer_ip, int peer_port, int local_port)
{
    struct transfer_client *client = transfer->client;
    struct connection *connection =
        connection_find(&client->connections, peer_ip, peer_port, local_port);
    if (connection == NULL) {
        return true;
    }
    transfer->on_kept = connection->is_used;
    bool is_over = connection->is_stale || clock_now(client->clock).mono_ms >= connection->renew_ms;
    if ((transfer->on_kept && is_over) || !is_silent(transfer, connection)) {
        return false;
    }
    connection->user = transfer;
    connection->is_used = true;
    transfer->connection = connection->number;
    return true;
}

static void end_connecting(struct transfer *transfer)
{
    if (transfer->is_connecting) {
        transfer->is_connecting = false;
        transfer->client->connecting[transfer->host]--;
    }
}

/* Called right before the request is sent. A second call for one transfer means that curl repeats
 * the request on another connection: allowed while nothing was sent, because its nonce is unused
 * then. Also the last moment to check the expiry. */
/* NOLINTNEXTLINE(readability-non-const-parameter): curl's prototype */
static int on_send(void *context, char *peer_ip, char *local_ip, int peer_port, int local_port)
{
    (void)local_ip;
    struct transfer *transfer = context;
    if (transfer->sent && request_bytes(transfer) > transfer->bytes_before) {
        return CURL_PREREQFUNC_ABORT;
    }
    if (clock_now(transfer->client->clock).wall_ms >= transfer->expires_ms) {
        transfer->expired = true;
        return CURL_PREREQFUNC_ABORT;
    }
    transfer->is_refused = !may_take(transfer, peer_ip, peer_port, local_port);
    if (transfer->is_refused) {
        return CURL_PREREQFUNC_ABORT;
    }
    transfer->bytes_before = request_bytes(transfer);
    transfer->sent = true;
    end_connecting(transfer);
    return CURL_PREREQFUNC_OK;
}

/* ---- Sockets, and shortages of this process. ---- */

static bool is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* True when the resolver or the reader of the trust store may have failed for lack of descriptors.
 * Neither of them reports it. */
static bool descriptors_are_short(void)
{
    int fds[RESOLVER_DESCRIPTORS];
    size_t count = 0;
    while (count < ARRAY_LENGTH(fds) && (fds[count] = eventfd(0, EFD_CLOEXEC)) >= 0) {
        count++;
    }
    bool is_short = count < ARRAY_LENGTH(fds) && is_shortage(errno);
    while (count > 0) {
        close(fds[--count]);
    }
    return is_short;
}

/* Replaces curl's own socket(), because curl loses its errno. */
static curl_socket_t on_open_socket(void *context, curlsocktype purpose,
                                    struct curl_sockaddr *address)
{
    (void)purpose;
    struct transfer *transfer = context;
    struct transfer_client *client = transfer->client;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    client->resolving[transfer->host] = transfer->resolving = false;
    transfer->is_short = transfer->is_short || (fd < 0 && is_shortage(errno));
    if (fd < 0) {
        return CURL_SOCKET_BAD;
    }
    struct connection *connection =
        connection_add(&client->connections, fd, &address->addr, clock_now(client->clock).mono_ms);
    connection->number = ++client->connection_count;
    connection->host = transfer->host;
    connection->user = transfer;
    return fd;
}

/* The connection may outlive its transfer, so the context is the client. */
static int on_close_socket(void *context, curl_socket_t fd)
{
    struct transfer_client *client = context;
    connection_remove(&client->connections, fd);
    return close(fd);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): curl's prototype */
static int on_resolve(void *state, void *reserved, void *context)
{
    (void)state;
    (void)reserved;
    struct transfer *transfer = context;
    transfer->client->resolving[transfer->host] = transfer->resolving = true;
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *context)
{
    (void)multi;
    struct transfer_client *client = context;
    if (timeout_ms < 0) {
        loop_timer_stop(&client->curl_timer);
    } else {
        int64_t now_ms = clock_now(&clock_system).mono_ms;
        loop_timer_set(&client->curl_timer, timeout_ms == 0 ? 0 : now_ms + timeout_ms);
    }
    return 0;
}

static void on_ready(void *context, uint32_t epoll_events);

static void socket_free(struct socket *socket)
{
    loop_fd_remove(socket->watch);
    list_remove(&socket->client->sockets, &socket->link);
    free(socket);
}

static void socket_watch(struct transfer_client *client, struct socket *socket, curl_socket_t fd,
                         uint32_t epoll_events)
{
    if (socket != NULL) {
        loop_fd_modify(socket->watch, epoll_events);
        return;
    }
    socket = mem_zalloc(1, sizeof *socket);
    socket->client = client;
    socket->fd = fd;
    socket->watch = loop_fd_add(client->loop, fd, epoll_events, on_ready, socket);
    if (socket->watch == NULL) {
        free(socket); /* out of kernel memory: the transfer times out */
        return;
    }
    list_push_back(&client->sockets, &socket->link);
    curl_multi_assign(client->multi, fd, socket);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *assigned)
{
    (void)easy;
    struct socket *socket = assigned;
    if (what != CURL_POLL_REMOVE) {
        socket_watch(context, socket, fd,
                     ((what & CURL_POLL_IN) != 0 ? EPOLLIN : 0U) |
                         ((what & CURL_POLL_OUT) != 0 ? EPOLLOUT : 0U));
    } else if (socket != NULL) {
        socket_free(socket);
    }
    return 0;
}

/* ---- Easy handles: created with the constant options, and reused. ---- */

/* Aborts when an option cannot be set for lack of memory: a missing CA file or header would go
 * unnoticed. */
static void must(CURLcode code)
{
    if (code == CURLE_OUT_OF_MEMORY) {
        mem_exhausted();
    }
}

static void set_constant_options(struct transfer_client *client, CURL *easy)
{
    must(curl_easy_setopt(easy, CURLOPT_SHARE, client->share));
    must(curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https"));
    must(curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1));
    must(curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L));
    must(curl_easy_setopt(easy, CURLOPT_USERAGENT, "presignd/" PRESIGND_VERSION));
    must(curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2));
    must(curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L));
    must(curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L));
    if (client->ca_file != NULL) {
        must(curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_file));
    }
    /* curl caches the parsed trust store, but only without a directory of certificates. */
    if (client->ca_file != NULL || curl_version_info(CURLVERSION_NOW)->cainfo != NULL) {
        must(curl_easy_setopt(easy, CURLOPT_CAPATH, NULL));
    }
    if (client->proxy_ca_file != NULL) {
        must(curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, client->proxy_ca_file));
        must(curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, NULL));
    }
    must(curl_easy_setopt(easy, CURLOPT_PROXY, client->proxy == NULL ? "" : client->proxy));
    must(curl_easy_setopt(easy, CURLOPT_NOPROXY, ""));
    must(curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L));
    must(curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L));
    must(curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, (long)DNS_CACHE_S));
    must(curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)IDLE_CURL_S));
    must(curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER));
    must(curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)UPLOAD_BUFFER));
    must(curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)ANSWER_BODY_MAX));
    must(curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L));
#if LIBCURL_VERSION_NUM >= 0x075700 /* 7.87 */
    /* Without it the loop waits for the resolver thread of a transfer that has timed out. */
    must(curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L));
#endif
    must(curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body));
    must(curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header));
    must(curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_send));
    must(curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket));
    must(curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket));
    must(curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, client));
    must(curl_easy_setopt(easy, CURLOPT_RESOLVER_START_FUNCTION, on_resolve));
}

static CURL *easy_take(struct transfer_client *client)
{
    if (client->easy_count > 0) {
        return client->easies[--client->easy_count];
    }
    CURL *easy = curl_easy_init();
    if (easy == NULL) {
        mem_exhausted();
    }
    set_constant_options(client, easy);
    return easy;
}

static void easy_give_back(struct transfer_client *client, struct transfer *transfer)
{
    curl_multi_remove_handle(client->multi, transfer->easy);
    client->easies[client->easy_count++] = transfer->easy;
    transfer->easy = NULL;
}

/* The transfer's own header lines, followed by the common ones. */
static struct curl_slist *header_lines(struct transfer *transfer)
{
    struct curl_slist *first = transfer->client->constant_lines;
    first = transfer->body == NULL ? first->next : first;
    char *const own[] = {transfer->authorization, transfer->serial};
    for (size_t i = 0; i < ARRAY_LENGTH(own); i++) {
        if (own[i] != NULL) {
            transfer->lines[i] = (struct curl_slist){.data = own[i], .next = first};
            first = &transfer->lines[i];
        }
    }
    return first;
}

static void set_request_options(struct transfer *transfer, int64_t now_ms)
{
    CURL *easy = transfer->easy;
    must(curl_easy_setopt(easy, CURLOPT_URL, transfer->url));
    if (transfer->body == NULL) {
        must(curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L));
    } else {
        must(curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer->body));
        must(curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->body_len));
    }
    must(curl_easy_setopt(easy, CURLOPT_HTTPHEADER, header_lines(transfer)));
    bool is_fresh = transfer->new_connection || transfer->is_resent;
    must(curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, is_fresh ? 1L : 0L));
    /* The expiry limits only the time until sending. The time-out for the answer stays the same, so
     * that an event near its expiry does not end in an unknown call. */
    must(curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                          (long)(transfer->start_ms + transfer->timeout_ms - now_ms)));
    must(curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(transfer->sent_by_ms - now_ms)));
    must(curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer));
    must(curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer));
    must(curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer));
    must(curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer));
    must(curl_easy_setopt(easy, CURLOPT_RESOLVER_START_DATA, transfer));
    must(curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer));
}

/* ---- The states of a transfer: waiting, running, finished. ---- */

static bool is_tls(CURLcode code)
{
    return code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION ||
           code == CURLE_SSL_CACERT_BADFILE;
}

static enum answer_cause cause_not_sent(const struct transfer *transfer, CURLcode code)
{
    bool is_name = code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY ||
                   (code == CURLE_OPERATION_TIMEDOUT && transfer->resolving);
    bool may_be_short = is_name || code == CURLE_SSL_CACERT_BADFILE;
    if (transfer->is_short || (may_be_short && descriptors_are_short())) {
        return ANSWER_CAUSE_SHORTAGE;
    }
    return is_name ? ANSWER_CAUSE_NAME : is_tls(code) ? ANSWER_CAUSE_TLS : ANSWER_CAUSE_NONE;
}

/* With a proxy the connection goes to the proxy, which may refuse with an HTTP status. */
static const char *reason_not_sent(const struct transfer *transfer, CURLcode code)
{
    if (transfer->expired) {
        return expired_reason;
    }
    if (transfer->cause == ANSWER_CAUSE_SHORTAGE) {
        return shortage_reason;
    }
    if (transfer->proxy_status >= 300) {
        return proxy_reason;
    }
    if (transfer->client->proxy != NULL && code == CURLE_COULDNT_CONNECT) {
        return "the connection to the proxy was refused, or no route leads there";
    }
    if (transfer->client->tls_in_tls && code == CURLE_PEER_FAILED_VERIFICATION &&
        transfer->proxy_status == 0) {
        return "the proxy's certificate is not trusted: look at its name, its validity and "
               "proxy_ca_file";
    }
    return reason_of(code, false);
}

static void set_status(struct transfer *transfer, CURLcode code)
{
    bool too_large = transfer->too_large || code == CURLE_FILESIZE_EXCEEDED;
    /* curl accepts an end of the connection inside the headers. */
    bool whole = code == CURLE_OK && !transfer->in_headers && transfer->http_status != 0;
    transfer->timed_out = code == CURLE_OPERATION_TIMEDOUT;
    transfer->expired = !transfer->sent &&
                        (transfer->expired || (transfer->timed_out && transfer->bounded_by_expiry));
    transfer->reason = NULL;
    transfer->cause = ANSWER_CAUSE_NONE;
    if (whole) {
        transfer->status = TRANSFER_DONE;
    } else if (!transfer->sent) {
        transfer->status = TRANSFER_NOT_SENT;
        transfer->cause = transfer->expired ? ANSWER_CAUSE_NONE : cause_not_sent(transfer, code);
        transfer->reason = reason_not_sent(transfer, code);
    } else if (transfer->is_early) {
        transfer->status = TRANSFER_EARLY;
        transfer->reason = "the answer began before the request was sent completely";
    } else if (too_large && transfer->http_status != 0) {
        transfer->status = TRANSFER_TOO_LARGE;
        transfer->reason = "the answer is larger than any of the API's";
    } else {
        transfer->status = TRANSFER_BROKEN;
        transfer->cause = transfer->timed_out ? ANSWER_CAUSE_TIMEOUT : ANSWER_CAUSE_RESET;
        transfer->reason = reason_of(code, true);
    }
}

static void hand_over(struct transfer *transfer, CURLcode code)
{
    struct transfer_client *client = transfer->client;
    set_status(transfer, code);
    list_push_back(&client->finished, &transfer->link);
    loop_before_step(client->loop, &client->deliverer);
}

static void arm_wait_timer(struct transfer_client *client)
{
    const struct heap_slot *first = heap_first(&client->waits);
    if (first != NULL) {
        loop_timer_set(&client->wait_timer, first->at);
    }
}

/* Puts it first in the queue, because nothing of it was sent. act() starts it. */
static void wait_first(struct transfer *transfer)
{
    struct transfer_client *client = transfer->client;
    transfer->is_refused = transfer->sent = false;
    list_push_front(&client->waiting[transfer->host], &transfer->link);
    heap_set(&client->waits, &transfer->waited, transfer->sent_by_ms);
    arm_wait_timer(client);
}

static void finish(struct transfer *transfer, CURLcode code)
{
    struct transfer_client *client = transfer->client;
    curl_off_t duration_us = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_TOTAL_TIME_T, &duration_us);
    transfer->duration_us = duration_us;
    curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_CONNECTCODE, &transfer->proxy_status);
    transfer->sent = transfer->sent && request_bytes(transfer) > transfer->bytes_before;
    connection_leave_all(&client->connections, transfer);
    end_connecting(transfer);
    easy_give_back(client, transfer);
    list_remove(&client->running, &transfer->link);
    if (transfer->is_refused && transfer->on_kept && !transfer->is_resent) {
        transfer->is_resent = true; /* on a new connection, once */
        wait_first(transfer);
    } else {
        hand_over(transfer, code);
    }
}

static bool multi_open(struct transfer_client *client)
{
    client->multi = curl_multi_init();
    if (client->multi == NULL) {
        return false;
    }
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)client->max_connections);
    curl_multi_setopt(client->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)client->max_connections);
#if LIBCURL_VERSION_NUM >= 0x081600 /* 8.22 */
    /* libcurl resolves names in a pool of threads. A host whose name server does not answer must
     * leave threads for the other host, and closing must not wait for them. */
    curl_multi_setopt(client->multi, CURLMOPT_RESOLVE_THREADS_MAX,
                      (long)(TRANSFER_HOSTS_MAX * client->connecting_max));
    curl_multi_setopt(client->multi, CURLMOPT_QUICK_EXIT, 1L);
#endif
    return true;
}

/* Closes every connection. No transfer is running. */
static void multi_close(struct transfer_client *client)
{
    if (client->multi != NULL) {
        curl_multi_cleanup(client->multi);
        client->multi = NULL;
    }
    connection_remove_all(&client->connections);
    LIST_FOREACH_SAFE (&client->sockets, link) {
        socket_free(CONTAINER_OF(link, struct socket, link));
    }
    loop_timer_stop(&client->curl_timer);
}

static void stop_waiting(struct transfer *transfer)
{
    struct transfer_client *client = transfer->client;
    list_remove(&client->waiting[transfer->host], &transfer->link);
    heap_remove(&client->waits, &transfer->waited);
}

/* It got no connection. The cause is NAME when the transfers before it wait for the resolver. */
static void give_up(struct transfer *transfer, int64_t now_ms)
{
    stop_waiting(transfer);
    transfer->resolving = transfer->client->resolving[transfer->host];
    transfer->duration_us = (now_ms - transfer->start_ms) * 1000;
    hand_over(transfer, CURLE_OPERATION_TIMEDOUT);
}

/* Ends a transfer for which no multi handle could be made: libcurl 8 needs file descriptors for it.
 */
static void refuse(struct transfer *transfer, int64_t now_ms)
{
    if (!descriptors_are_short()) {
        mem_exhausted();
    }
    transfer->is_short = true;
    transfer->duration_us = (now_ms - transfer->start_ms) * 1000;
    hand_over(transfer, CURLE_COULDNT_CONNECT);
}

static void launch(struct transfer_client *client, struct transfer *transfer, int64_t now_ms)
{
    stop_waiting(transfer);
    if (client->multi == NULL && !multi_open(client)) {
        refuse(transfer, now_ms);
        return;
    }
    list_push_back(&client->running, &transfer->link);
    client->connecting[transfer->host]++;
    transfer->is_connecting = true;
    transfer->easy = easy_take(client);
    set_request_options(transfer, now_ms);
    if (curl_multi_add_handle(client->multi, transfer->easy) != CURLM_OK) {
        finish(transfer, CURLE_OUT_OF_MEMORY);
    }
}

/* Starts waiting transfers within the limits. Each host has its own limit of connecting transfers,
 * so an unreachable host does not block the other one. */
static void pump(struct transfer_client *client)
{
    for (unsigned host = 0; host < TRANSFER_HOSTS_MAX; host++) {
        while (!list_empty(&client->waiting[host]) &&
               client->running.count < client->max_connections &&
               client->connecting[host] < client->connecting_max) {
            struct transfer *transfer =
                CONTAINER_OF(list_first(&client->waiting[host]), struct transfer, link);
            int64_t now_ms = clock_now(&clock_system).mono_ms;
            if (now_ms < transfer->sent_by_ms) {
                launch(client, transfer, now_ms);
            } else {
                give_up(transfer, now_ms);
            }
        }
    }
}

/* Lets curl work, collects the finished transfers and starts others. */
static void act(struct transfer_client *client, curl_socket_t fd, int events)
{
    int running;
    /* Without memory for its timer a transfer would never end. */
    if (curl_multi_socket_action(client->multi, fd, events, &running) == CURLM_OUT_OF_MEMORY) {
        mem_exhausted();
    }
    int left;
    for (const CURLMsg *message; (message = curl_multi_info_read(client->multi, &left)) != NULL;) {
        CURLcode code = message->data.result;
        void *transfer = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        finish(transfer, code);
    }
    pump(client);
}

static void on_ready(void *context, uint32_t epoll_events)
{
    const struct socket *socket = context;
    act(socket->client, socket->fd,
        ((epoll_events & (EPOLLIN | EPOLLHUP)) != 0 ? CURL_CSELECT_IN : 0) |
            ((epoll_events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
            ((epoll_events & EPOLLERR) != 0 ? CURL_CSELECT_ERR : 0));
}

static void on_timeout(void *context)
{
    act(context, CURL_SOCKET_TIMEOUT, 0);
}

/* Ends waiting transfers whose time is over. */
static void on_waited(void *context)
{
    struct transfer_client *client = context;
    int64_t now_ms = clock_now(&clock_system).mono_ms;
    struct heap_slot *slot;
    while ((slot = heap_first(&client->waits)) != NULL && slot->at <= now_ms) {
        give_up(CONTAINER_OF(slot, struct transfer, waited), now_ms);
    }
    if (slot != NULL) {
        loop_timer_set(&client->wait_timer, slot->at);
    }
}

static void on_idle(void *context)
{
    struct transfer_client *client = context;
    if (transfer_client_in_flight(client) == 0) {
        multi_close(client);
    }
}

/* `done` may start transfers, including this one, but must not free the client. */
static void deliver(void *context)
{
    struct transfer_client *client = context;
    LIST_FOREACH (&client->finished, link) {
        struct transfer *transfer = CONTAINER_OF(link, struct transfer, link);
        if (transfer->ready != NULL) {
            transfer->ready(transfer);
        }
    }
    for (size_t left = client->finished.count; left > 0; left--) {
        struct transfer *transfer =
            CONTAINER_OF(list_pop_front(&client->finished), struct transfer, link);
        transfer->done(transfer);
    }
    if (transfer_client_in_flight(client) == 0) {
        loop_timer_set(&client->idle_timer, clock_now(&clock_system).mono_ms + IDLE_MS);
    }
}

/* ---- The client. ---- */

static bool check_ca_file(const char *key, const char *path, struct buf *errors)
{
    X509_STORE *store = X509_STORE_new();
    bool ok = store != NULL && X509_STORE_load_file(store, path) == 1;
    X509_STORE_free(store);
    ERR_clear_error();
    if (!ok) {
        buf_printf(errors, "%s: %s: cannot be read, or holds no PEM certificate\n", key, path);
    }
    return ok;
}

static bool is_proxy(const char *text)
{
    static const char *const schemes[] = {"http",    "https",  "socks4",
                                          "socks4a", "socks5", "socks5h"};
    const char *end = strstr(text, "://");
    CURLU *url = curl_url();
    bool ok = end != NULL &&
              curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK;
    curl_url_cleanup(url);
    for (size_t i = 0; ok && i < ARRAY_LENGTH(schemes); i++) {
        if (text_prefix_nocase(text, (size_t)(end - text), schemes[i]) &&
            strlen(schemes[i]) == (size_t)(end - text)) {
            return true;
        }
    }
    return false;
}

static bool check_proxy(const char *proxy, struct buf *errors)
{
    bool ok = is_proxy(proxy);
    if (!ok) { /* not quoted: it may hold a password */
        buf_puts(errors, "proxy: is not a proxy URL: http://HOST:PORT, or https, socks4, socks4a, "
                         "socks5, socks5h\n");
    }
    return ok;
}

bool transfer_config_check(const struct transfer_client_config *config, struct buf *errors)
{
    bool ca_file_ok =
        !text_is_given(config->ca_file) || check_ca_file("ca_file", config->ca_file, errors);
    bool proxy_ca_file_ok = !text_is_given(config->proxy_ca_file) ||
                            check_ca_file("proxy_ca_file", config->proxy_ca_file, errors);
    return (!text_is_given(config->proxy) || check_proxy(config->proxy, errors)) && ca_file_ok &&
           proxy_ca_file_ok;
}

static struct curl_slist *make_constant_lines(void)
{
    /* "Expect:" removes curl's Expect header. A GET omits the first line. */
    static const char *const lines[] = {"Content-Type: application/json",
                                        "Accept: application/json", "Expect:"};
    struct curl_slist *list = NULL;
    for (size_t i = 0; i < ARRAY_LENGTH(lines); i++) {
        list = curl_slist_append(list, lines[i]);
        if (list == NULL) {
            mem_exhausted();
        }
    }
    return list;
}

static void init(struct transfer_client *client, struct loop *loop)
{
    client->loop = loop;
    list_init(&client->sockets);
    list_init(&client->connections);
    list_init(&client->running);
    list_init(&client->finished);
    for (size_t i = 0; i < TRANSFER_HOSTS_MAX; i++) {
        list_init(&client->waiting[i]);
    }
    loop_timer_init(&client->curl_timer, loop, on_timeout, client);
    client->deliverer = (struct loop_deferred){.fn = deliver, .context = client};
    loop_timer_init(&client->idle_timer, loop, on_idle, client);
    loop_timer_init(&client->wait_timer, loop, on_waited, client);
}

static void configure(struct transfer_client *client, const struct transfer_client_config *config)
{
    client->clock = config->clock;
    client->ca_file = text_is_given(config->ca_file) ? mem_strdup(config->ca_file) : NULL;
    client->proxy_ca_file =
        text_is_given(config->proxy_ca_file) ? mem_strdup(config->proxy_ca_file) : NULL;
    client->proxy = text_is_given(config->proxy) ? mem_strdup(config->proxy) : NULL;
    client->tls_in_tls =
        client->proxy != NULL && text_prefix_nocase(client->proxy, strlen(client->proxy), "https:");
    client->connect_timeout_ms = config->connect_timeout_ms;
    client->max_connections = config->max_connections > 0 ? config->max_connections : 1;
    /* At most half, so that an unreachable host leaves room for the other one. */
    unsigned half = (client->max_connections + 1) / 2;
    client->connecting_max = half < TRANSFER_CONNECTING_MAX ? half : TRANSFER_CONNECTING_MAX;
    client->easies = mem_zalloc(client->max_connections, sizeof(CURL *));
    client->constant_lines = make_constant_lines();
    client->share = curl_share_init();
    if (client->share == NULL) {
        mem_exhausted();
    }
    curl_share_setopt(client->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
}

struct transfer_client *
transfer_client_new(struct loop *loop, const struct transfer_client_config *config, char **error)
{
    AUTO_BUF struct buf problems = {0};
    if (!transfer_config_check(config, &problems)) {
        problems.data[problems.len - 1] = '\0'; /* the last line feed */
        *error = mem_strdup(problems.data);
        return NULL;
    }
    CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT); /* curl holds references */
    if (code != CURLE_OK) {
        *error = mem_printf("libcurl: %s", curl_easy_strerror(code));
        return NULL;
    }
    struct transfer_client *client = mem_zalloc(1, sizeof *client);
    init(client, loop);
    configure(client, config);
    return client;
}

struct transfer_client *transfer_client_free(struct transfer_client *client)
{
    if (client == NULL) {
        return NULL;
    }
    LIST_FOREACH (&client->running, link) {
        easy_give_back(client, CONTAINER_OF(link, struct transfer, link));
    }
    for (size_t i = 0; i < client->easy_count; i++) {
        curl_easy_cleanup(client->easies[i]);
    }
    multi_close(client);
    curl_share_cleanup(client->share);
    curl_slist_free_all(client->constant_lines);
    curl_global_cleanup();
    loop_defer_cancel(&client->deliverer);
    loop_timer_stop(&client->idle_timer);
    loop_timer_stop(&client->wait_timer);
    heap_deinit(&client->waits);
    free(client->easies);
    free(client->ca_file);
    free(client->proxy_ca_file);
    free(client->proxy);
    free(client);
    return NULL;
}

static void distrust(struct list *transfers, const struct transfer *shifted)
{
    LIST_FOREACH (transfers, link) {
        struct transfer *transfer = CONTAINER_OF(link, struct transfer, link);
        if (transfer->host == shifted->host && transfer->connection == shifted->connection) {
            transfer->is_distrusted = true;
        }
    }
}

/* curl gives a connection to the next transfer before `done` of the last one is called. */
void transfer_client_distrust(struct transfer_client *client, const struct transfer *transfer)
{
    distrust(&client->running, transfer);
    distrust(&client->finished, transfer);
    connection_renew_all(&client->connections, transfer->host);
}

size_t transfer_client_in_flight(const struct transfer_client *client)
{
    size_t count = client->running.count + client->finished.count;
    for (size_t i = 0; i < TRANSFER_HOSTS_MAX; i++) {
        count += client->waiting[i].count;
    }
    return count;
}

/* ---- A transfer. ---- */

/* Empties a buffer; frees a large one. */
static void reuse(struct buf *buf)
{
    if (buf->cap > REUSE_BYTES_MAX) {
        buf_deinit(buf);
    }
    buf->len = 0;
}

/* Converts the expiry to monotonic time, plus a millisecond, so that the wall clock has reached it
 * by then. on_send() checks the wall clock again. */
static void set_limits(struct transfer *transfer)
{
    const struct transfer_client *client = transfer->client;
    int64_t limit_ms = client->connect_timeout_ms < transfer->timeout_ms
                           ? client->connect_timeout_ms
                           : transfer->timeout_ms;
    int64_t wall_ms = clock_now(client->clock).wall_ms;
    transfer->bounded_by_expiry = transfer->expires_ms - limit_ms < wall_ms;
    if (transfer->bounded_by_expiry) {
        int64_t left_ms = transfer->expires_ms - wall_ms;
        limit_ms = left_ms > 0 ? left_ms + 1 : 0;
    }
    transfer->start_ms = clock_now(&clock_system).mono_ms;
    transfer->sent_by_ms = transfer->start_ms + limit_ms;
}

void transfer_start(struct transfer_client *client, struct transfer *transfer)
{
    transfer->client = client;
    transfer->easy = NULL;
    transfer->expired = false;
    set_limits(transfer);
    transfer->http_status = 0;
    transfer->proxy_status = 0;
    transfer->header_bytes = 0;
    transfer->in_headers = transfer->sent = transfer->too_large = false;
    transfer->resolving = transfer->is_short = transfer->is_distrusted = false;
    transfer->is_refused = transfer->is_resent = transfer->on_kept = transfer->is_early = false;
    transfer->bytes_before = 0;
    transfer->connection = 0;
    memset(transfer->header_at, 0, sizeof transfer->header_at);
    memset(transfer->header_repeated, 0, sizeof transfer->header_repeated);
    transfer_shrink(transfer);
    list_push_back(&client->waiting[transfer->host], &transfer->link);
    heap_set(&client->waits, &transfer->waited, transfer->sent_by_ms);
    pump(client);
    if (heap_first(&client->waits) == &transfer->waited) {
        arm_wait_timer(client);
    }
}

const char *transfer_header(const struct transfer *transfer, enum transfer_header header)
{
    if (transfer->header_at[header] == 0 || transfer->header_repeated[header]) {
        return NULL;
    }
    return transfer->header_text.data + transfer->header_at[header] - 1;
}

void transfer_shrink(struct transfer *transfer)
{
    reuse(&transfer->header_text);
    reuse(&transfer->answer);
}

void transfer_deinit(struct transfer *transfer)
{
    buf_deinit(&transfer->header_text);
    buf_deinit(&transfer->answer);
}
