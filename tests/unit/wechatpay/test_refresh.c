/* What an answer with a list means, and when the next one is fetched. */
#include "presignd/wechatpay/refresh.h"

#include "unit/wechatpay/lists.h"

#define NOW_S   INT64_C(1800000000)
#define DAY_S   INT64_C(86400)
#define HOUR_MS INT64_C(3600000)

/* Keys of two certificates of WeChat Pay's, its public key, and a merchant that has none of them.
 * New keys take long to make. */
struct bench {
    EVP_PKEY *old, *new, *public;
    struct merchant merchant;
    struct signed_list answer;
};

static struct bench bench_new(void)
{
    static char apiv3_key[] = LISTS_KEY;
    char *error = NULL;
    struct bench bench = {.old = key_private_read(MERCHANT, &error), .new = rsa_new(2048)};
    cr_assert_not_null(bench.old, "%s", error);
    bench.public = bench.new;
    bench.merchant =
        (struct merchant){.platform_keys = platform_keys_new(), .apiv3_key = apiv3_key};
    return bench;
}

static void bench_free_at(struct bench *bench)
{
    platform_keys_unref(bench->merchant.platform_keys);
    signed_list_deinit(&bench->answer);
    EVP_PKEY_free(bench->old);
    EVP_PKEY_free(bench->new);
}
#define BENCH AUTO(bench_free_at) struct bench bench = bench_new()

static struct listed certificate(EVP_PKEY *key, const char *serial)
{
    return (struct listed){key, serial, NOW_S - DAY_S, NOW_S + 300 * DAY_S};
}

/* Judges and, as the refresher does, takes what is accepted. */
static struct refresh_verdict judge(struct bench *bench, const struct caller_got *got)
{
    struct certificate_list list = {0};
    struct refresh_verdict verdict = refresh_judge(&bench->merchant, got, NOW_S, &list);
    cr_assert_eq(verdict.end == REFRESH_OK, list.count > 0);
    cr_assert_eq(verdict.is_fault, verdict.text[0] != '\0');
    if (list.count > 0) {
        (void)platform_keys_set(bench->merchant.platform_keys, list.items, list.count,
                                list.signed_s);
        list.count = 0;
    }
    certificate_list_deinit(&list);
    return verdict;
}

static struct refresh_verdict judge_list(struct bench *bench, const struct listed *items,
                                         size_t count, EVP_PKEY *signer, const char *serial)
{
    signed_list_deinit(&bench->answer);
    signed_list_make(&bench->answer, LISTS_KEY, items, count, signer, serial, NOW_S);
    struct caller_got got = signed_list_got(&bench->answer);
    return judge(bench, &got);
}

static struct refresh_verdict judge_status(struct bench *bench, int status, const char *body)
{
    struct caller_got got = {.status = status,
                             .reason = status == 0 ? "the connection was refused" : NULL,
                             .input.verify = {.body = body, .body_len = strlen(body)}};
    return judge(bench, &got);
}

static void give_public_key(struct bench *bench)
{
    bench->merchant.verify_keys[0] = (struct verify_key){
        .serial = "PUB_KEY_ID_01", .key = bench->public, .not_after_ms = INT64_MAX};
    bench->merchant.verify_key_count = 1;
}

Test(refresh, a_list_is_verified_by_a_key_that_it_brings)
{
    BENCH;
    struct listed items[] = {certificate(bench.old, "0A")};
    cr_assert_eq(judge_list(&bench, items, 1, bench.old, "0A").end, REFRESH_OK);
    cr_assert(merchant_has_keys(&bench.merchant, NOW_S));
}

Test(refresh, a_missed_switch_does_not_lock_the_merchant_out)
{
    BENCH;
    struct listed before[] = {certificate(bench.old, "0A")};
    struct listed after[] = {certificate(bench.new, "0B")};
    cr_assert_eq(judge_list(&bench, before, 1, bench.old, "0A").end, REFRESH_OK);
    cr_assert_eq(judge_list(&bench, after, 1, bench.new, "0B").end, REFRESH_OK);
    size_t count;
    cr_assert_str_eq(platform_keys_get(bench.merchant.platform_keys, &count)->serial, "0B");
    cr_assert_eq(count, 1);
}

