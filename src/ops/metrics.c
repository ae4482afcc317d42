/* Metrics: descriptors in one table, their series in maps, the text format at the end.
 *
 * Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text, 0.0.4).
 */
#include "presignd/ops/metrics.h"

#include "presignd/base/map.h"
#include "presignd/base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { COUNTER, GAUGE, HISTOGRAM };

struct descriptor {
    const char *name;
    enum kind kind;
    const char *unit; /* NULL: a count of things that the name tells */
    const char *labels[METRIC_LABELS_MAX + 1];
    const char *help;
};

static const struct descriptor table[METRIC_COUNT] = {
    [METRIC_EVENTS] = {"presignd_events_total",
                       COUNTER,
                       NULL,
                       {"endpoint", "outcome"},
                       "Events settled and published, by outcome: succeeded or failed."},
    [METRIC_FAILURES] =
        {"presignd_failures_total", COUNTER, NULL, {"reason"}, "Failure records, by reason."},
    [METRIC_RELIEVED] = {"presignd_events_relieved_total",
                         COUNTER,
                         NULL,
                         {"mchid"},
                         "Events of a held merchant that ended early, to make room for others' in "
                         "their partition."},
    [METRIC_CALLS] = {"presignd_calls_total",
                      COUNTER,
                      NULL,
                      {"mchid", "endpoint", "host", "answer"},
                      "Calls made, by how they ended."},
    [METRIC_CALL_SECONDS] = {"presignd_call_duration_seconds",
                             HISTOGRAM,
                             "seconds",
                             {"host"},
                             "Time of a call, from its start to the end of its answer."},
    [METRIC_RETRIES] = {"presignd_retries_total",
                        COUNTER,
                        NULL,
                        {"reason"},
                        "Attempts that will be made again, by reason."},
    [METRIC_FOREIGN_ANSWERS] = {"presignd_foreign_answers_total",
                                COUNTER,
                                NULL,
                                {"host"},
                                "Rightly signed answers with an id that was accepted for another "
                                "merchant or contract. Nothing of them is published."},
    [METRIC_SHORTAGES] = {"presignd_descriptor_shortages_total",
                          COUNTER,
                          NULL,
                          {NULL},
                          "Calls not sent because this process had no file descriptor left."},
    [METRIC_CALLS_IN_FLIGHT] =
        {"presignd_calls_in_flight", GAUGE, NULL, {NULL}, "Calls in the air."},
    [METRIC_JOBS] = {"presignd_jobs", GAUGE, NULL, {"state"}, "Events in hand, by state."},
    [METRIC_HELD] = {"presignd_held_events",
                     GAUGE,
                     NULL,
                     {"why"},
                     "Events that wait for a merchant or an endpoint to come back."},
    [METRIC_OUTCOMES_REFUSED] =
        {"presignd_refused_outcomes",
         GAUGE,
         NULL,
         {"output", "refusal"},
         "Outcomes that wait because their topic (output: results, failures) or their partition "
         "does "
         "not take them. The refusal names what has to change: size: max.message.bytes; record: "
         "cleanup.policy; timestamp: message.timestamp.*; no_leader, no_replicas, silent: brokers; "
         "no_topic, no_right, format: the topic as a whole."},
    [METRIC_WINDOW_USED] = {"presignd_partition_window_offsets",
                            GAUGE,
                            "offsets",
                            {"partition"},
                            "Offsets between the watermark and the newest record in hand."},
    [METRIC_LAG] = {"presignd_partition_lag_records",
                    GAUGE,
                    "records",
                    {"partition"},
                    "Records of the partition that are not settled yet."},
    [METRIC_TRANSACTIONS] = {"presignd_transactions_total",
                             COUNTER,
                             NULL,
                             {"end"},
                             "Kafka transactions, by how they ended."},
    [METRIC_TRANSACTION_SECONDS] = {"presignd_transaction_duration_seconds",
                                    HISTOGRAM,
                                    "seconds",
                                    {NULL},
                                    "Time of a Kafka transaction, from begin to commit."},
    [METRIC_EVENT_SECONDS] = {"presignd_event_duration_seconds",
                              HISTOGRAM,
                              "seconds",
                              {NULL},
                              "Time from a record's timestamp to its outcome's commit."},
    [METRIC_WINDOW_FULL] = {"presignd_partition_window_full",
                            GAUGE,
                            NULL,
                            {"partition"},
                            "1 while the partition is not read because its window, or its "
                            "share of the memory, is full."},
    [METRIC_PARTITIONS] = {"presignd_partitions",
                           GAUGE,
                           NULL,
                           {NULL},
                           "Partitions that are assigned to this process; 0 for a standby."},
    [METRIC_PARTITION_STILL] = {"presignd_partition_still_seconds",
                                GAUGE,
                                "seconds",
                                {"partition"},
                                "Since the partition's watermark moved, with events in hand; 0 "
                                "without. /status names the event that keeps it."},
    [METRIC_JOBS_BYTES] = {"presignd_jobs_bytes",
                           GAUGE,
                           "bytes",
                           {NULL},
                           "Memory of the events in hand, with their requests and outcomes."},
    [METRIC_SIGNER_WAITING] = {"presignd_signatures_waiting",
                               GAUGE,
                               NULL,
                               {NULL},
                               "Requests that wait for their signature."},
    [METRIC_MERCHANT_HELD] = {"presignd_merchant_held",
                              GAUGE,
                              NULL,
                              {"mchid"},
                              "1 while the merchant is held, because it was answered 401 or "
                              "because no key verifies its answers."},
    [METRIC_MERCHANT_CALLS] = {"presignd_merchant_calls_in_flight",
                               GAUGE,
                               NULL,
                               {"mchid"},
                               "Calls of the merchant in the air."},
    [METRIC_MERCHANT_LIMIT] =
        {"presignd_merchant_calls_limit",
         GAUGE,
         NULL,
         {"mchid"},
         "Most calls of the merchant in the air; 429 lowers it, successes raise it again."},
    [METRIC_MERCHANT_WAITING] = {"presignd_merchant_waiting_events",
                                 GAUGE,
                                 NULL,
                                 {"mchid"},
                                 "Events that wait for the merchant, or for a place in the air."},
    [METRIC_ENDPOINT_UP] = {"presignd_endpoint_up",
                            GAUGE,
                            NULL,
                            {NULL},
                            "0 while no host of WeChat Pay answers and events are held for that."},
    [METRIC_HOST_OUTAGES] = {"presignd_host_outages",
                             GAUGE,
                             NULL,
                             {"host"},
                             "Calls to the host in a row that met an outage; from 3 on it is "
                             "avoided while the other one works."},
    [METRIC_READY] = {"presignd_ready", GAUGE, NULL, {NULL}, "1 while /readyz says ready."},
    [METRIC_REBALANCES] = {"presignd_rebalances_total",
                           COUNTER,
                           NULL,
                           {"kind"},
                           "Changes of the partitions assigned, by kind."},
    [METRIC_CLIENT_RENEWALS] = {"presignd_client_renewals_total",
                                COUNTER,
                                NULL,
                                {"why"},
                                "Kafka clients made anew in a running process, by what was wrong."},
    [METRIC_RECORDS] = {"presignd_records_total", COUNTER, NULL, {NULL}, "Records consumed."},
    [METRIC_RELOADS] = {"presignd_reloads_total",
                        COUNTER,
                        NULL,
                        {"end"},
                        "Reloads of the configuration, by how they ended."},
    [METRIC_RELOAD_SUCCESSFUL] = {"presignd_last_reload_successful",
                                  GAUGE,
                                  NULL,
                                  {NULL},
                                  "0 when the last reload was refused, else 1."},
    [METRIC_CERTIFICATE_EXPIRY] = {"presignd_certificate_expiry_timestamp_seconds",
                                   GAUGE,
                                   "seconds since 1970",
                                   {"mchid", "serial"},
                                   "When a platform certificate expires."},
    [METRIC_BUILD_INFO] = {"presignd_build_info", GAUGE, NULL, {"version"}, "Always 1."},
    [METRIC_LOG_DROPPED] = {"presignd_log_lines_dropped_total",
                            COUNTER,
                            NULL,
                            {NULL},
                            "Lines of the log that were dropped, because nobody read it or it "
                            "could not be written."},
    [METRIC_START_TIME] = {"process_start_time_seconds",
                           GAUGE,
                           "seconds since 1970",
                           {NULL},
                           "When this process started."},
    [METRIC_CPU_SECONDS] = {"process_cpu_seconds_total",
                            COUNTER,
                            "seconds",
                            {NULL},
                            "Processor time of this process, all threads."},
    [METRIC_RESIDENT_BYTES] = {"process_resident_memory_bytes",
                               GAUGE,
                               "bytes",
                               {NULL},
                               "Memory of this process that is in RAM."},
    [METRIC_OPEN_FDS] = {"process_open_fds", GAUGE, NULL, {NULL}, "Open file descriptors."},
    [METRIC_MAX_FDS] =
        {"process_max_fds", GAUGE, NULL, {NULL}, "Most file descriptors that may be open."},
};

