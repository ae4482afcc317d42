/* Options of a command as a table: parsing, ranges, errors, help, manual page and completion
 * come from its rows.
 */
#ifndef PRESIGND_CTL_OPTIONS_H
#define PRESIGND_CTL_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#define OPTIONS_MAX 40

/* nearest.limit for commands and options: at most two wrong letters. */
#define OPTIONS_NEAREST_LIMIT 3

enum option_kind {
    OPTION_FLAG, /* takes no value; sets a bool */
    OPTION_TEXT, /* sets a const char *, borrowed from argv */
    OPTION_INT,  /* sets an int64_t within [min, max] */
    OPTION_EACH, /* calls `each`, as often as the option is given */
};

/* Takes one value: NULL, or why not (free()). */
typedef char *option_each_fn(void *values, const char *text);
/* The words that an option takes, in order; NULL behind the last one. */
typedef const char *option_choice_fn(size_t index);

struct option_row {
    const char *name; /* without its dashes; no row is called "help": every command has it */
    char letter;      /* -c for --config; 0: none */
    enum option_kind kind;
    const char *value; /* the value's name in the help; NULL for a flag. FILE and DIR in front
                        * make the completion offer files and directories */
    const char *help;  /* lines of at most 50 characters, no full stop at the end */
    size_t offset;     /* of the variable in the structure that options_parse() is given */
    int64_t min, max;
    option_each_fn *each;
    option_choice_fn *choice; /* OPTION_TEXT, OPTION_EACH: no other word is taken; NULL: any */
};

/* --json, as every command has it; FIELD is a bool of the structure TYPE. */
#define OPTION_ROW_JSON(type, field, what)                                                   \
    {                                                                                        \
        .name = "json", .kind = OPTION_FLAG, .help = (what), .offset = offsetof(type, field) \
    }

enum options_end { OPTIONS_DONE, OPTIONS_HELP, OPTIONS_WRONG };

/* Fills the structure `values` and sets `*operands` to the index of the first argument that is
 * no option. `operands` NULL: an operand is an error. Ends early at --help, and at the first
 * error, which it describes (free()). `rows` NULL: --help is the only option. */
enum options_end options_parse(const struct option_row *rows, int argc, char **argv, void *values,
                               int *operands, char **error) __attribute__((warn_unused_result));

/* How many rows, without the last, nameless one; 0 for NULL. */
size_t options_count(const struct option_row *rows);

#endif
