#include "daemon/report.h"

#include "presignd/base/list.h"
#include "presignd/base/log.h"
#include "presignd/base/log_ratelimit.h"
#include "presignd/base/map.h"
#include "presignd/flow/merchant_queue.h"
#include "presignd/kafka/clients.h"
#include "presignd/ops/messages.h"
#include "presignd/ops/process.h"
#include "presignd/version.h"
#include "presignd/wechatpay/endpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A merchant's holds that are told within a minute: one, and its end. */
#define HOLD_WORDS 2

/* What repeats is told for each merchant by itself: one that fails all the time hides no other's
 * trouble. There are as many as merchants were ever configured. */
struct voice {
    struct list_link link;
    char *mchid;
    struct log_ratelimit failures[REASON_COUNT];
    struct log_ratelimit refusals[OUTPUT_TOPIC_COUNT][REFUSAL_COUNT];
    struct log_ratelimit holds;
    bool held; /* as it is now, whatever was told */
};

struct report {
    struct map *voices; /* by mchid */
    struct list voice_list;
    struct metrics *metrics;
    struct history history;
    char *last_error;                 /* why transactions fail */
    int64_t last_error_ms;            /* mono: since when */
    bool failing[OUTPUT_TOPIC_COUNT]; /* those whose outcomes were in a transaction that failed */
    struct log_ratelimit last_errors;
    struct log_ratelimit foreign;
    int64_t shortage_ms; /* mono: when one was told last; 0: never */
    struct log_ratelimit failures[REASON_COUNT];
    struct log_ratelimit refusals[OUTPUT_TOPIC_COUNT][REFUSAL_COUNT];
};

/* A series that is there from the start: a rate over it needs the zero, or it would not see the
 * first of its kind. */
static void begin(struct metrics *metrics, enum metric metric, const char *label)
{
    (void)metrics_series(metrics, metric, (const char *[]){label});
}

