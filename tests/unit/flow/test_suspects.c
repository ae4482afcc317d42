#include "flow/suspects.h"

#include <criterion/criterion.h>

static const struct suspect_record some = {OUTPUT_RESULTS, 1, 100, false};

static uint32_t hold_at(struct suspects *suspects, const struct suspect_record *record,
                        enum refusal refusal, int64_t now_ms)
{
    bool made;
    return suspects_park(suspects, record, refusal, now_ms, &made);
}

/* Sends a group of `count` outcomes, of which those in `culprits` (bits) are rejected, until all of
 * them are identified. Returns the number of transactions. */
static size_t tell_apart(size_t count, uint64_t culprits)
{
    struct suspects suspects = {0};
    uint32_t id = suspects_group(&suspects, OUTPUT_RESULTS, REFUSAL_RECORD, count);
    uint64_t left = count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
    size_t transactions = 0;
    while (left != 0) {
        cr_assert_eq(suspects_due(&suspects, false, 0), id);
        cr_assert_lt(transactions++, 1000);
        size_t take = suspects_take(&suspects, id, (size_t)__builtin_popcountll(left));
        uint64_t tried = 0;
        for (size_t i = 0; i < 64 && take > 0; i++) {
            if (left >> i & 1) {
                tried |= UINT64_C(1) << i;
                take--;
            }
        }
        size_t size = (size_t)__builtin_popcountll(tried);
        if ((tried & culprits) == 0) {
            left &= ~tried;
            suspects_taken(&suspects, id, (size_t)__builtin_popcountll(left));
        } else {
            left &= size == 1 ? ~tried : UINT64_MAX;
            suspects_refused(&suspects, id, size == 1 ? 0 : size,
                             (size_t)__builtin_popcountll(left), 0);
        }
    }
    cr_assert_null(suspects_find(&suspects, id));
    cr_assert_not(suspects_undecided(&suspects));
    suspects_deinit(&suspects);
    return transactions;
}

Test(suspects, one_faulty_outcome_is_found_by_halving)
{
    for (size_t at = 0; at < 64; at++) {
        cr_assert_leq(tell_apart(64, UINT64_C(1) << at), 20);
    }
    cr_assert_leq(tell_apart(64, 0), 7);
    cr_assert_leq(tell_apart(2, 3), 3);
    cr_assert_leq(tell_apart(64, UINT64_C(1) << 3 | UINT64_C(1) << 50), 40);
}

Test(suspects, a_parked_case_is_sent_after_pauses_that_double)
{
    struct suspects suspects = {0};
    uint32_t id = hold_at(&suspects, &some, REFUSAL_SIZE, 1000);
    int64_t now_ms = 1000, pause_ms = SUSPECTS_RECORD_FIRST_MS;
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(suspects_next_ms(&suspects), now_ms + pause_ms);
        cr_assert_eq(suspects_due(&suspects, false, now_ms + pause_ms - 1), 0);
        now_ms += pause_ms;
        cr_assert_eq(suspects_due(&suspects, false, now_ms), id);
        cr_assert_eq(suspects_take(&suspects, id, 200), 1);
        suspects_refused(&suspects, id, 1, 200, now_ms);
        pause_ms = pause_ms * 2 < SUSPECTS_RECORD_MAX_MS ? pause_ms * 2 : SUSPECTS_RECORD_MAX_MS;
    }
    cr_assert_eq(pause_ms, SUSPECTS_RECORD_MAX_MS);
    /* One was accepted: all others are sent at once, as a group. */
    suspects_taken(&suspects, id, 199);
    cr_assert_eq(suspects_due(&suspects, false, now_ms), id);
    cr_assert_eq(suspects_take(&suspects, id, 199), 199);
    cr_assert(suspects_undecided(&suspects));
    suspects_deinit(&suspects);
}

