#include "exchange/server.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/sign/sign.h"
#include "presignd/wechatpay/verify.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 16384, BACKLOG = 512 };

static void require(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "test server: %s failed\n", what);
        abort();
    }
}

/* ---- What a request must be like. ---- */

/* The value of a header, or of a part of one, up to `end`; "" when absent. */
static char *value_of(const char *head, const char *name, char end)
{
    const char *at = strcasestr(head, name);
    if (at == NULL) {
        return mem_strdup("");
    }
    at += strlen(name);
    const char *stop = strchr(at, end);
    return mem_dup(at, stop == NULL ? strlen(at) : (size_t)(stop - at));
}

static void complain(struct exchange *exchange, const char *what)
{
    fprintf(stderr, "test server: request %d: %s\n", exchange->number, what);
    exchange->server->faults++;
}

static bool is_get(const struct exchange *exchange)
{
    return strncmp(exchange->head.data, "GET ", 4) == 0;
}

static bool is_signed(const struct exchange *exchange, const char *path)
{
    const char *head = exchange->head.data;
    AUTO_FREE char *nonce = value_of(head, "nonce_str=\"", '"');
    AUTO_FREE char *timestamp = value_of(head, "timestamp=\"", '"');
    AUTO_FREE char *signature = value_of(head, "signature=\"", '"');
    AUTO_BUF struct buf message = {0};
    AUTO_BUF struct buf raw = {0};
    const char *method = is_get(exchange) ? "GET" : "POST";
    sign_message(&message, method, path, strtoll(timestamp, NULL, 10), nonce, exchange->body.data,
                 exchange->body.len);
    if (!text_base64_decode(&raw, signature, strlen(signature))) {
        return false;
    }
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int ok = EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL,
                                  exchange->server->options.merchant_key) == 1 &&
             EVP_DigestVerify(context, (const unsigned char *)raw.data, raw.len,
                              (const unsigned char *)message.data, message.len) == 1;
    EVP_MD_CTX_free(context);
    return ok != 0;
}

/* Under the lock. */
static void note_nonce(struct exchange *exchange)
{
    struct server *server = exchange->server;
    AUTO_FREE char *nonce = value_of(exchange->head.data, "nonce_str=\"", '"');
    for (int i = 0; i < exchange->number - 1; i++) {
        if (strcmp(server->nonces[i], nonce) == 0) {
            complain(exchange, "a nonce used before");
        }
    }
    require(exchange->number <= SERVER_REQUESTS_MAX, "counting requests");
    snprintf(server->nonces[exchange->number - 1], SERVER_NONCE_SIZE, "%s", nonce);
}

static void check_request(struct exchange *exchange)
{
    static const char *const wanted[] = {
        "\r\nContent-Type: application/json\r\n", "\r\nAccept: application/json\r\n",
        "\r\nUser-Agent: presignd/", "\r\nWechatpay-Serial: PUB_KEY_ID_",
        "\r\nAuthorization: WECHATPAY2-SHA256-RSA2048 mchid=\""};
    static const char *const unwanted[] = {
        "\r\nExpect:", "\r\nAccept-Encoding:", "\r\nCookie:", "\r\nTransfer-Encoding:"};
    const char *head = exchange->head.data;
    const char *method = is_get(exchange) ? "GET " : "POST ";
    AUTO_FREE char *path = value_of(head, method, ' ');
    if (strncmp(head, method, strlen(method)) != 0 || strncmp(path, "/v3/", 4) != 0 ||
        strstr(head, " HTTP/1.1\r\n") == NULL) {
        complain(exchange, "the request line");
    }
    if (is_get(exchange) && strstr(head, "\r\nContent-") != NULL) {
        complain(exchange, "a body of a GET");
    }
    for (size_t i = is_get(exchange) ? 1 : 0; i < ARRAY_LENGTH(wanted); i++) {
        if (strstr(head, wanted[i]) == NULL) {
            complain(exchange, wanted[i] + 2);
        }
    }
    for (size_t i = 0; i < ARRAY_LENGTH(unwanted); i++) {
        if (strcasestr(head, unwanted[i]) != NULL) {
            complain(exchange, unwanted[i] + 2);
        }
    }
    if (!is_signed(exchange, path)) {
        complain(exchange, "the signature");
    }
    note_nonce(exchange);
}

