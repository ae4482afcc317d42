/* The event loop: sd-event(3) in rounds, with a step after each.
 *
 * A round waits until something is ready, and calls back for what is: descriptors, timers, signals,
 * in no order among them. Then it calls the step. Callbacks only note what happened; the step does
 * the work and reads from top to bottom.
 * All functions belong to the thread that calls loop_run(), except loop_wake().
 */
#ifndef PRESIGND_BASE_LOOP_H
#define PRESIGND_BASE_LOOP_H

#include "presignd/base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_fd;

typedef void loop_fd_fn(void *context, uint32_t epoll_events);
typedef void loop_fn(void *context);
typedef void loop_signal_fn(void *context, int signal_number);

/* NULL with errno set when the kernel gives no descriptor. */
struct loop *loop_new(void) __attribute__((warn_unused_result));
/* Accepts NULL, returns NULL. Remove every watch and stop every timer first, or the loop's memory
 * leaks. Signals stay blocked. Do not call it in a callback. */
struct loop *loop_free(struct loop *loop);

/* Watches `fd` for EPOLLIN, EPOLLOUT (level-triggered); EPOLLERR and EPOLLHUP always come
 * too. NULL with errno set on failure. Remove the watch before you close `fd`. */
struct loop_fd *loop_fd_add(struct loop *loop, int fd, uint32_t epoll_events, loop_fd_fn *fn,
                            void *context) __attribute__((warn_unused_result));
void loop_fd_modify(struct loop_fd *watch, uint32_t epoll_events);
/* Stops watching; safe in any callback. The watch's callback does not come any more, not in this
 * round either. Accepts NULL, returns NULL. */
struct loop_fd *loop_fd_remove(struct loop_fd *watch);

/* A timer, embedded in its owner; all its fields belong to the loop. */
struct loop_timer {
    struct loop *loop;
    loop_fn *fn;
    void *context;
    struct sd_event_source *source; /* NULL while the timer is not set */
};
void loop_timer_init(struct loop_timer *timer, struct loop *loop, loop_fn *fn, void *context);
/* Fires once, at or after that moment of clock_system's mono_ms; replaces an earlier setting. 0
 * fires in this round or the next, and needs no system call. */
void loop_timer_set(struct loop_timer *timer, int64_t mono_ms);
/* It may be set again. A timer that is not set, or all zero, is left alone. */
void loop_timer_stop(struct loop_timer *timer);

/* Blocks the signals in the calling thread (call it before any thread is made) and passes them to
 * `fn` on the loop. `signals` ends with 0. False with errno set. Call it once. */
bool loop_signals(struct loop *loop, const int *signals, loop_signal_fn *fn, void *context)
    __attribute__((warn_unused_result));

/* `fn` is called after every round. */
void loop_step_set(struct loop *loop, loop_fn *fn, void *context);

/* A call that is made once, after the step and before the loop waits; embedded in its owner. By it,
 * what callbacks and the step collect goes out together. It costs no system call. */
struct loop_deferred {
    struct list_link link;
    loop_fn *fn;
    void *context;
    struct list *in; /* NULL: it is not set */
};
/* Nothing happens while it is set already. */
void loop_defer(struct loop *loop, struct loop_deferred *deferred);
/* The same before the step, so the step sees what the call did. If it is set in the step or in such
 * a call, it is made in the next round, and the loop does not wait before that. */
void loop_before_step(struct loop *loop, struct loop_deferred *deferred);
/* Cancels a call of either kind. Not set, or all zero: nothing happens. */
void loop_defer_cancel(struct loop_deferred *deferred);

/* The next round does not wait. */
void loop_again(struct loop *loop);
/* Wakes the loop. Any thread and any signal handler may call it. */
void loop_wake(struct loop *loop);
/* Runs until loop_stop(); returns the status given there. Aborts when sd-event fails, which only
 * exhausted memory or a bug of ours brings about. */
int loop_run(struct loop *loop);
/* The present round is the last, its step included. Before loop_run(): the first round is. */
void loop_stop(struct loop *loop, int status);

#endif
