#include "daemon/parts.h"

void daemon_drain_begin(struct daemon *d, int64_t timeout_ms)
{
    (void)d;
    (void)timeout_ms;
}

void daemon_rejoin(struct daemon *d)
{
    (void)d;
}

const char *daemon_drain_state(const struct daemon *d)
{
    return d->drain.state == DRAIN_NONE      ? NULL
           : d->drain.state == DRAIN_DRAINED ? "drained"
                                             : "draining";
}
