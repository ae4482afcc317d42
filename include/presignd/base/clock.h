/* Clocks are passed in, so that tests can run years in milliseconds. */
#ifndef PRESIGND_BASE_CLOCK_H
#define PRESIGND_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* One moment by two clocks. `mono_ms` (CLOCK_BOOTTIME) never jumps: use it for waits. `wall_ms`
 * (milliseconds since 1970-01-01T00:00:00Z) is for times that others read. */
struct moment {
    int64_t mono_ms;
    int64_t wall_ms;
};

struct clock {
    struct moment (*now)(void *context);
    void *context;
};

/* The machine's clocks. */
extern const struct clock clock_system;

static inline struct moment clock_now(const struct clock *clock)
{
    return clock->now(clock->context);
}

/* The machine's clocks now. */
static inline int64_t clock_mono_ms(void)
{
    return clock_now(&clock_system).mono_ms;
}

static inline int64_t clock_wall_ms(void)
{
    return clock_now(&clock_system).wall_ms;
}

/* CLOCK_MONOTONIC in microseconds, for measuring durations. */
int64_t clock_mono_us(void);
/* Now plus `milliseconds` by CLOCK_MONOTONIC, for pthread_cond_clockwait(3). */
struct timespec clock_mono_after(int64_t milliseconds);

#endif
