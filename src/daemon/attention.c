#include "daemon/attention.h"

#include "daemon/history.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/flow/hold.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* So many names are listed; the others are counted. */
#define NAMES_MAX 3

/* What a rule found. */
struct found {
    struct buf subject; /* names */
    struct buf text;
    size_t names;
    int64_t since_ms; /* wall clock; STATUS_NONE: not known */
    const char *mend; /* in the place of the rule's; NULL: the rule's */
    bool critical;    /* although the rule is not */
};

static const struct status_merchant *merchant_at(const struct status *status, size_t index)
{
    return &((const struct status_merchant *)status->merchants.items)[index];
}

static const struct status_partition *partition_at(const struct status *status, size_t index)
{
    return &((const struct status_partition *)status->partitions.items)[index];
}

static void put_name(struct found *found, const char *name)
{
    if (found->names++ < NAMES_MAX) {
        buf_printf(&found->subject, "%s%s", found->names > 1 ? ", " : "", name);
    }
}

static void put_number(struct found *found, const char *what, int64_t number)
{
    AUTO_FREE char *name = mem_printf("%s%" PRId64, found->names == 0 ? what : "", number);
    put_name(found, name);
}

static void earlier(int64_t *moment_ms, int64_t other_ms)
{
    if (other_ms != STATUS_NONE && (*moment_ms == STATUS_NONE || other_ms < *moment_ms)) {
        *moment_ms = other_ms;
    }
}

/* "HH:MM:SSZ" */
static void put_clock(struct buf *out, int64_t wall_ms)
{
    char text[TEXT_TIME_SIZE];
    text_time(text, wall_ms, false);
    buf_puts(out, strchr(text, 'T') + 1);
}

/* --- rules: true if there is something to tell ------------------------------------------- */

static bool hosts_in(const struct status *status, int64_t health, struct found *found)
{
    const struct status_host *hosts = status->hosts.items;
    for (size_t i = 0; i < status->hosts.count; i++) {
        if (hosts[i].health == health) {
            put_name(found, hosts[i].name);
            earlier(&found->since_ms, hosts[i].since_ms);
        }
    }
    return found->names > 0;
}

static bool endpoint_down(const struct status *status, struct found *found)
{
    if (!hosts_in(status, ATTENTION_HOST_DOWN, found)) {
        return false;
    }
    buf_printf(&found->text, "no host of WeChat Pay answers; %" PRId64 " events are held",
               status->work.held_endpoint);
    return true;
}

static bool host_fails(const struct status *status, struct found *found)
{
    buf_puts(&found->text, "its last calls failed; the other host is used while it answers");
    return hosts_in(status, ATTENTION_HOST_FAILS, found);
}

/* `cause`: what is wrong. Without a key there are no probes. */
static bool merchants_held(const struct status *status, enum hold_why why, const char *cause,
                           struct found *found)
{
    int64_t waiting = 0, until_ms = STATUS_NONE;
    for (size_t i = 0; i < status->merchants.count; i++) {
        const struct status_merchant *merchant = merchant_at(status, i);
        if (merchant->why == (int64_t)why && merchant->held != 0) {
            put_name(found, merchant->mchid);
            waiting += merchant->waiting;
            earlier(&until_ms, merchant->held_until_ms);
            earlier(&found->since_ms, merchant->since_ms);
        }
    }
    buf_printf(&found->text, "%s; %" PRId64 " events are held", cause, waiting);
    if (until_ms != STATUS_NONE) {
        buf_puts(&found->text, ", and fail after ");
        put_clock(&found->text, until_ms);
    } else {
        buf_puts(&found->text, ", and new ones fail");
        buf_puts(&found->text, why == HOLD_WHY_KEYLESS ? "" : ", but for one probe a minute");
    }
    return found->names > 0;
}

static bool unauthorized(const struct status *status, struct found *found)
{
    return merchants_held(status, HOLD_WHY_UNAUTHORIZED, "WeChat Pay answers 401", found);
}

static bool unverified(const struct status *status, struct found *found)
{
    return merchants_held(status, HOLD_WHY_UNVERIFIED, "no configured key verifies its answers",
                          found);
}

static bool keyless(const struct status *status, struct found *found)
{
    return merchants_held(status, HOLD_WHY_KEYLESS, "it has no key that verifies answers now",
                          found);
}