Test(refresh, certificates_out_of_their_time_do_not_replace_valid_ones)
{
    BENCH;
    struct listed good[] = {certificate(bench.old, "0A")};
    struct listed ended[] = {{bench.new, "0B", NOW_S - 9 * DAY_S, NOW_S - DAY_S}};
    struct listed later[] = {{bench.new, "0C", NOW_S + DAY_S, NOW_S + 9 * DAY_S}};
    bench.merchant.verify_keys[0] =
        (struct verify_key){.serial = "0D", .key = bench.old, .not_after_ms = INT64_MAX};
    bench.merchant.verify_key_count = 1;
    cr_assert_eq(judge_list(&bench, later, 1, bench.old, "0D").end, REFRESH_OK, "none is known");
    cr_assert_eq(judge_list(&bench, good, 1, bench.old, "0D").end, REFRESH_OK);
    for (int i = 0; i < 2; i++) {
        struct refresh_verdict verdict =
            judge_list(&bench, i == 0 ? ended : later, 1, bench.old, "0D");
        cr_assert(verdict.end == REFRESH_UNVERIFIED && verdict.is_fault);
        cr_assert(strstr(verdict.text, "clock") != NULL);
    }
    size_t count;
    cr_assert_str_eq(platform_keys_get(bench.merchant.platform_keys, &count)->serial, "0A");
    cr_assert_eq(count, 1);
}

/* Its signature is good for five minutes. */
Test(refresh, an_older_list_does_not_replace_a_newer_one)
{
    BENCH;
    struct listed before[] = {certificate(bench.old, "0A")};
    struct listed after[] = {certificate(bench.old, "0A"), certificate(bench.new, "0B")};
    AUTO(signed_list_deinit) struct signed_list old = {0};
    signed_list_make(&old, LISTS_KEY, before, 1, bench.old, "0A", NOW_S - 6);
    struct caller_got replayed = signed_list_got(&old);
    cr_assert_eq(judge_list(&bench, before, 1, bench.old, "0A").end, REFRESH_OK);
    struct refresh_verdict verdict = judge(&bench, &replayed);
    cr_assert(verdict.end == REFRESH_UNVERIFIED && verdict.is_fault);
    cr_assert(strstr(verdict.text, "older than the one in use") != NULL);
    cr_assert_eq(judge_list(&bench, after, 2, bench.old, "0A").end, REFRESH_OK);
    cr_assert_eq(judge(&bench, &replayed).end, REFRESH_UNVERIFIED);
    size_t count;
    (void)platform_keys_get(bench.merchant.platform_keys, &count);
    cr_assert_eq(count, 2);
    signed_list_deinit(&old);
    signed_list_make(&old, LISTS_KEY, before, 1, bench.old, "0A", NOW_S - 5);
    replayed = signed_list_got(&old);
    cr_assert_eq(judge(&bench, &replayed).end, REFRESH_OK, "the clock of another host");
}

Test(refresh, a_wrong_key_with_the_same_serial_does_not_stay)
{
    BENCH;
    struct listed wrong[] = {certificate(bench.new, "0A"), certificate(bench.old, "0A")};
    struct listed right[] = {certificate(bench.old, "0A")};
    bench.merchant.verify_keys[0] =
        (struct verify_key){.serial = "0B", .key = bench.old, .not_after_ms = INT64_MAX};
    bench.merchant.verify_key_count = 1;
    cr_assert_eq(judge_list(&bench, wrong, 2, bench.old, "0B").end, REFRESH_OK);
    cr_assert_eq(judge_list(&bench, right, 1, bench.new, "0B").end, REFRESH_UNVERIFIED);
    cr_assert_eq(judge_list(&bench, right, 1, bench.old, "0A").end, REFRESH_OK);
    size_t count;
    const struct verify_key *keys = platform_keys_get(bench.merchant.platform_keys, &count);
    cr_assert(count == 1 && EVP_PKEY_eq(keys[0].key, bench.old) == 1);
}

Test(refresh, a_trusted_key_verifies_a_list_that_does_not_bring_it)
{
    BENCH;
    struct listed items[] = {certificate(bench.old, "0A")};
    give_public_key(&bench);
    cr_assert_eq(judge_list(&bench, items, 1, bench.public, "PUB_KEY_ID_01").end, REFRESH_OK);
    bench.merchant.verify_key_count = 0;
    struct refresh_verdict verdict = judge_list(&bench, items, 1, bench.public, "PUB_KEY_ID_01");
    cr_assert_eq(verdict.end, REFRESH_UNVERIFIED);
    cr_assert(strstr(verdict.text, "configure wechatpay_public_key") != NULL);
}

