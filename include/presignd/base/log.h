/* The log: to the journal with fields when stderr is connected to it, else to stderr.
 *
 * Never pass a secret, openid, signature or body. Text and field values are cleaned by
 * text_clean(), so text from outside cannot forge lines.
 * Any thread may log. The waits for a slow reader take less than 100 ms of a second together. Lines
 * that do not fit then are dropped and counted; the next line that is written reports the count.
 * Debug lines neither wait nor report: librdkafka may write thousands in a second, and these must
 * not use up the waits of the others.
 */
#ifndef PRESIGND_BASE_LOG_H
#define PRESIGND_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <syslog.h>

/* A journal field; its name gets the prefix PRESIGND_: {"REASON", "expired"}. */
struct log_field {
    const char *name;
    const char *value;
};

/* Chooses the journal if $JOURNAL_STREAM names stderr, as in a systemd unit, else stderr.
 * `identifier` is a static string. Before this call, lines go to stderr. Call it before any
 * thread is made. */
void log_init(const char *identifier);
/* With another path of the journal's socket; for tests. */
void log_init_at(const char *identifier, const char *journal_path);
/* Lines that were dropped since the start. */
uint64_t log_dropped(void);
/* Levels above this one (LOG_DEBUG is the highest) are dropped. Default: LOG_INFO. */
void log_level_set(int level);
int log_level_get(void);
/* error, warning, notice, info, debug. False if no level has that name. */
bool log_level_find(const char *name, int *level) __attribute__((warn_unused_result));
const char *log_level_name(int level);

/* Writes one line; errno is kept, and %m is its text. The text is cut at 2 KiB and cleaned as
 * text_clean() does. On stderr: time, level, text, then NAME=value for each field;
 * a line there has at most 4 KiB (PIPE_BUF). */
void log_text(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* With a message id (32 hex digits, or NULL) and fields (or NULL); the list ends with a NULL name,
 * and a field with a NULL value is left out. At most 32 fields; a value is cut at 1 KiB. */
void log_fields(int level, const char *message_id, const struct log_field *fields,
                const char *format, ...) __attribute__((format(printf, 4, 5)));

/* LOG_FIELDS({"MCHID", mchid}, …) is such a list with its end. It lives as long as the block that
 * it is in. */
/* clang-format off */
#define LOG_FIELDS(...) (const struct log_field[]){__VA_ARGS__, {NULL, NULL}}
/* clang-format on */

/* The same at LOG_NOTICE, whatever level is set: for what an operator changes. */
void log_audit(const char *message_id, const struct log_field *fields, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(...)   log_text(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_text(LOG_WARNING, __VA_ARGS__)
#define log_notice(...)  log_text(LOG_NOTICE, __VA_ARGS__)
#define log_info(...)    log_text(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_text(LOG_DEBUG, __VA_ARGS__)

#endif