static bool rate_limited(const struct status *status, struct found *found)
{
    int64_t waiting = 0;
    for (size_t i = 0; i < status->merchants.count; i++) {
        const struct status_merchant *merchant = merchant_at(status, i);
        if (merchant->why == HOLD_WHY_RATE_LIMITED && merchant->since_ms != STATUS_NONE &&
            status->process.at_ms - merchant->since_ms >= ATTENTION_LIMITED_MS) {
            put_name(found, merchant->mchid);
            waiting += merchant->waiting;
            earlier(&found->since_ms, merchant->since_ms);
        }
    }
    buf_printf(&found->text, "WeChat Pay answers 429; %" PRId64 " events wait", waiting);
    return found->names > 0;
}

/* The finding that keeps the daemon from joining its group, as the state names it. */
static const struct status_preflight *blocking(const struct status *status)
{
    const struct status_preflight *items = status->preflight.items;
    const char *check =
        strncmp(status->process.state, "preflight: ", 11) == 0 ? status->process.state + 11 : NULL;
    for (size_t i = 0; check != NULL && i < status->preflight.count; i++) {
        if (strcmp(items[i].check, check) == 0) {
            return &items[i];
        }
    }
    return NULL;
}

/* An operator asked for it. */
static bool is_asked_for(const char *state)
{
    static const char *const states[] = {"stopping", "draining", "drained", "paused"};
    for (size_t i = 0; i < ARRAY_LENGTH(states); i++) {
        if (strcmp(state, states[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* An endpoint that is down has a row of its own. */
static bool not_ready(const struct status *status, struct found *found)
{
    struct found other = {0};
    bool down = hosts_in(status, ATTENTION_HOST_DOWN, &other);
    buf_deinit(&other.subject);
    if (status->process.ready != 0 || down || is_asked_for(status->process.state)) {
        return false;
    }
    const struct status_preflight *finding = blocking(status);
    put_name(found, finding != NULL ? finding->check : status->process.instance);
    buf_puts(&found->text,
             finding != NULL && finding->is != NULL ? finding->is : status->process.state);
    found->mend = finding != NULL ? finding->mend : NULL;
    return true;
}

static bool preflight_failed(const struct status *status, struct found *found)
{
    const struct status_preflight *items = status->preflight.items;
    for (size_t i = 0; i < status->preflight.count; i++) {
        if (items[i].ok == 0 && &items[i] != blocking(status)) {
            put_name(found, items[i].check);
            if (found->names == 1) {
                buf_puts(&found->text, items[i].is != NULL ? items[i].is : "not passed");
                found->mend = items[i].mend;
            }
        }
    }
    return found->names > 0;
}

/* A drain is asked for, and should not be forgotten. */
static bool drained(const struct status *status, struct found *found)
{
    put_name(found, status->process.instance);
    buf_puts(&found->text, "drained: it has left the group and processes nothing");
    return strcmp(status->process.state, "drained") == 0;
}

/* Several pauses may hold the same event. */
static bool paused(const struct status *status, struct found *found)
{
    const struct status_pause *items = status->pauses.items;
    for (size_t i = 0; i < status->pauses.count; i++) {
        put_name(found, items[i].name != NULL ? items[i].name : "everything");
        earlier(&found->since_ms, items[i].since_ms);
    }
    buf_printf(&found->text, "paused on this instance; %" PRId64 " events are held",
               status->work.held_paused);
    return found->names > 0;
}

static bool waits_for_us(const struct status_merchant *merchant, int64_t limit_ms)
{
    return merchant->oldest_event_ms != STATUS_NONE && merchant->oldest_event_ms >= limit_ms &&
           merchant->why == HOLD_WHY_NONE;
}

/* Events that wait for a hold, a pause or a refusal have rows of their own. */
static bool late(const struct status *status, struct found *found)
{
    const struct status_work *work = &status->work;
    int64_t limit_ms = work->slo_ms > ATTENTION_LATE_MS ? work->slo_ms : ATTENTION_LATE_MS;
    int64_t kept = work->held_endpoint + work->held_merchants + work->held_unverified +
                   work->held_limited + work->held_paused + work->refused;
    bool old = work->oldest_event_ms != STATUS_NONE && work->oldest_event_ms >= limit_ms;
    for (size_t i = 0; old && i < status->merchants.count; i++) {
        if (waits_for_us(merchant_at(status, i), limit_ms)) {
            put_name(found, merchant_at(status, i)->mchid);
        }
    }
    buf_printf(&found->text,
               "the oldest event is %" PRId64 " s old; %" PRId64 " records are behind",
               old ? work->oldest_event_ms / 1000 : 0, work->lag_records);
    return old && (found->names > 0 || kept == 0);
}

static bool clock_off(const struct status *status, struct found *found)
{
    int64_t offset_ms = status->work.clock_offset_ms;
    if (offset_ms == STATUS_NONE) {
        return false;
    }
    int64_t far_ms = offset_ms < 0 ? -offset_ms : offset_ms;
    if (far_ms < ATTENTION_CLOCK_MS) {
        return false;
    }
    found->critical = far_ms >= ATTENTION_CLOCK_FAR_MS;
    buf_printf(&found->text, "this host's clock is %" PRId64 " s %s WeChat Pay's; 300 s give 401",
               far_ms / 1000, offset_ms < 0 ? "behind" : "ahead of");
    return true;
}

static bool events_expire(const struct status *status, struct found *found)
{
    const struct status_failure *items = status->failures.items;
    int64_t expired = 0;
    for (size_t i = 0; i < status->failures.count; i++) {
        if (strcmp(items[i].reason, reason_name(REASON_EXPIRED)) == 0) {
            expired = items[i].newest;
        }
    }
    buf_printf(&found->text, "%" PRId64 " of %" PRId64 " events of the last %d minutes expired",
               expired, status->work.newest_outcomes, HISTORY_MINUTES);
    return expired >= 100 && expired * 10 > status->work.newest_outcomes;
}

/* Of the newest outcomes, at least `least` and `percent` failed for reasons of the side. The
 * reason `expired` is what senders asked for, and what a canary gives. */
static bool side_fails(const struct status *status, enum reason_side side, int64_t least,
                       int64_t percent, struct found *found)
{
    const struct status_failure *items = status->failures.items;
    int64_t failed = 0, most = 0;
    for (size_t i = 0; i < status->failures.count; i++) {
        bool counts = items[i].side == (int64_t)side && items[i].newest > 0 &&
                      strcmp(items[i].reason, reason_name(REASON_EXPIRED)) != 0;
        if (counts) {
            put_name(found, items[i].reason);
            failed += items[i].newest;
        }
        if (counts && items[i].newest > most) {
            most = items[i].newest;
            found->mend = items[i].advice;
        }
    }
    buf_printf(&found->text, "%" PRId64 " of %" PRId64 " outcomes of the last %d minutes failed",
               failed, status->work.newest_outcomes, HISTORY_MINUTES);
    return failed >= least && failed * 100 > status->work.newest_outcomes * percent;
}

static bool sender_fails(const struct status *status, struct found *found)
{
    return side_fails(status, REASON_SIDE_SENDER, 20, 20, found);
}

static bool operator_fails(const struct status *status, struct found *found)
{
    return side_fails(status, REASON_SIDE_OPERATOR, 10, 5, found);
}

static bool wechatpay_fails(const struct status *status, struct found *found)
{
    return side_fails(status, REASON_SIDE_WECHATPAY, 20, 10, found);
}

static bool counted(int64_t count, int64_t least, const char *what, struct found *found)
{
    buf_printf(&found->text, "%" PRId64 " %s", count, what);
    return count >= least;
}

static bool refused(const struct status *status, struct found *found)
{
    return counted(status->work.refused, 1, "outcomes are refused by their topic, and wait", found);
}

static bool newest_counted(int64_t count, int64_t least, const char *what, const char *did,
                           struct found *found)
{
    buf_printf(&found->text, "%" PRId64 " %s of the last %d minutes %s", count, what,
               HISTORY_MINUTES, did);
    return count >= least;
}

static bool foreign(const struct status *status, struct found *found)
{
    return newest_counted(status->work.newest_foreign, 1, "answers", "belong to other requests",
                          found);
}

static bool unverified_answers(const struct status *status, struct found *found)
{
    return newest_counted(status->work.newest_unverified, 3, "answers", "do not verify", found);
}

static bool shortages(const struct status *status, struct found *found)
{
    return newest_counted(status->work.newest_shortages, 1, "calls",
                          "found no free file descriptor", found);
}

static bool sign_faults(const struct status *status, struct found *found)
{
    return counted(status->process.sign_faults, 1,
                   "mistakes of libcrypto_mb had no effect; OpenSSL does this work until a restart",
                   found);
}

/* Not when the state has the same text. */
static bool has_error(const struct status *status, const char *error, struct found *found)
{
    if (error == NULL || (status->process.ready == 0 && strstr(status->process.state, error))) {
        return false;
    }
    buf_puts(&found->text, error);
    return true;
}

static bool kafka_down(const struct status *status, struct found *found)
{
    const char *error = status->work.kafka_last_error;
    buf_puts(&found->text, error != NULL ? error : "no broker of Kafka answers");
    return status->kafka.brokers_up == 0 && status->kafka.brokers_lost > 0;
}

static bool kafka_broker(const struct status *status, struct found *found)
{
    if (status->kafka.brokers_lost <= 0) {
        return has_error(status, status->work.kafka_last_error, found);
    }
    buf_printf(&found->text, "%" PRId64 " of %" PRId64 " brokers of Kafka do not answer",
               status->kafka.brokers_lost, status->kafka.brokers_known);
    return status->kafka.brokers_up > 0;
}

static bool transactions_fail(const struct status *status, struct found *found)
{
    return has_error(status, status->work.transaction_last_error, found);
}

static bool window_full(const struct status *status, struct found *found)
{
    for (size_t i = 0; i < status->partitions.count; i++) {
        const struct status_partition *partition = partition_at(status, i);
        if (partition->full != 0 && partition->paused != NULL) {
            put_number(found, "partition ", partition->id);
            if (found->names == 1) {
                buf_puts(&found->text, partition->paused);
            }
        }
    }
    return found->names > 0;
}

static bool partition_still(const struct status *status, struct found *found)
{
    for (size_t i = 0; i < status->partitions.count; i++) {
        const struct status_partition *partition = partition_at(status, i);
        if (partition->still_ms == STATUS_NONE || partition->still_ms < ATTENTION_STILL_MS) {
            continue;
        }
        put_number(found, "partition ", partition->id);
        earlier(&found->since_ms, status->process.at_ms - partition->still_ms);
        if (found->names == 1) {
            const char *mchid = partition->oldest_mchid, *state = partition->oldest_state;
            buf_printf(&found->text, "the event at its base offset does not end: %s%s%s",
                       mchid != NULL ? mchid : "", mchid != NULL ? ", " : "",
                       state != NULL ? state : "not known");
        }
    }
    return found->names > 0;
}

/* A certificate that expires soon, or has expired. */
static void put_certificate(const struct status *status, const char *mchid, int64_t expires_ms,
                            int64_t *first_ms, struct found *found)
{
    if (expires_ms != STATUS_NONE && expires_ms - status->process.at_ms <= STATUS_EXPIRY_MS) {
        put_name(found, mchid);
        earlier(first_ms, expires_ms);
    }
}

static bool put_expiry(const struct status *status, const char *whose, int64_t first_ms,
                       struct found *found)
{
    char text[TEXT_TIME_SIZE];
    if (found->names == 0) {
        return false;
    }
    text_time(text, first_ms, false);
    found->critical = first_ms - status->process.at_ms <= ATTENTION_EXPIRY_MS;
    bool expired = first_ms <= status->process.at_ms;
    buf_printf(&found->text, "%s %s %s", whose, expired ? "expired at" : "expires at", text);
    return true;
}

/* Whether its platform certificates are downloaded. */
static bool has_list(const struct status *status, const char *mchid)
{
    for (size_t i = 0; i < status->merchants.count; i++) {
        const struct status_merchant *merchant = merchant_at(status, i);
        if (strcmp(merchant->mchid, mchid) == 0) {
            return merchant->certificates_at_ms != STATUS_NONE ||
                   merchant->certificates_trouble != NULL;
        }
    }
    return false;
}

/* Only the last one of a merchant counts: a certificate with a successor may expire. A public key
 * never does. A successor that is downloaded may come as late as a day before it is needed. The
 * keys of a merchant are neighbours. */
static bool platform_expires(const struct status *status, struct found *found)
{
    const struct status_key *keys = status->keys.items;
    int64_t first_ms = STATUS_NONE, last_ms = INT64_MIN;
    for (size_t i = 0; i < status->keys.count; i++) {
        int64_t expires_ms = keys[i].expires_ms == STATUS_NONE ? INT64_MAX : keys[i].expires_ms;
        last_ms = expires_ms > last_ms ? expires_ms : last_ms;
        bool end = i + 1 == status->keys.count || strcmp(keys[i].mchid, keys[i + 1].mchid) != 0;
        bool late = last_ms - ATTENTION_LIST_EXPIRY_MS <= status->process.at_ms;
        if (end && last_ms != INT64_MAX && (late || !has_list(status, keys[i].mchid))) {
            put_certificate(status, keys[i].mchid, last_ms, &first_ms, found);
        }
        last_ms = end ? INT64_MIN : last_ms;
    }
    return put_expiry(status, "its last platform certificate", first_ms, found);
}

static bool merchant_expires(const struct status *status, struct found *found)
{
    int64_t first_ms = STATUS_NONE;
    for (size_t i = 0; i < status->merchants.count; i++) {
        const struct status_merchant *merchant = merchant_at(status, i);
        put_certificate(status, merchant->mchid, merchant->certificate_expires_ms, &first_ms,
                        found);
    }
    return put_expiry(status, "the merchant's certificate", first_ms, found);
}

static bool certificates_stale(const struct status *status, struct found *found)
{
    for (size_t i = 0; i < status->merchants.count; i++) {
        const struct status_merchant *merchant = merchant_at(status, i);
        if (merchant->certificates_trouble != NULL) {
            put_name(found, merchant->mchid);
            if (found->names == 1) {
                buf_puts(&found->text, merchant->certificates_trouble);
            }
        }
    }
    return found->names > 0;
}

/* The list reload_errors has the texts. */
static bool reload_refused(const struct status *status, struct found *found)
{
    size_t count = status->reload_errors.count;
    found->since_ms = status->reload.at_ms;
    buf_printf(&found->text,
               "the last reload found %zu problem%s; the old configuration stays in use", count,
               count == 1 ? "" : "s");
    return status->reload.applied == 0;
}

/* --- the table ----------------------------------------------------------------------------- */

static const struct rule {
    const char *alert; /* a heading of the runbooks in docs/operations.md */
    bool critical;
    bool (*find)(const struct status *status, struct found *found);
    const char *mend; /* the first thing to do */
} rules[] = {
    /* the worst first */
    {"PresigndNotReady", true, not_ready, "presignctl check --online shows what is missing"},
    {"PresigndKafkaDown", true, kafka_down,
     "check the brokers and the network to them: presignctl check --online"},
    {"PresigndEndpointDown", true, endpoint_down,
     "check this host's DNS, proxy and firewall: presignctl check --online"},
    {"PresigndMerchantHeld", true, unauthorized,
     "check serial_no, private_key and the clock: presignctl check --online"},
    {"PresigndMerchantHeld", true, unverified,
     "compare wechatpay_public_key and its id with the merchant platform: presignctl check "
     "--online"},
    {"PresigndMerchantHeld", true, keyless,
     "check the expiry of platform_certificates, apiv3_key and the clock: presignctl check "
     "--online"},
    {"PresigndOperatorFailures", true, operator_fails, ""},
    {"PresigndSenderFailures", true, sender_fails, ""},
    {"PresigndWechatpayFailures", true, wechatpay_fails, ""},
    {"PresigndForeignAnswers", true, foreign,
     "find the proxy that mixes answers: the journal names merchant and contract"},
    {"PresigndUnverifiedAnswers", true, unverified_answers,
     "compare wechatpay_public_key and its id with the merchant platform: presignctl check "
     "--online"},
    {"PresigndLate", false, late,
     "compare calls in flight with their limit, here and by merchant: presignctl status"},
    {"PresigndOutcomesRefused", false, refused,
     "presignctl topics shows the wrong setting; the journal names each outcome"},
    {"PresigndTransactionsAborted", false, transactions_fail,
     "read Kafka's error; outcomes are kept and published again"},
    {"PresigndKafkaBroker", false, kafka_broker,
     "check the brokers and the network to them: presignctl check --online"},
    {"PresigndWindowFull", false, window_full,
     "end what holds its oldest event: a held merchant, or a topic that refuses"},
    {"PresigndEventOld", false, partition_still,
     "end what holds this event: the merchant's hold, or the topic's refusal"},
    {"PresigndHostFailing", false, host_fails,
     "nothing, while the other host answers; check DNS and routes"},
    {"PresigndClockOffset", false, clock_off,
     "timedatectl shows whether the clock is synchronized; slew it, do not step it"},
    {"PresigndRateLimited", false, rate_limited,
     "set rate_per_s to the granted rate, divided by the number of instances"},
    {"PresigndEventsExpire", false, events_expire,
     "without late events, the senders' expirytime is too short: tell them"},
    {"PresigndDescriptors", false, shortages,
     "raise LimitNOFILE= of the unit, or lower endpoint.max_connections"},
    {"PresigndPaused", false, paused,
     "read by whom and why, then presignctl resume --merchant, --endpoint or --all"},
    {"PresigndNotReady", false, drained,
     "systemctl stop presignd, or presignctl resume --all to go on"},
    {"PresigndSignBackendFault", false, sign_faults,
     "set sign_backend = openssl; look for machine checks in the kernel's log"},
    {"PresigndReloadFailed", false, reload_refused,
     "correct it, then presignctl check and presignctl reload"},
    {"PresigndPreflight", false, preflight_failed,
     "presignctl check --online shows what is missing"},
    {"PresigndCertificatesStale", false, certificates_stale,
     "presignctl check --online asks for the list and says what is wrong"},
    {"PresigndCertificateExpires", false, merchant_expires,
     "apply for a new one on the merchant platform, then change certificate and private_key in one "
     "edit"},
    {"PresigndCertificateExpires", false, platform_expires,
     "add the new certificate and reload, or use the public key"},
};

static void found_deinit(struct found *found)
{
    buf_deinit(&found->subject);
    buf_deinit(&found->text);
}

/* The texts lie behind the rows, in one block that status_deinit() frees. */
static char *put_text(char **at, const struct buf *text)
{
    char *copy = *at;
    memcpy(copy, text->data, text->len + 1);
    *at += text->len + 1;
    return copy;
}

static void put_row(const struct rule *rule, struct found *found, struct status_attention *row,
                    char **at)
{
    *row = (struct status_attention){
        .alert = rule->alert,
        .severity = rule->critical || found->critical ? "critical" : "warning",
        .subject = found->names > 0 ? put_text(at, &found->subject) : NULL,
        .text = put_text(at, &found->text),
        .since_ms = found->since_ms,
        .mend = found->mend != NULL ? found->mend : rule->mend,
    };
}

static bool judge(const struct rule *rule, const struct status *status, struct found *found)
{
    *found = (struct found){.since_ms = STATUS_NONE};
    if (!rule->find(status, found)) {
        return false;
    }
    if (found->names > NAMES_MAX) {
        buf_printf(&found->subject, " and %zu more", found->names - NAMES_MAX);
    }
    return true;
}

void attention_take(struct status *status)
{
    struct found found[ARRAY_LENGTH(rules)];
    bool told[ARRAY_LENGTH(rules)];
    size_t bytes = 0, count = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(rules); i++) {
        told[i] = judge(&rules[i], status, &found[i]);
        count += told[i];
        bytes += found[i].subject.len + found[i].text.len + 2;
    }
    struct status_attention *rows = mem_zalloc(1, count * sizeof *rows + bytes);
    char *at = (char *)(rows + count);
    status->attention = (struct status_list){.items = rows};
    for (int critical = 1; critical >= 0; critical--) {
        for (size_t i = 0; i < ARRAY_LENGTH(rules); i++) {
            if (told[i] && (rules[i].critical || found[i].critical) == (critical == 1)) {
                put_row(&rules[i], &found[i], &rows[status->attention.count++], &at);
            }
        }
    }
    assert(status->attention.count == count);
    for (size_t i = 0; i < ARRAY_LENGTH(rules); i++) {
        found_deinit(&found[i]);
    }
}
