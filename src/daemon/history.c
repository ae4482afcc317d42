#include "daemon/history.h"

#include "presignd/base/mem.h"

#include <stdlib.h>

void history_init(struct history *history, struct moment now)
{
    *history = (struct history){.started = now};
}

static struct history_minute *minute_at(struct history *history, int64_t wall_ms)
{
    int64_t minute = wall_ms / 60000;
    struct history_minute *at = &history->minutes[(uint64_t)minute % HISTORY_MINUTES];
    if (at->minute != minute) {
        *at = (struct history_minute){.minute = minute};
    }
    return at;
}

/* The clock may have been set: minutes to come do not count. */
static bool is_newest(const struct history_minute *at, int64_t wall_ms)
{
    int64_t minute = wall_ms / 60000;
    return at->minute <= minute && at->minute > minute - HISTORY_MINUTES;
}

/* The sums of the newest minutes. */
static struct history_minute newest_of(const struct history *history, int64_t wall_ms)
{
    struct history_minute sum = {0};
    for (size_t i = 0; i < HISTORY_MINUTES; i++) {
        const struct history_minute *at = &history->minutes[i];
        if (!is_newest(at, wall_ms)) {
            continue;
        }
        for (enum reason reason = REASON_NONE; reason < REASON_COUNT; reason++) {
            sum.counts[reason] += at->counts[reason];
        }
        for (enum history_end end = 0; end < HISTORY_ENDS; end++) {
            sum.ends[end] += at->ends[end];
        }
    }
    return sum;
}

int64_t history_newest_calls(const struct history *history, enum history_end end, int64_t wall_ms)
{
    return newest_of(history, wall_ms).ends[end];
}

void history_call(struct history *history, enum history_end end, int64_t wall_ms)
{
    minute_at(history, wall_ms)->ends[end]++;
}

int64_t history_newest(const struct history *history, int64_t wall_ms)
{
    struct history_minute newest = newest_of(history, wall_ms);
    int64_t count = 0;
    for (enum reason reason = REASON_NONE; reason < REASON_COUNT; reason++) {
        count += newest.counts[reason];
    }
    return count;
}

void history_published(struct history *history, enum reason reason, int64_t wall_ms)
{
    history->succeeded += reason == REASON_NONE;
    history->failed += reason != REASON_NONE;
    history->failures[reason].count++;
    history->failures[reason].last_ms = wall_ms;
    minute_at(history, wall_ms)->counts[reason]++;
}

void history_transaction(struct history *history, const struct transaction_end *end,
                         size_t outcomes, int64_t wall_ms)
{
    history->transactions[history->transaction_count++ % STATUS_TRANSACTIONS_MAX] =
        (struct status_transaction){.at_ms = wall_ms,
                                    .outcomes = (int64_t)outcomes,
                                    .duration_ms = end->duration_ms,
                                    .end = transaction_verdict_name(end->verdict)};
}

static int newest_first(const void *a, const void *b)
{
    int64_t one = ((const struct status_failure *)a)->last_ms;
    int64_t other = ((const struct status_failure *)b)->last_ms;
    return one < other ? 1 : one > other ? -1 : 0;
}

void history_failures(const struct history *history, int64_t wall_ms, struct status_list *out)
{
    struct history_minute newest = newest_of(history, wall_ms);
    struct status_failure *items = mem_zalloc(REASON_COUNT, sizeof *items);
    *out = (struct status_list){.items = items};
    for (enum reason reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
        if (history->failures[reason].count > 0) {
            items[out->count++] =
                (struct status_failure){.reason = reason_name(reason),
                                        .count = history->failures[reason].count,
                                        .last_ms = history->failures[reason].last_ms,
                                        .advice = reason_row(reason)->advice,
                                        .side = reason_row(reason)->side,
                                        .newest = newest.counts[reason]};
        }
    }
    qsort(items, out->count, sizeof *items, newest_first);
}

void history_transactions(const struct history *history, struct status_list *out)
{
    size_t count = history->transaction_count;
    size_t kept = count < STATUS_TRANSACTIONS_MAX ? count : STATUS_TRANSACTIONS_MAX;
    struct status_transaction *items = mem_zalloc(STATUS_TRANSACTIONS_MAX, sizeof *items);
    for (size_t i = 0; i < kept; i++) {
        items[i] = history->transactions[(count - 1 - i) % STATUS_TRANSACTIONS_MAX];
    }
    *out = (struct status_list){.items = items, .count = kept};
}
