#include "presignd/wechatpay/answer.h"

#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *answer_kind_name(enum answer_kind kind)
{
#define NAME(kind, name) name,
    static const char *const names[] = {ANSWER_KINDS(NAME)};
#undef NAME
    return names[kind];
}

const char *answer_end_name(enum answer_end end)
{
#define NAME(end, name) name,
    static const char *const names[] = {ANSWER_ENDS(NAME)};
#undef NAME
    return names[end];
}

static enum answer_end unavailable_end(const struct answer *answer)
{
    if (answer->cause == ANSWER_CAUSE_TIMEOUT) {
        return ANSWER_END_TIMEOUT;
    }
    if (answer->cause == ANSWER_CAUSE_RESET || answer->status == 0) {
        return ANSWER_END_RESET;
    }
    switch (answer->status) {
    case 500:
        return ANSWER_END_HTTP_500;
    case 502:
        return ANSWER_END_HTTP_502;
    case 503:
        return ANSWER_END_HTTP_503;
    case 504:
        return ANSWER_END_HTTP_504;
    default:
        return ANSWER_END_HTTP_OTHER;
    }
}

enum answer_end answer_end_of(const struct answer *answer)
{
    switch (answer->kind) {
    case ANSWER_SUCCESS:
        return ANSWER_END_SUCCESS;
    case ANSWER_REJECTED:
        return ANSWER_END_REJECTED;
    case ANSWER_UNAUTHORIZED:
        return ANSWER_END_UNAUTHORIZED;
    case ANSWER_RATE_LIMITED:
        return ANSWER_END_RATE_LIMITED;
    case ANSWER_UNAVAILABLE:
        return unavailable_end(answer);
    case ANSWER_UNREACHABLE:
        return answer->cause == ANSWER_CAUSE_NAME  ? ANSWER_END_DNS
               : answer->cause == ANSWER_CAUSE_TLS ? ANSWER_END_TLS
                                                   : ANSWER_END_CONNECT;
    case ANSWER_UNVERIFIED:
        return ANSWER_END_UNVERIFIED;
    case ANSWER_UNEXPECTED:
        return ANSWER_END_UNEXPECTED;
    case ANSWER_SIGN_TEST:
        return ANSWER_END_SIGN_TEST;
    case ANSWER_KIND_COUNT:
        break;
    }
    abort();
}

const char *call_state_name(enum call_state state)
{
    return state == CALL_NOT_SENT ? "not_sent" : state == CALL_ANSWERED ? "answered" : "unknown";
}

struct rule {
    int from, to; /* status */
    enum answer_kind kind;
    enum call_state call_state;
    bool counts_as_outage;
    const char *detail;
};

/* The answer table. The first row that contains the status applies. A 200 begins as unverified and
 * becomes a success after every check. A 500 is not an outage: these endpoints answer 500 for days
 * to a merchant without permission for the product. After 408, 421 and 425 the server did not act,
 * so the request may be sent again (RFC 9110, sections 15.5.9 and 15.5.20; RFC 8470, section 5.2).
 * An interim answer alone means a broken connection. */
#define RULE(from, to, kind, state, outage, detail)           \
    {                                                         \
        from, to, ANSWER_##kind, CALL_##state, outage, detail \
    }
static const struct rule status_rules[] = {
    RULE(100, 199, UNAVAILABLE, UNKNOWN, true, "an interim answer, and no final one"),
    RULE(200, 200, UNVERIFIED, UNKNOWN, false, "the answer cannot be trusted"),
    RULE(202, 202, UNAVAILABLE, UNKNOWN, false, "accepted, but not done yet"),
    RULE(200, 299, UNEXPECTED, UNKNOWN, false, "a status that the API does not use"),
    RULE(300, 399, UNEXPECTED, ANSWERED, false, "a redirect, which is never followed"),
    RULE(401, 401, UNAUTHORIZED, ANSWERED, false, "not authorized: check key, serial_no and clock"),
    RULE(408, 408, UNAVAILABLE, ANSWERED, false, "the server timed out waiting for the request"),
    RULE(421, 421, UNAVAILABLE, ANSWERED, false, "this connection does not serve this host"),
    RULE(425, 425, UNAVAILABLE, ANSWERED, false, "too early for the server"),
    RULE(429, 429, RATE_LIMITED, ANSWERED, false, "too many requests"),
    RULE(400, 499, REJECTED, ANSWERED, false, "the request was rejected"),
    RULE(501, 501, REJECTED, UNKNOWN, false, "the endpoint is not implemented"),
    RULE(502, 504, UNAVAILABLE, UNKNOWN, true, "the endpoint is not available"),
    RULE(500, 599, UNAVAILABLE, UNKNOWN, false, "the endpoint failed"),
};
static const struct rule no_rule =
    RULE(0, 0, UNEXPECTED, UNKNOWN, false, "not a final status of HTTP");
