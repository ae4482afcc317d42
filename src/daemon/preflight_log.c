#include "daemon/preflight_log.h"

#include "presignd/base/log.h"
#include "presignd/ops/messages.h"

#include <string.h>

/* While a finding waits, its text does not count: it changes with each attempt to connect. */
static bool is_told(const struct preflight_log *log, const struct preflight_finding *finding)
{
    const struct preflight_finding *told =
        preflight_find(&log->told, finding->check, finding->subject);
    return told != NULL && told->state == finding->state &&
           (finding->state == PREFLIGHT_WAITING || strcmp(told->is, finding->is) == 0);
}

static void tell(const struct preflight_finding *finding)
{
    const char *check = preflight_row(finding->check)->name;
    int level = finding->state == PREFLIGHT_MISSING && finding->blocks ? LOG_ERR : LOG_WARNING;
    log_fields(level, MESSAGE_PREFLIGHT,
               LOG_FIELDS({"CHECK", check}, {"SUBJECT", finding->subject}),
               "preflight: %s: %s%s%s%s", check, finding->is,
               finding->blocks ? "; nothing is consumed until it has passed" : "",
               finding->mend[0] == '\0' ? "" : "; ", finding->mend);
}

static void gauges_set(struct metrics *metrics, const struct preflight *found)
{
    for (enum preflight_check check = 0; check < PREFLIGHT_CHECKS; check++) {
        const struct preflight_finding *worst = preflight_worst(found, check);
        if (worst != NULL && worst->state != PREFLIGHT_UNKNOWN) {
            const char *const labels[] = {preflight_row(check)->name};
            metric_set(metrics_series(metrics, METRIC_PREFLIGHT, labels),
                       worst->state == PREFLIGHT_PASSED);
        }
    }
}

void preflight_log(struct preflight_log *log, struct metrics *metrics,
                   const struct preflight *found)
{
    for (size_t i = 0; i < found->count; i++) {
        const struct preflight_finding *finding = &found->findings[i];
        if (finding->state >= PREFLIGHT_WAITING && !is_told(log, finding)) {
            tell(finding);
        }
    }
    bool blocked = preflight_blocking(found) != NULL;
    if (log->blocked && !blocked) {
        log_fields(LOG_NOTICE, MESSAGE_PREFLIGHT_PASSED, NULL,
                   "preflight: nothing blocks any more; joining the group");
    }
    log->blocked = blocked;
    log->told = *found;
    gauges_set(metrics, found);
}
