/* The guaranteed and the common half of the bound, and that the counts stay correct. */
#include "presignd/flow/share.h"

#include <criterion/criterion.h>
#include <stdint.h>

#define BOUND    ((size_t)48 << 20)
#define OWNERS   200
#define ORDINARY ((size_t)4096)

/* Takes records until it is full. Returns how much it holds then. */
static size_t fill(struct shares *shares, struct share *owner, size_t each)
{
    while (!share_full(shares, owner)) {
        shares_change(shares, owner, 0, each);
    }
    return owner->used;
}

static void empty(struct shares *shares, struct share *owner, size_t each)
{
    while (owner->used > 0) {
        shares_change(shares, owner, each, 0);
    }
}

Test(share, a_single_owner_may_hold_three_quarters)
{
    struct shares shares;
    struct share owner = {0};
    shares_init(&shares, BOUND);
    shares_divide(&shares, 1);
    size_t most = fill(&shares, &owner, ORDINARY);
    cr_assert_geq(most, BOUND / 4 * 3);
    cr_assert_lt(most, BOUND / 4 * 3 + ORDINARY);
    empty(&shares, &owner, ORDINARY);
    cr_assert_eq(shares.used, 0);
    cr_assert_eq(shares.common_used, 0);
}

Test(share, each_of_200_gets_its_guaranteed_part_while_all_others_are_full)
{
    struct shares shares;
    static struct share owners[OWNERS];
    shares_init(&shares, BOUND);
    shares_divide(&shares, OWNERS);
    for (size_t i = 0; i < OWNERS; i++) {
        cr_assert_geq(fill(&shares, &owners[i], ORDINARY), shares.guaranteed);
    }
    cr_assert_leq(shares.used, BOUND + OWNERS * ORDINARY);
    for (size_t i = 0; i < OWNERS; i++) {
        cr_assert(share_full(&shares, &owners[i]));
    }
    for (size_t i = 0; i < OWNERS; i++) {
        empty(&shares, &owners[i], ORDINARY);
    }
    cr_assert_eq(shares.used, 0);
    cr_assert_eq(shares.common_used, 0);
}

/* Idle partitions do not limit a busy one to a two-hundredth. */
Test(share, a_busy_owner_among_200_may_hold_a_quarter)
{
    struct shares shares;
    struct share owner = {0};
    shares_init(&shares, BOUND);
    shares_divide(&shares, OWNERS);
    cr_assert_geq(fill(&shares, &owner, ORDINARY), BOUND / 4);
}

/* Records of a megabyte and more, larger than the guaranteed part. */
Test(share, an_empty_owner_takes_a_record_of_any_size)
{
    enum { LARGE = 3 << 20 };
    struct shares shares;
    static struct share owners[OWNERS];
    shares_init(&shares, BOUND);
    shares_divide(&shares, OWNERS);
    for (size_t i = 0; i < OWNERS; i++) {
        cr_assert_not(share_full(&shares, &owners[i]));
        (void)fill(&shares, &owners[i], LARGE);
    }
    cr_assert_leq(shares.used, BOUND + OWNERS * (size_t)LARGE);
    cr_assert_eq(owners[OWNERS - 1].used, LARGE, "it is full after one");
    shares_change(&shares, &owners[OWNERS - 1], LARGE, 0);
    cr_assert(share_has_room(&shares, &owners[OWNERS - 1]),
              "it resumes, although the others do not");
}

Test(share, a_full_owner_resumes_when_a_quarter_is_free)
{
    struct shares shares;
    struct share owner = {0};
    shares_init(&shares, BOUND);
    size_t most = fill(&shares, &owner, ORDINARY);
    size_t steps = 0;
    for (; !share_has_room(&shares, &owner); steps++) {
        shares_change(&shares, &owner, ORDINARY, 0);
        cr_assert_not(share_full(&shares, &owner));
    }
    cr_assert_geq(steps * ORDINARY, most / 4 - ORDINARY);
    cr_assert_leq(steps * ORDINARY, most / 4 + ORDINARY);
}

/* Calls of a partition that was taken away continue for a while. */
Test(share, memory_without_an_owner_counts_in_the_common_half)
{
    struct shares shares;
    struct share before = {0}, after = {0};
    shares_init(&shares, BOUND);
    shares_change(&shares, &before, 0, BOUND / 2);
    shares_divide(&shares, 1);
    size_t most = fill(&shares, &after, ORDINARY);
    cr_assert_eq(most, BOUND / 2, "the guaranteed part, and nothing of the common half");
    shares_change(&shares, NULL, BOUND / 2, 0);
    cr_assert_not(share_full(&shares, &after));
    empty(&shares, &after, ORDINARY);
    cr_assert_eq(shares.used, 0);
    cr_assert_eq(shares.common_used, 0);
}
