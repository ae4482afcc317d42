/* The last events of each kind, for the status page: counters do not say when. */
#ifndef PRESIGND_DAEMON_HISTORY_H
#define PRESIGND_DAEMON_HISTORY_H

#include "presignd/base/clock.h"
#include "presignd/flow/reason.h"
#include "presignd/kafka/transaction.h"
#include "presignd/ops/status.h"

#include <stddef.h>
#include <stdint.h>

/* The newest outcomes are counted by minute. */
#define HISTORY_MINUTES 15

/* Ends of calls that need a human. */
enum history_end {
    HISTORY_UNVERIFIED, /* the answer does not verify */
    HISTORY_FOREIGN,    /* the answer belongs to another request */
    HISTORY_SHORTAGE,   /* not sent: no file descriptor */
    HISTORY_ENDS
};

/* Of one minute: outcomes by reason (REASON_NONE: results), and calls by such an end. */
struct history_minute {
    int64_t minute; /* since 1970 */
    int64_t counts[REASON_COUNT], ends[HISTORY_ENDS];
};

struct history {
    struct moment started;
    int64_t succeeded, failed;
    struct {
        int64_t count, last_ms;
    } failures[REASON_COUNT];
    struct history_minute minutes[HISTORY_MINUTES]; /* by minute % HISTORY_MINUTES */
    struct status_transaction transactions[STATUS_TRANSACTIONS_MAX]; /* a ring */
    size_t transaction_count;                                        /* since the start */
};

void history_init(struct history *history, struct moment now);
/* An outcome was committed; REASON_NONE: a result. */
void history_published(struct history *history, enum reason reason, int64_t wall_ms);
/* A call ended so. */
void history_call(struct history *history, enum history_end end, int64_t wall_ms);
void history_transaction(struct history *history, const struct transaction_end *end,
                         size_t outcomes, int64_t wall_ms);

/* Outcomes of the last HISTORY_MINUTES. */
int64_t history_newest(const struct history *history, int64_t wall_ms);
/* Calls of the last HISTORY_MINUTES that ended so. */
int64_t history_newest_calls(const struct history *history, enum history_end end, int64_t wall_ms);

/* The lists of the status: copies that status_deinit() frees. */
void history_failures(const struct history *history, int64_t wall_ms, struct status_list *out);
void history_transactions(const struct history *history, struct status_list *out);

#endif
