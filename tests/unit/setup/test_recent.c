#include "presignd/recent.h"

#include <criterion/criterion.h>
#include <stdlib.h>

Test(recent, failures_are_counted_and_the_newest_comes_first)
{
    struct recent recent;
    struct status_list list;
    recent_init(&recent, (struct moment){5, 1000});
    recent_published(&recent, REASON_REJECTED, 2000);
    recent_published(&recent, REASON_EXPIRED, 3000);
    recent_published(&recent, REASON_NONE, 3500);
    recent_published(&recent, REASON_REJECTED, 4000);
    recent_failures(&recent, &list);
    const struct status_failure *items = list.items;
    cr_assert_eq(list.count, 2);
    cr_assert_str_eq(items[0].reason, "rejected");
    cr_assert_eq(items[0].count, 2);
    cr_assert_eq(items[0].last_ms, 4000);
    cr_assert_str_eq(items[1].reason, "expired");
    cr_assert_eq(recent.succeeded, 1);
    cr_assert_eq(recent.failed, 3);
    free(list.items);
}

Test(recent, the_last_transactions_are_kept)
{
    struct recent recent;
    struct status_list list;
    recent_init(&recent, (struct moment){0, 0});
    recent_transactions(&recent, &list);
    cr_assert_eq(list.count, 0);
    free(list.items);
    for (size_t i = 0; i < STATUS_TRANSACTIONS_MAX + 3; i++) {
        struct outlet_end end = {.verdict = OUTLET_COMMITTED, .duration_ms = 1};
        recent_transaction(&recent, &end, i, (int64_t)i);
    }
    recent_transactions(&recent, &list);
    const struct status_transaction *items = list.items;
    cr_assert_eq(list.count, STATUS_TRANSACTIONS_MAX);
    cr_assert_eq(items[0].outcomes, STATUS_TRANSACTIONS_MAX + 2);
    cr_assert_eq(items[STATUS_TRANSACTIONS_MAX - 1].outcomes, 3);
    cr_assert_str_eq(items[0].end, "committed");
    free(list.items);
}

Test(recent, of_a_refused_reload_the_first_line_is_kept)
{
    struct recent recent;
    char longest[1000];
    recent_init(&recent, (struct moment){0, 0});
    recent_reload(&recent, false, "a:1: is wrong\nb:2: too\n", 7);
    cr_assert_str_eq(recent.reload_text, "a:1: is wrong");
    cr_assert_not(recent.reload_applied);
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    recent_reload(&recent, false, longest, 8);
    cr_assert_eq(strlen(recent.reload_text), RECENT_TEXT_MAX);
    recent_reload(&recent, true, NULL, 9);
    cr_assert_str_eq(recent.reload_text, "");
    cr_assert_eq(recent.reload_ms, 9);
}
