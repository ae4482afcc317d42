/* What needs a human: rules over the facts of the status. Pure: no clock, no I/O; it knows only
 * what struct status says.
 *
 * A rule gives one row at most, for all merchants, hosts or partitions that it concerns, so there
 * are no more rows than rules. The worst comes first. On a good day there are none. */
#ifndef PRESIGND_DAEMON_ATTENTION_H
#define PRESIGND_DAEMON_ATTENTION_H

#include "presignd/ops/status.h"

/* How long WeChat Pay answers 429 to a merchant before somebody should look. */
#define ATTENTION_LIMITED_MS INT64_C(300000)
/* How long a partition's base offset may stand still. */
#define ATTENTION_STILL_MS INT64_C(900000)

/* An event that is older should have an outcome; slo_ms where that is more. */
#define ATTENTION_LATE_MS INT64_C(60000)
/* The host's clock against WeChat Pay's: a warning, critical. 300 s give 401. */
#define ATTENTION_CLOCK_MS     INT64_C(30000)
#define ATTENTION_CLOCK_FAR_MS INT64_C(120000)

/* Before the last certificate of a kind expires, this much is critical; STATUS_EXPIRY_MS warns. */
#define ATTENTION_EXPIRY_MS (INT64_C(3) * 24 * 3600 * 1000)
/* Of certificates that are downloaded, only this much is told. */
#define ATTENTION_LIST_EXPIRY_MS (INT64_C(24) * 3600 * 1000)

/* Values of status_host.health. */
enum { ATTENTION_HOST_WELL, ATTENTION_HOST_FAILS, ATTENTION_HOST_DOWN };

/* Fills `status->attention` from the other sections; status_deinit() frees it. */
void attention_take(struct status *status);

#endif
