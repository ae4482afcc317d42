#include "presignd/base/log.h"

#include "presignd/base/buf.h"
#include "presignd/base/clock.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { TEXT_MAX = 2048, VALUE_MAX = 1024, FIELDS_MAX = 32 };

/* A full queue is waited for: the journal's socket may queue only ten entries
 * (net.unix.max_dgram_qlen). Once the waits of a period have taken WAIT_MS, none begins in it any
 * more; so they take less than twice that. */
enum { WAIT_MS = 50, WAIT_PERIOD_MS = 1000 };

static const char *own_identifier = "presignd";
static int journal = -1; /* a socket of our own */
static struct sockaddr_un journal_address;
static int line_output = STDERR_FILENO;
static _Atomic int max_level = LOG_INFO;
static _Atomic int64_t period_began_ms;
static _Atomic int64_t waited_ms;   /* in this period */
static _Atomic uint64_t dropped;    /* lines, since the start */
static _Atomic uint64_t unreported; /* dropped lines that no line has reported yet */

/* ---- Where lines go ---- */

/* systemd.exec(5): the device and inode of the stream that the service was started with;
 * stderr may have been redirected since, and a child inherits the variable. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat status;
    if (stream == NULL || fstat(STDERR_FILENO, &status) < 0) {
        return false;
    }
    AUTO_FREE char *own = mem_printf("%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
    return strcmp(stream, own) == 0;
}

/* Opens a pipe or terminal a second time: O_NONBLOCK belongs to the open file, which other
 * processes may share. Where that is not allowed, stderr itself is used. */
static int open_output(void)
{
    struct stat status;
    if (fstat(STDERR_FILENO, &status) < 0 ||
        (!S_ISFIFO(status.st_mode) && !S_ISCHR(status.st_mode))) {
        return STDERR_FILENO;
    }
    int own = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    return own < 0 ? STDERR_FILENO : own;
}

void log_init_at(const char *identifier, const char *journal_path)
{
    own_identifier = identifier;
    line_output = open_output();
    journal_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(journal_address.sun_path, sizeof journal_address.sun_path, "%s", journal_path);
    journal = stderr_is_journal() ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    const struct timeval wait = {.tv_usec = WAIT_MS * 1000L};
    (void)setsockopt(journal, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
}

void log_init(const char *identifier)
{
    log_init_at(identifier, "/run/systemd/journal/socket");
}

void log_level_set(int level)
{
    atomic_store_explicit(&max_level, level, memory_order_relaxed);
}

int log_level_get(void)
{
    return atomic_load_explicit(&max_level, memory_order_relaxed);
}

static const char *const level_names[] = {[LOG_ERR] = "error",
                                          [LOG_WARNING] = "warning",
                                          [LOG_NOTICE] = "notice",
                                          [LOG_INFO] = "info",
                                          [LOG_DEBUG] = "debug"};

bool log_level_find(const char *name, int *level)
{
    for (int i = LOG_ERR; i <= LOG_DEBUG; i++) {
        if (strcmp(level_names[i], name) == 0) {
            *level = i;
            return true;
        }
    }
    return false;
}

const char *log_level_name(int level)
{
    return level_names[level];
}

uint64_t log_dropped(void)
{
    return atomic_load_explicit(&dropped, memory_order_relaxed);
}

/* ---- The journal ---- */

/* systemd's native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL): NAME=value and a line
 * feed, which a cleaned value does not hold. */
static void entry_add(struct buf *entry, const char *prefix, const char *name, const char *value,
                      size_t max)
{
    buf_printf(entry, "%s%s=", prefix, name);
    text_clean(entry, value, strlen(value), max);
    buf_putc(entry, '\n');
}

static void put_entry(struct buf *entry, int level, const char *message_id,
                      const struct log_field *fields, const char *text)
{
    const char priority[2] = {(char)('0' + level), '\0'};
    entry_add(entry, "", "MESSAGE", text, TEXT_MAX);
    entry_add(entry, "", "PRIORITY", priority, TEXT_MAX);
    entry_add(entry, "", "SYSLOG_IDENTIFIER", own_identifier, TEXT_MAX);
    if (message_id != NULL) {
        entry_add(entry, "", "MESSAGE_ID", message_id, TEXT_MAX);
    }
    for (int i = 0; i < FIELDS_MAX && fields[i].name != NULL; i++) {
        if (fields[i].value != NULL) {
            entry_add(entry, "PRESIGND_", fields[i].name, fields[i].value, VALUE_MAX);
        }
    }
}

enum sent { SENT, FULL /* the reader is slow */, FAILED };

static enum sent send_journal(const struct buf *entry, bool wait)
{
    int flags = MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT);
    ssize_t sent = sendto(journal, entry->data, entry->len, flags,
                          (struct sockaddr *)&journal_address, sizeof journal_address);
    if (sent >= 0) {
        return SENT;
    }
    return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? FULL : FAILED;
}

/* ---- stderr ---- */