Test(refresh, a_wrong_signature_refuses_the_list)
{
    BENCH;
    struct listed items[] = {certificate(bench.old, "0A")};
    cr_assert_eq(judge_list(&bench, items, 1, bench.new, "0A").end, REFRESH_UNVERIFIED);
    cr_assert_eq(judge_list(&bench, items, 1, bench.new, "0B").end, REFRESH_UNVERIFIED);
    signed_list_make(&bench.answer, LISTS_KEY, items, 1, bench.old, "0A", NOW_S);
    struct caller_got got = signed_list_got(&bench.answer);
    got.input.verify.signature = NULL;
    cr_assert_eq(judge(&bench, &got).end, REFRESH_UNVERIFIED);
    got = signed_list_got(&bench.answer);
    got.input.verify.signature = "WECHATPAY/SIGNTEST/abc";
    cr_assert_eq(judge(&bench, &got).end, REFRESH_UNVERIFIED);
    got = signed_list_got(&bench.answer);
    got.input.verify.signature_type = "WECHATPAY2-SM2-WITH-SM3";
    cr_assert_eq(judge(&bench, &got).end, REFRESH_UNVERIFIED);
    cr_assert_not(merchant_has_keys(&bench.merchant, NOW_S));
}

Test(refresh, a_wrong_apiv3_key_is_named_whoever_signed)
{
    BENCH;
    struct listed items[] = {certificate(bench.old, "0A")};
    bench.merchant.apiv3_key[0] ^= 1;
    struct refresh_verdict verdict = judge_list(&bench, items, 1, bench.old, "0A");
    cr_assert_eq(verdict.end, REFRESH_UNDECRYPTABLE);
    cr_assert(strstr(verdict.text, "apiv3_key") != NULL);
    give_public_key(&bench);
    verdict = judge_list(&bench, items, 1, bench.public, "PUB_KEY_ID_01");
    cr_assert_eq(verdict.end, REFRESH_UNDECRYPTABLE);
    verdict = judge_list(&bench, items, 1, bench.old, "PUB_KEY_ID_01");
    cr_assert_eq(verdict.end, REFRESH_UNVERIFIED, "a wrong signature says nothing of the key");
    bench.merchant.apiv3_key[0] ^= 1;
}

Test(refresh, certificates_outside_their_time_are_kept_and_not_used)
{
    BENCH;
    struct listed items[] = {{bench.old, "0A", NOW_S - 9 * DAY_S, NOW_S - DAY_S},
                             {bench.new, "0B", NOW_S + DAY_S, NOW_S + 9 * DAY_S}};
    give_public_key(&bench);
    cr_assert_eq(judge_list(&bench, items, 2, bench.public, "PUB_KEY_ID_01").end, REFRESH_OK);
    bench.merchant.verify_key_count = 0;
    cr_assert_not(merchant_has_keys(&bench.merchant, NOW_S));
    cr_assert(merchant_has_keys(&bench.merchant, NOW_S + DAY_S));
    cr_assert_not(merchant_has_keys(&bench.merchant, NOW_S + 10 * DAY_S));
    cr_assert_eq(judge_list(&bench, items, 2, bench.old, "0A").end, REFRESH_UNVERIFIED,
                 "an expired certificate verifies nothing");
}

Test(refresh, our_clock_before_a_certificates_time_is_named)
{
    BENCH;
    struct listed items[] = {certificate(bench.old, "0A")};
    signed_list_make(&bench.answer, LISTS_KEY, items, 1, bench.old, "0A", NOW_S + 2 * DAY_S);
    struct caller_got got = signed_list_got(&bench.answer);
    struct refresh_verdict verdict = judge(&bench, &got);
    cr_assert_eq(verdict.end, REFRESH_UNVERIFIED);
    cr_assert(strstr(verdict.text, "set the clock") != NULL);
}

Test(refresh, no_certificates_are_no_fault_beside_a_public_key)
{
    static const char none[] = "{\"code\":\"RESOURCE_NOT_EXISTS\",\"message\":\"\"}";
    static const char error[] = "{\"code\":\"SYSTEM_ERROR\"}";
    BENCH;
    cr_assert_eq(judge_status(&bench, 404, none).end, REFRESH_NONE);
    cr_assert(judge_status(&bench, 404, none).is_fault);
    cr_assert(judge_status(&bench, 500, error).is_fault);
    cr_assert_eq(judge_list(&bench, NULL, 0, bench.old, "0A").end, REFRESH_UNVERIFIED);
    give_public_key(&bench);
    cr_assert_eq(judge_status(&bench, 404, none).end, REFRESH_NONE);
    cr_assert_not(judge_status(&bench, 404, none).is_fault);
    cr_assert_eq(judge_status(&bench, 500, error).end, REFRESH_NONE);
    cr_assert_not(judge_status(&bench, 500, error).is_fault);
    struct refresh_verdict empty = judge_list(&bench, NULL, 0, bench.public, "PUB_KEY_ID_01");
    cr_assert_eq(empty.end, REFRESH_NONE);
    cr_assert_not(empty.is_fault);
    struct listed items[] = {certificate(bench.old, "0A")};
    cr_assert_eq(judge_list(&bench, items, 1, bench.old, "0A").end, REFRESH_OK);
    cr_assert_eq(judge_status(&bench, 500, error).end, REFRESH_UNREACHABLE,
                 "an outage for a merchant that has certificates");
}

