/* When a held event is failed early: only if all conditions are true. */
#include "presignd/flow/relief.h"

#include <criterion/criterion.h>

#define NOW_MS INT64_C(1000000)

static const int held = 0, other = 0, third = 0;

static struct relief_who who(const void *merchant)
{
    return (struct relief_who){.merchant = merchant};
}

static bool none_is_held(struct relief_who who, const void *context)
{
    (void)who;
    (void)context;
    return false;
}

static bool is(struct relief_who who, const void *context)
{
    return who.merchant == context;
}

/* Full for ten seconds, held for half a minute, others active when reading stopped. */
static struct relief_case all_true(void)
{
    return (struct relief_case){.now_ms = NOW_MS,
                                .full_since_ms = NOW_MS - 10000,
                                .held_ms = NOW_MS - RELIEF_HOLD_MS,
                                .others_ms = NOW_MS - 10000 - RELIEF_OTHERS_MS};
}

Test(relief, needs_a_full_partition_a_long_hold_and_another_merchant)
{
    struct relief_case relief = all_true();
    cr_assert(relief_applies(&relief));
    relief.full_since_ms = -1;
    cr_assert_not(relief_applies(&relief), "there is room");
    relief = all_true();
    relief.held_ms++;
    cr_assert_not(relief_applies(&relief), "it may be over soon");
    relief.held_ms = -1;
    cr_assert_not(relief_applies(&relief), "it is not held");
    relief = all_true();
    relief.others_ms--;
    cr_assert_not(relief_applies(&relief), "no other was active when reading stopped");
    relief.others_ms = -1;
    relief.full_since_ms = 1; /* right after boot */
    cr_assert_not(relief_applies(&relief), "it was always alone");
}

/* The unread events do not disappear with time. */
Test(relief, applies_as_long_as_the_partition_is_full)
{
    struct relief_case relief = all_true();
    relief.now_ms += 3600000;
    cr_assert(relief_applies(&relief));
}

Test(relief, outcomes_of_the_held_merchant_do_not_count)
{
    struct relief_seen seen = {0};
    relief_note(&seen, who(&held), 10);
    cr_assert_eq(relief_others_ms(&seen, &held, none_is_held, NULL), -1);
    relief_note(&seen, who(&other), 20);
    relief_note(&seen, who(&held), 30);
    cr_assert_eq(relief_others_ms(&seen, &held, none_is_held, NULL), 20);
    cr_assert_eq(relief_others_ms(&seen, &held, is, &other), -1, "held itself by now");
    relief_note(&seen, who(&third), 25);
    cr_assert_eq(relief_others_ms(&seen, &held, is, &other), 25);
}

Test(relief, the_latest_merchants_are_remembered)
{
    static const int many[100];
    struct relief_seen seen = {0};
    for (int i = 0; i < 100; i++) {
        relief_note(&seen, who(&many[i]), i);
    }
    cr_assert_eq(relief_others_ms(&seen, &many[99], none_is_held, NULL), 98);
    relief_note(&seen, who(&many[3]), 100);
    cr_assert_eq(relief_others_ms(&seen, &many[99], none_is_held, NULL), 100);
}
