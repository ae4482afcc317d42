#include "presignd/ctl/config.h"

#include <stdio.h>
#include <sysexits.h>

static const struct option_row rows[] = {CTL_CONFIG_ROWS, {0}};

static int run(int argc, char **argv)
{
    struct ctl_config options = {0};
    int status = options_parse(&command_check, argc, argv, &options, NULL);
    if (status != OPTIONS_GO_ON) {
        return status;
    }
    struct setup *setup = ctl_setup(&command_check, &options, false);
    if (setup == NULL) {
        return EX_CONFIG;
    }
    AUTO_BUF struct buf text = {0};
    (void)fputs(setup->warnings.data == NULL ? "" : setup->warnings.data, stderr);
    setup_describe(setup, &text);
    (void)fputs(text.data, stdout);
    setup_free(setup);
    return command_end(&command_check, EX_OK);
}

const struct command command_check = {
    .name = "check",
    .summary = "load all that a start would load, and say what is wrong",
    .arguments = "[-c FILE] [--set SECTION.KEY=VALUE]...",
    .about = "Reads the configuration, the schemas, the keys and the Kafka properties as presignd\n"
             "does at its start, and connects to nothing. Prints what a start would do, or every\n"
             "problem with its file and line (exit status 78). Run it as the daemon's user, with\n"
             "its $CREDENTIALS_DIRECTORY, when values are @NAMEs of credentials.\n",
    .options = rows,
    .run = run,
};
