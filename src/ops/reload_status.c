#include "presignd/ops/reload_status.h"

#include "presignd/base/text.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void reload_status_set(struct reload_status *status, const char *problems, int64_t wall_ms)
{
    status->count++;
    status->ok = problems == NULL;
    status->at_ms = wall_ms;
    status->problems.len = 0;
    buf_puts(&status->problems, problems == NULL ? "" : problems);
}

void reload_status_deinit(struct reload_status *status)
{
    buf_deinit(&status->problems);
}

static void errors_json(const char *lines, struct buf *out)
{
    const char *comma = "";
    buf_json_name(out, "errors");
    buf_putc(out, '[');
    while (lines != NULL && *lines != '\0') {
        size_t len = strcspn(lines, "\n");
        AUTO_BUF struct buf clean = {0};
        text_clean(&clean, lines, len, len + 1);
        if (clean.len > 0) {
            buf_puts(out, comma);
            buf_json_string(out, clean.data, clean.len);
            comma = ",";
        }
        lines += len + (lines[len] == '\n');
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
    errors_json(status->problems.data, out);
    buf_puts(out, "}\n");
}
