#include "presignd/base/log.h"

#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Redirects stderr to a file in memory. */
struct capture {
    int file;
    int real;
};

static struct capture capture_start(void)
{
    fflush(stderr);
    struct capture capture = {.file = memfd_create("stderr", MFD_CLOEXEC), .real = dup(2)};
    cr_assert(capture.file >= 0 && capture.real >= 0);
    cr_assert_eq(fcntl(capture.file, F_SETFL, O_APPEND), 0);
    cr_assert_eq(dup2(capture.file, 2), 2);
    return capture;
}

static char *capture_end(struct capture capture)
{
    dup2(capture.real, 2);
    close(capture.real);
    off_t size = lseek(capture.file, 0, SEEK_END);
    char *text = mem_zalloc(1, (size_t)size + 1);
    cr_assert_eq(pread(capture.file, text, (size_t)size, 0), size);
    close(capture.file);
    return text;
}

/* A captured line without its time. */
static const char *after_time(const char *line)
{
    int64_t wall_ms;
    cr_assert(strlen(line) > 25 && text_rfc3339(line, 24, &wall_ms), "%s", line);
    cr_assert_eq(line[24], ' ');
    return line + 25;
}

static void check_line(const char *line, const char *wanted)
{
    cr_expect_str_eq(after_time(line), wanted);
}

Test(log, a_line_on_stderr)
{
    unsetenv("JOURNAL_STREAM");
    struct capture capture = capture_start();
    log_init("test");
    log_warning("%d of %s", 3, "four");
    AUTO_FREE char *text = capture_end(capture);
    check_line(text, "WARNING 3 of four\n");
}

Test(log, fields_on_stderr_are_words_or_quoted)
{
    struct capture capture = capture_start();
    const struct log_field fields[] = {{"REASON", "expired"}, {"NONE", NULL}, {"TEXT", "a \"b\""},
                                       {"EMPTY", ""},         {"EQ", "x=y"},  {NULL, NULL},
                                       {"BEYOND", "1"}};
    log_fields(LOG_ERR, "0123456789abcdef0123456789abcdef", fields, "event failed");
    AUTO_FREE char *text = capture_end(capture);
    check_line(text,
               "ERROR event failed REASON=expired TEXT=\"a \\\"b\\\"\" EMPTY=\"\" EQ=\"x=y\"\n");
}

Test(log, control_characters_do_not_break_a_line)
{
    struct capture capture = capture_start();
    const struct log_field fields[] = {{"VALUE", "1\n2026 ERROR forged"}, {0}};
    log_fields(LOG_NOTICE, NULL, fields, "a\nb\x1b[2J\xff");
    AUTO_FREE char *text = capture_end(capture);
    check_line(text, "NOTICE a b [2J\xef\xbf\xbd VALUE=\"1 2026 ERROR forged\"\n");
}

Test(log, long_texts_and_values_are_cut)
{
    AUTO_FREE char *big = mem_alloc(5001);
    memset(big, 'x', 5000);
    big[5000] = '\0';
    struct capture capture = capture_start();
    const struct log_field fields[] = {{"V", big}, {0}};
    log_fields(LOG_INFO, NULL, fields, "%s", big);
    AUTO_FREE char *text = capture_end(capture);
    cr_assert_eq(strlen(after_time(text)), strlen("INFO ") + 2048 + strlen(" V=") + 1024 + 1);
}

Test(log, levels_above_the_set_one_are_dropped)
{
    struct capture capture = capture_start();
    log_debug("dropped by default");
    log_level_set(LOG_DEBUG);
    log_debug("kept");
    log_level_set(LOG_ERR);
    log_warning("dropped");
    AUTO_FREE char *text = capture_end(capture);
    check_line(text, "DEBUG kept\n");
}

Test(log, errno_is_printed_and_kept)
{
    struct capture capture = capture_start();
    errno = ENOENT;
    log_error("open: %m");
    cr_assert_eq(errno, ENOENT);
    AUTO_FREE char *text = capture_end(capture);
    check_line(text, "ERROR open: No such file or directory\n");
}

/* A journal socket of the test's own. */
static int journal;

