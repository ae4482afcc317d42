#include "presignd/flow/hold.h"

#include <criterion/criterion.h>
#include <string.h>

#define HOLD_MS     600000
#define INTERVAL_MS 30000 /* shorter than a tenth of the hold */
#define BASE_MS     200

/* An endpoint with two merchants, and the answers to their calls. */
struct scene {
    struct hold hold;
    struct hold_merchant a, b;
    int64_t last_ms;
};

static struct hold_rules rules_with(unsigned hosts)
{
    return (struct hold_rules){.host_count = hosts,
                               .probes_max = HOLD_PROBES_MAX,
                               .hold_ms = HOLD_MS,
                               .base_delay_ms = BASE_MS,
                               .max_delay_ms = 30000};
}

static void scene_begin(struct scene *scene, unsigned hosts)
{
    struct hold_rules rules = rules_with(hosts);
    hold_init(&scene->hold, &rules);
    hold_merchant_init(&scene->a);
    hold_merchant_init(&scene->b);
    scene->last_ms = INT64_MAX / 2;
}

static const struct answer result = {
    .kind = ANSWER_SUCCESS, .is_signed = true, .call_state = CALL_ANSWERED, .retry_after_ms = -1};
static const struct answer refusal = {
    .kind = ANSWER_UNAUTHORIZED, .call_state = CALL_ANSWERED, .retry_after_ms = -1};
static const struct answer rejection = {
    .kind = ANSWER_REJECTED, .call_state = CALL_ANSWERED, .status = 400, .retry_after_ms = -1};
static const struct answer limited = {
    .kind = ANSWER_RATE_LIMITED, .call_state = CALL_ANSWERED, .status = 429, .retry_after_ms = -1};
static const struct answer failure = {
    .kind = ANSWER_UNAVAILABLE, .call_state = CALL_UNKNOWN, .status = 500, .retry_after_ms = -1};
static const struct answer silence = {.kind = ANSWER_UNAVAILABLE,
                                      .call_state = CALL_UNKNOWN,
                                      .counts_as_outage = true,
                                      .retry_after_ms = -1};
static const struct answer no_name = {.kind = ANSWER_UNREACHABLE,
                                      .call_state = CALL_NOT_SENT,
                                      .counts_as_outage = true,
                                      .cause = ANSWER_CAUSE_NAME,
                                      .retry_after_ms = -1};
static const struct answer shortage = {.kind = ANSWER_UNREACHABLE,
                                       .call_state = CALL_NOT_SENT,
                                       .counts_as_outage = true,
                                       .cause = ANSWER_CAUSE_SHORTAGE,
                                       .retry_after_ms = -1};
static const struct answer unsent = {
    .kind = ANSWER_UNREACHABLE, .call_state = CALL_NOT_SENT, .retry_after_ms = -1};
static const struct answer unverifiable = {.kind = ANSWER_UNVERIFIED,
                                           .call_state = CALL_UNKNOWN,
                                           .status = 200,
                                           .cause = ANSWER_CAUSE_KEYS,
                                           .retry_after_ms = -1};

static void ends(struct scene *scene, struct hold_merchant *merchant, struct hold_ticket ticket,
                 const struct answer *answer, int64_t now_ms)
{
    struct hold_end end = {.answer = answer,
                           .merchant_401 = answer->kind == ANSWER_UNAUTHORIZED,
                           .now_ms = now_ms,
                           .last_ms = scene->last_ms,
                           .random = UINT64_MAX};
    hold_ended(&scene->hold, merchant, ticket, &end);
}

static struct hold_ticket begins(struct scene *scene, struct hold_merchant *merchant,
                                 enum hold_verdict as, int64_t now_ms)
{
    struct hold_permit permit = hold_ask(&scene->hold, merchant, now_ms);
    cr_assert_eq(permit.verdict, as, "at %ld: verdict %d", (long)now_ms, (int)permit.verdict);
    return hold_begin(&scene->hold, merchant, permit, now_ms);
}

/* A call that begins and ends at once. Returns its host. */
static unsigned calls(struct scene *scene, struct hold_merchant *merchant,
                      const struct answer *answer, int64_t now_ms)
{
    struct hold_ticket ticket = begins(scene, merchant, HOLD_CALL, now_ms);
    ends(scene, merchant, ticket, answer, now_ms);
    return ticket.host;
}

static unsigned probes(struct scene *scene, struct hold_merchant *merchant,
                       const struct answer *answer, int64_t now_ms)
{
    struct hold_ticket ticket = begins(scene, merchant, HOLD_PROBE, now_ms);
    ends(scene, merchant, ticket, answer, now_ms);
    return ticket.host;
}

static void waits(struct scene *scene, struct hold_merchant *merchant, int64_t now_ms,
                  int64_t until_ms)
{
    struct hold_permit permit = hold_ask(&scene->hold, merchant, now_ms);
    cr_assert_eq(permit.verdict, HOLD_WAIT, "at %ld: verdict %d", (long)now_ms,
                 (int)permit.verdict);
    cr_assert_eq(permit.wait_ms, until_ms, "at %ld: until %ld, not %ld", (long)now_ms,
                 (long)permit.wait_ms, (long)until_ms);
}

static void fails(struct scene *scene, struct hold_merchant *merchant, int64_t now_ms,
                  enum reason reason)
{
    struct hold_permit permit = hold_ask(&scene->hold, merchant, now_ms);
    cr_assert_eq(permit.verdict, HOLD_FAIL, "at %ld: verdict %d", (long)now_ms,
                 (int)permit.verdict);
    cr_assert_eq(hold_reason(merchant), reason);
}

static const char *state(const struct scene *scene, const struct hold_merchant *merchant)
{
    return hold_state_name(&scene->hold, merchant);
}

/* --- the tables, row by row ----------------------------------------------------------------- */

#define O  HOLD_OPEN
#define P  HOLD_PACED
#define U  HOLD_UNAUTHORIZED
#define UO HOLD_UNAUTHORIZED_OVER
#define V  HOLD_UNVERIFIABLE
#define VO HOLD_UNVERIFIABLE_OVER
#define K  HOLD_KEYLESS
#define KO HOLD_KEYLESS_OVER

