/* How benchmark programs measure: processor time of one repetition, in microseconds. */
#ifndef PRESIGND_BENCH_H
#define PRESIGND_BENCH_H

#include "presignd/base/mem.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>

/* What is repeated; false means that it went wrong, and ends the program. */
typedef bool bench_fn(const void *context);

static inline double bench_cpu_s(void)
{
    struct timespec at;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static inline int bench_compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Five runs; the middle one is printed, beside the fastest and the slowest. */
static inline void bench(const char *name, bench_fn *work, const void *context, double seconds)
{
    double us[5];
    for (size_t run = 0; run < ARRAY_LENGTH(us); run++) {
        double begin = bench_cpu_s();
        double end = begin;
        unsigned long count = 0;
        for (; end - begin < seconds / 5; end = bench_cpu_s()) {
            for (int i = 0; i < 16; i++, count++) {
                if (!work(context)) {
                    fprintf(stderr, "bench: %s failed\n", name);
                    exit(EX_SOFTWARE);
                }
            }
        }
        us[run] = (end - begin) * 1e6 / (double)count;
    }
    qsort(us, ARRAY_LENGTH(us), sizeof us[0], bench_compare);
    printf("%-40s %9.2f us (%.2f to %.2f)\n", name, us[2], us[0], us[4]);
}

#endif