Test(suspects, cases_and_other_outcomes_alternate)
{
    struct suspects suspects = {0};
    uint32_t id = suspects_group(&suspects, OUTPUT_RESULTS, REFUSAL_SIZE, 8);
    cr_assert_eq(suspects_due(&suspects, true, 0), id);
    suspects.clean_next = true;
    cr_assert_eq(suspects_due(&suspects, true, 0), 0);
    cr_assert_eq(suspects_due(&suspects, false, 0), id, "no other outcome waits");
    suspects_deinit(&suspects);
}

Test(suspects, an_unavailable_partition_or_topic_parks_only_its_own)
{
    struct suspects suspects = {0};
    const struct suspect_record other_partition = {OUTPUT_RESULTS, 2, 100, false};
    const struct suspect_record other_topic = {OUTPUT_FAILURES, 1, 100, false};
    const struct suspect_record anywhere = {OUTPUT_RESULTS, -1, 100, true};
    uint32_t id = hold_at(&suspects, &some, REFUSAL_NO_LEADER, 0);
    cr_assert_eq(hold_at(&suspects, &some, REFUSAL_NO_LEADER, 5), id);
    cr_assert_eq(suspects_match(&suspects, &some), id);
    cr_assert_eq(suspects_match(&suspects, &other_partition), 0);
    cr_assert_eq(suspects_match(&suspects, &other_topic), 0);
    cr_assert_eq(suspects_match(&suspects, &anywhere), 0);
    uint32_t topic = hold_at(&suspects, &other_topic, REFUSAL_NO_RIGHT, 0);
    cr_assert_neq(topic, id);
    cr_assert_eq(suspects_match(&suspects, &other_topic), topic);
    cr_assert_eq(suspects_match(&suspects, &other_partition), 0);
    suspects_end(&suspects, id);
    cr_assert_eq(suspects_match(&suspects, &some), 0);
    suspects_deinit(&suspects);
}

/* A record with a key has no partition either while the topic is unknown. */
Test(suspects, a_case_without_partition_parks_only_records_without_a_key)
{
    struct suspects suspects = {0};
    const struct suspect_record anywhere = {OUTPUT_FAILURES, -1, 100, true};
    const struct suspect_record not_known = {OUTPUT_FAILURES, -1, 100, false};
    const struct suspect_record located = {OUTPUT_FAILURES, 1, 100, false};
    uint32_t id = hold_at(&suspects, &anywhere, REFUSAL_NO_LEADER, 0);
    cr_assert_eq(hold_at(&suspects, &anywhere, REFUSAL_NO_LEADER, 0), id);
    cr_assert_neq(hold_at(&suspects, &located, REFUSAL_NO_LEADER, 0), id);
    cr_assert_eq(suspects_match(&suspects, &anywhere), id);
    cr_assert_eq(suspects_match(&suspects, &not_known), 0);
    suspects_deinit(&suspects);
}

Test(suspects, a_rejected_size_is_remembered)
{
    struct suspects suspects = {0};
    const struct suspect_record keyless = {OUTPUT_RESULTS, -1, 100, true};
    const struct suspect_record larger = {OUTPUT_RESULTS, 0, 150, false};
    const struct suspect_record smaller = {OUTPUT_RESULTS, 0, 99, false};
    const struct suspect_record failure = {OUTPUT_FAILURES, 0, 150, false};
    uint32_t id = hold_at(&suspects, &keyless, REFUSAL_RECORD, 0);
    cr_assert_eq(suspects_match(&suspects, &keyless), id);
    cr_assert_eq(suspects_match(&suspects, &some), 0, "it has a key");
    suspects_note_size(&suspects, &some, true, 0);
    cr_assert(suspects_too_large(&suspects, &some, 0));
    cr_assert(suspects_too_large(&suspects, &larger, 0));
    cr_assert_not(suspects_too_large(&suspects, &smaller, 0));
    cr_assert_not(suspects_too_large(&suspects, &failure, 0));
    cr_assert_not(suspects_too_large(&suspects, &larger, SUSPECTS_SIZE_MS));
    suspects_note_size(&suspects, &larger, false, 0);
    cr_assert_not(suspects_too_large(&suspects, &larger, 0), "one was taken");
    suspects_deinit(&suspects);
}
