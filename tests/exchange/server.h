/* An HTTPS server for tests: blocking, a thread for each connection, and every kind of ill
 * behaviour at the hand of its handler. It checks what it is sent against the API's rules. */
#ifndef PRESIGND_TESTS_EXCHANGE_SERVER_H
#define PRESIGND_TESTS_EXCHANGE_SERVER_H

#include "exchange/certs.h"
#include "presignd/base/buf.h"

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

enum { SERVER_CONNECTIONS_MAX = 256, SERVER_REQUESTS_MAX = 256, SERVER_NONCE_SIZE = 64 };

struct server;

/* One request and the connection it came on. */
struct exchange {
    struct server *server;
    SSL *tls; /* NULL: plain */
    int fd;
    int number;        /* of the request, among all; from 1 */
    int on_connection; /* among those of this connection; from 1 */
    struct buf head;   /* request line and headers */
    struct buf body;
};

/* True: read another request from this connection. False: close it, orderly. */
typedef bool server_handler(struct exchange *exchange);

struct server_options {
    const struct identity *identity;
    int tls_version;         /* the only one spoken; 0: all from 1.2 */
    EVP_PKEY *answer_key;    /* signs answers */
    const char *serial;      /* and its name */
    EVP_PKEY *merchant_key;  /* verifies requests */
    server_handler *handler; /* on the connection's thread */
    bool closes_at_once;     /* behind the handshake, before any request is read */
    /* Before any request is read. What it writes comes with the handshake's last message, in one
     * piece, where `tls_version` is TLS1_2_VERSION: there the server has the last word. */
    server_handler *before;
    bool is_plain;      /* no TLS */
    bool reads_no_body; /* `handler` is called behind the head */
};

/* All counts under `lock`. */
struct server {
    struct server_options options;
    SSL_CTX *tls;
    int listener, port;
    pthread_t acceptor;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int connections; /* handshakes that succeeded */
    int resumed;     /* of these, by an earlier session */
    int open, most_open;
    int requests;
    int faults; /* requests against the API's rules, told on stderr */
    char nonces[SERVER_REQUESTS_MAX][SERVER_NONCE_SIZE];
    int marks; /* exchange_mark() */
    int stage; /* server_advance() */
    bool stopping, released;
    int thread_count;
    pthread_t threads[SERVER_CONNECTIONS_MAX];
    int fds[SERVER_CONNECTIONS_MAX];
};

/* On 127.0.0.1 and a port of the kernel's choice. */
struct server *server_new(const struct server_options *options);
/* Cuts every connection and waits for the threads. */
void server_free(struct server *server);
/* Blocks until so many requests, or open connections, are counted. */
void server_wait_requests(struct server *server, int count);
void server_wait_open(struct server *server, int count);
/* Lets go all handlers in exchange_hold(), now and later. */
void server_release(struct server *server);

/* Lets go handlers in exchange_await() for this stage: the first call is stage 1. */
void server_advance(struct server *server);
/* Waits until no connection to the server is left on the client's side, which sees a reset. */
void server_wait_reset(const struct server *server);

/* For handlers. Failing writes may be ignored: the client may have gone. */
bool exchange_write(struct exchange *exchange, const void *bytes, size_t len);
void exchange_puts(struct exchange *exchange, const char *text);
/* The three signature headers and the serial for `body`, each ended by CRLF. */
void exchange_signature(struct exchange *exchange, struct buf *out, const char *body, size_t len);
/* A whole signed answer. `headers`: further ones, each ended by CRLF. */
void exchange_answer(struct exchange *exchange, const char *status, const char *headers,
                     const char *body, size_t len);
/* A reset instead of an orderly end; nothing can be written afterwards. */
void exchange_reset(struct exchange *exchange);
/* The end of TCP without TLS's own. */
void exchange_cut(struct exchange *exchange);
/* Waits until the client closes. */
void exchange_stall(struct exchange *exchange);
/* Waits for server_release(). */
void exchange_hold(struct exchange *exchange);
/* Waits for that stage. False: the server is being released. */
bool exchange_await(struct exchange *exchange, int stage);
/* Waits until the client's side has all that was written, an end too, and counts a mark. */
void exchange_mark(struct exchange *exchange);

#endif
