#include "presignd/ops/reload_status.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void errors_free(struct reload_status *status)
{
    for (size_t i = 0; i < status->error_count; i++) {
        free(status->errors[i]);
    }
    free((void *)status->errors);
    status->errors = NULL;
    status->error_count = 0;
}

static void errors_take(struct reload_status *status, const char *lines)
{
    while (*lines != '\0') {
        size_t len = strcspn(lines, "\n");
        AUTO_BUF struct buf clean = {0};
        text_clean(&clean, lines, len, len + 1);
        if (clean.len > 0) {
            status->errors = mem_realloc((void *)status->errors,
                                         (status->error_count + 1) * sizeof *status->errors);
            status->errors[status->error_count++] = buf_take(&clean);
        }
        lines += len + (lines[len] == '\n');
    }
}

void reload_status_set(struct reload_status *status, const char *problems, int64_t wall_ms)
{
    status->count++;
    status->ok = problems == NULL;
    status->at_ms = wall_ms;
    errors_free(status);
    errors_take(status, problems == NULL ? "" : problems);
}

void reload_status_deinit(struct reload_status *status)
{
    errors_free(status);
}

static void errors_json(const struct reload_status *status, struct buf *out)
{
    buf_json_name(out, "errors");
    buf_putc(out, '[');
    for (size_t i = 0; i < status->error_count; i++) {
        buf_puts(out, i == 0 ? "" : ",");
        buf_json_string(out, status->errors[i], strlen(status->errors[i]));
    }
    buf_putc(out, ']');
}

void reload_status_json(const struct reload_status *status, int64_t started_ms, struct buf *out)
{
    char time[TEXT_TIME_SIZE];
    struct stat namespace = {0};
    (void)stat("/proc/self/ns/pid", &namespace);
    buf_printf(out, "{\"pid\":%d,\"pid_namespace\":%ju", (int)getpid(),
               (uintmax_t) namespace.st_ino);
    text_time(time, started_ms, true);
    buf_json_member(out, "started_at", time);
    buf_printf(out, ",\"count\":%" PRId64, status->count);
    if (status->count > 0) {
        text_time(time, status->at_ms, true);
        buf_json_member_bool(out, "ok", status->ok);
        buf_json_member(out, "at", time);
    }
    errors_json(status, out);
    buf_puts(out, "}\n");
}
