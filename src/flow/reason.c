#include "presignd/flow/reason.h"

#include <assert.h>
#include <stddef.h>

/* Name, retryable, when it happens, what the operator should do. */
static const struct reason_row rows[REASON_COUNT] = {
    [REASON_NONE] = {"none", false, "", ""},
    [REASON_EMPTY_EVENT] = {"empty_event", false, "the value is null or empty",
                            "find the producer of tombstones or empty records"},
    [REASON_EVENT_TOO_LARGE] = {"event_too_large", false,
                                "key, value and headers together are over max_event_bytes",
                                "send less, or raise daemon.max_event_bytes"},
    [REASON_INVALID_JSON] = {"invalid_json", false,
                             "not JSON, a byte order mark, a duplicate member, not UTF-8, "
                             "nested too deep",
                             "mend the producer's encoder"},
    [REASON_INVALID_CLOUDEVENT] = {"invalid_cloudevent", false,
                                   "a CloudEvents attribute is missing or wrong",
                                   "mend the producer; `errors` names the attributes"},
    [REASON_UNKNOWN_TYPE] = {"unknown_type", false, "the type names no endpoint of ours",
                             "mend the producer, or keep other events out of the topic"},
    [REASON_INVALID_REQUEST] = {"invalid_request", false, "data does not match its schema",
                                "mend the producer; `errors` names the members"},
    [REASON_EXPIRED] = {"expired", false,
                        "expirytime or max_event_age_ms passed before a call could succeed",
                        "send a new event; look at lag and at the endpoint's health"},
    [REASON_UNKNOWN_MERCHANT] = {"unknown_merchant", true,
                                 "no such merchant here, the wrong mode, or none could be told",
                                 "configure the merchant, then send the event again"},
    [REASON_REJECTED] = {"rejected", false, "the endpoint refused for good",
                         "read `answer`: a wrong parameter, or a product permission missing"},
    [REASON_MERCHANT_UNAUTHORIZED] = {"merchant_unauthorized", true,
                                      "401 after a re-sign, and hold_unauthorized_ms is over",
                                      "check the merchant's key, serial_no and the clock, then "
                                      "send the event again"},
    [REASON_RATE_LIMITED] = {"rate_limited", true, "429 to the end of its time",
                             "lower the merchant's rate_per_s, then send the event again"},
    [REASON_UNAVAILABLE] = {"unavailable", true,
                            "5xx, 202, 408, 421, 425, a 1xx alone, or no answer after "
                            "sending, to the end",
                            "send the event again later; 500 for days means a missing product "
                            "permission or template"},
    [REASON_UNREACHABLE] = {"unreachable", true, "never sent: DNS, connect, TLS, to the end",
                            "check the network, DNS and ca_file, then send the event again"},
    [REASON_UNVERIFIED_ANSWER] = {"unverified_answer", true,
                                  "an answer that could not be trusted or lacked a required "
                                  "field, to the end; or no key verified the merchant's answers "
                                  "for hold_unauthorized_ms",
                                  "read `message`; where it names signature, serial or time: check "
                                  "WeChat Pay's public key or certificates, and the clock; then "
                                  "send the event again"},
    [REASON_UNEXPECTED_ANSWER] = {"unexpected_answer", false, "an answer outside the API's rules",
                                  "check base_url and what stands between"},
};

static const enum reason reasons_of_answers[ANSWER_KIND_COUNT] = {
    [ANSWER_SUCCESS] = REASON_NONE,
    [ANSWER_REJECTED] = REASON_REJECTED,
    [ANSWER_UNAUTHORIZED] = REASON_MERCHANT_UNAUTHORIZED,
    [ANSWER_RATE_LIMITED] = REASON_RATE_LIMITED,
    [ANSWER_UNAVAILABLE] = REASON_UNAVAILABLE,
    [ANSWER_UNREACHABLE] = REASON_UNREACHABLE,
    [ANSWER_UNVERIFIED] = REASON_UNVERIFIED_ANSWER,
    [ANSWER_UNEXPECTED] = REASON_UNEXPECTED_ANSWER,
};

const struct reason_row *reason_row(enum reason reason)
{
    assert(reason < REASON_COUNT);
    return &rows[reason];
}

const char *reason_name(enum reason reason)
{
    return reason_row(reason)->name;
}

enum reason reason_of_answer(enum answer_kind kind)
{
    assert(kind < ANSWER_KIND_COUNT);
    return reasons_of_answers[kind];
}
