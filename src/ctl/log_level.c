/* `presignctl log-level`: what a running daemon logs, without a restart. */
#include "ctl/kit/commands.h"
#include "ctl/kit/control_client.h"
#include "presignd/base/mem.h"

#include <stdio.h>

#define YEAR_S (INT64_C(366) * 86400)

struct options {
    struct ctl_config config;
    const char *control;
    const char *level;
    int64_t for_s; /* 0: until the restart */
    bool json;
};

static const char *level_choice(size_t index)
{
    static const char *const levels[] = {"error", "warning", "notice", "info", "debug", NULL};
    return levels[index];
}

static const struct option_row level =
    OPTION_ROW_TEXT(struct options, level, "LEVEL", NULL, "", .choice = level_choice);

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    CONTROL_ROW(struct options),
    OPTION_ROW_SPAN(struct options, for_s, "for", YEAR_S,
                    "then the level before is used again:\na number and s, m, h or d\n"
                    "(default: until the restart)"),
    OPTION_ROW_JSON(struct options, json, "the daemon's answer: {\"level\", \"until\"}"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "the level is in use"}, EXIT_ROW_USAGE, EXIT_ROW_CONTROL, EXIT_ROW_NO_SOCKET, {0},
};

static int run(void *values)
{
    const struct options *options = values;
    AUTO_FREE char *listen = control_client_listen(&options->config, options->control);
    if (listen == NULL) {
        return EX_CONFIG;
    }
    json_t *request = json_pack("{s:s}", "level", options->level);
    AUTO_JSON json_t *answer = NULL;
    if (options->for_s > 0) {
        json_object_set_new(request, "seconds", json_integer(options->for_s));
    }
    int end = control_client_ask(listen, "/v1/log-level", request, &answer);
    if (end != COMMAND_GO_ON) {
        return end;
    }
    if (options->json) {
        command_json(answer);
    } else {
        const char *until = json_text(answer, "until");
        printf("log level %s %s%s\n", json_text(answer, "level"), *until == '\0' ? "" : "until ",
               *until == '\0' ? "until the restart" : until);
    }
    return command_end(EX_OK);
}

const struct command command_log_level = {
    .name = "log-level",
    .summary = "change what a running daemon logs",
    .arguments = "error|warning|notice|info|debug [--for DURATION] [OPTION ...]",
    .about = "Sets the least important level that one running daemon still logs; info is the\n"
             "default. Pauses and other changes by operators are always logged.\n",
    .operand = &level,
    .options = rows,
    .examples = "# each attempt, for ten minutes\n"
                "sudo presignctl log-level debug --for 10m\n",
    .exits = exits,
    COMMAND_OPTIONS(struct options),
    .run = run,
};
