#include "wechatpay/connection.h"

#include "presignd/base/address.h"
#include "presignd/base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int64_t draw_age_ms(void)
{
    uint32_t random;
    if (getentropy(&random, sizeof random) != 0) {
        abort(); /* fails only on a kernel without getrandom(2) */
    }
    return CONNECTION_AGE_MIN_MS + random % (CONNECTION_AGE_MAX_MS - CONNECTION_AGE_MIN_MS + 1);
}

static void discard(struct list *connections, struct connection *connection)
{
    list_remove(connections, &connection->link);
    free(connection);
}

static struct connection *find_fd(const struct list *connections, int fd)
{
    LIST_FOREACH (connections, link) {
        struct connection *connection = CONTAINER_OF(link, struct connection, link);
        if (connection->fd == fd) {
            return connection;
        }
    }
    return NULL;
}

struct connection *connection_add(struct list *connections, int fd, const struct sockaddr *peer,
                                  int64_t mono_ms)
{
    const union address *address = (const union address *)peer;
    const void *ip = peer->sa_family == AF_INET ? (const void *)&address->v4.sin_addr
                                                : (const void *)&address->v6.sin6_addr;
    connection_remove(connections, fd); /* one whose end curl did not report */
    struct connection *connection = mem_zalloc(1, sizeof *connection);
    connection->fd = fd;
    connection->renew_ms = mono_ms + draw_age_ms();
    if (inet_ntop(peer->sa_family, ip, connection->peer_ip, sizeof connection->peer_ip) != NULL) {
        connection->peer_port = address_port(address);
    }
    list_push_back(connections, &connection->link);
    return connection;
}

void connection_leave_all(struct list *connections, const void *user)
{
    LIST_FOREACH_SAFE (connections, link) {
        struct connection *connection = CONTAINER_OF(link, struct connection, link);
        bool is_users = connection->user == user;
        if (is_users && !connection->is_used) {
            discard(connections, connection);
        } else if (is_users) {
            connection->user = NULL;
        }
    }
}

void connection_remove(struct list *connections, int fd)
{
    struct connection *connection = find_fd(connections, fd);
    if (connection != NULL) {
        discard(connections, connection);
    }
}

void connection_remove_all(struct list *connections)
{
    LIST_FOREACH_SAFE (connections, link) {
        discard(connections, CONTAINER_OF(link, struct connection, link));
    }
}

/* A socket has a local port as soon as it begins to connect. */
static int local_port_of(struct connection *connection)
{
    union address address = {0};
    socklen_t size = sizeof address;
    if (connection->local_port == 0 && getsockname(connection->fd, &address.any, &size) == 0) {
        connection->local_port = address_port(&address);
    }
    return connection->local_port;
}

/* Compares both ends: the kernel may use one local port for several peers. */
struct connection *connection_find(const struct list *connections, const char *peer_ip,
                                   int peer_port, int local_port)
{
    LIST_FOREACH (connections, link) {
        struct connection *connection = CONTAINER_OF(link, struct connection, link);
        if (connection->peer_port == peer_port && local_port_of(connection) == local_port &&
            strcmp(connection->peer_ip, peer_ip) == 0) {
            return connection;
        }
    }
    return NULL;
}

void connection_renew_all(struct list *connections, unsigned host)
{
    LIST_FOREACH (connections, link) {
        struct connection *connection = CONTAINER_OF(link, struct connection, link);
        if (connection->host == host) {
            connection->is_stale = true;
            if (connection->user == NULL) {
                (void)shutdown(connection->fd, SHUT_RDWR); /* curl closes it at its next check */
            }
        }
    }
}

/* As recv(2): 0 for an end, -1 for nothing or an error. */
static ssize_t peek(const struct connection *connection)
{
    char c;
    return recv(connection->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
}

static bool has_nothing_to_read(const struct connection *connection)
{
    return peek(connection) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

bool connection_is_open(const struct connection *connection)
{
    ssize_t count = peek(connection);
    return count > 0 || (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
}

/* curl's own BIO works only inside a call of curl: outside, after a reset, it reads through a NULL
 * pointer. So a plain socket BIO replaces it for the check. An incomplete record counts as data. */
static bool peek_tls(const struct connection *connection, SSL *tls)
{
    BIO *plain = BIO_new_socket(connection->fd, BIO_NOCLOSE);
    BIO *in = SSL_get_rbio(tls), *out = SSL_get_wbio(tls);
    if (plain == NULL || BIO_up_ref(in) != 1 || BIO_up_ref(out) != 1 || BIO_up_ref(plain) != 1) {
        mem_exhausted();
    }
    SSL_set0_rbio(tls, plain);
    SSL_set0_wbio(tls, plain);
    ERR_clear_error(); /* SSL_get_error() would report older errors */
    char c;
    int count = SSL_peek(tls, &c, 1);
    bool is_silent =
        count <= 0 && SSL_get_error(tls, count) == SSL_ERROR_WANT_READ && SSL_has_pending(tls) == 0;
    ERR_clear_error();
    SSL_set0_rbio(tls, in);
    SSL_set0_wbio(tls, out);
    return is_silent;
}

/* The usual case needs no TLS call: nothing on the descriptor and nothing buffered. */
bool connection_is_silent(const struct connection *connection, SSL *tls)
{
    if ((tls == NULL || SSL_has_pending(tls) == 0) && has_nothing_to_read(connection)) {
        return true;
    }
    return tls != NULL && peek_tls(connection, tls);
}