/* ---- Connections. ---- */

static bool read_byte(struct exchange *exchange, char *c)
{
    return exchange->tls == NULL ? recv(exchange->fd, c, 1, 0) == 1
                                 : SSL_read(exchange->tls, c, 1) == 1;
}

static bool read_request(struct exchange *exchange)
{
    struct buf *head = &exchange->head;
    head->len = exchange->body.len = 0;
    buf_puts(&exchange->body, "");
    while (head->len < 4 || memcmp(head->data + head->len - 4, "\r\n\r\n", 4) != 0) {
        char c;
        if (head->len == HEAD_MAX || !read_byte(exchange, &c)) {
            return false;
        }
        buf_putc(head, c);
    }
    if (exchange->server->options.reads_no_body) {
        return true;
    }
    AUTO_FREE char *length = value_of(head->data, "\r\nContent-Length: ", '\r');
    for (long left = strtol(length, NULL, 10); left > 0; left--) {
        char c;
        if (!read_byte(exchange, &c)) {
            return false;
        }
        buf_putc(&exchange->body, c);
    }
    return true;
}

static void count_open(struct server *server, int change, bool resumed)
{
    pthread_mutex_lock(&server->lock);
    server->open += change;
    server->most_open = server->open > server->most_open ? server->open : server->most_open;
    if (change > 0) {
        server->connections++;
        server->resumed += resumed ? 1 : 0;
    }
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

static void serve(struct exchange *exchange)
{
    struct server *server = exchange->server;
    bool more = !server->options.closes_at_once;
    while (more && read_request(exchange)) {
        pthread_mutex_lock(&server->lock);
        exchange->number = ++server->requests;
        exchange->on_connection++;
        if (!server->options.reads_no_body) {
            check_request(exchange);
        }
        pthread_cond_broadcast(&server->changed);
        pthread_mutex_unlock(&server->lock);
        more = server->options.handler(exchange);
    }
}

struct connection {
    struct server *server;
    int fd;
};

/* Sends what TLS has written into memory. */
static void flush(struct exchange *exchange)
{
    char *bytes;
    long len = BIO_get_mem_data(SSL_get_wbio(exchange->tls), &bytes);
    (void)!send(exchange->fd, bytes, (size_t)len, MSG_NOSIGNAL);
    (void)BIO_reset(SSL_get_wbio(exchange->tls));
}

/* A handshake whose last message waits for what `before` writes. */
static bool accept_holding(struct exchange *exchange)
{
    SSL *tls = exchange->tls;
    SSL_set_bio(tls, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    int done;
    while ((done = SSL_accept(tls)) != 1 && SSL_get_error(tls, done) == SSL_ERROR_WANT_READ) {
        char bytes[4096];
        flush(exchange);
        ssize_t len = recv(exchange->fd, bytes, sizeof bytes, 0);
        if (len <= 0) {
            return false;
        }
        BIO_write(SSL_get_rbio(tls), bytes, (int)len);
    }
    return done == 1;
}

static void run_tls(struct exchange *exchange)
{
    struct server *server = exchange->server;
    server_handler *before = server->options.before;
    if (before == NULL ? SSL_accept(exchange->tls) == 1 : accept_holding(exchange)) {
        count_open(server, 1, SSL_session_reused(exchange->tls) == 1);
        bool more = before == NULL || before(exchange);
        if (before != NULL) {
            if (!more) {
                (void)SSL_shutdown(exchange->tls);
            }
            flush(exchange);
            require(SSL_set_fd(exchange->tls, exchange->fd), "SSL_set_fd");
        }
        if (more) {
            serve(exchange);
        }
        (void)SSL_shutdown(exchange->tls);
        (void)shutdown(exchange->fd, SHUT_WR);
        count_open(server, -1, false);
    }
    SSL_free(exchange->tls);
}

static void *run_connection(void *context)
{
    struct connection *connection = context;
    struct exchange exchange = {.server = connection->server, .fd = connection->fd};
    exchange.tls = exchange.server->options.is_plain ? NULL : SSL_new(exchange.server->tls);
    require(exchange.tls == NULL || SSL_set_fd(exchange.tls, exchange.fd), "SSL_set_fd");
    if (exchange.tls == NULL) {
        count_open(exchange.server, 1, false);
        serve(&exchange);
        (void)shutdown(exchange.fd, SHUT_WR);
        count_open(exchange.server, -1, false);
    } else {
        run_tls(&exchange);
    }
    buf_deinit(&exchange.head);
    buf_deinit(&exchange.body);
    free(connection);
    return NULL;
}

/* A test that takes the descriptors away takes the server's, too. */
static int accept_next(struct server *server)
{
    int fd;
    while ((fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC)) < 0 && errno == EMFILE) {
        usleep(1000);
    }
    return fd;
}

static void *run_acceptor(void *context)
{
    struct server *server = context;
    for (int fd; (fd = accept_next(server)) >= 0;) {
        struct connection *connection = mem_alloc(sizeof *connection);
        *connection = (struct connection){.server = server, .fd = fd};
        pthread_mutex_lock(&server->lock);
        require(server->thread_count < SERVER_CONNECTIONS_MAX, "counting connections");
        int index = server->thread_count++;
        server->fds[index] = fd;
        require(pthread_create(&server->threads[index], NULL, run_connection, connection) == 0,
                "pthread_create");
        pthread_mutex_unlock(&server->lock);
    }
    return NULL;
}

/* ---- The server. ---- */

static SSL_CTX *make_tls(const struct server_options *options)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    require(SSL_CTX_use_certificate(tls, options->identity->certificate) == 1, "certificate");
    require(SSL_CTX_use_PrivateKey(tls, options->identity->key) == 1, "key");
    if (options->tls_version != 0) {
        require(SSL_CTX_set_cipher_list(tls, "ALL:@SECLEVEL=0") == 1, "ciphers");
        require(SSL_CTX_set_min_proto_version(tls, options->tls_version) == 1 &&
                    SSL_CTX_set_max_proto_version(tls, options->tls_version) == 1,
                "TLS version");
    }
    return tls;
}

