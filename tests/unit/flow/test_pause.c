/* The list of pauses. */
#include "presignd/flow/pause.h"

#include <criterion/criterion.h>

Test(pause, scopes_have_names)
{
    enum pause_scope scope = PAUSE_ALL;
    cr_assert(pause_scope_find("endpoint", &scope));
    cr_assert_eq(scope, PAUSE_ENDPOINT);
    cr_assert_str_eq(pause_scope_name(PAUSE_MERCHANT), "merchant");
    cr_assert_not(pause_scope_find("topic", &scope));
}

Test(pause, one_for_each_scope_and_name)
{
    struct pauses pauses = {0};
    struct pause one = {.scope = PAUSE_MERCHANT, .name = "app", .since_ms = 5, .began_ms = 1};
    struct pause two = {.scope = PAUSE_ENDPOINT, .name = "app", .since_ms = 6};
    pauses_set(&pauses, &one);
    pauses_set(&pauses, &two);
    cr_assert_eq(pauses.count, 2);
    one = (struct pause){.scope = PAUSE_MERCHANT, .name = "app", .since_ms = 9, .note = "why"};
    pauses_set(&pauses, &one);
    cr_assert_eq(pauses.count, 2, "it is replaced");
    struct pause *found = pauses_find(&pauses, PAUSE_MERCHANT, "app");
    cr_assert_eq(found->since_ms, 5, "it keeps its begin");
    cr_assert_eq(found->began_ms, 1);
    cr_assert_str_eq(found->note, "why");
    pauses_remove(&pauses, found);
    cr_assert_null(pauses_find(&pauses, PAUSE_MERCHANT, "app"));
    cr_assert_not_null(pauses_find(&pauses, PAUSE_ENDPOINT, "app"));
    pauses_deinit(&pauses);
}

Test(pause, the_first_that_ends_by_itself)
{
    struct pauses pauses = {0};
    cr_assert_eq(pauses_next_end_ms(&pauses), INT64_MAX);
    pauses_set(&pauses, &(struct pause){.scope = PAUSE_ALL});
    cr_assert_eq(pauses_next_end_ms(&pauses), INT64_MAX, "it has no end");
    pauses_set(&pauses, &(struct pause){.scope = PAUSE_MERCHANT, .name = "1", .until_ms = 70});
    pauses_set(&pauses, &(struct pause){.scope = PAUSE_MERCHANT, .name = "2", .until_ms = 60});
    cr_assert_eq(pauses_next_end_ms(&pauses), 60);
    pauses_deinit(&pauses);
}
