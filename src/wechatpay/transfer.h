/* One HTTP request and its answer, over libcurl's multi interface on the event loop. The only
 * module that uses curl. It knows nothing about signatures. It guarantees:
 *
 * - A request is sent at most once. Its connection is checked before its first byte is sent (RFC
 *   9112, sections 9.2, 9.3 and 9.5). A kept connection with unsolicited bytes, an end or an error
 * is closed, and the request is sent once on a new one, within the same time-out. A new connection
 * in that state ends the transfer: TRANSFER_NOT_SENT.
 * - curl repeats a request when a kept connection is dead. That is allowed while nothing was sent:
 * a request without a complete record has no effect (RFC 9112, section 8). Otherwise the repetition
 *   is denied and the transfer is TRANSFER_BROKEN.
 * - An answer whose status line comes before the request is sent completely is not its answer:
 *   TRANSFER_EARLY. Bytes that come between the check and the first byte, or after the complete
 *   request and before its own answer, cannot be distinguished from an answer.
 * - Once one answer of a connection is known to belong to another request, no answer that comes
 * later on that connection is trusted: transfer_client_distrust().
 * - A connection has a maximum age of 45 to 75 s (connection.h).
 * - TRANSFER_NOT_SENT means that nothing was sent; any other end means that something may have
 * been.
 * - Nothing is sent from `expires_ms` on. Both time-outs include the wait for a connection.
 * - Why nothing was sent: no descriptor in this process (SHORTAGE), the name did not resolve
 * (NAME), the handshake (TLS), or the network (NONE).
 * - Answers have size limits (ANSWER_BODY_MAX, ANSWER_HEADERS_MAX). The number of connections and
 * of those that are connecting is limited.
 * - Kept connections are closed after 7 s without use; the server closes them after about 8 s.
 *
 * The process must ignore SIGPIPE: curl does not touch signals here.
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

/* Hosts that share a client's connections. */
#define TRANSFER_HOSTS_MAX 2
/* Connections to one host that are connecting at once. Each may cost a resolver thread here and a
 * handshake on the server. Waiting transfers also use kept connections that become free. */
#define TRANSFER_CONNECTING_MAX 64

/* Connections, TLS sessions and resolved names that transfers share. */
struct transfer_client;

/* Strings are copied. */
struct transfer_client_config {
    const struct clock *clock; /* borrowed; its wall clock is compared with `expires_ms` */
    const char *ca_file;       /* NULL or empty: the system's trust store */
    const char *proxy_ca_file; /* of an https proxy; as ca_file */
    const char *proxy;         /* NULL or empty: none; the environment is ignored */
    int64_t connect_timeout_ms;
    unsigned max_connections;
};

/* The answer headers that are kept. */
enum transfer_header {
    TRANSFER_HEADER_SERIAL,
    TRANSFER_HEADER_TIMESTAMP,
    TRANSFER_HEADER_NONCE,
    TRANSFER_HEADER_SIGNATURE,
    TRANSFER_HEADER_SIGNATURE_TYPE,
    TRANSFER_HEADER_REQUEST_ID,
    TRANSFER_HEADER_RETRY_AFTER,
    TRANSFER_HEADER_CONTENT_ENCODING,
    TRANSFER_HEADER_DATE,
    TRANSFER_HEADER_COUNT
};

/* Embedded in its owner. All zero before its first use, transfer_deinit() after its last; it may be
 * started again in between. The owner fills in the request; its strings must live until `done`. */
struct transfer {
    /* The request. */
    unsigned host;       /* below TRANSFER_HOSTS_MAX */
    bool new_connection; /* never a kept one (RFC 9110, sections 15.5.9, 15.5.20) */
    const char *url;     /* http or https */
    const char *body;    /* NULL: GET, else POST of JSON */
    size_t body_len;
    char *authorization; /* a complete header line; NULL: none; not changed */
    char *serial;        /* as authorization */
    int64_t timeout_ms;  /* waiting, connecting, sending and answer together */
    int64_t expires_ms;  /* wall clock: not sent from then on; INT64_MAX: no limit */
    /* Both are called on the loop, never from inside transfer_start(). First `ready` of all
     * transfers that ended in the round, unless it is NULL; it may read the answer, but must start
     * and end no transfer. Then `done` of each, in the order in which they ended. */
    void (*ready)(struct transfer *transfer);
    void (*done)(struct transfer *transfer);

