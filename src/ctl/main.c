/* presignctl: the operator's tool. */
#include "ctl/kit/commands.h"
#include "presignd/base/mem.h"
#include "presignd/base/nearest.h"
#include "presignd/version.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#define COMMAND_ADDRESS(name) &command_##name,
static const struct command *const commands[] = {COMMANDS(COMMAND_ADDRESS)};

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

static int unknown(const char *name)
{
    struct nearest nearest = {.name = name, .limit = OPTIONS_NEAREST_LIMIT};
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++) {
        nearest_consider(&nearest, commands[i]->name);
    }
    (void)fprintf(stderr, "presignctl: unknown command %s", name);
    if (nearest.found != NULL) {
        (void)fprintf(stderr, " (%s?)", nearest.found);
    }
    (void)fputs("; see presignctl --help\n", stderr);
    return EX_USAGE;
}

static void overview(struct buf *out)
{
    buf_puts(out, "usage: presignctl COMMAND [OPTION ...]\n"
                  "       presignctl help COMMAND\n"
                  "       presignctl help --completion | --manual\n"
                  "       presignctl --version\n\n"
                  "The operator's tool of presignd, which turns Kafka events into WeChat Pay "
                  "pre-sign calls.\n\ncommands:\n");
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++) {
        buf_printf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    }
    buf_puts(
        out,
        "\nexit status of every command; its help has the details:\n"
        "  0   done\n"
        "  64  the command line is wrong\n"
        "  65  the input is wrong, or a check found a problem\n"
        "  69  something required is unavailable: a broker, a file, disk space\n"
        "  75  try again later\n"
        "  78  the configuration is wrong\n"
        "\n"
        "Colours appear on terminals only, and not if $NO_COLOR is set. --json prints one JSON\n"
        "document, or one per line, for programs.\n");
}

/* A write error only sets the status: stderr may fail as well. */
static int show(const struct buf *text)
{
    return fputs(text->data, stdout) < 0 || fflush(stdout) != 0 ? EX_UNAVAILABLE : EX_OK;
}

static int help(const char *name)
{
    AUTO_BUF struct buf text = {0};
    const struct command *command = name == NULL ? NULL : find(name);
    if (name == NULL) {
        overview(&text);
    } else if (command != NULL) {
        command_help(command, &text);
    } else if (strcmp(name, "--manual") == 0) {
        command_manual(commands, ARRAY_LENGTH(commands), &text);
    } else if (strcmp(name, "--completion") == 0) {
        command_completion(commands, ARRAY_LENGTH(commands), &text);
    } else {
        return unknown(name);
    }
    return show(&text);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fputs("presignctl: give a command; see presignctl --help\n", stderr);
        return EX_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        return help(NULL);
    }
    if (strcmp(name, "help") == 0) {
        return help(argc > 2 ? argv[2] : NULL);
    }
    if (strcmp(name, "--version") == 0) {
        AUTO_BUF struct buf text = {0};
        buf_puts(&text, "presignctl " PRESIGND_VERSION "\n");
        return show(&text);
    }
    const struct command *command = find(name);
    return command == NULL ? unknown(name) : command_run(command, argc - 1, argv + 1);
}
