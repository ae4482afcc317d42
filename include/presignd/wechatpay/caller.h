/* One attempt: sign, send, verify, classify; always answered exactly once.
 *
 * curl multi on the event loop (sockets by callback, one timer). HTTP/1.1 over TLS 1.2 or
 * newer, connections kept and dropped after 7 s idle (the server keeps them about 8 s), no
 * redirect followed, no Expect header, no Accept-Encoding, answers capped (wechatpay/answer.h).
 * A request never goes out twice with one nonce. What stands on a connection before it leaves is
 * not its answer, and a kept connection that turns out to be dead costs no attempt: how, says
 * wechatpay/transfer.h.
 */
#ifndef PRESIGND_WECHATPAY_CALLER_H
#define PRESIGND_WECHATPAY_CALLER_H

#include "presignd/base/buf.h"
#include "presignd/base/clock.h"
#include "presignd/base/loop.h"
#include "presignd/wechatpay/answer.h"
#include "presignd/wechatpay/merchant.h"
#include "presignd/wechatpay/signer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CALLER_HOSTS_MAX 2

/* From the [endpoint] section; strings are copied. */
struct caller_config {
    const char *base_url[CALLER_HOSTS_MAX]; /* second NULL or empty: no backup */
    const char *ca_file;                    /* NULL or empty: the system's trust store */
    const char *proxy;                      /* likewise: none (the environment's is ignored) */
    int64_t connect_timeout_ms;
    unsigned max_connections;
};

/* What caller_new() and caller_configure() would refuse: false, and every reason on a line of
 * its own that begins with the configuration's key ("proxy: "). Reads the CA file, connects to
 * nothing. Base URLs that are NULL are passed over. */
bool caller_config_check(const struct caller_config *config, struct buf *errors)
    __attribute__((warn_unused_result));

struct caller;

/* What to send. All of it is borrowed until the answer came, but `merchant`, of which the
 * caller takes a reference. */
struct attempt {
    const struct endpoint *endpoint;
    struct merchant *merchant;
    unsigned host;             /* index of the base URL */
    const char *contract_code; /* NULL: the answer's id is not looked at (wechatpay/answer_ids.h) */
    const char *body;
    size_t body_len;
    bool new_connection; /* not on a kept one: see answer.wants_new_connection */
    int64_t timeout_ms;  /* for waiting, connect, sending and the whole answer together */
    /* Wall clock, at or past which nothing is sent any more; INT64_MAX: never. Such an end is
     * ANSWER_UNREACHABLE and no outage. What was sent before may still be answered after. */
    int64_t expires_ms;
};

/* On the loop's thread, once for each attempt, never from inside caller_start(). The answer is
 * the callee's to move from (body, id_value) or to leave. */
typedef void caller_answered_fn(void *context, void *cookie, struct answer *answer);

/* NULL and a reason (free()). */
struct caller *caller_new(struct loop *loop, const struct clock *clock, struct signer *signer,
                          const struct caller_config *config, caller_answered_fn *answered,
                          void *context, char **error) __attribute__((warn_unused_result));
/* Ends every transfer without an answer. Accepts NULL, returns NULL. */
struct caller *caller_free(struct caller *caller);
/* Takes new settings for calls that begin from now on. False and a reason (free()). */
bool caller_configure(struct caller *caller, const struct caller_config *config, char **error)
    __attribute__((warn_unused_result));
/* A success whose `pre_entrustweb_id` was accepted for another merchant or contract ends as
 * ANSWER_UNVERIFIED with ANSWER_CAUSE_FOREIGN; further calls to that host go out on connections
 * that are made from then on. */
void caller_start(struct caller *caller, const struct attempt *attempt, void *cookie);
size_t caller_in_flight(const struct caller *caller);
unsigned caller_host_count(const struct caller *caller);
/* "api.mch.weixin.qq.com", with its port unless 443. */
const char *caller_host_name(const struct caller *caller, unsigned host);

#endif