Test(hold, every_transition_of_a_merchant)
{
    static const enum hold_state next[HOLD_STATE_COUNT][HOLD_EVENT_COUNT] = {
        /* none verified answered failed limited unauthorized unverifiable keyless keys time resumed
         * reset */
        [O] = {O, O, O, O, P, U, V, K, O, O, O, O},
        [P] = {P, P, P, P, P, P, P, K, P, O, P, O},
        [U] = {U, O, O, U, U, U, V, U, U, UO, U, O},
        [UO] = {UO, O, O, UO, UO, UO, VO, UO, UO, UO, U, O},
        [V] = {V, O, V, V, V, U, V, K, V, VO, V, O},
        [VO] = {VO, O, VO, VO, VO, UO, VO, KO, V, VO, V, O},
        [K] = {K, K, K, K, K, K, K, K, O, KO, K, O},
        [KO] = {KO, KO, KO, KO, KO, KO, KO, KO, O, KO, K, O},
    };
    for (enum hold_state from = 0; from < HOLD_STATE_COUNT; from++) {
        for (enum hold_event event = 0; event < HOLD_EVENT_COUNT; event++) {
            cr_expect_eq(hold_next_state(from, event), next[from][event], "state %d, event %d",
                         (int)from, (int)event);
        }
    }
}

Test(hold, every_transition_of_a_circuit)
{
    static const bool next[2][CIRCUIT_EVENT_COUNT] = {
        /* answer, outage, trip, probe */
        {false, false, true, false},
        {false, true, true, true},
    };
    for (int broken = 0; broken < 2; broken++) {
        for (enum circuit_event event = 0; event < CIRCUIT_EVENT_COUNT; event++) {
            cr_expect_eq(circuit_next_broken(broken != 0, event), next[broken][event]);
        }
    }
}

/* --- 401 ------------------------------------------------------------------------------------ */

Test(hold, a_401_holds_the_merchant_until_its_timer)
{
    struct scene scene;
    struct hold_ticket in_flight[64];
    scene_begin(&scene, 1);
    for (size_t i = 0; i < 64; i++) {
        in_flight[i] = begins(&scene, &scene.a, HOLD_CALL, 1000);
    }
    for (size_t i = 0; i < 64; i++) {
        ends(&scene, &scene.a, in_flight[i], &refusal, 1000 + (int64_t)i);
    }
    cr_assert_eq(scene.a.since_ms, 1000, "by the first of them");
    cr_assert_str_eq(state(&scene, &scene.a), "held");
    cr_assert_str_eq(state(&scene, &scene.b), "open");
    int64_t now_ms = 1000;
    for (int i = 0; i < 19; i++, now_ms += INTERVAL_MS) {
        waits(&scene, &scene.a, now_ms, now_ms + INTERVAL_MS);
        (void)probes(&scene, &scene.a, &refusal, now_ms + INTERVAL_MS);
    }
    waits(&scene, &scene.a, 1000 + HOLD_MS - 1, 1000 + HOLD_MS);
    fails(&scene, &scene.a, 1000 + HOLD_MS, REASON_MERCHANT_UNAUTHORIZED);
    cr_assert_str_eq(state(&scene, &scene.a), "held");
    cr_assert_eq(hold_until_ms(&scene.hold, &scene.a), INT64_MAX);
}

Test(hold, after_the_hold_one_probe_a_minute_until_an_answer)
{
    struct scene scene;
    scene_begin(&scene, 1);
    (void)calls(&scene, &scene.a, &refusal, 0);
    fails(&scene, &scene.a, HOLD_MS, REASON_MERCHANT_UNAUTHORIZED);
    int64_t probe_ms = HOLD_MS + HOLD_RECOVERY_MS;
    fails(&scene, &scene.a, probe_ms - 1, REASON_MERCHANT_UNAUTHORIZED);
    (void)probes(&scene, &scene.a, &refusal, probe_ms);
    fails(&scene, &scene.a, probe_ms + 1, REASON_MERCHANT_UNAUTHORIZED);
    struct hold_ticket probe = begins(&scene, &scene.a, HOLD_PROBE, probe_ms + HOLD_RECOVERY_MS);
    fails(&scene, &scene.a, probe_ms + (int64_t)3 * HOLD_RECOVERY_MS, REASON_MERCHANT_UNAUTHORIZED);
    ends(&scene, &scene.a, probe, &result, probe_ms + (int64_t)3 * HOLD_RECOVERY_MS);
    cr_assert_str_eq(state(&scene, &scene.a), "open");
}

/* hold_ask() was not called meanwhile: the first event is a probe and does not fail without a call.
 */
Test(hold, after_a_hold_without_events_the_first_one_is_a_probe)
{
    struct scene scene;
    scene_begin(&scene, 1);
    (void)calls(&scene, &scene.a, &refusal, 0);
    (void)probes(&scene, &scene.a, &result, (int64_t)2 * HOLD_MS);
    cr_assert_str_eq(state(&scene, &scene.a), "open");
    (void)calls(&scene, &scene.a, &refusal, (int64_t)3 * HOLD_MS);
    fails(&scene, &scene.a, 4 * HOLD_MS + 1, REASON_MERCHANT_UNAUTHORIZED);
    (void)probes(&scene, &scene.a, &refusal, 4 * HOLD_MS + HOLD_RECOVERY_MS);
}

/* An operator may have mended the cause during the pause. */
Test(hold, after_a_pause_a_hold_begins_again_with_a_probe)
{
    struct scene scene;
    scene_begin(&scene, 1);
    (void)calls(&scene, &scene.a, &refusal, 0);
    hold_merchant_resumed(&scene.a, 5000);
    (void)probes(&scene, &scene.a, &refusal, 5000);
    cr_assert_eq(hold_until_ms(&scene.hold, &scene.a), 5000 + HOLD_MS);
    cr_assert_eq(hold_total_ms(&scene.a, 6000), 6000, "retry time stood still all along");
    fails(&scene, &scene.a, 5000 + HOLD_MS, REASON_MERCHANT_UNAUTHORIZED);
    hold_merchant_resumed(&scene.a, INT64_C(2) * HOLD_MS);
    (void)probes(&scene, &scene.a, &refusal, INT64_C(2) * HOLD_MS);
    cr_assert_eq(hold_until_ms(&scene.hold, &scene.a), INT64_C(3) * HOLD_MS);
    hold_merchant_resumed(&scene.b, 5000);
    (void)calls(&scene, &scene.b, &result, 5000);
}

