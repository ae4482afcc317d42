#include "presignd/base/loop.h"

#include "presignd/base/clock.h"
#include "presignd/base/list.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    /* Bounds of one round, so that no kind of event keeps the others or the step waiting. */
    EVENTS_PER_ROUND = 256,
    TIMERS_PER_ROUND = 1024,
    SIGNALS_PER_ROUND = 16,
    /* epoll_wait(2) does not count time asleep, timers do (CLOCK_BOOTTIME): after a suspend
     * a timer is at most this late. */
    WAIT_MAX_MS = 10000,
};

struct loop_fd {
    struct list_link link;
    struct loop *loop;
    loop_fd_fn *fn; /* NULL once removed */
    void *context;
    int fd;
    uint32_t events;
};

struct loop {
    int epoll;
    int wake;
    int signals; /* -1 without */
    loop_signal_fn *signal_fn;
    void *signal_context;
    loop_fn *step;
    void *step_context;
    struct heap timers;
    struct list watches;
    /* Removed ones stay until the round's end: events already fetched point to them. */
    struct list removed;
    bool again, stopping;
    int status;
};

static void drain_wake(void *context, uint32_t events)
{
    const struct loop *loop = context;
    (void)events;
    uint64_t count;
    /* One read empties it; that it was empty already is no harm. */
    (void)!read(loop->wake, &count, sizeof count);
}

struct loop *loop_new(void)
{
    struct loop *loop = mem_zalloc(1, sizeof *loop);
    list_init(&loop->watches);
    list_init(&loop->removed);
    loop->signals = -1;
    loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0 || loop->wake < 0 ||
        loop_fd_add(loop, loop->wake, EPOLLIN, drain_wake, loop) == NULL) {
        int error = errno;
        loop = loop_free(loop);
        errno = error;
    }
    return loop;
}

static void free_watches(struct list *list)
{
    LIST_FOREACH_SAFE (list, link) {
        free(CONTAINER_OF(link, struct loop_fd, link));
    }
    list_init(list);
}

