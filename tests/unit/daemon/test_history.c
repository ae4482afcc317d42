#include "daemon/history.h"

#include <criterion/criterion.h>
#include <stdlib.h>

Test(history, failures_are_counted_and_the_newest_comes_first)
{
    struct history history;
    struct status_list list;
    history_init(&history, (struct moment){5, 1000});
    history_published(&history, REASON_REJECTED, 2000);
    history_published(&history, REASON_EXPIRED, 3000);
    history_published(&history, REASON_NONE, 3500);
    history_published(&history, REASON_REJECTED, 4000);
    history_failures(&history, 4000, &list);
    const struct status_failure *items = list.items;
    cr_assert_eq(list.count, 2);
    cr_assert_str_eq(items[0].reason, "rejected");
    cr_assert_eq(items[0].count, 2);
    cr_assert_eq(items[0].last_ms, 4000);
    cr_assert_str_eq(items[1].reason, "expired");
    cr_assert_eq(history.succeeded, 1);
    cr_assert_eq(history.failed, 3);
    free(list.items);
}

Test(history, outcomes_of_the_last_quarter_of_an_hour_are_counted)
{
    struct history history;
    struct status_list list;
    const int64_t minute_ms = 60000, first_ms = 1000 * minute_ms;
    history_init(&history, (struct moment){0, first_ms});
    history_published(&history, REASON_REJECTED, first_ms);
    for (int64_t minute = 1; minute <= HISTORY_MINUTES; minute++) {
        history_published(&history, REASON_NONE, first_ms + minute * minute_ms);
        int64_t want = minute < HISTORY_MINUTES ? minute + 1 : HISTORY_MINUTES;
        cr_expect_eq(history_newest(&history, first_ms + minute * minute_ms), want);
    }
    history_failures(&history, first_ms + HISTORY_MINUTES * minute_ms, &list);
    cr_expect_eq(((const struct status_failure *)list.items)->newest, 0);
    free(list.items);
    cr_expect_eq(history_newest(&history, first_ms - minute_ms), 0); /* the clock was set back */
    cr_expect_eq(history_newest(&history, first_ms + 100 * minute_ms), 0);
}

Test(history, calls_of_the_last_quarter_of_an_hour_are_counted)
{
    struct history history;
    const int64_t minute_ms = 60000, first_ms = 1000 * minute_ms;
    history_init(&history, (struct moment){0, first_ms});
    history_call(&history, HISTORY_FOREIGN, first_ms);
    history_call(&history, HISTORY_FOREIGN, first_ms + minute_ms);
    cr_expect_eq(history_newest_calls(&history, HISTORY_FOREIGN, first_ms + minute_ms), 2);
    cr_expect_eq(history_newest_calls(&history, HISTORY_UNVERIFIED, first_ms + minute_ms), 0);
    int64_t after_ms = first_ms + HISTORY_MINUTES * minute_ms;
    cr_expect_eq(history_newest_calls(&history, HISTORY_FOREIGN, after_ms), 1);
    cr_expect_eq(history_newest_calls(&history, HISTORY_FOREIGN, after_ms + minute_ms), 0);
}

Test(history, the_last_transactions_are_kept)
{
    struct history history;
    struct status_list list;
    history_init(&history, (struct moment){0, 0});
    history_transactions(&history, &list);
    cr_assert_eq(list.count, 0);
    free(list.items);
    for (size_t i = 0; i < STATUS_TRANSACTIONS_MAX + 3; i++) {
        struct transaction_end end = {.verdict = TRANSACTION_COMMITTED, .duration_ms = 1};
        history_transaction(&history, &end, i, (int64_t)i);
    }
    history_transactions(&history, &list);
    const struct status_transaction *items = list.items;
    cr_assert_eq(list.count, STATUS_TRANSACTIONS_MAX);
    cr_assert_eq(items[0].outcomes, STATUS_TRANSACTIONS_MAX + 2);
    cr_assert_eq(items[STATUS_TRANSACTIONS_MAX - 1].outcomes, 3);
    cr_assert_str_eq(items[0].end, "committed");
    free(list.items);
}
