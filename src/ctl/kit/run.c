#include "ctl/kit/command.h"
#include "ctl/kit/config.h"
#include "ctl/kit/terminal.h"
#include "presignd/base/mem.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

const struct command *command_running;

static bool exits_with(const struct command *command, int status)
{
    const struct command_exit *row = command->exits;
    while (row->meaning != NULL && row->status != status) {
        row++;
    }
    return row->meaning != NULL;
}

static int take_options(const struct command *command, int argc, char **argv, void *options)
{
    AUTO_FREE char *error = NULL;
    AUTO_BUF struct buf help = {0};
    switch (options_parse(command->options, command->operand, argc, argv, options, &error)) {
    case OPTIONS_DONE:
        return command->check == NULL ? COMMAND_GO_ON : command->check(options);
    case OPTIONS_WRONG:
        return command_usage("%s", error);
    case OPTIONS_HELP:
        command_help(command, &help);
        (void)fputs(help.data, stdout);
        return command_end(EX_OK);
    }
    abort();
}

static int run_with_setup(const struct command *command, void *options)
{
    struct ctl_config *config = options;
    struct setup *setup = ctl_setup(config, command->setup == COMMAND_SETUP_WITHOUT_KEYS);
    config->setup = setup;
    int status = setup == NULL ? EX_CONFIG : command->run(options);
    setup_free(setup);
    return status;
}

int command_run(const struct command *command, int argc, char **argv)
{
    static void *options; /* lives until the process ends, as argv does */
    command_running = command;
    terminal_init();
    options = mem_dup(command->defaults, command->options_size);
    int status = take_options(command, argc, argv, options);
    if (status == COMMAND_GO_ON) {
        status = command->setup == COMMAND_WITHOUT_SETUP ? command->run(options)
                                                         : run_with_setup(command, options);
    }
    assert(exits_with(command, status)); /* the help must list it */
    return status;
}