struct server *server_new(const struct server_options *options)
{
    struct server *server = mem_zalloc(1, sizeof *server);
    server->options = *options;
    server->tls = make_tls(options);
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->changed, NULL);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(server->listener >= 0 &&
                bind(server->listener, (struct sockaddr *)&address, sizeof address) == 0 &&
                listen(server->listener, BACKLOG) == 0 &&
                getsockname(server->listener, (struct sockaddr *)&address, &size) == 0,
            "listening");
    server->port = ntohs(address.sin_port);
    require(pthread_create(&server->acceptor, NULL, run_acceptor, server) == 0, "pthread_create");
    return server;
}

void server_free(struct server *server)
{
    server_release(server);
    (void)shutdown(server->listener, SHUT_RDWR);
    pthread_join(server->acceptor, NULL);
    for (int i = 0; i < server->thread_count; i++) {
        (void)shutdown(server->fds[i], SHUT_RDWR);
    }
    for (int i = 0; i < server->thread_count; i++) {
        pthread_join(server->threads[i], NULL);
        close(server->fds[i]);
    }
    close(server->listener);
    SSL_CTX_free(server->tls);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

void server_wait_requests(struct server *server, int count)
{
    pthread_mutex_lock(&server->lock);
    while (server->requests < count) {
        pthread_cond_wait(&server->changed, &server->lock);
    }
    pthread_mutex_unlock(&server->lock);
}

void server_wait_open(struct server *server, int count)
{
    pthread_mutex_lock(&server->lock);
    while (server->open != count) {
        pthread_cond_wait(&server->changed, &server->lock);
    }
    pthread_mutex_unlock(&server->lock);
}

void server_advance(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    server->stage++;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

/* A reset has no answer that the server's side could wait for. */
void server_wait_reset(const struct server *server)
{
    char peer[32], line[512];
    snprintf(peer, sizeof peer, " 0100007F:%04X ", (unsigned)server->port);
    for (bool found = true; found;) {
        FILE *table = fopen("/proc/net/tcp", "re");
        require(table != NULL, "/proc/net/tcp");
        found = false;
        while (fgets(line, sizeof line, table) != NULL) {
            /* "sl local_address rem_address st": the peer's side, of ESTABLISHED ones */
            const char *at = strstr(line, peer);
            found = found || (at != NULL && strncmp(at + strlen(peer), "01 ", 3) == 0);
        }
        fclose(table);
    }
}

void server_release(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    server->released = true;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

/* ---- For handlers. ---- */

bool exchange_write(struct exchange *exchange, const void *bytes, size_t len)
{
    return exchange->tls == NULL ? send(exchange->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len
                                 : SSL_write(exchange->tls, bytes, (int)len) > 0;
}

void exchange_puts(struct exchange *exchange, const char *text)
{
    exchange_write(exchange, text, strlen(text));
}

void exchange_signature(struct exchange *exchange, struct buf *out, const char *body, size_t len)
{
    char nonce[SIGN_NONCE_LENGTH + 1];
    sign_nonce(nonce);
    long long now_s = (long long)time(NULL);
    AUTO_BUF struct buf message = {0};
    AUTO_BUF struct buf signature = {0};
    buf_printf(&message, "%lld\n%s\n", now_s, nonce);
    buf_append(&message, body, len);
    buf_putc(&message, '\n');
    require(sign_bytes(exchange->server->options.answer_key, message.data, message.len, &signature),
            "signing an answer");
    buf_printf(out,
               "Wechatpay-Timestamp: %lld\r\nWechatpay-Nonce: %s\r\nWechatpay-Serial: %s\r\n"
               "Wechatpay-Signature: %s\r\n",
               now_s, nonce, exchange->server->options.serial, signature.data);
}

void exchange_answer(struct exchange *exchange, const char *status, const char *headers,
                     const char *body, size_t len)
{
    AUTO_BUF struct buf answer = {0};
    buf_printf(&answer, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s", status, len, headers);
    exchange_signature(exchange, &answer, body, len);
    buf_puts(&answer, "\r\n");
    buf_append(&answer, body, len);
    exchange_write(exchange, answer.data, answer.len);
}

static void send_no_close_notify(struct exchange *exchange)
{
    if (exchange->tls != NULL) {
        SSL_set_quiet_shutdown(exchange->tls, 1);
    }
}

void exchange_reset(struct exchange *exchange)
{
    /* Connecting a TCP socket to nothing is how Linux resets one without closing it. */
    struct sockaddr nothing = {.sa_family = AF_UNSPEC};
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(exchange->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    (void)connect(exchange->fd, &nothing, sizeof nothing);
    send_no_close_notify(exchange);
}

void exchange_cut(struct exchange *exchange)
{
    (void)shutdown(exchange->fd, SHUT_WR);
    send_no_close_notify(exchange);
}

void exchange_stall(struct exchange *exchange)
{
    char c;
    while (read_byte(exchange, &c)) {
    }
}

void exchange_hold(struct exchange *exchange)
{
    struct server *server = exchange->server;
    pthread_mutex_lock(&server->lock);
    while (!server->released) {
        pthread_cond_wait(&server->changed, &server->lock);
    }
    pthread_mutex_unlock(&server->lock);
}

bool exchange_await(struct exchange *exchange, int stage)
{
    struct server *server = exchange->server;
    pthread_mutex_lock(&server->lock);
    while (!server->released && server->stage < stage) {
        pthread_cond_wait(&server->changed, &server->lock);
    }
    bool goes_on = !server->released;
    pthread_mutex_unlock(&server->lock);
    return goes_on;
}

/* An end counts as had in FIN_WAIT2; of a reset connection nothing is known. */
static bool is_delivered(int fd)
{
    int left = 0;
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    (void)ioctl(fd, SIOCOUTQ, &left);
    (void)getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
    return info.tcpi_state == TCP_CLOSE || (left == 0 && info.tcpi_state != TCP_FIN_WAIT1);
}

void exchange_mark(struct exchange *exchange)
{
    struct server *server = exchange->server;
    while (!is_delivered(exchange->fd)) {
        usleep(1000);
    }
    pthread_mutex_lock(&server->lock);
    server->marks++;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}
