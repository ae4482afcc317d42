/* Threads for the calls of librdkafka that may wait for long: making a handle, destroying it, a
 * transaction. The library's timed waits are by the wall clock, so that one which began before the
 * clock was set back lasts as much longer, whatever time-out it was given. Nobody joins such a
 * thread. They are counted, so that the end of the process can wait for them, within a bound.
 */
#ifndef PRESIGND_KAFKA_DETACHED_H
#define PRESIGND_KAFKA_DETACHED_H

#include <stdbool.h>
#include <stdint.h>

typedef void detached_fn(void *context);

/* Runs `run(context)` on a detached thread named `name` (at most 15 characters). False when the
 * system gives no thread. */
bool detached_start(const char *name, detached_fn *run, void *context)
    __attribute__((warn_unused_result));
/* Threads that have not ended. Any thread. */
unsigned detached_count(void);
/* Waits until all have ended, `timeout_ms` at most by the monotonic clock. False when some go on:
 * then the process is to end by _exit(2), since the handlers of exit(3) would take away under
 * them what they use. */
bool detached_wait(int64_t timeout_ms) __attribute__((warn_unused_result));

#endif
