/* Writes outcome records, results and failures. Pure.
 *
 * They are structured CloudEvents 1.0.2 with ce_type, ce_id, ce_source and ce_subject as headers,
 * too. Tests validate them against schemas/result.json and schemas/failure.json.
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

/* Bytes of an `original`: value and headers (names and values) of the record. The value is cut
 * between characters, then headers are omitted from the end. */
#define OUTCOME_ORIGINAL_MAX 65536
/* Headers of an `original`: an empty header costs some bytes of JSON, too. With both limits and the
 * next one a failure stays below 1 MiB, the default of brokers, whatever the record holds. */
#define OUTCOME_ORIGINAL_HEADERS_MAX 4096
/* Bytes of each of the event's id, source and type. No event within the default of max_event_bytes
 * has a longer one. */
#define OUTCOME_EVENT_TEXT_MAX 65536
/* Attempts kept and published. */
#define OUTCOME_ATTEMPTS_MAX 10

/* Members of results and failures. NULL strings are omitted, and times outside 1970 to 9999, which
 * RFC 3339 cannot express. Strings that are not UTF-8 are cleaned. */
struct outcome_common {
    const char *cluster_id; /* of Kafka; `source` is /presignd/CLUSTER_ID/GROUP_ID */
    const char *group_id;
    const struct record *record; /* the request; the outcome's id is its topic/partition/offset */
    const struct event *event;   /* its valid attributes; may be all zero */
    int64_t completed_ms;        /* wall clock */
    const char *endpoint;        /* name; NULL if unknown */
    const char *mchid;
    const char *out_contract_code; /* NULL unless valid */
    unsigned attempts;
};

/* A call, for `attempt_log`. Strings are borrowed. */
struct outcome_attempt {
    int64_t at_ms;
    const char *host; /* with its port unless it is 443 */
    int64_t duration_ms;
    int status; /* 0: no answer */
    const char *code;
    const char *ended; /* name of a reason */
};

struct outcome_result {
    const char *request_members; /* by outcome_request_members() */
    const char *id_field;        /* "pre_entrustweb_id" or "redirect_url" */
    const char *id_value;
    const char *response; /* the verified body: JSON, embedded byte for byte */
    size_t response_len;
    int64_t issued_ms;  /* Wechatpay-Timestamp */
    int64_t expires_ms; /* end of the pre-sign session */
    const char *host;
    const char *request_id;
    const char *wechatpay_serial;
};

struct outcome_failure {
    const char *reason;
    bool retryable;
    const char *call_state; /* not_sent | answered | unknown */
    const char *message;
    const struct violations *errors; /* omitted if NULL or empty */
    bool answered;                   /* has an `answer` */
    int status;
    const char *code;
    const char *answer_message;
    const char *request_id;
    bool answer_signed;
    const struct outcome_attempt *attempts; /* oldest first, at most OUTCOME_ATTEMPTS_MAX */
    size_t attempt_count;
    bool original; /* has the request record */
};

/* An outcome, to be produced with the request's key. The structure may be moved but not copied:
 * header values point into its memory. */
#define OUTCOME_HEADERS_MAX 5
struct outcome_bytes {
    struct buf value;
    char *strings; /* the values of the headers */
    struct record_header headers[OUTCOME_HEADERS_MAX];
    size_t header_count;
};

/* The members of a request that its result repeats (sub_mchid, appid or sp_appid, plan_id), as JSON
 * text `"appid":"…","plan_id":1`. The parsed request is not needed after that. free(). */
char *outcome_request_members(const json_t *data) __attribute__((warn_unused_result));

void outcome_result_write(struct outcome_bytes *out, const struct outcome_common *common,
                          const struct outcome_result *result);
void outcome_failure_write(struct outcome_bytes *out, const struct outcome_common *common,
                           const struct outcome_failure *failure);
/* Appends the member `errors` of a failure's data; nothing for an empty list. */
void outcome_errors_write(struct buf *json, const struct violations *errors);
void outcome_bytes_deinit(struct outcome_bytes *out);

/* Parses an outcome's value or a part of it; NULL if it is not JSON. An outcome may have U+0000 in
 * its `original` and integers of any size in its `response`. json_decref(). */
json_t *outcome_read(const char *bytes, size_t len) __attribute__((warn_unused_result));

/* Converts an `original` (docs/events.md) to a record, for `presignctl validate --records` and
 * `presignctl send --records`: value or value_base64, headers, and key or key_base64 if present (an
 * original has no key, its failure record has it). Does not set topic, partition, offset and
 * timestamp. Parse the original with outcome_read(). Release the record with record_owned_free().
 * NULL and a reason (free()) if the original has another form or is truncated. */
struct record_owned {
    struct record record;
    struct buf key, value;
    struct record_header *headers;
    struct buf *header_values;
};
struct record_owned *outcome_original_read(const json_t *original, char **error)
    __attribute__((warn_unused_result));
struct record_owned *record_owned_free(struct record_owned *owned);

#endif
