/* `presignctl pause` and `presignctl resume`: hold events of one instance, and let them go. */
#include "presignd/flow/pause.h"
#include "ctl/kit/commands.h"
#include "ctl/kit/control_client.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/wechatpay/endpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCOPES_MAX = 64 };
#define YEAR_S (INT64_C(366) * 86400)

struct scope {
    enum pause_scope scope;
    const char *name;
    bool was; /* it was paused before */
};

struct options {
    struct ctl_config config;
    const char *control;
    struct scope scopes[SCOPES_MAX];
    size_t count;
    bool all;
    int64_t for_s; /* 0: without an end */
    bool persist;
    const char *note;
    bool json;
    bool resume;  /* which of the two commands it is */
    bool drained; /* found out: the instance drains, or has left its group */
};

static char *add(struct options *options, enum pause_scope scope, const char *name)
{
    if (options->count == SCOPES_MAX) {
        return mem_strdup("is given too often");
    }
    options->scopes[options->count++] = (struct scope){.scope = scope, .name = name};
    return NULL;
}

static char *add_merchant(void *values, const char *text)
{
    return add(values, PAUSE_MERCHANT, text);
}

static char *add_endpoint(void *values, const char *text)
{
    return add(values, PAUSE_ENDPOINT, text);
}

static const char *endpoint_choice(size_t index)
{
    size_t count;
    const struct endpoint *table = endpoint_table(&count);
    return index < count ? table[index].name : NULL;
}

#define SCOPE_ROWS(what)                                                 \
    CONTROL_ROW(struct options),                                         \
        OPTION_ROW_EACH(add_merchant, "merchant", "MCHID",               \
                        what "this merchant's events; may be repeated"), \
        OPTION_ROW_EACH(add_endpoint, "endpoint", "NAME",                \
                        what "this endpoint's events; may be repeated", .choice = endpoint_choice)

static const struct option_row pause_rows[] = {
    CTL_CONFIG_ROWS,
    SCOPE_ROWS("hold "),
    OPTION_ROW_FLAG(struct options, all, "all", "hold all events; partitions are not read"),
    OPTION_ROW_SPAN(
        struct options, for_s, "for", YEAR_S,
        "it ends by itself: a number and s, m, h or d\n(without: at a resume or a restart)"),
    OPTION_ROW_FLAG(struct options, persist, "persist", "a restart keeps it (daemon.state_dir)"),
    OPTION_ROW_TEXT(struct options, note, "note", "TEXT", "why; status and journal show it"),
    OPTION_ROW_JSON(struct options, json, "the daemon's answer: {\"instance\", \"pauses\"}"),
    {0},
};

static const struct option_row resume_rows[] = {
    CTL_CONFIG_ROWS,
    SCOPE_ROWS("call "),
    OPTION_ROW_FLAG(struct options, all, "all", "end every pause, and a drain"),
    OPTION_ROW_JSON(struct options, json, "the daemon's answer: {\"instance\", \"pauses\"}"),
    {0},
};

static json_t *request_of(const struct options *options, const struct scope *scope)
{
    json_t *request = json_object();
    json_object_set_new(request, pause_scope_name(scope->scope),
                        scope->scope == PAUSE_ALL ? json_true() : json_string(scope->name));
    if (options->for_s > 0) {
        json_object_set_new(request, "seconds", json_integer(options->for_s));
    }
    if (options->persist) {
        json_object_set_new(request, "persist", json_true());
    }
    if (options->note != NULL) {
        json_object_set_new(request, "note", json_string(options->note));
    }
    return request;
}

