#include "kafka/detached.h"

#include "presignd/base/clock.h"
#include "presignd/base/mem.h"

#include <pthread.h>
#include <stdlib.h>

static struct {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    unsigned count;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};

struct start {
    detached_fn *run;
    void *context;
};

static void count_add(int by)
{
    pthread_mutex_lock(&all.lock);
    all.count += (unsigned)by;
    pthread_cond_broadcast(&all.ended);
    pthread_mutex_unlock(&all.lock);
}

static void *run_counted(void *context)
{
    struct start start = *(struct start *)context;
    free(context);
    start.run(start.context);
    count_add(-1);
    return NULL;
}

bool detached_start(const char *name, detached_fn *run, void *context)
{
    struct start *start = mem_alloc(sizeof *start);
    *start = (struct start){run, context};
    pthread_t thread;
    count_add(1);
    if (pthread_create(&thread, NULL, run_counted, start) != 0) {
        count_add(-1);
        free(start);
        return false;
    }
    (void)pthread_setname_np(thread, name);
    (void)pthread_detach(thread);
    return true;
}

unsigned detached_count(void)
{
    pthread_mutex_lock(&all.lock);
    unsigned count = all.count;
    pthread_mutex_unlock(&all.lock);
    return count;
}

bool detached_wait(int64_t timeout_ms)
{
    const struct timespec until = clock_mono_after(timeout_ms);
    pthread_mutex_lock(&all.lock);
    while (all.count > 0 &&
           pthread_cond_clockwait(&all.ended, &all.lock, CLOCK_MONOTONIC, &until) == 0) {
    }
    bool none = all.count == 0;
    pthread_mutex_unlock(&all.lock);
    return none;
}