static const char *const kind_names[] = {"counter", "gauge", "histogram"};

/* Upper bounds in seconds: a signature takes under a millisecond, a call some ten, and an
 * event that is retried may take minutes. */
static const double bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                0.5,   1,      2.5,   5,    10,    30,   120, 600};

struct metric_series {
    enum metric metric;
    char *labels; /* as the text has them, without braces: a="b",c="d" */
    bool shown;
    double value; /* a histogram's sum */
    uint64_t count;
    uint64_t buckets[ARRAY_LENGTH(bounds)]; /* each on its own, not cumulative */
};

/* Series in the order of their first use. */
struct family {
    struct map *by_labels;
    struct metric_series **series;
    size_t count;
};

struct metrics {
    struct family families[METRIC_COUNT];
};

static size_t label_count(enum metric metric)
{
    size_t count = 0;
    while (table[metric].labels[count] != NULL) {
        count++;
    }
    return count;
}

struct metrics *metrics_new(void)
{
    struct metrics *metrics = mem_zalloc(1, sizeof *metrics);
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        metrics->families[i].by_labels = map_new();
        /* A series without labels is there from the start: a rate over it needs the zero. */
        if (label_count((enum metric)i) == 0) {
            (void)metrics_series(metrics, (enum metric)i, NULL);
        }
    }
    return metrics;
}

