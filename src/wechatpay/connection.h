/* The TCP connections of a client, and the look at one before a request goes out on it.
 *
 * An answer belongs to the request that was sent before it began (RFC 9112, section 9.3): bytes
 * that arrived on a connection before our first byte left are not its answer. A server may also end
 * a connection between requests, at any time (section 9.5). Under TLS curl checks for neither, and
 * it does not tell a connection's descriptor before the transfer is over. So each descriptor is
 * noted when its socket is made, and found again by the connection's addresses.
 *
 * On the event loop's thread; nothing here blocks.
 */
#ifndef PRESIGND_WECHATPAY_CONNECTION_H
#define PRESIGND_WECHATPAY_CONNECTION_H

#include "presignd/base/list.h"

#include <netinet/in.h>
#include <openssl/types.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* Each connection draws a maximum age between these bounds and takes no request beyond it. So a
 * change of DNS is followed under steady traffic, and not all connections are made anew at once. */
#define CONNECTION_AGE_MIN_MS 45000
#define CONNECTION_AGE_MAX_MS 75000

/* One that is being made, in use, or kept. */
struct connection {
    struct list_link link;
    int fd; /* curl's */
    unsigned host;
    const void *user; /* whose request is on it, or will be; NULL: it is idle */
    int64_t renew_ms; /* mono: from then on it takes no further request */
    bool is_used;     /* a request went out on it */
    bool is_stale;    /* it takes no further request, however young */

    /* Private. */
    char peer_ip[INET6_ADDRSTRLEN];
    int peer_port, local_port; /* 0: not known yet */
};

/* Notes a socket that was made for a connection to `peer`. The caller sets host and user. */
struct connection *connection_add(struct list *connections, int fd, const struct sockaddr *peer,
                                  int64_t mono_ms);
/* The user's transfer is over: connections that it sent a request on become idle, its others are
 * forgotten. curl does not report every socket that it closes while connecting. */
void connection_leave_all(struct list *connections, const void *user);
/* Forgets the one of this descriptor, if there is one. */
void connection_remove(struct list *connections, int fd);
void connection_remove_all(struct list *connections);
/* By the addresses that curl tells; NULL when there is none. */
struct connection *connection_find(const struct list *connections, const char *peer_ip,
                                   int peer_port, int local_port);
/* Of the connections that exist now, none to that host takes a further request. Idle ones are shut
 * down; those in use end their present request. */
void connection_renew_all(struct list *connections, unsigned host);
/* True when nothing waits to be read on the connection: no application data, no end, no error.
 * `tls` NULL: plain HTTP. A session ticket is not application data; one that is read here is lost
 * to curl's cache. `tls` stays as it was, except for messages that TLS itself handles (RFC 8446,
 * section 4.6). */
bool connection_is_quiet(const struct connection *connection, SSL *tls)
    __attribute__((warn_unused_result));
/* True when the peer has not closed the connection. For TLS inside TLS (an https proxy), where the
 * inner bytes cannot be told from the outer ones. */
bool connection_is_open(const struct connection *connection) __attribute__((warn_unused_result));

#endif
