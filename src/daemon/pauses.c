/* Pauses that the daemon keeps over a restart. */
#include "daemon/parts.h"

enum daemon_pause daemon_pause(struct daemon *d, const struct pause *pause)
{
    if (!pipeline_may_pause(d->pipeline, pause->scope, pause->name)) {
        return DAEMON_PAUSE_UNKNOWN;
    }
    if (pause->persist) {
        return DAEMON_PAUSE_NOT_KEPT; /* there is no state directory yet */
    }
    return pipeline_pause(d->pipeline, pause) ? DAEMON_PAUSED : DAEMON_PAUSE_UNKNOWN;
}

size_t daemon_resume(struct daemon *d, enum pause_scope scope, const char *name)
{
    return pipeline_resume(d->pipeline, scope, name);
}
