#include "presignd/flow/retry.h"

#include <criterion/criterion.h>

static const struct retry_policy policy = {
    .max_attempts = 6, .base_delay_ms = 200, .max_delay_ms = 30000, .give_up_after_ms = 600000};

#define LAST_MS 605000

static struct retry_case after(unsigned tries, uint64_t random)
{
    return (struct retry_case){.counted_attempts = tries,
                               .retry_after_ms = -1,
                               .now_ms = 5000,
                               .last_ms = LAST_MS,
                               .random = random};
}

Test(retry, the_delay_is_random_in_a_range_that_doubles)
{
    int64_t ceiling_ms = 200;
    for (unsigned tries = 1; tries < 6; tries++, ceiling_ms *= 2) {
        int64_t lowest = INT64_MAX, highest = 0;
        for (uint64_t random = 0; random < 20000; random++) {
            struct retry_case retry = after(tries, random * UINT64_C(0x9e3779b97f4a7c15));
            int64_t delay = retry_next_ms(&policy, &retry) - 5000;
            cr_assert(delay >= 0 && delay <= ceiling_ms, "%ld", (long)delay);
            lowest = delay < lowest ? delay : lowest;
            highest = delay > highest ? delay : highest;
        }
        cr_assert_lt(lowest, ceiling_ms / 50);
        cr_assert_gt(highest, ceiling_ms - ceiling_ms / 50);
    }
}

Test(retry, the_range_is_limited_by_max_delay)
{
    struct retry_policy patient = policy;
    patient.max_attempts = 1000000;
    for (unsigned tries = 9; tries < 100000; tries *= 3) {
        struct retry_case retry = after(tries, 30000);
        cr_assert_eq(retry_next_ms(&patient, &retry), 35000);
        retry.random = 30001;
        cr_assert_eq(retry_next_ms(&patient, &retry), 5000);
    }
}

Test(retry, a_base_delay_of_0_or_above_the_cap_is_valid)
{
    struct retry_policy odd = policy;
    odd.base_delay_ms = 0;
    struct retry_case retry = after(3, UINT64_MAX);
    cr_assert_eq(retry_next_ms(&odd, &retry), 5000);
    odd.base_delay_ms = 50000;
    retry.random = 30000;
    cr_assert_eq(retry_next_ms(&odd, &retry), 35000);
}

Test(retry, after_max_attempts_there_is_none)
{
    struct retry_case retry = after(5, 0);
    cr_assert_eq(retry_next_ms(&policy, &retry), 5000);
    retry.counted_attempts = 6;
    cr_assert_eq(retry_next_ms(&policy, &retry), -1);
    struct retry_policy once = policy;
    once.max_attempts = 1;
    retry.counted_attempts = 1;
    cr_assert_eq(retry_next_ms(&once, &retry), -1);
}

Test(retry, the_last_attempt_begins_at_last_ms_at_the_latest)
{
    struct retry_case retry = after(1, 100);
    retry.now_ms = LAST_MS - 100;
    cr_assert_eq(retry_next_ms(&policy, &retry), LAST_MS);
    retry.now_ms++;
    cr_assert_eq(retry_next_ms(&policy, &retry), LAST_MS);
    retry.now_ms = LAST_MS;
    cr_assert_eq(retry_next_ms(&policy, &retry), -1);
    retry.now_ms += 1000000;
    cr_assert_eq(retry_next_ms(&policy, &retry), -1);
}

Test(retry, retry_after_may_exceed_max_delay)
{
    struct retry_case retry = after(1, 77);
    retry.retry_after_ms = 120000;
    cr_assert_eq(retry_next_ms(&policy, &retry), 125000);
    retry.retry_after_ms = 10;
    cr_assert_eq(retry_next_ms(&policy, &retry), 5077, "the longer one applies");
    retry.retry_after_ms = 0;
    cr_assert_eq(retry_next_ms(&policy, &retry), 5077);
}

Test(retry, retry_after_is_limited_by_last_ms)
{
    struct retry_case retry = after(1, 0);
    retry.retry_after_ms = 599999;
    cr_assert_eq(retry_next_ms(&policy, &retry), LAST_MS - 1);
    retry.retry_after_ms = 600001;
    cr_assert_eq(retry_next_ms(&policy, &retry), LAST_MS);
    retry.retry_after_ms = INT64_MAX;
    cr_assert_eq(retry_next_ms(&policy, &retry), LAST_MS);
}

Test(retry, only_some_answers_lead_to_another_attempt)
{
    const bool applies[ANSWER_KIND_COUNT] = {[ANSWER_RATE_LIMITED] = true,
                                             [ANSWER_UNAVAILABLE] = true,
                                             [ANSWER_UNREACHABLE] = true,
                                             [ANSWER_UNVERIFIED] = true,
                                             [ANSWER_SIGN_TEST] = true};
    for (enum answer_kind kind = 0; kind < ANSWER_KIND_COUNT; kind++) {
        cr_assert_eq(retry_rule(kind).retry, applies[kind], "%s", answer_kind_name(kind));
    }
}
