/* A wall clock that can be set, for one process: LD_PRELOAD=presignd-setclock.so with
 * $PRESIGND_CLOCK_FILE, a file of eight bytes: by how many nanoseconds (int64_t of this machine)
 * the process's wall clock is ahead of the machine's. Whoever writes to that file sets the clock.
 *
 * It does what the kernel does when CLOCK_REALTIME is set: a wait until a wall time goes on until
 * that time has come by the new clock, however the clock was set meanwhile. (libfaketime does not
 * know cnd_timedwait(3) and timespec_get(3), by which librdkafka waits: calls return too early
 * under it, which no clock that is set brings about.) Other clocks and other waits are left alone.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)
/* How late a wait sees that the clock was set. */
#define SLICE (SECOND / 20)

static const _Atomic int64_t *ahead;
static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_cnd)(cnd_t *, mtx_t *, const struct timespec *);
static int (*real_cond)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);

static void *find(const char *name, const char *version)
{
    void *found = dlvsym(RTLD_NEXT, name, version);
    return found != NULL ? found : dlsym(RTLD_NEXT, name);
}

static void begin(void)
{
    static const _Atomic int64_t none;
    const char *path = getenv("PRESIGND_CLOCK_FILE");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    void *map = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    if (file >= 0) {
        close(file);
    }
    *(void **)&real_cnd = find("cnd_timedwait", "GLIBC_2.34");
    *(void **)&real_cond = find("pthread_cond_timedwait", "GLIBC_2.3.2");
    ahead = map == MAP_FAILED ? &none : map;
    *(void **)&real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
}

static int64_t read_ns(clockid_t id, bool as_set)
{
    struct timespec time = {0};
    if (real_gettime == NULL) {
        begin();
    }
    (void)real_gettime(id, &time);
    return time.tv_sec * SECOND + time.tv_nsec + (as_set ? atomic_load(ahead) : 0);
}

static struct timespec timespec_of(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / SECOND, .tv_nsec = ns % SECOND};
}

/* The C library's names of the parameters are reserved.
 * NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */
int clock_gettime(clockid_t id, struct timespec *time)
{
    if (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE) {
        if (real_gettime == NULL) {
            begin();
        }
        return real_gettime(id, time);
    }
    *time = timespec_of(read_ns(id, true));
    return 0;
}

int timespec_get(struct timespec *time, int base)
{
    *time = timespec_of(read_ns(CLOCK_REALTIME, true));
    return base;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    (void)zone;
    int64_t ns = read_ns(CLOCK_REALTIME, true);
    *time = (struct timeval){.tv_sec = ns / SECOND, .tv_usec = ns % SECOND / 1000};
    return 0;
}

time_t time(time_t *out)
{
    time_t now = (time_t)(read_ns(CLOCK_REALTIME, true) / SECOND);
    if (out != NULL) {
        *out = now;
    }
    return now;
}

/* The end of one slice of a wait until `until`; false when that time has come. */
static bool slice_end(const struct timespec *until, struct timespec *end)
{
    int64_t left = until->tv_sec * SECOND + until->tv_nsec - read_ns(CLOCK_REALTIME, true);
    if (left <= 0) {
        return false;
    }
    *end = timespec_of(read_ns(CLOCK_REALTIME, false) + (left < SLICE ? left : SLICE));
    return true;
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex,
                  const struct timespec *restrict until)
{
    struct timespec end;
    while (slice_end(until, &end)) {
        int result = real_cnd(condition, mutex, &end);
        if (result != thrd_timedout) {
            return result;
        }
    }
    return thrd_timedout;
}

/* For conditions that wait by CLOCK_REALTIME, as they do unless told otherwise. */
int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until)
{
    struct timespec end;
    while (slice_end(until, &end)) {
        int result = real_cond(condition, mutex, &end);
        if (result != ETIMEDOUT) {
            return result;
        }
    }
    return ETIMEDOUT;
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
