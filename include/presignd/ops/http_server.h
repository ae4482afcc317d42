/* An HTTP/1.1 server by libmicrohttpd on the event loop, without a thread: for the admin listener
 * and for the control socket. A request, with its body, has ten seconds, and so has its answer,
 * however slowly the bytes come. At HTTP_CONNECTIONS_MAX, a new connection closes the oldest one
 * without a complete request. */
#ifndef PRESIGND_OPS_HTTP_SERVER_H
#define PRESIGND_OPS_HTTP_SERVER_H

#include "presignd/base/buf.h"
#include "presignd/base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HTTP_CONNECTIONS_MAX 32

struct http_request {
    const void *data; /* of its route */
    const struct buf *body;
    int64_t uid; /* of the peer on a Unix socket (SO_PEERCRED); -1: not known */
    struct MHD_Connection *connection;
};
/* An argument of the query, decoded and borrowed; NULL without. */
const char *http_argument(const struct http_request *request, const char *name);

/* Writes the body, returns the HTTP status. It blocks the loop. */
typedef int http_answer_fn(void *context, const struct http_request *request, struct buf *body);

/* One row for each path and method. */
struct http_route {
    const char *method; /* GET, which answers HEAD too, or POST */
    const char *path;
    const char *content_type;
    http_answer_fn *answer; /* NULL: the path leads to `location` */
    const void *data;       /* for `answer` */
    const char *location;
};

/* Borrowed until http_server_free(), the key and the routes. */
struct http_server_config {
    const char *key; /* of the configuration, for errors */
    mode_t mode;     /* of a Unix socket */
    size_t body_max; /* a longer body gets 413; 0: bodies are not read */
    bool json;       /* errors of the server itself are {"error": TEXT}, not text */
    const struct http_route *routes;
    size_t route_count;
    void *context;
};

struct http_server;
/* `listen` as for address_parse(); port 0 lets the kernel choose. Removes a stale socket at the
 * path; a socket with a listener, or any other file, is an error. NULL with a reason (free()). */
struct http_server *http_server_new(struct loop *loop, const char *listen,
                                    const struct http_server_config *config, char **error)
    __attribute__((warn_unused_result));
/* Removes the socket's file unless another process replaced it. Not in an answer of its own.
 * Accepts NULL, returns NULL. */
struct http_server *http_server_free(struct http_server *server);
/* Takes no more requests, sends the answers that are due within a second, then frees the server and
 * sets `*slot` to NULL. An answer of its own may call it. Until then `*slot` is the server, and
 * http_server_free() ends it at once; what was in `*slot` is freed. Accepts NULL. */
void http_server_retire(struct http_server *server, struct http_server **slot);
/* Changes the ten seconds, for tests. */
void http_server_set_wait(struct http_server *server, int64_t wait_ms);
/* 0 for a Unix socket. */
int http_server_port(const struct http_server *server);

#endif