Test(refresh, other_answers_are_no_list)
{
    BENCH;
    cr_assert_eq(judge_status(&bench, 0, "").end, REFRESH_UNREACHABLE);
    cr_assert_str_eq(judge_status(&bench, 0, "").reason, "the connection was refused");
    cr_assert_eq(judge_status(&bench, 401, "").end, REFRESH_UNAUTHORIZED);
    cr_assert_eq(judge_status(&bench, 404, "<html>").end, REFRESH_UNREACHABLE);
    cr_assert_eq(judge_status(&bench, 503, "").end, REFRESH_UNREACHABLE);
    cr_assert_eq(judge_status(&bench, 429, "").status, 429);
    cr_assert_eq(judge_status(&bench, 200, "<html>").end, REFRESH_UNVERIFIED);
    give_public_key(&bench);
    AUTO_BUF struct buf body = {0};
    buf_puts(&body, "{\"data\":{}}");
    signed_list_sign(&bench.answer, &body, bench.public, "PUB_KEY_ID_01", NOW_S);
    struct caller_got got = signed_list_got(&bench.answer);
    cr_assert_eq(judge(&bench, &got).end, REFRESH_UNREACHABLE);
    for (int end = 0; end < REFRESH_END_COUNT; end++) {
        cr_assert(refresh_end_name((enum refresh_end)end)[0] != '\0');
    }
}

Test(refresh, retry_after_is_read_from_answers_without_a_list)
{
    static const struct {
        int status;
        const char *text;
        int64_t wait_ms;
    } rows[] = {{503, NULL, 0},
                {503, "120", 120000},
                {429, "120", 120000},
                {503, "99999999999", REFRESH_RETRY_AFTER_MAX_MS},
                {503, "Fri, 15 Jan 2027 08:01:30 GMT", 90000},
                {503, "Fri, 15 Jan 2027 07:00:00 GMT", 0},
                {503, "soon", 0},
                {200, "120", 0}};
    BENCH;
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct caller_got got = {.status = rows[i].status,
                                 .input = {.verify = {.body = ""}, .retry_after = rows[i].text}};
        cr_expect_eq(judge(&bench, &got).retry_after_ms, rows[i].wait_ms, "row %zu", i);
    }
}

/* The merchant has no key, so a 500 may mean that it has no certificates. */
Test(refresh, the_other_host_is_asked_after_what_a_host_alone_may_answer)
{
    static const struct {
        int status;
        const char *body;
        bool other;
    } rows[] = {{0, "", true},
                {503, "", true},
                {500, "{\"code\":\"SYSTEM_ERROR\"}", true},
                {404, "<html>", true},
                {404, "{\"code\":\"RESOURCE_NOT_EXISTS\"}", false},
                {401, "", false},
                {429, "", false},
                {200, "", false}};
    BENCH;
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct refresh_verdict verdict = judge_status(&bench, rows[i].status, rows[i].body);
        cr_expect_eq(refresh_asks_other_host(&verdict), rows[i].other, "row %zu", i);
    }
}

Test(refresh, its_urgency_depends_on_what_is_wrong)
{
    BENCH;
    struct refresh_verdict unreachable = {.end = REFRESH_UNREACHABLE, .is_fault = true};
    struct refresh_verdict refused = {.end = REFRESH_UNAUTHORIZED, .is_fault = true};
    struct refresh_verdict ok = {.end = REFRESH_OK};
    struct refresh_verdict none = {.end = REFRESH_NONE};
    cr_assert_eq(refresh_urgency_of(&bench.merchant, &unreachable, NOW_S), REFRESH_URGENT);
    cr_assert_eq(refresh_urgency_of(&bench.merchant, &refused, NOW_S), REFRESH_AMISS);
    cr_assert_eq(refresh_urgency_of(&bench.merchant, &none, NOW_S), REFRESH_USUAL);
    struct listed items[] = {{bench.old, "0A", NOW_S - DAY_S, NOW_S + 9 * DAY_S}};
    cr_assert_eq(judge_list(&bench, items, 1, bench.old, "0A").end, REFRESH_OK);
    cr_assert_eq(refresh_urgency_of(&bench.merchant, &unreachable, NOW_S), REFRESH_AMISS);
    cr_assert_eq(refresh_urgency_of(&bench.merchant, &ok, NOW_S), REFRESH_USUAL);
    cr_assert_eq(refresh_urgency_of(&bench.merchant, &ok, NOW_S + 8 * DAY_S), REFRESH_AMISS,
                 "the certificates end soon");
}

