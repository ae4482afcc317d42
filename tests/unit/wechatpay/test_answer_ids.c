#include "wechatpay/answer_ids.h"

#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>

static const unsigned char key[ANSWER_IDS_KEY_SIZE] = "a key that no process has";

static void ids_free_at(struct answer_ids **ids)
{
    *ids = answer_ids_free(*ids);
}

Test(answer_ids, an_id_belongs_to_the_contract_that_it_was_accepted_for)
{
    AUTO(ids_free_at) struct answer_ids *ids = answer_ids_new(key);
    cr_assert(answer_ids_accept(ids, "id-1", "1900007291", "A1", 0));
    cr_assert(answer_ids_accept(ids, "id-1", "1900007291", "A1", 1), "the same once more");
    cr_assert_not(answer_ids_accept(ids, "id-1", "1900007291", "A2", 2));
    cr_assert_not(answer_ids_accept(ids, "id-1", "1900007292", "A1", 3));
    cr_assert_not(answer_ids_accept(ids, "id-1", "190000729", "1A1", 3));
    cr_assert(answer_ids_accept(ids, "id-2", "1900007291", "A2", 4));
    cr_assert(answer_ids_accept(ids, "id-1", "1900007291", "A1", 5), "a refusal changes nothing");
}

Test(answer_ids, it_is_forgotten_ten_minutes_after_it_was_accepted_last)
{
    AUTO(ids_free_at) struct answer_ids *ids = answer_ids_new(key);
    cr_assert(answer_ids_accept(ids, "id-1", "m", "A1", 0));
    cr_assert(answer_ids_accept(ids, "id-1", "m", "A1", 1000));
    cr_assert_not(answer_ids_accept(ids, "id-1", "m", "A2", ANSWER_IDS_AGE_MS + 999));
    cr_assert(answer_ids_accept(ids, "id-1", "m", "A2", ANSWER_IDS_AGE_MS + 1000));
    cr_assert_not(answer_ids_accept(ids, "id-1", "m", "A1", ANSWER_IDS_AGE_MS + 1001));
}

static bool accept_number(struct answer_ids *ids, size_t number, const char *code)
{
    char id[32];
    snprintf(id, sizeof id, "id-%zu", number);
    return answer_ids_accept(ids, id, "m", code, 0);
}

Test(answer_ids, the_newest_are_remembered_and_the_oldest_go)
{
    AUTO(ids_free_at) struct answer_ids *ids = answer_ids_new(key);
    for (size_t i = 0; i < 2 * (size_t)ANSWER_IDS_MAX + 7; i++) {
        cr_assert(accept_number(ids, i, "A"));
    }
    for (size_t i = ANSWER_IDS_MAX + 7; i < 2 * (size_t)ANSWER_IDS_MAX + 7; i++) {
        cr_assert_not(accept_number(ids, i, "B"), "%zu", i);
    }
    for (size_t i = 0; i < ANSWER_IDS_MAX + 7; i += 997) {
        cr_assert(accept_number(ids, i, "B"), "%zu", i);
    }
}

/* One id again and again fills the ring with itself, and its chain with it. */
Test(answer_ids, one_id_that_repeats_is_still_known_when_the_ring_has_gone_round)
{
    AUTO(ids_free_at) struct answer_ids *ids = answer_ids_new(key);
    for (size_t i = 0; i < 3; i++) {
        cr_assert(accept_number(ids, 1, "A"));
    }
    for (size_t i = 0; i < ANSWER_IDS_MAX - 1; i++) {
        cr_assert(accept_number(ids, 1000 + i, "A"));
    }
    cr_assert_not(accept_number(ids, 1, "B"));
    cr_assert(accept_number(ids, 1000000, "A"));
    cr_assert(accept_number(ids, 1, "B"));
}
