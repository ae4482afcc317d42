/* What happened last: kept for the status page, since counters do not tell when. */
#ifndef PRESIGND_RECENT_H
#define PRESIGND_RECENT_H

#include "presignd/base/clock.h"
#include "presignd/flow/reason.h"
#include "presignd/kafka/outlet.h"
#include "presignd/ops/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECENT_TEXT_MAX 255

struct recent {
    struct moment started;
    int64_t succeeded, failed;
    struct {
        int64_t count, last_ms;
    } failures[REASON_COUNT];
    struct status_transaction transactions[STATUS_TRANSACTIONS_MAX]; /* a ring */
    size_t transaction_count;                                        /* ever */
    int64_t reload_ms;                                               /* wall clock; 0: none yet */
    bool reload_applied;
    char reload_text[RECENT_TEXT_MAX + 1]; /* the first line of what was wrong */
};

void recent_init(struct recent *recent, struct moment now);
/* An outcome was committed; REASON_NONE: a result. */
void recent_published(struct recent *recent, enum reason reason, int64_t wall_ms);
void recent_transaction(struct recent *recent, const struct outlet_end *end, size_t outcomes,
                        int64_t wall_ms);
/* `problems`: a line each, or NULL. */
void recent_reload(struct recent *recent, bool applied, const char *problems, int64_t wall_ms);

/* The lists of the status: copies that status_deinit() frees. */
void recent_failures(const struct recent *recent, struct status_list *out);
void recent_transactions(const struct recent *recent, struct status_list *out);

#endif
