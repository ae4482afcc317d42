/* What became of the last reload: kept for `presignctl reload`, which asks the admin listener
 * for it as /reload.json. */
#ifndef PRESIGND_OPS_RELOAD_WORD_H
#define PRESIGND_OPS_RELOAD_WORD_H

#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stdint.h>

/* Zeroed, it is that of a process that was never asked to. */
struct reload_word {
    int64_t count; /* reloads since the start, applied or refused */
    bool ok;
    int64_t at_ms;       /* wall clock, when the last one ended */
    struct buf problems; /* what is wrong, a line each */
};

/* `problems` NULL: it was applied. */
void reload_word_take(struct reload_word *word, const char *problems, int64_t wall_ms);
void reload_word_deinit(struct reload_word *word);
/* {"pid", "pid_namespace", "started_at", "count", "ok", "at", "errors": [...]}; `ok` and `at` only
 * when there was a reload. Times as RFC 3339. The pid means that process to those alone who share
 * its namespace (pid_namespaces(7)): the inode of /proc/self/ns/pid. */
void reload_word_json(const struct reload_word *word, int64_t started_ms, struct buf *out);

#endif
