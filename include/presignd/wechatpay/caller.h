/* One attempt: sign, send, verify, classify. Each attempt is answered exactly once.
 *
 * curl multi on the event loop. HTTP/1.1 over TLS 1.2 or newer. Idle connections are closed after
 * 7 s (the server closes them after about 8 s). No redirects, no Expect, no Accept-Encoding;
 * answers have a size limit (wechatpay/answer.h). A request is never sent twice with one nonce.
 * Bytes that arrived before the request was sent are not its answer, and a dead kept connection
 * uses up no attempt: see wechatpay/transfer.h.
 */
#ifndef PRESIGND_WECHATPAY_CALLER_H
#define PRESIGND_WECHATPAY_CALLER_H

#include "presignd/base/buf.h"
#include "presignd/base/clock.h"
#include "presignd/base/loop.h"
#include "presignd/sign/signer.h"
#include "presignd/wechatpay/answer.h"
#include "presignd/wechatpay/merchant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CALLER_HOSTS_MAX 2

/* From the [endpoint] section; strings are copied. */
struct caller_config {
    const char *base_url[CALLER_HOSTS_MAX]; /* the second NULL or empty: no backup */
    const char *ca_file;                    /* NULL or empty: the system's trust store */
    const char *proxy_ca_file;              /* of an https proxy; as ca_file */
    const char *proxy;                      /* NULL or empty: none; the environment is ignored */
    int64_t connect_timeout_ms;
    unsigned max_connections;
};

/* Checks what caller_new() and caller_configure() check. False: `errors` has one line for each
 * error, which begins with the configuration key ("proxy: "). Reads the CA file, makes no
 * connection. Skips base URLs that are NULL. */
bool caller_config_check(const struct caller_config *config, struct buf *errors)
    __attribute__((warn_unused_result));

struct caller;

/* What to send. Borrowed until the answer, except `merchant`: the caller takes a reference. */
struct attempt {
    const struct endpoint *endpoint;
    struct merchant *merchant;
    unsigned host;             /* index of the base URL */
    const char *contract_code; /* NULL: the answer's id is not checked (answer_ids.h) */
    const char *body;
    size_t body_len;
    bool new_connection; /* see answer.wants_new_connection */
    int64_t timeout_ms;  /* for waiting, connecting, sending and the answer together */
    /* Wall clock: nothing is sent from then on; INT64_MAX: no limit. An attempt that ends so is
     * ANSWER_UNREACHABLE and not an outage. An answer may still arrive later. */
    int64_t expires_ms;
};

/* Called on the loop's thread, once for each attempt, never from inside caller_start(). The callee
 * may take `body` and `id_value` out of the answer. */
typedef void caller_answered_fn(void *context, void *cookie, struct answer *answer);

/* What a GET brought, borrowed. Neither classified nor verified. */
struct caller_got {
    int status;                /* 0: no whole answer that belongs to this request came */
    const char *reason;        /* static text: why not; else NULL */
    struct answer_input input; /* of an answer */
    bool has_date;
    int64_t clock_offset_ms; /* with `has_date`: our clock less the answer's Date, about */
};
typedef void caller_got_fn(void *cookie, const struct caller_got *got);

/* `path` is static. */
struct caller_get {
    struct merchant *merchant; /* who signs; NULL: not signed */
    const char *path;
    unsigned host;
    int64_t timeout_ms;
    caller_got_fn *got;
};

/* Called on the loop's thread when an attempt was signed with that merchant's key, with the context
 * of caller_new(). */
typedef void caller_signed_fn(void *context, const struct merchant *merchant);

/* `signer` NULL: merchants have their private keys here, and the loop's thread signs. NULL and a
 * reason (free()). */
struct caller *caller_new(struct loop *loop, const struct clock *clock, struct signer *signer,
                          const struct caller_config *config, caller_answered_fn *answered,
                          void *context, char **error) __attribute__((warn_unused_result));
void caller_notify_signed(struct caller *caller, caller_signed_fn *notify);
/* Call it before the first caller_start(). The verifier verifies the answers to attempts that end
 * in one round of the loop together; it must live longer than the caller. NULL, the default:
 * OpenSSL verifies them. */
void caller_verify_by(struct caller *caller, struct batch_verifier *verifier);
/* Ends every transfer without an answer. Accepts NULL, returns NULL. */
struct caller *caller_free(struct caller *caller);
/* Applies new settings to calls that begin from now on. False and a reason (free()). */
bool caller_configure(struct caller *caller, const struct caller_config *config, char **error)
    __attribute__((warn_unused_result));
/* A success whose `pre_entrustweb_id` was accepted for another merchant or contract ends as
 * ANSWER_UNVERIFIED with ANSWER_CAUSE_FOREIGN, and so does each later answer of that connection.
 * Later calls to that host use new connections. */
void caller_start(struct caller *caller, const struct attempt *attempt, void *cookie);
/* One request without effect, outside the events' attempts and metrics. `got` is called once on the
 * loop's thread, never from inside, and not after caller_free(). */
void caller_get(struct caller *caller, const struct caller_get *get, void *cookie);
/* Attempts and GETs. */
size_t caller_in_flight(const struct caller *caller);
unsigned caller_host_count(const struct caller *caller);
/* "api.mch.weixin.qq.com", with its port unless 443. */
const char *caller_host_name(const struct caller *caller, unsigned host);

#endif
