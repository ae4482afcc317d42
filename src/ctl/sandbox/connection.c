/* One connection, on its own thread, so that the code reads in the order of events. The socket is
 * non-blocking; every wait is in wait_for(), which also notices that the server stops. */
#include "ctl/sandbox/sandbox.h"
#include "presignd/base/clock.h"
#include "presignd/base/mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    IDLE_TIMEOUT_MS = 8000, /* about as long as WeChat Pay; also for each step of the peer */
    HEAD_MAX = 32768,
    READ_SIZE = 16384,
    DROPS = 8, /* of a slow body */
};

enum wait { WAIT_READY, WAIT_OVER, WAIT_STOPPED };

/* How the connection ends. */
enum end { END_NONE, END_CLOSE, END_CUT, END_RESET };

struct connection {
    struct sandbox_server *server;
    const struct sandbox_settings *settings;
    int fd, stop_fd;
    SSL *ssl;
    struct buf in; /* read, not processed yet */
    struct buf body;
};

/* ---- waiting, reading, writing */

/* Waits until the socket has one of `events` (0: errors and hang-up only), or the time comes. */
static enum wait wait_for(const struct connection *connection, short events, int64_t until_ms)
{
    struct pollfd polled[] = {{connection->stop_fd, POLLIN, 0}, {connection->fd, events, 0}};
    for (;;) {
        int64_t left_ms = until_ms - clock_mono_ms();
        int ready = poll(polled, ARRAY_LENGTH(polled), left_ms < 0 ? 0 : (int)left_ms);
        if (polled[0].revents != 0 || (ready < 0 && errno != EINTR)) {
            return WAIT_STOPPED;
        }
        if (ready > 0) {
            return WAIT_READY;
        }
        if (ready == 0 && left_ms <= 0) {
            return WAIT_OVER;
        }
    }
}

/* False when the server stops or the peer has closed. */
static bool pause_for(const struct connection *connection, int64_t ms)
{
    return ms <= 0 || wait_for(connection, POLLRDHUP, clock_mono_ms() + ms) == WAIT_OVER;
}

/* After a call of libssl with this result: waits, and returns true when to call again. */
static bool again(const struct connection *connection, int result)
{
    int error = SSL_get_error(connection->ssl, result);
    short events = 0;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        events = error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
    }
    ERR_clear_error();
    return events != 0 &&
           wait_for(connection, events, clock_mono_ms() + IDLE_TIMEOUT_MS) == WAIT_READY;
}

static bool read_more(struct connection *connection)
{
    char bytes[READ_SIZE];
    int result;
    do {
        result = SSL_read(connection->ssl, bytes, sizeof bytes);
        if (result > 0) {
            buf_append(&connection->in, bytes, (size_t)result);
            return true;
        }
    } while (again(connection, result));
    return false;
}

static bool write_all(const struct connection *connection, const char *bytes, size_t len)
{
    int result = 1;
    while (len > 0) {
        result = SSL_write(connection->ssl, bytes, (int)len);
        if (result > 0) {
            bytes += result;
            len -= (size_t)result;
        } else if (!again(connection, result)) {
            return false;
        }
    }
    return true;
}

static void consume(struct buf *buf, size_t len)
{
    memmove(buf->data, buf->data + len, buf->len - len + 1); /* with its NUL */
    buf->len -= len;
}

/* Whether the peer sends nothing for that time. */
static bool stays_idle(const struct connection *connection, int64_t ms)
{
    return connection->in.len == 0 && SSL_pending(connection->ssl) == 0 &&
           wait_for(connection, POLLIN, clock_mono_ms() + ms) == WAIT_OVER;
}

/* ---- a request */

/* The head's length with its empty line, or 0. */
static size_t read_head(struct connection *connection)
{
    const struct buf *in = &connection->in;
    const char *end;
    while (in->len == 0 || (end = strstr(in->data, "\r\n\r\n")) == NULL) {
        if (in->len > HEAD_MAX || !read_more(connection)) {
            return 0;
        }
    }
    return (size_t)(end - in->data) + 4;
}

/* Reads and discards a body that is too large. */
static bool read_body(struct connection *connection, size_t len)
{
    struct buf *in = &connection->in;
    size_t left = len;
    while (left > 0) {
        if (in->len == 0 && !read_more(connection)) {
            return false;
        }
        size_t part = in->len < left ? in->len : left;
        if (len <= SANDBOX_BODY_MAX) {
            buf_append(&connection->body, in->data, part);
        }
        consume(in, part);
        left -= part;
    }
    return true;
}

/* `head` points into `text`. False when the request is not HTTP/1.1, or the peer has closed. */
static bool read_request(struct connection *connection, struct buf *text, struct sandbox_head *head)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    size_t len = read_head(connection);
    if (len == 0) {
        return false;
    }
    buf_append(text, connection->in.data, len);
    consume(&connection->in, len);
    if (!sandbox_head_read(text->data, head)) {
        AUTO_BUF struct buf rejection = {0};
        sandbox_http_idle(400, &rejection);
        (void)write_all(connection, rejection.data, rejection.len);
        return false;
    }
    connection->body.len = 0;
    return (head->expect == NULL || write_all(connection, go_on, sizeof go_on - 1)) &&
           read_body(connection, (size_t)head->body_len);
}

