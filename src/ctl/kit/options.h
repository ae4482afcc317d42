/* A command's options as a table. Parsing, ranges, errors, help, manual page and completion come
 * from its rows.
 */
#ifndef PRESIGND_CTL_OPTIONS_H
#define PRESIGND_CTL_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIONS_MAX 40

/* nearest.limit for commands and options: at most two wrong letters. */
#define OPTIONS_NEAREST_LIMIT 3

enum option_kind {
    OPTION_FLAG, /* takes no value; sets a bool */
    OPTION_TEXT, /* sets a const char *, borrowed from argv */
    OPTION_INT,  /* sets an int64_t within [min, max] */
    OPTION_SPAN, /* sets an int64_t: seconds, from a number and s, m, h or d */
    OPTION_EACH, /* calls `each` every time the option is given */
};

/* Takes one value. Returns NULL, or an error (free()). */
typedef char *option_each_fn(void *values, const char *text);
/* The accepted words, in order; NULL after the last one. */
typedef const char *option_choice_fn(size_t index);

struct option_row {
    const char *name; /* without dashes; "help" is reserved */
    char letter;      /* 'c' for -c; 0: none */
    enum option_kind kind;
    const char *value; /* the value's name in the help; NULL for a flag. Completion offers files
                        * for PATH and names that begin with FILE, directories for DIR */
    const char *help;  /* lines of at most 50 characters, no full stop at the end */
    size_t offset;     /* of the variable in `values` */
    int64_t min, max;  /* of a span in seconds */
    option_each_fn *each;
    option_choice_fn *choice; /* OPTION_TEXT, OPTION_EACH: the only accepted words; NULL: any */
};

/* Rows. FIELD is a member of the structure TYPE. Further members (.letter, .choice) may follow. */
#define OPTION_ROW_FLAG(type, field, option, text)                                             \
    {                                                                                          \
        .name = (option), .kind = OPTION_FLAG, .help = (text), .offset = offsetof(type, field) \
    }
#define OPTION_ROW_TEXT(type, field, option, val, text, ...)                   \
    {                                                                          \
        .name = (option), .kind = OPTION_TEXT, .value = (val), .help = (text), \
        .offset = offsetof(type, field), __VA_ARGS__                           \
    }
#define OPTION_ROW_INT(type, field, option, val, least, most, text)           \
    {                                                                         \
        .name = (option), .kind = OPTION_INT, .value = (val), .help = (text), \
        .offset = offsetof(type, field), .min = (least), .max = (most)        \
    }
#define OPTION_ROW_SPAN(type, field, option, most, text)                            \
    {                                                                               \
        .name = (option), .kind = OPTION_SPAN, .value = "DURATION", .help = (text), \
        .offset = offsetof(type, field), .min = 1, .max = (most)                    \
    }
#define OPTION_ROW_EACH(function, option, val, text, ...)                                          \
    {                                                                                              \
        .name = (option), .kind = OPTION_EACH, .value = (val), .help = (text), .each = (function), \
        __VA_ARGS__                                                                                \
    }
/* Every command has --json. */
#define OPTION_ROW_JSON(type, field, text) OPTION_ROW_FLAG(type, field, "json", text)

enum options_end { OPTIONS_DONE, OPTIONS_HELP, OPTIONS_WRONG };

/* Fills the structure `values`. `operand` is the row of the one argument that is no option, and is
 * required; NULL: options only. Ends early at --help, and at the first error, which it describes
 * (free()). `rows` NULL: --help is the only option. */
enum options_end options_parse(const struct option_row *rows, const struct option_row *operand,
                               int argc, char **argv, void *values, char **error)
    __attribute__((warn_unused_result));

/* A DURATION: a number and s, m, h or d, such as 90m. Gives the number and its unit in seconds; the
 * caller bounds the number. */
bool options_duration(const char *text, int64_t *count, int64_t *unit_s)
    __attribute__((warn_unused_result));

/* How many rows there are before the last, nameless one; 0 for NULL. */
size_t options_count(const struct option_row *rows);

#endif
