/* Compares the outcome and the calls of each event with what is expected. */
#include "ctl/demo/demo.h"

#include "presignd/base/json.h"
#include "presignd/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void demo_run_deinit(struct demo_run *run)
{
    json_decref(run->outcome);
    free(run->outcome_at);
    buf_deinit(&run->calls);
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? "" : text;
}

/* The status, and the fault's name for a 200. */
static void add_call(struct demo_run *run, const json_t *entry)
{
    int status = (int)json_integer_value(json_object_get(entry, "status"));
    const char *fault = text_of(entry, "fault");
    buf_puts(&run->calls, run->call_count++ == 0 ? "" : ", ");
    if (status == 0) {
        buf_puts(&run->calls, "reset");
    } else {
        buf_printf(&run->calls, "%d", status);
    }
    if (status == 200 && *fault != '\0') {
        buf_printf(&run->calls, " %s", fault);
    }
}

/* Both examples have the same code, but different endpoints. */
static void read_entry(struct demo_run *runs, size_t count, const json_t *entry)
{
    for (size_t i = 0; i < count; i++) {
        const struct demo_event *event = runs[i].event;
        if (event->code != NULL && strcmp(event->code, text_of(entry, "out_contract_code")) == 0 &&
            strcmp(event->endpoint, text_of(entry, "endpoint")) == 0) {
            add_call(&runs[i], entry);
        }
    }
}

void demo_calls_read(struct demo_run *runs, size_t count, const char *ledger)
{
    AUTO_FREE char *line = NULL;
    size_t size = 0;
    ssize_t len;
    FILE *file = fopen(ledger, "re");
    while (file != NULL && (len = getline(&line, &size, file)) > 0) {
        AUTO_JSON json_t *entry = json_read(line, (size_t)len, JSON_NESTING_MAX, 0, NULL);
        if (entry != NULL) {
            read_entry(runs, count, entry);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}

/* The daemon's outcome must agree with the sandbox's ledger. */
char *demo_run_problem(const struct demo_run *run)
{
    const struct demo_event *event = run->event;
    const char *calls = run->calls.len == 0 ? "" : run->calls.data;
    const json_t *data = json_object_get(run->outcome, "data");
    const char *reason = json_string_value(json_object_get(data, "reason"));
    if (run->outcome_count != 1) {
        return mem_printf("it has %u outcomes instead of one", run->outcome_count);
    }
    if (strcmp(reason == NULL ? "" : reason, event->reason == NULL ? "" : event->reason) != 0) {
        return mem_printf("the expected outcome is %s%s",
                          event->reason == NULL ? "a result" : "failure ",
                          event->reason == NULL ? "" : event->reason);
    }
    if (strcmp(calls, event->calls) != 0) {
        return mem_printf("the expected answers to its calls: %s",
                          *event->calls == '\0' ? "none" : event->calls);
    }
    if (json_integer_value(json_object_get(data, "attempts")) != (json_int_t)run->call_count) {
        return mem_strdup("`attempts` differs from the number of calls");
    }
    return NULL;
}
