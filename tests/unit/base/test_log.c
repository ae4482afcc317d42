#include "presignd/base/log.h"

#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

/* The program's own function takes the place of libsystemd's: a test machine's journal, if
 * it has one at all, is not ours to write to. Each entry becomes "[A=1|B=2]". */
static struct buf journal;
static int journal_answer;

int sd_journal_sendv(const struct iovec *iov, int n)
{
    for (int i = 0; i < n; i++) {
        buf_putc(&journal, i == 0 ? '[' : '|');
        buf_append(&journal, iov[i].iov_base, iov[i].iov_len);
    }
    buf_putc(&journal, ']');
    return journal_answer;
}

/* stderr goes to a file in memory from start to end. */
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

/* What a captured line says behind its time. */
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
    cr_assert_eq(journal.len, 0);
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

Test(log, nothing_from_outside_breaks_a_line)
{
    struct capture capture = capture_start();
    const struct log_field fields[] = {{"VALUE", "1\n2026 ERROR forged"}, {0}};
    log_fields(LOG_NOTICE, NULL, fields, "a\nb\x1b[2J\xff");
    AUTO_FREE char *text = capture_end(capture);
    check_line(text, "NOTICE a b [2J\xef\xbf\xbd VALUE=\"1 2026 ERROR forged\"\n");
}

Test(log, texts_and_values_are_cut)
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

Test(log, errno_is_told_and_kept)
{
    struct capture capture = capture_start();
    errno = ENOENT;
    log_error("open: %m");
    cr_assert_eq(errno, ENOENT);
    AUTO_FREE char *text = capture_end(capture);
    check_line(text, "ERROR open: No such file or directory\n");
}

/* As systemd sets it up: the variable names what stderr is. */
static struct capture journal_start(int inode_error)
{
    struct capture capture = capture_start();
    struct stat status;
    cr_assert_eq(fstat(2, &status), 0);
    AUTO_FREE char *stream =
        mem_printf("%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino + inode_error);
    setenv("JOURNAL_STREAM", stream, 1);
    log_init("presignd-test");
    return capture;
}

Test(log, the_journal_gets_fields)
{
    struct capture capture = journal_start(0);
    const struct log_field fields[] = {{"REASON", "a\nb"}, {"NONE", NULL}, {"KEY", "k=v"}, {0}};
    log_fields(LOG_ERR, "0123456789abcdef0123456789abcdef", fields, "event %d", 1);
    log_info("plain");
    AUTO_FREE char *text = capture_end(capture);
    cr_assert_str_eq(text, "");
    cr_assert_str_eq(journal.data,
                     "[MESSAGE=event 1|PRIORITY=3|SYSLOG_IDENTIFIER=presignd-test|"
                     "MESSAGE_ID=0123456789abcdef0123456789abcdef|PRESIGND_REASON=a b|"
                     "PRESIGND_KEY=k=v]"
                     "[MESSAGE=plain|PRIORITY=6|SYSLOG_IDENTIFIER=presignd-test]");
    buf_deinit(&journal);
}

Test(log, more_fields_than_fit_are_left_out)
{
    struct capture capture = journal_start(0);
    struct log_field fields[41] = {0};
    for (int i = 0; i < 40; i++) {
        fields[i] = (struct log_field){"F", "v"};
    }
    log_fields(LOG_ERR, "0123456789abcdef0123456789abcdef", fields, "many");
    free(capture_end(capture));
    size_t count = 0;
    for (const char *at = journal.data; (at = strstr(at, "|PRESIGND_F=v")) != NULL; at++) {
        count++;
    }
    cr_assert_eq(count, 32);
    buf_deinit(&journal);
}

Test(log, a_stderr_that_went_elsewhere_is_no_journal)
{
    struct capture capture = journal_start(1);
    log_info("plain");
    AUTO_FREE char *text = capture_end(capture);
    check_line(text, "INFO plain\n");
    cr_assert_eq(journal.len, 0);
}

Test(log, what_the_journal_refuses_goes_to_stderr)
{
    struct capture capture = journal_start(0);
    journal_answer = -ENOBUFS;
    log_info("plain");
    AUTO_FREE char *text = capture_end(capture);
    check_line(text, "INFO plain\n");
    buf_deinit(&journal);
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
