/* Looks at the daemon's parts every half second and tells systemd: ready, the status text, the
 * watchdog. What a look means is decided by readiness.h. A look costs a few steps for each
 * partition and merchant, whatever is in hand. */
#ifndef PRESIGND_MONITOR_H
#define PRESIGND_MONITOR_H

#include "presignd/base/buf.h"
#include "presignd/flow/pipeline.h"
#include "presignd/kafka/intake.h"
#include "presignd/kafka/outlet.h"
#include "presignd/readiness.h"
#include "presignd/report.h"

#include <stdbool.h>
#include <stdint.h>

/* Between two looks. */
#define MONITOR_TICK_MS INT64_C(500)

/* The parts, as they are now: they may be replaced between two looks. Only looked at. */
struct monitor_sources {
    struct pipeline *pipeline;
    const struct intake *intake;
    struct outlet *outlet;
    const char *clients_waiting; /* what the join of the group waits for; NULL: nothing */
    const struct report *report;
    bool stopping;        /* a stop was asked for */
    int64_t drain_end_ms; /* mono: when calls in flight are left behind */
    int64_t take_down_ms; /* what the take-down after that may last */
};

struct monitor {
    int64_t patience_ms; /* how late a timer of our own may be */
    int64_t id_held_ms;  /* mono: when the transactional.id was last seen in our hands */
    struct readiness_idle idle;
    bool told_ready; /* READY=1 was sent */
    bool joined;     /* the group was joined once */
    unsigned stuck;  /* looks in a row that saw no progress */
};

/* `watchdog_ms` is systemd's WatchdogSec=, 0 without one. */
void monitor_init(struct monitor *monitor, int64_t watchdog_ms, int64_t now_ms);
/* Looks and tells. Call it every MONITOR_TICK_MS; the first call says READY=1: configured, and the
 * admin listener stands. */
void monitor_tick(struct monitor *monitor, const struct monitor_sources *from, int64_t now_ms);

/* For /healthz: true while the process is worth keeping; else `why` says what stands still. */
bool monitor_alive(const struct monitor *monitor, const struct monitor_sources *from,
                   struct buf *why);
/* For /readyz: true while events can be worked on; else `why` says why not. */
bool monitor_ready(const struct monitor *monitor, const struct monitor_sources *from,
                   struct buf *why);

#endif
