/* Children of the demo. They must not outlive it, even after kill -9 (PR_SET_PDEATHSIG). */
#include "ctl/demo/demo.h"

#include "presignd/base/clock.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TERM_MS = 8000, /* longer than the demo's drain_timeout_ms */
    STEP_MS = 20,
    LOG_TAIL = 1500,
    LINE_WIDTH = 300,
};

/* Runs between fork() and exec() in a process with threads: only async-signal-safe calls are
 * allowed (signal-safety(7)). */
_Noreturn static void exec_child(const char *const argv[], int log_fd, pid_t parent)
{
    sigset_t none;
    int null_fd = open("/dev/null", O_RDONLY);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL); /* exec() keeps an ignored signal ignored */
    /* A process group of its own: the terminal's Ctrl-C is for the demo, which then stops us. */
    (void)setpgid(0, 0);
    /* No drain: the broker ends with the demo. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* If the demo ended before that call, the signal never comes. */
    if (getppid() == parent && dup2(null_fd, 0) == 0 && dup2(log_fd, 1) == 1 &&
        dup2(log_fd, 2) == 2) {
        /* Do not inherit the mock broker's sockets. */
        (void)close_range(3, UINT_MAX, 0);
        (void)execvp(argv[0], (char *const *)argv);
    }
    _exit(127);
}

bool demo_child_start(struct demo_child *child, const char *name, const char *dir,
                      const char *const argv[])
{
    child->name = name;
    child->log = mem_printf("%s/%s.log", dir, name);
    int log_fd = open(child->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) {
        return false;
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        exec_child(argv, log_fd, parent);
    }
    int error = errno; /* of fork(), for the caller */
    (void)close(log_fd);
    errno = error;
    child->pid = pid < 0 ? 0 : pid;
    return pid > 0;
}

bool demo_child_ended(struct demo_child *child, int *status)
{
    if (child->pid == 0 || waitpid(child->pid, status, WNOHANG) != child->pid) {
        return false;
    }
    child->pid = 0;
    return true;
}

int demo_child_stop(struct demo_child *child)
{
    int status = 0;
    if (child->pid == 0) {
        return 0;
    }
    int64_t end_ms = clock_mono_ms() + TERM_MS;
    (void)kill(child->pid, SIGTERM);
    while (!demo_child_ended(child, &status)) {
        if (clock_mono_ms() >= end_ms) {
            (void)kill(child->pid, SIGKILL);
            (void)waitpid(child->pid, &status, 0);
            child->pid = 0;
            break;
        }
        (void)poll(NULL, 0, STEP_MS);
    }
    return status;
}

void demo_child_log_tail(const struct demo_child *child, struct buf *out)
{
    char tail[LOG_TAIL + 1];
    FILE *file = child->log == NULL ? NULL : fopen(child->log, "re");
    if (file == NULL) {
        return;
    }
    if (fseek(file, -LOG_TAIL, SEEK_END) != 0) {
        rewind(file); /* the file is shorter */
    }
    size_t len = fread(tail, 1, LOG_TAIL, file);
    (void)fclose(file);
    tail[len] = '\0';
    char *rest = tail, *line;
    if (len == LOG_TAIL) {
        (void)strsep(&rest, "\n"); /* skip a partial line */
    }
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (*line != '\0') {
            buf_puts(out, "    ");
            text_clean(out, line, strlen(line), LINE_WIDTH);
            buf_putc(out, '\n');
        }
    }
}
