/* The commands of presignctl. A new command is a source that defines `command_NAME`, and its name
 * here. Help, manual page and completion come from its table. */
#ifndef PRESIGND_CTL_KIT_COMMANDS_H
#define PRESIGND_CTL_KIT_COMMANDS_H

#include "ctl/kit/command.h"

/* In the order of the help. */
/* clang-format off */
#define COMMANDS(X) \
    X(demo) \
    X(sandbox) \
    X(topics) \
    X(send) \
    X(tail) \
    X(canary) \
    X(find) \
    X(redrive) \
    X(status) \
    X(pause) \
    X(resume) \
    X(drain) \
    X(log_level) \
    X(reload) \
    X(validate) \
    X(sign) \
    X(call) \
    X(check)
/* clang-format on */

#define COMMAND_DECLARE(name) extern const struct command command_##name;
COMMANDS(COMMAND_DECLARE)

#endif
