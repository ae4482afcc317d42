#include "presignd/kafka/preflight.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static void put(struct preflight *preflight, enum preflight_check check, const char *subject,
                enum preflight_state state)
{
    (void)preflight_put(preflight, check, subject, state, "", "%s", subject);
}

static enum preflight_check blocking(const struct preflight *preflight)
{
    const struct preflight_finding *finding = preflight_blocking(preflight);
    return finding == NULL ? PREFLIGHT_CHECKS : finding->check;
}

Test(preflight, what_is_missing_blocks_in_the_order_of_the_table)
{
    struct preflight preflight = {0};
    cr_assert_eq(blocking(&preflight), PREFLIGHT_CHECKS);
    put(&preflight, PREFLIGHT_RIGHTS, "", PREFLIGHT_MISSING);
    put(&preflight, PREFLIGHT_LEADERS, "", PREFLIGHT_MISSING);
    put(&preflight, PREFLIGHT_STATIC_MEMBERSHIP, "", PREFLIGHT_MISSING);
    put(&preflight, PREFLIGHT_TRANSACTIONS, "", PREFLIGHT_UNKNOWN);
    cr_assert_eq(blocking(&preflight), PREFLIGHT_CHECKS);
    put(&preflight, PREFLIGHT_TOPICS, "requests", PREFLIGHT_WAITING);
    cr_assert_eq(blocking(&preflight), PREFLIGHT_TOPICS);
    put(&preflight, PREFLIGHT_FENCING, "", PREFLIGHT_MISSING);
    cr_assert_eq(blocking(&preflight), PREFLIGHT_FENCING);
    put(&preflight, PREFLIGHT_BROKERS, "", PREFLIGHT_WAITING);
    cr_assert_eq(blocking(&preflight), PREFLIGHT_BROKERS);
}

Test(preflight, a_missing_topic_of_outcomes_does_not_block)
{
    struct preflight preflight = {0};
    put(&preflight, PREFLIGHT_TOPICS, "requests", PREFLIGHT_PASSED);
    preflight_put(&preflight, PREFLIGHT_TOPICS, "results", PREFLIGHT_MISSING, "create it", "no")
        ->blocks = false;
    cr_assert_eq(blocking(&preflight), PREFLIGHT_CHECKS);
    cr_assert_str_eq(preflight_worst(&preflight, PREFLIGHT_TOPICS)->subject, "results");
    cr_assert_null(preflight_worst(&preflight, PREFLIGHT_FENCING));
}

Test(preflight, a_later_finding_replaces_the_earlier_one_of_its_subject)
{
    struct preflight preflight = {0};
    put(&preflight, PREFLIGHT_TOPICS, "a", PREFLIGHT_MISSING);
    put(&preflight, PREFLIGHT_TOPICS, "b", PREFLIGHT_PASSED);
    put(&preflight, PREFLIGHT_TOPICS, "a", PREFLIGHT_PASSED);
    cr_assert_eq(preflight.count, 2);
    cr_assert_eq(preflight_find(&preflight, PREFLIGHT_TOPICS, "a")->state, PREFLIGHT_PASSED);
}

Test(preflight, it_looks_again_soon_while_nobody_has_answered)
{
    struct preflight preflight = {0};
    put(&preflight, PREFLIGHT_BROKERS, "", PREFLIGHT_WAITING);
    cr_assert_eq(preflight_pause_ms(&preflight), 1000);
    put(&preflight, PREFLIGHT_RIGHTS, "", PREFLIGHT_MISSING);
    cr_assert_eq(preflight_pause_ms(&preflight), 1000);
    put(&preflight, PREFLIGHT_FENCING, "", PREFLIGHT_MISSING);
    cr_assert_eq(preflight_pause_ms(&preflight), 30000);
}

Test(preflight, there_is_a_bound)
{
    struct preflight preflight = {0};
    char subject[16];
    for (int i = 0; i < PREFLIGHT_FINDINGS_MAX; i++) {
        (void)snprintf(subject, sizeof subject, "%d", i);
        cr_assert_not_null(
            preflight_put(&preflight, PREFLIGHT_RIGHTS, subject, PREFLIGHT_PASSED, "", "ok"));
    }
    cr_assert_null(preflight_put(&preflight, PREFLIGHT_RIGHTS, "x", PREFLIGHT_PASSED, "", "ok"));
    cr_assert_eq(preflight.count, PREFLIGHT_FINDINGS_MAX);
}

Test(preflight, every_check_has_its_row)
{
    for (enum preflight_check check = 0; check < PREFLIGHT_CHECKS; check++) {
        const struct preflight_row *row = preflight_row(check);
        char state[64];
        (void)snprintf(state, sizeof state, "preflight: %s", row->name);
        cr_assert_str_eq(row->process_state, state);
        cr_assert_gt(strlen(row->should), 0);
        cr_assert_gt(strlen(row->why), 0);
    }
}
