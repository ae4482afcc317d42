#include "ctl/kit/options.h"

#include "ctl/kit/command.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <assert.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* getopt_long()'s return values: beyond every character, so that letters stay free. */
enum { VALUE_HELP = 256, VALUE_ROWS };
enum { WORD_MAX_LENGTH = 32, NEAR_DISTANCE = 2 };

/* The same table in getopt's terms. */
struct translation {
    struct option longs[OPTIONS_MAX + 2];
    char shorts[2 * OPTIONS_MAX + 4];
};

size_t options_count(const struct command *command)
{
    size_t count = 0;
    while (command->options != NULL && command->options[count].name != NULL) {
        count++;
    }
    assert(count <= OPTIONS_MAX);
    return count;
}

static void translate(const struct command *command, size_t count, struct translation *out)
{
    char *letter = out->shorts;
    *letter++ = ':'; /* a missing value is told apart from an unknown option */
    *letter++ = 'h';
    for (size_t i = 0; i < count; i++) {
        const struct option_row *row = &command->options[i];
        int argument = row->kind == OPTION_FLAG ? no_argument : required_argument;
        out->longs[i] = (struct option){row->name, argument, NULL, VALUE_ROWS + (int)i};
        if (row->letter != 0) {
            *letter++ = row->letter;
            if (argument == required_argument) {
                *letter++ = ':';
            }
        }
    }
    out->longs[count] = (struct option){"help", no_argument, NULL, VALUE_HELP};
}

static const struct option_row *row_of(const struct command *command, size_t count, int value)
{
    if (value >= VALUE_ROWS) {
        return &command->options[value - VALUE_ROWS];
    }
    for (size_t i = 0; i < count; i++) {
        if (command->options[i].letter == value) {
            return &command->options[i];
        }
    }
    abort(); /* getopt returns what it was given, and that was the rows */
}

/* False, and the words that there are, when it takes words and this is none of them. */
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

static int take(const struct command *command, const struct option_row *row, void *values)
{
    void *target = (char *)values + row->offset;
    AUTO_BUF struct buf words = {0};
    if (row->kind != OPTION_FLAG && !choice_has(row, optarg, &words)) {
        return command_usage(command, "--%s %s: give one of %s", row->name, optarg, words.data);
    }
    switch (row->kind) {
    case OPTION_FLAG:
        *(bool *)target = true;
        return OPTIONS_GO_ON;
    case OPTION_TEXT:
        *(const char **)target = optarg;
        return OPTIONS_GO_ON;
    case OPTION_INT:
        if (!text_int(optarg, row->min, row->max, target)) {
            return command_usage(command,
                                 "--%s %s: is no whole number from %" PRId64 " to %" PRId64,
                                 row->name, optarg, row->min, row->max);
        }
        return OPTIONS_GO_ON;
    case OPTION_EACH: {
        AUTO_FREE char *reason = row->each(values, optarg);
        if (reason != NULL) {
            return command_usage(command, "--%s %s: %s", row->name, optarg, reason);
        }
        return OPTIONS_GO_ON;
    }
    }
    abort();
}

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Levenshtein's distance; words longer than any of ours are far from all. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[WORD_MAX_LENGTH + 1];
    size_t a_len = strlen(a), b_len = strlen(b);
    if (a_len > WORD_MAX_LENGTH || b_len > WORD_MAX_LENGTH) {
        return UINT32_MAX;
    }
    for (size_t j = 0; j <= b_len; j++) {
        row[j] = (unsigned)j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = least(replaced, row[j] + 1, row[j - 1] + 1);
        }
    }
    return row[b_len];
}

const char *options_nearest(const char *word, const char *(*words)(const void *of, size_t index),
                            const void *of)
{
    const char *nearest = NULL, *candidate;
    unsigned nearest_distance = NEAR_DISTANCE + 1;
    for (size_t i = 0; (candidate = words(of, i)) != NULL; i++) {
        unsigned far = distance(word, candidate);
        /* Of a word as short as the distance nothing would be left. */
        if (far < nearest_distance && far < strlen(word)) {
            nearest = candidate;
            nearest_distance = far;
        }
    }
    return nearest;
}

static const char *option_name(const void *of, size_t index)
{
    const struct command *command = of;
    return index < options_count(command) ? command->options[index].name : NULL;
}

/* getopt leaves the argument that it did not know in different places. */
static int unknown(const struct command *command, char **argv)
{
    AUTO_FREE char *word = mem_strdup(argv[optind - 1]);
    word[strcspn(word, "=")] = '\0';
    if (optopt > 0 && optopt < VALUE_HELP) {
        return command_usage(command, "unknown option -%c", optopt);
    }
    if (optopt >= VALUE_HELP) {
        return command_usage(command, "%s: this option takes no value", argv[optind - 1]);
    }
    const char *nearest = options_nearest(word + strspn(word, "-"), option_name, command);
    return nearest == NULL ? command_usage(command, "unknown option %s", word)
                           : command_usage(command, "unknown option %s (--%s?)", word, nearest);
}

static int print_help(const struct command *command)
{
    AUTO_BUF struct buf text = {0};
    command_help(command, &text);
    (void)fputs(text.data, stdout);
    return command_end(command, EX_OK);
}

int options_parse(const struct command *command, int argc, char **argv, void *values, int *operands)
{
    struct translation table = {0};
    size_t count = options_count(command);
    translate(command, count, &table);
    opterr = 0;
    optind = 1;
    for (;;) {
        int value = getopt_long(argc, argv, table.shorts, table.longs, NULL);
        if (value == -1) {
            break;
        }
        if (value == VALUE_HELP || value == 'h') {
            return print_help(command);
        }
        if (value == '?') {
            return unknown(command, argv);
        }
        if (value == ':') {
            return command_usage(command, "%s needs a value", argv[optind - 1]);
        }
        int status = take(command, row_of(command, count, value), values);
        if (status != OPTIONS_GO_ON) {
            return status;
        }
    }
    if (operands == NULL && optind < argc) {
        return command_usage(command, "%s: takes options only", argv[optind]);
    }
    if (operands != NULL) {
        *operands = optind;
    }
    return OPTIONS_GO_ON;
}
