#include "presignd/monitor.h"

#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/ops/messages.h"
#include "presignd/ops/notify.h"
#include "presignd/readiness.h"

#include <inttypes.h>
#include <limits.h>

/* How long a stage may stand still before the watchdog is no longer fed: WatchdogSec=, or that. */
#define PATIENCE_MS INT64_C(30000)
/* Spans of patience for the outlet: a broker's failover may hold one call up for long. */
#define OUTLET_PATIENCES 4

void monitor_init(struct monitor *monitor, int64_t watchdog_ms, int64_t now_ms)
{
    *monitor = (struct monitor){.patience_ms = watchdog_ms > 0 ? watchdog_ms : PATIENCE_MS,
                                .id_held_ms = now_ms};
}

bool monitor_alive(const struct monitor *monitor, const struct monitor_sources *from,
                   struct buf *why)
{
    int64_t stalled_us = outlet_stalled_us(from->outlet);
    if (stalled_us > OUTLET_PATIENCES * monitor->patience_ms * 1000) {
        buf_printf(why, "the outlet has not moved for %" PRId64 " s", stalled_us / 1000000);
        return false;
    }
    return pipeline_moves(from->pipeline, monitor->patience_ms, why);
}

const char *monitor_unready(const struct monitor *monitor, const struct monitor_sources *from)
{
    struct pipeline_status status;
    pipeline_status(from->pipeline, &status);
    int64_t now_ms = clock_now(&clock_system).mono_ms;
    struct readiness_facts facts = {
        .joined = intake_joined(from->intake),
        .join_waits = from->clients_waiting,
        .stopping = from->stopping,
        .subscription = intake_subscription_error(from->intake),
        .endpoint_down = status.endpoint_down,
        .transaction_ms = outlet_stalled_us(from->outlet) / 1000,
        .id_missing_ms = now_ms - monitor->id_held_ms,
        .transactions_fail_ms = report_trouble_ms(from->report, now_ms),
    };
    return readiness_unready(&facts);
}

/* --- what systemd is told --- */

/* It stays until the topic can be read, whatever else the client says in between. */
static const char *kafka_trouble(const struct monitor_sources *from)
{
    const char *subscription = intake_subscription_error(from->intake);
    return subscription != NULL ? subscription : intake_trouble(from->intake);
}

/* "joining the group" may last: what it waits for is what an operator looks for first. */
static void tell_joining(const struct monitor_sources *from)
{
    const char *trouble =
        from->clients_waiting != NULL ? from->clients_waiting : kafka_trouble(from);
    notify_status("waiting for Kafka: joining group %s%s%s", intake_group_id(from->intake),
                  trouble != NULL ? ": " : "", trouble != NULL ? trouble : "");
}

static void tell_stopping(const struct monitor_sources *from, const struct pipeline_status *status,
                          int64_t now_ms)
{
    int64_t left_ms = from->drain_end_ms > now_ms ? from->drain_end_ms - now_ms : 0;
    notify_status("stopping: %zu in the air, %zu outcomes to publish, %" PRId64 " s left",
                  status->in_flight, status->jobs[JOB_SETTLED] + status->jobs[JOB_PUBLISHING],
                  (left_ms + 999) / 1000);
    notify_extend_timeout(left_ms + from->take_down_ms);
}

static void tell_status(const struct monitor_sources *from, int64_t now_ms)
{
    struct pipeline_status status;
    pipeline_status(from->pipeline, &status);
    if (from->stopping) {
        tell_stopping(from, &status, now_ms);
        return;
    }
    if (!intake_joined(from->intake)) {
        tell_joining(from);
        return;
    }
    const char *subscription = intake_subscription_error(from->intake);
    if (subscription != NULL) {
        notify_status("%zu partitions, %zu in the air; requests cannot be read: %s",
                      status.partitions, status.in_flight, subscription);
        return;
    }
    const char *trouble = report_trouble(from->report);
    AUTO_BUF struct buf holds = {0};
    pipeline_holds(from->pipeline, &holds);
    size_t waiting = status.jobs[JOB_LANE] + status.jobs[JOB_TURN] + status.jobs[JOB_RETRY];
    notify_status("%zu partitions, %zu in the air, %zu waiting%s%s%s%s%s", status.partitions,
                  status.in_flight, waiting, holds.len > 0 ? " (" : "",
                  holds.len > 0 ? holds.data : "", holds.len > 0 ? ")" : "",
                  trouble != NULL ? "; transactions fail: " : "", trouble != NULL ? trouble : "");
}

static void tell_ready(struct monitor *monitor, const struct monitor_sources *from)
{
    if (monitor->told_ready) {
        return;
    }
    if (intake_joined(from->intake)) {
        monitor->told_ready = true;
        log_fields(LOG_NOTICE, MESSAGE_READY, NULL, "ready");
        notify_ready();
    } else {
        notify_extend_timeout(20 * MONITOR_TICK_MS); /* brokers may come up after us */
    }
}

/* A process that was suspended sees old work at its first look, and has done it by the second. */
static void feed_watchdog(struct monitor *monitor, const struct monitor_sources *from)
{
    AUTO_BUF struct buf why = {0};
    if (monitor_alive(monitor, from, &why)) {
        monitor->stuck = 0;
        notify_watchdog();
        return;
    }
    if (monitor->stuck < UINT_MAX && ++monitor->stuck == 2) {
        log_fields(LOG_CRIT, MESSAGE_STUCK, NULL,
                   "no progress: %s; the watchdog is not fed any more, and ends this process",
                   why.data);
    }
    notify_status("no progress: %s", why.data);
}

void monitor_tick(struct monitor *monitor, const struct monitor_sources *from, int64_t now_ms)
{
    monitor->id_held_ms =
        outlet_standing(from->outlet) == OUTLET_HELD ? now_ms : monitor->id_held_ms;
    tell_ready(monitor, from);
    tell_status(from, now_ms);
    feed_watchdog(monitor, from);
}
