#include "daemon/snapshot.h"

#include "daemon/attention.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/flow/merchant_queue.h"
#include "presignd/flow/partitions.h"
#include "presignd/flow/progress.h"
#include "presignd/kafka/library.h"
#include "presignd/version.h"

#include <openssl/crypto.h>

/* Converts a monotonic time to wall-clock time; below 0: never. */
static int64_t wall_of(struct moment now, int64_t mono_ms)
{
    return mono_ms < 0 ? STATUS_NONE : now.wall_ms + (mono_ms - now.mono_ms);
}

/* The age of the oldest event; 0: there is none, or its timestamp is in the future. */
static int64_t age_of(struct moment now, int64_t oldest_ms)
{
    return oldest_ms < now.wall_ms ? now.wall_ms - oldest_ms : 0;
}

static void take_process(const struct snapshot_sources *from, bool all_paused, struct moment now,
                         struct status *status)
{
    const struct config *config = from->setup->config;
    status->process.ready = from->unready == NULL;
    status->process.state = from->blocking != NULL  ? from->blocking
                            : from->unready != NULL ? from->unready
                            : all_paused            ? "paused"
                                                    : "ready";
    status->process.drain_left = from->drain_left;
    status->process.instance = config->daemon.instance;
    status->process.delivery = delivery_name(setup_delivery(from->setup));
    status->process.sign_process = !config->daemon.sign_process ? "no"
                                   : from->unconfined           ? "yes, without Landlock"
                                                                : "yes";
    status->process.sign_backend = sign_backend_name(signer_backend(from->signer));
    status->process.sign_faults =
        (int64_t)(signer_mistakes(from->signer) + batch_verifier_mistakes(from->verifier));
    status->process.version = PRESIGND_VERSION;
    status->process.librdkafka = library_version();
    status->process.openssl = OpenSSL_version(OPENSSL_VERSION_STRING);
    status->process.log_level = log_level_name(log_level_get());
    status->process.log_level_until_ms =
        from->log_level_until_ms == 0 ? STATUS_NONE : from->log_level_until_ms;
    status->process.state_dir = from->state_works;
    status->process.at_ms = now.wall_ms;
    status->process.started_ms = from->history->started.wall_ms;
    status->process.uptime_ms = now.mono_ms - from->history->started.mono_ms;
    status->process.cluster = consumer_cluster_id(from->consumer);
    status->process.group = consumer_group_id(from->consumer);
    status->process.requests_topic = config->daemon.requests_topic;
    status->process.results_topic = config->daemon.results_topic;
    status->process.failures_topic = config->daemon.failures_topic;
}

static void take_work(const struct snapshot_sources *from, const struct pipeline_status *pipeline,
                      struct moment now, struct status *status)
{
    static const struct complete_identity nobody;
    const size_t *jobs = pipeline->jobs;
    status->work.partitions = (int64_t)pipeline->partitions;
    status->work.calls_in_flight = (int64_t)pipeline->in_flight;
    status->work.calls_max = setup_rules(from->setup, &nobody).limits.in_flight;
    status->work.waiting = (int64_t)(jobs[JOB_WAITING] + jobs[JOB_PAUSED]);
    status->work.blocked = (int64_t)jobs[JOB_BLOCKED];
    status->work.retry = (int64_t)jobs[JOB_RETRY];
    status->work.completed = (int64_t)(jobs[JOB_COMPLETED] + jobs[JOB_PUBLISHING]);
    status->work.refused = (int64_t)jobs[JOB_REFUSED];
    status->work.held_endpoint = (int64_t)pipeline->held[HOLD_WHY_ENDPOINT];
    status->work.held_merchants = (int64_t)pipeline->held[HOLD_WHY_UNAUTHORIZED];
    status->work.held_unverified =
        (int64_t)(pipeline->held[HOLD_WHY_UNVERIFIED] + pipeline->held[HOLD_WHY_KEYLESS]);
    status->work.held_limited = (int64_t)pipeline->held[HOLD_WHY_RATE_LIMITED];
    status->work.held_paused = (int64_t)pipeline->held[HOLD_WHY_PAUSED];
    status->work.signatures_waiting = (int64_t)signer_waiting(from->signer);
    status->work.oldest_event_ms = age_of(now, pipeline->oldest_ms);
    status->work.late = (int64_t)pipeline->late;
    status->work.slo_ms = from->setup->config->daemon.slo_ms;
    status->work.clock_offset_ms = from->clock_offset_ms;
    status->work.bytes = (int64_t)pipeline->bytes;
    status->work.records = from->records;
    status->work.succeeded = from->history->succeeded;
    status->work.failed = from->history->failed;
    status->work.newest_outcomes = history_newest(from->history, now.wall_ms);
    status->work.newest_unverified =
        history_newest_calls(from->history, HISTORY_UNVERIFIED, now.wall_ms);
    status->work.newest_foreign = history_newest_calls(from->history, HISTORY_FOREIGN, now.wall_ms);
    status->work.newest_shortages =
        history_newest_calls(from->history, HISTORY_SHORTAGE, now.wall_ms);
    const char *subscription = consumer_subscription_error(from->consumer);
    status->work.kafka_last_error =
        subscription != NULL ? subscription : consumer_last_error(from->consumer);
    status->work.transaction_last_error = from->transaction_last_error;
}

