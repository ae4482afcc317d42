/* The caller against a real HTTPS server that behaves in every way that servers do, good and
 * bad. Nothing here measures time: what must not happen is seen by the server's counts. Tests
 * that have to sit a time-out through do so side by side, each in a process of its own. */
#include "exchange/world.h"

#include "presignd/base/mem.h"
#include "presignd/sign/sign.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- How servers answer. ---- */

static bool answer_ok(struct exchange *exchange)
{
    exchange_answer(exchange, "200 OK", "Request-ID: 08F7\r\n", BODY_OK, strlen(BODY_OK));
    return true;
}

static bool answer_and_close(struct exchange *exchange)
{
    exchange_answer(exchange, "200 OK", "Connection: close\r\n", BODY_OK, strlen(BODY_OK));
    return false;
}

static bool reset_at_once(struct exchange *exchange)
{
    exchange_reset(exchange);
    return false;
}

static bool reset_second(struct exchange *exchange)
{
    return exchange->on_connection == 1 ? answer_ok(exchange) : reset_at_once(exchange);
}

static bool close_second(struct exchange *exchange)
{
    return exchange->on_connection == 1 && answer_ok(exchange);
}

static bool stall_second(struct exchange *exchange)
{
    if (exchange->number == 1) {
        return answer_ok(exchange);
    }
    exchange_puts(exchange, "HTTP/1.1 200 OK\r\n");
    exchange_stall(exchange);
    return false;
}

static bool half_body(struct exchange *exchange)
{
    exchange_puts(exchange, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"pre_ent");
    return false;
}

static bool half_header(struct exchange *exchange)
{
    exchange_puts(exchange, "HTTP/1.1 200 OK\r\nContent-Le");
    return false;
}

/* The body ends where the connection does; `len` bytes of it are sent. */
static void body_until_close(struct exchange *exchange, size_t len)
{
    AUTO_BUF struct buf answer = {0};
    buf_puts(&answer, "HTTP/1.1 200 OK\r\nConnection: close\r\n");
    exchange_signature(exchange, &answer, BODY_OK, strlen(BODY_OK));
    buf_puts(&answer, "\r\n");
    buf_append(&answer, BODY_OK, len);
    exchange_write(exchange, answer.data, answer.len);
}

static bool close_delimited(struct exchange *exchange)
{
    body_until_close(exchange, strlen(BODY_OK));
    return false;
}

/* libcurl 7 takes the end of TCP for the end of TLS, and the signature tells what is missing;
 * libcurl 8 reports an error. */
static bool truncated_tls(struct exchange *exchange)
{
    body_until_close(exchange, strlen(BODY_OK) / 2);
    exchange_cut(exchange);
    return false;
}

/* A success padded to so many bytes. */
static char *padded_body(size_t len)
{
    char *body = mem_alloc(len + 1);
    memset(body, 'x', len);
    body[len] = '\0';
    memcpy(body, "{\"pre_entrustweb_id\":\"id\",\"pad\":\"", 33);
    memcpy(body + len - 2, "\"}", 2);
    return body;
}

static bool largest_body(struct exchange *exchange)
{
    AUTO_FREE char *body = padded_body(ANSWER_BODY_MAX);
    exchange_answer(exchange, "200 OK", "", body, ANSWER_BODY_MAX);
    return true;
}

static bool too_large_body(struct exchange *exchange)
{
    AUTO_FREE char *body = padded_body(ANSWER_BODY_MAX + 1);
    exchange_answer(exchange, "200 OK", "", body, ANSWER_BODY_MAX + 1);
    return false;
}

/* Announced, never sent: it must be refused by its announcement. */
static bool huge_length(struct exchange *exchange)
{
    exchange_puts(exchange, "HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n");
    exchange_stall(exchange);
    return false;
}

