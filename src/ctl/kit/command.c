#include "ctl/kit/command.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELP_COLUMN = 28 };

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

static void help_examples(const struct command *command, struct buf *out)
{
    buf_puts(out, "\nexamples:\n");
    for (const char *line = command->examples; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        buf_printf(out, "  %.*s\n", (int)len, line);
        line += len + (line[len] == '\n');
    }
}

static void help_exits(const struct command *command, struct buf *out)
{
    buf_puts(out, "\nexit status:\n");
    for (const struct command_exit *row = command->exits; row->meaning != NULL; row++) {
        buf_printf(out, "  %-3d %s\n", row->status, row->meaning);
    }
}

void command_help(const struct command *command, struct buf *out)
{
    static const struct option_row help = {
        .name = "help", .letter = 'h', .help = "print this text"};
    buf_printf(out, "usage: presignctl %s %s\n\n%s\noptions:\n", command->name, command->arguments,
               command->about);
    for (size_t i = 0; i < options_count(command->options); i++) {
        help_row(&command->options[i], out);
    }
    help_row(&help, out);
    if (command->more != NULL) {
        buf_putc(out, '\n');
        command->more(out);
    }
    help_examples(command, out);
    help_exits(command, out);
}

bool command_exits_with(const struct command *command, int status)
{
    const struct command_exit *row = command->exits;
    while (row->meaning != NULL && row->status != status) {
        row++;
    }
    return row->meaning != NULL;
}

static void print_error(const struct command *command, const char *format, va_list arguments,
                        const char *after) __attribute__((format(printf, 2, 0)));
static void print_error(const struct command *command, const char *format, va_list arguments,
                        const char *after)
{
    AUTO_FREE char *text = mem_vprintf(format, arguments);
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
    print_error(command, format, arguments, NULL);
    va_end(arguments);
    return status;
}

int command_usage(const struct command *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_error(command, format, arguments, "--help");
    va_end(arguments);
    return EX_USAGE;
}

int command_end(const struct command *command, int status)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        return command_fail(command, EX_UNAVAILABLE, "the output could not be written");
    }
    return status;
}

int command_options(const struct command *command, int argc, char **argv, void *values)
{
    AUTO_FREE char *error = NULL;
    AUTO_BUF struct buf help = {0};
    switch (options_parse(command->options, command->operand, argc, argv, values, &error)) {
    case OPTIONS_DONE:
        return COMMAND_GO_ON;
    case OPTIONS_WRONG:
        return command_usage(command, "%s", error);
    case OPTIONS_HELP:
        command_help(command, &help);
        (void)fputs(help.data, stdout);
        return command_end(command, EX_OK);
    }
    abort();
}
