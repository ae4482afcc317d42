/* Threads for calls of librdkafka that may block for long: creating a client, destroying it, a
 * transaction. The library's timed waits use the wall clock. When that clock is set back by an
 * hour, a current wait takes an hour longer. So these threads are not joined but counted, and the
 * end of the process waits for them for a bounded time.
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
/* How many have not ended. Any thread may ask. */
unsigned detached_count(void);
/* Waits until all have ended, at most `timeout_ms` (monotonic clock). False when some still run.
 * Then end the process by _exit(2): the handlers of exit(3) would free what they still use. */
bool detached_wait(int64_t timeout_ms) __attribute__((warn_unused_result));

#endif
