/* presignctl's commands: one row in the table of src/ctl/main.c, one file each.
 *
 * What a command says of itself (usage, options, help) is printed from its row, so that
 * `presignctl --help`, `presignctl help NAME` and `presignctl NAME --help` cannot disagree.
 */
#ifndef PRESIGND_CTL_COMMAND_H
#define PRESIGND_CTL_COMMAND_H

#include "presignd/base/buf.h"
#include "presignd/ctl/options.h"

struct command {
    const char *name;
    const char *summary;              /* one line, lower case, no full stop */
    const char *arguments;            /* what follows the name in the usage line */
    const char *about;                /* paragraphs between usage and options, ended by LF */
    const struct option_row *options; /* ends with a row without a name; NULL: --help only */
    void (*more)(struct buf *out);    /* text below the options; NULL: none */
    /* argv[0] is the command's name. Returns the exit status: 0, or one of sysexits.h. */
    int (*run)(int argc, char **argv);
};

extern const struct command command_call;
extern const struct command command_check;
extern const struct command command_demo;
extern const struct command command_sandbox;
extern const struct command command_send;
extern const struct command command_sign;
extern const struct command command_tail;
extern const struct command command_validate;

/* The whole help of a command. */
void command_help(const struct command *command, struct buf *out);

/* "presignctl NAME: TEXT" and a line's end on stderr. Returns `status`, so that a command can
 * end with: return command_fail(&command_send, EX_UNAVAILABLE, …). */
int command_fail(const struct command *command, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with "; see presignctl NAME --help" behind it; returns EX_USAGE. */
int command_usage(const struct command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The end of a command that has printed to stdout: `status`, or EX_IOERR when not all of the
 * output could be written (which is told). */
int command_end(const struct command *command, int status) __attribute__((warn_unused_result));

#endif
