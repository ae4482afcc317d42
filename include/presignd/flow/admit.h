/* Turns a record into a call, or into the reason of a failure. Pure.
 *
 * decode -> validate -> route. The order of the checks: empty, size, JSON, attributes, type,
 * schema, expiry, merchant. The first check that fails determines the reason. The daemon and
 * `presignctl validate` run the same code.
 */
#ifndef PRESIGND_FLOW_ADMIT_H
#define PRESIGND_FLOW_ADMIT_H

#include "presignd/base/record.h"
#include "presignd/flow/reason.h"
#include "presignd/schema/schema.h"
#include "presignd/schema/violation.h"
#include "presignd/wechatpay/endpoint.h"
#include "presignd/wechatpay/merchant.h"
#include "presignd/wire/event.h"

#include <stddef.h>
#include <stdint.h>

#define ADMIT_CODE_MAX    32
#define ADMIT_MCHID_MAX   32
#define ADMIT_MESSAGE_MAX 127

/* Borrowed. Does not change while in use. */
struct admit_rules {
    size_t event_bytes_max;
    int64_t event_age_max_ms;                      /* 0: no limit */
    const struct schema *requests[ENDPOINT_COUNT]; /* by endpoint_index() */
    const struct merchants *merchants;
};

struct admission {
    enum reason reason;                  /* REASON_NONE: call */
    char message[ADMIT_MESSAGE_MAX + 1]; /* quotes nothing of the event */
    struct event event;                  /* as far as it was readable */
    struct violations errors;
    const struct endpoint *endpoint;            /* NULL: unknown */
    struct merchant *merchant;                  /* borrowed from the rules; NULL: unknown */
    char mchid[ADMIT_MCHID_MAX + 1];            /* who signs; "": unknown */
    char out_contract_code[ADMIT_CODE_MAX + 1]; /* "" if it is not valid */
    int64_t expires_ms;                         /* wall clock; INT64_MAX: never */
    char *body;                                 /* the request's bytes; NULL on failure */
    size_t body_len;
    char *request_members; /* copied into a result; NULL on failure */
};

/* Overwrites `admission`. The caller gives it to admission_deinit(). */
void admit(const struct admit_rules *rules, const struct record *record, int64_t wall_ms,
           struct admission *admission);
void admission_deinit(struct admission *admission);

/* The merchant that signs for that endpoint: `mchid`, or the default merchant if that is NULL.
 * Borrowed. NULL, with a static text in *why, if there is none or its mode differs. */
struct merchant *admit_merchant(const struct merchants *merchants, const struct endpoint *endpoint,
                                const char *mchid, const char **why)
    __attribute__((warn_unused_result));

#endif
