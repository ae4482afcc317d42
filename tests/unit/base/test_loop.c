#include "presignd/base/loop.h"

#include "presignd/base/clock.h"
#include "presignd/base/mem.h"

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

/* What happened, in order; each watch and timer of a test has a letter. */
struct diary {
    struct loop *loop;
    char text[64];
    size_t len;
};

static void note(struct diary *diary, int c)
{
    cr_assert_lt(diary->len, sizeof diary->text - 1);
    diary->text[diary->len++] = (char)c;
}

/* Stops the loop after a round in which nothing new was written down. */
static void stop_when_quiet(void *context)
{
    static size_t last_len;
    struct diary *diary = context;
    if (diary->len == last_len) {
        loop_stop(diary->loop, 0);
    }
    last_len = diary->len;
    loop_again(diary->loop);
}

static void diary_init(struct diary *diary)
{
    *diary = (struct diary){.loop = loop_new()};
    cr_assert_not_null(diary->loop);
    loop_step_set(diary->loop, stop_when_quiet, diary);
    loop_again(diary->loop);
}

static void stop_seven(void *context)
{
    loop_stop(context, 7);
}

Test(loop, run_gives_what_stop_was_given)
{
    struct loop *loop = loop_new();
    struct loop_timer timer;
    loop_timer_init(&timer, loop, stop_seven, loop);
    loop_timer_set(&timer, 0);
    cr_assert_eq(loop_run(loop), 7);
    loop_stop(loop, 8);
    cr_assert_eq(loop_run(loop), 8, "a stop before the run ends its first round");
    loop = loop_free(loop);
    cr_assert_null(loop);
    cr_assert_null(loop_free(NULL));
}

struct note_timer {
    struct loop_timer timer;
    struct diary *diary;
    char letter;
    struct loop_timer *stops; /* may be NULL */
};

static void on_note_timer(void *context)
{
    struct note_timer *timer = context;
    cr_expect_leq(timer->timer.slot.at, clock_now(&clock_system).mono_ms, "fired too early");
    cr_expect(!heap_holds(&timer->timer.slot));
    note(timer->diary, timer->letter);
    if (timer->stops != NULL) {
        loop_timer_stop(timer->stops);
    }
}

static void note_timer_set(struct note_timer *timer, struct diary *diary, char letter, int64_t at)
{
    *timer = (struct note_timer){.diary = diary, .letter = letter};
    loop_timer_init(&timer->timer, diary->loop, on_note_timer, timer);
    loop_timer_set(&timer->timer, at);
}

static void stop_at_four(void *context)
{
    struct diary *diary = context;
    if (diary->len == 4) {
        loop_stop(diary->loop, 0);
    }
}

Test(loop, timers_fire_once_and_in_order)
{
    struct diary diary;
    diary_init(&diary);
    loop_step_set(diary.loop, stop_at_four, &diary);
    int64_t now_ms = clock_now(&clock_system).mono_ms;
    struct note_timer timers[5];
    note_timer_set(&timers[0], &diary, 'd', now_ms + 4);
    note_timer_set(&timers[1], &diary, 'b', now_ms - 1);
    note_timer_set(&timers[2], &diary, 'c', now_ms + 2);
    note_timer_set(&timers[3], &diary, 'a', INT64_MIN);
    note_timer_set(&timers[4], &diary, 'z', INT64_MAX);
    loop_timer_set(&timers[1].timer, now_ms);
    loop_run(diary.loop);
    cr_assert_str_eq(diary.text, "abcd");
    loop_free(diary.loop);
    cr_assert(!heap_holds(&timers[4].timer.slot));
}

Test(loop, a_timer_stopped_in_its_round_does_not_fire)
{
    struct diary diary;
    diary_init(&diary);
    struct note_timer timers[3];
    note_timer_set(&timers[0], &diary, 'a', 1);
    note_timer_set(&timers[1], &diary, 'b', 2);
    note_timer_set(&timers[2], &diary, 'c', 3);
    timers[0].stops = &timers[1].timer;
    loop_run(diary.loop);
    cr_assert_str_eq(diary.text, "ac");
    loop_timer_stop(&(struct loop_timer){0});
    loop_free(diary.loop);
}

struct greedy {
    struct loop_timer timer;
    long fired;
};

static void fire_again(void *context)
{
    struct greedy *greedy = context;
    greedy->fired++;
    loop_timer_set(&greedy->timer, 0);
}

static void stop_loop(void *context)
{
    loop_stop(context, 0);
}

