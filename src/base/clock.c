#include "presignd/base/clock.h"

#include <time.h>

/* clock_gettime() cannot fail: every Linux has these clocks. */
static int64_t read_ns(clockid_t id)
{
    struct timespec time = {0};
    (void)clock_gettime(id, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static struct moment system_now(void *)
{
    return (struct moment){.mono_ms = read_ns(CLOCK_BOOTTIME) / 1000000,
                           .wall_ms = read_ns(CLOCK_REALTIME) / 1000000};
}

const struct clock clock_system = {.now = system_now};

int64_t clock_mono_us(void)
{
    return read_ns(CLOCK_MONOTONIC) / 1000;
}

struct timespec clock_mono_after(int64_t milliseconds)
{
    int64_t at_ns = read_ns(CLOCK_MONOTONIC) + milliseconds * 1000000;
    return (struct timespec){.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000};
}