/* The probe has no answer when the hold's time is over. The timer does not wait for it. */
Test(hold, a_hold_ends_while_a_probe_is_in_flight)
{
    struct scene scene;
    scene_begin(&scene, 1);
    (void)calls(&scene, &scene.a, &refusal, 0);
    (void)begins(&scene, &scene.a, HOLD_PROBE, HOLD_MS - 5000);
    waits(&scene, &scene.a, HOLD_MS - 4000, HOLD_MS);
    fails(&scene, &scene.a, HOLD_MS, REASON_MERCHANT_UNAUTHORIZED);
}

Test(hold, answers_to_older_calls_neither_end_a_hold_nor_begin_it)
{
    struct scene scene;
    scene_begin(&scene, 1);
    struct hold_ticket old = begins(&scene, &scene.a, HOLD_CALL, 0);
    struct hold_ticket older = begins(&scene, &scene.a, HOLD_CALL, 0);
    (void)calls(&scene, &scene.a, &refusal, 10);
    ends(&scene, &scene.a, old, &result, 20);
    cr_assert_str_eq(state(&scene, &scene.a), "held");
    (void)probes(&scene, &scene.a, &result, 10 + INTERVAL_MS);
    ends(&scene, &scene.a, older, &refusal, 20 + INTERVAL_MS);
    cr_assert_str_eq(state(&scene, &scene.a), "open");
}

/* An intermediary may have sent it. Only a signature proves the origin. */
Test(hold, an_unsigned_200_does_not_end_a_hold)
{
    struct scene scene;
    static const struct answer unsigned_page = {
        .kind = ANSWER_UNVERIFIED, .call_state = CALL_UNKNOWN, .status = 200, .retry_after_ms = -1};
    static const struct answer lacking = {.kind = ANSWER_UNVERIFIED,
                                          .call_state = CALL_UNKNOWN,
                                          .status = 200,
                                          .is_signed = true,
                                          .retry_after_ms = -1};
    scene_begin(&scene, 1);
    (void)calls(&scene, &scene.a, &refusal, 0);
    (void)probes(&scene, &scene.a, &unsigned_page, INTERVAL_MS);
    cr_assert_str_eq(state(&scene, &scene.a), "held");
    (void)probes(&scene, &scene.a, &lacking, (int64_t)2 * INTERVAL_MS);
    cr_assert_str_eq(state(&scene, &scene.a), "open");
}

Test(hold, a_signature_test_neither_begins_nor_ends_a_hold)
{
    struct scene scene;
    static const struct answer test = {
        .kind = ANSWER_SIGN_TEST, .call_state = CALL_UNKNOWN, .status = 200, .retry_after_ms = -1};
    scene_begin(&scene, 1);
    for (int64_t now_ms = 0; now_ms < 100; now_ms++) {
        (void)calls(&scene, &scene.a, &test, now_ms);
    }
    cr_assert_str_eq(state(&scene, &scene.a), "open");
    (void)calls(&scene, &scene.a, &refusal, 100);
    (void)probes(&scene, &scene.a, &test, 100 + INTERVAL_MS);
    cr_assert_str_eq(state(&scene, &scene.a), "held");
}

Test(hold, with_hold_ms_0_each_event_is_called)
{
    struct scene scene;
    scene_begin(&scene, 1);
    scene.hold.rules.hold_ms = 0;
    for (int64_t now_ms = 0; now_ms < 100; now_ms++) {
        (void)calls(&scene, &scene.a, now_ms % 2 == 0 ? &refusal : &unverifiable, now_ms);
    }
    cr_assert_str_eq(state(&scene, &scene.a), "open");
}

Test(hold, a_short_hold_is_probed_soon)
{
    struct scene scene;
    scene_begin(&scene, 1);
    scene.hold.rules.hold_ms = 5000;
    (void)calls(&scene, &scene.a, &refusal, 1000);
    waits(&scene, &scene.a, 1000, 1500);
    scene_begin(&scene, 1);
    scene.hold.rules.hold_ms = 200;
    (void)calls(&scene, &scene.a, &refusal, 1000);
    waits(&scene, &scene.a, 1000, 1100);
}

Test(hold, retry_time_is_paused_only_during_the_hold)
{
    struct scene scene;
    scene_begin(&scene, 1);
    (void)calls(&scene, &scene.a, &refusal, 1000);
    cr_assert_eq(hold_total_ms(&scene.a, 1000), 0);
    cr_assert_eq(hold_total_ms(&scene.a, 6000), 5000);
    (void)probes(&scene, &scene.a, &rejection, 1000 + INTERVAL_MS);
    cr_assert_str_eq(state(&scene, &scene.a), "open");
    cr_assert_eq(hold_total_ms(&scene.a, 900000), INTERVAL_MS);
    (void)calls(&scene, &scene.a, &limited, 900000);
    cr_assert_eq(hold_total_ms(&scene.a, 900100), INTERVAL_MS, "429 stops no clock");
}

Test(hold, a_changed_section_opens_it_and_ignores_older_calls)
{
    struct scene scene;
    scene_begin(&scene, 1);
    (void)calls(&scene, &scene.a, &refusal, 0);
    struct hold_ticket probe = begins(&scene, &scene.a, HOLD_PROBE, INTERVAL_MS);
    hold_merchant_reset(&scene.a, INTERVAL_MS + 1);
    ends(&scene, &scene.a, probe, &refusal, INTERVAL_MS + 2);
    cr_assert_str_eq(state(&scene, &scene.a), "open");
    cr_assert_eq(scene.hold.probes, 0);
    for (int i = 0; i < 9; i++) {
        (void)begins(&scene, &scene.a, HOLD_CALL, INTERVAL_MS + 3);
    }
}

