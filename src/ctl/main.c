/* presignctl: everything around the daemon, one command each. */
#include "presignd/base/mem.h"
#include "presignd/ctl/command.h"
#include "presignd/version.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

/* In the order in which the help shows them. */
static const struct command *const commands[] = {
    &command_demo,     &command_sandbox, &command_send, &command_tail,
    &command_validate, &command_sign,    &command_call, &command_check,
};

enum { NAME_MAX_LENGTH = 32, SUGGEST_DISTANCE = 2 };

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Levenshtein's distance; names longer than any command's are far from all. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[NAME_MAX_LENGTH + 1];
    size_t a_len = strlen(a), b_len = strlen(b);
    if (a_len > NAME_MAX_LENGTH || b_len > NAME_MAX_LENGTH) {
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

static int unknown(const char *name)
{
    const struct command *nearest = NULL;
    unsigned nearest_distance = SUGGEST_DISTANCE + 1;
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++) {
        unsigned far = distance(name, commands[i]->name);
        if (far < nearest_distance) {
            nearest = commands[i];
            nearest_distance = far;
        }
    }
    (void)fprintf(stderr, "presignctl: unknown command %s", name);
    if (nearest != NULL) {
        (void)fprintf(stderr, " (%s?)", nearest->name);
    }
    (void)fputs("; see presignctl --help\n", stderr);
    return EX_USAGE;
}

static void overview(struct buf *out)
{
    buf_puts(out, "usage: presignctl COMMAND [OPTION ...]\n"
                  "       presignctl help COMMAND\n"
                  "       presignctl --version\n\n"
                  "Tools around presignd, which turns Kafka events into WeChat Pay pre-sign "
                  "calls.\n\ncommands:\n");
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++) {
        buf_printf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    }
    buf_puts(out, "\nexit status: 0; 64 usage; 65 bad input; 69 unavailable; 75 try again later;\n"
                  "78 configuration\n");
}

static int show(const struct buf *text)
{
    return fputs(text->data, stdout) < 0 || fflush(stdout) != 0 ? EX_IOERR : EX_OK;
}

static int help(const char *name)
{
    AUTO_BUF struct buf text = {0};
    const struct command *command = name == NULL ? NULL : find(name);
    if (name != NULL && command == NULL) {
        return unknown(name);
    }
    if (command == NULL) {
        overview(&text);
    } else {
        command_help(command, &text);
    }
    return show(&text);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fputs("presignctl: which command? see presignctl --help\n", stderr);
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
        return puts("presignctl " PRESIGND_VERSION) < 0 ? EX_IOERR : EX_OK;
    }
    const struct command *command = find(name);
    return command == NULL ? unknown(name) : command->run(argc - 1, argv + 1);
}
