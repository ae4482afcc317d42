/* Outcome records: what is published for each event, as bytes.
 *
 * Structured CloudEvents 1.0.2 with ce_type, ce_id, ce_source and ce_subject repeated as
 * headers. schemas/result.json and schemas/failure.json say the same in JSON Schema; the tests
 * hold the two against each other. Pure.
 */
#ifndef PRESIGND_WIRE_OUTCOME_H
#define PRESIGND_WIRE_OUTCOME_H

#include "presignd/base/buf.h"
#include "presignd/base/record.h"
#include "presignd/schema/violation.h"
#include "presignd/wire/event.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of an `original`'s value and headers (names and values) together, in the record's own bytes:
 * the value is cut between characters, then headers are left out from the end. */
#define OUTCOME_ORIGINAL_MAX 65536
/* Headers of an `original`: each costs some bytes of JSON even when it is empty, so that a
 * count of them is bounded too. With the two bounds and the next one a failure stays below
 * 1 MiB, a broker's default, whatever came in. */
#define OUTCOME_ORIGINAL_HEADERS_MAX 4096
/* Of each of the event's id, source and type; no event within the default of max_event_bytes
 * can hold a longer one. */
#define OUTCOME_EVENT_TEXT_MAX 65536
/* Attempts that are kept and published. */
#define OUTCOME_ATTEMPTS_MAX 10

/* What both kinds say. NULL strings are left out, and times outside 1970 to 9999, which
 * RFC 3339 cannot write. Strings that are not UTF-8 are cleaned. */
struct outcome_common {
    const char *cluster_id; /* Kafka's, for `source` = /presignd/CLUSTER_ID/GROUP_ID */
    const char *group_id;
    const struct record *record; /* the input; topic/partition/offset make the outcome's id */
    const struct event *event;   /* as far as it could be read; may be all zero */
    int64_t completed_ms;        /* wall clock */
    const char *endpoint;        /* name, or NULL */
    const char *mchid;
    const char *out_contract_code; /* only when valid */
    unsigned attempts;
};

/* One call, for `attempt_log`. Strings are borrowed. */
struct outcome_attempt {
    int64_t at_ms;
    const char *host; /* with its port unless 443 */
    int64_t duration_ms;
    int status; /* 0: no answer */
    const char *code;
    const char *ended; /* a reason's name */
};

struct outcome_result {
    const char *request_members; /* by outcome_request_members() */
    const char *id_field;        /* "pre_entrustweb_id" or "redirect_url" */
    const char *id_value;
    const char *response; /* the verified body, JSON text, embedded byte for byte */
    size_t response_len;
    int64_t issued_ms;  /* Wechatpay-Timestamp */
    int64_t expires_ms; /* ten minutes later */
    const char *host;
    const char *request_id;
    const char *wechatpay_serial;
};

struct outcome_failure {
    const char *reason;
    bool retryable;
    const char *call_state; /* not_sent | answered | unknown */
    const char *message;
    const struct violations *errors; /* NULL or empty: left out */
    bool answered;                   /* there is an `answer` */
    int status;
    const char *code;
    const char *answer_message;
    const char *request_id;
    bool answer_signed;
    const struct outcome_attempt *attempts; /* oldest first, at most OUTCOME_ATTEMPTS_MAX */
    size_t attempt_count;
    bool original; /* publish the input record */
};

/* An outcome, ready to be produced with the input's key. Header values point into the
 * outcome's own memory; so the structure may be moved, not copied. */
#define OUTCOME_HEADERS_MAX 5
struct outcome_bytes {
    struct buf value;
    char *strings; /* what the headers' values point to */
    struct record_header headers[OUTCOME_HEADERS_MAX];
    size_t header_count;
};

/* The members that a result repeats of its request (sub_mchid, appid or sp_appid, plan_id), as
 * JSON text `"appid":"…","plan_id":1`, so that the request need not be kept or read again. free().
 */
char *outcome_request_members(const json_t *data) __attribute__((warn_unused_result));

void outcome_result_write(struct outcome_bytes *out, const struct outcome_common *common,
                          const struct outcome_result *result);
void outcome_failure_write(struct outcome_bytes *out, const struct outcome_common *common,
                           const struct outcome_failure *failure);
/* The member `errors` of a failure's data, behind what `json` holds; nothing for an empty list. */
void outcome_errors_write(struct buf *json, const struct violations *errors);
void outcome_bytes_deinit(struct outcome_bytes *out);

/* Reads an outcome's value, or a part of one; NULL when it is no JSON. Unlike an event it may hold
 * U+0000 in its `original`, and integers of any size in its `response`. json_decref(). */
json_t *outcome_read(const char *bytes, size_t len) __attribute__((warn_unused_result));

/* An `original` (see docs/events.md) back to a record, as `presignctl validate --records` and
 * `presignctl send --records` read it: value or value_base64, headers, and a key or key_base64
 * where there is one (an original has none: its failure record has the same key). Topic, partition,
 * offset and timestamp are not set. Parse it by outcome_read().
 * The record's memory is the caller's to release by record_owned_free(). NULL and a reason
 * (free()) when it has another shape or is truncated. */
struct record_owned {
    struct record record;
    struct buf key, value;
    struct record_header *headers;
    struct buf *header_values;
};
struct record_owned *outcome_original_read(const json_t *original, char **reason)
    __attribute__((warn_unused_result));
struct record_owned *record_owned_free(struct record_owned *owned);

#endif
