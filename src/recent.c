#include "presignd/recent.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <stdlib.h>
#include <string.h>

void recent_init(struct recent *recent, struct moment now)
{
    *recent = (struct recent){.started = now};
}

void recent_published(struct recent *recent, enum reason reason, int64_t wall_ms)
{
    recent->succeeded += reason == REASON_NONE;
    recent->failed += reason != REASON_NONE;
    recent->failures[reason].count++;
    recent->failures[reason].last_ms = wall_ms;
}

void recent_transaction(struct recent *recent, const struct outlet_end *end, size_t outcomes,
                        int64_t wall_ms)
{
    recent->transactions[recent->transaction_count++ % STATUS_TRANSACTIONS_MAX] =
        (struct status_transaction){.at_ms = wall_ms,
                                    .outcomes = (int64_t)outcomes,
                                    .duration_ms = end->duration_ms,
                                    .end = outlet_verdict_name(end->verdict)};
}

void recent_reload(struct recent *recent, bool applied, const char *problems, int64_t wall_ms)
{
    AUTO_BUF struct buf text = {0};
    recent->reload_ms = wall_ms;
    recent->reload_applied = applied;
    if (problems != NULL) {
        text_clean(&text, problems, strcspn(problems, "\n"), RECENT_TEXT_MAX);
    }
    buf_append(&text, "", 1);
    memcpy(recent->reload_text, text.data, text.len);
}

static int newest_first(const void *a, const void *b)
{
    int64_t one = ((const struct status_failure *)a)->last_ms;
    int64_t other = ((const struct status_failure *)b)->last_ms;
    return one < other ? 1 : one > other ? -1 : 0;
}

void recent_failures(const struct recent *recent, struct status_list *out)
{
    struct status_failure *items = mem_zalloc(REASON_COUNT, sizeof *items);
    *out = (struct status_list){.items = items};
    for (enum reason reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
        if (recent->failures[reason].count > 0) {
            items[out->count++] =
                (struct status_failure){.reason = reason_name(reason),
                                        .count = recent->failures[reason].count,
                                        .last_ms = recent->failures[reason].last_ms,
                                        .advice = reason_row(reason)->advice};
        }
    }
    qsort(items, out->count, sizeof *items, newest_first);
}

void recent_transactions(const struct recent *recent, struct status_list *out)
{
    size_t count = recent->transaction_count;
    size_t kept = count < STATUS_TRANSACTIONS_MAX ? count : STATUS_TRANSACTIONS_MAX;
    struct status_transaction *items = mem_zalloc(STATUS_TRANSACTIONS_MAX, sizeof *items);
    for (size_t i = 0; i < kept; i++) {
        items[i] = recent->transactions[(count - 1 - i) % STATUS_TRANSACTIONS_MAX];
    }
    *out = (struct status_list){.items = items, .count = kept};
}
