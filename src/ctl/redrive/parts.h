/* What run.c and batch.c share. */
#ifndef PRESIGND_CTL_REDRIVE_PARTS_H
#define PRESIGND_CTL_REDRIVE_PARTS_H

#include "ctl/kit/command.h"
#include "ctl/redrive/redrive.h"

/* Records that are too large for the requests topic; more end the run. */
#define REDRIVE_TOO_LARGE_MAX 1024

struct redrive {
    const struct setup *setup;
    const struct redrive_options *options;
    const char *failures, *requests; /* topics */
    char *group;                     /* GROUP-redrive: also the transactional.id */
    struct ctl_kafka *scanner, *fetcher;
    size_t partitions;
    int64_t *lows, *highs;
    int64_t *printed; /* by partition: failures below it were printed, if the block restarts */
    int64_t now_ms, retention_ms;
    struct redrive_block block;
    struct record_metadata too_large[REDRIVE_TOO_LARGE_MAX]; /* failures */
    size_t too_large_count, sent;
    bool limit_reached; /* from now on only renew positions */
    size_t single;      /* how many more records get a transaction each */
    struct redrive_show show;
    int status;

    /* --send */
    struct producer *producer;
    int64_t deadline_ms; /* of the current transaction */
    struct redriven *batch;
    struct record_metadata *record_metadata;
    enum refusal *refusals;
    bool *delivered; /* delivery = at_least_once; else NULL */
    size_t batch_count, batch_bytes, held_bytes;
};

enum redrive_step {
    STEP_ON,
    STEP_RESTART, /* the block, with its positions read again */
    STEP_LIMIT,   /* the limit is reached */
    STEP_END,     /* `status` is set, the error was printed */
};

/* Prints the error; STEP_END. */
#define FAIL(redrive, code, ...) ((redrive)->status = command_fail((code), __VA_ARGS__), STEP_END)

/* ---- batch.c: the failures of one transaction */

/* Makes the producer; needs `group`. False and an error (free()). */
bool batch_open(struct redrive *redrive, char **error) __attribute__((warn_unused_result));
/* Acquires the transactional.id: STEP_ON, or STEP_END. */
enum redrive_step batch_acquire(struct redrive *redrive);
/* Sends the batch and the positions of the whole block in one transaction, and empties it. */
enum redrive_step batch_flush(struct redrive *redrive);
/* Empties the batch without sending it. */
void batch_drop(struct redrive *redrive);
/* Whether the batch must be sent before another failure fits. */
bool batch_full(const struct redrive *redrive);
/* Whether the run commits positions. */
bool batch_commits(const struct redrive_options *options);
/* Whether the partition has failures in the current block. */
bool batch_has_failures(const struct redrive *redrive, size_t partition);
/* Prints the failure. The run continues; the exit status shows that something was not sent. */
void batch_unsendable(struct redrive *redrive, const struct failure *failure,
                      enum redrive_state state, const char *detail);

#endif
