/* A whole call with one allocation after the other failing: signed, sent over TLS to a server,
 * answered, verified. It is answered once or the process ends and says why; what is said not to
 * have been sent has not reached the server; and nothing waits for longer than its time-out.
 *
 *     test-memory.transfers [STRIDE [FIRST]]    every STRIDEth allocation, from the first on
 */
#include "allocator.h"

#include "exchange/world.h"

#include "presignd/base/mem.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* A server of the tests takes no more than 256 connections. */
#define BODY_FORMAT "{\"trial\":%d}"
enum { BODY_SIZE = 64 };
enum { SERVED_MAX = 200, TIMEOUT_MS = 1500, HANG_S = 60, WORDS_MAX = 1024 };

/* What several processes write. */
static struct shared {
    atomic_int requests, faults, port, trial;
    bool answered;
    int times;
    enum answer_kind kind;
    enum call_state state;
    unsigned long allocations;
} * shared;

static unsigned succeeded, not_sent, unknown, refused, ended, failed;

static bool answer_ok(struct exchange *exchange)
{
    char body[BODY_SIZE];
    snprintf(body, sizeof body, BODY_FORMAT, atomic_load(&shared->trial));
    if (strcmp(exchange->body.data, body) == 0) { /* else it comes late, of a trial before */
        atomic_fetch_add(&shared->requests, 1);
    }
    atomic_fetch_add(&shared->faults, exchange->server->faults);
    exchange_answer(exchange, "200 OK", "", BODY_OK, strlen(BODY_OK));
    return true;
}

/* In a process of its own: its memory is not on trial. */
static pid_t start_server(void)
{
    atomic_store(&shared->port, 0);
    pid_t child = fork();
    if (child == 0) {
        struct server *server = open_server(answer_ok, &world.identity, 0);
        atomic_store(&shared->port, server->port);
        for (;;) {
            pause();
        }
    }
    while (atomic_load(&shared->port) == 0) {
        usleep(1000);
    }
    return child;
}

static void stop_server(pid_t child)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

#define LIBSSL_CRASHED "libssl crashed"

/* libssl 3.5 reads through a NULL pointer in SSL_set0_rbio() when an allocation of SSL_new() has
 * failed. The frames above the one that crashed are this function and the kernel's. */
/* NOLINTBEGIN(bugprone-signal-handler): in a process that crashes anyway */
static void on_crash(int number)
{
    void *frames[3];
    Dl_info info;
    bool is_known = backtrace(frames, ARRAY_LENGTH(frames)) == ARRAY_LENGTH(frames) &&
                    dladdr(frames[2], &info) != 0 && strstr(info.dli_fname, "libssl") != NULL;
    if (is_known) {
        (void)!write(STDERR_FILENO, LIBSSL_CRASHED, strlen(LIBSSL_CRASHED));
    }
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}
/* NOLINTEND(bugprone-signal-handler) */

static void call(unsigned long number, bool all)
{
    AUTO_FREE char *url = mem_printf("https://127.0.0.1:%d", atomic_load(&shared->port));
    const struct caller_config config = config_for(url);
    char body[BODY_SIZE];
    snprintf(body, sizeof body, BODY_FORMAT, atomic_load(&shared->trial));
    world_open_loop();
    const struct attempt attempt = {.endpoint = endpoint_find("app", 3),
                                    .merchant = world.merchant,
                                    .body = body,
                                    .body_len = strlen(body),
                                    .timeout_ms = TIMEOUT_MS,
                                    .expires_ms = INT64_MAX};
    const struct answer *answer = &world.answers[0];
    allocator_fail(number, all);
    open_caller(&config);
    world.left = 1;
    caller_start(world.caller, &attempt, &world.answers[0]);
    run_calls();
    shared->allocations = allocator_count();
    allocator_fail(0, false);
    shared->kind = answer->kind;
    shared->state = answer->call_state;
    shared->times = world.times[0];
    shared->answered = true;
}

/* The status, and what was said last on stderr. */
static int trial(unsigned long number, bool all, char *words)
{
    int ends[2], status = 0;
    shared->answered = false;
    atomic_store(&shared->requests, 0);
    atomic_fetch_add(&shared->trial, 1);
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        alarm(HANG_S);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        (void)signal(SIGSEGV, on_crash);
        call(number, all);
        _exit(0);
    }
    close(ends[1]);
    size_t len = 0; /* what is said may come in parts */
    for (ssize_t part; (part = read(ends[0], words + len, WORDS_MAX - 1 - len)) > 0;) {
        len += (size_t)part;
    }
    words[len] = '\0';
    close(ends[0]);
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

static bool fits(void)
{
    switch (shared->kind) {
    case ANSWER_SUCCESS:
        succeeded++;
        return shared->state == CALL_ANSWERED && atomic_load(&shared->requests) == 1;
    case ANSWER_UNREACHABLE:
        not_sent++;
        return shared->state == CALL_NOT_SENT && atomic_load(&shared->requests) == 0;
    case ANSWER_UNAVAILABLE:
    case ANSWER_UNVERIFIED:
        unknown++;
        return shared->state == CALL_UNKNOWN;
    default:
        return false;
    }
}

static void judge(unsigned long number, bool all)
{
    char words[WORDS_MAX];
    int status = trial(number, all, words);
    bool fine = false;
    /* A request that lacks something, for a header had no memory, is no better than a crash. */
    if (atomic_exchange(&shared->faults, 0) > 0) {
        strcpy(words, "a request against the API's rules");
    } else if (shared->answered && WIFEXITED(status)) {
        fine = shared->times == 1 && fits();
    } else if (WIFEXITED(status) && strstr(words, "caller_new: ") != NULL) {
        refused++;
        fine = true;
    } else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) {
        ended++;
        fine = strstr(words, "presignd: out of memory") != NULL ||
               strstr(words, "Cannot allocate memory") != NULL;
    } else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) {
        ended++;
        fine = strstr(words, LIBSSL_CRASHED) != NULL;
    }
    if (!fine) {
        printf("allocation %lu%s fails: status %#x, %s %s, %d requests: %s\n", number,
               all ? " and all behind it" : "", (unsigned)status, answer_kind_name(shared->kind),
               call_state_name(shared->state), atomic_load(&shared->requests), words);
        failed++;
    }
}

int main(int argc, char **argv)
{
    unsigned long stride = argc > 1 ? strtoul(argv[1], NULL, 10) : 31, tried = 0;
    unsigned long first = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    (void)signal(SIGPIPE, SIG_IGN);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    void *frame;
    (void)backtrace(&frame, 1); /* allocates on its first call */
    world_make_keys();
    pid_t server = start_server();
    judge(0, false);
    CHECK(succeeded == 1);
    unsigned long total = shared->allocations;
    for (unsigned long number = first; number <= total; number += stride) {
        judge(number, false);
        if (tried % 8 == 0) {
            judge(number, true);
        }
        if (++tried % (SERVED_MAX / 2) == 0) {
            stop_server(server);
            server = start_server();
        }
    }
    stop_server(server);
    world_drop_keys();
    printf("%lu allocations, every %lu: %u succeeded, %u not sent, %u unknown, %u refused, "
           "%u ended\n",
           total, stride, succeeded, not_sent, unknown, refused, ended);
    return failed == 0 ? 0 : 1;
}
