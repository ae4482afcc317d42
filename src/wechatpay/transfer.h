/* One HTTP request and its answer, over libcurl's multi interface on the event loop.
 *
 * This is all of presignd that talks to curl. It knows nothing of signatures: it takes a
 * prepared request and tells what came back, or how it ended. What it promises:
 *
 * - A request goes out at most once. Before its first byte leaves, its connection is looked at
 *   (RFC 9112, sections 9.2, 9.3 and 9.5). A kept one on which something stands (an answer that
 *   nobody asked for, an end, an error) is closed, and the request goes out once on a new one,
 *   within the same time. A new one that shows the like ends the transfer: TRANSFER_NOT_SENT.
 * - curl repeats a request by itself when a kept connection turns out to be dead. It may when
 *   nothing left: a request of which no record is whole has no effect (RFC 9112, section 8).
 *   Else that is refused and the transfer is reported broken.
 * - An answer whose status line comes before the request has left whole is none: TRANSFER_EARLY.
 *   What comes between the look and the first byte, or once the request has left whole and before
 *   its own answer, cannot be told from an answer.
 * - A connection takes no request beyond an age of its own, 45 to 75 s (connection.h).
 * - Whether anything may have left is known: TRANSFER_NOT_SENT before, anything else after.
 * - Nothing is sent at or past `expires_ms`, and time spent waiting for a connection counts
 *   against both time-outs.
 * - Whose fault it is that nothing was sent: this process had no descriptor (SHORTAGE), the name
 *   was not resolved (NAME), or the way to the host (NONE).
 * - Answers are bounded (ANSWER_BODY_MAX, ANSWER_HEADERS_MAX), connections are, and so is the
 *   number of those being made at once.
 * - Kept connections are closed after 7 s without use, before the server does so at about 8 s.
 *
 * The process must ignore SIGPIPE: curl is told to leave signals alone.
 */
#ifndef PRESIGND_WECHATPAY_TRANSFER_H
#define PRESIGND_WECHATPAY_TRANSFER_H

#include "presignd/base/buf.h"
#include "presignd/base/clock.h"
#include "presignd/base/heap.h"
#include "presignd/base/list.h"
#include "presignd/base/loop.h"
#include "presignd/wechatpay/answer.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Hosts that a client tells apart when it shares out the making of connections. */
#define TRANSFER_HOSTS_MAX 2
/* Connections being made to one host at once. Each may cost a thread that asks the resolver,
 * and the server a handshake; waiting transfers take up kept connections as they come free. */
#define TRANSFER_CONNECTING_MAX 64

/* A client: connections, TLS sessions and resolved names that transfers share. */
struct transfer_client;

/* Strings are copied. */
struct transfer_client_config {
    const struct clock *clock; /* borrowed; its wall clock decides about `expires_ms` */
    const char *ca_file;       /* NULL or empty: the system's trust store */
    const char *proxy;         /* NULL or empty: none; the environment is never asked */
    int64_t connect_timeout_ms;
    unsigned max_connections;
};

/* The answer headers that matter; the index into transfer.header. */
enum transfer_header {
    TRANSFER_HEADER_SERIAL,
    TRANSFER_HEADER_TIMESTAMP,
    TRANSFER_HEADER_NONCE,
    TRANSFER_HEADER_SIGNATURE,
    TRANSFER_HEADER_REQUEST_ID,
    TRANSFER_HEADER_RETRY_AFTER,
    TRANSFER_HEADER_CONTENT_ENCODING,
    TRANSFER_HEADER_COUNT
};

/* Embedded in its owner; all zero before its first use, transfer_deinit() after its last, and
 * it may be started again in between. The owner fills in the request, whose strings must live
 * until `done`. */