static void begin_all(struct metrics *metrics)
{
    static const char *const reload_ends[] = {"applied", "refused"};
    static const char *const rebalances[] = {"assigned", "revoked", "lost"};
    size_t endpoints;
    const struct endpoint *endpoint = endpoint_table(&endpoints);
    for (enum reason reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
        begin(metrics, METRIC_FAILURES, reason_name(reason));
    }
    for (enum answer_kind kind = ANSWER_SUCCESS + 1; kind < ANSWER_KIND_COUNT; kind++) {
        begin(metrics, METRIC_RETRIES, reason_name(reason_of_answer(kind)));
    }
    for (enum transaction_verdict verdict = 0; verdict < TRANSACTION_VERDICT_COUNT; verdict++) {
        begin(metrics, METRIC_TRANSACTIONS, transaction_verdict_name(verdict));
    }
    for (size_t i = 0; i < endpoints; i++) {
        (void)metrics_series(metrics, METRIC_EVENTS,
                             (const char *[]){endpoint[i].name, "succeeded"});
        (void)metrics_series(metrics, METRIC_EVENTS, (const char *[]){endpoint[i].name, "failed"});
    }
    (void)metrics_series(metrics, METRIC_EVENTS, (const char *[]){"none", "failed"});
    for (size_t i = 0; i < ARRAY_LENGTH(reload_ends); i++) {
        begin(metrics, METRIC_RELOADS, reload_ends[i]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(rebalances); i++) {
        begin(metrics, METRIC_REBALANCES, rebalances[i]);
    }
    for (enum clients_renewal why = 0; why < CLIENTS_RENEWAL_COUNT; why++) {
        begin(metrics, METRIC_CLIENT_RENEWALS, clients_renewal_name(why));
    }
}

struct report *report_new(struct metrics *metrics)
{
    struct report *report = mem_zalloc(1, sizeof *report);
    report->metrics = metrics;
    report->voices = map_new();
    list_init(&report->voice_list);
    struct moment now = clock_now(&clock_system);
    metric_set(metrics_series(metrics, METRIC_BUILD_INFO, (const char *[]){PRESIGND_VERSION}), 1);
    metric_set(metrics_series(metrics, METRIC_START_TIME, NULL), (double)now.wall_ms / 1000);
    metric_set(metrics_series(metrics, METRIC_RELOAD_SUCCESSFUL, NULL), 1);
    begin_all(metrics);
    (void)metrics_series(metrics, METRIC_SHORTAGES, NULL);
    history_init(&report->history, now);
    return report;
}

struct report *report_free(struct report *report)
{
    if (report != NULL) {
        struct list_link *link;
        while ((link = list_pop_front(&report->voice_list)) != NULL) {
            struct voice *voice = CONTAINER_OF(link, struct voice, link);
            free(voice->mchid);
            free(voice);
        }
        map_free(report->voices);
        free(report->last_error);
        free(report);
    }
    return NULL;
}

const char *report_last_error(const struct report *report)
{
    return report->last_error;
}

int64_t report_last_error_ms(const struct report *report, int64_t mono_ms)
{
    return report->last_error == NULL ? 0 : mono_ms - report->last_error_ms;
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

/* --- what the pipeline observes --- */

static void note_foreign(struct report *report, const struct job *job)
{
    const struct answer *answer = &job->answer;
    count(report, METRIC_FOREIGN_ANSWERS, (const char *[]){answer->host});
    if (!log_ratelimit_allows(&report->foreign, LOG_RATELIMIT_LINES,
                              clock_now(&clock_system).mono_ms)) {
        return;
    }
    const struct log_field fields[] = {{"MCHID", job->admission.mchid},
                                       {"OUT_CONTRACT_CODE", job->admission.out_contract_code},
                                       {"REQUEST_ID", answer->request_id},
                                       {NULL, NULL}};
    log_fields(
        LOG_ERR, MESSAGE_FOREIGN_ANSWER, fields,
        "%s gave merchant %s an answer with an id that was accepted for another contract; it "
        "is called again on a new connection: look at what stands between",
        answer->host, job->admission.mchid);
}

/* Told once a minute: as long as it lasts, each call ends so. */
static void note_shortage(struct report *report)
{
    int64_t now_ms = clock_now(&clock_system).mono_ms;
    count(report, METRIC_SHORTAGES, NULL);
    if (report->shortage_ms == 0 || now_ms - report->shortage_ms >= LOG_RATELIMIT_MS) {
        report->shortage_ms = now_ms;
        log_fields(
            LOG_ERR, MESSAGE_DESCRIPTORS_SHORT, NULL,
            "no file descriptor is left for a connection: raise LimitNOFILE= of the unit, or "
            "lower endpoint.max_connections");
    }
}

static void on_called(void *context, const struct job *job)
{
    struct report *report = context;
    const struct answer *answer = &job->answer;
    count(report, METRIC_CALLS,
          (const char *[]){job->admission.mchid, endpoint_name(job), answer->host,
                           answer_kind_name(answer->kind)});
    metric_observe(
        metrics_series(report->metrics, METRIC_CALL_SECONDS, (const char *[]){answer->host}),
        (double)answer->duration_us / 1e6);
    if (answer->cause == ANSWER_CAUSE_FOREIGN) {
        note_foreign(report, job);
    } else if (answer->cause == ANSWER_CAUSE_SHORTAGE) {
        note_shortage(report);
    }
}

static void on_retrying(void *context, const struct job *job, enum reason reason)
{
    (void)job;
    count(context, METRIC_RETRIES, (const char *[]){reason_name(reason)});
}

/* A record's place, as fields have it. */
struct place {
    char partition[16], offset[24];
};

static void place_of(struct place *place, int32_t partition, int64_t offset)
{
    snprintf(place->partition, sizeof place->partition, "%" PRId32, partition);
    snprintf(place->offset, sizeof place->offset, "%" PRId64, offset);
}

/* NULL leaves the field out. */
static const char *given(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static struct voice *voice_of(struct report *report, const char *mchid)
{
    struct voice *voice = map_get(report->voices, mchid, strlen(mchid));
    if (voice == NULL) {
        voice = mem_zalloc(1, sizeof *voice);
        voice->mchid = mem_strdup(mchid);
        list_push_back(&report->voice_list, &voice->link);
        map_set(report->voices, mchid, strlen(mchid), voice);
    }
    return voice;
}

/* A merchant's first one of a minute, and the first few of all. `own`: NULL without merchant. */
static bool says(struct log_ratelimit *own, struct log_ratelimit *all)
{
    int64_t now_ms = clock_now(&clock_system).mono_ms;
    return (own != NULL && log_ratelimit_allows(own, 1, now_ms)) ||
           log_ratelimit_allows(all, LOG_RATELIMIT_LINES, now_ms);
}

static struct voice *voice_of_job(struct report *report, const struct job *job)
{
    return job->queue == NULL ? NULL : voice_of(report, job->queue->merchant->mchid);
}

static bool says_failure(struct report *report, const struct job *job)
{
    struct voice *voice = voice_of_job(report, job);
    return says(voice == NULL ? NULL : &voice->failures[job->reason],
                &report->failures[job->reason]);
}

/* A topic whose limit was lowered may refuse every outcome. */
static bool says_refusal(struct report *report, const struct job *job)
{
    enum output_topic topic = job_topic(job);
    struct voice *voice = voice_of_job(report, job);
    return says(voice == NULL ? NULL : &voice->refusals[topic][job->refusal],
                &report->refusals[topic][job->refusal]);
}

static void log_failure(struct report *report, const struct job *job)
{
    const struct admission *admission = &job->admission;
    struct place place;
    if (!says_failure(report, job)) {
        return;
    }
    place_of(&place, job->record.partition, job->record.offset);
    const struct log_field fields[] = {
        {"REASON", reason_name(job->reason)},
        {"ENDPOINT", endpoint_name(job)},
        {"MCHID", given(admission->mchid)},
        {"OUT_CONTRACT_CODE", given(admission->out_contract_code)},
        {"TOPIC", job->record.topic},
        {"PARTITION", place.partition},
        {"OFFSET", place.offset},
        {"REQUEST_ID", given(job->answer.request_id)},
        {NULL, NULL},
    };
    log_fields(LOG_INFO, MESSAGE_EVENT_FAILED, fields, "event %s/%s/%s failed: %s, attempts %u",
               job->record.topic, place.partition, place.offset, reason_name(job->reason),
               job->attempts);
}

/* What a merchant's holds came to that were not told one by one, and how it stands now. */
static void tell_holds(struct voice *voice, int64_t mono_ms)
{
    uint64_t more = log_ratelimit_suppressed(&voice->holds, mono_ms);
    const struct log_field fields[] = {{"MCHID", voice->mchid}, {NULL, NULL}};
    if (more > 0) {
        log_fields(voice->held ? LOG_ERR : LOG_NOTICE,
                   voice->held ? MESSAGE_MERCHANT_HELD : MESSAGE_MERCHANT_RECOVERED, fields,
                   "merchant %s was held or heard again %" PRIu64
                   " more times within a minute; now it is %s",
                   voice->mchid, more, voice->held ? "held" : "heard");
    }
}

static void tick_voices(struct report *report, int64_t mono_ms)
{
    LIST_FOREACH (&report->voice_list, link) {
        struct voice *voice = CONTAINER_OF(link, struct voice, link);
        for (enum reason reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
            (void)log_ratelimit_suppressed(&voice->failures[reason],
                                           mono_ms); /* counted with all others' */
        }
        for (size_t i = 0; i < ARRAY_LENGTH(voice->refusals); i++) {
            for (size_t k = 0; k < REFUSAL_COUNT; k++) {
                (void)log_ratelimit_suppressed(&voice->refusals[i][k], mono_ms);
            }
        }
        tell_holds(voice, mono_ms);
    }
}

static void tell_refusals(struct report *report, enum output_topic topic, enum refusal refusal,
                          int64_t mono_ms)
{
    const struct refusal_row *row = refusal_row(refusal);
    uint64_t more = log_ratelimit_suppressed(&report->refusals[topic][refusal], mono_ms);
    char count[24];
    if (more == 0) {
        return;
    }
    snprintf(count, sizeof count, "%" PRIu64, more);
    const struct log_field fields[] = {{"REFUSAL", row->name},
                                       {"OUTPUT", output_topic_name(topic)},
                                       {"COUNT", count},
                                       {NULL, NULL}};
    log_fields(LOG_ERR, MESSAGE_OUTCOME_REFUSED, fields,
               "%s more outcomes wait within a minute, since each %s (%s); %s", count, row->what,
               output_topic_name(topic), row->mend);
}

/* The failures that log_failure() did not log one by one. */
static void tell_failures(struct report *report, int64_t mono_ms)
{
    for (enum reason reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
        uint64_t more = log_ratelimit_suppressed(&report->failures[reason], mono_ms);
        if (more > 0) {
            char count[24];
            snprintf(count, sizeof count, "%" PRIu64, more);
            const struct log_field fields[] = {
                {"REASON", reason_name(reason)}, {"COUNT", count}, {NULL, NULL}};
            log_fields(
                LOG_INFO, MESSAGE_EVENTS_COUNTED, fields,
                "%s more events failed: %s; only the first %d per minute are logged one by one",
                count, reason_name(reason), LOG_RATELIMIT_LINES);
        }
    }
}

void report_tick(struct report *report, int64_t mono_ms)
{
    tick_voices(report, mono_ms);
    tell_failures(report, mono_ms);
    for (size_t topic = 0; topic < OUTPUT_TOPIC_COUNT; topic++) {
        for (size_t refusal = 0; refusal < REFUSAL_COUNT; refusal++) {
            tell_refusals(report, (enum output_topic)topic, (enum refusal)refusal, mono_ms);
        }
    }
    (void)log_ratelimit_suppressed(&report->foreign, mono_ms); /* the metric has the rest */
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
    if (failed) {
        count(report, METRIC_FAILURES, (const char *[]){reason_name(job->reason)});
        log_failure(report, job);
    }
    int64_t wall_ms = clock_now(&clock_system).wall_ms;
    history_published(&report->history, job->reason, wall_ms);
    if (job->record.timestamp_ms >= 0) {
        int64_t age_ms = wall_ms - job->record.timestamp_ms;
        metric_observe(metrics_series(report->metrics, METRIC_EVENT_SECONDS, NULL),
                       (double)(age_ms < 0 ? 0 : age_ms) / 1000);
    }
}

/* Told when it begins, when its cause changes, and when it is over; not each time. */
static void note_trouble(struct report *report, const char *last_error)
{
    bool changed = last_error == NULL || report->last_error == NULL
                       ? last_error != report->last_error
                       : strcmp(report->last_error, last_error) != 0;
    bool said = changed && log_ratelimit_allows(&report->last_errors, LOG_RATELIMIT_LINES,
                                                clock_now(&clock_system).mono_ms);
    if (said && last_error == NULL) {
        log_fields(LOG_NOTICE, MESSAGE_TRANSACTION_RECOVERED, NULL, "transactions succeed again");
    } else if (said) {
        log_fields(LOG_WARNING, MESSAGE_TRANSACTION_FAILED, NULL,
                   "a transaction failed, its outcomes are kept and published again: %s",
                   last_error);
    }
    if (report->last_error == NULL) {
        report->last_error_ms = clock_now(&clock_system).mono_ms;
    }
    free(report->last_error);
    report->last_error = mem_strdup(last_error);
}

/* A topic's trouble is over when a transaction with outcomes of that topic is well. True when it
 * is over for all of them. */
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
                        clock_now(&clock_system).wall_ms);
    count(report, METRIC_TRANSACTIONS, (const char *[]){transaction_verdict_name(end->verdict)});
    metric_observe(metrics_series(report->metrics, METRIC_TRANSACTION_SECONDS, NULL),
                   (double)end->duration_ms / 1000);
    if (end->verdict == TRANSACTION_RECORDS_REFUSED) {
        return; /* trouble of these records, and nothing was committed */
    }
    bool well = end->verdict == TRANSACTION_COMMITTED;
    bool over = note_topics(report, well, outcomes);
    if (!well) {
        note_trouble(report, end->last_error != NULL ? end->last_error : "no reason given");
    } else if (over) {
        note_trouble(report, NULL);
    }
}

static void on_merchant_held(void *context, const char *mchid, enum hold_why why, bool held)
{
    struct voice *voice = voice_of(context, mchid);
    const struct log_field fields[] = {{"MCHID", mchid}, {NULL, NULL}};
    voice->held = held;
    if (!log_ratelimit_allows(&voice->holds, HOLD_WORDS, clock_now(&clock_system).mono_ms)) {
        return;
    }
    if (!held) {
        log_fields(LOG_NOTICE, MESSAGE_MERCHANT_RECOVERED, fields, "merchant %s is heard again",
                   mchid);
    } else if (why == HOLD_WHY_UNVERIFIED) {
        log_fields(LOG_ERR, MESSAGE_MERCHANT_UNVERIFIED, fields,
                   "merchant %s has answers that no key here verifies and its events are held: "
                   "check its wechatpay_public_key and wechatpay_public_key_id, or "
                   "platform_certificates, and this machine's clock",
                   mchid);
    } else {
        log_fields(LOG_ERR, MESSAGE_MERCHANT_HELD, fields,
                   "merchant %s is answered 401 and its events are held: check its private_key, "
                   "serial_no and this machine's clock",
                   mchid);
    }
}

/* Each has a line of its own as any failure has, when its outcome is committed. */
static void on_relieved(void *context, const struct job *job)
{
    count(context, METRIC_RELIEVED, (const char *[]){job->admission.mchid});
}

static void on_endpoint_down(void *context, bool down)
{
    (void)context;
    if (down) {
        log_fields(LOG_ERR, MESSAGE_ENDPOINT_DOWN, NULL,
                   "the endpoint is down; events are held and it is probed");
    } else {
        log_fields(LOG_NOTICE, MESSAGE_ENDPOINT_UP, NULL, "the endpoint answers again");
    }
}

static void on_metadata_unreadable(void *context, int32_t partition)
{
    (void)context;
    struct place place;
    place_of(&place, partition, 0);
    const struct log_field fields[] = {{"PARTITION", place.partition}, {NULL, NULL}};
    log_fields(LOG_WARNING, MESSAGE_METADATA_UNREADABLE, fields,
               "partition %" PRId32 ": the committed metadata is not presignd's; events done "
               "above the committed offset are called again",
               partition);
}

static void on_log_restarted(void *context, int32_t partition, int64_t offset)
{
    (void)context;
    struct place place;
    place_of(&place, partition, offset);
    const struct log_field fields[] = {
        {"PARTITION", place.partition}, {"OFFSET", place.offset}, {NULL, NULL}};
    log_fields(LOG_WARNING, MESSAGE_LOG_RESTARTED, fields,
               "partition %" PRId32 ": its log begins anew at offset %" PRId64
               ", below what was committed; was the topic made anew?",
               partition, offset);
}

static void on_outcome_refused(void *context, const struct job *job, const char *last_error)
{
    const struct refusal_row *row = refusal_row(job->refusal);
    struct place place;
    if (!says_refusal(context, job)) {
        return;
    }
    place_of(&place, job->record.partition, job->record.offset);
    const struct log_field fields[] = {
        {"REFUSAL", row->name},
        {"OUTPUT", output_topic_name(job_topic(job))},
        {"MCHID", given(job->admission.mchid)},
        {"OUT_CONTRACT_CODE", given(job->admission.out_contract_code)},
        {"TOPIC", job->record.topic},
        {"PARTITION", place.partition},
        {"OFFSET", place.offset},
        {NULL, NULL}};
    log_fields(LOG_ERR, MESSAGE_OUTCOME_REFUSED, fields,
               "the outcome of event %s/%s/%s %s (%s) and waits; %s%s%s", job->record.topic,
               place.partition, place.offset, row->what, output_topic_name(job_topic(job)),
               row->mend, last_error != NULL ? ": " : "", last_error != NULL ? last_error : "");
}

/* Of a topic, or of one of its partitions. */
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
                                       {"PARTITION", given(number)},
                                       {NULL, NULL}};
    if (shut) {
        log_fields(LOG_ERR, MESSAGE_OUTPUT_UNAVAILABLE, fields,
                   "%s %s, its outcomes wait and all others go on; %s%s%s", subject, row->what,
                   row->mend, last_error != NULL ? ": " : "", last_error != NULL ? last_error : "");
    } else {
        log_fields(LOG_NOTICE, MESSAGE_OUTPUT_AVAILABLE, fields, "%s takes outcomes again",
                   subject);
    }
}

