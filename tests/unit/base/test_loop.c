#include "presignd/base/loop.h"

#include "presignd/base/clock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

static struct loop *loop;
static int rounds;
/* A letter for each callback, in order. */
static char calls[16];

static void note(char letter)
{
    size_t len = strlen(calls);
    cr_assert_lt(len, sizeof calls - 1);
    calls[len] = letter;
}

static void on_letter(void *context)
{
    note(*(const char *)context);
}

static void stop_seven(void *context)
{
    (void)context;
    loop_stop(loop, 7);
}

static void count_round(void *context)
{
    (void)context;
    rounds++;
}

/* Long enough for whatever is ready at once. */
static void run_some_rounds(void)
{
    struct loop_timer end;
    loop_timer_init(&end, loop, stop_seven, NULL);
    loop_timer_set(&end, clock_now(&clock_system).mono_ms + 50);
    cr_assert_eq(loop_run(loop), 7);
}

static void set_up(void)
{
    loop = loop_new();
    cr_assert_not_null(loop);
    loop_step_set(loop, count_round, NULL);
}

static void tear_down(void)
{
    loop = loop_free(loop);
    cr_assert_null(loop);
}

TestSuite(loop, .init = set_up, .fini = tear_down, .timeout = 60);

Test(loop, stop_ends_the_run_after_the_step_of_its_round)
{
    loop_stop(loop, 8);
    cr_assert_eq(loop_run(loop), 8);
    cr_assert_eq(rounds, 1);
    cr_assert_null(loop_free(NULL));
}

static int64_t fired_ms;

static void on_fired(void *context)
{
    fired_ms = clock_now(&clock_system).mono_ms;
    loop_stop(context, 0);
}

/* sd-event's default accuracy is a quarter of a second. */
Test(loop, a_timer_fires_once_and_not_too_early)
{
    struct loop_timer timer;
    loop_timer_init(&timer, loop, on_fired, loop);
    int64_t at_ms = clock_now(&clock_system).mono_ms + 20;
    loop_timer_set(&timer, INT64_MAX);
    loop_timer_set(&timer, at_ms);
    cr_assert_eq(loop_run(loop), 0);
    cr_assert_geq(fired_ms, at_ms);
    run_some_rounds(); /* it does not fire again: the run ends with 7 */
}

Test(loop, a_stopped_timer_does_not_fire)
{
    struct loop_timer past, later, set;
    loop_timer_init(&past, loop, on_letter, (char[]){"p"});
    loop_timer_init(&later, loop, on_letter, (char[]){"l"});
    loop_timer_init(&set, loop, on_letter, (char[]){"s"});
    loop_timer_set(&past, 0);
    loop_timer_set(&later, clock_now(&clock_system).mono_ms + 1);
    loop_timer_set(&set, INT64_MIN);
    loop_timer_stop(&past);
    loop_timer_stop(&later);
    loop_timer_stop(&(struct loop_timer){0});
    run_some_rounds();
    cr_assert_str_eq(calls, "s");
}

static void fire_again(void *context)
{
    loop_timer_set(context, 0);
}

Test(loop, a_timer_that_always_fires_lets_the_step_run)
{
    struct loop_timer timer;
    loop_timer_init(&timer, loop, fire_again, &timer);
    loop_timer_set(&timer, 0);
    loop_step_set(loop, stop_seven, NULL);
    cr_assert_eq(loop_run(loop), 7);
    loop_timer_stop(&timer);
}

static struct loop_deferred first, second;
static int left;

static void before_step(void *context)
{
    on_letter(context);
    if (--left > 0) {
        loop_before_step(loop, &first);
        loop_before_step(loop, &first);
    }
}

static void in_step(void *context)
{
    note('s');
    loop_defer(loop, &second);
    if (left == 0) {
        stop_seven(context);
    }
}

/* No round waits for anything here, or it would wait for ever. */
Test(loop, deferred_calls_come_before_the_step_and_before_the_wait)
{
    first = (struct loop_deferred){.fn = before_step, .context = (char[]){"b"}};
    second = (struct loop_deferred){.fn = on_letter, .context = (char[]){"w"}};
    left = 3;
    loop_step_set(loop, in_step, NULL);
    loop_before_step(loop, &first);
    cr_assert_eq(loop_run(loop), 7);
    cr_assert_str_eq(calls, "bswbswbs");
    loop_defer_cancel(&second);
    loop_before_step(loop, &first);
    loop_defer_cancel(&first);
    loop_defer_cancel(&(struct loop_deferred){0});
    loop_step_set(loop, count_round, NULL);
    run_some_rounds();
    cr_assert_str_eq(calls, "bswbswbs");
}

/* Two descriptors that are readable until they are closed. */
static struct watched {
    int fd;
    struct loop_fd *watch;
} pair[2];

