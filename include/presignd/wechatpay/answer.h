/* The answer table: what each answer of APIv3, or its absence, means. Pure.
 *
 * Source: APIv3, "common error codes" and the error tables of the pre-entrust-sign pages.
 */
#ifndef PRESIGND_WECHATPAY_ANSWER_H
#define PRESIGND_WECHATPAY_ANSWER_H

#include "presignd/wechatpay/endpoint.h"
#include "presignd/wechatpay/verify.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a body. A longer body is an answer that cannot be trusted. */
#define ANSWER_BODY_MAX 65536
/* Bytes of a header block; a server that sends more is cut off. */
#define ANSWER_HEADERS_MAX 32768
/* Nesting of objects and arrays. */
#define ANSWER_NESTING_MAX 64
#define ANSWER_CODE_MAX    64
#define ANSWER_MESSAGE_MAX 256
#define ANSWER_ID_MAX      128

/* Each kind with its name in the status. */
#define ANSWER_KINDS(ROW)                                                                         \
    ROW(SUCCESS, "success")           /* 200, verified, with every required member */             \
    ROW(REJECTED, "rejected")         /* permanent: 501, and 4xx except those below and 408, */   \
                                      /* 421, 425 */                                              \
    ROW(UNAUTHORIZED, "unauthorized") /* 401 */                                                   \
    ROW(RATE_LIMITED, "rate_limited") /* 429 */                                                   \
    ROW(UNAVAILABLE, "unavailable")   /* 5xx except 501; 202, 408, 421, 425; only 1xx; an */      \
                                      /* incomplete answer or none */                             \
    ROW(UNREACHABLE, "unreachable")   /* never sent: DNS, connect, TLS */                         \
    ROW(UNVERIFIED, "unverified")     /* 200 that cannot be trusted or lacks a required */        \
                                      /* member; an answer that began before the request */       \
                                      /* was sent */                                              \
    ROW(UNEXPECTED, "unexpected")     /* outside the API's rules: 204 and other 2xx, 3xx */       \
    ROW(SIGN_TEST, "sign_test")       /* 200 with a signature that must fail: WeChat Pay tests */ \
                                      /* now and then that answers are verified. Routine */

#define ANSWER_KIND(kind, name) ANSWER_##kind,
enum answer_kind { ANSWER_KINDS(ANSWER_KIND) ANSWER_KIND_COUNT };
#undef ANSWER_KIND
const char *answer_kind_name(enum answer_kind kind);

/* How an attempt ended, with its name in metrics and in the journal: the kind, and for a kind that
 * has several causes, which one. */
#define ANSWER_ENDS(ROW)                                                                        \
    ROW(SUCCESS, "success")                                                                     \
    ROW(SIGN_TEST, "sign_test")                                                                 \
    ROW(UNVERIFIED, "unverified")                                                               \
    ROW(REJECTED, "rejected")                                                                   \
    ROW(UNAUTHORIZED, "unauthorized")                                                           \
    ROW(RATE_LIMITED, "rate_limited")                                                           \
    ROW(HTTP_500, "http_500") /* ANSWER_UNAVAILABLE, by its status */                           \
    ROW(HTTP_502, "http_502")                                                                   \
    ROW(HTTP_503, "http_503")                                                                   \
    ROW(HTTP_504, "http_504")                                                                   \
    ROW(HTTP_OTHER, "http_other") /* its other statuses, for example 408 */                     \
    ROW(TIMEOUT, "timeout")       /* sent, and no whole answer came in time */                  \
    ROW(RESET, "reset")           /* sent, and the connection ended before the answer did */    \
    ROW(DNS, "dns")               /* ANSWER_UNREACHABLE: the name did not resolve */            \
    ROW(CONNECT, "connect")       /* not sent for any other cause: refused, no connection in */ \
                                  /* time, expired, no descriptor */                            \
    ROW(TLS, "tls")               /* the handshake failed, or the certificate is not trusted */ \
    ROW(UNEXPECTED, "unexpected")

#define ANSWER_END(end, name) ANSWER_END_##end,
enum answer_end { ANSWER_ENDS(ANSWER_END) ANSWER_END_COUNT };
#undef ANSWER_END
const char *answer_end_name(enum answer_end end);