static void close_if_open(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

struct loop *loop_free(struct loop *loop)
{
    if (loop == NULL) {
        return NULL;
    }
    free_watches(&loop->watches);
    free_watches(&loop->removed);
    heap_deinit(&loop->timers);
    close_if_open(loop->signals);
    close_if_open(loop->wake);
    close_if_open(loop->epoll);
    free(loop);
    return NULL;
}

struct loop_fd *loop_fd_add(struct loop *loop, int fd, uint32_t epoll_events, loop_fd_fn *fn,
                            void *context)
{
    struct loop_fd *watch = mem_alloc(sizeof *watch);
    *watch = (struct loop_fd){
        .loop = loop, .fn = fn, .context = context, .fd = fd, .events = epoll_events};
    struct epoll_event event = {.events = epoll_events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        int error = errno;
        free(watch);
        errno = error;
        return NULL;
    }
    list_push_back(&loop->watches, &watch->link);
    return watch;
}

void loop_fd_modify(struct loop_fd *watch, uint32_t epoll_events)
{
    if (watch->events == epoll_events) {
        return;
    }
    watch->events = epoll_events;
    struct epoll_event event = {.events = epoll_events, .data.ptr = watch};
    (void)epoll_ctl(watch->loop->epoll, EPOLL_CTL_MOD, watch->fd, &event);
}

struct loop_fd *loop_fd_remove(struct loop_fd *watch)
{
    if (watch == NULL) {
        return NULL;
    }
    /* Fails only when the descriptor is closed already, and so gone from the set. */
    (void)epoll_ctl(watch->loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->fn = NULL;
    list_remove(&watch->loop->watches, &watch->link);
    list_push_back(&watch->loop->removed, &watch->link);
    return NULL;
}

void loop_timer_init(struct loop_timer *timer, struct loop *loop, loop_fn *fn, void *context)
{
    *timer = (struct loop_timer){.loop = loop, .fn = fn, .context = context};
}

void loop_timer_set(struct loop_timer *timer, int64_t mono_ms)
{
    heap_set(&timer->loop->timers, &timer->slot, mono_ms);
}

void loop_timer_stop(struct loop_timer *timer)
{
    if (heap_holds(&timer->slot)) { /* one that was never set up has no loop */
        heap_remove(&timer->loop->timers, &timer->slot);
    }
}

static void read_signals(void *context, uint32_t events)
{
    struct loop *loop = context;
    (void)events;
    struct signalfd_siginfo infos[SIGNALS_PER_ROUND];
    ssize_t size = read(loop->signals, infos, sizeof infos);
    for (size_t i = 0; size > 0 && i < (size_t)size / sizeof infos[0]; i++) {
        loop->signal_fn(loop->signal_context, (int)infos[i].ssi_signo);
    }
}

int loop_signals(struct loop *loop, const int *signals, loop_signal_fn *fn, void *context)
{
    if (loop->signals >= 0) {
        return -EBUSY;
    }
    sigset_t set;
    sigemptyset(&set);
    for (; *signals != 0; signals++) {
        if (sigaddset(&set, *signals) < 0) {
            return -errno;
        }
    }
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    if (loop_fd_add(loop, fd, EPOLLIN, read_signals, loop) == NULL) {
        int error = errno;
        close(fd);
        return -error;
    }
    loop->signals = fd;
    loop->signal_fn = fn;
    loop->signal_context = context;
    return -pthread_sigmask(SIG_BLOCK, &set, NULL);
}

void loop_step_set(struct loop *loop, loop_fn *fn, void *context)
{
    loop->step = fn;
    loop->step_context = context;
}

void loop_again(struct loop *loop)
{
    loop->again = true;
}

void loop_wake(struct loop *loop)
{
    int error = errno; /* a signal handler must leave it as it was */
    /* A full counter, the one way to fail, means that the loop is awake already. */
    (void)!write(loop->wake, &(uint64_t){1}, sizeof(uint64_t));
    errno = error;
}

void loop_stop(struct loop *loop, int status)
{
    loop->stopping = true;
    loop->status = status;
}

static int wait_ms(const struct loop *loop)
{
    if (loop->again || loop->stopping) {
        return 0;
    }
    const struct heap_slot *first = heap_first(&loop->timers);
    if (first == NULL) {
        return -1;
    }
    int64_t now_ms = clock_now(&clock_system).mono_ms;
    if (first->at <= now_ms) {
        return 0;
    }
    /* `at` may be anything up to INT64_MAX, the clock is never negative: no overflow. */
    int64_t left_ms = first->at - now_ms;
    return left_ms < WAIT_MAX_MS ? (int)left_ms : WAIT_MAX_MS;
}

static void dispatch(const struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        const struct loop_fd *watch = events[i].data.ptr;
        /* A callback of this round may have removed the watch or asked for less. */
        uint32_t wanted = events[i].events & (watch->events | EPOLLERR | EPOLLHUP);
        if (watch->fn != NULL && wanted != 0) {
            watch->fn(watch->context, wanted);
        }
    }
}

static void fire_timers(struct loop *loop)
{
    struct heap_slot *slot = heap_first(&loop->timers);
    if (slot == NULL) {
        return;
    }
    int64_t now_ms = clock_now(&clock_system).mono_ms;
    for (int i = 0; i < TIMERS_PER_ROUND && slot != NULL && slot->at <= now_ms; i++) {
        heap_remove(&loop->timers, slot);
        struct loop_timer *timer = CONTAINER_OF(slot, struct loop_timer, slot);
        timer->fn(timer->context);
        slot = heap_first(&loop->timers);
    }
}

static void run_round(struct loop *loop)
{
    struct epoll_event events[EVENTS_PER_ROUND];
    int count = epoll_wait(loop->epoll, events, EVENTS_PER_ROUND, wait_ms(loop));
    if (count < 0 && errno != EINTR) {
        log_text(LOG_CRIT, "event loop: epoll_wait: %m");
        abort();
    }
    loop->again = false;
    dispatch(events, count);
    fire_timers(loop);
    if (loop->step != NULL) {
        loop->step(loop->step_context);
    }
    free_watches(&loop->removed);
}

int loop_run(struct loop *loop)
{
    do {
        run_round(loop);
    } while (!loop->stopping);
    loop->stopping = false;
    return loop->status;
}
