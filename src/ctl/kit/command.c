#include "ctl/kit/command.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <stdarg.h>
#include <stdbool.h>
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

static void print_error(const char *format, va_list arguments, bool usage)
    __attribute__((format(printf, 1, 0)));
static void print_error(const char *format, va_list arguments, bool usage)
{
    AUTO_FREE char *text = mem_vprintf(format, arguments);
    AUTO_BUF struct buf clean = {0};
    text_clean(&clean, text, strlen(text), 8192);
    (void)fprintf(stderr, "presignctl %s: %s", command_running->name, clean.data);
    if (usage) {
        (void)fprintf(stderr, "; see presignctl %s --help", command_running->name);
    }
    (void)fputc('\n', stderr);
}

int command_fail(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_error(format, arguments, false);
    va_end(arguments);
    return status;
}

int command_usage(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_error(format, arguments, true);
    va_end(arguments);
    return EX_USAGE;
}

void command_json(const json_t *document)
{
    (void)json_dumpf(document, stdout, JSON_COMPACT);
    (void)putchar('\n');
}

int command_end(int status)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        return command_fail(EX_UNAVAILABLE, "the output could not be written");
    }
    return status;
}