/* Quotes a value that looks like several words or like a field. */
static void line_value(struct buf *line, const char *value)
{
    AUTO_BUF struct buf clean = {0};
    text_clean(&clean, value, strlen(value), VALUE_MAX);
    const char *text = clean.len == 0 ? "" : clean.data;
    if (clean.len > 0 && strpbrk(text, " \"\\=") == NULL) {
        buf_puts(line, text);
    } else {
        buf_json_string(line, text, clean.len);
    }
}

static void put_line(struct buf *line, int level, const struct log_field *fields, const char *text)
{
    static const char *const levels[] = {"EMERG",   "ALERT",  "CRIT", "ERROR",
                                         "WARNING", "NOTICE", "INFO", "DEBUG"};
    char time[TEXT_TIME_SIZE];
    text_time(time, clock_wall_ms(), true);
    buf_printf(line, "%s %s ", time, levels[level]);
    text_clean(line, text, strlen(text), TEXT_MAX);
    for (int i = 0; i < FIELDS_MAX && fields[i].name != NULL; i++) {
        if (fields[i].value != NULL) {
            buf_printf(line, " %s=", fields[i].name);
            line_value(line, fields[i].value);
        }
    }
    line->len = text_utf8_cut(line->data, line->len, PIPE_BUF - 1);
    buf_putc(line, '\n');
}

/* One write for each line, so that lines of threads do not mix: a pipe takes up to PIPE_BUF bytes
 * as a whole or not at all (pipe(7)). A socket gets MSG_DONTWAIT. poll() protects a pipe that could
 * not be opened a second time, as long as nobody else writes to it. */
static enum sent send_stderr(const struct buf *line, bool wait)
{
    struct pollfd output = {.fd = line_output, .events = POLLOUT};
    if (poll(&output, 1, wait ? WAIT_MS : 0) != 1) {
        return FULL;
    }
    ssize_t sent = send(STDERR_FILENO, line->data, line->len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == ENOTSOCK) {
        sent = write(line_output, line->data, line->len);
    }
    return sent >= 0 ? SENT : FULL;
}

/* ---- Lines ---- */

struct line {
    int level;
    const char *message_id;
    const struct log_field *fields;
    const char *text;
};

/* An entry that the journal rejects although it is not full goes to stderr. */
static enum sent send_line(const struct line *line, bool wait)
{
    AUTO_BUF struct buf out = {0};
    enum sent sent = FAILED;
    if (journal >= 0) {
        put_entry(&out, line->level, line->message_id, line->fields, line->text);
        sent = send_journal(&out, wait);
        out.len = 0;
    }
    if (sent == FAILED) {
        put_line(&out, line->level, line->fields, line->text);
        sent = send_stderr(&out, wait);
    }
    return sent;
}

static bool may_wait(int64_t now_ms)
{
    if (now_ms - atomic_load(&period_began_ms) >= WAIT_PERIOD_MS) {
        atomic_store(&period_began_ms, now_ms);
        atomic_store(&waited_ms, 0);
    }
    return atomic_load(&waited_ms) < WAIT_MS;
}

static bool emit(const struct line *line)
{
    enum sent sent = send_line(line, false);
    bool waits = sent == FULL && line->level < LOG_DEBUG;
    int64_t before_ms = waits ? clock_mono_ms() : 0;
    if (waits && may_wait(before_ms)) {
        sent = send_line(line, true);
        atomic_fetch_add(&waited_ms, clock_mono_ms() - before_ms);
    }
    return sent == SENT;
}

/* False when this line could not be written either. */
static bool report_dropped(void)
{
    uint64_t count = atomic_exchange(&unreported, 0);
    if (count == 0) {
        return true;
    }
    AUTO_FREE char *text = mem_printf(
        "%" PRIu64 " log lines were dropped: the log was not read, or could not be written", count);
    bool written = emit(&(struct line){LOG_WARNING, NULL, &(struct log_field){0}, text});
    atomic_fetch_add(&unreported, written ? 0 : count);
    return written;
}

static void log_v(int level, const char *message_id, const struct log_field *fields,
                  const char *format, va_list arguments) __attribute__((format(printf, 4, 0)));
static void log_v(int level, const char *message_id, const struct log_field *fields,
                  const char *format, va_list arguments)
{
    int error = errno;
    char text[TEXT_MAX + 1];
    vsnprintf(text, sizeof text, format, arguments);
    bool reported = level == LOG_DEBUG || report_dropped();
    if (!reported || !emit(&(struct line){level, message_id, fields, text})) {
        atomic_fetch_add(&dropped, 1);
        atomic_fetch_add(&unreported, 1);
    }
    errno = error;
}

void log_text(int level, const char *format, ...)
{
    va_list arguments;
    if (level > log_level_get()) {
        return;
    }
    va_start(arguments, format);
    log_v(level, NULL, &(struct log_field){0}, format, arguments);
    va_end(arguments);
}

void log_fields(int level, const char *message_id, const struct log_field *fields,
                const char *format, ...)
{
    va_list arguments;
    if (level > log_level_get()) {
        return;
    }
    va_start(arguments, format);
    log_v(level, message_id, fields != NULL ? fields : &(struct log_field){0}, format, arguments);
    va_end(arguments);
}

void log_audit(const char *message_id, const struct log_field *fields, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_v(LOG_NOTICE, message_id, fields, format, arguments);
    va_end(arguments);
}
