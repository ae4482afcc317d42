#include "daemon/attention.h"

#include "presignd/base/mem.h"
#include "presignd/flow/hold.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW_MS INT64_C(1795420800000) /* 2026-11-23T08:00:00Z */

static struct status_list list_of(size_t count, size_t size)
{
    return (struct status_list){.items = mem_zalloc(count, size), .count = count};
}

/* A daemon on a good day: two merchants, a host that answers, a partition that moves. */
static struct status good_day(void)
{
    struct status status = {
        .process = {.ready = 1, .state = "ready", .instance = "presignd-a", .at_ms = NOW_MS},
        .work = {.oldest_event_ms = ATTENTION_LATE_MS - 1,
                 .slo_ms = 10000,
                 .clock_offset_ms = 1 - ATTENTION_CLOCK_MS,
                 .newest_outcomes = 100,
                 .newest_unverified = 2},
        .failures = list_of(2, sizeof(struct status_failure)),
        .reload = {.at_ms = STATUS_NONE, .applied = STATUS_NONE},
        .merchants = list_of(2, sizeof(struct status_merchant)),
        .hosts = list_of(1, sizeof(struct status_host)),
        .partitions = list_of(1, sizeof(struct status_partition)),
        .keys = list_of(2, sizeof(struct status_key)),
        .preflight = list_of(1, sizeof(struct status_preflight)),
    };
    struct status_merchant *merchants = status.merchants.items;
    merchants[0] = (struct status_merchant){
        .mchid = "1900000001",
        .since_ms = STATUS_NONE,
        .held_until_ms = STATUS_NONE,
        .certificate_expires_ms = STATUS_NONE,
        .certificates_at_ms = STATUS_NONE,
        .oldest_event_ms = STATUS_NONE,
    };
    struct status_failure *failures = status.failures.items;
    /* A canary's. */
    failures[0] = (struct status_failure){
        .reason = "expired", .side = REASON_SIDE_SENDER, .newest = 60, .advice = "none"};
    failures[1] = (struct status_failure){
        .reason = "rejected", .side = REASON_SIDE_SENDER, .newest = 20, .advice = "read answer"};
    merchants[1] = merchants[0];
    merchants[1].mchid = "1900000002";
    *(struct status_host *)status.hosts.items =
        (struct status_host){.name = "api.example.com", .since_ms = STATUS_NONE};
    *(struct status_partition *)status.partitions.items =
        (struct status_partition){.id = 7, .still_ms = ATTENTION_STILL_MS - 1};
    struct status_key *keys = status.keys.items; /* the first one has expired, and a successor */
    keys[0] = (struct status_key){.mchid = "1900000001", .expires_ms = NOW_MS - 1};
    keys[1] =
        (struct status_key){.mchid = "1900000001", .expires_ms = NOW_MS + STATUS_EXPIRY_MS + 1};
    *(struct status_preflight *)status.preflight.items =
        (struct status_preflight){.check = "rights", .ok = 1, .is = "Write on a"};
    return status;
}

static struct status_merchant *merchant(struct status *status, size_t index)
{
    return &((struct status_merchant *)status->merchants.items)[index];
}

static void hold(struct status *status, size_t index, enum hold_why why)
{
    struct status_merchant *held = merchant(status, index);
    held->held = 1;
    held->why = (int64_t)why;
    held->waiting = 25;
    held->since_ms = NOW_MS - 60000 * ((int64_t)index + 1);
    held->held_until_ms = NOW_MS + 540000;
}

static void fault_unauthorized(struct status *status)
{
    hold(status, 0, HOLD_WHY_UNAUTHORIZED);
    hold(status, 1, HOLD_WHY_UNAUTHORIZED);
}

static void fault_unverified(struct status *status)
{
    hold(status, 1, HOLD_WHY_UNVERIFIED);
    merchant(status, 1)->held_until_ms = STATUS_NONE; /* the hold is over */
}

static void fault_keyless(struct status *status)
{
    hold(status, 1, HOLD_WHY_KEYLESS);
}

