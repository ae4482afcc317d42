/* Log rate limiter: log the first N per minute, count the rest. Pure.
 *
 * One limiter for each kind of line. The minute begins with its first line. */
#ifndef PRESIGND_BASE_LOG_RATELIMIT_H
#define PRESIGND_BASE_LOG_RATELIMIT_H

#include <stdbool.h>
#include <stdint.h>

enum {
    LOG_RATELIMIT_MS = 60000,
    LOG_RATELIMIT_LINES = 20, /* the usual N */
};

/* All zero: nothing was logged yet. */
struct log_ratelimit {
    int64_t begin_ms;
    unsigned logged;
    uint64_t suppressed;
};

/* True when this line is one of the first `lines` of the minute: log it. Else it is counted. Pass
 * the same number each time. */
bool log_ratelimit_allows(struct log_ratelimit *limit, unsigned lines, int64_t now_ms);
/* Ends a minute that is over and returns how many lines were suppressed in it; else 0. Call it
 * every few seconds: a minute lasts until this call ends it. */
uint64_t log_ratelimit_suppressed(struct log_ratelimit *limit, int64_t now_ms);

#endif
