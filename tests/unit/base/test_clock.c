#include "presignd/base/clock.h"

#include <criterion/criterion.h>
#include <time.h>

Test(clock, system_reads_both_clocks)
{
    struct timespec before;
    clock_gettime(CLOCK_REALTIME, &before);
    struct moment moment = clock_now(&clock_system);
    struct timespec boot;
    clock_gettime(CLOCK_BOOTTIME, &boot);
    cr_assert_geq(moment.wall_ms, (int64_t)before.tv_sec * 1000 - 1000);
    cr_assert_leq(moment.mono_ms, (int64_t)boot.tv_sec * 1000 + boot.tv_nsec / 1000000);
    cr_assert_gt(moment.mono_ms, 0);
}

Test(clock, monotonic_time_never_decreases)
{
    int64_t last_us = clock_mono_us();
    int64_t last_ms = clock_now(&clock_system).mono_ms;
    for (int i = 0; i < 10000; i++) {
        int64_t us = clock_mono_us();
        int64_t ms = clock_now(&clock_system).mono_ms;
        cr_assert(us >= last_us && ms >= last_ms);
        last_us = us;
        last_ms = ms;
    }
    cr_assert_gt(last_us, 0);
}

static struct moment fixed(void *context)
{
    return *(struct moment *)context;
}

Test(clock, a_clock_can_be_replaced)
{
    struct moment moment = {.mono_ms = 7, .wall_ms = -7};
    struct clock clock = {.now = fixed, .context = &moment};
    cr_assert_eq(clock_now(&clock).mono_ms, 7);
    cr_assert_eq(clock_now(&clock).wall_ms, -7);
}