/* The cause of an attempt's end, where the kind does not say it. */
enum answer_cause {
    ANSWER_CAUSE_NONE,
    ANSWER_CAUSE_KEYS,     /* no key of ours verifies a 200: unknown serial, timestamp too far off,
                            * wrong signature. Our own fault, like a 401. Not a signature test */
    ANSWER_CAUSE_SHORTAGE, /* this process has no descriptor or thread left, or got no signature:
                            * nothing was sent, the host is not at fault */
    ANSWER_CAUSE_NAME,     /* the host's name did not resolve: nothing was sent */
    ANSWER_CAUSE_TLS,      /* the TLS handshake failed: nothing was sent */
    ANSWER_CAUSE_TIMEOUT,  /* sent, and no whole answer came in time */
    ANSWER_CAUSE_RESET,    /* sent, and the connection ended before the answer did */
    ANSWER_CAUSE_FOREIGN,  /* it belongs, or may belong, to another request */
};

/* What is known of the call's effect. The greatest value is the worst. */
enum call_state { CALL_NOT_SENT, CALL_ANSWERED, CALL_UNKNOWN };
const char *call_state_name(enum call_state state); /* not_sent, answered, unknown */

/* The end of the transfer itself. */
enum transfer_status {
    TRANSFER_DONE,      /* a complete answer */
    TRANSFER_NOT_SENT,  /* DNS, connect or TLS failed: nothing of the request was sent */
    TRANSFER_BROKEN,    /* time-out, reset or an incomplete answer after sending */
    TRANSFER_TOO_LARGE, /* a status, with a body or headers over their bounds */
    TRANSFER_EARLY,     /* an answer that began before the request was sent completely */
};

/* Borrowed values of one transfer. */
struct answer_input {
    enum transfer_status transfer;
    enum answer_cause cause;      /* of a transfer without a whole answer, else NONE */
    int status;                   /* 0 when no status line came */
    struct verify_input verify;   /* headers and raw body */
    const char *content_encoding; /* NULL when absent; none was requested */
    const char *retry_after;      /* raw, or NULL */
    const char *request_id;       /* raw, or NULL */
};

/* What tells an answer's moment on WeChat Pay's clock. */
enum answer_clock {
    ANSWER_CLOCK_NONE,
    ANSWER_CLOCK_DATE,   /* Date, which anyone in between can write */
    ANSWER_CLOCK_SIGNED, /* Wechatpay-Timestamp of a verified answer */
};

/* The classified answer. It owns `body` and `id_value`. */
struct answer {
    enum answer_kind kind;
    enum call_state call_state;
    int status;
    bool is_signed;            /* with a signature that verifies */
    bool counts_as_outage;     /* for failover: unreachable, time-out, 502, 503, 504 */
    bool wants_new_connection; /* 408, 421: the next attempt needs a new connection */
    enum answer_cause cause;
    bool lacks_signature; /* with ANSWER_CAUSE_SHORTAGE: the request could not be signed in time */
    enum verify_status verify;
    const char *detail;     /* a static text: what was wrong */
    int64_t retry_after_ms; /* -1: absent */
    int64_t issued_ms;      /* Wechatpay-Timestamp of a success */
    int64_t duration_ms;
    int64_t duration_us;
    enum answer_clock clock;
    int64_t clock_offset_ms;              /* our clock less that one, within about half a second */
    char code[ANSWER_CODE_MAX + 1];       /* of an error's body; cleaned; "" when absent */
    char message[ANSWER_MESSAGE_MAX + 1]; /* as `code` */
    char request_id[ANSWER_ID_MAX + 1];
    char serial[ANSWER_ID_MAX + 1]; /* Wechatpay-Serial that verified, or (VERIFY_UNKNOWN_SERIAL)
                                     * that none of the keys has */
    enum verify_kind verified_by;   /* the kind of that key, if is_signed */
    char host[256];                 /* with its port unless 443 */
    char *body;                     /* of a success, else NULL */
    size_t body_len;
    char *id_value; /* of a success: the endpoint's id_field's value */
};

/* Classifies. `verify`: the result of the verification of `input->verify`; it has no effect unless
 * the transfer is TRANSFER_DONE. `answer` is all zero on entry; give it to answer_deinit(). */
void answer_classify(const struct endpoint *endpoint, const struct answer_input *input,
                     enum verify_status verify, int64_t wall_ms, struct answer *answer);
enum answer_end answer_end_of(const struct answer *answer);
/* Turns an answer into unverified, unknown, foreign: it belongs, or may belong, to another request.
 * `detail` is static text. */
void answer_mark_foreign(struct answer *answer, const char *detail);
void answer_deinit(struct answer *answer);

#endif