/* --- answers that no key verifies ----------------------------------------------------------- */

Test(hold, three_unverifiable_answers_in_a_row_hold_the_merchant)
{
    struct scene scene;
    scene_begin(&scene, 1);
    (void)calls(&scene, &scene.a, &unverifiable, 0);
    (void)calls(&scene, &scene.a, &unverifiable, 1);
    (void)calls(&scene, &scene.a, &result, 2);
    (void)calls(&scene, &scene.a, &unverifiable, 3);
    (void)calls(&scene, &scene.a, &rejection, 4);
    (void)calls(&scene, &scene.a, &unverifiable, 5);
    cr_assert_str_eq(state(&scene, &scene.a), "open");
    (void)calls(&scene, &scene.a, &unverifiable, 6);
    cr_assert_str_eq(state(&scene, &scene.a), "held", "an unsigned rejection verifies nothing");
    (void)probes(&scene, &scene.a, &unverifiable, 6 + INTERVAL_MS);
    (void)probes(&scene, &scene.a, &rejection, 6 + (int64_t)2 * INTERVAL_MS);
    cr_assert_str_eq(state(&scene, &scene.a), "held");
    fails(&scene, &scene.a, 6 + HOLD_MS, REASON_UNVERIFIED_ANSWER);
    (void)probes(&scene, &scene.a, &result, 6 + HOLD_MS + HOLD_RECOVERY_MS);
    cr_assert_str_eq(state(&scene, &scene.a), "open");
}

Test(hold, the_other_host_is_tried_before_a_hold)
{
    struct scene scene;
    scene_begin(&scene, 2);
    struct hold_ticket in_flight[8];
    for (int i = 0; i < 8; i++) {
        in_flight[i] = begins(&scene, &scene.a, HOLD_CALL, 0);
        cr_assert_eq(in_flight[i].host, 0);
    }
    for (int i = 0; i < 8; i++) {
        ends(&scene, &scene.a, in_flight[i], &unverifiable, 1);
    }
    cr_assert_str_eq(state(&scene, &scene.a), "open");
    cr_assert_eq(calls(&scene, &scene.a, &unverifiable, 2), 1);
    cr_assert_str_eq(state(&scene, &scene.a), "held");
}

Test(hold, a_hold_changes_its_reason_but_not_its_end)
{
    struct scene scene;
    scene_begin(&scene, 1);
    (void)calls(&scene, &scene.a, &refusal, 0);
    (void)probes(&scene, &scene.a, &unverifiable, INTERVAL_MS);
    cr_assert_eq(hold_why_held(&scene.a), HOLD_WHY_UNVERIFIED);
    (void)probes(&scene, &scene.a, &limited, (int64_t)2 * INTERVAL_MS);
    cr_assert_eq(hold_why_held(&scene.a), HOLD_WHY_UNVERIFIED);
    fails(&scene, &scene.a, HOLD_MS, REASON_UNVERIFIED_ANSWER);
    (void)probes(&scene, &scene.a, &refusal, HOLD_MS + HOLD_RECOVERY_MS);
    fails(&scene, &scene.a, HOLD_MS + HOLD_RECOVERY_MS + 1, REASON_MERCHANT_UNAUTHORIZED);
    (void)probes(&scene, &scene.a, &unverifiable, HOLD_MS + (int64_t)2 * HOLD_RECOVERY_MS);
    fails(&scene, &scene.a, HOLD_MS + (int64_t)2 * HOLD_RECOVERY_MS + 1, REASON_UNVERIFIED_ANSWER);
}

/* --- keys ----------------------------------------------------------------------------------- */

Test(hold, without_keys_no_call_and_no_probe_until_one_comes)
{
    struct scene scene;
    scene_begin(&scene, 1);
    hold_merchant_has_keys(&scene.a, false, 0);
    cr_assert_str_eq(state(&scene, &scene.a), "held");
    cr_assert_eq(hold_why_held(&scene.a), HOLD_WHY_KEYLESS);
    cr_assert_str_eq(hold_why_name(HOLD_WHY_KEYLESS), "unverified_answer");
    waits(&scene, &scene.a, 0, INTERVAL_MS);
    waits(&scene, &scene.a, INTERVAL_MS, INTERVAL_MS + INTERVAL_MS);
    waits(&scene, &scene.a, HOLD_MS - 1, HOLD_MS);
    hold_merchant_has_keys(&scene.a, true, HOLD_MS - 1);
    cr_assert_eq(hold_total_ms(&scene.a, HOLD_MS), HOLD_MS - 1);
    (void)begins(&scene, &scene.a, HOLD_CALL, HOLD_MS - 1);
    waits(&scene, &scene.a, HOLD_MS - 1,
          0); /* one call at first: it shows whether the key is right */
    (void)calls(&scene, &scene.b, &result, 0);
}

Test(hold, without_keys_for_too_long_events_fail_until_one_comes)
{
    struct scene scene;
    scene_begin(&scene, 1);
    hold_merchant_has_keys(&scene.a, false, 0);
    fails(&scene, &scene.a, HOLD_MS, REASON_UNVERIFIED_ANSWER);
    fails(&scene, &scene.a, INT64_C(10) * HOLD_MS, REASON_UNVERIFIED_ANSWER);
    cr_assert_eq(hold_until_ms(&scene.hold, &scene.a), INT64_MAX);
    hold_merchant_has_keys(&scene.a, true, INT64_C(10) * HOLD_MS);
    (void)calls(&scene, &scene.a, &result, INT64_C(10) * HOLD_MS);
    cr_assert_eq(hold_total_ms(&scene.a, INT64_C(10) * HOLD_MS), HOLD_MS);
}

