/* One request that changes nothing, for checks: does a host answer, do a merchant's keys fit?
 *
 * With a merchant it is GET /v3/certificates, signed as a call is. 401: serial number, key or
 * clock. 404 RESOURCE_NOT_EXISTS: they fit, and the merchant has a public key only. 200: they fit
 * (APIv3, "platform certificates").
 */
#ifndef PRESIGND_WECHATPAY_PROBE_H
#define PRESIGND_WECHATPAY_PROBE_H

#include "presignd/wechatpay/answer.h"
#include "presignd/wechatpay/caller.h"
#include "presignd/wechatpay/merchant.h"
#include "presignd/wechatpay/refresh.h"

#include <stdbool.h>
#include <stdint.h>

struct probe_answer {
    int status;         /* 0: none came */
    const char *reason; /* static text; NULL when an answer came */
    bool has_date;      /* `offset_s` is known */
    int64_t offset_s;   /* our clock less the answer's Date, in the middle of the request */
    bool is_signed;     /* with all headers of a signature; `verify` then says the rest */
    enum verify_status verify;
    char serial[ANSWER_ID_MAX + 1]; /* Wechatpay-Serial, cleaned; "" when absent */
    char code[ANSWER_CODE_MAX + 1]; /* of an error's body, cleaned; "" when absent */
    bool is_judged;                 /* the merchant has an APIv3 key: `verdict` is known */
    struct refresh_verdict verdict;
    /* With REFRESH_OK: what WeChat Pay has. With automatic certificates these keys verify, too. */
    struct probe_certificate {
        char serial[64];
        int64_t not_before_ms, not_after_ms;
    } certificates[PLATFORM_KEYS_MAX];
    size_t certificate_count;
};

/* Asks the base URL number `host`. `merchant` NULL: GET /, not signed. Blocks for about
 * `timeout_ms` at most. A merchant with automatic certificates has those of the list afterwards, so
 * only one thread may use it. The process must ignore SIGPIPE and have called curl_global_init().
 * False and a reason (free()) when nothing could be asked: the CA file cannot be read, no thread.
 * `*error` must be NULL before. */
bool probe_run(const struct caller_config *config, unsigned host, struct merchant *merchant,
               int64_t timeout_ms, struct probe_answer *answer, char **error)
    __attribute__((warn_unused_result));

#endif