static void fault_limited(struct status *status)
{
    merchant(status, 0)->why = HOLD_WHY_RATE_LIMITED;
    merchant(status, 0)->since_ms = NOW_MS - ATTENTION_LIMITED_MS;
}

static void fault_host(struct status *status)
{
    ((struct status_host *)status->hosts.items)->health = ATTENTION_HOST_FAILS;
}

static void fault_down(struct status *status)
{
    status->process.ready = 0;
    status->process.state = "the endpoint is down";
    status->work.held_endpoint = 50;
    ((struct status_host *)status->hosts.items)->health = ATTENTION_HOST_DOWN;
}

static void fault_unready(struct status *status)
{
    status->process.ready = 0;
    status->process.state = "the group is not joined: no broker";
    status->work.kafka_last_error = "no broker"; /* told by the state already */
}

static void fault_blocked(struct status *status)
{
    struct status_preflight *finding = status->preflight.items;
    status->process.ready = 0;
    status->process.state = "preflight: rights";
    *finding = (struct status_preflight){
        .check = "rights", .ok = 0, .is = "no Write on a", .mend = "kafka-acls.sh --add"};
}

static void fault_preflight(struct status *status)
{
    fault_blocked(status);
    status->process.ready = 1;
    status->process.state = "ready";
}

static void fault_refused(struct status *status)
{
    status->work.refused = 3;
}

static void fault_kafka(struct status *status)
{
    status->work.kafka_last_error = "all brokers are down";
}

static void fault_brokers(struct status *status)
{
    status->kafka = (struct status_kafka){.brokers_up = 2, .brokers_known = 3, .brokers_lost = 1};
}

static void fault_all_brokers(struct status *status)
{
    status->kafka = (struct status_kafka){.brokers_known = 3, .brokers_lost = 3};
}

static void fault_transactions(struct status *status)
{
    status->work.transaction_last_error = "not enough replicas";
}

static void fault_full(struct status *status)
{
    struct status_partition *partition = status->partitions.items;
    partition->full = 1;
    partition->paused = "its window is full";
}

static void fault_still(struct status *status)
{
    struct status_partition *partition = status->partitions.items;
    partition->still_ms = ATTENTION_STILL_MS;
    partition->oldest_mchid = "1900000002";
    partition->oldest_state = "refused";
}

static void fault_expires(struct status *status)
{
    ((struct status_key *)status->keys.items)[1].expires_ms = NOW_MS + STATUS_EXPIRY_MS;
}

static void fault_expired(struct status *status)
{
    ((struct status_key *)status->keys.items)[1].expires_ms = NOW_MS;
}

static void fault_stale(struct status *status)
{
    merchant(status, 1)->certificates_trouble = "the list does not open";
}

static void fault_listed_expires(struct status *status)
{
    merchant(status, 0)->certificates_at_ms = NOW_MS;
    ((struct status_key *)status->keys.items)[1].expires_ms = NOW_MS + ATTENTION_LIST_EXPIRY_MS;
}

static void fault_own_expires(struct status *status)
{
    merchant(status, 1)->certificate_expires_ms = NOW_MS + STATUS_EXPIRY_MS;
}

static struct status_failure *failure(struct status *status)
{
    return &((struct status_failure *)status->failures.items)[1];
}

static void fault_sender(struct status *status)
{
    failure(status)->newest = 21;
}

static void fault_operator(struct status *status)
{
    *failure(status) = (struct status_failure){
        .reason = "unknown_merchant", .side = REASON_SIDE_OPERATOR, .newest = 10, .advice = "add"};
}

static void fault_wechatpay(struct status *status)
{
    *failure(status) = (struct status_failure){
        .reason = "unavailable", .side = REASON_SIDE_WECHATPAY, .newest = 20, .advice = "wait"};
}

static void fault_late(struct status *status)
{
    status->work.oldest_event_ms = ATTENTION_LATE_MS;
    status->work.lag_records = 50000;
}

static void fault_merchant_late(struct status *status)
{
    fault_late(status);
    status->work.held_limited = 1; /* of the other merchant */
    merchant(status, 1)->oldest_event_ms = ATTENTION_LATE_MS;
}

