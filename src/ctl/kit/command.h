/* presignctl's commands: one row in the table of src/ctl/main.c, one file each.
 *
 * Everything that is said of a command comes from its row: `presignctl --help`, `presignctl
 * help NAME`, `presignctl NAME --help`, its section of presignctl(1) and its part of the
 * bash completion. So they cannot disagree.
 */
#ifndef PRESIGND_CTL_COMMAND_H
#define PRESIGND_CTL_COMMAND_H

#include "ctl/kit/options.h"
#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <sysexits.h>

/* Of sysexits.h only six are used, each with one meaning: 0 done, 64 usage, 65 what was given or
 * found is wrong, 69 something needed is not there, 75 try again later, 78 configuration. */
struct command_exit {
    int status;
    const char *meaning; /* to this command: lower case, no full stop */
};

/* Rows that most commands have. */
#define EXIT_ROW_USAGE                        \
    {                                         \
        EX_USAGE, "the command line is wrong" \
    }
#define EXIT_ROW_CONFIG                                                 \
    {                                                                   \
        EX_CONFIG, "the configuration is wrong; every problem was told" \
    }

struct command {
    const char *name;
    const char *summary;              /* one line, lower case, no full stop */
    const char *arguments;            /* what follows the name in the usage line */
    const char *about;                /* paragraphs, ended by LF; indented ones stay as they are */
    const struct option_row *options; /* ends with a row without a name; NULL: --help only */
    void (*more)(struct buf *out);    /* lines below the options; NULL: none */
    const char *examples;             /* lines of at most 74 bytes: "# what for", command */
    const struct command_exit *exits; /* ascending; ends with a row without a meaning */
    /* argv[0] is the command's name. Returns one of the statuses in `exits`. */
    int (*run)(int argc, char **argv);
};

extern const struct command command_call;
extern const struct command command_check;
extern const struct command command_demo;
extern const struct command command_redrive;
extern const struct command command_reload;
extern const struct command command_sandbox;
extern const struct command command_send;
extern const struct command command_sign;
extern const struct command command_status;
extern const struct command command_tail;
extern const struct command command_topics;
extern const struct command command_validate;

/* The whole help of a command. */
void command_help(const struct command *command, struct buf *out);
/* The commands' part of presignctl(1), as mdoc(7). */
void command_manual(const struct command *const *commands, size_t count, struct buf *out);
/* A bash(1) script that completes presignctl's words. */
void command_completion(const struct command *const *commands, size_t count, struct buf *out);
/* The status is one that the command's help names. */
bool command_exits_with(const struct command *command, int status);

/* What command_options() returns when the command is to go on. */
#define COMMAND_GO_ON (-1)

/* options_parse() by the command's table. COMMAND_GO_ON, or the exit status to end with: 0 after
 * --help was printed, EX_USAGE after an error was printed. */
int command_options(const struct command *command, int argc, char **argv, void *values,
                    int *operands) __attribute__((warn_unused_result));

/* "presignctl NAME: TEXT" and a line's end on stderr. Returns `status`, so that a command can
 * end with: return command_fail(&command_send, EX_UNAVAILABLE, …). */
int command_fail(const struct command *command, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with "; see presignctl NAME --help" behind it; returns EX_USAGE. */
int command_usage(const struct command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The end of a command that has printed to stdout: `status`, or EX_UNAVAILABLE when not all of
 * the output could be written (which is told). */
int command_end(const struct command *command, int status) __attribute__((warn_unused_result));

#endif
