/* The TCP connections of a client, and the check of one before a request is sent on it.
 *
 * Bytes that arrived on a connection before the first byte of a request was sent are not its answer
 * (RFC 9112, section 9.3). A server may close a connection between requests at any time (section
 * 9.5). Under TLS curl checks neither, and it does not expose a connection's descriptor before the
 * end of the transfer. So each descriptor is stored when its socket is created, and found again by
 * the connection's addresses.
 *
 * Event loop's thread only; nothing blocks.
 */
#ifndef PRESIGND_WECHATPAY_CONNECTION_H
#define PRESIGND_WECHATPAY_CONNECTION_H

#include "presignd/base/list.h"

#include <netinet/in.h>
#include <openssl/types.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* Each connection has a random maximum age between these bounds. So DNS changes take effect under
 * steady traffic, and connections are not all replaced at once. */
#define CONNECTION_AGE_MIN_MS 45000
#define CONNECTION_AGE_MAX_MS 75000

/* A connection that is connecting, in use or kept. */
struct connection {
    struct list_link link;
    int fd;          /* curl's */
    uint64_t number; /* the caller's name for it; from 1 */
    unsigned host;
    const void *user; /* whose request uses it or will use it; NULL: idle */
    int64_t renew_ms; /* mono: its maximum age; no request is sent on it afterwards */
    bool is_used;     /* a request was sent on it */
    bool is_stale;    /* no further request is sent on it, whatever its age */

    /* Private. */
    char peer_ip[INET6_ADDRSTRLEN];
    int peer_port, local_port; /* 0: not known yet */
};

/* Adds a socket that was created for a connection to `peer`. The caller sets number, host and user.
 */
struct connection *connection_add(struct list *connections, int fd, const struct sockaddr *peer,
                                  int64_t mono_ms);
/* The user's transfer has ended: connections on which it sent a request become idle, its others are
 * removed. curl does not report every socket that it closes while connecting. */
void connection_leave_all(struct list *connections, const void *user);
/* Removes the connection of this descriptor, if there is one. */
void connection_remove(struct list *connections, int fd);
void connection_remove_all(struct list *connections);
/* Finds a connection by the addresses that curl reports, or NULL. */
struct connection *connection_find(const struct list *connections, const char *peer_ip,
                                   int peer_port, int local_port);
/* Retires all present connections to that host: idle ones are shut down, the others finish their
 * request. */
void connection_renew_all(struct list *connections, unsigned host);
/* True when there is nothing to read on the connection: no application data, no end, no error.
 * `tls` NULL: plain HTTP. A session ticket is not application data; curl's cache loses one that is
 * read here. `tls` is unchanged, except for messages that TLS itself handles (RFC 8446,
 * section 4.6). */
bool connection_is_silent(const struct connection *connection, SSL *tls)
    __attribute__((warn_unused_result));
/* True when the peer has not closed the connection. For TLS inside TLS (an https proxy), where
 * inner and outer bytes cannot be distinguished. */
bool connection_is_open(const struct connection *connection) __attribute__((warn_unused_result));

#endif