static void on_output_shut(void *context, enum output_topic topic, int32_t partition,
                           enum refusal refusal, const char *last_error)
{
    (void)context;
    output_log(topic, partition, refusal, true, last_error);
}

static void on_output_open(void *context, enum output_topic topic, int32_t partition,
                           enum refusal refusal)
{
    (void)context;
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
        .relieved = on_relieved,
        .endpoint_down = on_endpoint_down,
        .metadata_unreadable = on_metadata_unreadable,
        .log_restarted = on_log_restarted,
        .outcome_refused = on_outcome_refused,
        .output_shut = on_output_shut,
        .output_open = on_output_open,
    };
}

void report_reload(struct report *report, bool applied, const char *problems)
{
    count(report, METRIC_RELOADS, (const char *[]){applied ? "applied" : "refused"});
    metric_set(metrics_series(report->metrics, METRIC_RELOAD_SUCCESSFUL, NULL), applied);
    history_reload(&report->history, applied, problems, clock_now(&clock_system).wall_ms);
}

/* --- gauges --- */

static void set(struct report *report, enum metric metric, const char *label, int64_t value)
{
    metric_set(metrics_series(report->metrics, metric, (const char *[]){label}), (double)value);
}

/* Label values come and go with assignments, reloads and the like. */
static void clear(struct report *report)
{
    static const enum metric those[] = {
        METRIC_WINDOW_USED,      METRIC_WINDOW_FULL,    METRIC_LAG,
        METRIC_PARTITION_STILL,  METRIC_MERCHANT_HELD,  METRIC_MERCHANT_CALLS,
        METRIC_MERCHANT_WAITING, METRIC_MERCHANT_LIMIT, METRIC_HOST_OUTAGES};
    for (size_t i = 0; i < ARRAY_LENGTH(those); i++) {
        metrics_clear(report->metrics, those[i]);
    }
}

