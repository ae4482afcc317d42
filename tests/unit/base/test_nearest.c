#include "presignd/base/nearest.h"

#include "presignd/base/mem.h"

#include <criterion/criterion.h>

static const char *nearest_to(const char *name, size_t limit)
{
    static const char *const known[] = {"send", "redrive", "reload", "status", "topics", "tail"};
    struct nearest nearest = {.name = name, .limit = limit};
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
        nearest_consider(&nearest, known[i]);
    }
    return nearest.found;
}

Test(nearest, finds_a_name_with_a_letter_replaced_missing_added_or_two_swapped)
{
    cr_assert_str_eq(nearest_to("stadus", 3), "status");
    cr_assert_str_eq(nearest_to("redriv", 3), "redrive");
    cr_assert_str_eq(nearest_to("toppics", 3), "topics");
    cr_assert_str_eq(nearest_to("statsu", 3), "status");
}

Test(nearest, takes_the_smallest_distance_and_the_first_of_equals)
{
    cr_assert_str_eq(nearest_to("reloads", 9), "reload");
    struct nearest nearest = {.name = "cat", .limit = 3};
    nearest_consider(&nearest, "car");
    nearest_consider(&nearest, "cap");
    cr_assert_str_eq(nearest.found, "car");
}

Test(nearest, suggests_nothing_at_or_beyond_the_limit)
{
    cr_assert_str_eq(nearest_to("statussen", 4), "status"); /* distance 3 */
    cr_assert_null(nearest_to("statussen", 3));
}

Test(nearest, suggests_nothing_that_shares_no_letter_with_a_short_name)
{
    cr_assert_null(nearest_to("x", 10));
    cr_assert_null(nearest_to("", 10));
}

Test(nearest, names_that_are_too_long_are_not_compared)
{
    char longest[NEAREST_NAME_MAX + 2] = {0};
    memset(longest, 'a', NEAREST_NAME_MAX);
    struct nearest nearest = {.name = longest, .limit = 2};
    nearest_consider(&nearest, longest);
    cr_assert_eq(nearest.found, longest);
    longest[NEAREST_NAME_MAX] = 'a';
    nearest = (struct nearest){.name = longest, .limit = 2};
    nearest_consider(&nearest, longest);
    cr_assert_null(nearest.found);
    nearest.name = "aaa";
    nearest.limit = 100;
    nearest_consider(&nearest, longest);
    cr_assert_null(nearest.found);
}
