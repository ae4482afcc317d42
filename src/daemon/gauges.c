#include "daemon/gauges.h"

#include "presignd/base/mem.h"
#include "presignd/ops/process.h"
#include "presignd/wechatpay/endpoint.h"

#include <inttypes.h>
#include <stdio.h>

/* `label` NULL: the metric has none. */
static void set_value(struct metrics *metrics, enum metric metric, const char *label, double value)
{
    const char *const labels[] = {label};
    metric_set(metrics_series(metrics, metric, label == NULL ? NULL : labels), value);
}

static void set(struct metrics *metrics, enum metric metric, const char *label, int64_t value)
{
    set_value(metrics, metric, label, (double)value);
}

/* A gauge in seconds. */
static void set_ms(struct metrics *metrics, enum metric metric, const char *label, int64_t value_ms)
{
    set_value(metrics, metric, label, (double)value_ms / 1000);
}

/* Removes the series whose label values depend on assignments and reloads. */
static void clear(struct metrics *metrics)
{
    static const enum metric changing[] = {
        METRIC_WINDOW_USED,           METRIC_WINDOW_FULL,    METRIC_LAG,
        METRIC_PARTITION_STILL,       METRIC_MERCHANT_HELD,  METRIC_MERCHANT_CALLS,
        METRIC_MERCHANT_WAITING,      METRIC_MERCHANT_LIMIT, METRIC_HOST_OUTAGES,
        METRIC_MERCHANT_OLDEST_EVENT, METRIC_PAUSED,         METRIC_CERTIFICATE_LIST};
    for (size_t i = 0; i < ARRAY_LENGTH(changing); i++) {
        metrics_clear(metrics, changing[i]);
    }
}

static void set_partitions(struct metrics *metrics, const struct status *status)
{
    const struct status_partition *items = status->partitions.items;
    for (size_t i = 0; i < status->partitions.count; i++) {
        char name[24];
        snprintf(name, sizeof name, "%" PRId64, items[i].id);
        set(metrics, METRIC_WINDOW_USED, name, items[i].window_offsets);
        set(metrics, METRIC_WINDOW_FULL, name, items[i].full);
        set(metrics, METRIC_PARTITION_STILL, name,
            items[i].still_ms == STATUS_NONE ? 0 : items[i].still_ms / 1000);
        if (items[i].lag_records != STATUS_NONE) {
            set(metrics, METRIC_LAG, name, items[i].lag_records);
        }
    }
}

static void set_merchants(struct metrics *metrics, const struct status *status)
{
    const struct status_merchant *items = status->merchants.items;
    for (size_t i = 0; i < status->merchants.count; i++) {
        set(metrics, METRIC_MERCHANT_HELD, items[i].mchid, items[i].held);
        set(metrics, METRIC_MERCHANT_CALLS, items[i].mchid, items[i].calls_in_flight);
        set(metrics, METRIC_MERCHANT_LIMIT, items[i].mchid, items[i].calls_limit);
        set(metrics, METRIC_MERCHANT_WAITING, items[i].mchid, items[i].waiting);
        set_ms(metrics, METRIC_MERCHANT_OLDEST_EVENT, items[i].mchid, items[i].oldest_event_ms);
        if (items[i].certificates_at_ms != STATUS_NONE) {
            set_ms(metrics, METRIC_CERTIFICATE_LIST, items[i].mchid, items[i].certificates_at_ms);
        }
    }
}

static void set_paused(struct metrics *metrics, enum pause_scope scope, const char *name,
                       bool paused)
{
    const char *const labels[] = {pause_scope_name(scope), name};
    metric_set(metrics_series(metrics, METRIC_PAUSED, labels), paused);
}

/* All series are there from the start, so that instances can be compared. */
static void set_pauses(struct metrics *metrics, const struct status *status)
{
    const struct status_merchant *merchants = status->merchants.items;
    const struct status_pause *pauses = status->pauses.items;
    size_t endpoints;
    const struct endpoint *endpoint = endpoint_table(&endpoints);
    set_paused(metrics, PAUSE_ALL, "", false);
    for (size_t i = 0; i < endpoints; i++) {
        set_paused(metrics, PAUSE_ENDPOINT, endpoint[i].name, false);
    }
    for (size_t i = 0; i < status->merchants.count; i++) {
        set_paused(metrics, PAUSE_MERCHANT, merchants[i].mchid, false);
    }
    for (size_t i = 0; i < status->pauses.count; i++) {
        enum pause_scope scope;
        if (pause_scope_find(pauses[i].scope, &scope)) {
            set_paused(metrics, scope, pauses[i].name == NULL ? "" : pauses[i].name, true);
        }
    }
}

static void set_refused(struct metrics *metrics, const struct pipeline_status *pipeline)
{
    for (size_t topic = 0; topic < OUTPUT_TOPIC_COUNT; topic++) {
        for (size_t refusal = REFUSAL_NONE + 1; refusal < REFUSAL_COUNT; refusal++) {
            const char *const labels[] = {output_topic_name((enum output_topic)topic),
                                          refusal_row((enum refusal)refusal)->name};
            metric_set(metrics_series(metrics, METRIC_OUTCOMES_REFUSED, labels),
                       (double)pipeline->refused[topic][refusal]);
        }
    }
}

void gauges_set(struct metrics *metrics, const struct pipeline_status *pipeline,
                const struct status *status)
{
    for (enum job_state state = 0; state < JOB_STATE_COUNT; state++) {
        set(metrics, METRIC_JOBS, job_state_name(state), (int64_t)pipeline->jobs[state]);
    }
    set(metrics, METRIC_READY, NULL, status->process.ready);
    set(metrics, METRIC_ENDPOINT_UP, NULL, !pipeline->endpoint_down);
    set_refused(metrics, pipeline);
    set(metrics, METRIC_HELD, "endpoint_down", status->work.held_endpoint);
    set(metrics, METRIC_HELD, "merchant_unauthorized", status->work.held_merchants);
    set(metrics, METRIC_HELD, "unverified_answer", status->work.held_unverified);
    set(metrics, METRIC_HELD, "rate_limited", status->work.held_limited);
    set(metrics, METRIC_HELD, "paused", status->work.held_paused);
    set(metrics, METRIC_CALLS_IN_FLIGHT, NULL, status->work.calls_in_flight);
    set(metrics, METRIC_PARTITIONS, NULL, status->work.partitions);
    set(metrics, METRIC_JOBS_BYTES, NULL, status->work.bytes);
    set_ms(metrics, METRIC_OLDEST_EVENT, NULL, status->work.oldest_event_ms);
    set_ms(metrics, METRIC_SLO, NULL, status->work.slo_ms);
    metric_count_to(metrics_series(metrics, METRIC_LATE_EVENTS, NULL), (double)pipeline->late);
    set(metrics, METRIC_SIGNER_WAITING, NULL, status->work.signatures_waiting);
    clear(metrics);
    set_partitions(metrics, status);
    set_merchants(metrics, status);
    set_pauses(metrics, status);
    const struct status_host *hosts = status->hosts.items;
    for (size_t i = 0; i < status->hosts.count; i++) {
        set(metrics, METRIC_HOST_OUTAGES, hosts[i].name, hosts[i].outages);
    }
    process_measure(metrics);
}