static void set_partitions(struct report *report, const struct status *status)
{
    const struct status_partition *items = status->partitions.items;
    for (size_t i = 0; i < status->partitions.count; i++) {
        char name[24];
        snprintf(name, sizeof name, "%" PRId64, items[i].id);
        set(report, METRIC_WINDOW_USED, name, items[i].window_offsets);
        set(report, METRIC_WINDOW_FULL, name, items[i].full);
        set(report, METRIC_PARTITION_STILL, name,
            items[i].still_ms == STATUS_NONE ? 0 : items[i].still_ms / 1000);
        if (items[i].lag_records != STATUS_NONE) {
            set(report, METRIC_LAG, name, items[i].lag_records);
        }
    }
}

static void set_merchants(struct report *report, const struct status *status)
{
    const struct status_merchant *items = status->merchants.items;
    for (size_t i = 0; i < status->merchants.count; i++) {
        set(report, METRIC_MERCHANT_HELD, items[i].mchid, items[i].held);
        set(report, METRIC_MERCHANT_CALLS, items[i].mchid, items[i].calls_in_flight);
        set(report, METRIC_MERCHANT_LIMIT, items[i].mchid, items[i].calls_limit);
        set(report, METRIC_MERCHANT_WAITING, items[i].mchid, items[i].waiting);
    }
}