struct metrics *metrics_free(struct metrics *metrics)
{
    if (metrics == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        struct family *family = &metrics->families[i];
        for (size_t j = 0; j < family->count; j++) {
            free(family->series[j]->labels);
            free(family->series[j]);
        }
        free(family->series);
        map_free(family->by_labels);
    }
    free(metrics);
    return NULL;
}

static void put_label_value(struct buf *out, const char *value)
{
    for (; *value != '\0'; value++) {
        if (*value == '\n') {
            buf_puts(out, "\\n");
            continue;
        }
        if (*value == '\\' || *value == '"') {
            buf_putc(out, '\\');
        }
        buf_putc(out, *value);
    }
}

/* `values` NULL: every label reads "other". */
static void put_labels(struct buf *out, enum metric metric, const char *const *values)
{
    for (size_t i = 0; i < label_count(metric); i++) {
        buf_printf(out, "%s%s=\"", i == 0 ? "" : ",", table[metric].labels[i]);
        put_label_value(out, values == NULL ? "other" : values[i]);
        buf_putc(out, '"');
    }
}

static struct metric_series *add_series(struct family *family, enum metric metric,
                                        struct buf *labels)
{
    struct metric_series *series = mem_zalloc(1, sizeof *series);
    series->metric = metric;
    (void)map_set(family->by_labels, labels->data, labels->len, series);
    series->labels = buf_take(labels);
    family->series =
        mem_realloc(family->series, (family->count + 1) * sizeof(struct metric_series *));
    family->series[family->count++] = series;
    return series;
}

struct metric_series *metrics_series(struct metrics *metrics, enum metric metric,
                                     const char *const *labels)
{
    struct family *family = &metrics->families[metric];
    AUTO_BUF struct buf text = {0};
    buf_reserve(&text, 1); /* a key without labels is empty, but not NULL */
    put_labels(&text, metric, labels);
    struct metric_series *series = map_get(family->by_labels, text.data, text.len);
    if (series == NULL && family->count >= METRIC_SERIES_MAX && labels != NULL) {
        return metrics_series(metrics, metric, NULL);
    }
    if (series == NULL) {
        series = add_series(family, metric, &text);
    }
    series->shown = true;
    return series;
}

void metric_add(struct metric_series *series, double value)
{
    assert(table[series->metric].kind != HISTOGRAM);
    assert(table[series->metric].kind == GAUGE || value >= 0);
    series->value += value;
}

void metric_set(struct metric_series *series, double value)
{
    assert(table[series->metric].kind == GAUGE);
    series->value = value;
}

