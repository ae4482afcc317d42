#include "daemon/monitor.h"

#include "daemon/readiness.h"
#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/flow/progress.h"
#include "presignd/ops/messages.h"
#include "presignd/ops/notify.h"

#include <inttypes.h>
#include <limits.h>

/* How late a timer of our own may be before the watchdog is no longer fed, without WatchdogSec=. */
#define TIMER_LATE_MS INT64_C(30000)

void monitor_init(struct monitor *monitor, int64_t watchdog_ms, int64_t now_ms)
{
    *monitor = (struct monitor){.timer_late_ms = watchdog_ms > 0 ? watchdog_ms : TIMER_LATE_MS,
                                .id_held_ms = now_ms,
                                .idle = READINESS_IDLE_INIT,
                                .stalled = READINESS_IDLE_INIT};
}

/* --- Facts --- */

/* The last error of Kafka's clients. An error of the join comes first: everything waits for it. */
static const char *kafka_last_error(const struct monitor_sources *from)
{
    const char *consumer = consumer_last_error(from->consumer);
    return from->clients_waiting != NULL ? from->clients_waiting
           : consumer != NULL            ? consumer
                                         : report_last_error(from->report);
}

/* What one tick reads, each fact once. */
struct sample {
    struct pipeline_status status;
    struct buf holds, missed;
    struct buf preflight; /* no data: nothing blocks */
    bool moves, id_held;
};

/* "CHECK: IS; MEND". */
static void preflight_describe(const struct preflight_finding *finding, struct buf *out)
{
    if (finding != NULL) {
        buf_printf(out, "%s: %s%s%s", preflight_row(finding->check)->name, finding->is,
                   finding->mend[0] == '\0' ? "" : "; ", finding->mend);
    }
}

static void sample_take(const struct monitor *monitor, const struct monitor_sources *from,
                        struct sample *sample)
{
    *sample = (struct sample){0};
    pipeline_status(from->pipeline, &sample->status);
    progress_describe(from->pipeline, &sample->holds);
    preflight_describe(from->preflight, &sample->preflight);
    sample->moves = progress_moves(from->pipeline, monitor->timer_late_ms, &sample->missed);
    sample->id_held = publisher_id_state(from->publisher) == PRODUCER_ID_HELD;
}

static void sample_deinit(struct sample *sample)
{
    buf_deinit(&sample->holds);
    buf_deinit(&sample->missed);
    buf_deinit(&sample->preflight);
}

/* The facts point into `sample`. */
static struct readiness_facts facts_of(const struct monitor *monitor,
                                       const struct monitor_sources *from,
                                       const struct sample *sample)
{
    int64_t now_ms = clock_mono_ms();
    return (struct readiness_facts){
        .stopping = from->stopping,
        .drain = from->drain,
        .joined = consumer_joined(from->consumer),
        .preflight = sample->preflight.data,
        .endpoint_down = sample->status.endpoint_down,
        .subscription = consumer_subscription_error(from->consumer),
        .metadata = from->metadata,
        .kafka = kafka_last_error(from),
        .id_missing_ms = sample->id_held ? 0 : now_ms - monitor->id_held_ms,
        .idle_ms = readiness_idle_ms(&monitor->idle, now_ms),
        .stalled_ms = readiness_idle_ms(&monitor->stalled, now_ms),
        .unsigned_ms = from->unsigned_ms,
        .waiting = sample->holds.data,
        .missed = sample->moves ? NULL : sample->missed.data,
    };
}

typedef bool verdict_fn(const struct readiness_facts *facts, struct buf *why);

static bool judge(const struct monitor *monitor, const struct monitor_sources *from,
                  verdict_fn *verdict, struct buf *why)
{
    struct sample sample;
    sample_take(monitor, from, &sample);
    const struct readiness_facts facts = facts_of(monitor, from, &sample);
    bool good = verdict(&facts, why);
    sample_deinit(&sample);
    return good;
}

bool monitor_alive(const struct monitor *monitor, const struct monitor_sources *from,
                   struct buf *why)
{
    return judge(monitor, from, readiness_alive, why);
}

bool monitor_ready(const struct monitor *monitor, const struct monitor_sources *from,
                   struct buf *why)
{
    return judge(monitor, from, readiness_ready, why);
}

/* --- Notifications to systemd --- */

static void notify_joining(const struct monitor_sources *from)
{
    const char *subscription = consumer_subscription_error(from->consumer);
    const char *last_error = subscription != NULL ? subscription : kafka_last_error(from);
    notify_status("waiting for Kafka: joining group %s%s%s", consumer_group_id(from->consumer),
                  last_error != NULL ? ": " : "", last_error != NULL ? last_error : "");
}

