/* The admin listener: metrics, health and status over HTTP, by libmicrohttpd on the event loop,
 * without a thread. A request's head has ten seconds, and so has its answer, however slowly the
 * bytes come. At ADMIN_CONNECTIONS_MAX, a new connection closes the oldest one without a complete
 * head. A Unix socket has mode 0660: access is by the group of the socket and of its directory. */
#ifndef PRESIGND_OPS_ADMIN_H
#define PRESIGND_OPS_ADMIN_H

#include "presignd/base/buf.h"
#include "presignd/base/loop.h"

#include <stdint.h>

#define ADMIN_CONNECTIONS_MAX 32

/* Writes the body, returns the HTTP status. */
typedef int admin_page_fn(void *context, struct buf *body);

/* One row for each path. The table is borrowed until admin_free(). */
struct admin_page {
    const char *path;
    const char *content_type;
    admin_page_fn *write;
};

struct admin;
/* `listen` as for address_parse(); port 0 lets the kernel choose. Removes a stale socket at the
 * path; a socket with a listener, or any other file, is an error. NULL with a reason (free()). */
struct admin *admin_new(struct loop *loop, const char *listen, const struct admin_page *pages,
                        size_t page_count, void *context, char **error)
    __attribute__((warn_unused_result));
/* Removes the socket's file unless another process replaced it. Accepts NULL, returns NULL. */
struct admin *admin_free(struct admin *admin);
/* Changes the ten seconds, for tests. */
void admin_set_wait(struct admin *admin, int64_t wait_ms);
/* 0 for a Unix socket. */
int admin_port(const struct admin *admin);

#endif
