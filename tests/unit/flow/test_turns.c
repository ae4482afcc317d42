#include "presignd/flow/turns.h"

#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>

Test(turns, those_of_one_code_go_one_after_another_as_they_came)
{
    struct turns turns;
    struct turn_seat seats[4] = {0};
    turns_init(&turns);
    cr_assert(turns_enter(&turns, &seats[0], "1", "a"));
    for (int i = 1; i < 4; i++) {
        cr_assert_not(turns_enter(&turns, &seats[i], "1", "a"));
    }
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(turns_leave(&turns, &seats[i]), &seats[i + 1]);
    }
    cr_assert_null(turns_leave(&turns, &seats[3]));
    turns_deinit(&turns);
}

Test(turns, other_codes_and_other_merchants_do_not_wait)
{
    struct turns turns;
    struct turn_seat seats[4] = {0};
    turns_init(&turns);
    cr_assert(turns_enter(&turns, &seats[0], "12", "3"));
    cr_assert(turns_enter(&turns, &seats[1], "12", "4"));
    cr_assert(turns_enter(&turns, &seats[2], "13", "3"));
    cr_assert(turns_enter(&turns, &seats[3], "1", "23"));
    for (int i = 0; i < 4; i++) {
        cr_assert_null(turns_leave(&turns, &seats[i]));
    }
    turns_deinit(&turns);
}

Test(turns, one_that_leaves_the_queue_hands_on_nothing)
{
    struct turns turns;
    struct turn_seat seats[4] = {0};
    turns_init(&turns);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(turns_enter(&turns, &seats[i], "1", "a"), i == 0);
    }
    cr_assert_null(turns_leave(&turns, &seats[1]));
    cr_assert_null(turns_leave(&turns, &seats[3]));
    cr_assert_eq(turns_leave(&turns, &seats[0]), &seats[2]);
    cr_assert_null(turns_leave(&turns, &seats[2]));
    turns_deinit(&turns);
}

Test(turns, a_seat_may_be_taken_again_and_left_twice)
{
    struct turns turns;
    struct turn_seat seat = {0};
    turns_init(&turns);
    cr_assert_null(turns_leave(&turns, &seat), "it never sat");
    for (int i = 0; i < 3; i++) {
        cr_assert(turns_enter(&turns, &seat, "1", "a"));
        cr_assert_null(turns_leave(&turns, &seat));
        cr_assert_null(turns_leave(&turns, &seat));
    }
    turns_deinit(&turns);
}

Test(turns, many_codes_leave_nothing_behind)
{
    enum { SEATS = 5000 };
    struct turns turns;
    AUTO_FREE struct turn_seat *seats = mem_zalloc(SEATS, sizeof *seats);
    turns_init(&turns);
    for (int i = 0; i < SEATS; i++) {
        char code[16];
        snprintf(code, sizeof code, "%d", i / 2);
        cr_assert_eq(turns_enter(&turns, &seats[i], "1", code), i % 2 == 0);
    }
    cr_assert_eq(map_count(turns.map), SEATS / 2);
    for (int i = 0; i < SEATS; i++) {
        cr_assert_eq(turns_leave(&turns, &seats[i]), i % 2 == 0 ? &seats[i + 1] : NULL);
    }
    turns_deinit(&turns);
}