/* Otherwise the first events of a start would fail before the first list has come. */
Test(hold, without_a_hold_a_merchant_without_keys_waits_for_a_minute)
{
    struct scene scene;
    struct hold_rules rules = rules_with(1);
    rules.hold_ms = 0;
    scene_begin(&scene, 1);
    hold_configure(&scene.hold, &rules);
    hold_merchant_has_keys(&scene.a, false, 0);
    waits(&scene, &scene.a, HOLD_KEYLESS_MS - 1, HOLD_KEYLESS_MS);
    fails(&scene, &scene.a, HOLD_KEYLESS_MS, REASON_UNVERIFIED_ANSWER);
}

/* The pause is over before a call is allowed, so it must not hide that there is no key. */
Test(hold, a_paced_merchant_without_keys_is_held)
{
    struct scene scene;
    scene_begin(&scene, 1);
    (void)calls(&scene, &scene.a, &limited, 0);
    cr_assert_str_eq(state(&scene, &scene.a), "paced");
    hold_merchant_has_keys(&scene.a, false, HOLD_MS / 2);
    waits(&scene, &scene.a, HOLD_MS / 2, HOLD_MS / 2 + INTERVAL_MS);
}

Test(hold, new_keys_are_probed_at_once)
{
    struct scene scene;
    scene_begin(&scene, 1);
    for (int i = 0; i < HOLD_UNVERIFIED; i++) {
        (void)calls(&scene, &scene.a, &unverifiable, 0);
    }
    hold_merchant_has_keys(&scene.a, true, 1000);
    waits(&scene, &scene.a, 1000, INTERVAL_MS);
    hold_merchant_new_keys(&scene.a, 2000);
    (void)probes(&scene, &scene.a, &unverifiable, 2000);
    cr_assert_eq(hold_until_ms(&scene.hold, &scene.a), 2000 + HOLD_MS);
    fails(&scene, &scene.a, 2000 + HOLD_MS, REASON_UNVERIFIED_ANSWER);
    hold_merchant_new_keys(&scene.a, INT64_C(2) * HOLD_MS);
    (void)probes(&scene, &scene.a, &result, INT64_C(2) * HOLD_MS);
    cr_assert_str_eq(state(&scene, &scene.a), "open");
}

/* Three in a row count from the new keys on. */
Test(hold, new_keys_forget_the_answers_to_the_old_ones)
{
    struct scene scene;
    scene_begin(&scene, 1);
    (void)calls(&scene, &scene.a, &unverifiable, 0);
    (void)calls(&scene, &scene.a, &unverifiable, 0);
    hold_merchant_new_keys(&scene.a, 1);
    (void)calls(&scene, &scene.a, &unverifiable, 2);
    cr_assert_str_eq(state(&scene, &scene.a), "open");
}

Test(hold, a_held_merchant_that_loses_its_last_key_is_not_probed)
{
    struct scene scene;
    scene_begin(&scene, 1);
    for (int i = 0; i < HOLD_UNVERIFIED; i++) {
        (void)calls(&scene, &scene.a, &unverifiable, 0);
    }
    hold_merchant_has_keys(&scene.a, false, INTERVAL_MS);
    cr_assert_eq(hold_why_held(&scene.a), HOLD_WHY_KEYLESS);
    waits(&scene, &scene.a, INTERVAL_MS, INTERVAL_MS + INTERVAL_MS);
    fails(&scene, &scene.a, HOLD_MS, REASON_UNVERIFIED_ANSWER);
}

/* A 401 is no matter of keys that verify: its hold stays, and its probes go on. */
Test(hold, a_401_holds_also_without_keys)
{
    struct scene scene;
    scene_begin(&scene, 1);
    (void)calls(&scene, &scene.a, &refusal, 0);
    hold_merchant_has_keys(&scene.a, false, 1);
    cr_assert_eq(hold_why_held(&scene.a), HOLD_WHY_UNAUTHORIZED);
    hold_merchant_new_keys(&scene.a, 2);
    waits(&scene, &scene.a, 3, INTERVAL_MS);
}

/* --- 429 beside a hold ---------------------------------------------------------------------- */

/* A 429 may come before the signature was checked. If it ended the hold, the next 401 would begin a
 * new one, and the hold would last for ever. */
Test(hold, a_429_to_a_probe_delays_the_next_probe_only)
{
    struct scene scene;
    struct answer answer = limited;
    scene_begin(&scene, 1);
    (void)calls(&scene, &scene.a, &refusal, 0);
    (void)probes(&scene, &scene.a, &limited, INTERVAL_MS);
    waits(&scene, &scene.a, INTERVAL_MS + 1, (int64_t)2 * INTERVAL_MS);
    answer.retry_after_ms = 45000;
    (void)probes(&scene, &scene.a, &answer, (int64_t)2 * INTERVAL_MS);
    waits(&scene, &scene.a, (int64_t)3 * INTERVAL_MS, (int64_t)2 * INTERVAL_MS + 45000);
    answer.retry_after_ms = (int64_t)2 * HOLD_RECOVERY_MS;
    (void)probes(&scene, &scene.a, &answer, HOLD_MS - 1);
    fails(&scene, &scene.a, HOLD_MS, REASON_MERCHANT_UNAUTHORIZED);
    fails(&scene, &scene.a, HOLD_MS - 2 + (int64_t)2 * HOLD_RECOVERY_MS,
          REASON_MERCHANT_UNAUTHORIZED);
    (void)probes(&scene, &scene.a, &limited, HOLD_MS - 1 + (int64_t)2 * HOLD_RECOVERY_MS);
    fails(&scene, &scene.a, HOLD_MS + (int64_t)2 * HOLD_RECOVERY_MS, REASON_MERCHANT_UNAUTHORIZED);
}

/* --- 429 ------------------------------------------------------------------------------------ */

Test(hold, a_429_pauses_the_merchant_until_retry_after_without_probes)
{
    struct scene scene;
    struct answer answer = limited;
    scene_begin(&scene, 2);
    answer.retry_after_ms = 300000;
    (void)calls(&scene, &scene.a, &answer, 1000);
    cr_assert_str_eq(state(&scene, &scene.a), "paced");
    for (int64_t now_ms = 1000; now_ms < 301000; now_ms += 7777) {
        waits(&scene, &scene.a, now_ms, 301000);
    }
    (void)calls(&scene, &scene.a, &result, 301000);
    cr_assert_str_eq(state(&scene, &scene.a), "open");
}