static void watch_pair(loop_fd_fn *fn)
{
    for (int i = 0; i < 2; i++) {
        pair[i].fd = eventfd(1, EFD_CLOEXEC);
        pair[i].watch = loop_fd_add(loop, pair[i].fd, EPOLLIN, fn, NULL);
        cr_assert_not_null(pair[i].watch);
    }
}

static void close_pair(void)
{
    for (int i = 0; i < 2; i++) {
        pair[i].watch = loop_fd_remove(pair[i].watch);
        close(pair[i].fd);
    }
}

static void on_remove_both(void *context, uint32_t events)
{
    (void)context;
    cr_assert_eq(events, EPOLLIN);
    note('r');
    close_pair();
}

/* Both are ready in one round: one removes itself and the other. */
Test(loop, a_removed_watch_has_no_callback_in_that_round_either)
{
    watch_pair(on_remove_both);
    run_some_rounds();
    cr_assert_str_eq(calls, "r");
    cr_assert_null(loop_fd_remove(NULL));
}

static void on_silence_both(void *context, uint32_t events)
{
    (void)context;
    (void)events;
    note('s');
    loop_fd_modify(pair[0].watch, 0);
    loop_fd_modify(pair[1].watch, 0);
}

Test(loop, modify_holds_for_the_present_round_too)
{
    watch_pair(on_silence_both);
    run_some_rounds();
    cr_assert_str_eq(calls, "s");
    loop_fd_modify(pair[0].watch, EPOLLIN | EPOLLOUT);
    run_some_rounds();
    cr_assert_str_eq(calls, "ss");
    close_pair();
}

Test(loop, add_returns_the_error_of_the_kernel)
{
    cr_assert_null(loop_fd_add(loop, -1, EPOLLIN, on_silence_both, NULL));
    cr_assert_eq(errno, EBADF);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    cr_assert_null(loop_fd_add(loop, file, EPOLLIN, on_silence_both, NULL));
    cr_assert_eq(errno, EPERM);
    close(file);
}

/* A loop needs three descriptors: eventfd, epoll, timerfd. */
Test(loop, new_fails_when_descriptors_run_out)
{
    struct rlimit before;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(0);
    close(next);
    for (rlim_t room = 0; room < 3; room++) {
        struct rlimit limit = {.rlim_cur = (rlim_t)next + room, .rlim_max = before.rlim_max};
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        errno = 0;
        struct loop *none = loop_new();
        int error = errno;
        setrlimit(RLIMIT_NOFILE, &before);
        cr_assert_null(none);
        cr_assert_eq(error, EMFILE);
    }
    int again = dup(0);
    cr_assert_eq(again, next, "a descriptor was left open");
    close(again);
}

static void on_signal(void *context, int signal_number)
{
    (void)context;
    note((char)(signal_number == SIGTERM ? 't' : signal_number == SIGUSR1 ? 'u' : '?'));
}

Test(loop, signals_reach_the_loop_and_stay_blocked)
{
    const int wrong[] = {12345, 0}, wanted[] = {SIGTERM, SIGUSR1, 0};
    cr_assert_not(loop_signals(loop, wrong, on_signal, NULL));
    cr_assert_eq(errno, EINVAL);
    cr_assert(loop_signals(loop, wanted, on_signal, NULL));
    raise(SIGTERM);
    raise(SIGUSR1);
    run_some_rounds();
    cr_assert_str_eq(calls, "ut", "signal(7): the lowest number comes first");
    loop = loop_free(loop);
    raise(SIGTERM); /* ends this process if it is not blocked */
}

static atomic_int done;

static void *wake_from_outside(void *context)
{
    for (int i = 1; i <= 1000; i++) {
        atomic_store(&done, i);
        loop_wake(context);
    }
    return NULL;
}

static void stop_when_all_seen(void *context)
{
    (void)context;
    if (atomic_load(&done) == 1000) {
        loop_stop(loop, 0);
    }
}

/* No timer is set: a lost wake-up hangs the test. */
Test(loop, another_thread_wakes_it)
{
    loop_step_set(loop, stop_when_all_seen, NULL);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, wake_from_outside, loop), 0);
    cr_assert_eq(loop_run(loop), 0);
    pthread_join(thread, NULL);
}

static void count_to_hundred(void *context)
{
    (void)context;
    if (++rounds == 100) {
        loop_stop(loop, 0);
    } else {
        loop_again(loop);
    }
}

Test(loop, again_takes_another_round_without_an_event)
{
    loop_step_set(loop, count_to_hundred, NULL);
    loop_again(loop);
    cr_assert_eq(loop_run(loop), 0);
    cr_assert_eq(rounds, 100);
}

/* If the flag stayed set, the wait for the timer would be thousands of rounds. */
Test(loop, again_holds_for_one_round)
{
    loop_again(loop);
    run_some_rounds();
    cr_assert_lt(rounds, 10);
}