Test(loop, timers_that_set_themselves_again_let_the_step_run, .timeout = 30)
{
    struct loop *loop = loop_new();
    struct greedy greedy = {0};
    loop_timer_init(&greedy.timer, loop, fire_again, &greedy);
    loop_timer_set(&greedy.timer, 0);
    loop_step_set(loop, stop_loop, loop);
    loop_run(loop);
    cr_assert_gt(greedy.fired, 0);
    loop_free(loop);
}

/* A descriptor that is readable until its watch is removed. */
struct note_fd {
    struct diary *diary;
    char letter;
    int fd;
    struct loop_fd *watch;
    struct note_fd *other;
};

static void note_fd_init(struct note_fd *note_fd, struct diary *diary, char letter, loop_fd_fn *fn)
{
    *note_fd = (struct note_fd){.diary = diary, .letter = letter, .fd = eventfd(1, EFD_CLOEXEC)};
    note_fd->watch = loop_fd_add(diary->loop, note_fd->fd, EPOLLIN, fn, note_fd);
    cr_assert_not_null(note_fd->watch);
}

static void close_watched(struct note_fd *note_fd)
{
    note_fd->watch = loop_fd_remove(note_fd->watch);
    close(note_fd->fd);
}

static void on_remove_self(void *context, uint32_t events)
{
    struct note_fd *self = context;
    cr_expect_eq(events, EPOLLIN);
    note(self->diary, self->letter);
    close_watched(self);
}

Test(loop, a_watch_may_be_removed_in_its_own_callback)
{
    struct diary diary;
    diary_init(&diary);
    struct note_fd one;
    note_fd_init(&one, &diary, 'a', on_remove_self);
    loop_run(diary.loop);
    cr_assert_str_eq(diary.text, "a");
    cr_assert_null(loop_fd_remove(NULL));
    loop_free(diary.loop);
}

static void on_remove_both(void *context, uint32_t events)
{
    struct note_fd *self = context;
    (void)events;
    note(self->diary, 'x');
    close_watched(self->other);
    close_watched(self);
}

/* Both are readable in one round; the first must keep the second's callback from coming. */
Test(loop, a_watch_may_be_removed_in_the_callback_of_another)
{
    struct diary diary;
    diary_init(&diary);
    struct note_fd one, two;
    note_fd_init(&one, &diary, 'a', on_remove_both);
    note_fd_init(&two, &diary, 'b', on_remove_both);
    one.other = &two;
    two.other = &one;
    loop_run(diary.loop);
    cr_assert_str_eq(diary.text, "x");
    loop_free(diary.loop);
}

static void on_replace_other(void *context, uint32_t events)
{
    struct note_fd *self = context;
    (void)events;
    int old = self->other->fd;
    close_watched(self->other);
    note_fd_init(self->other, self->diary, 'n', on_remove_self);
    cr_expect_eq(self->other->fd, old, "the kernel gives the lowest free number");
    note(self->diary, self->letter);
    close_watched(self);
}

/* The old watch's event, fetched already, must not reach the new one of the same number:
 * it would come in this round, and the new one's own only in the next. */
Test(loop, a_number_used_again_in_a_round_has_its_own_events)
{
    struct diary diary;
    diary_init(&diary);
    struct note_fd one, two;
    note_fd_init(&one, &diary, 'a', on_replace_other);
    note_fd_init(&two, &diary, 'b', on_replace_other);
    one.other = &two;
    two.other = &one;
    loop_run(diary.loop);
    cr_assert_eq(diary.len, 2);
    cr_assert(diary.text[0] == 'a' || diary.text[0] == 'b');
    cr_assert_eq(diary.text[1], 'n');
    loop_free(diary.loop);
}

static void on_silence_other(void *context, uint32_t events)
{
    struct note_fd *self = context;
    (void)events;
    note(self->diary, 'x');
    loop_fd_modify(self->other->watch, 0);
    loop_fd_modify(self->watch, 0);
}

Test(loop, modify_holds_for_the_present_round_too)
{
    struct diary diary;
    diary_init(&diary);
    struct note_fd one, two;
    note_fd_init(&one, &diary, 'a', on_silence_other);
    note_fd_init(&two, &diary, 'b', on_silence_other);
    one.other = &two;
    two.other = &one;
    loop_run(diary.loop);
    cr_assert_str_eq(diary.text, "x");
    loop_fd_modify(one.watch, EPOLLIN | EPOLLOUT);
    loop_again(diary.loop);
    loop_run(diary.loop);
    cr_assert_str_eq(diary.text, "xx");
    loop_free(diary.loop);
    close(one.fd);
    close(two.fd);
}

