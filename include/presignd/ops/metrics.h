/* Metrics: one table of descriptors (name, type, unit, help, labels), values beside it.
 *
 * Prometheus text exposition format 0.0.4. Cardinality is bounded: label values come from
 * tables (endpoints, reasons) or from the configuration (merchants, hosts, partitions), never
 * from events. All on the loop's thread.
 */
#ifndef PRESIGND_OPS_METRICS_H
#define PRESIGND_OPS_METRICS_H

#include "presignd/base/buf.h"

#include <stddef.h>
#include <stdint.h>

enum metric {
    METRIC_EVENTS,              /* counter {endpoint, outcome}: settled and published */
    METRIC_FAILURES,            /* counter {reason} */
    METRIC_RELIEVED,            /* counter {mchid}: held events that ended early */
    METRIC_CALLS,               /* counter {mchid, endpoint, host, answer} */
    METRIC_CALL_SECONDS,        /* histogram {host} */
    METRIC_RETRIES,             /* counter {reason} */
    METRIC_FOREIGN_ANSWERS,     /* counter {host}: with another contract's id */
    METRIC_SHORTAGES,           /* counter: calls not sent for want of a descriptor */
    METRIC_CALLS_IN_FLIGHT,     /* gauge */
    METRIC_JOBS,                /* gauge {state}: jobs in hand by state */
    METRIC_HELD,                /* gauge {why}: events held */
    METRIC_OUTCOMES_REFUSED,    /* gauge {output, refusal}: outcomes that are not taken */
    METRIC_WINDOW_USED,         /* gauge {partition}: offsets between watermark and the newest */
    METRIC_LAG,                 /* gauge {partition} */
    METRIC_TRANSACTIONS,        /* counter {end} */
    METRIC_TRANSACTION_SECONDS, /* histogram */
    METRIC_EVENT_SECONDS,       /* histogram: record's timestamp to its commit */
    METRIC_WINDOW_FULL,         /* gauge {partition}: 1 while it is not read for that */
    METRIC_PARTITIONS,          /* gauge: assigned */
    METRIC_PARTITION_STILL,     /* gauge {partition}: seconds since its watermark moved */
    METRIC_JOBS_BYTES,          /* gauge */
    METRIC_SIGNER_WAITING,      /* gauge */
    METRIC_MERCHANT_HELD,       /* gauge {mchid}: 1 while it is */
    METRIC_MERCHANT_CALLS,      /* gauge {mchid}: in the air */
    METRIC_MERCHANT_LIMIT,      /* gauge {mchid}: of calls in the air, as answers allow now */
    METRIC_MERCHANT_WAITING,    /* gauge {mchid}: events */
    METRIC_ENDPOINT_UP,         /* gauge: 0 while no host answers */
    METRIC_HOST_OUTAGES,        /* gauge {host}: in a row */
    METRIC_READY,               /* gauge: 1 while /readyz says so */
    METRIC_REBALANCES,          /* counter {kind} */
    METRIC_CLIENT_RENEWALS,     /* counter {why} */
    METRIC_RECORDS,             /* counter: consumed */
    METRIC_RELOADS,             /* counter {end} */
    METRIC_RELOAD_SUCCESSFUL,   /* gauge: 0 after one that was refused */
    METRIC_CERTIFICATE_EXPIRY,  /* gauge {mchid, serial}: seconds since 1970 */
    METRIC_BUILD_INFO,          /* gauge {version} */
    METRIC_LOG_DROPPED,         /* counter: lines */
    METRIC_START_TIME,          /* gauge; from here on the names that all programs use */
    METRIC_CPU_SECONDS,         /* counter */
    METRIC_RESIDENT_BYTES,      /* gauge */
    METRIC_OPEN_FDS,            /* gauge */
    METRIC_MAX_FDS,             /* gauge */
    METRIC_COUNT
};

#define METRIC_LABELS_MAX 4
/* Series kept for one metric; beyond it values go to a series whose labels read "other". */
#define METRIC_SERIES_MAX 2048

struct metrics;
struct metrics *metrics_new(void);
/* Accepts NULL, returns NULL. */
struct metrics *metrics_free(struct metrics *metrics);

/* Label values in the order of the table's names, as many as it has. A series, once looked up,
 * may be kept as long as the metrics live: hot paths keep it. */
struct metric_series;
struct metric_series *metrics_series(struct metrics *metrics, enum metric metric,
                                     const char *const *labels);
void metric_add(struct metric_series *series, double value);
void metric_set(struct metric_series *series, double value);
/* A counter that somebody else keeps, as the kernel does; never less than before. */
void metric_count_to(struct metric_series *series, double value);
/* A histogram's observation, in its unit. */
void metric_observe(struct metric_series *series, double value);
double metric_value(const struct metric_series *series);
/* Takes out all series of a metric (partitions that are no longer ours). */
void metrics_clear(struct metrics *metrics, enum metric metric);

void metrics_write(const struct metrics *metrics, struct buf *out);
/* The table as Markdown, for docs/metrics.md. */
void metrics_document(struct buf *out);

#endif