static bool has(const json_t *list, const char *member, const char *name)
{
    size_t index;
    const json_t *item;
    json_array_foreach (list, index, item) {
        if (strcmp(json_text(item, member), name) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_paused(const json_t *pauses, const struct scope *scope)
{
    size_t index;
    const json_t *item;
    json_array_foreach (pauses, index, item) {
        if (strcmp(json_text(item, "scope"), pause_scope_name(scope->scope)) == 0 &&
            strcmp(json_text(item, "name"), scope->name) == 0) {
            return true;
        }
    }
    return false;
}

/* All or none: names that the daemon does not have are found before anything is paused. */
static int check_names(const char *listen, struct options *options)
{
    AUTO_JSON json_t *status = NULL;
    int end = control_client_ask(listen, "/v1/status", NULL, &status);
    const char *state = json_text(json_object_get(status, "process"), "state");
    options->drained = strcmp(state, "draining") == 0 || strcmp(state, "drained") == 0;
    for (size_t i = 0; end == COMMAND_GO_ON && i < options->count; i++) {
        struct scope *scope = &options->scopes[i];
        scope->was = is_paused(json_object_get(status, "pauses"), scope);
        if (scope->scope == PAUSE_MERCHANT &&
            !has(json_object_get(status, "merchants"), "mchid", scope->name)) {
            end = command_fail(EX_DATAERR, "the daemon has no merchant %s", scope->name);
        }
    }
    return end;
}

/* What was paused before this command stays. */
static void undo(const char *listen, const struct options *options, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct scope *scope = &options->scopes[i];
        const struct options bare = {0};
        AUTO_JSON json_t *answer = NULL;
        if (!scope->was) {
            (void)!control_client_ask(listen, "/v1/resume", request_of(&bare, scope), &answer);
        }
    }
}

static void print_pause(const json_t *pause)
{
    const char *until = json_text(pause, "until"), *note = json_text(pause, "note");
    const char *name = json_text(pause, "name");
    printf("  %s%s%s%s%s%s%s\n", json_text(pause, "scope"), *name == '\0' ? "" : " ", name,
           *until == '\0' ? "" : " until ", until, *note == '\0' ? "" : ": ", note);
}

static void print_answer(const struct options *options, const json_t *answer, bool joins)
{
    const json_t *pauses = json_object_get(answer, "pauses");
    size_t index;
    const json_t *pause;
    if (options->json) {
        command_json(answer);
        return;
    }
    printf("%s: %s\n", json_text(answer, "instance"),
           json_array_size(pauses) == 0 ? "nothing is paused" : "paused:");
    json_array_foreach (pauses, index, pause) {
        print_pause(pause);
    }
    if (joins) {
        (void)puts("The drain is undone: it joins its group again.");
    }
    (void)puts("Only this instance: the others of its group go on as they were.");
}

static int send_all(const char *listen, struct options *options)
{
    const char *path = options->resume ? "/v1/resume" : "/v1/pause";
    AUTO_JSON json_t *answer = NULL;
    int end = check_names(listen, options);
    for (size_t i = 0; end == COMMAND_GO_ON && i < options->count; i++) {
        json_decref_at(&answer);
        end = control_client_ask(listen, path, request_of(options, &options->scopes[i]), &answer);
        if (end != COMMAND_GO_ON && !options->resume) {
            undo(listen, options, i);
        }
    }
    if (end != COMMAND_GO_ON) {
        return end;
    }
    print_answer(options, answer, options->resume && options->all && options->drained);
    return command_end(EX_OK);
}

static int check(void *values)
{
    struct options *options = values;
    if (options->all == (options->count > 0)) {
        return command_usage(options->all ? "--all goes without --merchant and --endpoint"
                                          : "give --merchant, --endpoint or --all");
    }
    if (options->note != NULL && strlen(options->note) > PAUSE_NOTE_MAX) {
        return command_usage("--note: must have at most %d bytes", PAUSE_NOTE_MAX);
    }
    if (options->note != NULL && !text_utf8_valid(options->note, strlen(options->note))) {
        return command_usage("--note: is not UTF-8");
    }
    if (options->all) {
        (void)!add(options, PAUSE_ALL, "");
    }
    return COMMAND_GO_ON;
}

static int run(void *values)
{
    struct options *options = values;
    AUTO_FREE char *listen = control_client_listen(&options->config, options->control);
    return listen == NULL ? EX_CONFIG : send_all(listen, options);
}

static const struct command_exit pause_exits[] = {
    {EX_OK, "the events are held"},
    EXIT_ROW_USAGE,
    {EX_DATAERR, "the daemon has no such merchant or endpoint; nothing is paused"},
    {EX_UNAVAILABLE, "no daemon answers, no right to its socket, or --persist cannot be kept"},
    EXIT_ROW_NO_SOCKET,
    {0},
};

static const struct command_exit resume_exits[] = {
    {EX_OK, "the pauses have ended, or there was none"},
    EXIT_ROW_USAGE,
    {EX_DATAERR, "the daemon has no such merchant or endpoint"},
    EXIT_ROW_CONTROL,
    EXIT_ROW_NO_SOCKET,
    {0},
};

const struct command command_pause = {
    .name = "pause",
    .summary = "hold events of one instance",
    .arguments = "--merchant MCHID | --endpoint NAME | --all [OPTION ...]",
    .about =
        "Holds the events of merchants or endpoints, or all events, of one running instance. Held\n"
        "events are not called: no attempts are used, and their retry time stands still; their\n"
        "expirytime goes on. Calls in flight end. Other events go on. With several --merchant\n"
        "and --endpoint, each is a pause of its own; all begin, or none.\n"
        "\n"
        "A pause is of this instance alone: run the command on each host of the group.\n",
    .options = pause_rows,
    .examples = "# a merchant whose key was revoked, for at most two hours\n"
                "sudo presignctl pause --merchant 1900007291 --for 2h --note 'key revoked'\n"
                "# everything, on two hosts\n"
                "for host in a b; do ssh $host sudo presignctl pause --all; done\n",
    .exits = pause_exits,
    COMMAND_OPTIONS(struct options),
    .check = check,
    .run = run,
};

const struct command command_resume = {
    .name = "resume",
    .summary = "call held events again",
    .arguments = "--merchant MCHID | --endpoint NAME | --all [OPTION ...]",
    .about =
        "Ends pauses of one running instance. --all ends every pause, and a drain: the instance\n"
        "then joins its group again. A pause of --all goes on when those of merchants end.\n",
    .options = resume_rows,
    .examples = "# one merchant\n"
                "sudo presignctl resume --merchant 1900007291\n"
                "# everything\n"
                "sudo presignctl resume --all\n",
    .exits = resume_exits,
    COMMAND_OPTIONS(struct options, .resume = true),
    .check = check,
    .run = run,
};
