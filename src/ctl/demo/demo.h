/* The parts of `presignctl demo`: its events, the programs that it starts, its output. */
#ifndef PRESIGND_CTL_DEMO_H
#define PRESIGND_CTL_DEMO_H

#include "ctl/kit/kafka.h"
#include "presignd/base/buf.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* ---- events.c: the events and their expected outcomes */

/* The sandbox's merchants, as its --merchant takes them. */
#define DEMO_MERCHANT_DIRECT  "1900007291:direct"
#define DEMO_MERCHANT_PARTNER "1230000109:partner"

struct demo_event {
    const char *title;    /* for people, at most DEMO_TITLE_WIDTH columns */
    const char *value;    /* NULL: a null value */
    const char *endpoint; /* identifies its calls together with `code`; NULL: there must be none */
    const char *code;     /* out_contract_code and the record's key; NULL: null */
    const char *calls;    /* the sandbox's answers, as demo_calls_read() writes them */
    const char *reason;   /* of the failure; NULL: a result */
};

#define DEMO_TITLE_WIDTH 31
#define DEMO_EVENTS_MAX  16

const struct demo_event *demo_events(size_t *count);
/* An event for the user to send by hand. */
extern const char demo_own_event[];

/* One event and its outcome. */
struct demo_run {
    const struct demo_event *event;
    struct ctl_delivery delivery;
    char id[80]; /* of its outcome: TOPIC/PARTITION/OFFSET */
    json_t *outcome;
    unsigned outcome_count; /* more than one is a bug */
    char *outcome_at;       /* the outcome's own TOPIC/PARTITION/OFFSET */
    struct buf calls;
    size_t call_count;
};

void demo_run_deinit(struct demo_run *run);
/* Reads the answers to each run's calls from the sandbox's ledger: "503, 503, 200". */
void demo_calls_read(struct demo_run *runs, size_t count, const char *ledger);
/* The difference from what is expected (free()); NULL: none. */
char *demo_run_problem(const struct demo_run *run) __attribute__((warn_unused_result));

/* ---- child.c: child processes, which end with the demo */

struct demo_child {
    const char *name;
    pid_t pid; /* 0: not started, or ended */
    char *log; /* a file's path: standard output and error */
};

/* Searches $PATH for argv[0] unless it contains a slash. False with errno set. */
bool demo_child_start(struct demo_child *child, const char *name, const char *dir,
                      const char *const argv[]) __attribute__((warn_unused_result));
/* True when it has ended by itself; *status is as from waitpid(2). */
bool demo_child_ended(struct demo_child *child, int *status);
/* Sends SIGTERM, then SIGKILL after a while, and waits. Returns the status of waitpid(2); 0 when it
 * was not running. */
int demo_child_stop(struct demo_child *child);
/* Appends the last lines of its log, indented. */
void demo_child_log_tail(const struct demo_child *child, struct buf *out);

/* ---- show.c: text, at most 100 columns wide */

#define DEMO_COLUMNS 100

void demo_show_table(struct buf *out, const struct demo_run *runs, size_t count);
/* The whole first event and its result, then the first failure with `errors`. */
void demo_show_records(struct buf *out, const struct demo_run *runs, size_t count);

struct demo_addresses {
    const char *program; /* presignctl, as the user can type it */
    const char *dir, *bootstrap, *sandbox, *admin;
};

/* A line of JSON for each run, and one for `addresses` unless it is NULL. */
void demo_show_json(struct buf *out, const struct demo_run *runs, size_t count,
                    const struct demo_addresses *addresses);
void demo_show_next(struct buf *out, const struct demo_addresses *addresses, bool keep);

#endif
