#include "presignd/ctl/options.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/ctl/command.h"

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
enum { HELP_COLUMN = 28 };

/* The same table in getopt's terms. */
struct translation {
    struct option longs[OPTIONS_MAX + 2];
    char shorts[2 * OPTIONS_MAX + 4];
};

static size_t row_count(const struct command *command)
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
    return NULL;
}

static int take(const struct command *command, const struct option_row *row, void *values)
{
    void *target = (char *)values + row->offset;
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

/* getopt leaves the argument that it did not know in different places. */
static int unknown(const struct command *command, char **argv)
{
    if (optopt > 0 && optopt < VALUE_HELP) {
        return command_usage(command, "unknown option -%c", optopt);
    }
    if (optopt >= VALUE_HELP) {
        return command_usage(command, "%s: this option takes no value", argv[optind - 1]);
    }
    return command_usage(command, "unknown option %s", argv[optind - 1]);
}

static int print_help(const struct command *command)
{
    AUTO_BUF struct buf text = {0};
    command_help(command, &text);
    return fputs(text.data, stdout) < 0 || fflush(stdout) != 0 ? EX_IOERR : EX_OK;
}

int options_parse(const struct command *command, int argc, char **argv, void *values, int *operands)
{
    struct translation table = {0};
    size_t count = row_count(command);
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

static void help_row(const struct option_row *row, struct buf *out)
{
    size_t start = out->len;
    if (row->letter != 0) {
        buf_printf(out, "  -%c, --%s", row->letter, row->name);
    } else {
        buf_printf(out, "  --%s", row->name);
    }
    if (row->value != NULL) {
        buf_printf(out, " %s", row->value);
    }
    size_t width = out->len - start;
    const char *line = row->help;
    if (width + 2 > HELP_COLUMN) {
        buf_putc(out, '\n');
        width = 0;
    }
    while (line != NULL) {
        const char *end = strchr(line, '\n');
        int len = end == NULL ? (int)strlen(line) : (int)(end - line);
        buf_printf(out, "%*s%.*s\n", HELP_COLUMN - (int)width, "", len, line);
        width = 0;
        line = end == NULL ? NULL : end + 1;
    }
}

void command_help(const struct command *command, struct buf *out)
{
    static const struct option_row help = {
        .name = "help", .letter = 'h', .help = "shows this text"};
    buf_printf(out, "usage: presignctl %s %s\n\n%s\noptions:\n", command->name, command->arguments,
               command->about);
    for (size_t i = 0; i < row_count(command); i++) {
        help_row(&command->options[i], out);
    }
    help_row(&help, out);
    if (command->more != NULL) {
        buf_putc(out, '\n');
        command->more(out);
    }
}

static void tell(const struct command *command, const char *format, va_list arguments,
                 const char *after) __attribute__((format(printf, 2, 0)));
static void tell(const struct command *command, const char *format, va_list arguments,
                 const char *after)
{
    AUTO_FREE char *text = NULL;
    if (vasprintf(&text, format, arguments) < 0) {
        abort();
    }
    AUTO_BUF struct buf clean = {0};
    text_clean(&clean, text, strlen(text), 8192);
    if (after == NULL) {
        (void)fprintf(stderr, "presignctl %s: %s\n", command->name, clean.data);
    } else {
        (void)fprintf(stderr, "presignctl %s: %s; see presignctl %s %s\n", command->name,
                      clean.data, command->name, after);
    }
}

int command_fail(const struct command *command, int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    tell(command, format, arguments, NULL);
    va_end(arguments);
    return status;
}

int command_usage(const struct command *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    tell(command, format, arguments, "--help");
    va_end(arguments);
    return EX_USAGE;
}

int command_end(const struct command *command, int status)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        return command_fail(command, EX_IOERR, "the output could not be written");
    }
    return status;
}
