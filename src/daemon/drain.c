/* DRAINING: no call begins, calls in flight end and are published.
 * LEAVING: the clients leave the group.
 * DRAINED: until daemon_rejoin(). That, called earlier, ends the waiting: the partitions have to be
 * assigned anew before their discarded events can be read again. */
#include "daemon/parts.h"
#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/ops/messages.h"

/* For LEAVING: the calls that are left get three seconds, completed outcomes are committed, then
 * the library sends its request. After this time the group takes the partitions at the end of the
 * session. */
#define LEAVE_MS INT64_C(30000)

void daemon_drain_begin(struct daemon *d, int64_t timeout_ms)
{
    d->drain.rejoin = false;
    if (d->stopping || d->drain.state != DRAIN_NONE) {
        return;
    }
    d->drain = (struct drain){.state = DRAIN_DRAINING, .end_ms = clock_mono_ms() + timeout_ms};
    pipeline_drain(d->pipeline);
    loop_timer_set(&d->tick_timer, 0); /* report readiness at once */
}

static size_t unfinished(const struct daemon *d)
{
    struct pipeline_status status;
    pipeline_status(d->pipeline, &status);
    return status.in_flight + status.jobs[JOB_COMPLETED] + status.jobs[JOB_PUBLISHING];
}

/* While the preflight fails, there is no group to wait for. */
static bool may_leave(struct daemon *d)
{
    bool member = consumer_joined(d->consumer) || clients_preflight(d->clients) != NULL;
    return pipeline_idle(d->pipeline) && member;
}

static void leave(struct daemon *d)
{
    bool over = clock_mono_ms() >= d->drain.end_ms;
    if (!over && !d->drain.rejoin && !may_leave(d)) {
        return;
    }
    d->drain.left = pipeline_idle(d->pipeline) ? 0 : unfinished(d);
    d->drain.state = DRAIN_LEAVING;
    d->drain.end_ms = clock_mono_ms() + LEAVE_MS;
    clients_leave(d->clients);
}

static void left(struct daemon *d)
{
    if (!clients_left(d->clients)) {
        if (clock_mono_ms() >= d->drain.end_ms) {
            d->drain.end_ms = INT64_MAX;
            clients_leave(d->clients); /* gives up */
        }
        return;
    }
    d->drain.state = DRAIN_DRAINED;
    if (d->drain.rejoin) {
        return;
    }
    if (d->drain.left > 0) {
        log_fields(LOG_WARNING, MESSAGE_DRAINED, NULL,
                   "drained: this instance has left the group; %zu events had not ended in time, "
                   "their next owner processes them",
                   d->drain.left);
    } else {
        log_fields(LOG_NOTICE, MESSAGE_DRAINED, NULL,
                   "drained: this instance has left the group; a restart or presignctl resume "
                   "--all joins it again");
    }
    loop_timer_set(&d->tick_timer, 0);
}

static void rejoin(struct daemon *d)
{
    d->drain = (struct drain){0};
    pipeline_undrain(d->pipeline);
    clients_join(d->clients);
    log_fields(LOG_NOTICE, MESSAGE_REJOINS, NULL, "the drain is undone: joining the group again");
    loop_timer_set(&d->tick_timer, 0);
}

void daemon_rejoin(struct daemon *d)
{
    d->drain.rejoin = d->drain.state != DRAIN_NONE && !d->stopping;
    loop_again(d->loop);
}

bool drain_step(struct daemon *d)
{
    if (d->drain.state == DRAIN_DRAINING) {
        leave(d);
    }
    if (d->drain.state == DRAIN_LEAVING) {
        left(d);
    }
    if (d->drain.state == DRAIN_DRAINED && d->drain.rejoin && !d->stopping) {
        rejoin(d);
    }
    return d->drain.state == DRAIN_NONE || d->drain.state == DRAIN_DRAINED;
}

const char *daemon_drain_state(const struct daemon *d)
{
    return d->drain.state == DRAIN_NONE      ? NULL
           : d->drain.state == DRAIN_DRAINED ? "drained"
                                             : "draining";
}
