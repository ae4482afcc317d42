#include "daemon/report.h"

#include "daemon/event_log.h"
#include "presignd/base/list.h"
#include "presignd/base/log.h"
#include "presignd/base/log_ratelimit.h"
#include "presignd/base/map.h"
#include "presignd/base/text.h"
#include "presignd/flow/merchant_queue.h"
#include "presignd/kafka/clients.h"
#include "presignd/ops/messages.h"
#include "presignd/version.h"
#include "presignd/wechatpay/endpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lines per minute for one merchant's holds: the begin of a hold and its end. */
#define HOLD_LINES_MAX 2

/* How long the offset from a verified answer is preferred to one from a Date. */
#define CLOCK_SIGNED_MS 300000

/* Log limits of one merchant, so that a merchant which fails all the time does not hide another.
 * There are as many as merchants were ever configured. */
struct merchant_log {
    struct list_link link;
    char *mchid;
    struct log_ratelimit failures[REASON_COUNT];
    struct log_ratelimit refusals[OUTPUT_TOPIC_COUNT][REFUSAL_COUNT];
    struct log_ratelimit holds;
    bool held; /* now, whether it was logged or not */
    /* Of the last answer that no key verified: why, and the key's serial number or id, "" if that
     * is not why. */
    enum verify_status unverified;
    char unknown_serial[ANSWER_ID_MAX + 1];
};

struct report {
    struct map *merchant_logs; /* by mchid */
    struct list merchant_log_list;
    struct metrics *metrics;
    struct merchants *merchants; /* as configured; NULL before report_merchants() */
    struct history history;
    struct verified verified;
    char *last_error;                 /* why transactions fail */
    bool failing[OUTPUT_TOPIC_COUNT]; /* those whose outcomes were in a transaction that failed */
    struct log_ratelimit last_errors;
    struct log_ratelimit foreign;
    int64_t shortage_ms;     /* mono: when one was logged last; 0: never */
    int64_t no_signature_ms; /* likewise */
    int64_t clock_offset_ms; /* STATUS_NONE: not known */
    int64_t clock_signed_ms; /* mono: when a verified answer said so; 0: it is from a Date */
    struct log_ratelimit failures[REASON_COUNT];
    struct log_ratelimit refusals[OUTPUT_TOPIC_COUNT][REFUSAL_COUNT];
};

/* Creates the series at the start: Prometheus' rate() misses the first increment of a series that
 * appears with 1. */
static void create_series(struct metrics *metrics, enum metric metric, const char *label)
{
    (void)metrics_series(metrics, metric, (const char *[]){label});
}