/* ---- an answer */

static struct sandbox_fault choose_fault(const struct sandbox_settings *settings,
                                         const struct sandbox_verdict *verdict)
{
    if (verdict->certificates) {
        struct sandbox_list list;
        (void)sandbox_platform_list(settings->keys, verdict->merchant, &list);
        return list.fault;
    }
    struct sandbox_fault each = sandbox_platform_calls(settings->keys, verdict->merchant);
    return each.kind != NULL ? each
                             : sandbox_faults_choose(settings->faults, verdict->merchant->mchid,
                                                     verdict->out_contract_code, clock_mono_ms());
}

static struct sandbox_fault decide(struct connection *connection, const struct sandbox_head *head,
                                   int64_t wall_ms, struct sandbox_reply *reply)
{
    const struct sandbox_settings *settings = connection->settings;
    const struct sandbox_request request = {
        .method = head->method,
        .path = head->path,
        .content_type = head->content_type,
        .accept = head->accept,
        .user_agent = head->user_agent,
        .authorization = head->authorization,
        .serial = head->serial,
        .body = connection->body.len == 0 ? "" : connection->body.data,
        .body_len = connection->body.len,
        .body_too_large = head->body_len > SANDBOX_BODY_MAX,
    };
    struct sandbox_verdict verdict = {0};
    struct sandbox_fault fault = {0};
    sandbox_check(settings->rules, &request, wall_ms / 1000, &verdict);
    if (verdict.status == 0) {
        fault = choose_fault(settings, &verdict);
    }
    sandbox_reply_make(settings->keys, &verdict, fault, wall_ms / 1000, reply);
    reply->delay_ms += settings->delay_ms;
    const struct sandbox_entry entry = {wall_ms, &request, &verdict, fault, reply};
    sandbox_server_note(connection->server, &entry);
    free(verdict.issue);
    return fault;
}

static bool write_slowly(const struct connection *connection, const struct sandbox_reply *reply)
{
    const char *at = reply->body.data;
    size_t left = reply->body.len;
    const size_t drop = left / DROPS + 1;
    while (left > 0) {
        size_t len = left < drop ? left : drop;
        if (!write_all(connection, at, len)) {
            return false;
        }
        at += len;
        left -= len;
        if (left > 0 && !pause_for(connection, reply->body_ms / (DROPS - 1))) {
            return false;
        }
    }
    return true;
}

static bool write_answer(const struct connection *connection, const struct sandbox_reply *reply,
                         int64_t wall_ms, bool keep_alive)
{
    AUTO_BUF struct buf out = {0};
    sandbox_http_head(reply, wall_ms / 1000, keep_alive, &out);
    if (reply->body_ms > 0) {
        return write_all(connection, out.data, out.len) && write_slowly(connection, reply);
    }
    buf_append(&out, reply->body.data, reply->body.len);
    return write_all(connection, out.data, out.len);
}

/* The effects between requests. */
static enum end after_answer(const struct connection *connection, struct sandbox_fault fault,
                             const struct sandbox_reply *reply, int64_t wall_ms)
{
    AUTO_BUF struct buf out = {0};
    const enum sandbox_effect effect = sandbox_effect_of(fault);
    switch (effect) {
    case EFFECT_TWICE:
        return pause_for(connection, fault.param) && write_answer(connection, reply, wall_ms, true)
                   ? END_NONE
                   : END_CLOSE;
    case EFFECT_IDLE_CLOSE:
        return stays_idle(connection, fault.param) ? END_CLOSE : END_NONE;
    case EFFECT_IDLE_RESET:
        return stays_idle(connection, fault.param) ? END_RESET : END_NONE;
    case EFFECT_IDLE_400:
    case EFFECT_IDLE_408:
        if (!stays_idle(connection, fault.param)) {
            return END_NONE;
        }
        sandbox_http_idle(effect == EFFECT_IDLE_400 ? 400 : 408, &out);
        (void)write_all(connection, out.data, out.len);
        return END_CLOSE;
    default:
        return END_NONE;
    }
}

static enum end answer(struct connection *connection, const struct sandbox_head *head,
                       struct sandbox_reply *reply)
{
    const int64_t wall_ms = clock_wall_ms();
    struct sandbox_fault fault = decide(connection, head, wall_ms, reply);
    const enum sandbox_effect effect = sandbox_effect_of(fault);
    const bool keep_alive = head->keep_alive && effect != EFFECT_CLOSE;
    if (!pause_for(connection, reply->delay_ms)) {
        return END_CUT;
    }
    if (reply->reset) {
        return END_RESET;
    }
    if (effect == EFFECT_CONTINUE) {
        static const char alone[] = "HTTP/1.1 100 Continue\r\n\r\n";
        (void)write_all(connection, alone, sizeof alone - 1);
        return END_CLOSE;
    }
    if (!write_answer(connection, reply, wall_ms, keep_alive) || reply->missing > 0) {
        return END_CUT;
    }
    return keep_alive ? after_answer(connection, fault, reply, wall_ms) : END_CLOSE;
}