Test(hold, without_retry_after_the_backoff_doubles_until_an_answer)
{
    struct scene scene;
    scene_begin(&scene, 1);
    int64_t now_ms = 0, delay_ms = BASE_MS;
    for (int i = 0; i < 12; i++) {
        (void)calls(&scene, &scene.a, &limited, now_ms);
        int64_t wait_ms = scene.a.until_ms - now_ms;
        cr_assert(wait_ms > delay_ms / 2 && wait_ms <= delay_ms + 1, "%ld of %ld", (long)wait_ms,
                  (long)delay_ms);
        now_ms = scene.a.until_ms;
        delay_ms = 2 * delay_ms < 30000 ? 2 * delay_ms : 30000;
    }
    cr_assert_eq(delay_ms, 30000);
    (void)calls(&scene, &scene.a, &result, now_ms);
    (void)calls(&scene, &scene.a, &limited, now_ms);
    cr_assert_leq(scene.a.until_ms - now_ms, BASE_MS + 1);
}

Test(hold, a_429_to_calls_in_flight_counts_once)
{
    struct scene scene;
    struct answer longer = limited;
    scene_begin(&scene, 1);
    struct hold_ticket in_flight[5];
    for (int i = 0; i < 5; i++) {
        in_flight[i] = begins(&scene, &scene.a, HOLD_CALL, 0);
    }
    ends(&scene, &scene.a, in_flight[0], &limited, 10);
    int64_t until_ms = scene.a.until_ms;
    ends(&scene, &scene.a, in_flight[1], &limited, 20);
    ends(&scene, &scene.a, in_flight[2], &limited, 30);
    ends(&scene, &scene.a, in_flight[3], &result, 30);
    cr_assert_eq(scene.a.until_ms, until_ms);
    longer.retry_after_ms = 60000;
    ends(&scene, &scene.a, in_flight[4], &longer, 40);
    cr_assert_eq(scene.a.until_ms, 60040, "a longer Retry-After counts");
}

Test(hold, retry_after_of_a_429_is_limited_by_the_last_attempt)
{
    struct scene scene;
    struct answer answer = limited;
    scene_begin(&scene, 1);
    scene.last_ms = 590000;
    answer.retry_after_ms = 3600000;
    (void)calls(&scene, &scene.a, &answer, 1000);
    waits(&scene, &scene.a, 1000, 590000);
    (void)calls(&scene, &scene.a, &answer, 590000);
    cr_assert_str_eq(state(&scene, &scene.a), "paced");
    cr_assert_leq(scene.a.until_ms, 590000 + 2 * BASE_MS + 1, "the event has no more time");
}

Test(hold, after_a_pause_calls_in_flight_double_from_one)
{
    struct scene scene;
    struct hold_ticket tickets[16];
    scene_begin(&scene, 1);
    struct hold_ticket old = begins(&scene, &scene.a, HOLD_CALL, 0);
    (void)calls(&scene, &scene.a, &limited, 0);
    int64_t now_ms = scene.a.until_ms;
    for (size_t allowed = 1; allowed <= 16; allowed *= 2) {
        for (size_t i = 0; i < allowed; i++) {
            tickets[i] = begins(&scene, &scene.a, HOLD_CALL, now_ms);
        }
        waits(&scene, &scene.a, now_ms, 0);
        ends(&scene, &scene.a, tickets[0], allowed == 4 ? &failure : &result, now_ms);
        for (size_t i = 1; i < allowed; i++) {
            ends(&scene, &scene.a, tickets[i], &silence, now_ms);
        }
        (void)calls(&scene, &scene.b, &result,
                    now_ms); /* so that the host's circuit stays closed */
        scene.a.circuits[0].outages = 0;
        scene.a.circuits[0].broken = false;
        if (allowed == 1) {
            ends(&scene, &scene.a, old, &result, now_ms);
            cr_assert_eq(scene.a.slow_start_limit, 2, "a call of the earlier epoch does not count");
        }
    }
}

/* --- outages -------------------------------------------------------------------------------- */

Test(hold, three_outages_in_a_row_break_a_merchants_circuit)
{
    struct scene scene;
    scene_begin(&scene, 2);
    (void)calls(&scene, &scene.a, &silence, 0);
    (void)calls(&scene, &scene.a, &silence, 1);
    (void)calls(&scene, &scene.a, &failure, 2);
    (void)calls(&scene, &scene.a, &silence, 3);
    (void)calls(&scene, &scene.a, &silence, 4);
    cr_assert_not(hold_broken_at(&scene.hold, &scene.a, 0), "an answer in between");
    cr_assert_eq(calls(&scene, &scene.a, &silence, 5), 0);
    cr_assert(hold_broken_at(&scene.hold, &scene.a, 0));
    cr_assert_eq(calls(&scene, &scene.a, &result, 6), 1, "the other host");
    cr_assert_str_eq(state(&scene, &scene.a), "open");
    cr_assert_eq(probes(&scene, &scene.a, &result, 5 + HOLD_PROBE_FIRST_MS), 0);
    cr_assert_eq(calls(&scene, &scene.a, &result, 6 + HOLD_PROBE_FIRST_MS), 0, "it is back");
}

static void break_for(struct scene *scene, struct hold_merchant *merchant, int64_t now_ms)
{
    for (unsigned i = 0; i < HOLD_OUTAGES; i++) {
        (void)calls(scene, merchant, &silence, now_ms);
    }
}