static void create_all_series(struct metrics *metrics)
{
    static const char *const reload_ends[] = {"applied", "failed"};
    static const char *const rebalances[] = {"assigned", "revoked", "lost"};
    size_t endpoints;
    const struct endpoint *endpoint = endpoint_table(&endpoints);
    for (enum reason reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
        (void)metrics_series(metrics, METRIC_FAILURES,
                             (const char *[]){reason_name(reason), reason_side_name(reason)});
    }
    for (enum answer_kind kind = ANSWER_SUCCESS + 1; kind < ANSWER_KIND_COUNT; kind++) {
        create_series(metrics, METRIC_RETRIES, reason_name(retry_rule(kind).reason));
    }
    for (enum transaction_verdict verdict = 0; verdict < TRANSACTION_VERDICT_COUNT; verdict++) {
        create_series(metrics, METRIC_TRANSACTIONS, transaction_verdict_name(verdict));
    }
    for (size_t i = 0; i < endpoints; i++) {
        (void)metrics_series(metrics, METRIC_EVENTS,
                             (const char *[]){endpoint[i].name, "succeeded"});
        (void)metrics_series(metrics, METRIC_EVENTS, (const char *[]){endpoint[i].name, "failed"});
    }
    (void)metrics_series(metrics, METRIC_EVENTS, (const char *[]){"none", "failed"});
    for (size_t i = 0; i < ARRAY_LENGTH(reload_ends); i++) {
        create_series(metrics, METRIC_RELOADS, reload_ends[i]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(rebalances); i++) {
        create_series(metrics, METRIC_REBALANCES, rebalances[i]);
    }
    for (enum clients_renewal why = 0; why < CLIENTS_RENEWAL_COUNT; why++) {
        create_series(metrics, METRIC_CLIENT_RENEWALS, clients_renewal_name(why));
    }
}

struct report *report_new(struct metrics *metrics)
{
    struct report *report = mem_zalloc(1, sizeof *report);
    report->metrics = metrics;
    report->clock_offset_ms = STATUS_NONE;
    metrics_clear(metrics, METRIC_CLOCK_OFFSET); /* not known yet */
    report->merchant_logs = map_new();
    list_init(&report->merchant_log_list);
    verified_init(&report->verified);
    struct moment now = clock_now(&clock_system);
    metric_set(metrics_series(metrics, METRIC_BUILD_INFO, (const char *[]){PRESIGND_VERSION}), 1);
    metric_set(metrics_series(metrics, METRIC_START_TIME, NULL), (double)now.wall_ms / 1000);
    metric_set(metrics_series(metrics, METRIC_RELOAD_SUCCESSFUL, NULL), 1);
    create_all_series(metrics);
    (void)metrics_series(metrics, METRIC_SHORTAGES, NULL);
    history_init(&report->history, now);
    return report;
}

struct report *report_free(struct report *report)
{
    if (report != NULL) {
        struct list_link *link;
        while ((link = list_pop_front(&report->merchant_log_list)) != NULL) {
            struct merchant_log *log = CONTAINER_OF(link, struct merchant_log, link);
            free(log->mchid);
            free(log);
        }
        map_free(report->merchant_logs);
        verified_deinit(&report->verified);
        merchants_unref(report->merchants);
        free(report->last_error);
        free(report);
    }
    return NULL;
}

const char *report_last_error(const struct report *report)
{
    return report->last_error;
}

struct verified *report_verified(struct report *report)
{
    return &report->verified;
}

const struct history *report_history(const struct report *report)
{
    return &report->history;
}

static void count(struct report *report, enum metric metric, const char *const *labels)
{
    metric_add(metrics_series(report->metrics, metric, labels), 1);
}

static const char *endpoint_name(const struct job *job)
{
    return job->admission.endpoint != NULL ? job->admission.endpoint->name : "none";
}

/* Events may name any merchant; those that are not configured count together. */
static const char *merchant_label(const struct report *report, const struct job *job)
{
    const char *mchid = job->admission.mchid;
    bool known = report->merchants != NULL && merchants_find(report->merchants, mchid) != NULL;
    return known ? mchid : "other";
}

/* By merchant only what concerns the merchant alone; the series of all answers would be too many.
 */
static const char *merchant_answer(enum answer_kind kind)
{
    bool own = kind == ANSWER_SUCCESS || kind == ANSWER_UNAUTHORIZED || kind == ANSWER_RATE_LIMITED;
    return own ? answer_kind_name(kind) : "other";
}

static struct merchant_log *log_of(struct report *report, const char *mchid)
{
    struct merchant_log *log = map_get(report->merchant_logs, mchid, strlen(mchid));
    if (log == NULL) {
        log = mem_zalloc(1, sizeof *log);
        log->mchid = mem_strdup(mchid);
        list_push_back(&report->merchant_log_list, &log->link);
        map_set(report->merchant_logs, mchid, strlen(mchid), log);
    }
    return log;
}

/* --- The pipeline's observer --- */

static void note_foreign(struct report *report, const struct job *job)
{
    const struct answer *answer = &job->answer;
    count(report, METRIC_FOREIGN_ANSWERS, (const char *[]){answer->host});
    if (!log_ratelimit_allows(&report->foreign, LOG_RATELIMIT_LINES, clock_mono_ms())) {
        return;
    }
    log_fields(LOG_ERR, MESSAGE_FOREIGN_ANSWER,
               LOG_FIELDS({"MCHID", job->admission.mchid},
                          {"OUT_CONTRACT_CODE", job->admission.out_contract_code},
                          {"REQUEST_ID", answer->request_id}),
               "%s gave merchant %s an answer that is not used: %s; it is called again on a new "
               "connection: check the proxies and load balancers in between",
               answer->host, job->admission.mchid, answer->detail);
}

/* Logged once a minute: every call fails while the shortage lasts. */
static void note_shortage(struct report *report)
{
    int64_t now_ms = clock_mono_ms();
    count(report, METRIC_SHORTAGES, NULL);
    if (report->shortage_ms == 0 || now_ms - report->shortage_ms >= LOG_RATELIMIT_MS) {
        report->shortage_ms = now_ms;
        log_fields(
            LOG_ERR, MESSAGE_DESCRIPTORS_SHORT, NULL,
            "no file descriptor is left for a connection: raise LimitNOFILE= of the unit, or "
            "lower endpoint.max_connections");
    }
}

/* Logged as often. Readiness and status tell how long it lasts. */
static void note_no_signature(struct report *report)
{
    int64_t now_ms = clock_mono_ms();
    if (report->no_signature_ms == 0 || now_ms - report->no_signature_ms >= LOG_RATELIMIT_MS) {
        report->no_signature_ms = now_ms;
        log_error("the signing threads or process gave no signature: calls wait for them; if it "
                  "lasts, restart the service");
    }
}

/* The offset of a verified answer counts for CLOCK_SIGNED_MS; anyone in between can write a Date.
 */
static void note_clock(struct report *report, const struct answer *answer)
{
    int64_t now_ms = clock_mono_ms();
    bool is_signed = answer->clock == ANSWER_CLOCK_SIGNED;
    bool has_signed =
        report->clock_signed_ms != 0 && now_ms - report->clock_signed_ms < CLOCK_SIGNED_MS;
    if (answer->clock == ANSWER_CLOCK_NONE || (!is_signed && has_signed)) {
        return;
    }
    report->clock_signed_ms = is_signed ? now_ms : 0;
    report->clock_offset_ms = answer->clock_offset_ms;
    metric_set(metrics_series(report->metrics, METRIC_CLOCK_OFFSET, NULL),
               (double)answer->clock_offset_ms / 1000);
}

int64_t report_clock_offset_ms(const struct report *report)
{
    return report->clock_offset_ms;
}

static void note_verified(struct report *report, const struct job *job)
{
    const char *mchid = job->admission.mchid;
    enum verify_kind by = job->answer.verified_by;
    count(report, METRIC_ANSWERS_VERIFIED, (const char *[]){mchid, verify_kind_name(by)});
    verified_note(&report->verified, mchid, by, clock_wall_ms());
}

/* Only what a serial number or an id consists of: the header may be anyone's. */
static void note_unverified(struct report *report, const struct job *job)
{
    static const char word[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    struct merchant_log *log = log_of(report, job->admission.mchid);
    const char *serial = job->answer.serial;
    log->unverified = job->answer.verify;
    (void)snprintf(log->unknown_serial, sizeof log->unknown_serial, "%s",
                   serial[strspn(serial, word)] == '\0' ? serial : "");
}

static void note_history(struct report *report, const struct answer *answer)
{
    int64_t wall_ms = clock_now(&clock_system).wall_ms;
    if (answer_end_of(answer) == ANSWER_END_UNVERIFIED) {
        history_call(&report->history, HISTORY_UNVERIFIED, wall_ms);
    }
    if (answer->cause == ANSWER_CAUSE_FOREIGN) {
        history_call(&report->history, HISTORY_FOREIGN, wall_ms);
    } else if (answer->cause == ANSWER_CAUSE_SHORTAGE && !answer->lacks_signature) {
        history_call(&report->history, HISTORY_SHORTAGE, wall_ms);
    }
}

static void on_called(void *context, const struct job *job)
{
    struct report *report = context;
    const struct answer *answer = &job->answer;
    count(
        report, METRIC_CALLS,
        (const char *[]){endpoint_name(job), answer->host, answer_end_name(answer_end_of(answer))});
    count(report, METRIC_CALLS_BY_MERCHANT,
          (const char *[]){job->admission.mchid, merchant_answer(answer->kind)});
    metric_observe(
        metrics_series(report->metrics, METRIC_CALL_SECONDS, (const char *[]){answer->host}),
        (double)answer->duration_us / 1e6);
    note_clock(report, answer);
    if (answer->is_signed) {
        note_verified(report, job);
    } else if (answer->cause == ANSWER_CAUSE_KEYS) {
        note_unverified(report, job);
    }
    event_log_attempt(job);
    note_history(report, answer);
    if (answer->cause == ANSWER_CAUSE_FOREIGN) {
        note_foreign(report, job);
    } else if (answer->lacks_signature) {
        note_no_signature(report);
    } else if (answer->cause == ANSWER_CAUSE_SHORTAGE) {
        note_shortage(report);
    }
}

static void on_retrying(void *context, const struct job *, enum reason reason)
{
    count(context, METRIC_RETRIES, (const char *[]){reason_name(reason)});
}

/* A record's coordinates as log fields. */
struct coordinates {
    char partition[16], offset[24];
};

static void coordinates_of(struct coordinates *at, int32_t partition, int64_t offset)
{
    snprintf(at->partition, sizeof at->partition, "%" PRId32, partition);
    snprintf(at->offset, sizeof at->offset, "%" PRId64, offset);
}

/* Allows the first line per minute of each merchant, and the first few of all merchants. `own`:
 * NULL without a merchant. */
static bool may_log(struct log_ratelimit *own, struct log_ratelimit *all)
{
    int64_t now_ms = clock_mono_ms();
    return (own != NULL && log_ratelimit_allows(own, 1, now_ms)) ||
           log_ratelimit_allows(all, LOG_RATELIMIT_LINES, now_ms);
}

static struct merchant_log *log_of_job(struct report *report, const struct job *job)
{
    return job->queue == NULL ? NULL : log_of(report, job->queue->merchant->mchid);
}

static bool may_log_failure(struct report *report, const struct job *job)
{
    struct merchant_log *log = log_of_job(report, job);
    return may_log(log == NULL ? NULL : &log->failures[job->reason],
                   &report->failures[job->reason]);
}

/* Limited because a topic whose size limit was lowered may refuse every outcome. */
static bool may_log_refusal(struct report *report, const struct job *job)
{
    enum output_topic topic = job_topic(job);
    struct merchant_log *log = log_of_job(report, job);
    return may_log(log == NULL ? NULL : &log->refusals[topic][job->refusal],
                   &report->refusals[topic][job->refusal]);
}

/* Counts the holds of a merchant that were not logged one by one, and says how it stands now. */
static void log_held_count(struct merchant_log *log, int64_t mono_ms)
{
    uint64_t more = log_ratelimit_suppressed(&log->holds, mono_ms);
    if (more > 0) {
        log_fields(log->held ? LOG_ERR : LOG_NOTICE,
                   log->held ? MESSAGE_MERCHANT_HELD : MESSAGE_MERCHANT_RECOVERED,
                   LOG_FIELDS({"MCHID", log->mchid}),
                   "merchant %s was held or released %" PRIu64
                   " more times within a minute; now it is %s",
                   log->mchid, more, log->held ? "held" : "not held");
    }
}

static void tick_merchants(struct report *report, int64_t mono_ms)
{
    LIST_FOREACH (&report->merchant_log_list, link) {
        struct merchant_log *log = CONTAINER_OF(link, struct merchant_log, link);
        for (enum reason reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
            (void)log_ratelimit_suppressed(&log->failures[reason],
                                           mono_ms); /* counted for all merchants together */
        }
        for (size_t i = 0; i < ARRAY_LENGTH(log->refusals); i++) {
            for (size_t k = 0; k < REFUSAL_COUNT; k++) {
                (void)log_ratelimit_suppressed(&log->refusals[i][k], mono_ms);
            }
        }
        log_held_count(log, mono_ms);
    }
}

static void log_refused_count(struct report *report, enum output_topic topic, enum refusal refusal,
                              int64_t mono_ms)
{
    const struct refusal_row *row = refusal_row(refusal);
    uint64_t more = log_ratelimit_suppressed(&report->refusals[topic][refusal], mono_ms);
    char count[24];
    if (more == 0) {
        return;
    }
    snprintf(count, sizeof count, "%" PRIu64, more);
    log_fields(
        LOG_ERR, MESSAGE_OUTCOME_REFUSED,
        LOG_FIELDS({"REFUSAL", row->name}, {"OUTPUT", output_topic_name(topic)}, {"COUNT", count}),
        "%s more outcomes wait within a minute, since each %s (%s); %s", count, row->what,
        output_topic_name(topic), row->mend);
}

/* Counts the failures that log_failure() did not log. */
static void log_failed_count(struct report *report, int64_t mono_ms)
{
    for (enum reason reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
        uint64_t more = log_ratelimit_suppressed(&report->failures[reason], mono_ms);
        if (more > 0) {
            char count[24];
            snprintf(count, sizeof count, "%" PRIu64, more);
            log_fields(
                LOG_INFO, MESSAGE_EVENTS_COUNTED,
                LOG_FIELDS({"REASON", reason_name(reason)}, {"COUNT", count}),
                "%s more events failed: %s; only the first %d per minute are logged one by one",
                count, reason_name(reason), LOG_RATELIMIT_LINES);
        }
    }
}

void report_tick(struct report *report, int64_t mono_ms)
{
    tick_merchants(report, mono_ms);
    log_failed_count(report, mono_ms);
    for (size_t topic = 0; topic < OUTPUT_TOPIC_COUNT; topic++) {
        for (size_t refusal = 0; refusal < REFUSAL_COUNT; refusal++) {
            log_refused_count(report, (enum output_topic)topic, (enum refusal)refusal, mono_ms);
        }
    }
    (void)log_ratelimit_suppressed(&report->foreign, mono_ms); /* the metric counts the rest */
    uint64_t more = log_ratelimit_suppressed(&report->last_errors, mono_ms);
    if (more > 0) {
        log_fields(LOG_WARNING, MESSAGE_TRANSACTION_FAILED, NULL,
                   "%" PRIu64 " more times within a minute the cause of failing transactions "
                   "changed",
                   more);
    }
}

static void on_published(void *context, const struct job *job)
{
    struct report *report = context;
    bool failed = job->reason != REASON_NONE;
    count(report, METRIC_EVENTS,
          (const char *[]){endpoint_name(job), failed ? "failed" : "succeeded"});
    count(report, METRIC_EVENTS_BY_MERCHANT,
          (const char *[]){merchant_label(report, job), failed ? "failed" : "succeeded"});
    if (failed) {
        count(report, METRIC_FAILURES,
              (const char *[]){reason_name(job->reason), reason_side_name(job->reason)});
        if (may_log_failure(report, job)) {
            event_log_failure(job);
        }
    }
    int64_t wall_ms = clock_wall_ms();
    history_published(&report->history, job->reason, wall_ms);
    if (job->record.timestamp_ms >= 0) {
        int64_t age_ms = wall_ms - job->record.timestamp_ms;
        metric_observe(metrics_series(report->metrics, METRIC_EVENT_SECONDS, NULL),
                       (double)(age_ms < 0 ? 0 : age_ms) / 1000);
    }
}

/* Logs the begin, each change of the cause, and the end; not every failed transaction. */
static void note_transaction_error(struct report *report, const char *last_error)
{
    bool changed = last_error == NULL || report->last_error == NULL
                       ? last_error != report->last_error
                       : strcmp(report->last_error, last_error) != 0;
    bool logged =
        changed && log_ratelimit_allows(&report->last_errors, LOG_RATELIMIT_LINES, clock_mono_ms());
    if (logged && last_error == NULL) {
        log_fields(LOG_NOTICE, MESSAGE_TRANSACTION_RECOVERED, NULL, "transactions succeed again");
    } else if (logged) {
        log_fields(LOG_WARNING, MESSAGE_TRANSACTION_FAILED, NULL,
                   "a transaction failed, its outcomes are kept and published again: %s",
                   last_error);
    }
    free(report->last_error);
    report->last_error = mem_strdup(last_error);
}

/* A topic works again when a transaction with outcomes of that topic is committed. True when all
 * topics work. */
static bool note_topics(struct report *report, bool well, const size_t outcomes[OUTPUT_TOPIC_COUNT])
{
    bool any = false;
    for (size_t i = 0; i < OUTPUT_TOPIC_COUNT; i++) {
        report->failing[i] = outcomes[i] > 0 ? !well : report->failing[i];
        any = any || report->failing[i];
    }
    return !any;
}

void report_assigned(struct report *report)
{
    free(report->last_error);
    report->last_error = NULL;
    memset(report->failing, 0, sizeof report->failing);
}

static void on_transaction(void *context, const struct transaction_end *end,
                           const size_t outcomes[OUTPUT_TOPIC_COUNT])
{
    struct report *report = context;
    history_transaction(&report->history, end, outcomes[OUTPUT_RESULTS] + outcomes[OUTPUT_FAILURES],
                        clock_wall_ms());
    count(report, METRIC_TRANSACTIONS, (const char *[]){transaction_verdict_name(end->verdict)});
    metric_observe(metrics_series(report->metrics, METRIC_TRANSACTION_SECONDS, NULL),
                   (double)end->duration_ms / 1000);
    if (end->verdict == TRANSACTION_RECORDS_REFUSED) {
        return; /* an error of these records only; nothing was committed */
    }
    bool well = end->verdict == TRANSACTION_COMMITTED;
    bool over = note_topics(report, well, outcomes);
    if (!well) {
        note_transaction_error(report,
                               end->last_error != NULL ? end->last_error : "no reason given");
    } else if (over) {
        note_transaction_error(report, NULL);
    }
}

static void on_merchant_held(void *context, const char *mchid, enum hold_why why, bool held)
{
    struct merchant_log *log = log_of(context, mchid);
    const struct log_field fields[] = {{"MCHID", mchid}, {NULL, NULL}};
    log->held = held;
    if (!log_ratelimit_allows(&log->holds, HOLD_LINES_MAX, clock_mono_ms())) {
        return;
    }
    if (!held) {
        log_fields(LOG_NOTICE, MESSAGE_MERCHANT_RECOVERED, fields, "merchant %s is released",
                   mchid);
    } else if (why == HOLD_WHY_KEYLESS) {
        log_fields(
            LOG_ERR, MESSAGE_MERCHANT_UNVERIFIED, fields,
            "merchant %s has no key that verifies answers now and its events are held: "
            "check its wechatpay_public_key, or platform_certificates and apiv3_key, and this "
            "machine's clock",
            mchid);
    } else if (why == HOLD_WHY_UNVERIFIED) {
        log_fields(LOG_ERR, MESSAGE_MERCHANT_UNVERIFIED, fields,
                   "merchant %s has answers that no key here verifies and its events are held: "
                   "check its wechatpay_public_key and wechatpay_public_key_id, or "
                   "platform_certificates, and this machine's clock; the last answer: %s%s%s",
                   mchid, verify_status_text(log->unverified),
                   log->unknown_serial[0] != '\0' ? ": " : "", log->unknown_serial);
    } else {
        log_fields(LOG_ERR, MESSAGE_MERCHANT_HELD, fields,
                   "merchant %s is answered 401 and its events are held: check its private_key, "
                   "serial_no and this machine's clock",
                   mchid);
    }
}

/* The failure itself is logged when its outcome is committed. */
static void on_relieved(void *context, const struct job *job)
{
    count(context, METRIC_RELIEVED, (const char *[]){job->admission.mchid});
}

static void on_pause_ended(void *, const struct pause *pause, bool removed)
{
    log_fields(
        LOG_NOTICE, MESSAGE_PAUSE_ENDED,
        LOG_FIELDS({"SCOPE", pause_scope_name(pause->scope)}, {"NAME", text_or_null(pause->name)}),
        "the pause of %s%s%s has ended: %s", pause_scope_name(pause->scope),
        pause->name[0] == '\0' ? "" : " ", pause->name,
        removed ? "a reload removed the merchant" : "its time is over");
}

static void on_endpoint_down(void *, bool down)
{
    if (down) {
        log_fields(LOG_ERR, MESSAGE_ENDPOINT_DOWN, NULL,
                   "the endpoint is down: its events are held, and recovery probes go");
    } else {
        log_fields(LOG_NOTICE, MESSAGE_ENDPOINT_UP, NULL, "the endpoint answers again");
    }
}

static void on_metadata_unreadable(void *, int32_t partition)
{
    struct coordinates at;
    coordinates_of(&at, partition, 0);
    log_fields(LOG_WARNING, MESSAGE_METADATA_UNREADABLE, LOG_FIELDS({"PARTITION", at.partition}),
               "partition %" PRId32 ": the committed metadata is not presignd's; events done "
               "above the committed offset are called again",
               partition);
}

static void on_log_restarted(void *, int32_t partition, int64_t offset)
{
    struct coordinates at;
    coordinates_of(&at, partition, offset);
    log_fields(LOG_WARNING, MESSAGE_LOG_RESTARTED,
               LOG_FIELDS({"PARTITION", at.partition}, {"OFFSET", at.offset}),
               "partition %" PRId32 ": its log begins again at offset %" PRId64
               ", below the committed one; was the topic deleted and created?",
               partition, offset);
}

static void on_outcome_rejected(void *context, const struct job *job, const char *last_error)
{
    const struct refusal_row *row = refusal_row(job->refusal);
    struct coordinates at;
    if (!may_log_refusal(context, job)) {
        return;
    }
    coordinates_of(&at, job->record.partition, job->record.offset);
    log_fields(LOG_ERR, MESSAGE_OUTCOME_REFUSED,
               LOG_FIELDS({"REFUSAL", row->name}, {"OUTPUT", output_topic_name(job_topic(job))},
                          {"MCHID", text_or_null(job->admission.mchid)},
                          {"OUT_CONTRACT_CODE", text_or_null(job->admission.out_contract_code)},
                          {"TOPIC", job->record.topic}, {"PARTITION", at.partition},
                          {"OFFSET", at.offset}),
               "the outcome of event %s/%s/%s %s (%s) and waits; %s%s%s", job->record.topic,
               at.partition, at.offset, row->what, output_topic_name(job_topic(job)), row->mend,
               last_error != NULL ? ": " : "", last_error != NULL ? last_error : "");
}

/* `partition` -1: the whole topic. */
static void output_log(enum output_topic topic, int32_t partition, enum refusal refusal, bool shut,
                       const char *last_error)
{
    const struct refusal_row *row = refusal_row(refusal);
    char number[16] = "", subject[64];
    if (partition >= 0) {
        snprintf(number, sizeof number, "%" PRId32, partition);
    }
    snprintf(subject, sizeof subject, "the topic of %s%s%s", output_topic_name(topic),
             partition >= 0 ? ", partition " : "", number);
    const struct log_field fields[] = {{"REFUSAL", row->name},
                                       {"OUTPUT", output_topic_name(topic)},
                                       {"PARTITION", text_or_null(number)},
                                       {NULL, NULL}};
    if (shut) {
        log_fields(LOG_ERR, MESSAGE_OUTPUT_UNAVAILABLE, fields,
                   "%s %s; its outcomes wait, all others go on; %s%s%s", subject, row->what,
                   row->mend, last_error != NULL ? ": " : "", last_error != NULL ? last_error : "");
    } else {
        log_fields(LOG_NOTICE, MESSAGE_OUTPUT_AVAILABLE, fields, "%s takes outcomes again",
                   subject);
    }
}

static void on_output_unavailable(void *, enum output_topic topic, int32_t partition,
                                  enum refusal refusal, const char *last_error)
{
    output_log(topic, partition, refusal, true, last_error);
}

static void on_output_available(void *, enum output_topic topic, int32_t partition,
                                enum refusal refusal)
{
    output_log(topic, partition, refusal, false, NULL);
}

struct pipeline_observer report_observer(struct report *report)
{
    return (struct pipeline_observer){
        .context = report,
        .called = on_called,
        .retrying = on_retrying,
        .published = on_published,
        .transaction = on_transaction,
        .merchant_held = on_merchant_held,
        .pause_ended = on_pause_ended,
        .relieved = on_relieved,
        .endpoint_down = on_endpoint_down,
        .metadata_unreadable = on_metadata_unreadable,
        .log_restarted = on_log_restarted,
        .outcome_rejected = on_outcome_rejected,
        .output_unavailable = on_output_unavailable,
        .output_available = on_output_available,
    };
}

void report_reload(struct report *report, bool applied)
{
    count(report, METRIC_RELOADS, (const char *[]){applied ? "applied" : "failed"});
    metric_set(metrics_series(report->metrics, METRIC_RELOAD_SUCCESSFUL, NULL), applied);
}

/* The series of one merchant, or of "other". */
static void create_merchant_series(struct report *report, const char *mchid)
{
    static const char *const outcomes[] = {"succeeded", "failed"};
    for (size_t i = 0; i < ARRAY_LENGTH(outcomes); i++) {
        (void)metrics_series(report->metrics, METRIC_EVENTS_BY_MERCHANT,
                             (const char *[]){mchid, outcomes[i]});
    }
}

static void create_answer_series(struct report *report, const char *mchid)
{
    for (enum answer_kind kind = 0; kind < ANSWER_KIND_COUNT; kind++) {
        (void)metrics_series(report->metrics, METRIC_CALLS_BY_MERCHANT,
                             (const char *[]){mchid, merchant_answer(kind)});
    }
    for (enum verify_kind kind = 0; kind < VERIFY_KIND_COUNT; kind++) {
        (void)metrics_series(report->metrics, METRIC_ANSWERS_VERIFIED,
                             (const char *[]){mchid, verify_kind_name(kind)});
    }
}

/* From now on it is known since when no certificate has verified an answer. */
static void watch_certificates(struct report *report, const struct merchant *merchant)
{
    bool any = merchant->platform_keys != NULL;
    for (size_t i = 0; i < merchant->verify_key_count; i++) {
        any = any || verify_kind_of(merchant->verify_keys[i].serial) == VERIFY_BY_CERTIFICATE;
    }
    if (any) {
        verified_watch(&report->verified, merchant->mchid, clock_wall_ms());
    }
}

void report_signed(struct report *report, const struct merchant *merchant)
{
    count(report, METRIC_SIGNATURES_BY_MERCHANT,
          (const char *[]){merchant->mchid, merchant->serial_no});
}

void report_host(struct report *report, const char *host)
{
    size_t endpoints;
    const struct endpoint *endpoint = endpoint_table(&endpoints);
    (void)metrics_series(report->metrics, METRIC_CALL_SECONDS, (const char *[]){host});
    /* increase() does not see a series that begins with 1. */
    (void)metrics_series(report->metrics, METRIC_FOREIGN_ANSWERS, (const char *[]){host});
    for (size_t i = 0; i < endpoints; i++) {
        for (enum answer_end end = 0; end < ANSWER_END_COUNT; end++) {
            (void)metrics_series(report->metrics, METRIC_CALLS,
                                 (const char *[]){endpoint[i].name, host, answer_end_name(end)});
        }
    }
}

static void set_expiry(struct report *report, const struct merchant *merchant, const char *kind,
                       const char *serial, int64_t not_after_ms)
{
    const char *labels[] = {merchant->mchid, kind, serial};
    metric_set(metrics_series(report->metrics, METRIC_CERTIFICATE_EXPIRY, labels),
               (double)not_after_ms / 1000);
}

void report_certificates(struct report *report)
{
    metrics_clear(report->metrics, METRIC_CERTIFICATE_EXPIRY);
    for (size_t i = 0; i < merchants_count(report->merchants); i++) {
        const struct merchant *merchant = merchants_at(report->merchants, i);
        struct verify_key room[MERCHANT_KEYS_MAX];
        size_t count;
        const struct verify_key *keys = merchant_keys(merchant, room, &count);
        if (merchant->certificate_not_after_ms != 0) {
            set_expiry(report, merchant, "merchant", merchant->serial_no,
                       merchant->certificate_not_after_ms);
        }
        for (size_t k = 0; k < count; k++) {
            if (keys[k].not_after_ms != INT64_MAX) {
                set_expiry(report, merchant, "platform", keys[k].serial, keys[k].not_after_ms);
            }
        }
    }
}

static struct metric_series *refresh_series(struct report *report, const struct merchant *merchant,
                                            enum refresh_end end)
{
    return metrics_series(report->metrics, METRIC_CERTIFICATE_REFRESHES,
                          (const char *[]){merchant->mchid, refresh_end_name(end)});
}

void report_refresh(struct report *report, const struct refresher_end *end)
{
    metric_add(refresh_series(report, end->merchant, end->verdict.end), 1);
    if (end->changed) {
        report_certificates(report);
    }
}

static void create_refresh_series(struct report *report, const struct merchant *merchant)
{
    for (int end = 0; merchant->platform_keys != NULL && end < REFRESH_END_COUNT; end++) {
        (void)refresh_series(report, merchant, (enum refresh_end)end);
    }
}

/* Of a merchant that had automatic certificates before this reload. */
static void remove_refresh_series(struct report *report, const struct merchants *fresh)
{
    size_t count = report->merchants == NULL ? 0 : merchants_count(report->merchants);
    for (size_t i = 0; i < count; i++) {
        const char *mchid = merchants_at(report->merchants, i)->mchid;
        const struct merchant *now = merchants_find(fresh, mchid);
        bool gone = now == NULL || now->platform_keys == NULL;
        for (int end = 0; gone && end < REFRESH_END_COUNT; end++) {
            const char *const labels[] = {mchid, refresh_end_name((enum refresh_end)end)};
            metrics_remove(report->metrics, METRIC_CERTIFICATE_REFRESHES, labels);
        }
    }
}

void report_merchants(struct report *report, struct merchants *merchants)
{
    remove_refresh_series(report, merchants);
    merchants_unref(report->merchants);
    report->merchants = merchants_ref(merchants);
    create_merchant_series(report, "other");
    for (size_t i = 0; i < merchants_count(merchants); i++) {
        const struct merchant *merchant = merchants_at(merchants, i);
        create_merchant_series(report, merchant->mchid);
        create_answer_series(report, merchant->mchid);
        watch_certificates(report, merchant);
        create_refresh_series(report, merchant);
        (void)metrics_series(report->metrics, METRIC_SIGNATURES_BY_MERCHANT,
                             (const char *[]){merchant->mchid, merchant->serial_no});
    }
    report_certificates(report);
}