static void notify_draining(const struct monitor_sources *from,
                            const struct pipeline_status *status, int64_t now_ms)
{
    int64_t left_ms = from->stop_end_ms > now_ms ? from->stop_end_ms - now_ms : 0;
    notify_status("stopping: %zu in flight, %zu outcomes to publish, %" PRId64 " s left",
                  status->in_flight, status->jobs[JOB_COMPLETED] + status->jobs[JOB_PUBLISHING],
                  (left_ms + 999) / 1000);
    notify_extend_timeout(left_ms + from->take_down_ms);
}

static void notify_state(const struct monitor_sources *from, const struct sample *sample,
                         int64_t now_ms)
{
    const struct pipeline_status *status = &sample->status;
    if (from->stopping) {
        notify_draining(from, status, now_ms);
        return;
    }
    if (from->drain != NULL) {
        notify_status("%s: %zu in flight, %zu outcomes to publish; undone by presignctl resume "
                      "--all",
                      from->drain, status->in_flight,
                      status->jobs[JOB_COMPLETED] + status->jobs[JOB_PUBLISHING]);
        return;
    }
    if (sample->preflight.data != NULL) {
        notify_status("not consuming yet; preflight: %s", sample->preflight.data);
        return;
    }
    if (!consumer_joined(from->consumer)) {
        notify_joining(from);
        return;
    }
    const char *subscription = consumer_subscription_error(from->consumer);
    if (subscription != NULL) {
        notify_status("%zu partitions, %zu in flight; requests cannot be read: %s",
                      status->partitions, status->in_flight, subscription);
        return;
    }
    if (from->metadata != NULL) {
        notify_status("%zu partitions, %zu in flight; positions cannot be committed: %s",
                      status->partitions, status->in_flight, from->metadata);
        return;
    }
    const char *last_error = report_last_error(from->report);
    const char *holds = sample->holds.len > 0 ? sample->holds.data : NULL;
    size_t waiting = status->jobs[JOB_WAITING] + status->jobs[JOB_PAUSED] +
                     status->jobs[JOB_BLOCKED] + status->jobs[JOB_RETRY];
    notify_status("%zu partitions, %zu in flight, %zu waiting%s%s%s%s%s", status->partitions,
                  status->in_flight, waiting, holds != NULL ? " (" : "", holds != NULL ? holds : "",
                  holds != NULL ? ")" : "", last_error != NULL ? "; transactions fail: " : "",
                  last_error != NULL ? last_error : "");
}

/* READY=1 says that the configuration is valid and the admin listener is open. For the membership
 * in the group, ask /readyz or wait for the log line. */
static void log_and_notify_ready(struct monitor *monitor, const struct monitor_sources *from)
{
    if (!monitor->notified_ready) {
        monitor->notified_ready = true;
        notify_ready();
    }
    if (!monitor->joined && consumer_joined(from->consumer)) {
        monitor->joined = true;
        log_fields(LOG_NOTICE, MESSAGE_READY, NULL, "ready");
    }
}

/* Logged at the second sample in a row: a process that was suspended finds overdue work in the
 * first one, and has done it by the second. */
static void feed_watchdog(struct monitor *monitor, const struct monitor_sources *from,
                          const struct sample *sample)
{
    AUTO_BUF struct buf why = {0};
    const struct readiness_facts facts = facts_of(monitor, from, sample);
    if (readiness_alive(&facts, &why)) {
        monitor->stuck = 0;
        notify_watchdog();
        return;
    }
    if (monitor->stuck < UINT_MAX && ++monitor->stuck == 2) {
        log_fields(LOG_CRIT, MESSAGE_STUCK, NULL,
                   "no progress: %s; the watchdog is no longer fed and ends this process",
                   why.data);
    }
    notify_status("no progress: %s", why.data);
}

/* Events that wait without a hold, a call or a retry time. */
static size_t stalled(const struct pipeline_status *status)
{
    return status->held[HOLD_WHY_NONE] + status->jobs[JOB_COMPLETED] + status->jobs[JOB_PUBLISHING];
}

void monitor_tick(struct monitor *monitor, const struct monitor_sources *from, int64_t now_ms)
{
    struct sample sample;
    sample_take(monitor, from, &sample);
    const struct pipeline_status *status = &sample.status;
    monitor->id_held_ms = sample.id_held ? now_ms : monitor->id_held_ms;
    readiness_sample(&monitor->idle, status->unexplained, status->commits, now_ms);
    readiness_sample(&monitor->stalled, stalled(status), status->commits, now_ms);
    log_and_notify_ready(monitor, from);
    notify_state(from, &sample, now_ms);
    feed_watchdog(monitor, from, &sample);
    sample_deinit(&sample);
}