Test(hold, one_merchant_without_answers_breaks_no_host_for_others)
{
    struct scene scene;
    scene_begin(&scene, 2);
    (void)calls(&scene, &scene.b, &result, 0);
    break_for(&scene, &scene.a, 100);
    break_for(&scene, &scene.a, 200);
    cr_assert_str_eq(state(&scene, &scene.a), "broken");
    for (int64_t now_ms = 300; now_ms < 3600000; now_ms += 100) {
        cr_assert_eq(calls(&scene, &scene.b, &result, now_ms), 0);
        struct hold_permit permit = hold_ask(&scene.hold, &scene.a, now_ms);
        if (permit.verdict == HOLD_PROBE) {
            ends(&scene, &scene.a, hold_begin(&scene.hold, &scene.a, permit, now_ms), &silence,
                 now_ms);
        }
        cr_assert_not(hold_down(&scene.hold));
        cr_assert_not(scene.hold.hosts[0].circuit.broken);
    }
    struct hold_own own;
    cr_assert(hold_own(&scene.hold, &scene.a, &own));
    cr_assert_eq(own.reason, REASON_UNAVAILABLE);
    cr_assert_eq(own.since_ms, 200);
    cr_assert_not(hold_own(&scene.hold, &scene.b, &own));
}

Test(hold, two_merchants_break_a_host)
{
    struct scene scene;
    scene_begin(&scene, 1);
    (void)calls(&scene, &scene.a, &result, 0);
    (void)calls(&scene, &scene.b, &result, 0);
    break_for(&scene, &scene.a, 100);
    break_for(&scene, &scene.b, 100);
    cr_assert_not(hold_down(&scene.hold), "a burst does not suffice");
    (void)probes(&scene, &scene.a, &silence, 100 + HOLD_PROBE_FIRST_MS);
    cr_assert_not(hold_down(&scene.hold));
    (void)probes(&scene, &scene.b, &silence, 100 + HOLD_SILENT_MS);
    cr_assert(hold_down(&scene.hold));
    struct hold_own own;
    cr_assert_not(hold_own(&scene.hold, &scene.a, &own),
                  "an outage of the endpoint is not a merchant's own");
}

Test(hold, the_only_active_merchant_breaks_a_host)
{
    struct scene scene;
    scene_begin(&scene, 1);
    (void)calls(&scene, &scene.b, &result, 0);
    (void)calls(&scene, &scene.a, &result, 1);
    int64_t now_ms = HOLD_ACTIVE_MS - 2000;
    break_for(&scene, &scene.a, now_ms);
    (void)probes(&scene, &scene.a, &silence, HOLD_ACTIVE_MS - 1);
    cr_assert_not(hold_down(&scene.hold), "the other one was answered lately");
    (void)probes(&scene, &scene.a, &silence, HOLD_ACTIVE_MS + 2000);
    cr_assert(hold_down(&scene.hold));
    struct hold_own own;
    cr_assert(hold_own(&scene.hold, &scene.a, &own),
              "by its report alone: relief applies to its events");
    cr_assert_not(hold_own(&scene.hold, &scene.b, &own), "it asked for nothing");
    /* Another merchant becomes active and has reported nothing. */
    (void)probes(&scene, &scene.b, &result, HOLD_ACTIVE_MS + 2001);
    cr_assert_not(hold_down(&scene.hold));
    cr_assert_str_eq(state(&scene, &scene.a), "broken");
    cr_assert_str_eq(state(&scene, &scene.b), "open");
    (void)probes(&scene, &scene.a, &result, HOLD_ACTIVE_MS + 2002);
    cr_assert_str_eq(state(&scene, &scene.a), "open", "probed at once");
}

Test(hold, a_second_reporter_breaks_the_host_for_all)
{
    struct scene scene;
    scene_begin(&scene, 1);
    break_for(&scene, &scene.a, 0);
    (void)probes(&scene, &scene.a, &silence, HOLD_SILENT_MS);
    cr_assert(hold_down(&scene.hold));
    (void)probes(&scene, &scene.b, &silence, HOLD_SILENT_MS + 1);
    cr_assert_eq(hold_ask(&scene.hold, &scene.b, HOLD_SILENT_MS + 2).verdict, HOLD_WAIT);
}

Test(hold, the_delay_between_probes_doubles_up_to_a_bound)
{
    struct scene scene;
    scene_begin(&scene, 1);
    break_for(&scene, &scene.a, 5000);
    int64_t now_ms = 5000, delay_ms = HOLD_PROBE_FIRST_MS;
    for (int i = 0; i < 9; i++) {
        now_ms = hold_ask(&scene.hold, &scene.a, now_ms).wait_ms;
        (void)probes(&scene, &scene.a, &silence, now_ms);
        if (i > 2) { /* the host's circuit broke later, so its first probe is later */
            int64_t wait_ms = hold_ask(&scene.hold, &scene.a, now_ms).wait_ms - now_ms;
            cr_assert_geq(wait_ms, delay_ms);
            cr_assert_leq(wait_ms, HOLD_PROBE_MAX_MS);
            delay_ms = wait_ms;
        }
    }
    cr_assert_eq(delay_ms, HOLD_PROBE_MAX_MS);
}

Test(hold, a_probe_without_answer_does_not_delay_other_merchants_probes)
{
    struct scene scene;
    scene_begin(&scene, 1);
    break_for(&scene, &scene.a, 0);
    (void)probes(&scene, &scene.a, &silence, HOLD_SILENT_MS);
    cr_assert(hold_down(&scene.hold));
    struct hold_ticket hangs = begins(&scene, &scene.a, HOLD_PROBE, 2000);
    waits(&scene, &scene.a, 60000, 0);
    struct hold_ticket other = begins(&scene, &scene.b, HOLD_PROBE, 2001);
    cr_assert_eq(scene.hold.probes, 2);
    ends(&scene, &scene.b, other, &result, 2002);
    cr_assert_not(hold_down(&scene.hold));
    ends(&scene, &scene.a, hangs, &silence, 12000);
    cr_assert_eq(scene.hold.probes, 0);
    cr_assert_not(hold_down(&scene.hold), "it began before the circuit closed");
}

Test(hold, the_number_of_probes_in_flight_is_limited)
{
    struct scene scene;
    scene_begin(&scene, 1);
    scene.hold.rules.probes_max = 1;
    break_for(&scene, &scene.a, 0);
    break_for(&scene, &scene.b, 0);
    struct hold_ticket probe = begins(&scene, &scene.a, HOLD_PROBE, HOLD_PROBE_FIRST_MS);
    waits(&scene, &scene.b, HOLD_PROBE_FIRST_MS, 0);
    ends(&scene, &scene.a, probe, &silence, HOLD_PROBE_FIRST_MS + 1);
    (void)begins(&scene, &scene.b, HOLD_PROBE, HOLD_PROBE_FIRST_MS + 1);
}

