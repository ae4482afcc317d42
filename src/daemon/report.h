/* What happened, told to operators: log lines and metrics from the pipeline's observations.
 *
 * A good day is quiet: results are logged at debug, failed events at info, and only what an
 * operator must look at as a warning or worse, once when it begins and once when it ends. What
 * repeats itself is counted (base/log_ratelimit.h).
 */
#ifndef PRESIGND_DAEMON_REPORT_H
#define PRESIGND_DAEMON_REPORT_H

#include "daemon/history.h"
#include "presignd/flow/pipeline.h"
#include "presignd/ops/metrics.h"
#include "presignd/ops/status.h"
#include "presignd/wechatpay/merchant.h"

struct report;

/* `metrics` outlives the report. */
struct report *report_new(struct metrics *metrics);
/* Accepts NULL, returns NULL. */
struct report *report_free(struct report *report);
/* For pipeline_new(). */
struct pipeline_observer report_observer(struct report *report);

/* To be called every second or so: what was counted instead of told is told then. */
void report_tick(struct report *report, int64_t mono_ms);
/* A reload ended; `problems`, a line each, when it was refused. */
void report_reload(struct report *report, bool applied, const char *problems);
/* Brings gauges up to date before they are read. */
void report_gauges(struct report *report, const struct pipeline_status *pipeline,
                   const struct status *status);
/* Expiry of the certificates that are configured; again after a reload. */
void report_merchants(struct report *report, const struct merchants *merchants);
/* An assignment begins: outcomes that could not be published went with the one before. */
void report_assigned(struct report *report);
/* What transactions fail of; NULL: of each output topic, the last one was well. For the status
 * text. */
const char *report_last_error(const struct report *report);
/* For how long; 0 while they succeed. */
int64_t report_last_error_ms(const struct report *report, int64_t mono_ms);
/* What happened last. Borrowed. */
const struct history *report_history(const struct report *report);

#endif
