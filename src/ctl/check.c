#include "ctl/kit/commands.h"
#include "ctl/kit/config.h"
#include "presignd/base/text.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

struct options {
    struct ctl_config config;
    bool json;
};

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    OPTION_ROW_JSON(struct options, json,
                    "{\"ok\", \"problems\", \"warnings\", \"start\"},\n"
                    "with arrays of lines"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "presignd would start"},
    EXIT_ROW_USAGE,
    {EX_UNAVAILABLE, "the output cannot be written"},
    EXIT_ROW_CONFIG,
    {0},
};

/* NAME: [LINE, ...] of text whose lines end with LF. */
static void member_lines(struct buf *json, const char *name, const struct buf *text)
{
    buf_json_name(json, name);
    buf_putc(json, '[');
    for (const char *line = text->data; line != NULL && *line != '\0';) {
        size_t len = strcspn(line, "\n");
        AUTO_BUF struct buf clean = {0};
        text_clean(&clean, line, len, len + 1);
        buf_puts(json, json->data[json->len - 1] == '[' ? "" : ",");
        buf_json_string(json, clean.data, clean.len);
        line += len + (line[len] == '\n');
    }
    buf_putc(json, ']');
}

static int check_json(const struct ctl_config *config)
{
    AUTO_BUF struct buf problems = {0};
    AUTO_BUF struct buf text = {0};
    AUTO_BUF struct buf json = {0};
    static const struct buf none = {0};
    struct setup *setup = ctl_setup_silent(config, false, &problems);
    if (setup != NULL) {
        setup_describe(setup, &text);
    }
    buf_putc(&json, '{');
    buf_json_member_bool(&json, "ok", setup != NULL);
    member_lines(&json, "problems", &problems);
    member_lines(&json, "warnings", setup == NULL ? &none : &setup->warnings);
    member_lines(&json, "start", &text);
    buf_putc(&json, '}');
    (void)puts(json.data);
    int status = setup == NULL ? EX_CONFIG : EX_OK;
    setup_free(setup);
    return command_end(&command_check, status);
}

static int check_text(const struct ctl_config *config)
{
    struct setup *setup = ctl_setup(&command_check, config, false);
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

static int run(int argc, char **argv)
{
    struct options options = {0};
    int status = command_options(&command_check, argc, argv, &options);
    if (status != COMMAND_GO_ON) {
        return status;
    }
    return options.json ? check_json(&options.config) : check_text(&options.config);
}

const struct command command_check = {
    .name = "check",
    .summary = "load everything that presignd loads, and print what is wrong",
    .arguments = "[-c FILE] [OPTION ...]",
    .about = "Reads the configuration, the schemas, the keys and the Kafka properties as presignd\n"
             "does when it starts, and connects to nothing. Prints what presignd would run with,\n"
             "or every problem with its file and line. If values are credentials (@NAME), set\n"
             "$CREDENTIALS_DIRECTORY to their directory and run it as a user who can read them.\n",
    .options = rows,
    .examples = "# before a restart\n"
                "CREDENTIALS_DIRECTORY=/etc/presignd/keys presignctl check\n"
                "# check another address\n"
                "presignctl check --set daemon.admin_listen=127.0.0.1:9500\n",
    .exits = exits,
    .run = run,
};
