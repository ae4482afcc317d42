#include "presignd/base/loop.h"

#include "presignd/base/log.h"
#include "presignd/base/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <systemd/sd-event.h>
#include <unistd.h>

enum {
    /* Bounds a round, so that the step runs however many sources are ready. */
    SOURCES_PER_ROUND = 256,
    TIMER_ACCURACY_US = 1, /* 0 is sd-event's default of 250 ms */
};

struct loop_fd {
    sd_event_source *source;
    loop_fd_fn *fn;
    void *context;
};

struct loop {
    sd_event *event;
    int wake_fd;
    loop_signal_fn *signal_fn;
    void *signal_context;
    loop_fn *step;
    void *step_context;
    struct list deferred, before_step;
    bool again, stopping;
    int status;
};

/* These calls fail only when memory is exhausted, or by a bug of ours. */
static void must(int result)
{
    if (result < 0) {
        log_text(LOG_CRIT, "event loop: %s", strerror(-result));
        abort();
    }
}

static int drain_wake(sd_event_source *source, int fd, uint32_t events, void *context)
{
    (void)source;
    (void)events;
    (void)context;
    uint64_t count;
    (void)!read(fd, &count, sizeof count);
    return 0;
}

static int set_up(struct loop *loop)
{
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int result = loop->wake_fd < 0 ? -errno : sd_event_new(&loop->event);
    if (result >= 0) {
        result = sd_event_add_io(loop->event, NULL, loop->wake_fd, EPOLLIN, drain_wake, loop);
    }
    if (result >= 0) { /* makes the timerfd: no timer fails later because none is left */
        result = sd_event_add_time(loop->event, NULL, CLOCK_BOOTTIME, UINT64_MAX, 0, NULL, NULL);
    }
    return result;
}

struct loop *loop_new(void)
{
    struct loop *loop = mem_zalloc(1, sizeof *loop);
    list_init(&loop->deferred);
    list_init(&loop->before_step);
    int result = set_up(loop);
    if (result < 0) {
        loop = loop_free(loop);
        errno = -result;
    }
    return loop;
}

struct loop *loop_free(struct loop *loop)
{
    if (loop == NULL) {
        return NULL;
    }
    sd_event_unref(loop->event);
    if (loop->wake_fd >= 0) {
        close(loop->wake_fd);
    }
    free(loop);
    return NULL;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *context)
{
    const struct loop_fd *watch = context;
    (void)source;
    (void)fd;
    watch->fn(watch->context, events);
    return 0;
}

struct loop_fd *loop_fd_add(struct loop *loop, int fd, uint32_t epoll_events, loop_fd_fn *fn,
                            void *context)
{
    struct loop_fd *watch = mem_alloc(sizeof *watch);
    *watch = (struct loop_fd){.fn = fn, .context = context};
    int result = sd_event_add_io(loop->event, &watch->source, fd, epoll_events, on_io, watch);
    if (result < 0) {
        free(watch);
        errno = -result;
        return NULL;
    }
    return watch;
}

void loop_fd_modify(struct loop_fd *watch, uint32_t epoll_events)
{
    (void)sd_event_source_set_io_events(watch->source, epoll_events);
}

struct loop_fd *loop_fd_remove(struct loop_fd *watch)
{
    if (watch != NULL) {
        sd_event_source_disable_unref(watch->source);
        free(watch);
    }
    return NULL;
}

void loop_timer_init(struct loop_timer *timer, struct loop *loop, loop_fn *fn, void *context)
{
    *timer = (struct loop_timer){.loop = loop, .fn = fn, .context = context};
}

static int on_defer(sd_event_source *source, void *context)
{
    struct loop_timer *timer = context;
    (void)source;
    loop_timer_stop(timer);
    timer->fn(timer->context);
    return 0;
}

static int on_time(sd_event_source *source, uint64_t at_us, void *context)
{
    (void)at_us;
    return on_defer(source, context);
}