static int bind_journal(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* As in a systemd unit: the variable names stderr. */
static struct capture journal_start(int inode_error)
{
    struct capture capture = capture_start();
    struct stat status;
    cr_assert_eq(fstat(2, &status), 0);
    AUTO_FREE char *stream =
        mem_printf("%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino + inode_error);
    AUTO_FREE char *path = mem_printf("/tmp/presignd-journal-%d", (int)getpid());
    setenv("JOURNAL_STREAM", stream, 1);
    unlink(path);
    journal = bind_journal(path);
    log_init_at("presignd-test", path);
    return capture;
}

static void journal_unlink(void)
{
    AUTO_FREE char *path = mem_printf("/tmp/presignd-journal-%d", (int)getpid());
    unlink(path);
}

/* The next entry, or "". The caller frees. */
static char *journal_read(void)
{
    char *entry = mem_zalloc(1, 65536);
    return recv(journal, entry, 65535, 0) < 0 ? memset(entry, 0, 1) : entry;
}

Test(log, the_journal_gets_fields, .fini = journal_unlink)
{
    struct capture capture = journal_start(0);
    const struct log_field fields[] = {{"REASON", "a\nb"}, {"NONE", NULL}, {"KEY", "k=v"}, {0}};
    log_fields(LOG_ERR, "0123456789abcdef0123456789abcdef", fields, "event %d", 1);
    log_info("plain");
    AUTO_FREE char *text = capture_end(capture);
    cr_assert_str_eq(text, "");
    AUTO_FREE char *first = journal_read();
    AUTO_FREE char *second = journal_read();
    cr_expect_str_eq(first, "MESSAGE=event 1\nPRIORITY=3\nSYSLOG_IDENTIFIER=presignd-test\n"
                            "MESSAGE_ID=0123456789abcdef0123456789abcdef\nPRESIGND_REASON=a b\n"
                            "PRESIGND_KEY=k=v\n");
    cr_expect_str_eq(second, "MESSAGE=plain\nPRIORITY=6\nSYSLOG_IDENTIFIER=presignd-test\n");
}

Test(log, more_fields_than_fit_are_left_out, .fini = journal_unlink)
{
    struct capture capture = journal_start(0);
    struct log_field fields[41] = {0};
    for (int i = 0; i < 40; i++) {
        fields[i] = (struct log_field){"F", "v"};
    }
    log_fields(LOG_ERR, "0123456789abcdef0123456789abcdef", fields, "many");
    free(capture_end(capture));
    AUTO_FREE char *entry = journal_read();
    size_t count = 0;
    for (const char *at = entry; (at = strstr(at, "\nPRESIGND_F=v\n")) != NULL; at++) {
        count++;
    }
    cr_assert_eq(count, 32);
}

Test(log, a_redirected_stderr_is_no_journal, .fini = journal_unlink)
{
    struct capture capture = journal_start(1);
    log_info("plain");
    AUTO_FREE char *text = capture_end(capture);
    check_line(text, "INFO plain\n");
    AUTO_FREE char *entry = journal_read();
    cr_assert_str_eq(entry, "");
}

Test(log, an_entry_that_the_journal_rejects_goes_to_stderr, .fini = journal_unlink)
{
    struct capture capture = journal_start(0);
    close(journal);
    log_info("plain");
    AUTO_FREE char *text = capture_end(capture);
    check_line(text, "INFO plain\n");
    cr_expect_eq(log_dropped(), 0);
}

/* ---- A reader that does not read: no line waits ---- */

enum { MANY = 5000 };

static void write_many(void)
{
    for (int i = 0; i < MANY; i++) {
        log_info("a line that nobody reads, number %d", i);
    }
}

Test(log, a_full_journal_drops_lines_and_reports_how_many, .fini = journal_unlink, .timeout = 60)
{
    struct capture capture = journal_start(0);
    write_many();
    uint64_t dropped = log_dropped();
    size_t read = 0;
    for (bool more = true; more; read += more) {
        AUTO_FREE char *entry = journal_read();
        more = *entry != '\0';
    }
    cr_expect_gt(read, 0);
    cr_expect_eq(read + dropped, MANY);
    log_info("read again");
    AUTO_FREE char *text = capture_end(capture);
    cr_expect_str_eq(text, "");
    AUTO_FREE char *notice = journal_read();
    AUTO_FREE char *next = journal_read();
    AUTO_FREE char *wanted = mem_printf("MESSAGE=%zu log lines were dropped", dropped);
    cr_expect_eq(strncmp(notice, wanted, strlen(wanted)), 0, "%s", notice);
    cr_expect_eq(strncmp(next, "MESSAGE=read again\n", 19), 0, "%s", next);
    cr_expect_eq(log_dropped(), dropped);
}

/* Everything that was written to the other end of stderr. */
static void drain(int fd, struct buf *out)
{
    cr_assert_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    char bytes[4096];
    for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;) {
        buf_append(out, bytes, (size_t)n);
    }
}

static int waits; /* for room in the output */

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names */
int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    waits += timeout_ms > 0 ? 1 : 0;
    return __real_poll(fds, count, timeout_ms);
}
/* NOLINTEND(bugprone-reserved-identifier) */

