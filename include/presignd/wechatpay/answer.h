/* What an answer, or its absence, means: the answer table of APIv3 as one table. Pure.
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

/* Bodies are read up to here; a longer one is an answer that cannot be trusted. */
#define ANSWER_BODY_MAX 65536
/* Of a header block; a server that sends headers for ever is cut off here. */
#define ANSWER_HEADERS_MAX 32768
/* Objects and arrays inside one another. */
#define ANSWER_NESTING_MAX 64
#define ANSWER_CODE_MAX    64
#define ANSWER_MESSAGE_MAX 256
#define ANSWER_ID_MAX      128

enum answer_kind {
    ANSWER_SUCCESS,      /* 200, verified, every required member there */
    ANSWER_REJECTED,     /* permanent: 501, and 4xx but 401, 408, 421, 425 and 429 */
    ANSWER_UNAUTHORIZED, /* 401 */
    ANSWER_RATE_LIMITED, /* 429 */
    ANSWER_UNAVAILABLE,  /* 5xx but 501, 202, 408, 421, 425, 1xx alone, half of one or none */
    ANSWER_UNREACHABLE,  /* never sent: DNS, connect, TLS */
    ANSWER_UNVERIFIED,   /* 200 that cannot be trusted or lacks a required member; one that began
                          * before the request had left */
    ANSWER_UNEXPECTED,   /* outside the API's rules: 204 and other 2xx, 3xx */
    ANSWER_KIND_COUNT
};
const char *answer_kind_name(enum answer_kind kind); /* as in metrics: "success", "rejected" … */

/* Whose fault an attempt's end is, where its kind alone does not tell. */
enum answer_cause {
    ANSWER_CAUSE_NONE,
    ANSWER_CAUSE_KEYS, /* a 200 that no key of ours verifies: unknown serial, a timestamp too far
                        * off, a wrong signature. Our fault, as a 401 is. Not a signature test */
    ANSWER_CAUSE_SHORTAGE, /* this process has no descriptor or thread left: nothing was sent,
                            * and no host is to blame */
    ANSWER_CAUSE_NAME,     /* the host's name was not resolved: nothing was sent */
    ANSWER_CAUSE_FOREIGN,  /* a success with an id that was accepted for another contract */
};

/* What is known of the call's effect, mildest first, so that the worst is the greatest. */
enum call_state { CALL_NOT_SENT, CALL_ANSWERED, CALL_UNKNOWN };
const char *call_state_name(enum call_state state); /* not_sent, answered, unknown */

/* How the transfer itself went. */
enum transfer_status {
    TRANSFER_DONE,      /* a whole answer */
    TRANSFER_NOT_SENT,  /* DNS, connect or TLS failed: nothing of the request left */
    TRANSFER_BROKEN,    /* time-out, reset or half an answer after sending */
    TRANSFER_TOO_LARGE, /* a status, and a body or headers over their bounds */
    TRANSFER_EARLY,     /* an answer that began before the request had left whole */
};

/* Borrowed values of one transfer. */
struct answer_input {
    enum transfer_status transfer;
    enum answer_cause cause;      /* why nothing was sent: SHORTAGE, NAME, or NONE */
    int status;                   /* 0 when no status line came */
    struct verify_input verify;   /* headers and raw body */
    const char *content_encoding; /* NULL when absent; none was asked for */
    const char *retry_after;      /* raw, or NULL */
    const char *request_id;       /* raw, or NULL */
};

/* All that the flow needs to know; owns its body only. */
struct answer {
    enum answer_kind kind;
    enum call_state call_state;
    int status;
    bool is_signed;            /* a signature was there and verified */
    bool counts_as_outage;     /* towards failover: unreachable, time-out, 502, 503, 504 */
    bool wants_new_connection; /* 408, 421: the next attempt is not made on a kept one */
    enum answer_cause cause;
    enum verify_status verify;
    const char *detail;     /* static phrase for people: what was wrong */
    int64_t retry_after_ms; /* to wait; -1: not said */
    int64_t issued_ms;      /* Wechatpay-Timestamp of a success */
    int64_t duration_ms;
    int64_t duration_us;
    char code[ANSWER_CODE_MAX + 1];       /* of an error's body; cleaned; "" when absent */
    char message[ANSWER_MESSAGE_MAX + 1]; /* likewise */
    char request_id[ANSWER_ID_MAX + 1];
    char serial[ANSWER_ID_MAX + 1]; /* Wechatpay-Serial that verified */
    char host[256];                 /* with its port unless 443 */
    char *body;                     /* of a success, else NULL */
    size_t body_len;
    char *id_value; /* of a success: the endpoint's id_field's value */
};

/* Classifies. `answer` is all zero on entry; give it to answer_deinit(). */
void answer_classify(const struct endpoint *endpoint, const struct answer_input *input,
                     const struct verify_key *keys, size_t key_count, int64_t wall_ms,
                     struct answer *answer);
/* Makes a success of one that belongs to another contract's request: unverified, unknown. */
void answer_disown(struct answer *answer);
void answer_deinit(struct answer *answer);

#endif
