#include "presignd/flow/admit.h"

#include "presignd/wire/outcome.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(struct admission *admission, enum reason reason, const char *message)
{
    admission->reason = reason;
    snprintf(admission->message, sizeof admission->message, "%s", message);
}

static enum reason reason_of_event(enum event_status status)
{
    switch (status) {
    case EVENT_OK:
        return REASON_NONE;
    case EVENT_EMPTY:
        return REASON_EMPTY_EVENT;
    case EVENT_TOO_LARGE:
        return REASON_EVENT_TOO_LARGE;
    case EVENT_INVALID_JSON:
        return REASON_INVALID_JSON;
    case EVENT_INVALID_CLOUDEVENT:
        break;
    }
    return REASON_INVALID_CLOUDEVENT;
}

static bool decode(const struct admit_rules *rules, const struct record *record,
                   struct admission *admission)
{
    const char *message = NULL;
    enum event_status status = event_decode(record, rules->event_bytes_max, &admission->event,
                                            &admission->errors, &message);
    if (status != EVENT_OK) {
        fail(admission, reason_of_event(status), message);
    }
    return status == EVENT_OK;
}

/* Kept for the failure record even when other members are wrong. */
static void note_code(struct admission *admission)
{
    const char *code =
        json_string_value(json_object_get(admission->event.data, "out_contract_code"));
    static const char allowed[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    size_t len = code == NULL ? 0 : strlen(code);
    if (len >= 1 && len <= ADMIT_CODE_MAX && strspn(code, allowed) == len) {
        memcpy(admission->out_contract_code, code, len + 1);
    }
}

/* The type names the schema, so it is checked first. */
static bool validate(const struct admit_rules *rules, struct admission *admission)
{
    if (admission->endpoint == NULL) {
        fail(admission, REASON_UNKNOWN_TYPE, "the type names no endpoint of presignd");
        return false;
    }
    const struct schema *schema = rules->requests[endpoint_index(admission->endpoint)];
    if (!json_is_object(admission->event.data)) {
        violations_add(&admission->errors, "", "/type", "is absent or no object");
    } else if (schema_validate(schema, admission->event.data, &admission->errors)) {
        return true;
    }
    admission->reason = REASON_INVALID_REQUEST;
    snprintf(admission->message, sizeof admission->message, "data does not match %s.request.json",
             admission->endpoint->name);
    return false;
}

static int64_t expiry_ms(const struct admit_rules *rules, const struct record *record,
                         const struct event *event)
{
    int64_t expires = event->expirytime_ms >= 0 ? event->expirytime_ms : INT64_MAX;
    int64_t oldest_ms; /* a producer may set any timestamp */
    if (rules->event_age_max_ms > 0 && record->timestamp_ms >= 0 &&
        !__builtin_add_overflow(record->timestamp_ms, rules->event_age_max_ms, &oldest_ms) &&
        oldest_ms < expires) {
        expires = oldest_ms;
    }
    return expires;
}

struct merchant *admit_merchant(const struct merchants *merchants, const struct endpoint *endpoint,
                                const char *mchid, const char **why)
{
    struct merchant *merchant = mchid != NULL ? merchants_find(merchants, mchid)
                                              : merchants_default(merchants, endpoint->mode);
    if (merchant == NULL) {
        *why = mchid != NULL ? "the merchant that mchid names is not configured here"
                             : "no mchid, and no single or default merchant of the endpoint's mode";
        return NULL;
    }
    if (merchant->mode != endpoint->mode) {
        *why = "the merchant that mchid names is configured for the other mode";
        return NULL;
    }
    return merchant;
}

void admit(const struct admit_rules *rules, const struct record *record, int64_t wall_ms,
           struct admission *admission)
{
    *admission = (struct admission){.expires_ms = INT64_MAX};
    bool decoded = decode(rules, record, admission);
    if (admission->event.type != NULL) {
        admission->endpoint = endpoint_of_type(admission->event.type);
    }
    /* Before validation, so that also a failure names its contract. */
    note_code(admission);
    if (!decoded || !validate(rules, admission)) {
        return;
    }
    admission->expires_ms = expiry_ms(rules, record, &admission->event);
    if (wall_ms >= admission->expires_ms) {
        fail(admission, REASON_EXPIRED, "the event's time had passed before it was called");
        return;
    }
    const char *why = NULL;
    admission->merchant =
        admit_merchant(rules->merchants, admission->endpoint, admission->event.mchid, &why);
    if (admission->merchant == NULL) {
        fail(admission, REASON_UNKNOWN_MERCHANT, why);
        return;
    }
    /* Also when the event named no merchant: it is a part of the ordering key. */
    snprintf(admission->mchid, sizeof admission->mchid, "%s", admission->merchant->mchid);
    admission->body = event_body(admission->event.data, &admission->body_len);
    admission->request_members = outcome_request_members(admission->event.data);
}

void admission_deinit(struct admission *admission)
{
    event_deinit(&admission->event);
    violations_deinit(&admission->errors);
    free(admission->body);
    free(admission->request_members);
    *admission = (struct admission){0};
}