/* For transfers whose status, if there is one, means nothing. */
static const struct rule not_sent_rule =
    RULE(0, 0, UNREACHABLE, NOT_SENT, true, "no connection: nothing was sent");
static const struct rule broken_rule =
    RULE(0, 0, UNAVAILABLE, UNKNOWN, true, "no complete answer came after sending");
static const struct rule early_rule = RULE(
    0, 0, UNVERIFIED, UNKNOWN, false, "the answer began before the request was sent completely");
#undef RULE

static const struct rule *rule_of(enum transfer_status transfer, int status)
{
    if (transfer == TRANSFER_NOT_SENT) {
        return &not_sent_rule;
    }
    if (transfer == TRANSFER_BROKEN) {
        return &broken_rule;
    }
    if (transfer == TRANSFER_EARLY) {
        return &early_rule;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(status_rules); i++) {
        if (status >= status_rules[i].from && status <= status_rules[i].to) {
            return &status_rules[i];
        }
    }
    return &no_rule;
}

/* `value` as text for people, cut to `max` bytes; "" for NULL. `out` holds max + 1. */
static void copy_clean(char *out, const char *value, size_t max)
{
    AUTO_BUF struct buf clean = {0};
    if (value != NULL) {
        text_clean(&clean, value, strlen(value), max);
    }
    if (clean.len > 0) {
        memcpy(out, clean.data, clean.len);
    }
    out[clean.len] = '\0';
}

/* Accepts integers beyond 64 bits and U+0000: they may stand in members that are not used. */
static json_t *read_body(const struct verify_input *input, const char **why)
{
    return json_read(input->body, input->body_len, ANSWER_NESTING_MAX,
                     JSON_READ_NUL | JSON_READ_BIG_INTEGERS, why);
}

/* An error's body may be empty, HTML or anything else. */
static void read_error(const struct verify_input *input, struct answer *answer)
{
    AUTO_JSON json_t *body = read_body(input, NULL);
    copy_clean(answer->code, json_text(body, "code"), ANSWER_CODE_MAX);
    copy_clean(answer->message, json_text(body, "message"), ANSWER_MESSAGE_MAX);
}

/* True when another key or a right clock might verify it. No key verifies a signature test or a
 * signature that is not base64; an answer without a signature says nothing about keys. */
static bool is_ours(enum verify_status status)
{
    return status == VERIFY_UNKNOWN_SERIAL || status == VERIFY_BAD_TIMESTAMP ||
           status == VERIFY_WRONG_ALGORITHM || status == VERIFY_BAD_SIGNATURE;
}

