#include "presignd/ops/process.h"

#include "presignd/base/log.h"

#include <dirent.h>
#include <stdbool.h>
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

/* False if it cannot be read. */
static bool read_line(const char *path, char *text, int size)
{
    FILE *file = fopen(path, "re");
    bool read = file != NULL && fgets(text, size, file) != NULL;
    if (file != NULL) {
        (void)fclose(file);
    }
    return read;
}

/* The first numbers of statm are the pages of the address space and the resident ones (proc(5)). */
static void measure_memory(struct metrics *metrics)
{
    char text[128], *rest;
    double page = (double)sysconf(_SC_PAGESIZE);
    if (read_line("/proc/self/statm", text, sizeof text)) {
        set(metrics, METRIC_VIRTUAL_BYTES, (double)strtoul(text, &rest, 10) * page);
        set(metrics, METRIC_RESIDENT_BYTES, (double)strtoul(rest, NULL, 10) * page);
    }
}

/* Of proc_pid_stat(5). The name in the second field may hold spaces and parentheses; what follows
 * its last parenthesis begins with the third field. */
enum { STAT_AFTER_NAME = 3, STAT_THREADS = 20 };

static void measure_threads(struct metrics *metrics)
{
    char text[1024];
    const char *at = read_line("/proc/self/stat", text, sizeof text) ? strrchr(text, ')') : NULL;
    for (int field = STAT_AFTER_NAME - 1; at != NULL && field < STAT_THREADS; field++) {
        at = strchr(at + 1, ' ');
    }
    if (at != NULL) {
        set(metrics, METRIC_THREADS, (double)strtoul(at, NULL, 10));
    }
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
    if (getrlimit(RLIMIT_AS, &limit) == 0) {
        set(metrics, METRIC_VIRTUAL_MAX_BYTES,
            limit.rlim_cur == RLIM_INFINITY ? -1 : (double)limit.rlim_cur);
    }
    metric_count_to(metrics_series(metrics, METRIC_LOG_DROPPED, NULL), (double)log_dropped());
    measure_memory(metrics);
    measure_threads(metrics);
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