/* The lag in offsets. The committed offset does not pass transaction markers after the last record,
 * so a partition without unfinished records counts as 0. */
static int64_t lag_of(const struct snapshot_sources *from, const struct partition *partition)
{
    const struct window *window = &partition->window;
    int64_t end = consumer_end_offset(from->consumer, partition->id);
    if (end < 0 || window->base_offset < 0) {
        return STATUS_NONE;
    }
    bool idle = list_empty(&partition->jobs) && consumer_at_end(from->consumer, partition->id);
    return idle ? 0 : end - window->base_offset;
}

static void take_partition(const struct snapshot_sources *from, const struct partition *partition,
                           bool all_paused, struct status_partition *out)
{
    const struct window *window = &partition->window;
    *out = (struct status_partition){
        .id = partition->id,
        .base_offset = window->base_offset >= 0 ? window->base_offset : STATUS_NONE,
        .lag_records = lag_of(from, partition),
        .unfinished = (int64_t)(partition->jobs.count - partition->overflow.count),
        .window_offsets = (int64_t)window_used(window),
        .full = partition->full,
        .still_ms = STATUS_NONE,
        .paused = all_paused           ? "everything is paused"
                  : !partition->paused ? NULL
                  : !partition->full   ? "the in-flight limit is reached"
                  : window->span == 0  ? "the broker takes too little offset metadata"
                  : window_room(window) < window_resume(window)
                      ? "its window is full: the event at the base offset does not end"
                      : "its share of the memory is full: its unfinished events do not end",
    };
}

static void take_oldest(const struct snapshot_sources *from, size_t index,
                        struct status_partition *out)
{
    struct progress_oldest oldest;
    if (progress_oldest(from->pipeline, index, &oldest)) {
        out->still_ms = oldest.stalled_ms;
        out->oldest_state = oldest.state;
        out->oldest_mchid = oldest.mchid;
    }
}

static void take_partitions(const struct snapshot_sources *from, bool all_paused,
                            struct status *status)
{
    size_t count = (size_t)status->work.partitions;
    struct status_partition *items = mem_zalloc(count, sizeof *items);
    status->partitions = (struct status_list){.items = items, .count = count};
    for (size_t i = 0; i < count; i++) {
        take_partition(from, pipeline_partition(from->pipeline, i), all_paused, &items[i]);
        take_oldest(from, i, &items[i]);
        status->work.lag_records += items[i].lag_records > 0 ? items[i].lag_records : 0;
    }
}

/* A merchant has no queue before its first event. */
static void take_queue(const struct snapshot_sources *from, const struct merchant_queue *queue,
                       struct moment now, struct status_merchant *out)
{
    const struct hold *hold = pipeline_hold(from->pipeline);
    int64_t until_ms = hold_until_ms(hold, &queue->hold);
    out->calls_in_flight = queue->in_flight;
    out->calls_limit = (int64_t)queue->limit;
    out->waiting = (int64_t)(merchant_queue_waiting(queue) + queue->paused);
    out->state = hold_state_name(hold, &queue->hold);
    out->oldest_event_ms = age_of(now, merchant_queue_oldest_ms(queue));
    out->held = hold_is_held(&queue->hold);
    out->why = hold_why(hold, &queue->hold);
    out->since_ms =
        queue->hold.state != HOLD_OPEN ? wall_of(now, queue->hold.since_ms) : STATUS_NONE;
    out->held_until_ms = until_ms != INT64_MAX ? wall_of(now, until_ms) : STATUS_NONE;
    if (queue->last_answer != ANSWER_KIND_COUNT) {
        out->last_answer = answer_kind_name(queue->last_answer);
        out->last_answer_at_ms = wall_of(now, queue->last_answer_ms);
    }
}

