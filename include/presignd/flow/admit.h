/* From a record to a call that may be made, or to the reason why not. Pure.
 *
 * decode -> validate -> route, in the contract's order: empty, size, JSON, attributes, type,
 * schema, expiry, merchant. The first check that fails names the reason. `presignctl validate`
 * and the daemon run this same code.
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

/* out_contract_code has at most so many characters. */
#define ADMIT_CODE_MAX    32
#define ADMIT_MCHID_MAX   32
#define ADMIT_MESSAGE_MAX 127

/* All of it borrowed and unchanging while in use. */
struct admit_rules {
    size_t event_bytes_max;
    int64_t event_age_max_ms;                      /* 0: no limit */
    const struct schema *requests[ENDPOINT_COUNT]; /* by endpoint_index() */
    const struct merchants *merchants;
};

struct admission {
    enum reason reason;                  /* REASON_NONE: call */
    char message[ADMIT_MESSAGE_MAX + 1]; /* quotes nothing of the event */
    struct event event;                  /* as far as it could be read */
    struct violations errors;
    const struct endpoint *endpoint;            /* NULL when none could be told */
    struct merchant *merchant;                  /* borrowed from the rules; NULL unless told */
    char mchid[ADMIT_MCHID_MAX + 1];            /* whose turn and signature it is; "" likewise */
    char out_contract_code[ADMIT_CODE_MAX + 1]; /* "" unless it is a valid one */
    int64_t expires_ms;                         /* wall clock; INT64_MAX: never */
    char *body;                                 /* the request's bytes; NULL on failure */
    size_t body_len;
    char *request_members; /* what a result repeats of the request; NULL on failure */
};

/* `admission` is overwritten; give it to admission_deinit(). */
void admit(const struct admit_rules *rules, const struct record *record, int64_t wall_ms,
           struct admission *admission);
void admission_deinit(struct admission *admission);

/* The merchant that signs for that endpoint: the named one, or the default for NULL. NULL and
 * a static text when there is none or its mode is another. Borrowed. */
struct merchant *admit_merchant(const struct merchants *merchants, const struct endpoint *endpoint,
                                const char *mchid, const char **why)
    __attribute__((warn_unused_result));

#endif
