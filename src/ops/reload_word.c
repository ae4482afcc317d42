#include "presignd/ops/reload_word.h"

#include "presignd/base/text.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void reload_word_take(struct reload_word *word, const char *problems, int64_t wall_ms)
{
    word->count++;
    word->ok = problems == NULL;
    word->at_ms = wall_ms;
    word->problems.len = 0;
    buf_puts(&word->problems, problems == NULL ? "" : problems);
}

void reload_word_deinit(struct reload_word *word)
{
    buf_deinit(&word->problems);
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

void reload_word_json(const struct reload_word *word, int64_t started_ms, struct buf *out)
{
    char time[TEXT_TIME_SIZE];
    struct stat in = {0};
    (void)stat("/proc/self/ns/pid", &in);
    buf_printf(out, "{\"pid\":%d,\"pid_namespace\":%ju", (int)getpid(), (uintmax_t)in.st_ino);
    text_time(time, started_ms, true);
    buf_json_member(out, "started_at", time);
    buf_printf(out, ",\"count\":%" PRId64, word->count);
    if (word->count > 0) {
        text_time(time, word->at_ms, true);
        buf_json_member_bool(out, "ok", word->ok);
        buf_json_member(out, "at", time);
    }
    errors_json(word->problems.data, out);
    buf_puts(out, "}\n");
}
