/* `presignctl drain`: one instance ends its calls, leaves its group and stays up. */
#include "ctl/kit/commands.h"
#include "ctl/kit/control_client.h"
#include "presignd/base/clock.h"
#include "presignd/base/mem.h"
#include "presignd/config/read.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

/* The daemon ends the drain by itself at its time; the group's leave comes after. */
enum { PAUSE_MS = 100, LEAVE_MS = 30000 };

struct options {
    struct ctl_config config;
    const char *control;
    int64_t timeout_ms; /* below 0: drain_timeout_ms of the configuration */
    bool json;
};

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    CONTROL_ROW(struct options),
    OPTION_ROW_INT(struct options, timeout_ms, "timeout-ms", "N", 0, 3600000,
                   "for calls in flight\n(default: daemon.drain_timeout_ms)"),
    OPTION_ROW_JSON(struct options, json, "{\"instance\", \"state\", \"left\"}"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "drained: everything ended, and the instance has left its group"},
    EXIT_ROW_USAGE,
    EXIT_ROW_CONTROL,
    {EX_TEMPFAIL, "the time passed; what was left goes to other instances"},
    EXIT_ROW_NO_SOCKET,
    {0},
};

static int64_t timeout_of(const struct options *options)
{
    AUTO_BUF struct buf problems = {0};
    if (options->timeout_ms >= 0) {
        return options->timeout_ms;
    }
    struct config *config = ctl_config_gather(&options->config, &problems);
    int64_t timeout_ms = config->daemon.drain_timeout_ms;
    config_free(config);
    return timeout_ms;
}

/* Drained, or the drain was undone: a resume --all came from elsewhere. */
static bool is_over(const char *state)
{
    return strcmp(state, "draining") != 0 && strcmp(state, "stopping") != 0;
}

/* COMMAND_GO_ON with the `process` of the last status, or an exit status. */
static int await(const char *listen, int64_t timeout_ms, json_t **process)
{
    int64_t end_ms = clock_mono_ms() + timeout_ms + LEAVE_MS;
    do {
        AUTO_JSON json_t *status = NULL;
        int end = control_client_ask(listen, "/v1/status", NULL, &status);
        if (end != COMMAND_GO_ON) {
            return end;
        }
        json_decref(*process);
        *process = json_incref(json_object_get(status, "process"));
        if (is_over(json_text(*process, "state"))) {
            return COMMAND_GO_ON;
        }
        (void)poll(NULL, 0, PAUSE_MS);
    } while (clock_mono_ms() < end_ms);
    return COMMAND_GO_ON;
}

static int print(const struct options *options, const json_t *process)
{
    const char *state = json_text(process, "state"), *instance = json_text(process, "instance");
    int64_t left = json_integer_value(json_object_get(process, "drain_left"));
    bool drained = strcmp(state, "drained") == 0;
    if (options->json) {
        AUTO_JSON json_t *answer = json_pack("{s:s, s:s, s:I}", "instance", instance, "state",
                                             state, "left", (json_int_t)left);
        command_json(answer);
    } else if (drained) {
        printf("%s: drained: it has left its group and stays up\n", instance);
    }
    if (!drained) {
        return command_fail(EX_TEMPFAIL, "%s %s: %s", instance,
                            is_over(state) ? "is in its group again, the drain was undone"
                                           : "has not left its group in time",
                            state);
    }
    if (left > 0) {
        return command_fail(
            EX_TEMPFAIL, "the time passed with %" PRId64 " events left; they go to other instances",
            left);
    }
    return EX_OK;
}

static int drain(const char *listen, const struct options *options)
{
    int64_t timeout_ms = timeout_of(options);
    json_t *request = json_object();
    AUTO_JSON json_t *answer = NULL;
    AUTO_JSON json_t *process = NULL;
    json_object_set_new(request, "timeout_ms", json_integer(timeout_ms));
    int end = control_client_ask(listen, "/v1/drain", request, &answer);
    end = end == COMMAND_GO_ON ? await(listen, timeout_ms, &process) : end;
    return end != COMMAND_GO_ON ? end : command_end(print(options, process));
}

static int run(void *values)
{
    const struct options *options = values;
    AUTO_FREE char *listen = control_client_listen(&options->config, options->control);
    return listen == NULL ? EX_CONFIG : drain(listen, options);
}

const struct command command_drain = {
    .name = "drain",
    .summary = "take one instance out of its group, and let it run",
    .arguments = "[--timeout-ms N] [OPTION ...]",
    .about =
        "What is being called ends and is published; then the instance leaves its consumer group\n"
        "and stays up, not ready, in the state drained. Other instances have its partitions\n"
        "within seconds. It is the first half of a planned stop. `presignctl resume --all` or a\n"
        "restart undoes it.\n",
    .options = rows,
    .examples = "# a planned stop of one of several instances\n"
                "sudo presignctl drain && sudo systemctl stop presignd\n",
    .exits = exits,
    COMMAND_OPTIONS(struct options, .timeout_ms = -1),
    .run = run,
};
