/* The admin listener: /metrics, /healthz, /readyz over HTTP, by libmicrohttpd on the event
 * loop (no thread of its own). */
#ifndef PRESIGND_OPS_ADMIN_H
#define PRESIGND_OPS_ADMIN_H

#include "presignd/base/buf.h"
#include "presignd/base/loop.h"

#include <stdbool.h>
#include <sys/socket.h>

#define ADMIN_CONNECTIONS_MAX 32

/* Writes the body, gives the HTTP status. */
typedef int admin_page_fn(void *context, struct buf *body);

/* A row a path; the table is the owner's and outlives the listener. */
struct admin_page {
    const char *path;
    const char *content_type;
    admin_page_fn *write;
};

/* HOST:PORT or [HOST]:PORT with a numeric host, as an address. False when it is none. */
bool admin_address(const char *listen, struct sockaddr_storage *address, socklen_t *len)
    __attribute__((warn_unused_result));

struct admin;
/* `listen` is HOST:PORT or [HOST]:PORT with a numeric host; port 0 picks one.
 * NULL and a reason (free()). */
struct admin *admin_new(struct loop *loop, const char *listen, const struct admin_page *pages,
                        size_t page_count, void *context, char **error)
    __attribute__((warn_unused_result));
/* Accepts NULL, returns NULL. */
struct admin *admin_free(struct admin *admin);
int admin_port(const struct admin *admin);

#endif
