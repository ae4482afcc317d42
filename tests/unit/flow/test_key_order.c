#include "presignd/flow/key_order.h"

#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>

Test(order, entries_of_one_key_go_in_order)
{
    struct key_order order;
    struct key_order_entry entries[4] = {0};
    key_order_init(&order);
    cr_assert(key_order_enter(&order, &entries[0], "1", "a"));
    for (int i = 1; i < 4; i++) {
        cr_assert_not(key_order_enter(&order, &entries[i], "1", "a"));
    }
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(key_order_leave(&order, &entries[i]), &entries[i + 1]);
    }
    cr_assert_null(key_order_leave(&order, &entries[3]));
    key_order_deinit(&order);
}

Test(order, other_codes_and_other_merchants_do_not_wait)
{
    struct key_order order;
    struct key_order_entry entries[4] = {0};
    key_order_init(&order);
    cr_assert(key_order_enter(&order, &entries[0], "12", "3"));
    cr_assert(key_order_enter(&order, &entries[1], "12", "4"));
    cr_assert(key_order_enter(&order, &entries[2], "13", "3"));
    cr_assert(key_order_enter(&order, &entries[3], "1", "23"));
    for (int i = 0; i < 4; i++) {
        cr_assert_null(key_order_leave(&order, &entries[i]));
    }
    key_order_deinit(&order);
}

Test(order, an_entry_that_leaves_from_the_middle_releases_no_other)
{
    struct key_order order;
    struct key_order_entry entries[4] = {0};
    key_order_init(&order);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(key_order_enter(&order, &entries[i], "1", "a"), i == 0);
    }
    cr_assert_null(key_order_leave(&order, &entries[1]));
    cr_assert_null(key_order_leave(&order, &entries[3]));
    cr_assert_eq(key_order_leave(&order, &entries[0]), &entries[2]);
    cr_assert_null(key_order_leave(&order, &entries[2]));
    key_order_deinit(&order);
}

Test(order, an_entry_may_enter_again_and_leave_twice)
{
    struct key_order order;
    struct key_order_entry entry = {0};
    key_order_init(&order);
    cr_assert_null(key_order_leave(&order, &entry), "it never sat");
    for (int i = 0; i < 3; i++) {
        cr_assert(key_order_enter(&order, &entry, "1", "a"));
        cr_assert_null(key_order_leave(&order, &entry));
        cr_assert_null(key_order_leave(&order, &entry));
    }
    key_order_deinit(&order);
}

Test(order, the_map_is_empty_at_the_end)
{
    enum { ENTRIES = 5000 };
    struct key_order order;
    AUTO_FREE struct key_order_entry *entries = mem_zalloc(ENTRIES, sizeof *entries);
    key_order_init(&order);
    for (int i = 0; i < ENTRIES; i++) {
        char code[16];
        snprintf(code, sizeof code, "%d", i / 2);
        cr_assert_eq(key_order_enter(&order, &entries[i], "1", code), i % 2 == 0);
    }
    cr_assert_eq(map_count(order.map), ENTRIES / 2);
    for (int i = 0; i < ENTRIES; i++) {
        cr_assert_eq(key_order_leave(&order, &entries[i]), i % 2 == 0 ? &entries[i + 1] : NULL);
    }
    key_order_deinit(&order);
}