static void take_verified(const struct snapshot_sources *from, struct moment now,
                          struct status_merchant *out)
{
    const struct verified_merchant *verified = verified_find(from->verified, out->mchid);
    out->certificate_answers_ms = STATUS_NONE;
    if (verified == NULL) {
        return;
    }
    out->verified_by = verified->any ? verify_kind_name(verified->by) : NULL;
    if (verified->certificate_ms != 0) {
        int64_t age_ms = now.wall_ms - verified->certificate_ms;
        out->certificate_answers_ms = age_ms < 0 ? 0 : age_ms; /* the clock was set back */
    }
}

static void take_refresh(const struct snapshot_sources *from, struct status_merchant *item)
{
    struct refresher_state state = {0};
    (void)refresher_state(from->refresher, item->mchid, &state);
    item->certificates_at_ms = state.list_ms > 0 ? state.list_ms : STATUS_NONE;
    item->certificates_trouble = state.fault;
}

static void take_merchants(const struct snapshot_sources *from, struct moment now,
                           struct status *status)
{
    size_t count = merchants_count(from->setup->merchants);
    struct status_merchant *items = mem_zalloc(count, sizeof *items);
    status->merchants = (struct status_list){.items = items, .count = count};
    for (size_t i = 0; i < count; i++) {
        const struct merchant *merchant = merchants_at(from->setup->merchants, i);
        const struct merchant_queue *queue = pipeline_queue(from->pipeline, merchant->mchid);
        items[i] = (struct status_merchant){
            .mchid = merchant->mchid,
            .mode = merchant_mode_name(merchant->mode),
            .calls_limit = merchant->max_in_flight,
            .rate_per_s = merchant->rate_per_s > 0 ? merchant->rate_per_s : STATUS_NONE,
            .state = "open",
            .why = HOLD_WHY_NONE,
            .since_ms = STATUS_NONE,
            .held_until_ms = STATUS_NONE,
            .last_answer_at_ms = STATUS_NONE,
            .serial_no = merchant->serial_no,
            .key_sha256 = merchant->key_sha256,
            .key_from = merchant->key_is_credential ? "credential" : "file",
            .certificate_expires_ms = merchant->certificate_not_after_ms != 0
                                          ? merchant->certificate_not_after_ms
                                          : STATUS_NONE,
        };
        take_verified(from, now, &items[i]);
        take_refresh(from, &items[i]);
        if (queue != NULL) {
            take_queue(from, queue, now, &items[i]);
        }
        if (pipeline_is_paused(from->pipeline, merchant->mchid)) {
            items[i].state = "paused";
        }
    }
}

static void take_keys(const struct snapshot_sources *from, struct status *status)
{
    size_t merchants = merchants_count(from->setup->merchants);
    struct status_key *items = mem_zalloc(merchants * MERCHANT_KEYS_MAX, sizeof *items);
    status->keys = (struct status_list){.items = items};
    for (size_t i = 0; i < merchants; i++) {
        const struct merchant *merchant = merchants_at(from->setup->merchants, i);
        struct verify_key room[MERCHANT_KEYS_MAX];
        size_t count;
        const struct verify_key *keys = merchant_keys(merchant, room, &count);
        for (size_t k = 0; k < count; k++) {
            const struct verify_key *key = &keys[k];
            bool expires = key->not_after_ms != INT64_MAX;
            items[status->keys.count++] = (struct status_key){
                .mchid = merchant->mchid,
                .id = key->serial,
                .kind = expires ? "certificate" : "public key",
                .expires_ms = expires ? key->not_after_ms : STATUS_NONE,
            };
        }
    }
}

static int64_t host_health(const struct hold *hold, const struct hold_circuit *circuit)
{
    return hold_down(hold)                                       ? ATTENTION_HOST_DOWN
           : circuit->broken || circuit->outages >= HOLD_OUTAGES ? ATTENTION_HOST_FAILS
                                                                 : ATTENTION_HOST_WELL;
}