static void fault_clock(struct status *status)
{
    status->work.clock_offset_ms = -ATTENTION_CLOCK_MS;
}

static void fault_clock_far(struct status *status)
{
    status->work.clock_offset_ms = ATTENTION_CLOCK_FAR_MS;
}

static void fault_paused(struct status *status)
{
    status->pauses = list_of(1, sizeof(struct status_pause));
    *(struct status_pause *)status->pauses.items = (struct status_pause){
        .scope = "merchant", .name = "1900000001", .events = 4, .since_ms = NOW_MS - 5};
    fault_late(status); /* its events, which wait for it */
    status->work.held_paused = 4;
    merchant(status, 0)->why = HOLD_WHY_PAUSED;
    merchant(status, 0)->oldest_event_ms = ATTENTION_LATE_MS;
}

/* Both hold the same events. */
static void fault_paused_twice(struct status *status)
{
    fault_paused(status);
    free(status->pauses.items);
    status->pauses = list_of(2, sizeof(struct status_pause));
    struct status_pause *pauses = status->pauses.items;
    pauses[0] = (struct status_pause){.scope = "all", .events = 4, .since_ms = NOW_MS - 2};
    pauses[1] = (struct status_pause){
        .scope = "merchant", .name = "1900000001", .events = 4, .since_ms = NOW_MS - 5};
}

static void fault_drained(struct status *status)
{
    status->process.ready = 0;
    status->process.state = "drained";
}

static void fault_reload(struct status *status)
{
    status->reload.applied = 0;
    status->reload.at_ms = NOW_MS - 1000;
    status->reload_errors = list_of(2, sizeof(struct status_reload_error));
}

static void fault_unverified_answers(struct status *status)
{
    status->work.newest_unverified = 3;
}

static void fault_foreign(struct status *status)
{
    status->work.newest_foreign = 1;
}

static void fault_shortage(struct status *status)
{
    status->work.newest_shortages = 1;
}

static void fault_expire(struct status *status)
{
    ((struct status_failure *)status->failures.items)[0].newest = 100;
    status->work.newest_outcomes = 900;
}

static void fault_sign(struct status *status)
{
    status->process.sign_faults = 2;
}

struct expected {
    void (*fault)(struct status *status);
    const char *alert, *severity, *subject, *text;
    int64_t since_ms;
};

