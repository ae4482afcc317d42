#define SD_JOURNAL_SUPPRESS_LOCATION /* it would always name this file */

#include "presignd/base/log.h"

#include "presignd/base/clock.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

enum { TEXT_MAX = 2048, VALUE_MAX = 1024, FIELDS_MAX = 32 };

static const char *own_identifier = "presignd";
static bool to_journal;
static _Atomic int max_level = LOG_INFO;

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

void log_init(const char *identifier)
{
    own_identifier = identifier;
    to_journal = stderr_is_journal();
}

void log_level_set(int level)
{
    atomic_store_explicit(&max_level, level, memory_order_relaxed);
}

/* An entry for sd_journal_sendv(): NAME=value texts, one after the other in one buffer. */
struct entry {
    struct buf text;
    size_t ends[FIELDS_MAX + 4];
    int count;
};

static void entry_add(struct entry *entry, const char *prefix, const char *name, const char *value,
                      size_t max)
{
    buf_printf(&entry->text, "%s%s=", prefix, name);
    text_clean(&entry->text, value, strlen(value), max);
    entry->ends[entry->count++] = entry->text.len;
}

static int entry_send(const struct entry *entry)
{
    struct iovec parts[FIELDS_MAX + 4];
    size_t start = 0;
    for (int i = 0; i < entry->count; i++) {
        parts[i] = (struct iovec){entry->text.data + start, entry->ends[i] - start};
        start = entry->ends[i];
    }
    return sd_journal_sendv(parts, entry->count);
}

static bool write_journal(int level, const char *message_id, const struct log_field *fields,
                          const char *text)
{
    struct entry entry = {0};
    const char priority[2] = {(char)('0' + level), '\0'};
    entry_add(&entry, "", "MESSAGE", text, TEXT_MAX);
    entry_add(&entry, "", "PRIORITY", priority, TEXT_MAX);
    entry_add(&entry, "", "SYSLOG_IDENTIFIER", own_identifier, TEXT_MAX);
    if (message_id != NULL) {
        entry_add(&entry, "", "MESSAGE_ID", message_id, TEXT_MAX);
    }
    for (int i = 0; i < FIELDS_MAX && fields[i].name != NULL; i++) {
        if (fields[i].value != NULL) {
            entry_add(&entry, "PRESIGND_", fields[i].name, fields[i].value, VALUE_MAX);
        }
    }
    bool sent = entry_send(&entry) >= 0;
    buf_deinit(&entry.text);
    return sent;
}

/* A value that could be taken for more than one word, or for a field, stands in quotes. */
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

/* One write(2) for the whole line, so that lines of threads do not mix. */
static void write_stderr(int level, const struct log_field *fields, const char *text)
{
    static const char *const levels[] = {"EMERG",   "ALERT",  "CRIT", "ERROR",
                                         "WARNING", "NOTICE", "INFO", "DEBUG"};
    char time[TEXT_TIME_SIZE];
    text_time(time, clock_now(&clock_system).wall_ms, true);
    AUTO_BUF struct buf line = {0};
    buf_printf(&line, "%s %s ", time, levels[level]);
    text_clean(&line, text, strlen(text), TEXT_MAX);
    for (int i = 0; i < FIELDS_MAX && fields[i].name != NULL; i++) {
        if (fields[i].value != NULL) {
            buf_printf(&line, " %s=", fields[i].name);
            line_value(&line, fields[i].value);
        }
    }
    buf_putc(&line, '\n');
    (void)!write(STDERR_FILENO, line.data, line.len); /* nobody is left to be told */
}

static void log_v(int level, const char *message_id, const struct log_field *fields,
                  const char *format, va_list arguments) __attribute__((format(printf, 4, 0)));
static void log_v(int level, const char *message_id, const struct log_field *fields,
                  const char *format, va_list arguments)
{
    if (level > atomic_load_explicit(&max_level, memory_order_relaxed)) {
        return;
    }
    int error = errno;
    char text[TEXT_MAX + 1];
    vsnprintf(text, sizeof text, format, arguments);
    if (!to_journal || !write_journal(level, message_id, fields, text)) {
        write_stderr(level, fields, text);
    }
    errno = error;
}

void log_text(int level, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_v(level, NULL, &(struct log_field){0}, format, arguments);
    va_end(arguments);
}

void log_fields(int level, const char *message_id, const struct log_field *fields,
                const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_v(level, message_id, fields != NULL ? fields : &(struct log_field){0}, format, arguments);
    va_end(arguments);
}