static void take_hosts(const struct snapshot_sources *from, struct moment now,
                       struct status *status)
{
    const struct hold *hold = pipeline_hold(from->pipeline);
    size_t count = caller_host_count(from->caller);
    struct status_host *items = mem_zalloc(count, sizeof *items);
    status->hosts = (struct status_list){.items = items, .count = count};
    for (unsigned i = 0; i < count && i < hold->rules.host_count; i++) {
        const struct hold_host *host = &hold->hosts[i];
        items[i] = (struct status_host){
            .name = caller_host_name(from->caller, i),
            .state = hold_down(hold)                         ? "down, probed"
                     : host->circuit.broken                  ? "broken, probed"
                     : host->circuit.outages >= HOLD_OUTAGES ? "fails"
                     : host->answered_ms >= 0                ? "answers"
                                                             : "not asked yet",
            .outages = host->circuit.outages,
            .last_answer_at_ms = wall_of(now, host->answered_ms),
            .health = host_health(hold, &host->circuit),
            .since_ms = host->circuit.broken ? wall_of(now, host->circuit.since_ms) : STATUS_NONE,
        };
    }
}

static void take_pauses(const struct snapshot_sources *from, struct status *status)
{
    const struct pauses *pauses = pipeline_pauses(from->pipeline);
    struct status_pause *items = mem_zalloc(pauses->count, sizeof *items);
    status->pauses = (struct status_list){.items = items, .count = pauses->count};
    for (size_t i = 0; i < pauses->count; i++) {
        const struct pause *pause = &pauses->items[i];
        items[i] = (struct status_pause){
            .scope = pause_scope_name(pause->scope),
            .name = text_or_null(pause->name),
            .events = (int64_t)pipeline_pause_events(from->pipeline, pause),
            .since_ms = pause->since_ms,
            .until_ms = pause->until_ms == 0 ? STATUS_NONE : pause->until_ms,
            .persist = pause->persist,
            .by = text_or_null(pause->by),
            .note = text_or_null(pause->note),
        };
    }
}

/* The worst finding of each check. */
static void take_preflight(const struct snapshot_sources *from, struct status *status)
{
    struct status_preflight *items = mem_zalloc(PREFLIGHT_CHECKS, sizeof *items);
    status->preflight = (struct status_list){.items = items};
    for (enum preflight_check check = 0; check < PREFLIGHT_CHECKS; check++) {
        const struct preflight_finding *worst = preflight_worst(from->preflight, check);
        if (worst != NULL) {
            items[status->preflight.count++] = (struct status_preflight){
                .check = preflight_row(check)->name,
                .ok = worst->state == PREFLIGHT_UNKNOWN ? STATUS_NONE
                                                        : worst->state == PREFLIGHT_PASSED,
                .is = worst->is,
                .mend = text_or_null(worst->mend),
            };
        }
    }
}

static void take_kafka(const struct snapshot_sources *from, struct status *status)
{
    const struct brokers_view *brokers = from->brokers;
    status->kafka.brokers_up = (int64_t)brokers->up;
    status->kafka.brokers_known = (int64_t)brokers->known;
    status->kafka.brokers_lost = (int64_t)brokers->lost;
    status->kafka.rtt_ms = brokers->rtt_us > 0 ? brokers->rtt_us / 1000 : STATUS_NONE;
}

static void take_reload(const struct snapshot_sources *from, struct status *status)
{
    const struct reload_status *reload = from->reload;
    bool any = reload->count > 0;
    status->reload.at_ms = any ? reload->at_ms : STATUS_NONE;
    status->reload.applied = any ? reload->ok : STATUS_NONE;
    status->reload.text = reload->error_count > 0 ? reload->errors[0] : NULL;
}

static void take_reload_errors(const struct snapshot_sources *from, struct status *status)
{
    const struct reload_status *reload = from->reload;
    struct status_reload_error *items = mem_zalloc(reload->error_count, sizeof *items);
    for (size_t i = 0; i < reload->error_count; i++) {
        items[i].text = reload->errors[i];
    }
    status->reload_errors = (struct status_list){.items = items, .count = reload->error_count};
}

void snapshot_take(const struct snapshot_sources *sources, struct moment now, struct status *status)
{
    struct pipeline_status pipeline;
    pipeline_status(sources->pipeline, &pipeline);
    *status = (struct status){0};
    take_process(sources, pipeline.all_paused, now, status);
    take_work(sources, &pipeline, now, status);
    take_partitions(sources, pipeline.all_paused, status);
    take_merchants(sources, now, status);
    take_keys(sources, status);
    take_hosts(sources, now, status);
    take_pauses(sources, status);
    take_preflight(sources, status);
    take_reload(sources, status);
    take_kafka(sources, status);
    take_reload_errors(sources, status);
    history_failures(sources->history, now.wall_ms, &status->failures);
    history_transactions(sources->history, &status->transactions);
    attention_take(status);
}