static const struct expected expectations[] = {
    {fault_unready, "PresigndNotReady", "critical", "presignd-a",
     "the group is not joined: no broker", STATUS_NONE},
    {fault_blocked, "PresigndNotReady", "critical", "rights", "no Write on a", STATUS_NONE},
    {fault_down, "PresigndEndpointDown", "critical", "api.example.com",
     "no host of WeChat Pay answers; 50 events are held", STATUS_NONE},
    {fault_unauthorized, "PresigndMerchantHeld", "critical", "1900000001, 1900000002",
     "WeChat Pay answers 401; 50 events are held, and fail after 08:09:00Z", NOW_MS - 120000},
    {fault_unverified, "PresigndMerchantHeld", "critical", "1900000002",
     "no configured key verifies its answers; 25 events are held, and new ones fail, but for one "
     "probe a minute",
     NOW_MS - 120000},
    {fault_keyless, "PresigndMerchantHeld", "critical", "1900000002",
     "it has no key that verifies answers now; 25 events are held, and fail after 08:09:00Z",
     NOW_MS - 120000},
    {fault_operator, "PresigndOperatorFailures", "critical", "unknown_merchant",
     "10 of 100 outcomes of the last 15 minutes failed", STATUS_NONE},
    {fault_sender, "PresigndSenderFailures", "critical", "rejected",
     "21 of 100 outcomes of the last 15 minutes failed", STATUS_NONE},
    {fault_wechatpay, "PresigndWechatpayFailures", "critical", "unavailable",
     "20 of 100 outcomes of the last 15 minutes failed", STATUS_NONE},
    {fault_late, "PresigndLate", "warning", NULL,
     "the oldest event is 60 s old; 50000 records are behind", STATUS_NONE},
    {fault_merchant_late, "PresigndLate", "warning", "1900000002",
     "the oldest event is 60 s old; 50000 records are behind", STATUS_NONE},
    {fault_clock, "PresigndClockOffset", "warning", NULL,
     "this host's clock is 30 s behind WeChat Pay's; 300 s give 401", STATUS_NONE},
    {fault_clock_far, "PresigndClockOffset", "critical", NULL,
     "this host's clock is 120 s ahead of WeChat Pay's; 300 s give 401", STATUS_NONE},
    {fault_paused, "PresigndPaused", "warning", "1900000001",
     "paused on this instance; 4 events are held", NOW_MS - 5},
    {fault_paused_twice, "PresigndPaused", "warning", "everything, 1900000001",
     "paused on this instance; 4 events are held", NOW_MS - 5},
    {fault_drained, "PresigndNotReady", "warning", "presignd-a",
     "drained: it has left the group and processes nothing", STATUS_NONE},
    {fault_refused, "PresigndOutcomesRefused", "warning", NULL,
     "3 outcomes are refused by their topic, and wait", STATUS_NONE},
    {fault_transactions, "PresigndTransactionsAborted", "warning", NULL, "not enough replicas",
     STATUS_NONE},
    {fault_kafka, "PresigndKafkaBroker", "warning", NULL, "all brokers are down", STATUS_NONE},
    {fault_brokers, "PresigndKafkaBroker", "warning", NULL, "1 of 3 brokers of Kafka do not answer",
     STATUS_NONE},
    {fault_all_brokers, "PresigndKafkaDown", "critical", NULL, "no broker of Kafka answers",
     STATUS_NONE},
    {fault_full, "PresigndWindowFull", "warning", "partition 7", "its window is full", STATUS_NONE},
    {fault_still, "PresigndEventOld", "warning", "partition 7",
     "the event at its base offset does not end: 1900000002, refused", NOW_MS - ATTENTION_STILL_MS},
    {fault_host, "PresigndHostFailing", "warning", "api.example.com",
     "its last calls failed; the other host is used while it answers", STATUS_NONE},
    {fault_limited, "PresigndRateLimited", "warning", "1900000001",
     "WeChat Pay answers 429; 0 events wait", NOW_MS - ATTENTION_LIMITED_MS},
    {fault_sign, "PresigndSignBackendFault", "warning", NULL,
     "2 mistakes of libcrypto_mb had no effect; OpenSSL does this work until a restart",
     STATUS_NONE},
    {fault_unverified_answers, "PresigndUnverifiedAnswers", "critical", NULL,
     "3 answers of the last 15 minutes do not verify", STATUS_NONE},
    {fault_foreign, "PresigndForeignAnswers", "critical", NULL,
     "1 answers of the last 15 minutes belong to other requests", STATUS_NONE},
    {fault_shortage, "PresigndDescriptors", "warning", NULL,
     "1 calls of the last 15 minutes found no free file descriptor", STATUS_NONE},
    {fault_expire, "PresigndEventsExpire", "warning", NULL,
     "100 of 900 events of the last 15 minutes expired", STATUS_NONE},
    {fault_reload, "PresigndReloadFailed", "warning", NULL,
     "the last reload found 2 problems; the old configuration stays in use", NOW_MS - 1000},
    {fault_preflight, "PresigndPreflight", "warning", "rights", "no Write on a", STATUS_NONE},
    {fault_stale, "PresigndCertificatesStale", "warning", "1900000002", "the list does not open",
     STATUS_NONE},
    {fault_expires, "PresigndCertificateExpires", "warning", "1900000001",
     "its last platform certificate expires at 2026-12-23T08:00:00Z", STATUS_NONE},
    {fault_listed_expires, "PresigndCertificateExpires", "critical", "1900000001",
     "its last platform certificate expires at 2026-11-24T08:00:00Z", STATUS_NONE},
    {fault_own_expires, "PresigndCertificateExpires", "warning", "1900000002",
     "the merchant's certificate expires at 2026-12-23T08:00:00Z", STATUS_NONE},
    {fault_expired, "PresigndCertificateExpires", "critical", "1900000001",
     "its last platform certificate expired at 2026-11-23T08:00:00Z", STATUS_NONE},
};