static void set_refused(struct report *report, const struct pipeline_status *pipeline)
{
    for (size_t topic = 0; topic < OUTPUT_TOPIC_COUNT; topic++) {
        for (size_t refusal = REFUSAL_NONE + 1; refusal < REFUSAL_COUNT; refusal++) {
            const char *const labels[] = {output_topic_name((enum output_topic)topic),
                                          refusal_row((enum refusal)refusal)->name};
            metric_set(metrics_series(report->metrics, METRIC_OUTCOMES_REFUSED, labels),
                       (double)pipeline->refused[topic][refusal]);
        }
    }
}

void report_gauges(struct report *report, const struct pipeline_status *pipeline,
                   const struct status *status)
{
    for (enum job_state state = 0; state < JOB_STATE_COUNT; state++) {
        set(report, METRIC_JOBS, job_state_name(state), (int64_t)pipeline->jobs[state]);
    }
    set(report, METRIC_READY, NULL, status->process.ready);
    set(report, METRIC_ENDPOINT_UP, NULL, !pipeline->endpoint_down);
    set_refused(report, pipeline);
    set(report, METRIC_HELD, "endpoint_down", status->work.held_endpoint);
    set(report, METRIC_HELD, "merchant_unauthorized", status->work.held_merchants);
    set(report, METRIC_HELD, "unverified_answer", status->work.held_unverified);
    set(report, METRIC_HELD, "rate_limited", status->work.held_limited);
    set(report, METRIC_CALLS_IN_FLIGHT, NULL, status->work.calls_in_flight);
    set(report, METRIC_PARTITIONS, NULL, status->work.partitions);
    set(report, METRIC_JOBS_BYTES, NULL, status->work.bytes);
    set(report, METRIC_SIGNER_WAITING, NULL, status->work.signatures_waiting);
    clear(report);
    set_partitions(report, status);
    set_merchants(report, status);
    const struct status_host *hosts = status->hosts.items;
    for (size_t i = 0; i < status->hosts.count; i++) {
        set(report, METRIC_HOST_OUTAGES, hosts[i].name, hosts[i].outages);
    }
    process_measure(report->metrics);
}

void report_merchants(struct report *report, const struct merchants *merchants)
{
    metrics_clear(report->metrics, METRIC_CERTIFICATE_EXPIRY);
    for (size_t i = 0; i < merchants_count(merchants); i++) {
        const struct merchant *merchant = merchants_at(merchants, i);
        for (size_t k = 0; k < merchant->verify_key_count; k++) {
            const struct verify_key *key = &merchant->verify_keys[k];
            if (key->not_after_ms != INT64_MAX) {
                const char *labels[] = {merchant->mchid, key->serial};
                metric_set(metrics_series(report->metrics, METRIC_CERTIFICATE_EXPIRY, labels),
                           (double)key->not_after_ms / 1000);
            }
        }
    }
}
