/* When a merchant's certificate list is fetched, and what its answer means. Pure.
 *
 * Source: APIv3, "platform certificates": a new certificate is in the list at least 24 hours before
 * answers are signed with it, so the list has to be fetched more often than every 12 hours.
 */
#ifndef PRESIGND_WECHATPAY_REFRESH_H
#define PRESIGND_WECHATPAY_REFRESH_H

#include "presignd/wechatpay/caller.h"
#include "presignd/wechatpay/certificates.h"
#include "presignd/wechatpay/merchant.h"

#include <stdbool.h>
#include <stdint.h>

/* Each end with its name in metrics and logs, and what is wrong; "": nothing. */
#define REFRESH_ENDS(ROW)                                                                    \
    ROW(OK, "ok", "")                                                                        \
    ROW(UNREACHABLE, "unreachable", /* no host answered, or not with a list and for a cause  \
                                     * that passes */                                        \
        "no host of WeChat Pay gave the list")                                               \
    ROW(UNAUTHORIZED, "unauthorized", /* 401 */                                              \
        "WeChat Pay refuses the request's signature: check private_key, serial_no and this " \
        "machine's clock")                                                                   \
    ROW(NONE, "none", /* the merchant has no platform certificate: new merchants, and those  \
                       * that have moved to the public key */                                \
        "WeChat Pay has no platform certificate for this merchant: configure "               \
        "wechatpay_public_key and wechatpay_public_key_id")                                  \
    ROW(UNDECRYPTABLE, "undecryptable",                                                      \
        "the list does not open with apiv3_key: give the APIv3 key that the merchant "       \
        "platform has now")                                                                  \
    ROW(UNVERIFIED, "unverified", /* the answer's signature is missing, wrong, or of a key   \
                                   * that neither we nor the list have */                    \
        "the answer with the list is not signed by a known key, and is not trusted")

#define REFRESH_END(end, name, text) REFRESH_##end,
enum refresh_end { REFRESH_ENDS(REFRESH_END) REFRESH_END_COUNT };
#undef REFRESH_END
const char *refresh_end_name(enum refresh_end end);

struct refresh_verdict {
    enum refresh_end end;
    bool is_fault;      /* something is wrong. REFRESH_NONE is no fault for a merchant with a key
                         * of its own */
    const char *text;   /* static: what is wrong, and what to do; "" without a fault */
    int status;         /* of the answer; 0: none came */
    const char *reason; /* static: why none came; else NULL */
    /* Retry-After of an answer other than 200, REFRESH_RETRY_AFTER_MAX_MS at most; 0: none. */
    int64_t retry_after_ms;
};

/* What an answer to GET /v3/certificates means for that merchant. `list` is all zero on entry, and
 * filled with REFRESH_OK; give it to certificate_list_deinit(). A list is taken when its answer is
 * verified by a key that is trusted already or by one that the list brings: what opens with the
 * APIv3 key is WeChat Pay's. Otherwise a process that missed a switch could never get the new one.
 */
struct refresh_verdict refresh_judge(const struct merchant *merchant, const struct caller_got *got,
                                     int64_t now_s, struct certificate_list *list);
/* Whether to ask the other host: it may have the list. Not after 429, which applies to the merchant
 * at every host. */
bool refresh_asks_other_host(const struct refresh_verdict *verdict);

/* How soon the next one begins. */
#define REFRESH_USUAL_MS   (6 * INT64_C(3600000)) /* +- 20 %, as the others */
#define REFRESH_AMISS_MS   INT64_C(3600000)
#define REFRESH_AT_ONCE_MS INT64_C(60000) /* the least distance, from begin to begin */
/* A longer Retry-After counts as this one: after a switch of the certificate, events wait for the
 * list. */
#define REFRESH_RETRY_AFTER_MAX_MS INT64_C(600000)

enum refresh_urgency {
    REFRESH_USUAL,
    REFRESH_AMISS,  /* a fault, or the certificates end soon */
    REFRESH_URGENT, /* the merchant cannot verify any answer, for a cause that may pass */
};
enum refresh_urgency refresh_urgency_of(const struct merchant *merchant,
                                        const struct refresh_verdict *verdict, int64_t now_s);

/* All moments are mono. */
struct refresh_schedule {
    int64_t due_ms;        /* when the next one begins; INT64_MAX while one runs */
    int64_t began_ms;      /* the last one */
    int64_t not_before_ms; /* the end of the last one's Retry-After */
    bool has_begun;
};
/* Due at once. */
void refresh_schedule_init(struct refresh_schedule *schedule, int64_t now_ms);
bool refresh_schedule_runs(const struct refresh_schedule *schedule);
void refresh_schedule_begin(struct refresh_schedule *schedule, int64_t now_ms);
/* `retry_after_ms`: no other one begins earlier than so long from now, except after
 * refresh_schedule_init(). 0: no such bound. */
void refresh_schedule_end(struct refresh_schedule *schedule, enum refresh_urgency urgency,
                          int64_t retry_after_ms, int64_t now_ms, uint64_t random);
/* An answer named an unknown key. The next one begins at once, but not earlier than
 * REFRESH_AT_ONCE_MS after the begin of the last one, and not before the end of its Retry-After. */
void refresh_schedule_want(struct refresh_schedule *schedule, int64_t now_ms);

#endif
