#include "ctl/kit/config.h"

#include "ctl/kit/command.h"
#include "presignd/base/mem.h"
#include "presignd/config/read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

char *ctl_config_set(void *values, const char *text)
{
    struct ctl_config *config = values;
    if (config->set_count == CTL_SETS_MAX) {
        return mem_strdup("is given too often");
    }
    config->sets[config->set_count++] = text;
    return NULL;
}

/* Where the packaged service has its control socket. systemd sets the variable for ExecReload=. */
static const char *runtime_dir(void)
{
    const char *given = getenv("RUNTIME_DIRECTORY");
    return given != NULL ? given : "/run/presignd";
}

static struct config_sources sources_of(const struct ctl_config *options, bool without_keys)
{
    return (struct config_sources){
        .path = options->path,
        .sets = options->sets,
        .set_count = options->set_count,
        .without_keys = without_keys,
        .runtime_dir = runtime_dir(),
    };
}

struct config *ctl_config_gather(const struct ctl_config *options, struct buf *problems)
{
    const struct config_sources sources = sources_of(options, true);
    return config_gather(&sources, NULL, problems);
}

struct setup *ctl_setup_silent(const struct ctl_config *options, bool without_keys,
                               struct buf *problems)
{
    struct config_sources sources = sources_of(options, without_keys);
    sources.credentials_dir = getenv("CREDENTIALS_DIRECTORY");
    return setup_load(&sources, problems);
}

int ctl_config_wrong(const struct buf *problems)
{
    command_fail(EX_CONFIG, "the configuration is wrong:");
    (void)fputs(problems->data, stderr);
    return EX_CONFIG;
}

struct setup *ctl_setup(const struct ctl_config *options, bool without_keys)
{
    AUTO_BUF struct buf problems = {0};
    struct setup *setup = ctl_setup_silent(options, without_keys, &problems);
    if (setup == NULL) {
        ctl_config_wrong(&problems);
    }
    return setup;
}

bool ctl_read_stdin(struct buf *out, size_t max)
{
    char chunk[16384];
    size_t len;
    while ((len = fread(chunk, 1, sizeof chunk, stdin)) > 0 && out->len <= max) {
        buf_append(out, chunk, len);
    }
    buf_append(out, "", 0);
    if (ferror(stdin)) {
        command_fail(EX_UNAVAILABLE, "standard input cannot be read");
        return false;
    }
    if (out->len > max) {
        command_fail(EX_DATAERR, "standard input holds more than %zu bytes", max);
        return false;
    }
    return true;
}

bool ctl_read_line(struct buf *line)
{
    int c;
    line->len = 0;
    while ((c = getc_unlocked(stdin)) != EOF && c != '\n') {
        if (line->len <= CTL_LINE_MAX) {
            buf_putc(line, (char)c);
        }
    }
    buf_append(line, "", 0);
    return c != EOF || line->len > 0;
}
