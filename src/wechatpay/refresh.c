#include "presignd/wechatpay/refresh.h"

#include "presignd/base/json.h"
#include "presignd/base/text.h"

#include <assert.h>
#include <string.h>

/* WeChat Pay's hosts need not have the same clock. */
#define HOSTS_SKEW_S INT64_C(5)

/* The certificates end soon when none is valid for so long. */
#define SOON_S (INT64_C(2) * 86400)

static const struct {
    const char *name, *text;
} ends[] = {
#define END_ROW(end, name, text) [REFRESH_##end] = {name, text},
    REFRESH_ENDS(END_ROW)
#undef END_ROW
};

const char *refresh_end_name(enum refresh_end end)
{
    return ends[end].name;
}

/* ---- The answer. ---- */

static struct refresh_verdict verdict_of(enum refresh_end end, const char *text)
{
    return (struct refresh_verdict){
        .end = end, .is_fault = end != REFRESH_OK, .text = text == NULL ? ends[end].text : text};
}

static struct refresh_verdict none(const struct merchant *merchant, int64_t now_s)
{
    struct refresh_verdict verdict = verdict_of(REFRESH_NONE, NULL);
    /* Without platform certificates. */
    if (verify_any_is_valid(merchant->verify_keys, merchant->verify_key_count, now_s)) {
        verdict.is_fault = false;
        verdict.text = "";
    }
    return verdict;
}

/* A new merchant may get 500 SYSTEM_ERROR instead of 404. For one that has certificates it is an
 * outage. */
static struct refresh_verdict judge_error(const struct merchant *merchant,
                                          const struct caller_got *got, int64_t now_s)
{
    const struct verify_input *input = &got->input.verify;
    AUTO_JSON json_t *body = json_read(input->body, input->body_len, ANSWER_NESTING_MAX,
                                       JSON_READ_NUL | JSON_READ_BIG_INTEGERS, NULL);
    const char *code = json_text(body, "code");
    if (got->status == 401) {
        return verdict_of(REFRESH_UNAUTHORIZED, NULL);
    }
    if ((got->status == 404 && strcmp(code, "RESOURCE_NOT_EXISTS") == 0) ||
        (got->status == 500 && strcmp(code, "SYSTEM_ERROR") == 0 &&
         !merchant_has_listed_keys(merchant, now_s))) {
        return none(merchant, now_s);
    }
    return verdict_of(REFRESH_UNREACHABLE, NULL);
}

/* By the merchant's keys, or by those of the list: an earlier list may have brought another key
 * with the same serial, which must not keep this one out. */
static enum verify_status verify(const struct merchant *merchant,
                                 const struct certificate_list *list,
                                 const struct verify_input *input, int64_t now_s)
{
    struct verify_key room[MERCHANT_KEYS_MAX];
    size_t count;
    const struct verify_key *known = merchant_keys(merchant, room, &count);
    enum verify_status by_known = verify_answer(known, count, input, now_s);
    if (by_known != VERIFY_UNKNOWN_SERIAL && by_known != VERIFY_BAD_SIGNATURE) {
        return by_known;
    }
    enum verify_status by_listed = verify_answer(list->items, list->count, input, now_s);
    return by_listed == VERIFY_UNKNOWN_SERIAL ? by_known : by_listed;
}

static struct refresh_verdict unverified(enum verify_status status,
                                         const struct verify_input *input)
{
    bool is_public = input->serial != NULL && verify_kind_of(input->serial) == VERIFY_BY_PUBLIC_KEY;
    switch (status) {
    case VERIFY_UNKNOWN_SERIAL:
        return verdict_of(REFRESH_UNVERIFIED,
                          is_public ? "the answer with the list is signed with a WeChat Pay public "
                                      "key: configure wechatpay_public_key and "
                                      "wechatpay_public_key_id"
                                    : NULL);
    case VERIFY_BAD_TIMESTAMP:
        return verdict_of(REFRESH_UNVERIFIED,
                          "the answer's time is more than five minutes from this machine's clock: "
                          "set the clock");
    case VERIFY_UNSIGNED:
    case VERIFY_SIGNATURE_TEST:
        return verdict_of(REFRESH_UNVERIFIED, "the answer with the list is not signed");
    default:
        return verdict_of(REFRESH_UNVERIFIED, NULL);
    }
}

static struct refresh_verdict judge_list(const struct merchant *merchant,
                                         enum certificates_status opened,
                                         enum verify_status verified, int64_t now_s,
                                         const struct verify_input *input)
{
    bool may_be_theirs = verified == VERIFY_OK || verified == VERIFY_UNKNOWN_SERIAL;
    if (opened == CERTIFICATES_UNDECRYPTABLE && may_be_theirs) {
        return verdict_of(REFRESH_UNDECRYPTABLE, NULL);
    }
    if (verified != VERIFY_OK) {
        return unverified(verified, input);
    }
    switch (opened) {
    case CERTIFICATES_OK:
        return (struct refresh_verdict){.end = REFRESH_OK, .text = ""};
    case CERTIFICATES_EMPTY:
        return none(merchant, now_s);
    case CERTIFICATES_NO_LIST:
        return verdict_of(REFRESH_UNREACHABLE,
                          "the answer is signed, but holds no list of certificates, or too long a "
                          "one: look for a newer presignd");
    default:
        return verdict_of(REFRESH_UNDECRYPTABLE,
                          "what the list decrypts to are no RSA certificates: look for a newer "
                          "presignd");
    }
}

