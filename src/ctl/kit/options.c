#include "ctl/kit/options.h"

#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "presignd/base/nearest.h"
#include "presignd/base/text.h"

#include <assert.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* getopt_long()'s return values, above every character. */
enum { VALUE_HELP = 256, VALUE_ROWS };

/* The table as getopt_long() takes it. */
struct translation {
    struct option longs[OPTIONS_MAX + 2];
    char shorts[2 * OPTIONS_MAX + 4];
};

size_t options_count(const struct option_row *rows)
{
    size_t count = 0;
    while (rows != NULL && rows[count].name != NULL) {
        count++;
    }
    assert(count <= OPTIONS_MAX);
    return count;
}

static void translate(const struct option_row *rows, size_t count, struct translation *out)
{
    char *letter = out->shorts;
    *letter++ = ':'; /* getopt_long() then returns ':' for a missing value, '?' for the rest */
    *letter++ = 'h';
    for (size_t i = 0; i < count; i++) {
        int argument = rows[i].kind == OPTION_FLAG ? no_argument : required_argument;
        out->longs[i] = (struct option){rows[i].name, argument, NULL, VALUE_ROWS + (int)i};
        if (rows[i].letter != 0) {
            *letter++ = rows[i].letter;
            if (argument == required_argument) {
                *letter++ = ':';
            }
        }
    }
    out->longs[count] = (struct option){"help", no_argument, NULL, VALUE_HELP};
}

static const struct option_row *row_of(const struct option_row *rows, int value)
{
    if (value >= VALUE_ROWS) {
        return &rows[value - VALUE_ROWS];
    }
    while (rows->letter != value) { /* getopt_long() returns letters of the table only */
        assert(rows->name != NULL);
        rows++;
    }
    return rows;
}

/* Adds the accepted words to `words`; true when the row accepts any, or `word` is one of them. */
static bool choice_has(const struct option_row *row, const char *word, struct buf *words)
{
    for (size_t i = 0; row->choice != NULL && row->choice(i) != NULL; i++) {
        if (strcmp(row->choice(i), word) == 0) {
            return true;
        }
        buf_printf(words, "%s%s", i == 0 ? "" : ", ", row->choice(i));
    }
    return row->choice == NULL;
}

bool options_duration(const char *text, int64_t *count, int64_t *unit_s)
{
    static const struct {
        char letter;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    size_t len = strspn(text, "0123456789");
    AUTO_FREE char *number = mem_dup(text, len);
    for (size_t i = 0; i < ARRAY_LENGTH(units); i++) {
        if (text[len] == units[i].letter && text[len + 1] == '\0') {
            *unit_s = units[i].seconds;
            return text_int(number, 0, INT64_MAX, count);
        }
    }
    return false;
}

/* Seconds of a number and a unit. False if it is not, or outside the row's range. */
static bool take_span(const struct option_row *row, const char *text, int64_t *seconds)
{
    int64_t count, unit_s;
    if (!options_duration(text, &count, &unit_s) || count > row->max / unit_s ||
        count * unit_s < row->min) {
        return false;
    }
    *seconds = count * unit_s;
    return true;
}

/* "--NAME", or an operand's name. */
static char *name_of(const struct option_row *row)
{
    return mem_printf("%s%s", text_is_alpha(*row->name) && *row->name <= 'Z' ? "" : "--",
                      row->name);
}

/* NULL, or the error (free()). */
static char *take(const struct option_row *row, const char *text, void *values)
{
    void *target = (char *)values + row->offset;
    AUTO_BUF struct buf words = {0};
    AUTO_FREE char *name = name_of(row);
    if (row->kind != OPTION_FLAG && !choice_has(row, text, &words)) {
        return mem_printf("%s %s: give one of %s", name, text, words.data);
    }
    switch (row->kind) {
    case OPTION_FLAG:
        *(bool *)target = true;
        return NULL;
    case OPTION_TEXT:
        *(const char **)target = text;
        return NULL;
    case OPTION_INT:
        return text_int(text, row->min, row->max, target)
                   ? NULL
                   : mem_printf("--%s %s: must be a whole number from %" PRId64 " to %" PRId64,
                                row->name, text, row->min, row->max);
    case OPTION_SPAN:
        return take_span(row, text, target)
                   ? NULL
                   : mem_printf("--%s %s: must be a number and s, m, h or d, at most %" PRId64 "d",
                                row->name, text, row->max / 86400);
    case OPTION_EACH: {
        AUTO_FREE char *reason = row->each(values, text);
        return reason == NULL ? NULL : mem_printf("--%s %s: %s", row->name, text, reason);
    }
    }
    abort();
}

/* getopt_long() leaves the unknown argument in different places. */
static char *unknown(const struct option_row *rows, size_t count, char **argv)
{
    AUTO_FREE char *word = mem_strdup(argv[optind - 1]);
    word[strcspn(word, "=")] = '\0';
    if (optopt > 0 && optopt < VALUE_HELP) {
        return mem_printf("unknown option -%c", optopt);
    }
    if (optopt >= VALUE_HELP) {
        return mem_printf("%s: this option takes no value", argv[optind - 1]);
    }
    struct nearest nearest = {.name = word + strspn(word, "-"), .limit = OPTIONS_NEAREST_LIMIT};
    for (size_t i = 0; i < count; i++) {
        nearest_consider(&nearest, rows[i].name);
    }
    return nearest.found == NULL ? mem_printf("unknown option %s", word)
                                 : mem_printf("unknown option %s (--%s?)", word, nearest.found);
}

/* The arguments after the options. */
static char *take_operand(const struct option_row *operand, int count, char **words, void *values)
{
    if (operand == NULL) {
        return count == 0 ? NULL : mem_printf("%s: takes options only", words[0]);
    }
    return count == 0   ? mem_printf("give %s", operand->name)
           : count == 1 ? take(operand, words[0], values)
                        : mem_printf("%s: takes one %s only", words[1], operand->name);
}

enum options_end options_parse(const struct option_row *rows, const struct option_row *operand,
                               int argc, char **argv, void *values, char **error)
{
    struct translation table = {0};
    size_t count = options_count(rows);
    int value;
    translate(rows, count, &table);
    opterr = 0;
    optind = 1;
    *error = NULL;
    while ((value = getopt_long(argc, argv, table.shorts, table.longs, NULL)) != -1) {
        if (value == VALUE_HELP || value == 'h') {
            return OPTIONS_HELP;
        }
        *error = value == '?'   ? unknown(rows, count, argv)
                 : value == ':' ? mem_printf("%s needs a value", argv[optind - 1])
                                : take(row_of(rows, value), optarg, values);
        if (*error != NULL) {
            return OPTIONS_WRONG;
        }
    }
    *error = take_operand(operand, argc - optind, argv + optind, values);
    return *error == NULL ? OPTIONS_DONE : OPTIONS_WRONG;
}