Test(attention, a_good_day_is_empty)
{
    struct status status = good_day();
    attention_take(&status);
    cr_assert_eq(status.attention.count, 0);
    status_deinit(&status);
}

Test(attention, each_fault_gives_its_row_alone)
{
    for (size_t i = 0; i < ARRAY_LENGTH(expectations); i++) {
        const struct expected *want = &expectations[i];
        struct status status = good_day();
        want->fault(&status);
        attention_take(&status);
        const struct status_attention *row = status.attention.items;
        cr_assert_eq(status.attention.count, 1, "%s: %zu rows", want->alert,
                     status.attention.count);
        cr_expect_str_eq(row->alert, want->alert);
        cr_expect_str_eq(row->severity, want->severity, "%s", want->alert);
        cr_expect_str_eq(row->text, want->text);
        cr_expect((row->subject == NULL) == (want->subject == NULL), "%s", want->alert);
        if (row->subject != NULL && want->subject != NULL) {
            cr_expect_str_eq(row->subject, want->subject);
        }
        cr_expect_eq(row->since_ms, want->since_ms, "%s", want->alert);
        cr_expect_not_null(row->mend, "%s", want->alert);
        status_deinit(&status);
    }
}

Test(attention, the_worst_comes_first)
{
    struct status status = good_day();
    fault_reload(&status);
    fault_expired(&status); /* critical, by a rule that usually warns */
    fault_unauthorized(&status);
    attention_take(&status);
    const struct status_attention *rows = status.attention.items;
    cr_assert_eq(status.attention.count, 3);
    cr_expect_str_eq(rows[0].alert, "PresigndMerchantHeld");
    cr_expect_str_eq(rows[1].alert, "PresigndCertificateExpires");
    cr_expect_str_eq(rows[2].alert, "PresigndReloadFailed");
    status_deinit(&status);
}

/* A wrong clock holds all merchants. */
Test(attention, many_of_a_kind_are_one_row)
{
    struct status status = {
        .process = {.ready = 1, .state = "ready", .at_ms = NOW_MS},
        .work = {.oldest_event_ms = STATUS_NONE, .clock_offset_ms = STATUS_NONE},
        .reload = {.applied = STATUS_NONE}};
    char names[140][16];
    status.merchants = list_of(ARRAY_LENGTH(names), sizeof(struct status_merchant));
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        (void)snprintf(names[i], sizeof names[i], "%zu", 1900000000 + i);
        merchant(&status, i)->mchid = names[i];
        merchant(&status, i)->certificate_expires_ms = STATUS_NONE;
        merchant(&status, i)->oldest_event_ms = STATUS_NONE;
        hold(&status, i, HOLD_WHY_UNAUTHORIZED);
    }
    attention_take(&status);
    const struct status_attention *row = status.attention.items;
    cr_assert_eq(status.attention.count, 1);
    cr_expect_str_eq(row->subject, "1900000000, 1900000001, 1900000002 and 137 more");
    cr_expect_str_eq(row->text,
                     "WeChat Pay answers 401; 3500 events are held, and fail after 08:09:00Z");
    status_deinit(&status);
}

Test(attention, a_certificate_whose_successor_is_downloaded_needs_nobody)
{
    struct status status = good_day();
    fault_listed_expires(&status);
    ((struct status_key *)status.keys.items)[1].expires_ms++;
    attention_take(&status);
    cr_assert_eq(status.attention.count, 0);
    status_deinit(&status);
}

Test(attention, a_stop_needs_nobody)
{
    struct status status = good_day();
    status.process.ready = 0;
    status.process.state = "stopping";
    attention_take(&status);
    cr_assert_eq(status.attention.count, 0);
    status_deinit(&status);
}
