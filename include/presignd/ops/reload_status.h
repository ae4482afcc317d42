/* How the last reload ended. `presignctl reload` reads it as /reload.json. */
#ifndef PRESIGND_OPS_RELOAD_STATUS_H
#define PRESIGND_OPS_RELOAD_STATUS_H

#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed: no reload since the start. */
struct reload_status {
    int64_t count; /* reloads since the start, applied or not */
    bool ok;
    int64_t at_ms; /* wall clock, when the last one ended */
    char **errors; /* why it was refused: every problem, one line each */
    size_t error_count;
};

/* `problems`: one per line; NULL: the reload was applied. */
void reload_status_set(struct reload_status *status, const char *problems, int64_t wall_ms);
void reload_status_deinit(struct reload_status *status);
/* {"pid", "pid_namespace", "started_at", "count", "ok", "at", "errors": [...]}; `ok` and `at` only
 * after a reload. Times as RFC 3339. pid_namespace is the inode of /proc/self/ns/pid: the pid is
 * valid only in that namespace (pid_namespaces(7)). */
void reload_status_json(const struct reload_status *status, int64_t started_ms, struct buf *out);

#endif
