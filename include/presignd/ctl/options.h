/* Options of a command as a table: parsing, ranges, errors and help come from its rows. */
#ifndef PRESIGND_CTL_OPTIONS_H
#define PRESIGND_CTL_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

struct command;

#define OPTIONS_MAX 40

enum option_kind {
    OPTION_FLAG, /* takes no value; sets a bool */
    OPTION_TEXT, /* sets a const char *, borrowed from argv */
    OPTION_INT,  /* sets an int64_t within [min, max] */
    OPTION_EACH, /* calls `each`, as often as the option is given */
};

/* Takes one value: NULL, or why not (free()). */
typedef char *option_each_fn(void *values, const char *text);

struct option_row {
    const char *name; /* without its dashes; no row is called "help": every command has it */
    char letter;      /* -c for --config; 0: none */
    enum option_kind kind;
    const char *value; /* the value's name in the help; NULL for a flag */
    const char *help;  /* lines of at most 50 characters, no full stop at the end */
    size_t offset;     /* of the variable in the structure that options_parse() is given */
    int64_t min, max;
    option_each_fn *each;
};

/* What options_parse() returns when the command is to go on. */
#define OPTIONS_GO_ON (-1)

/* Fills the structure `values` and sets `*operands` to the index of the first argument that is
 * no option. `operands` NULL: an operand is an error. Otherwise returns the exit status to end
 * with: 0 after --help was printed, EX_USAGE after an error was told. */
int options_parse(const struct command *command, int argc, char **argv, void *values, int *operands)
    __attribute__((warn_unused_result));

#endif