Test(refresh, it_comes_every_six_hours_and_hourly_while_something_is_amiss)
{
    static const struct {
        enum refresh_urgency urgency;
        int64_t least_ms, most_ms;
    } rows[] = {{REFRESH_USUAL, 288 * INT64_C(60000), 432 * INT64_C(60000)},
                {REFRESH_AMISS, 48 * INT64_C(60000), 72 * INT64_C(60000)},
                {REFRESH_URGENT, 60000, 90000}};
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct refresh_schedule schedule;
        refresh_schedule_init(&schedule, 1000);
        cr_assert_eq(schedule.due_ms, 1000);
        refresh_schedule_begin(&schedule, 2000);
        cr_assert(refresh_schedule_runs(&schedule));
        int64_t first_ms = INT64_MAX, last_ms = 0;
        for (uint64_t n = 0; n < 1000; n++) {
            refresh_schedule_end(&schedule, rows[i].urgency, 0, 5000,
                                 n * UINT64_C(0x9e3779b97f4a7c15));
            cr_assert_not(refresh_schedule_runs(&schedule));
            int64_t after_ms = schedule.due_ms - 5000;
            first_ms = after_ms < first_ms ? after_ms : first_ms;
            last_ms = after_ms > last_ms ? after_ms : last_ms;
        }
        cr_assert(first_ms >= rows[i].least_ms && last_ms <= rows[i].most_ms);
        cr_assert_gt(last_ms - first_ms, (rows[i].most_ms - rows[i].least_ms) * 9 / 10);
    }
}

Test(refresh, it_comes_at_once_when_wanted_but_once_a_minute)
{
    struct refresh_schedule schedule;
    refresh_schedule_init(&schedule, 7000);
    refresh_schedule_want(&schedule, 1000);
    cr_assert_eq(schedule.due_ms, 7000, "it is due already");
    refresh_schedule_begin(&schedule, 8000);
    refresh_schedule_want(&schedule, 9000);
    cr_assert(refresh_schedule_runs(&schedule), "one at a time");
    refresh_schedule_end(&schedule, REFRESH_USUAL, 0, 10000, 0);
    refresh_schedule_want(&schedule, 11000);
    cr_assert_eq(schedule.due_ms, 8000 + REFRESH_AT_ONCE_MS);
    refresh_schedule_want(&schedule, 5 * HOUR_MS);
    cr_assert_eq(schedule.due_ms, 8000 + REFRESH_AT_ONCE_MS, "not later than before");
    refresh_schedule_begin(&schedule, HOUR_MS);
    refresh_schedule_end(&schedule, REFRESH_AMISS, 0, HOUR_MS + 5000, 0);
    refresh_schedule_want(&schedule, HOUR_MS + 70000);
    cr_assert_eq(schedule.due_ms, HOUR_MS + 70000, "at once");
}

Test(refresh, nothing_comes_before_retry_after_but_what_an_operator_changes)
{
    struct refresh_schedule schedule;
    refresh_schedule_init(&schedule, 1000);
    refresh_schedule_begin(&schedule, 1000);
    refresh_schedule_end(&schedule, REFRESH_URGENT, 300000, 2000, 0);
    cr_assert_eq(schedule.due_ms, 302000);
    refresh_schedule_want(&schedule, 100000);
    cr_assert_eq(schedule.due_ms, 302000);
    refresh_schedule_begin(&schedule, 302000);
    refresh_schedule_end(&schedule, REFRESH_AMISS, 300000, 303000, 0);
    cr_assert_gt(schedule.due_ms, 603000, "later than it asks for");
    refresh_schedule_want(&schedule, 400000);
    cr_assert_eq(schedule.due_ms, 603000);
    refresh_schedule_begin(&schedule, 603000);
    refresh_schedule_want(&schedule, 604000);
    refresh_schedule_end(&schedule, REFRESH_USUAL, 0, 605000, 0);
    refresh_schedule_want(&schedule, 605000);
    cr_assert_eq(schedule.due_ms, 603000 + REFRESH_AT_ONCE_MS, "it is forgotten");
    refresh_schedule_init(&schedule, 606000);
    cr_assert_eq(schedule.due_ms, 606000);
}