Test(hold, a_probe_that_was_not_sent_is_repeated_at_once)
{
    struct scene scene;
    scene_begin(&scene, 1);
    break_for(&scene, &scene.a, 0);
    (void)probes(&scene, &scene.a, &unsent, HOLD_PROBE_FIRST_MS);
    (void)probes(&scene, &scene.a, &shortage, HOLD_PROBE_FIRST_MS);
    cr_assert_eq(hold_ask(&scene.hold, &scene.a, HOLD_PROBE_FIRST_MS).verdict, HOLD_WAIT,
                 "not while descriptors are short");
}

Test(hold, a_local_shortage_is_not_an_outage)
{
    struct scene scene;
    scene_begin(&scene, 1);
    for (int64_t now_ms = 0; now_ms < 60000; now_ms += 1000) {
        (void)calls(&scene, &scene.a, &shortage, now_ms);
    }
    cr_assert_str_eq(state(&scene, &scene.a), "open");
}

Test(hold, a_name_that_cannot_be_resolved_breaks_the_host_at_once)
{
    struct scene scene;
    scene_begin(&scene, 2);
    cr_assert_eq(calls(&scene, &scene.a, &no_name, 0), 0);
    cr_assert_eq(calls(&scene, &scene.b, &result, 1), 1);
    cr_assert_eq(calls(&scene, &scene.a, &no_name, 2), 1);
    cr_assert(hold_down(&scene.hold));
    cr_assert_eq(probes(&scene, &scene.b, &result, HOLD_PROBE_FIRST_MS), 0);
    (void)calls(&scene, &scene.a, &result, HOLD_PROBE_FIRST_MS + 1);
}

Test(hold, retry_after_of_a_5xx_breaks_the_merchants_circuit)
{
    struct scene scene;
    struct answer answer = silence;
    scene_begin(&scene, 2);
    (void)calls(&scene, &scene.b, &result, 0);
    answer.status = 503;
    answer.retry_after_ms = 30000;
    cr_assert_eq(calls(&scene, &scene.a, &answer, 1000), 0);
    cr_assert_eq(calls(&scene, &scene.b, &result, 1001), 0, "for that merchant only");
    cr_assert_eq(calls(&scene, &scene.a, &result, 1001), 1, "the other host comes first");
    cr_assert_eq(calls(&scene, &scene.a, &result, 30999), 1);
    cr_assert_eq(probes(&scene, &scene.a, &result, 31000), 0);
    answer.retry_after_ms = 3600000;
    cr_assert_eq(calls(&scene, &scene.a, &answer, 40000), 0);
    cr_assert_eq(calls(&scene, &scene.a, &result, 40000 + HOLD_RETRY_AFTER_MAX_MS - 1), 1);
    cr_assert_eq(probes(&scene, &scene.a, &answer, 40000 + HOLD_RETRY_AFTER_MAX_MS), 0);
    cr_assert_eq(calls(&scene, &scene.a, &result, 40000 + 2 * HOLD_RETRY_AFTER_MAX_MS - 1), 1);
    scene.last_ms = 175000;
    cr_assert_eq(probes(&scene, &scene.a, &answer, 160000), 0);
    cr_assert_eq(calls(&scene, &scene.a, &result, 174999), 1);
    cr_assert_eq(probes(&scene, &scene.a, &result, 175000), 0, "the event's last attempt");
}

/* The event may be the cause, so this says nothing about the host. */
Test(hold, an_outage_of_one_event_alone_does_not_count)
{
    struct scene scene;
    scene_begin(&scene, 1);
    for (int64_t now_ms = 0; now_ms < 60000; now_ms += 1000) {
        struct hold_ticket ticket = begins(&scene, &scene.a, HOLD_CALL, now_ms);
        struct hold_end end = {
            .answer = &silence, .own_outage = true, .now_ms = now_ms, .last_ms = scene.last_ms};
        hold_ended(&scene.hold, &scene.a, ticket, &end);
    }
    cr_assert_eq(scene.a.circuits[0].outages, 0);
    cr_assert_str_eq(state(&scene, &scene.a), "open");
}

Test(hold, a_500_is_not_an_outage)
{
    struct scene scene;
    struct answer answer = failure;
    scene_begin(&scene, 1);
    answer.retry_after_ms = 3600000;
    for (int64_t now_ms = 0; now_ms < 60000; now_ms += 1000) {
        (void)calls(&scene, &scene.a, &answer, now_ms);
    }
    cr_assert_str_eq(state(&scene, &scene.a), "open");
}

Test(hold, a_reload_with_other_hosts_resets_all_circuits)
{
    struct scene scene;
    struct hold_rules rules = rules_with(2);
    scene_begin(&scene, 1);
    break_for(&scene, &scene.a, 0);
    (void)probes(&scene, &scene.a, &silence, HOLD_SILENT_MS);
    struct hold_ticket probe = begins(&scene, &scene.a, HOLD_PROBE, 9000);
    hold_configure(&scene.hold, &rules);
    hold_merchant_reset_hosts(&scene.a);
    cr_assert_str_eq(state(&scene, &scene.a), "open");
    ends(&scene, &scene.a, probe, &result, 9001);
    probe.host = 1;
    rules.host_count = 1;
    hold_configure(&scene.hold, &rules);
    probe.probe = false;
    ends(&scene, &scene.a, probe, &silence, 9002);
    cr_assert_eq(scene.hold.hosts[1].circuit.outages, 0, "a host that was removed");
}

Test(hold, every_why_has_a_name)
{
    for (enum hold_why why = 0; why < HOLD_WHY_COUNT; why++) {
        cr_assert_not_null(hold_why_name(why));
    }
    cr_assert_str_eq(hold_why_name(HOLD_WHY_ENDPOINT), "endpoint_down");
}