static void never(void *context, uint32_t events)
{
    (void)context;
    (void)events;
    cr_assert_fail("no event was due");
}

Test(loop, add_names_what_the_kernel_refuses)
{
    struct loop *loop = loop_new();
    errno = 0;
    cr_assert_null(loop_fd_add(loop, -1, EPOLLIN, never, NULL));
    cr_assert_eq(errno, EBADF);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    cr_assert_null(loop_fd_add(loop, file, EPOLLIN, never, NULL));
    cr_assert_eq(errno, EPERM);
    close(file);
    loop_free(loop);
}

/* The loop needs two descriptors: with room for none, then for one. */
Test(loop, new_names_what_the_kernel_refuses)
{
    struct rlimit before;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(0);
    close(next);
    for (rlim_t room = 0; room < 2; room++) {
        struct rlimit limit = {.rlim_cur = (rlim_t)next + room, .rlim_max = before.rlim_max};
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        errno = 0;
        struct loop *loop = loop_new();
        int error = errno;
        setrlimit(RLIMIT_NOFILE, &before);
        cr_assert_null(loop);
        cr_assert_eq(error, EMFILE);
    }
    int again = dup(0);
    cr_assert_eq(again, next, "a descriptor was left open");
    close(again);
}

static void on_signal(void *context, int signal_number)
{
    note(context, signal_number == SIGTERM ? 't' : signal_number == SIGUSR1 ? 'u' : '?');
}

Test(loop, signals_come_to_the_loop)
{
    struct diary diary;
    diary_init(&diary);
    const int wrong[] = {SIGTERM, 12345, 0};
    cr_assert_eq(loop_signals(diary.loop, wrong, on_signal, &diary), -EINVAL);
    const int wanted[] = {SIGTERM, SIGUSR1, 0};
    cr_assert_eq(loop_signals(diary.loop, wanted, on_signal, &diary), 0);
    cr_assert_eq(loop_signals(diary.loop, wanted, on_signal, &diary), -EBUSY);
    raise(SIGTERM);
    raise(SIGUSR1);
    loop_run(diary.loop);
    /* signal(7): of several that wait, the lowest number comes first */
    cr_assert_str_eq(diary.text, "ut");
    loop_free(diary.loop);
}

struct crossing {
    struct loop *loop;
    atomic_int done;
};

static void *wake_from_outside(void *context)
{
    struct crossing *crossing = context;
    for (int i = 0; i < 1000; i++) {
        atomic_store(&crossing->done, i);
        loop_wake(crossing->loop);
    }
    return NULL;
}

static void stop_when_all_seen(void *context)
{
    struct crossing *crossing = context;
    if (atomic_load(&crossing->done) == 999) {
        loop_stop(crossing->loop, 0);
    }
}

/* With a wake-up lost, the loop would wait for ever: it has no timer. */
Test(loop, another_thread_wakes_it, .timeout = 60)
{
    struct crossing crossing = {.loop = loop_new()};
    loop_step_set(crossing.loop, stop_when_all_seen, &crossing);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, wake_from_outside, &crossing), 0);
    loop_run(crossing.loop);
    pthread_join(thread, NULL);
    loop_free(crossing.loop);
}

static void count_to_hundred(void *context)
{
    struct greedy *greedy = context;
    if (++greedy->fired == 100) {
        loop_stop(greedy->timer.loop, 0);
    } else {
        loop_again(greedy->timer.loop);
    }
}

Test(loop, again_takes_another_round_without_an_event, .timeout = 60)
{
    struct greedy greedy = {.timer.loop = loop_new()};
    loop_step_set(greedy.timer.loop, count_to_hundred, &greedy);
    loop_again(greedy.timer.loop);
    loop_run(greedy.timer.loop);
    cr_assert_eq(greedy.fired, 100);
    loop_free(greedy.timer.loop);
}

static void count_round(void *context)
{
    struct greedy *greedy = context;
    greedy->fired++;
}

/* A flag that stayed set would turn the wait for the timer into thousands of rounds. */
Test(loop, again_holds_for_one_round)
{
    struct loop *loop = loop_new();
    struct greedy rounds = {0};
    struct loop_timer timer;
    loop_step_set(loop, count_round, &rounds);
    loop_timer_init(&timer, loop, stop_seven, loop);
    loop_timer_set(&timer, clock_now(&clock_system).mono_ms + 50);
    loop_again(loop);
    cr_assert_eq(loop_run(loop), 7);
    cr_assert_lt(rounds.fired, 10);
    loop_free(loop);
}
