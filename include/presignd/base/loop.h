/* The event loop: one epoll set, one timer heap, one signalfd, one step.
 *
 * Callbacks of descriptors, timers and signals only note what happened; the step function,
 * called once after each round of them, does the work and reads from top to bottom.
 * Everything here belongs to the thread that calls loop_run(), but for loop_wake().
 * A round: wait, descriptors, timers that are due (earliest first), step.
 */
#ifndef PRESIGND_BASE_LOOP_H
#define PRESIGND_BASE_LOOP_H

#include "presignd/base/heap.h"

#include <stdint.h>

struct loop;
struct loop_fd;

typedef void loop_fd_fn(void *context, uint32_t epoll_events);
typedef void loop_fn(void *context);
typedef void loop_signal_fn(void *context, int signal_number);

/* NULL with errno set when the kernel gives no epoll or eventfd descriptor. */
struct loop *loop_new(void) __attribute__((warn_unused_result));
/* Accepts NULL, returns NULL. Descriptors that were added are not closed, timers are stopped,
 * signals stay blocked. Not to be called inside a callback. */
struct loop *loop_free(struct loop *loop);

/* Watches `fd` for EPOLLIN, EPOLLOUT (level-triggered); EPOLLERR and EPOLLHUP always come
 * too. NULL with errno set on failure. The watch lives until loop_fd_remove() or
 * loop_free(), and is to be removed before `fd` is closed. */
struct loop_fd *loop_fd_add(struct loop *loop, int fd, uint32_t epoll_events, loop_fd_fn *fn,
                            void *context) __attribute__((warn_unused_result));
void loop_fd_modify(struct loop_fd *watch, uint32_t epoll_events);
/* Stops watching: no callback of it comes any more, not in this round either; safe inside
 * its own and other callbacks. Accepts NULL, returns NULL. */
struct loop_fd *loop_fd_remove(struct loop_fd *watch);

/* A timer, embedded in its owner; all its fields belong to the loop. */
struct loop_timer {
    struct heap_slot slot;
    struct loop *loop;
    loop_fn *fn;
    void *context;
};
void loop_timer_init(struct loop_timer *timer, struct loop *loop, loop_fn *fn, void *context);
/* Fires once at or after that moment of clock_system's mono_ms, never before; replaces an
 * earlier setting. */
void loop_timer_set(struct loop_timer *timer, int64_t mono_ms);
void loop_timer_stop(struct loop_timer *timer);

/* Blocks the signals in the calling thread (call it before any thread is made) and hands
 * them to `fn` on the loop. `signals` ends with 0. 0, or a negative errno; -EBUSY when
 * the loop has signals already. */
int loop_signals(struct loop *loop, const int *signals, loop_signal_fn *fn, void *context)
    __attribute__((warn_unused_result));

/* Called after every round. */
void loop_step_set(struct loop *loop, loop_fn *fn, void *context);
/* One more round without waiting, once the present step has returned. Loop's thread only. */
void loop_again(struct loop *loop);
/* Wakes the loop from any thread (and from none: async-signal-safe). */
void loop_wake(struct loop *loop);
/* Runs until loop_stop(); then returns what that was given. Aborts when the kernel refuses
 * epoll_wait(2), which only a bug of ours can bring about. */
int loop_run(struct loop *loop);
/* The present round is the last one, its step included; before loop_run(), the first is. */
void loop_stop(struct loop *loop, int status);

#endif
