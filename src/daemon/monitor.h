/* Samples the daemon's parts every half second and notifies systemd: READY=1, the status text, the
 * watchdog. readiness.h decides what a sample means. A sample takes a few steps for each partition
 * and merchant, and none for each event. */
#ifndef PRESIGND_DAEMON_MONITOR_H
#define PRESIGND_DAEMON_MONITOR_H

#include "daemon/readiness.h"
#include "daemon/report.h"
#include "presignd/base/buf.h"
#include "presignd/flow/pipeline.h"
#include "presignd/kafka/consumer.h"
#include "presignd/kafka/preflight.h"
#include "presignd/kafka/publisher.h"

#include <stdbool.h>
#include <stdint.h>

/* Between two samples. */
#define MONITOR_TICK_MS INT64_C(500)

/* The parts, which may be replaced between two samples. They are only read. */
struct monitor_sources {
    struct pipeline *pipeline;
    const struct consumer *consumer;
    struct publisher *publisher;
    const char *clients_waiting; /* clients_waiting()'s: why the join has not begun, or NULL */
    const struct preflight_finding *preflight; /* what keeps us from joining, or NULL */
    const char *metadata;                      /* why offsets cannot be committed; NULL: they can */
    const struct report *report;
    int64_t unsigned_ms;  /* signer_silent_ms() */
    const char *drain;    /* daemon_drain_state()'s, or NULL */
    bool stopping;        /* a stop was asked for */
    int64_t stop_end_ms;  /* mono: the stop waits for calls in flight until then */
    int64_t take_down_ms; /* how long the take-down after that may last */
};

struct monitor {
    int64_t timer_late_ms; /* how late a timer of our own may be */
    int64_t id_held_ms;    /* mono: when the transactional.id was last held */
    struct readiness_idle idle;
    struct readiness_idle stalled;
    bool notified_ready; /* READY=1 was sent */
    bool joined;         /* the group was joined once */
    unsigned stuck;      /* samples in a row without progress */
};

/* `watchdog_ms` is systemd's WatchdogSec=, 0 without one. */
void monitor_init(struct monitor *monitor, int64_t watchdog_ms, int64_t now_ms);
/* Takes a sample and notifies systemd. Call it every MONITOR_TICK_MS. The first call sends READY=1,
 * so load the configuration and open the admin listener before. */
void monitor_tick(struct monitor *monitor, const struct monitor_sources *from, int64_t now_ms);

/* For /healthz: false when the process must be restarted; then `why` says what makes no progress.
 */
bool monitor_alive(const struct monitor *monitor, const struct monitor_sources *from,
                   struct buf *why);
/* For /readyz: true while events can be processed; otherwise `why` says why not. */
bool monitor_ready(const struct monitor *monitor, const struct monitor_sources *from,
                   struct buf *why);

#endif
