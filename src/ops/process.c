#include "presignd/ops/process.h"

#include "presignd/base/log.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void set(struct metrics *metrics, enum metric metric, double value)
{
    metric_set(metrics_series(metrics, metric, NULL), value);
}

/* The second number of statm is the number of resident pages (proc(5)). */
static void measure_memory(struct metrics *metrics)
{
    char text[128];
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL) {
        return;
    }
    const char *second = fgets(text, sizeof text, file) == NULL ? NULL : strchr(text, ' ');
    if (second != NULL) {
        set(metrics, METRIC_RESIDENT_BYTES,
            (double)strtoul(second, NULL, 10) * (double)sysconf(_SC_PAGESIZE));
    }
    (void)fclose(file);
}

static void measure_descriptors(struct metrics *metrics)
{
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) {
        return;
    }
    int count = -3; /* ".", ".." and the directory itself */
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    set(metrics, METRIC_OPEN_FDS, count);
}

void process_measure(struct metrics *metrics)
{
    struct rusage usage;
    struct rlimit limit;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        metric_count_to(metrics_series(metrics, METRIC_CPU_SECONDS, NULL),
                        seconds(usage.ru_utime) + seconds(usage.ru_stime));
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        set(metrics, METRIC_MAX_FDS, (double)limit.rlim_cur);
    }
    metric_count_to(metrics_series(metrics, METRIC_LOG_DROPPED, NULL), (double)log_dropped());
    measure_memory(metrics);
    measure_descriptors(metrics);
}

void process_raise_descriptors(uint64_t count)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < count) {
        limit.rlim_cur = count < limit.rlim_max ? count : limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}
