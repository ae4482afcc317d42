/* The admin listener: metrics, health and status over HTTP, by libmicrohttpd on the event loop
 * (no thread of its own). The head of a request has ten seconds, and so has its answer, however
 * the bytes drip. When all places are taken, the oldest connection that has not sent a whole head
 * is closed for a new one. On a TCP address, or on a socket in the file system (mode 0660: who
 * may ask is whose group has the directory and the socket). */
#ifndef PRESIGND_OPS_ADMIN_H
#define PRESIGND_OPS_ADMIN_H

#include "presignd/base/buf.h"
#include "presignd/base/loop.h"

#include <stdint.h>

#define ADMIN_CONNECTIONS_MAX 32

/* Writes the body, gives the HTTP status. */
typedef int admin_page_fn(void *context, struct buf *body);

/* A row a path; the table is the owner's and outlives the listener. */
struct admin_page {
    const char *path;
    const char *content_type;
    admin_page_fn *write;
};

struct admin;
/* `listen` as for address_parse(); port 0 picks one. A socket that a dead process left at the
 * path is removed first; one that somebody listens on is an error, as is any other file.
 * NULL and a reason (free()). */
struct admin *admin_new(struct loop *loop, const char *listen, const struct admin_page *pages,
                        size_t page_count, void *context, char **error)
    __attribute__((warn_unused_result));
/* Removes the socket's file, if it is still ours. Accepts NULL, returns NULL. */
struct admin *admin_free(struct admin *admin);
/* The time for a head, and for an answer, of what comes from now on; for tests. */
void admin_set_wait(struct admin *admin, int64_t wait_ms);
/* 0 for a socket in the file system. */
int admin_port(const struct admin *admin);

#endif
