/* What a command of presignctl is. Its table is the only source of `presignctl NAME --help`,
 * `presignctl help NAME`, its section of presignctl(1) and its part of the bash completion.
 */
#ifndef PRESIGND_CTL_COMMAND_H
#define PRESIGND_CTL_COMMAND_H

#include "ctl/kit/options.h"
#include "presignd/base/buf.h"

#include <jansson.h>
#include <stddef.h>
#include <sysexits.h>

/* Only these statuses of sysexits.h are used: 0 done, 64 usage, 65 wrong input or finding,
 * 69 something required is unavailable, 75 try again later, 78 configuration. */
struct command_exit {
    int status;
    const char *meaning; /* for this command: lower case, no full stop */
};

/* Rows of most commands. */
#define EXIT_ROW_USAGE                        \
    {                                         \
        EX_USAGE, "the command line is wrong" \
    }
#define EXIT_ROW_KAFKA                                                                       \
    {                                                                                        \
        EX_UNAVAILABLE, "no broker answers, the topic does not exist, or the ACLs forbid it" \
    }
#define EXIT_ROW_CONFIG                                                    \
    {                                                                      \
        EX_CONFIG, "the configuration is wrong; every problem was printed" \
    }

/* What is loaded for a command between check() and run(). The structure of its options then begins
 * with a struct ctl_config. */
enum command_setup { COMMAND_WITHOUT_SETUP, COMMAND_SETUP_WITHOUT_KEYS, COMMAND_SETUP };

struct command {
    const char *name;
    const char *summary;   /* one line, lower case, no full stop */
    const char *arguments; /* what follows the name in the usage line */
    const char *about;     /* paragraphs, each ends with LF; indented lines stay as they are */
    const struct option_row *operand; /* its argument, named in capitals; NULL: options only */
    const struct option_row *options; /* ends with a row without a name; NULL: --help only */
    void (*more)(struct buf *out);    /* lines below the options; NULL: none */
    const char *examples;             /* lines of at most 74 bytes: "# purpose", command */
    const struct command_exit *exits; /* ascending; ends with a row without a meaning */
    size_t options_size;              /* of the structure that the rows fill */
    const void *defaults;             /* such a structure, as it is before the command line */
    enum command_setup setup;
    /* Checks whether the options fit together. Returns COMMAND_GO_ON, or the exit status after an
     * error was printed. NULL: there is nothing to check. */
    int (*check)(void *options);
    /* Returns one of the statuses in `exits`. */
    int (*run)(void *options);
};

/* In the command's table: the structure of its options, and the defaults that are not 0. */
#define COMMAND_OPTIONS(type, ...)                          \
    .options_size = sizeof(type), .defaults = &(const type) \
    {                                                       \
        __VA_ARGS__                                         \
    }

/* The whole help of a command. */
void command_help(const struct command *command, struct buf *out);
/* The commands' part of presignctl(1), as mdoc(7). */
void command_manual(const struct command *const *commands, size_t count, struct buf *out);
/* A bash(1) script that completes presignctl's arguments. */
void command_completion(const struct command *const *commands, size_t count, struct buf *out);

/* What a step of a command returns when the command is to continue. */
#define COMMAND_GO_ON (-1)

/* The command of this process, for messages. */
extern const struct command *command_running;
/* Runs the command, once in a process. argv[0] is its name. Returns the exit status, after --help
 * or an error was printed. */
int command_run(const struct command *command, int argc, char **argv)
    __attribute__((warn_unused_result));

/* Prints "presignctl NAME: TEXT" to stderr. Returns `status`, so that a command can end with
 * return command_fail(EX_UNAVAILABLE, …). */
int command_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with "; see presignctl NAME --help" at the end. Returns EX_USAGE. */
int command_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints the document on one line. */
void command_json(const json_t *document);
/* Flushes stdout at the end of a command. Returns `status`, or prints an error and returns
 * EX_UNAVAILABLE when the output was not written completely. */
int command_end(int status) __attribute__((warn_unused_result));

#endif