static void write_chunked(struct exchange *exchange, const char *body, size_t len,
                          const char *trailers)
{
    AUTO_BUF struct buf answer = {0};
    buf_puts(&answer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n");
    if (trailers == NULL) {
        exchange_signature(exchange, &answer, body, len);
    }
    buf_printf(&answer, "\r\n%zx\r\n", len);
    buf_append(&answer, body, len);
    buf_printf(&answer, "\r\n0\r\n%s\r\n", trailers == NULL ? "" : trailers);
    exchange_write(exchange, answer.data, answer.len);
}

static bool chunked(struct exchange *exchange)
{
    write_chunked(exchange, BODY_OK, strlen(BODY_OK), NULL);
    return true;
}

static bool too_large_chunked(struct exchange *exchange)
{
    AUTO_FREE char *body = padded_body(ANSWER_BODY_MAX + 1);
    write_chunked(exchange, body, ANSWER_BODY_MAX + 1, NULL);
    return false;
}

static bool signed_by_trailers(struct exchange *exchange)
{
    AUTO_BUF struct buf trailers = {0};
    exchange_signature(exchange, &trailers, BODY_OK, strlen(BODY_OK));
    write_chunked(exchange, BODY_OK, strlen(BODY_OK), trailers.data);
    return true;
}

/* More than any bound; ends by itself in case there is none. */
enum { FLOOD_LINES = 20000 };

static bool endless_headers(struct exchange *exchange)
{
    exchange_puts(exchange, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < FLOOD_LINES; i++) {
        exchange_puts(exchange, "X-Filler: 0123456789012345678901234567890123456789\r\n");
    }
    return false;
}

static bool endless_interim(struct exchange *exchange)
{
    for (int i = 0; i < FLOOD_LINES; i++) {
        exchange_puts(exchange, "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n");
    }
    return answer_ok(exchange);
}

static bool compressed(struct exchange *exchange)
{
    exchange_answer(exchange, "200 OK", "Content-Encoding: gzip\r\n", BODY_OK, strlen(BODY_OK));
    return true;
}

static bool other_algorithm(struct exchange *exchange)
{
    exchange_answer(exchange, "200 OK", "Wechatpay-Signature-Type: WECHATPAY2-SM2-WITH-SM3\r\n",
                    BODY_OK, strlen(BODY_OK));
    return true;
}

static bool continue_first(struct exchange *exchange)
{
    exchange_puts(exchange, "HTTP/1.1 100 Continue\r\n\r\n");
    return answer_ok(exchange);
}

/* What stands in an interim answer's headers says nothing of the final one. */
static bool hints_first(struct exchange *exchange)
{
    exchange_puts(exchange, "HTTP/1.1 103 Early Hints\r\nWechatpay-Signature: AAAA\r\n"
                            "Content-Encoding: br\r\nRequest-ID: hint\r\n\r\n");
    return answer_ok(exchange);
}

static bool interim_alone(struct exchange *exchange)
{
    exchange_puts(exchange, "HTTP/1.1 103 Early Hints\r\n\r\n");
    return false;
}

static bool no_content(struct exchange *exchange)
{
    exchange_puts(exchange, "HTTP/1.1 204 No Content\r\n\r\n");
    return true;
}

static bool redirect(struct exchange *exchange)
{
    exchange_answer(exchange, "302 Found", "Location: /v3/elsewhere\r\n", "", 0);
    return true;
}

static bool not_http(struct exchange *exchange)
{
    exchange_puts(exchange, "hello, this is no HTTP\r\n\r\n" BODY_OK);
    return false;
}

static bool signature_twice(struct exchange *exchange)
{
    AUTO_BUF struct buf headers = {0};
    exchange_signature(exchange, &headers, BODY_OK, strlen(BODY_OK));
    exchange_answer(exchange, "200 OK", headers.data, BODY_OK, strlen(BODY_OK));
    return true;
}

static bool lower_case_headers(struct exchange *exchange)
{
    AUTO_BUF struct buf answer = {0};
    exchange_signature(exchange, &answer, BODY_OK, strlen(BODY_OK));
    for (char *line = answer.data; line != NULL && *line != '\0'; line = strchr(line, '\n') + 1) {
        for (char *c = line; *c != ':'; c++) {
            *c = (char)tolower((unsigned char)*c);
        }
    }
    AUTO_BUF struct buf whole = {0};
    buf_printf(&whole, "HTTP/1.1 200 OK\r\ncontent-length: %zu\r\n%s\r\n%s", strlen(BODY_OK),
               answer.data, BODY_OK);
    exchange_write(exchange, whole.data, whole.len);
    return true;
}

static bool busy(struct exchange *exchange)
{
    exchange_answer(exchange, "429 Too Many Requests", "Retry-After: 7\r\nRequest-ID: 08AA\r\n",
                    "{\"code\":\"RATELIMIT_EXCEEDED\"}", 29);
    return true;
}

static bool unavailable_page(struct exchange *exchange)
{
    exchange_puts(exchange, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 6\r\n\r\n<html>");
    return true;
}

#define STATUS_OF(name, line)                       \
    static bool name(struct exchange *exchange)     \
    {                                               \
        exchange_answer(exchange, line, "", "", 0); \
        return true;                                \
    }
STATUS_OF(request_time_out, "408 Request Timeout")
STATUS_OF(misdirected, "421 Misdirected Request")
STATUS_OF(too_early, "425 Too Early")

static bool hold_then_ok(struct exchange *exchange)
{
    exchange_hold(exchange);
    return answer_ok(exchange);
}

static bool hold_second(struct exchange *exchange)
{
    return exchange->number == 2 ? hold_then_ok(exchange) : answer_ok(exchange);
}

/* ---- What the caller makes of one answer each: a table. ---- */

static const struct scene {
    const char *name;
    server_handler *handler;
    int calls; /* one after the other; what follows is of the last */
    enum answer_kind kind;
    enum call_state state;
    int status;
    int requests, connections; /* that the server counts in the end */
} scenes[] = {
    {"success", answer_ok, 1, ANSWER_SUCCESS, CALL_ANSWERED, 200, 1, 1},
    {"reuse", answer_ok, 3, ANSWER_SUCCESS, CALL_ANSWERED, 200, 3, 1},
    {"close", answer_and_close, 3, ANSWER_SUCCESS, CALL_ANSWERED, 200, 3, 3},
    {"reset", reset_at_once, 1, ANSWER_UNAVAILABLE, CALL_UNKNOWN, 0, 1, 1},
    /* A third request would be the second one again, with the same nonce. */
    {"reset kept", reset_second, 2, ANSWER_UNAVAILABLE, CALL_UNKNOWN, 0, 2, -1},
    {"close kept", close_second, 2, ANSWER_UNAVAILABLE, CALL_UNKNOWN, 0, 2, -1},
    {"half body", half_body, 1, ANSWER_UNAVAILABLE, CALL_UNKNOWN, 200, 1, 1},
    {"half header", half_header, 1, ANSWER_UNAVAILABLE, CALL_UNKNOWN, 200, 1, 1},
    {"until close", close_delimited, 1, ANSWER_SUCCESS, CALL_ANSWERED, 200, 1, 1},
    {"truncated TLS", truncated_tls, 1, ANSWER_UNVERIFIED, CALL_UNKNOWN, 200, 1, 1},
    {"largest body", largest_body, 1, ANSWER_SUCCESS, CALL_ANSWERED, 200, 1, 1},
    {"too large", too_large_body, 1, ANSWER_UNVERIFIED, CALL_UNKNOWN, 200, 1, 1},
    {"huge length", huge_length, 1, ANSWER_UNVERIFIED, CALL_UNKNOWN, 200, 1, 1},
    {"chunked", chunked, 2, ANSWER_SUCCESS, CALL_ANSWERED, 200, 2, 1},
    {"too large chunked", too_large_chunked, 1, ANSWER_UNVERIFIED, CALL_UNKNOWN, 200, 1, 1},
    {"trailers", signed_by_trailers, 1, ANSWER_UNVERIFIED, CALL_UNKNOWN, 200, 1, 1},
    {"endless headers", endless_headers, 1, ANSWER_UNVERIFIED, CALL_UNKNOWN, 200, 1, 1},
    {"endless interim", endless_interim, 1, ANSWER_UNAVAILABLE, CALL_UNKNOWN, 103, 1, 1},
    {"compressed", compressed, 1, ANSWER_UNVERIFIED, CALL_UNKNOWN, 200, 1, 1},
    {"continue", continue_first, 2, ANSWER_SUCCESS, CALL_ANSWERED, 200, 2, 1},
    {"early hints", hints_first, 2, ANSWER_SUCCESS, CALL_ANSWERED, 200, 2, 1},
    {"interim alone", interim_alone, 1, ANSWER_UNAVAILABLE, CALL_UNKNOWN, 103, 1, 1},
    {"no content", no_content, 1, ANSWER_UNEXPECTED, CALL_UNKNOWN, 204, 1, 1},
    {"redirect", redirect, 1, ANSWER_UNEXPECTED, CALL_ANSWERED, 302, 1, 1},
    {"not HTTP", not_http, 1, ANSWER_UNAVAILABLE, CALL_UNKNOWN, 0, 1, 1},
    {"signature twice", signature_twice, 1, ANSWER_UNVERIFIED, CALL_UNKNOWN, 200, 1, 1},
    {"other algorithm", other_algorithm, 1, ANSWER_UNVERIFIED, CALL_UNKNOWN, 200, 1, 1},
    {"lower case", lower_case_headers, 1, ANSWER_SUCCESS, CALL_ANSWERED, 200, 1, 1},
    {"busy", busy, 1, ANSWER_RATE_LIMITED, CALL_ANSWERED, 429, 1, 1},
    {"request time-out", request_time_out, 2, ANSWER_UNAVAILABLE, CALL_ANSWERED, 408, 2, 1},
    {"misdirected", misdirected, 2, ANSWER_UNAVAILABLE, CALL_ANSWERED, 421, 2, 1},
    {"too early", too_early, 2, ANSWER_UNAVAILABLE, CALL_ANSWERED, 425, 2, 1},
    {"unavailable", unavailable_page, 1, ANSWER_UNAVAILABLE, CALL_UNKNOWN, 503, 1, 1},
};

static void play(const struct scene *scene)
{
    current = scene->name;
    struct server *server = open_server(scene->handler, &world.identity, 0);
    const struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    const struct answer *answer = &world.answers[0];
    for (int i = 0; i < scene->calls; i++) {
        call_once(PATIENCE_MS);
        CHECK(world.times[0] == i + 1);
    }
    /* libcurl 8 finds this fault itself. */
    bool is_expected = answer->kind == scene->kind ||
                       (scene->handler == truncated_tls && answer->kind == ANSWER_UNAVAILABLE);
    if (!is_expected || answer->status != scene->status) {
        fprintf(stderr, "%s: %s %d (%s)\n", scene->name, answer_kind_name(answer->kind),
                answer->status, answer->detail);
    }
    CHECK(is_expected);
    CHECK(answer->call_state == scene->state);
    CHECK(answer->status == scene->status);
    CHECK(answer->detail != NULL);
    CHECK(answer->duration_us > 0);
    CHECK(answer->kind != ANSWER_UNAVAILABLE || answer->status != 0 ||
          answer_end_of(answer) == ANSWER_END_RESET);
    CHECK(strcmp(answer->host, url_of(server) + strlen("https://")) == 0);
    /* Before the server looks at its counts, it must have seen the client go. */
    close_caller();
    server_wait_open(server, 0);
    CHECK(server->requests == scene->requests);
    CHECK(scene->connections < 0 || server->connections == scene->connections);
    close_server(server);
}

/* ---- What no table says. ---- */

static unsigned signed_requests;

static void count_signed(void *context, const struct merchant *merchant)
{
    (void)context;
    CHECK(merchant->serial_no != NULL);
    signed_requests++;
}

static void test_success_in_full(void)
{
    current = "success in full";
    struct server *server = open_server(answer_ok, &world.identity, 0);
    const struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    caller_notify_signed(world.caller, count_signed);
    const struct answer *answer = call_once(PATIENCE_MS);
    CHECK(signed_requests == 1);
    CHECK(answer->clock == ANSWER_CLOCK_SIGNED);
    CHECK(llabs(answer->clock_offset_ms) < PATIENCE_MS);
    CHECK(answer->is_signed && answer->verify == VERIFY_OK);
    CHECK(strcmp(answer->id_value, "57d8b1aa") == 0);
    CHECK(strcmp(answer->body, BODY_OK) == 0);
    CHECK(strcmp(answer->request_id, "08F7") == 0);
    CHECK(strcmp(answer->serial, SERIAL) == 0);
    CHECK(answer->retry_after_ms == -1);
    CHECK(caller_host_count(world.caller) == 1);
    CHECK(strcmp(caller_host_name(world.caller, 0), answer->host) == 0);
    close_caller();
    close_server(server);
}

static void test_retry_after(void)
{
    current = "retry after";
    struct server *server = open_server(busy, &world.identity, 0);
    const struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    const struct answer *answer = call_once(PATIENCE_MS);
    CHECK(answer->retry_after_ms == 7000);
    CHECK(strcmp(answer->code, "RATELIMIT_EXCEEDED") == 0);
    CHECK(answer->is_signed);
    close_caller();
    close_server(server);
}

static bool misdirected_first(struct exchange *exchange)
{
    return exchange->number == 1 ? misdirected(exchange) : answer_ok(exchange);
}

/* The next attempt is told not to use the kept connection; one after that may use the new one. */
static void test_new_connection(void)
{
    current = "new connection";
    struct server *server = open_server(misdirected_first, &world.identity, 0);
    const struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    CHECK(call_once(PATIENCE_MS)->wants_new_connection);
    struct attempt attempt = attempt_of(0, PATIENCE_MS);
    attempt.new_connection = true;
    start_attempt(0, &attempt);
    run_calls();
    CHECK(world.answers[0].kind == ANSWER_SUCCESS && !world.answers[0].wants_new_connection);
    CHECK(call_once(PATIENCE_MS)->kind == ANSWER_SUCCESS);
    close_caller();
    server_wait_open(server, 0);
    CHECK(server->requests == 3 && server->connections == 2);
    close_server(server);
}

static void test_time_out(void)
{
    current = "time-out";
    struct server *server = open_server(stall_second, &world.identity, 0);
    const struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    /* The first makes the connection, so that the second's time is for the answer alone. */
    CHECK(call_once(PATIENCE_MS)->kind == ANSWER_SUCCESS);
    const struct answer *answer = call_once(SHORT_MS);
    CHECK(answer->kind == ANSWER_UNAVAILABLE);
    CHECK(answer->call_state == CALL_UNKNOWN);
    CHECK(answer->counts_as_outage);
    CHECK(strstr(answer->detail, "in time") != NULL);
    CHECK(answer_end_of(answer) == ANSWER_END_TIMEOUT);
    server_wait_requests(server, 2);
    close_caller();
    close_server(server);
}

static void expect_unreachable(const struct caller_config *config, const char *detail,
                               enum answer_cause cause)
{
    open_caller(config);
    const struct answer *answer = call_once(PATIENCE_MS);
    CHECK(answer->kind == ANSWER_UNREACHABLE);
    CHECK(answer->call_state == CALL_NOT_SENT);
    CHECK(answer->status == 0);
    if (strstr(answer->detail, detail) == NULL) {
        fprintf(stderr, "%s: %s\n", current, answer->detail);
    }
    CHECK(strstr(answer->detail, detail) != NULL);
    CHECK(answer->cause == cause);
    CHECK(answer->counts_as_outage);
    close_caller();
}

static void test_refused(void)
{
    current = "connect refused";
    int port = 0;
    int fd = bound_socket(&port);
    AUTO_FREE char *url = mem_printf("https://127.0.0.1:%d/", port);
    struct caller_config config = config_for(url);
    expect_unreachable(&config, "refused", ANSWER_CAUSE_NONE);

    current = "proxy refused";
    struct server *server = open_server(answer_ok, &world.identity, 0);
    config = config_for(url_of(server));
    AUTO_FREE char *proxy = mem_printf("http://127.0.0.1:%d", port);
    config.proxy = proxy;
    expect_unreachable(&config, "connection to the proxy was refused", ANSWER_CAUSE_NONE);
    CHECK(server->requests == 0);
    close_server(server);
    close(fd);
}

/* An HTTP proxy that takes one connection after the other, or refuses each. */
struct tunnel {
    int fd;
    SSL_CTX *tls; /* of an https proxy; else NULL */
    char *url;
    bool refuses;
    int count; /* to be read when the thread has ended */
    pthread_t thread;
};

/* One end of a tunnel. */
struct end {
    int fd;
    SSL *ssl; /* or NULL */
};

static ssize_t end_read(struct end end, char *bytes, size_t len)
{
    return end.ssl == NULL ? read(end.fd, bytes, len) : SSL_read(end.ssl, bytes, (int)len);
}

static bool end_write(struct end end, const char *bytes, size_t len)
{
    ssize_t written =
        end.ssl == NULL ? write(end.fd, bytes, len) : SSL_write(end.ssl, bytes, (int)len);
    return written == (ssize_t)len;
}

static void carry(struct end a, struct end b)
{
    char bytes[4096];
    struct pollfd ends[2] = {{.fd = a.fd, .events = POLLIN}, {.fd = b.fd, .events = POLLIN}};
    for (;;) {
        bool pending = a.ssl != NULL && SSL_pending(a.ssl) > 0;
        if (!pending && poll(ends, 2, -1) <= 0) {
            return;
        }
        bool from_a = pending || ends[0].revents != 0;
        ssize_t len = end_read(from_a ? a : b, bytes, sizeof bytes);
        if (len <= 0 || !end_write(from_a ? b : a, bytes, (size_t)len)) {
            return;
        }
    }
}

/* Headers of the proxy's own, which must not be taken for the answer's. */
static void serve_tunnel(struct tunnel *tunnel, struct end client)
{
    static const char no[] = "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n";
    static const char yes[] = "HTTP/1.1 200 Yes\r\nRequest-ID: proxy\r\nRetry-After: 9\r\n\r\n";
    char head[1024] = "";
    for (size_t len = 0; strstr(head, "\r\n\r\n") == NULL && len < sizeof head - 1; len++) {
        if (end_read(client, head + len, 1) != 1) {
            CHECK(tunnel->tls != NULL); /* the client does not trust the proxy */
            return;
        }
    }
    int port = 0;
    /* NOLINTNEXTLINE(cert-err34-c): the count is looked at */
    CHECK(sscanf(head, "CONNECT 127.0.0.1:%d HTTP/1.1\r\n", &port) == 1);
    CHECK(strstr(head, "Authorization: WECHATPAY2") == NULL);
    tunnel->count++;
    if (tunnel->refuses) {
        CHECK(end_write(client, no, sizeof no - 1));
        return;
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((uint16_t)port)};
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(end_write(client, yes, sizeof yes - 1));
    carry(client, (struct end){.fd = fd});
    close(fd);
}

/* A client that does not trust the proxy ends inside the handshake, or with TLS 1.3 after it. */
static void *run_tunnel(void *context)
{
    struct tunnel *tunnel = context;
    int client;
    while ((client = accept(tunnel->fd, NULL, NULL)) >= 0) {
        SSL *ssl = tunnel->tls == NULL ? NULL : SSL_new(tunnel->tls);
        CHECK(ssl == NULL || SSL_set_fd(ssl, client) == 1);
        if (ssl == NULL || SSL_accept(ssl) == 1) {
            serve_tunnel(tunnel, (struct end){client, ssl});
        }
        SSL_free(ssl);
        close(client);
    }
    return NULL;
}

/* `identity`: of an https proxy; NULL: http. */
static void open_tunnel(struct tunnel *tunnel, bool refuses, const struct identity *identity)
{
    int port = 0;
    *tunnel = (struct tunnel){.fd = bound_socket(&port), .refuses = refuses};
    tunnel->url = mem_printf("%s://127.0.0.1:%d", identity == NULL ? "http" : "https", port);
    if (identity != NULL) {
        tunnel->tls = SSL_CTX_new(TLS_server_method());
        CHECK(SSL_CTX_use_certificate(tunnel->tls, identity->certificate) == 1);
        CHECK(SSL_CTX_use_PrivateKey(tunnel->tls, identity->key) == 1);
    }
    CHECK(listen(tunnel->fd, CALLS_MAX) == 0);
    CHECK(pthread_create(&tunnel->thread, NULL, run_tunnel, tunnel) == 0);
}

static void close_tunnel(struct tunnel *tunnel, int count)
{
    shutdown(tunnel->fd, SHUT_RDWR);
    pthread_join(tunnel->thread, NULL);
    CHECK(tunnel->count == count);
    close(tunnel->fd);
    SSL_CTX_free(tunnel->tls);
    free(tunnel->url);
}

/* A call through the proxy, as the server's answer says. */
static void expect_tunnelled(struct caller_config *config, struct tunnel *tunnel)
{
    config->proxy = tunnel->url;
    open_caller(config);
    const struct answer *answer = call_once(PATIENCE_MS);
    CHECK(answer->kind == ANSWER_SUCCESS);
    CHECK(strcmp(answer->request_id, "08F7") == 0);
    CHECK(answer->retry_after_ms == -1);
    close_caller();
    close_tunnel(tunnel, 1);
}

static void test_proxy(void)
{
    struct tunnel tunnel;
    struct server *server = open_server(answer_ok, &world.identity, 0);
    struct caller_config config = config_for(url_of(server));

    current = "proxy that refuses";
    open_tunnel(&tunnel, true, NULL);
    config.proxy = tunnel.url;
    expect_unreachable(&config, "the proxy refused", ANSWER_CAUSE_NONE);
    close_tunnel(&tunnel, 1);

    current = "proxy";
    open_tunnel(&tunnel, false, NULL);
    expect_tunnelled(&config, &tunnel);
    server_wait_open(server, 0);
    CHECK(server->connections == 1);
    close_server(server);
}

/* The proxy's authority is not the server's. */
static void test_https_proxy(void)
{
    struct tunnel tunnel;
    struct identity identity = identity_server(&world.other_authority, "IP:127.0.0.1", 1);
    struct server *server = open_server(answer_ok, &world.identity, 0);
    struct caller_config config = config_for(url_of(server));

    current = "https proxy that is not trusted";
    open_tunnel(&tunnel, false, &identity);
    config.proxy = tunnel.url;
    expect_unreachable(&config, "the proxy's certificate is not trusted", ANSWER_CAUSE_TLS);
    close_tunnel(&tunnel, 0);

    current = "https proxy";
    config.proxy_ca_file = path_of("other-ca.pem");
    open_tunnel(&tunnel, false, &identity);
    expect_tunnelled(&config, &tunnel);
    server_wait_open(server, 0);
    CHECK(server->connections == 1);
    close_server(server);
    identity_free(&identity);
}

static void test_no_name(void)
{
    current = "no such name";
    const struct caller_config config = config_for("https://presignd.invalid");
    expect_unreachable(&config, "resolved", ANSWER_CAUSE_NAME);
}

static void expect_distrust(const char *name, const struct identity *identity, int tls_version,
                            const char *ca, const char *detail)
{
    current = name;
    struct server *server = open_server(answer_ok, identity, tls_version);
    struct caller_config config = config_for(url_of(server));
    config.ca_file = ca == NULL ? NULL : path_of(ca);
    expect_unreachable(&config, detail, ANSWER_CAUSE_TLS);
    CHECK(server->requests == 0);
    close_server(server);
}

static void test_distrust(void)
{
    expect_distrust("untrusted CA", &world.identity, 0, "other-ca.pem", "not trusted");
    expect_distrust("system's CAs", &world.identity, 0, NULL, "not trusted");
    expect_distrust("wrong name", &world.elsewhere, 0, "ca.pem", "not trusted");
    expect_distrust("expired", &world.expired, 0, "ca.pem", "not trusted");
    expect_distrust("TLS 1.1", &world.identity, TLS1_1_VERSION, "ca.pem", "handshake");
}

/* The first calls are still in flight, and their easy handles with them, when the next begins:
 * what that one resumes comes from the shared cache. A ticket that is there before its connection
 * is looked at is lost, so the second need not resume. */
enum { HELD = 5 };

static void test_session_resumption(void)
{
    current = "session resumption";
    struct server *server = open_server(hold_then_ok, &world.identity, 0);
    const struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    for (int i = 0; i < HELD; i++) {
        start_call((size_t)i, 0, PATIENCE_MS);
        run_until(&server->requests, i + 1, server);
    }
    server_release(server);
    run_calls();
    close_caller();
    server_wait_open(server, 0);
    CHECK(server->connections == HELD);
    CHECK(server->resumed > 0);
    close_server(server);
}

static void test_many_on_few_connections(void)
{
    current = "bounded connections";
    struct server *server = open_server(answer_ok, &world.identity, 0);
    struct caller_config config = config_for(url_of(server));
    config.max_connections = 4;
    open_caller(&config);
    for (size_t i = 0; i < CALLS_MAX; i++) {
        start_call(i, 0, PATIENCE_MS);
    }
    CHECK(caller_in_flight(world.caller) == CALLS_MAX);
    run_calls();
    for (int i = 0; i < CALLS_MAX; i++) {
        CHECK(world.times[i] == 1);
        CHECK(world.answers[i].kind == ANSWER_SUCCESS);
    }
    close_caller();
    server_wait_open(server, 0);
    CHECK(server->requests == CALLS_MAX);
    CHECK(server->most_open <= 4);
    close_server(server);
}

/* Hundreds may wait for a host that never accepts; the other one goes on. */
static void test_dead_host_beside_living(void)
{
    current = "dead host";
    int port = 0;
    int fd = bound_socket(&port);
    CHECK(listen(fd, CALLS_MAX) == 0); /* connections are made, and no TLS ever comes */
    AUTO_FREE char *dead = mem_printf("https://127.0.0.1:%d", port);
    struct server *server = open_server(answer_ok, &world.identity, 0);
    struct caller_config config = config_for(dead);
    config.base_url[1] = url_of(server);
    open_caller(&config);
    for (size_t i = 1; i < CALLS_MAX; i++) {
        start_call(i, 0, PATIENCE_MS);
    }
    start_call(0, 1, PATIENCE_MS);
    world.left = 1;
    CHECK(loop_run(world.loop) == 0);
    CHECK(world.times[0] == 1);
    CHECK(world.answers[0].kind == ANSWER_SUCCESS);
    world.left = 0;
    close_caller();
    close_server(server);
    close(fd);
}

/* Runs until `count` of the calls that were started are answered. */
static void run_some_calls(int count)
{
    world.left = count;
    CHECK(loop_run(world.loop) == 0);
}

static void expect_expired(const struct answer *answer)
{
    CHECK(answer->kind == ANSWER_UNREACHABLE);
    CHECK(answer->call_state == CALL_NOT_SENT);
    CHECK(!answer->counts_as_outage);
    CHECK(strstr(answer->detail, "time passed") != NULL);
}

static int64_t wall_ms(void)
{
    return clock_now(&clock_system).wall_ms;
}

/* A wall clock that goes on by 100 s whenever it is read. */
static struct moment read_hasty_clock(void *context)
{
    int64_t *ahead_ms = context;
    struct moment now = clock_now(&clock_system);
    now.wall_ms += *ahead_ms;
    *ahead_ms += 100000;
    return now;
}

/* Its time ends after the call was started and before its request can go out. */
static void test_expiry_while_connecting(void)
{
    current = "expiry while connecting";
    int64_t ahead_ms = 0;
    const struct clock hasty = {read_hasty_clock, &ahead_ms};
    struct server *server = open_server(answer_ok, &world.identity, 0);
    const struct caller_config config = config_for(url_of(server));
    open_caller_with(&config, &hasty);
    start_expiring_call(0, 0, PATIENCE_MS, wall_ms() + 150000);
    run_calls();
    expect_expired(&world.answers[0]);
    close_caller();
    server_wait_open(server, 0);
    CHECK(server->requests == 0);
    close_server(server);
}

static void test_expired_before_connecting(void)
{
    current = "expired";
    struct server *server = open_server(answer_ok, &world.identity, 0);
    const struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    start_expiring_call(0, 0, PATIENCE_MS, wall_ms());
    run_calls();
    expect_expired(&world.answers[0]);
    start_expiring_call(0, 0, PATIENCE_MS, wall_ms() + PATIENCE_MS);
    run_calls();
    CHECK(world.answers[0].kind == ANSWER_SUCCESS);
    close_caller();
    server_wait_open(server, 0);
    CHECK(server->requests == 1 && server->connections == 1);
    close_server(server);
}

/* What was sent in time may be answered after the event's time. */
static void test_expiry_after_sending(void)
{
    current = "expiry after sending";
    struct server *server = open_server(stall_second, &world.identity, 0);
    const struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    CHECK(call_once(PATIENCE_MS)->kind == ANSWER_SUCCESS);
    start_expiring_call(0, 0, SHORT_MS, wall_ms() + SHORT_MS / 2);
    run_calls();
    CHECK(world.answers[0].call_state == CALL_UNKNOWN);
    CHECK(world.answers[0].duration_ms >= SHORT_MS / 2 + SHORT_MS / 4);
    close_caller();
    close_server(server);
}

/* A host that takes connections, and never speaks TLS. */
struct mute {
    int fd;
    char *url;
};

static struct mute open_mute(void)
{
    int port = 0;
    int fd = bound_socket(&port);
    CHECK(listen(fd, CALLS_MAX) == 0);
    return (struct mute){fd, mem_printf("https://127.0.0.1:%d", port)};
}

static void close_mute(struct mute *mute)
{
    close(mute->fd);
    free(mute->url);
}

/* Neither in a handshake nor behind others is an event kept beyond its time. */
static void test_expiry_ends_the_wait(void)
{
    current = "expiry ends the wait";
    struct mute mute = open_mute();
    struct caller_config config = config_for(mute.url);
    config.max_connections = 1;
    open_caller(&config);
    start_expiring_call(0, 0, PATIENCE_MS, wall_ms() + SHORT_MS / 4);
    run_calls();
    expect_expired(&world.answers[0]);
    start_call(1, 0, PATIENCE_MS);
    start_expiring_call(2, 0, PATIENCE_MS, wall_ms() + SHORT_MS / 4);
    run_some_calls(1);
    expect_expired(&world.answers[2]);
    CHECK(world.times[1] == 0);
    world.left = 0;
    close_caller();
    close_mute(&mute);
}

static void expect_no_connection(const struct answer *answer)
{
    CHECK(answer->kind == ANSWER_UNREACHABLE);
    CHECK(answer->call_state == CALL_NOT_SENT);
    CHECK(answer->counts_as_outage);
    CHECK(strstr(answer->detail, "no connection was made in time") != NULL);
}

/* A time-out ends the wait for others' handshakes, though nothing else happens. */
static void test_time_out_of_the_waiting(void)
{
    current = "time-out of the waiting";
    struct mute mute = open_mute();
    struct caller_config config = config_for(mute.url);
    config.max_connections = 1;
    open_caller(&config);
    start_call(0, 0, PATIENCE_MS);
    start_call(1, 0, SHORT_MS);
    start_call(2, 0, SHORT_MS / 4);
    run_some_calls(2);
    CHECK(world.times[0] == 0 && world.times[1] == 1 && world.times[2] == 1);
    expect_no_connection(&world.answers[1]);
    expect_no_connection(&world.answers[2]);
    CHECK(world.answers[2].duration_ms >= SHORT_MS / 4);
    world.left = 0;
    close_caller();
    close_mute(&mute);
}

/* The second call waits for the first one's end, 3 s, and has half a second left then. If the
 * wait did not count it would end at 6.5 s, after the call to the other host. */
static void test_waiting_counts(void)
{
    current = "waiting counts";
    struct mute mute = open_mute();
    struct mute other = open_mute();
    struct caller_config config = config_for(mute.url);
    config.base_url[1] = other.url;
    config.max_connections = 2;
    open_caller(&config);
    start_call(0, 0, 3000);
    start_call(1, 0, 3500);
    start_call(2, 1, 6000);
    run_some_calls(2);
    CHECK(world.times[0] == 1 && world.times[1] == 1 && world.times[2] == 0);
    expect_no_connection(&world.answers[1]);
    world.left = 0;
    close_caller();
    close_mute(&mute);
    close_mute(&other);
}

static void stop_loop(void *context)
{
    (void)context;
    loop_stop(world.loop, 0);
}

/* A connection that was idle for 7 s is not taken again, while another one is in use. */
static void test_idle_connection_is_not_taken(void)
{
    current = "idle beside a busy one";
    enum { AFTER_MS = 7100 };
    struct server *server = open_server(hold_second, &world.identity, 0);
    const struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    CHECK(call_once(PATIENCE_MS)->kind == ANSWER_SUCCESS);
    start_call(1, 0, PATIENCE_MS); /* takes the first connection and holds it */
    run_until(&server->requests, 2, server);
    start_call(0, 0, PATIENCE_MS); /* makes a second one, idle from now on */
    run_some_calls(1);
    CHECK(world.times[0] == 2);
    struct loop_timer timer;
    loop_timer_init(&timer, world.loop, stop_loop, NULL);
    loop_timer_set(&timer, clock_now(&clock_system).mono_ms + AFTER_MS);
    CHECK(loop_run(world.loop) == 0);
    start_call(0, 0, PATIENCE_MS);
    run_some_calls(1);
    CHECK(world.times[0] == 3 && world.times[1] == 0);
    CHECK(world.answers[0].kind == ANSWER_SUCCESS);
    world.left = 1;
    server_release(server);
    run_calls();
    close_caller();
    server_wait_open(server, 0);
    CHECK(server->connections == 3);
    close_server(server);
}

/* Kept connections are closed by us, 7 s after their last use. */
static void test_idle_connections_are_closed(void)
{
    current = "idle";
    struct server *server = open_server(answer_ok, &world.identity, 0);
    const struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    CHECK(call_once(PATIENCE_MS)->kind == ANSWER_SUCCESS);
    run_until(&server->open, 0, server);
    CHECK(call_once(PATIENCE_MS)->kind == ANSWER_SUCCESS);
    close_caller();
    server_wait_open(server, 0);
    CHECK(server->connections == 2);
    close_server(server);
}

/* A key that the signing threads do not have. */
static struct sign_key *foreign_key(void)
{
    char *error = NULL;
    struct sign_service *other = sign_service_threads(endpoint_may_post);
    struct sign_key *key = NULL;
    CHECK(other != NULL);
    for (int i = 0; i < 2; i++) {
        sign_key_unref(key);
        key = sign_key_load(other, path_of("merchant.pem"), &error);
        CHECK(key != NULL);
    }
    sign_service_free(other);
    return key;
}

static void test_signing_failure(void)
{
    current = "signing failure";
    struct server *server = open_server(answer_ok, &world.identity, 0);
    const struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    struct sign_key *key = world.merchant->sign_key;
    world.merchant->sign_key = foreign_key();
    const struct answer *answer = call_once(PATIENCE_MS);
    sign_key_unref(world.merchant->sign_key);
    world.merchant->sign_key = key;
    CHECK(answer->kind == ANSWER_UNREACHABLE);
    CHECK(answer->call_state == CALL_NOT_SENT);
    CHECK(!answer->counts_as_outage);
    CHECK(answer->cause == ANSWER_CAUSE_SHORTAGE && answer->lacks_signature); /* no attempt */
    CHECK(strstr(answer->detail, "signing failed") != NULL);
    CHECK(server->connections == 0);
    close_caller();
    close_server(server);
}

static struct {
    int times, status;
    bool has_body, has_date;
    enum verify_status verify;
    char reason[128];
} get_result;

static void on_got(void *cookie, const struct caller_got *got)
{
    struct world *it = cookie;
    const struct verify_input *input = &got->input.verify;
    CHECK(!it->starting);
    get_result.times++;
    get_result.status = got->status;
    get_result.has_date = got->has_date;
    snprintf(get_result.reason, sizeof get_result.reason, "%s",
             got->reason == NULL ? "" : got->reason);
    if (got->status != 0) {
        get_result.has_body = input->body_len == strlen(BODY_OK) &&
                              memcmp(input->body, BODY_OK, input->body_len) == 0;
        get_result.verify = verify_answer(it->merchant->verify_keys, it->merchant->verify_key_count,
                                          input, clock_now(&clock_system).wall_ms / 1000);
    }
    loop_stop(it->loop, 0);
}

static void get_once(void)
{
    const struct caller_get get = {.merchant = world.merchant,
                                   .path = CERTIFICATES_PATH,
                                   .timeout_ms = PATIENCE_MS,
                                   .got = on_got};
    memset(&get_result, 0, sizeof get_result);
    world.starting = true;
    caller_get(world.caller, &get, &world);
    world.starting = false;
    CHECK(loop_run(world.loop) == 0);
    CHECK(get_result.times == 1 && caller_in_flight(world.caller) == 0);
}

static bool answer_dated(struct exchange *exchange)
{
    exchange_answer(exchange, "200 OK", "Date: Mon, 23 Nov 2026 08:00:00 GMT\r\n", BODY_OK,
                    strlen(BODY_OK));
    return true;
}

static void test_get(void)
{
    current = "GET";
    struct server *server = open_server(answer_dated, &world.identity, 0);
    struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    get_once();
    CHECK(get_result.status == 200 && get_result.has_body && get_result.has_date);
    CHECK(get_result.verify == VERIFY_OK && get_result.reason[0] == '\0');
    CHECK(call_once(PATIENCE_MS)->kind == ANSWER_SUCCESS); /* the same call, used again */
    get_once();
    CHECK(get_result.status == 200 && server->requests == 3 && server->connections == 1);
    struct sign_key *key = world.merchant->sign_key;
    world.merchant->sign_key = foreign_key();
    get_once();
    sign_key_unref(world.merchant->sign_key);
    world.merchant->sign_key = key;
    CHECK(get_result.status == 0 && strstr(get_result.reason, "signing failed") != NULL);
    close_caller();
    close_server(server);

    server = open_server(reset_at_once, &world.identity, 0);
    config = config_for(url_of(server));
    open_caller(&config);
    get_once();
    CHECK(get_result.status == 0 && get_result.reason[0] != '\0');
    close_caller();
    close_server(server);
}

static void test_reload(void)
{
    current = "reload";
    struct server *old = open_server(hold_then_ok, &world.identity, 0);
    struct server *new = open_server(answer_ok, &world.identity, 0);
    struct caller_config config = config_for(url_of(old));
    open_caller(&config);
    AUTO_FREE char *old_name = mem_strdup(caller_host_name(world.caller, 0));
    start_call(0, 0, PATIENCE_MS);

    char *error = NULL;
    config.base_url[0] = "https://127.0.0.1/with/a/path";
    CHECK(!caller_configure(world.caller, &config, &error));
    CHECK(strstr(error, "base_url") != NULL);
    free(error);
    config = config_for(url_of(new));
    config.ca_file = "/nowhere/ca.pem";
    CHECK(!caller_configure(world.caller, &config, &error));
    CHECK(strstr(error, "/nowhere/ca.pem") != NULL);
    free(error);
    CHECK(strcmp(caller_host_name(world.caller, 0), old_name) == 0);

    config = config_for(url_of(new));
    CHECK(caller_configure(world.caller, &config, &error));
    CHECK(strcmp(caller_host_name(world.caller, 0), old_name) != 0);
    start_call(1, 1, PATIENCE_MS); /* a backup that is not there any more */
    world.left = 1;
    CHECK(loop_run(world.loop) == 0);
    CHECK(world.times[1] == 1 && world.answers[1].kind == ANSWER_SUCCESS);
    CHECK(world.times[0] == 0 && caller_in_flight(world.caller) == 1);
    world.left = 1;
    server_release(old);
    run_calls();
    CHECK(world.answers[0].kind == ANSWER_SUCCESS);
    CHECK(strcmp(world.answers[0].host, old_name) == 0);
    close_caller();
    close_server(old);
    close_server(new);
}

/* Every place that a call may be in when the daemon has to go. */
static void test_free_in_flight(void)
{
    current = "free in flight";
    struct server *server = open_server(hold_then_ok, &world.identity, 0);
    struct caller_config config = config_for(url_of(server));
    config.max_connections = 2;
    open_caller(&config);
    for (size_t i = 0; i < 8; i++) {
        start_call(i, 0, PATIENCE_MS);
    }
    close_caller(); /* all with the signer */
    world.left = 0;

    open_caller(&config);
    for (size_t i = 0; i < 8; i++) {
        start_call(i, 0, PATIENCE_MS);
    }
    run_until(&server->requests, 2, server);
    start_call(9, 0, PATIENCE_MS);
    close_caller(); /* two sent, six waiting for a connection, one with the signer */
    world.left = 0;
    close_server(server);
}

/* ---- All of them. ---- */

typedef void test_fn(void);

/* A child that plays one test, and dies with us. */
static pid_t play_aside(test_fn *test)
{
    pid_t parent = getpid(), child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        CHECK(getppid() == parent); /* else it died before we asked */
        world_open_loop();
        test();
        world_close_loop();
        exit(0);
    }
    return child;
}

static void expect_success(pid_t child)
{
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* They wait for a time-out of 0.5 to 7 s. */
static test_fn *const patient[] = {
    test_time_out,
    test_expiry_after_sending,
    test_expiry_ends_the_wait,
    test_time_out_of_the_waiting,
    test_waiting_counts,
    test_idle_connection_is_not_taken,
    test_idle_connections_are_closed,
};

static test_fn *const quick[] = {
    test_success_in_full,
    test_retry_after,
    test_new_connection,
    test_refused,
    test_proxy,
    test_https_proxy,
    test_no_name,
    test_distrust,
    test_session_resumption,
    test_many_on_few_connections,
    test_dead_host_beside_living,
    test_signing_failure,
    test_get,
    test_reload,
    test_free_in_flight,
    test_expiry_while_connecting,
    test_expired_before_connecting,
};

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    /* None of these may be asked. */
    setenv("https_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    world_make_keys();
    pid_t children[ARRAY_LENGTH(patient)];
    for (size_t i = 0; i < ARRAY_LENGTH(patient); i++) {
        children[i] = play_aside(patient[i]);
    }
    world_open_loop();
    for (size_t i = 0; i < ARRAY_LENGTH(scenes); i++) {
        play(&scenes[i]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(quick); i++) {
        quick[i]();
    }
    world_close_loop();
    current = "those aside";
    for (size_t i = 0; i < ARRAY_LENGTH(patient); i++) {
        expect_success(children[i]);
    }
    world_drop_keys();
    return 0;
}