/* Copies the values of a success to `answer` and returns NULL, or returns why it is none. */
static const char *read_success(const struct endpoint *endpoint, const struct answer_input *input,
                                struct answer *answer)
{
    if (input->transfer == TRANSFER_TOO_LARGE) {
        return "the answer is larger than any of the API's";
    }
    if (input->transfer == TRANSFER_EARLY) {
        return early_rule.detail;
    }
    if (input->content_encoding != NULL &&
        !text_equal_nocase(input->content_encoding, "identity")) {
        return "the answer is compressed, which was not asked for";
    }
    if (!answer->is_signed) {
        answer->cause = is_ours(answer->verify) ? ANSWER_CAUSE_KEYS : ANSWER_CAUSE_NONE;
        return verify_status_text(answer->verify);
    }
    const char *reason;
    AUTO_JSON json_t *body = read_body(&input->verify, &reason);
    if (!json_is_object(body)) {
        snprintf(answer->message, sizeof answer->message,
                 "the answer is signed, but its body is %s",
                 body == NULL ? reason : "not a JSON object");
        return "the answer is signed, but its body cannot be read";
    }
    for (size_t i = 0; endpoint->required[i] != NULL; i++) {
        if (json_text(body, endpoint->required[i])[0] == '\0') {
            snprintf(answer->message, sizeof answer->message, "the answer is signed but lacks %s",
                     endpoint->required[i]);
            return "the answer is signed but lacks a required field";
        }
    }
    answer->id_value = mem_strdup(json_text(body, endpoint->id_field));
    answer->body = mem_dup(input->verify.body, input->verify.body_len);
    answer->body_len = input->verify.body_len;
    return NULL;
}

static void classify_ok(const struct endpoint *endpoint, const struct answer_input *input,
                        struct answer *answer)
{
    const char *fault = read_success(endpoint, input, answer);
    if (fault != NULL) {
        bool is_test = answer->verify == VERIFY_SIGNATURE_TEST;
        answer->kind = is_test ? ANSWER_SIGN_TEST : ANSWER_UNVERIFIED;
        answer->detail = fault;
        if (answer->message[0] == '\0') {
            copy_clean(answer->message, fault, ANSWER_MESSAGE_MAX);
        }
        return;
    }
    answer->kind = ANSWER_SUCCESS;
    answer->call_state = CALL_ANSWERED;
    answer->detail = "verified";
    int64_t issued_s = 0;
    if (text_int(input->verify.timestamp, 0, INT64_MAX / 1000, &issued_s)) {
        answer->issued_ms = issued_s * 1000;
    }
}

void answer_classify(const struct endpoint *endpoint, const struct answer_input *input,
                     enum verify_status verify, int64_t wall_ms, struct answer *answer)
{
    const struct rule *rule = rule_of(input->transfer, input->status);
    answer->kind = rule->kind;
    answer->call_state = rule->call_state;
    answer->counts_as_outage = rule->counts_as_outage && input->cause != ANSWER_CAUSE_SHORTAGE;
    answer->cause = input->cause;
    answer->detail = rule->detail;
    answer->status = input->status;
    /* A truncated body can be neither verified nor read. */
    answer->verify = input->transfer == TRANSFER_DONE ? verify : VERIFY_UNSIGNED;
    answer->is_signed = answer->verify == VERIFY_OK;
    answer->retry_after_ms =
        input->retry_after == NULL ? -1 : text_retry_after(input->retry_after, wall_ms);
    copy_clean(answer->request_id, input->request_id, ANSWER_ID_MAX);
    answer->wants_new_connection =
        input->transfer == TRANSFER_DONE && (input->status == 408 || input->status == 421);

    if (answer->is_signed || answer->verify == VERIFY_UNKNOWN_SERIAL) {
        copy_clean(answer->serial, input->verify.serial, ANSWER_ID_MAX);
        answer->verified_by = verify_kind_of(input->verify.serial);
    }
    if (rule->kind == ANSWER_UNVERIFIED) {
        classify_ok(endpoint, input, answer);
    } else if (input->transfer == TRANSFER_DONE) {
        read_error(&input->verify, answer);
    }
}

void answer_mark_foreign(struct answer *answer, const char *detail)
{
    answer->kind = ANSWER_UNVERIFIED;
    answer->call_state = CALL_UNKNOWN;
    answer->cause = ANSWER_CAUSE_FOREIGN;
    answer->counts_as_outage = false;
    answer->detail = detail;
    copy_clean(answer->message, answer->detail, ANSWER_MESSAGE_MAX);
    free(answer->body);
    free(answer->id_value);
    answer->body = answer->id_value = NULL;
    answer->body_len = 0;
}

void answer_deinit(struct answer *answer)
{
    free(answer->body);
    free(answer->id_value);
    *answer = (struct answer){0};
}
