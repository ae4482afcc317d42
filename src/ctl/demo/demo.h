/* The parts of `presignctl demo`: what it sends, the programs it starts, what it shows. */
#ifndef PRESIGND_CTL_DEMO_H
#define PRESIGND_CTL_DEMO_H

#include "ctl/kit/kafka.h"
#include "presignd/base/buf.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* ---- demo_events.c: the events, and how each has to end */

/* The merchants that the sandbox plays, as its --merchant takes them. */
#define DEMO_MERCHANT_DIRECT  "1900007291:direct"
#define DEMO_MERCHANT_PARTNER "1230000109:partner"

struct demo_event {
    const char *title;    /* for people, at most DEMO_TITLE_WIDTH columns */
    const char *value;    /* NULL: a null value */
    const char *endpoint; /* with `code`: by which its calls are found; NULL: none may be made */
    const char *code;     /* out_contract_code, and the record's key; NULL: null */
    const char *calls;    /* what the sandbox answered, as demo_calls_read() writes it */
    const char *reason;   /* of the failure; NULL: a result */
};

#define DEMO_TITLE_WIDTH 31
#define DEMO_EVENTS_MAX  16

const struct demo_event *demo_events(size_t *count);
/* An event for the user to send by hand. */
extern const char demo_own_event[];

/* What became of one of them. */
struct demo_run {
    const struct demo_event *event;
    struct ctl_delivery delivery;
    char id[80]; /* of its outcome: TOPIC/PARTITION/OFFSET */
    json_t *outcome;
    unsigned outcome_count; /* more than one would be a bug */
    char *outcome_at;       /* the outcome's own TOPIC/PARTITION/OFFSET */
    struct buf calls;
    size_t call_count;
};

void demo_run_deinit(struct demo_run *run);
/* Reads the calls of every run from the sandbox's ledger: "503, 503, 200". */
void demo_calls_read(struct demo_run *runs, size_t count, const char *ledger);
/* What is not as it has to be (free()); NULL: nothing. */
char *demo_run_problem(const struct demo_run *run) __attribute__((warn_unused_result));

/* ---- demo_child.c: programs that end with us */

struct demo_child {
    const char *name;
    pid_t pid; /* 0: not started, or ended */
    char *log; /* a file's path: standard output and error */
};

/* argv[0] is looked for in $PATH unless it holds a slash. False with errno set. */
bool demo_child_start(struct demo_child *child, const char *name, const char *dir,
                      const char *const argv[]) __attribute__((warn_unused_result));
/* True when it has ended by itself; *status is as waitpid(2) gives it. */
bool demo_child_ended(struct demo_child *child, int *status);
/* SIGTERM, and SIGKILL when that does not help; waits. What waitpid(2) gave; 0 when it was not
 * running. */
int demo_child_stop(struct demo_child *child);
/* Appends the last lines of its log, indented. */
void demo_child_last_words(const struct demo_child *child, struct buf *out);

/* ---- demo_show.c: text, at most 100 columns wide */

#define DEMO_COLUMNS 100

void demo_show_table(struct buf *out, bool colours, const struct demo_run *runs, size_t count);
/* The first event and its result, then the first failure with `errors`, whole. */
void demo_show_records(struct buf *out, bool colours, const struct demo_run *runs, size_t count);

struct demo_place {
    const char *program; /* presignctl, as the user would type it */
    const char *dir, *bootstrap, *sandbox;
};

/* A line of JSON for each, and for `place` unless it is NULL. */
void demo_show_json(struct buf *out, const struct demo_run *runs, size_t count,
                    const struct demo_place *place);
void demo_show_next(struct buf *out, bool colours, const struct demo_place *place, bool keep);

#endif