/* The sandbox's own path. It is no request to WeChat Pay: it is not in the ledger. */
static enum end pull_lever(struct connection *connection, const struct sandbox_head *head)
{
    struct sandbox_reply reply = {0};
    const int64_t wall_ms = clock_wall_ms();
    sandbox_reply_lever(connection->settings->keys, head->method,
                        head->body_len > SANDBOX_BODY_MAX ? NULL : &connection->body, &reply);
    bool sent = write_answer(connection, &reply, wall_ms, head->keep_alive);
    sandbox_reply_deinit(&reply);
    return !sent ? END_CUT : head->keep_alive ? END_NONE : END_CLOSE;
}

static enum end serve_one(struct connection *connection)
{
    AUTO_BUF struct buf text = {0};
    struct sandbox_head head;
    struct sandbox_reply reply = {0};
    if (!read_request(connection, &text, &head)) {
        return END_CLOSE;
    }
    if (strcmp(head.path, SANDBOX_LEVER_PATH) == 0) {
        return pull_lever(connection, &head);
    }
    enum end end = answer(connection, &head, &reply);
    sandbox_reply_deinit(&reply);
    sandbox_server_answered(connection->server);
    return end;
}

/* ---- life */

static void cork(const struct connection *connection, int on)
{
    (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
}

/* Sends an answer in the first flight of TLS 1.3, so that the client has it when its handshake
 * ends, before it can send a request (SSL_write_early_data(3)). */
static bool answer_unasked(struct connection *connection, struct sandbox_fault fault)
{
    const struct sandbox_settings *settings = connection->settings;
    const int64_t wall_ms = clock_wall_ms();
    const struct sandbox_request request = {.body = ""};
    const struct sandbox_verdict verdict = {0};
    struct sandbox_reply reply = {0};
    AUTO_BUF struct buf out = {0};
    size_t done;
    int result;
    cork(connection, 1); /* in the same segment */
    while ((result = SSL_read_early_data(connection->ssl, &(char){0}, 1, &done)) ==
               SSL_READ_EARLY_DATA_ERROR &&
           again(connection, 0)) {
    }
    if (result != SSL_READ_EARLY_DATA_FINISH) {
        return false;
    }
    sandbox_reply_unasked(settings->keys, wall_ms / 1000, &reply);
    const struct sandbox_entry entry = {wall_ms, &request, &verdict, fault, &reply};
    sandbox_server_note(connection->server, &entry);
    sandbox_http_head(&reply, wall_ms / 1000, true, &out);
    buf_append(&out, reply.body.data, reply.body.len);
    sandbox_reply_deinit(&reply);
    while ((result = SSL_write_early_data(connection->ssl, out.data, out.len, &done)) != 1 &&
           again(connection, result)) {
    }
    cork(connection, 0);
    return result == 1;
}

static bool shake_hands(struct connection *connection, struct sandbox_fault fault)
{
    if (sandbox_effect_of(fault) == EFFECT_UNASKED && !answer_unasked(connection, fault)) {
        return false;
    }
    int result;
    while ((result = SSL_accept(connection->ssl)) != 1 && again(connection, result)) {
    }
    return result == 1;
}

static enum end serve(struct connection *connection, struct sandbox_fault fault)
{
    enum sandbox_effect effect = sandbox_effect_of(fault);
    if (effect == EFFECT_ACCEPT_RESET) {
        return END_RESET;
    }
    if (effect == EFFECT_ACCEPT_CLOSE || !shake_hands(connection, fault)) {
        return END_CUT;
    }
    enum end end = END_NONE;
    while (end == END_NONE) {
        end = serve_one(connection);
    }
    return end;
}

void sandbox_connection_serve(struct sandbox_server *server,
                              const struct sandbox_settings *settings, SSL_CTX *tls, int fd,
                              int stop_fd, struct sandbox_fault fault)
{
    struct connection connection = {
        .server = server, .settings = settings, .fd = fd, .stop_fd = stop_fd, .ssl = SSL_new(tls)};
    enum end end = END_CUT;
    if (connection.ssl != NULL && SSL_set_fd(connection.ssl, fd) == 1) {
        end = serve(&connection, fault);
    }
    if (end == END_CLOSE) {
        (void)SSL_shutdown(connection.ssl);
    } else if (end == END_RESET) { /* close(2) then sends RST, without a TLS alert */
        const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    ERR_clear_error();
    SSL_free(connection.ssl);
    close(fd);
    buf_deinit(&connection.in);
    buf_deinit(&connection.body);
}
