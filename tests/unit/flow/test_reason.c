#include "presignd/flow/reason.h"

#include <criterion/criterion.h>
#include <string.h>

/* The published names are an interface: consumers route by them. */
Test(reason, names_and_whether_to_send_again_are_as_documented)
{
    static const struct {
        const char *name;
        bool retryable;
    } documented[REASON_COUNT] = {{"none", false},
                                  {"empty_event", false},
                                  {"event_too_large", false},
                                  {"invalid_json", false},
                                  {"invalid_cloudevent", false},
                                  {"unknown_type", false},
                                  {"invalid_request", false},
                                  {"expired", false},
                                  {"unknown_merchant", true},
                                  {"rejected", false},
                                  {"merchant_unauthorized", true},
                                  {"rate_limited", true},
                                  {"unavailable", true},
                                  {"unreachable", true},
                                  {"unverified_answer", true},
                                  {"unexpected_answer", false}};
    for (enum reason reason = 0; reason < REASON_COUNT; reason++) {
        cr_assert_str_eq(reason_name(reason), documented[reason].name);
        cr_assert_eq(reason_row(reason)->retryable, documented[reason].retryable, "%s",
                     documented[reason].name);
    }
}

Test(reason, each_says_when_it_happens_and_what_to_do)
{
    for (enum reason reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
        cr_assert_gt(strlen(reason_row(reason)->when), 10, "%s", reason_name(reason));
        cr_assert_gt(strlen(reason_row(reason)->advice), 10, "%s", reason_name(reason));
    }
}

Test(reason, every_answer_but_a_success_has_one_of_its_own)
{
    bool taken[REASON_COUNT] = {false};
    cr_assert_eq(reason_of_answer(ANSWER_SUCCESS), REASON_NONE);
    for (enum answer_kind kind = ANSWER_SUCCESS + 1; kind < ANSWER_KIND_COUNT; kind++) {
        enum reason reason = reason_of_answer(kind);
        cr_assert_geq(reason, REASON_REJECTED);
        cr_assert_not(taken[reason]);
        taken[reason] = true;
    }
}