/* stderr is `end`; `other` is not read. The flags of `end` stay: other processes share them. */
static void check_unread(int end, int other, bool opened_again)
{
    struct capture capture = capture_start();
    dup2(end, 2);
    unsetenv("JOURNAL_STREAM");
    if (opened_again) {
        log_init("test");
    }
    write_many();
    size_t dropped = log_dropped();
    AUTO_BUF struct buf text = {0};
    buf_reserve(&text, 0);
    drain(other, &text);
    log_info("read again");
    drain(other, &text);
    cr_expect_eq(fcntl(2, F_GETFL) & O_NONBLOCK, 0);
    free(capture_end(capture));
    size_t lines = 0;
    for (const char *at = text.data; (at = strstr(at, "a line that nobody reads")) != NULL; at++) {
        lines++;
    }
    cr_expect_gt(lines, 0);
    cr_expect_eq(lines + dropped, MANY, "%zu, %zu", lines, dropped);
    AUTO_FREE char *told = mem_printf(" WARNING %zu log lines were dropped", dropped);
    const char *notice = strstr(text.data, told);
    cr_assert_not_null(notice, "%s", text.data + text.len - 200);
    cr_expect_not_null(strstr(notice, " INFO read again\n"));
}

Test(log, a_full_pipe_drops_lines_and_reports_how_many, .timeout = 60)
{
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    check_unread(ends[1], ends[0], true);
}

Test(log, a_pipe_that_cannot_be_opened_again_is_polled_before_each_line, .timeout = 60)
{
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    check_unread(ends[1], ends[0], false);
}

Test(log, debug_lines_neither_wait_nor_report, .timeout = 60)
{
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    struct capture capture = capture_start();
    dup2(ends[1], 2);
    unsetenv("JOURNAL_STREAM");
    log_init("test");
    log_level_set(LOG_DEBUG);
    waits = 0;
    for (int i = 0; i < MANY; i++) {
        log_debug("a line that nobody reads, number %d", i);
    }
    int debug_waits = waits;
    uint64_t dropped = log_dropped();
    log_info("a line that waits");
    int info_waits = waits;
    AUTO_BUF struct buf text = {0};
    buf_reserve(&text, 0);
    drain(ends[0], &text);
    log_debug("one more");
    log_info("read again");
    drain(ends[0], &text);
    log_level_set(LOG_INFO);
    free(capture_end(capture));
    cr_expect_gt(dropped, 0);
    cr_expect_eq(debug_waits, 0);
    cr_expect_gt(info_waits, 0);
    AUTO_FREE char *told = mem_printf(" WARNING %" PRIu64 " log lines were dropped", dropped + 1);
    const char *notice = strstr(text.data, told);
    cr_assert_not_null(notice, "%s", text.data + text.len - 400);
    cr_expect_null(strstr(notice + 1, " WARNING "));
    cr_expect_lt((void *)strstr(text.data, " DEBUG one more\n"), (void *)notice);
    cr_expect_not_null(strstr(notice, " INFO read again\n"));
}

Test(log, a_full_socket_drops_lines_and_reports_how_many, .timeout = 60)
{
    int ends[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    check_unread(ends[1], ends[0], true);
}

enum { THREADS = 4, LINES = 200 };

static void *write_lines(void *context)
{
    for (int i = 0; i < LINES; i++) {
        log_info("%s", (const char *)context);
    }
    return NULL;
}

Test(log, lines_of_threads_do_not_mix)
{
    static const char *const texts[THREADS] = {"aaaaaaaaaaaaaaaa", "bbbbbbbb", "cccc", "dd"};
    struct capture capture = capture_start();
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, write_lines, (void *)texts[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    AUTO_FREE char *text = capture_end(capture);
    int counts[THREADS] = {0};
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        const char *said = after_time(line) + strlen("INFO ");
        cr_assert(*said >= 'a' && *said <= 'd');
        cr_assert_str_eq(said, texts[*said - 'a']);
        counts[*said - 'a']++;
    }
    for (int i = 0; i < THREADS; i++) {
        cr_expect_eq(counts[i], LINES);
    }
}

Test(log, what_operators_change_is_logged_at_any_level)
{
    const struct log_field fields[] = {{"BY", "alice"}, {NULL, NULL}};
    struct capture capture = capture_start();
    log_level_set(LOG_ERR);
    log_notice("not this");
    log_audit(NULL, fields, "a pause");
    log_level_set(LOG_INFO);
    AUTO_FREE char *text = capture_end(capture);
    check_line(text, "NOTICE a pause BY=alice\n");
}

Test(log, levels_have_names)
{
    static const char *const names[] = {"error", "warning", "notice", "info", "debug"};
    int level;
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        cr_assert(log_level_find(names[i], &level));
        cr_assert_eq(level, LOG_ERR + (int)i);
        cr_assert_str_eq(log_level_name(level), names[i]);
    }
    cr_assert_not(log_level_find("loud", &level));
    cr_assert_not(log_level_find("", &level));
    cr_assert_eq(log_level_get(), LOG_INFO);
}
