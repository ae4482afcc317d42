/* -c FILE and --set, as every command takes them that reads the daemon's configuration. */
#ifndef PRESIGND_CTL_CONFIG_H
#define PRESIGND_CTL_CONFIG_H

#include "ctl/kit/command.h"
#include "presignd/setup/setup.h"

#include <stdbool.h>
#include <stddef.h>

#define CTL_SETS_MAX 64

/* To be the first member of a command's options. */
struct ctl_config {
    const char *path;
    const char *sets[CTL_SETS_MAX];
    size_t set_count;
};

char *ctl_config_set(void *values, const char *text);

/* Rows for the command's table; `struct ctl_config` lies at offset 0 of its options. */
#define CTL_CONFIG_ROWS                                                             \
    OPTION_ROW_TEXT(struct ctl_config, path, "config", "FILE",                      \
                    "presignd's configuration\n(default: " CONFIG_DEFAULT_PATH ")", \
                    .letter = 'c'),                                                 \
        OPTION_ROW_EACH(ctl_config_set, "set", "SECTION.KEY=VALUE",                 \
                        "a value that overrides the file;\nmay be repeated")

/* Loads the configuration, schemas and merchants, keys too unless `without_keys`. NULL after
 * every problem was told on stderr; the command then ends with EX_CONFIG. */
struct setup *ctl_setup(const struct command *command, const struct ctl_config *config,
                        bool without_keys) __attribute__((warn_unused_result));

/* The same, and silent: the problems are lines of `problems`. */
struct setup *ctl_setup_quiet(const struct ctl_config *config, bool without_keys,
                              struct buf *problems) __attribute__((warn_unused_result));

/* All of standard input, at most `max` bytes. False when there is more, or it cannot be read;
 * that was then told. */
bool ctl_read_stdin(const struct command *command, struct buf *out, size_t max)
    __attribute__((warn_unused_result));

/* A line of standard input; a longer one is cut, and so told to be too large. */
#define CTL_LINE_MAX ((size_t)16 * 1024 * 1024)
/* The next line without its line's end; false at the end of input. */
bool ctl_read_line(struct buf *line) __attribute__((warn_unused_result));

#endif