void metric_count_to(struct metric_series *series, double value)
{
    assert(table[series->metric].kind == COUNTER);
    series->value = value > series->value ? value : series->value;
}

void metric_observe(struct metric_series *series, double value)
{
    assert(table[series->metric].kind == HISTOGRAM);
    series->value += value;
    series->count++;
    for (size_t i = 0; i < ARRAY_LENGTH(bounds); i++) {
        if (value <= bounds[i]) {
            series->buckets[i]++;
            return;
        }
    }
}

double metric_value(const struct metric_series *series)
{
    return series->value;
}

/* Series are hidden rather than freed: somebody may have kept one. */
void metrics_clear(struct metrics *metrics, enum metric metric)
{
    struct family *family = &metrics->families[metric];
    for (size_t i = 0; i < family->count; i++) {
        struct metric_series *series = family->series[i];
        series->shown = false;
        series->value = 0;
        series->count = 0;
        memset(series->buckets, 0, sizeof series->buckets);
    }
}

/* The shortest text that reads back as the same number. */
static void put_number(struct buf *out, double value)
{
    char text[40];
    if (isnan(value)) {
        buf_puts(out, "NaN");
        return;
    }
    if (isinf(value)) {
        buf_puts(out, value > 0 ? "+Inf" : "-Inf");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    buf_puts(out, text);
}

/* NAME{LABELS,le="BOUND"}; no braces around nothing. */
static void put_sample_name(struct buf *out, const struct metric_series *series, const char *suffix,
                            const char *bound)
{
    buf_printf(out, "%s%s", table[series->metric].name, suffix);
    if (*series->labels != '\0' || bound != NULL) {
        bool both = *series->labels != '\0' && bound != NULL;
        buf_printf(out, "{%s%s", series->labels, both ? "," : "");
        if (bound != NULL) {
            buf_printf(out, "le=\"%s\"", bound);
        }
        buf_putc(out, '}');
    }
    buf_putc(out, ' ');
}

static void put_histogram(struct buf *out, const struct metric_series *series)
{
    uint64_t below = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(bounds); i++) {
        AUTO_BUF struct buf bound = {0};
        put_number(&bound, bounds[i]);
        below += series->buckets[i];
        put_sample_name(out, series, "_bucket", bound.data);
        buf_printf(out, "%llu\n", (unsigned long long)below);
    }
    put_sample_name(out, series, "_bucket", "+Inf");
    buf_printf(out, "%llu\n", (unsigned long long)series->count);
    put_sample_name(out, series, "_sum", NULL);
    put_number(out, series->value);
    buf_putc(out, '\n');
    put_sample_name(out, series, "_count", NULL);
    buf_printf(out, "%llu\n", (unsigned long long)series->count);
}

static void put_series(struct buf *out, const struct metric_series *series)
{
    if (table[series->metric].kind == HISTOGRAM) {
        put_histogram(out, series);
        return;
    }
    put_sample_name(out, series, "", NULL);
    put_number(out, series->value);
    buf_putc(out, '\n');
}

void metrics_write(const struct metrics *metrics, struct buf *out)
{
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        const struct descriptor *row = &table[i];
        const struct family *family = &metrics->families[i];
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name,
                   kind_names[row->kind]);
        for (size_t j = 0; j < family->count; j++) {
            if (family->series[j]->shown) {
                put_series(out, family->series[j]);
            }
        }
    }
}

static void document_row(struct buf *out, enum metric metric)
{
    const struct descriptor *row = &table[metric];
    buf_printf(out, "| `%s` | %s | ", row->name, kind_names[row->kind]);
    for (size_t i = 0; i < label_count(metric); i++) {
        buf_printf(out, "%s`%s`", i == 0 ? "" : ", ", row->labels[i]);
    }
    buf_printf(out, " | %s | %s |\n", row->unit == NULL ? "" : row->unit, row->help);
}

void metrics_document(struct buf *out)
{
    buf_puts(out, "| name | type | labels | unit | meaning |\n| --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        document_row(out, (enum metric)i);
    }
    buf_puts(out, "\nBuckets of every histogram, in seconds: ");
    for (size_t i = 0; i < ARRAY_LENGTH(bounds); i++) {
        put_number(out, bounds[i]);
        buf_puts(out, i + 1 < ARRAY_LENGTH(bounds) ? ", " : ".\n");
    }
}