struct transfer {
    /* The request. */
    unsigned host;       /* below TRANSFER_HOSTS_MAX */
    bool new_connection; /* not on a kept one (RFC 9110, sections 15.5.9 and 15.5.20) */
    const char *url;     /* http or https */
    const char *body;    /* NULL: GET, else POST of JSON */
    size_t body_len;
    char *authorization; /* a whole header line; NULL: none (not changed) */
    char *serial;        /* likewise */
    int64_t timeout_ms;  /* waiting, connect, sending and answer together */
    int64_t expires_ms;  /* wall clock: from then on it is not sent; INT64_MAX: never */
    void (*done)(struct transfer *transfer); /* from the loop, never from transfer_start() */

    /* The answer; borrowed until the next start or transfer_deinit(). */
    enum transfer_status status;
    enum answer_cause cause; /* of TRANSFER_NOT_SENT: SHORTAGE, NAME, else NONE */
    const char *reason;      /* static phrase, NULL for TRANSFER_DONE */
    int http_status;         /* of the last status line; 0: none came */
    bool timed_out;          /* the time-out was what ended it */
    bool expired;            /* not sent, because `expires_ms` was reached */
    long proxy_status;       /* of the proxy, when it was asked for a tunnel; else 0 */
    int64_t duration_us;     /* from the start of connecting, or sending, to the end; of one that
                              * got no connection: from transfer_start() */
    struct buf answer;       /* the body as it came */

    /* Private. */
    struct list_link link;
    struct transfer_client *client;
    CURL *easy;
    int64_t start_ms;        /* mono, as the next two */
    int64_t sent_by_ms;      /* later than that it is not worth a connection */
    struct heap_slot waited; /* in the client's heap while it waits, until sent_by_ms */
    struct curl_slist lines[2];
    struct buf header_text;
    size_t header_at[TRANSFER_HEADER_COUNT]; /* one behind its start in header_text; 0: absent */
    size_t header_bytes;                     /* of all header blocks */
    long bytes_before;                       /* of a proxy's CONNECT */
    bool header_twice[TRANSFER_HEADER_COUNT];
    bool bounded_by_expiry; /* sent_by_ms is the end of the event's time */
    bool in_headers;        /* between a status line and its empty line */
    bool sent, too_large;
    bool resolving;     /* the resolver was asked, and no socket was made since */
    bool is_short;      /* no socket could be made: this process's fault */
    bool is_connecting; /* counted as such */
    bool is_refused;    /* something stood on the connection, or it was too old */
    bool on_kept;       /* and it was a kept one */
    bool is_again;      /* the second time, on a new connection */
    bool is_early;
};

/* Reads the CA file. False, and every reason on a line of its own that begins with the
 * configuration's key ("ca_file: "). */
bool transfer_config_check(const struct transfer_client_config *config, struct buf *errors)
    __attribute__((warn_unused_result));
/* NULL and a reason (free()): curl cannot be set up, or the CA file cannot be read. */
struct transfer_client *transfer_client_new(struct loop *loop,
                                            const struct transfer_client_config *config,
                                            char **error) __attribute__((warn_unused_result));
/* Ends transfers that are under way without calling `done`. Not from within `done`. Accepts
 * NULL, returns NULL. */
struct transfer_client *transfer_client_free(struct transfer_client *client);
/* Waiting, in flight, or finished and not yet handed over. */
size_t transfer_client_in_flight(const struct transfer_client *client);

void transfer_start(struct transfer_client *client, struct transfer *transfer);
/* Further requests to that host go out on connections that are made from now on. */
void transfer_client_renew(struct transfer_client *client, unsigned host);
/* A header's value, NULL when it is absent. One that came twice counts as absent: which of
 * the two was meant cannot be told. */
const char *transfer_header(const struct transfer *transfer, enum transfer_header header);
/* Gives back what a large answer took; what was borrowed of the answer is gone. */
void transfer_rest(struct transfer *transfer);
/* Frees what the transfer holds; it must not be under way. */
void transfer_deinit(struct transfer *transfer);

#endif
