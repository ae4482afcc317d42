/* The daemon's configuration as commands read it (-c FILE and --set), and standard input. */
#ifndef PRESIGND_CTL_CONFIG_H
#define PRESIGND_CTL_CONFIG_H

#include "ctl/kit/options.h"
#include "presignd/setup/setup.h"

#include <stdbool.h>
#include <stddef.h>

#define CTL_SETS_MAX 64

/* Must be the first member of a command's options. */
struct ctl_config {
    const char *path;
    const char *sets[CTL_SETS_MAX];
    size_t set_count;
    const struct setup *setup; /* during run(), if the command's table asks for it */
};

char *ctl_config_set(void *values, const char *text) __attribute__((warn_unused_result));

/* Rows for the command's table. */
#define CTL_CONFIG_ROWS                                                             \
    OPTION_ROW_TEXT(struct ctl_config, path, "config", "FILE",                      \
                    "presignd's configuration\n(default: " CONFIG_DEFAULT_PATH ")", \
                    .letter = 'c'),                                                 \
        OPTION_ROW_EACH(ctl_config_set, "set", "SECTION.KEY=VALUE",                 \
                        "a value that overrides the file;\nmay be repeated")

/* Loads the configuration, schemas and merchants, and keys unless `without_keys`. NULL after every
 * problem was printed to stderr; the command then ends with EX_CONFIG. */
struct setup *ctl_setup(const struct ctl_config *options, bool without_keys)
    __attribute__((warn_unused_result));
/* The same without printing: `problems` gets one line for each problem. */
struct setup *ctl_setup_silent(const struct ctl_config *options, bool without_keys,
                               struct buf *problems) __attribute__((warn_unused_result));
/* The configuration alone, as far as it can be read (config_free()). Never NULL. */
struct config *ctl_config_gather(const struct ctl_config *options, struct buf *problems)
    __attribute__((warn_unused_result));
/* Prints the problems after "the configuration is wrong:". Returns EX_CONFIG. */
int ctl_config_wrong(const struct buf *problems);

/* All of standard input, at most `max` bytes. False after an error was printed: it is longer, or
 * cannot be read. */
bool ctl_read_stdin(struct buf *out, size_t max) __attribute__((warn_unused_result));

/* The next line of standard input without its line feed; false at the end of input. A line longer
 * than CTL_LINE_MAX is cut to one byte more. */
#define CTL_LINE_MAX ((size_t)16 * 1024 * 1024)
bool ctl_read_line(struct buf *line) __attribute__((warn_unused_result));

#endif