/* Why the present list stays, although WeChat Pay signed this one; NULL: it does not. */
static const char *why_kept(const struct merchant *merchant, const struct certificate_list *list,
                            int64_t now_s)
{
    if (!verify_any_is_valid(list->items, list->count, now_s) &&
        merchant_has_listed_keys(merchant, now_s)) {
        return "no certificate of the list is valid now, so the known ones stay: look at this "
               "machine's clock";
    }
    if (list->signed_s < platform_keys_signed_s(merchant->platform_keys) - HOSTS_SKEW_S) {
        return "the list is older than the one in use, which stays: look for a proxy that repeats "
               "answers";
    }
    return NULL;
}

static struct refresh_verdict judge(const struct merchant *merchant, const struct caller_got *got,
                                    int64_t now_s, struct certificate_list *list)
{
    const struct verify_input *input = &got->input.verify;
    if (got->status != 200) {
        return got->status == 0 ? verdict_of(REFRESH_UNREACHABLE, NULL)
                                : judge_error(merchant, got, now_s);
    }
    enum certificates_status opened =
        certificates_open(input->body, input->body_len, merchant->apiv3_key, list);
    enum verify_status verified = verify(merchant, list, input, now_s);
    struct refresh_verdict verdict = judge_list(merchant, opened, verified, now_s, input);
    if (verdict.end == REFRESH_OK) {
        bool read = text_int(input->timestamp, 0, INT64_MAX, &list->signed_s);
        assert(read); /* or the answer would not have verified */
        const char *why = why_kept(merchant, list, now_s);
        verdict = why == NULL ? verdict : verdict_of(REFRESH_UNVERIFIED, why);
    }
    if (verdict.end != REFRESH_OK) {
        certificate_list_deinit(list);
    }
    return verdict;
}

static int64_t retry_after_of(const struct caller_got *got, int64_t now_s)
{
    const char *text = got->status == 200 ? NULL : got->input.retry_after;
    int64_t wait_ms = text == NULL ? -1 : text_retry_after(text, now_s * 1000);
    return wait_ms < 0                            ? 0
           : wait_ms > REFRESH_RETRY_AFTER_MAX_MS ? REFRESH_RETRY_AFTER_MAX_MS
                                                  : wait_ms;
}

struct refresh_verdict refresh_judge(const struct merchant *merchant, const struct caller_got *got,
                                     int64_t now_s, struct certificate_list *list)
{
    struct refresh_verdict verdict = judge(merchant, got, now_s, list);
    verdict.status = got->status;
    verdict.reason = got->reason;
    verdict.retry_after_ms = retry_after_of(got, now_s);
    return verdict;
}

/* A 500 may mean that the merchant has no certificates, or an outage of that host. */
bool refresh_asks_other_host(const struct refresh_verdict *verdict)
{
    return (verdict->end == REFRESH_UNREACHABLE && verdict->status != 429) ||
           verdict->status == 500;
}

/* ---- The schedule. ---- */

enum refresh_urgency refresh_urgency_of(const struct merchant *merchant,
                                        const struct refresh_verdict *verdict, int64_t now_s)
{
    bool may_pass = verdict->end == REFRESH_UNREACHABLE || verdict->end == REFRESH_UNVERIFIED;
    if (may_pass && !merchant_has_keys(merchant, now_s)) {
        return REFRESH_URGENT;
    }
    bool ends_soon =
        verdict->end == REFRESH_OK && !merchant_has_listed_keys(merchant, now_s + SOON_S);
    return verdict->is_fault || ends_soon ? REFRESH_AMISS : REFRESH_USUAL;
}

/* 0.8 to 1.2 times. */
static int64_t spread(int64_t period_ms, uint64_t random)
{
    return period_ms * 8 / 10 + (int64_t)(random % (uint64_t)(period_ms * 4 / 10 + 1));
}

void refresh_schedule_init(struct refresh_schedule *schedule, int64_t now_ms)
{
    *schedule = (struct refresh_schedule){.due_ms = now_ms};
}

bool refresh_schedule_runs(const struct refresh_schedule *schedule)
{
    return schedule->due_ms == INT64_MAX;
}

void refresh_schedule_begin(struct refresh_schedule *schedule, int64_t now_ms)
{
    *schedule =
        (struct refresh_schedule){.due_ms = INT64_MAX, .began_ms = now_ms, .has_begun = true};
}

/* A late end does not shorten the distance from begin to begin. */
void refresh_schedule_end(struct refresh_schedule *schedule, enum refresh_urgency urgency,
                          int64_t retry_after_ms, int64_t now_ms, uint64_t random)
{
    static const int64_t periods_ms[] = {[REFRESH_USUAL] = REFRESH_USUAL_MS,
                                         [REFRESH_AMISS] = REFRESH_AMISS_MS,
                                         [REFRESH_URGENT] = REFRESH_AT_ONCE_MS * 5 / 4};
    int64_t due_ms = now_ms + spread(periods_ms[urgency], random);
    schedule->not_before_ms = now_ms + retry_after_ms;
    schedule->due_ms = due_ms > schedule->not_before_ms ? due_ms : schedule->not_before_ms;
}

void refresh_schedule_want(struct refresh_schedule *schedule, int64_t now_ms)
{
    int64_t soonest_ms =
        schedule->has_begun ? schedule->began_ms + REFRESH_AT_ONCE_MS : schedule->due_ms;
    soonest_ms = soonest_ms > schedule->not_before_ms ? soonest_ms : schedule->not_before_ms;
    int64_t at_ms = soonest_ms > now_ms ? soonest_ms : now_ms;
    if (!refresh_schedule_runs(schedule) && at_ms < schedule->due_ms) {
        schedule->due_ms = at_ms;
    }
}