void loop_timer_set(struct loop_timer *timer, int64_t mono_ms)
{
    sd_event *event = timer->loop->event;
    uint64_t at_us = mono_ms > INT64_MAX / 1000 ? INT64_MAX : (uint64_t)mono_ms * 1000;
    loop_timer_stop(timer);
    must(mono_ms <= 0 ? sd_event_add_defer(event, &timer->source, on_defer, timer)
                      : sd_event_add_time(event, &timer->source, CLOCK_BOOTTIME, at_us,
                                          TIMER_ACCURACY_US, on_time, timer));
}

void loop_timer_stop(struct loop_timer *timer)
{
    timer->source = sd_event_source_disable_unref(timer->source);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *context)
{
    struct loop *loop = context;
    (void)source;
    loop->signal_fn(loop->signal_context, (int)info->ssi_signo);
    return 0;
}

bool loop_signals(struct loop *loop, const int *signals, loop_signal_fn *fn, void *context)
{
    loop->signal_fn = fn;
    loop->signal_context = context;
    sigset_t set;
    sigemptyset(&set);
    int result = 0;
    for (; result >= 0 && *signals != 0; signals++) {
        (void)sigaddset(&set, *signals);
        /* Not by SD_EVENT_SIGNAL_PROCMASK, which unblocks them in loop_free(). */
        (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
        result = sd_event_add_signal(loop->event, NULL, *signals, on_signal, loop);
    }
    errno = result < 0 ? -result : errno;
    return result >= 0;
}

void loop_step_set(struct loop *loop, loop_fn *fn, void *context)
{
    loop->step = fn;
    loop->step_context = context;
}

static void set(struct list *list, struct loop_deferred *deferred)
{
    if (deferred->in == NULL) {
        deferred->in = list;
        list_push_back(list, &deferred->link);
    }
}

void loop_defer(struct loop *loop, struct loop_deferred *deferred)
{
    set(&loop->deferred, deferred);
}

void loop_before_step(struct loop *loop, struct loop_deferred *deferred)
{
    set(&loop->before_step, deferred);
}

void loop_defer_cancel(struct loop_deferred *deferred)
{
    if (deferred->in != NULL) {
        list_remove(deferred->in, &deferred->link);
        deferred->in = NULL;
    }
}

static void run_deferred(struct list *list)
{
    /* Only those that are set now: one may set itself again. */
    struct list_link *link;
    for (size_t count = list->count; count > 0 && (link = list_pop_front(list)) != NULL; count--) {
        struct loop_deferred *deferred = CONTAINER_OF(link, struct loop_deferred, link);
        deferred->in = NULL;
        deferred->fn(deferred->context);
    }
}

void loop_again(struct loop *loop)
{
    loop->again = true;
}

void loop_wake(struct loop *loop)
{
    int error = errno; /* signal handlers keep it */
    /* It fails only when the counter is full: then the loop is awake already. */
    (void)!write(loop->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    errno = error;
}

void loop_stop(struct loop *loop, int status)
{
    loop->stopping = true;
    loop->status = status;
}

/* Dispatches one source; false when none is ready in that time. */
static bool run_one(struct loop *loop, uint64_t wait_us)
{
    int result = sd_event_run(loop->event, wait_us);
    must(result);
    return result > 0;
}

int loop_run(struct loop *loop)
{
    do {
        run_deferred(&loop->deferred);
        bool more = loop->again || loop->stopping || !list_empty(&loop->deferred) ||
                    !list_empty(&loop->before_step);
        uint64_t wait_us = more ? 0 : UINT64_MAX;
        loop->again = false;
        for (int i = 0; i < SOURCES_PER_ROUND && run_one(loop, wait_us); i++) {
            wait_us = 0;
        }
        run_deferred(&loop->before_step);
        if (loop->step != NULL) {
            loop->step(loop->step_context);
        }
    } while (!loop->stopping);
    loop->stopping = false;
    return loop->status;
}
