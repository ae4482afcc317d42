/* Metrics in Prometheus text exposition format 0.0.4. Label values come from tables (endpoints,
 * reasons) or from the configuration (merchants, hosts, partitions), never from events, so their
 * number is limited. All functions belong to the loop's thread. */
#ifndef PRESIGND_OPS_METRICS_H
#define PRESIGND_OPS_METRICS_H

#include "presignd/base/buf.h"

#include <stddef.h>
#include <stdint.h>

enum metric {
#define METRIC(id, ...) METRIC_##id,
#include "presignd/ops/metric_rows.h"
    METRIC_COUNT
};

#define METRIC_LABELS_MAX 4
/* Series kept for one metric. Further label values count as "other". */
#define METRIC_SERIES_MAX 2048

struct metrics;
struct metrics *metrics_new(void);
/* Accepts NULL, returns NULL. */
struct metrics *metrics_free(struct metrics *metrics);

/* `labels`: a value for each label of the row, in its order; NULL without labels. The series is
 * valid as long as the metrics. Hot paths keep it. */
struct metric_series;
struct metric_series *metrics_series(struct metrics *metrics, enum metric metric,
                                     const char *const *labels);
void metric_add(struct metric_series *series, double value);
void metric_set(struct metric_series *series, double value);
/* For a counter that is kept elsewhere, for example by the kernel. Never lowers it. */
void metric_count_to(struct metric_series *series, double value);
/* In the histogram's unit. */
void metric_observe(struct metric_series *series, double value);
double metric_value(const struct metric_series *series);
/* Removes all series of a metric, for example of partitions that were revoked. */
void metrics_clear(struct metrics *metrics, enum metric metric);
/* Removes the series with these label values, if there is one. */
void metrics_remove(struct metrics *metrics, enum metric metric, const char *const *labels);

void metrics_write(const struct metrics *metrics, struct buf *out);
/* The table as Markdown, for docs/metrics.md. */
void metrics_document(struct buf *out);

#endif
