/* Text format: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4. */
#include "presignd/ops/metrics.h"

#include "presignd/base/map.h"
#include "presignd/base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OTHER "other"

enum kind { COUNTER, GAUGE, HISTOGRAM };
static const char *const kind_names[] = {"counter", "gauge", "histogram"};
_Static_assert(ARRAY_LENGTH(kind_names) == HISTOGRAM + 1, "a name for each kind");

struct descriptor {
    const char *name;
    enum kind kind;
    const char *labels[METRIC_LABELS_MAX + 1];
    const char *help;
};

#define LABELS(...) \
    {               \
        __VA_ARGS__ \
    }
#define NO_LABELS \
    {             \
        NULL      \
    }
#define METRIC(id, type, name, labels, help) {name, type, labels, help},

static const struct descriptor table[] = {
#include "presignd/ops/metric_rows.h"
};

/* Upper bounds in seconds. A signature takes less than a millisecond, a call about ten, a retried
 * event minutes. */
static const double bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                1,     2.5,    5,     10,   30,    60,   120, 300,  600};

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
    struct map *by_values; /* of the labels, each with its NUL */
    struct metric_series **series;
    size_t count;
};

struct metrics {
    struct family families[METRIC_COUNT];
    struct buf key; /* of one lookup; several are made for each event */
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
        metrics->families[i].by_values = map_new();
        /* A series without labels exists from the start: rate() needs the zero. */
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
        map_free(family->by_values);
    }
    buf_deinit(&metrics->key);
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

/* `values` NULL: every label reads OTHER. */
static void put_labels(struct buf *out, enum metric metric, const char *const *values)
{
    for (size_t i = 0; i < label_count(metric); i++) {
        buf_printf(out, "%s%s=\"", i == 0 ? "" : ",", table[metric].labels[i]);
        put_label_value(out, values == NULL ? OTHER : values[i]);
        buf_putc(out, '"');
    }
}

static struct metric_series *add_series(struct metrics *metrics, enum metric metric,
                                        const char *const *values)
{
    struct family *family = &metrics->families[metric];
    struct metric_series *series = mem_zalloc(1, sizeof *series);
    struct buf labels = {0};
    put_labels(&labels, metric, values);
    series->metric = metric;
    series->labels = buf_take(&labels);
    (void)map_set(family->by_values, metrics->key.data, metrics->key.len, series);
    family->series =
        mem_realloc(family->series, (family->count + 1) * sizeof(struct metric_series *));
    family->series[family->count++] = series;
    return series;
}

static void set_key(struct buf *key, enum metric metric, const char *const *values)
{
    key->len = 0;
    buf_reserve(key, 1); /* a key without labels is empty, but not NULL */
    for (size_t i = 0; table[metric].labels[i] != NULL; i++) {
        const char *value = values == NULL ? OTHER : values[i];
        buf_append(key, value, strlen(value) + 1);
    }
}

/* `values` NULL: the series of all label values above METRIC_SERIES_MAX. */
static struct metric_series *series_of(struct metrics *metrics, enum metric metric,
                                       const char *const *values)
{
    struct family *family = &metrics->families[metric];
    set_key(&metrics->key, metric, values);
    struct metric_series *series = map_get(family->by_values, metrics->key.data, metrics->key.len);
    if (series == NULL && family->count >= METRIC_SERIES_MAX && values != NULL) {
        return series_of(metrics, metric, NULL);
    }
    if (series == NULL) {
        series = add_series(metrics, metric, values);
    }
    series->shown = true;
    return series;
}

struct metric_series *metrics_series(struct metrics *metrics, enum metric metric,
                                     const char *const *labels)
{
    assert((labels == NULL) == (table[metric].labels[0] == NULL));
    return series_of(metrics, metric, labels);
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

/* Series are hidden, not freed: callers may keep them. */
static void hide(struct metric_series *series)
{
    series->shown = false;
    series->value = 0;
    series->count = 0;
    memset(series->buckets, 0, sizeof series->buckets);
}

void metrics_clear(struct metrics *metrics, enum metric metric)
{
    struct family *family = &metrics->families[metric];
    for (size_t i = 0; i < family->count; i++) {
        hide(family->series[i]);
    }
}

void metrics_remove(struct metrics *metrics, enum metric metric, const char *const *labels)
{
    set_key(&metrics->key, metric, labels);
    struct metric_series *series =
        map_get(metrics->families[metric].by_values, metrics->key.data, metrics->key.len);
    if (series != NULL) {
        hide(series);
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

static const char *unit_of(const char *name)
{
    static const char *const units[][2] = {
        {"_timestamp_seconds", "seconds since 1970"},
        {"_start_time_seconds", "seconds since 1970"},
        {"_seconds", "seconds"},
        {"_seconds_total", "seconds"},
        {"_bytes", "bytes"},
        {"_offsets", "offsets"},
        {"_records", "records"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(units); i++) {
        size_t len = strlen(units[i][0]);
        if (strlen(name) > len && strcmp(name + strlen(name) - len, units[i][0]) == 0) {
            return units[i][1];
        }
    }
    return "";
}

static void document_row(struct buf *out, enum metric metric)
{
    const struct descriptor *row = &table[metric];
    buf_printf(out, "| `%s` | %s | ", row->name, kind_names[row->kind]);
    for (size_t i = 0; i < label_count(metric); i++) {
        buf_printf(out, "%s`%s`", i == 0 ? "" : ", ", row->labels[i]);
    }
    buf_printf(out, " | %s | %s |\n", unit_of(row->name), row->help);
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