    /* The answer; borrowed until the next start or transfer_deinit(). */
    enum transfer_status status;
    enum answer_cause
        cause;           /* of NOT_SENT: SHORTAGE, NAME, TLS or NONE; of BROKEN: TIMEOUT, RESET */
    const char *reason;  /* static text, NULL for TRANSFER_DONE */
    int http_status;     /* of the last status line; 0: none came */
    bool timed_out;      /* it ended by the time-out */
    bool expired;        /* not sent: `expires_ms` was reached */
    long proxy_status;   /* the proxy's answer to CONNECT; 0: none */
    int64_t duration_us; /* from the start of connecting, or sending, to the end; without a
                          * connection: from transfer_start() */
    bool is_distrusted;  /* the answer may belong to another request */
    struct buf answer;   /* the raw body */

    /* Private. */
    struct list_link link;
    struct transfer_client *client;
    CURL *easy;
    int64_t start_ms;        /* mono */
    int64_t sent_by_ms;      /* mono: no connection is made for it afterwards */
    struct heap_slot waited; /* in the client's heap of waiting transfers */
    struct curl_slist lines[2];
    struct buf header_text;
    size_t header_at[TRANSFER_HEADER_COUNT]; /* offset in header_text + 1; 0: absent */
    size_t header_bytes;                     /* of all header blocks */
    long bytes_before;                       /* request_bytes() of a proxy's CONNECT */
    uint64_t connection;                     /* its number; 0: not known */
    bool header_repeated[TRANSFER_HEADER_COUNT];
    bool bounded_by_expiry; /* sent_by_ms comes from expires_ms */
    bool in_headers;        /* between a status line and its empty line */
    bool sent, too_large;
    bool resolving;     /* the resolver works; no socket was created since */
    bool is_short;      /* this process could not create a socket */
    bool is_connecting; /* counted in client->connecting */
    bool is_refused;    /* the connection had bytes, an end or an error, or was too old */
    bool on_kept;       /* that connection was a kept one */
    bool is_resent;     /* the second try, on a new connection */
    bool is_early;
};

/* Reads the CA file. False: `errors` has one line for each error, which begins with the
 * configuration key ("ca_file: "). */
bool transfer_config_check(const struct transfer_client_config *config, struct buf *errors)
    __attribute__((warn_unused_result));
/* NULL and a reason (free()): curl fails, or the CA file cannot be read. */
struct transfer_client *transfer_client_new(struct loop *loop,
                                            const struct transfer_client_config *config,
                                            char **error) __attribute__((warn_unused_result));
/* Ends running transfers without calling `done`. Must not be called from `done`. Accepts NULL,
 * returns NULL. */
struct transfer_client *transfer_client_free(struct transfer_client *client);
/* Transfers that wait, run, or are finished with `done` not yet called. */
size_t transfer_client_in_flight(const struct transfer_client *client);

void transfer_start(struct transfer_client *client, struct transfer *transfer);
/* Call it from `done` of a transfer whose answer belongs to another request. Other transfers that
 * have used the same connection since, or use it now, are distrusted: their answers may be shifted,
 * too. Later requests to that host use new connections. */
void transfer_client_distrust(struct transfer_client *client, const struct transfer *transfer);
/* A header's value, or NULL. A repeated header counts as absent, because its value is ambiguous. */
const char *transfer_header(const struct transfer *transfer, enum transfer_header header);
/* Frees the memory of a large answer. Values that were borrowed from the answer become invalid. */
void transfer_shrink(struct transfer *transfer);
/* Frees what the transfer holds. It must not be running. */
void transfer_deinit(struct transfer *transfer);

#endif
