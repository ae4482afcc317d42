/* Log lines and metrics from what the pipeline observes.
 *
 * Failed events are logged at info, attempts at debug (event_log.h). A warning or worse is
 * something that an operator must look at; it is logged once when it begins and once when it ends.
 * Repetitions are counted (base/log_ratelimit.h).
 */
#ifndef PRESIGND_DAEMON_REPORT_H
#define PRESIGND_DAEMON_REPORT_H

#include "daemon/history.h"
#include "daemon/verified.h"
#include "presignd/flow/pipeline.h"
#include "presignd/ops/metrics.h"
#include "presignd/ops/status.h"
#include "presignd/wechatpay/refresher.h"

struct report;

/* `metrics` outlives the report. */
struct report *report_new(struct metrics *metrics);
/* Accepts NULL, returns NULL. */
struct report *report_free(struct report *report);
/* For pipeline_new(). */
struct pipeline_observer report_observer(struct report *report);

/* Logs the counts of suppressed lines. Call it about once a second. */
void report_tick(struct report *report, int64_t mono_ms);
/* A reload ended. */
void report_reload(struct report *report, bool applied);
/* Creates the series of the configured merchants, and sets the expiry of their certificates. Takes
 * a reference. Call it again after a reload. */
void report_merchants(struct report *report, struct merchants *merchants);
/* Sets the expiry of all certificates again: a merchant has others. */
void report_certificates(struct report *report);
/* A refresh of a merchant's platform certificates ended. */
void report_refresh(struct report *report, const struct refresher_end *end);
/* A request of the merchant was signed. */
void report_signed(struct report *report, const struct merchant *merchant);
/* Our clock less WeChat Pay's; STATUS_NONE: no answer has told it. */
int64_t report_clock_offset_ms(const struct report *report);
/* Creates the series of a host's calls: rate() misses the first increment of a series that appears
 * with 1. */
void report_host(struct report *report, const char *host);
/* An assignment begins. Outcomes that were not published went with the one before. */
void report_assigned(struct report *report);
/* Why transactions fail, for the status text; NULL: the last one of each output topic was
 * committed. */
const char *report_last_error(const struct report *report);
/* Which keys verified answers. Borrowed. */
struct verified *report_verified(struct report *report);
/* What happened last. Borrowed. */
const struct history *report_history(const struct report *report);

#endif
