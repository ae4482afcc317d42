#include "unit/flow/world.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define NOW_MS INT64_C(1795000000000)

/* Admits one event with fresh rules. */
static struct admission admitted(const struct world *world, const char *type,
                                 const char *attributes, const char *data)
{
    struct admission admission;
    struct record record = record_of(type, attributes, data);
    admit(&world->rules, &record, NOW_MS, &admission);
    free((void *)record.value);
    return admission;
}

static void expect(const struct world *world, const char *type, const char *attributes,
                   const char *data, enum reason reason)
{
    struct admission admission = admitted(world, type, attributes, data);
    cr_assert_str_eq(reason_name(admission.reason), reason_name(reason), "%s %s: %s", type,
                     attributes, admission.message);
    cr_assert_eq(admission.message[0] == '\0', reason == REASON_NONE);
    cr_assert_eq(admission.body == NULL, reason != REASON_NONE);
    admission_deinit(&admission);
}

Test(admit, a_valid_event_can_be_called)
{
    AUTO_WORLD struct world world = world_new();
    struct admission admission = admitted(&world, APP, "\"mchid\":\"" DIRECT "\",", APP_DATA);
    cr_assert_eq(admission.reason, REASON_NONE, "%s", admission.message);
    cr_assert_str_eq(admission.endpoint->name, "app");
    cr_assert_str_eq(admission.mchid, DIRECT);
    cr_assert_str_eq(admission.merchant->mchid, DIRECT);
    cr_assert_str_eq(admission.out_contract_code, "wxwtdk20200910100000");
    cr_assert_eq(admission.expires_ms, INT64_MAX);
    cr_assert_eq(admission.body_len, strlen(APP_DATA));
    cr_assert_eq(memcmp(admission.body, APP_DATA, admission.body_len), 0, "%.*s",
                 (int)admission.body_len, admission.body);
    admission_deinit(&admission);
}

Test(admit, the_first_failing_check_gives_the_reason)
{
    AUTO_WORLD struct world world = world_new();
    const char *past = "\"expirytime\":\"2020-01-01T00:00:00Z\",\"mchid\":\"9\",";
    expect(&world, "elsewhere", past, "{}", REASON_UNKNOWN_TYPE);
    expect(&world, APP, past, "{}", REASON_INVALID_REQUEST);
    expect(&world, APP, past, APP_DATA, REASON_EXPIRED);
    expect(&world, APP, "\"mchid\":\"9\",", APP_DATA, REASON_UNKNOWN_MERCHANT);
    expect(&world, "elsewhere", "\"expirytime\":\"soon\",", "{}", REASON_INVALID_CLOUDEVENT);
    world.rules.event_bytes_max = 20;
    expect(&world, APP, past, APP_DATA, REASON_EVENT_TOO_LARGE);
    struct admission admission;
    admit(&world.rules, &(struct record){.topic = "t"}, NOW_MS, &admission);
    cr_assert_eq(admission.reason, REASON_EMPTY_EVENT);
    admission_deinit(&admission);
}

Test(admit, readable_members_are_kept_for_the_failure)
{
    AUTO_WORLD struct world world = world_new();
    struct admission admission =
        admitted(&world, APP, "", "{\"out_contract_code\":\"abc123\",\"plan_id\":\"twelve\"}");
    cr_assert_eq(admission.reason, REASON_INVALID_REQUEST);
    cr_assert_str_eq(admission.message, "data does not match app.request.json");
    cr_assert_str_eq(admission.out_contract_code, "abc123");
    cr_assert_str_eq(admission.endpoint->name, "app");
    cr_assert_geq(admission.errors.count, 2);
    admission_deinit(&admission);
}

Test(admit, an_invalid_contract_code_is_not_kept)
{
    AUTO_WORLD struct world world = world_new();
    const char *const wrong[] = {"{\"out_contract_code\":\"a b\"}",
                                 "{\"out_contract_code\":\"\"}",
                                 "{\"out_contract_code\":7}",
                                 "{\"out_contract_code\":\"123456789012345678901234567890123\"}",
                                 "[]",
                                 "null"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct admission admission = admitted(&world, APP, "", wrong[i]);
        cr_assert_eq(admission.reason, REASON_INVALID_REQUEST, "%s", wrong[i]);
        cr_assert_str_eq(admission.out_contract_code, "");
        cr_assert_gt(admission.errors.count, 0);
        admission_deinit(&admission);
    }
}

Test(admit, an_event_expires_at_its_expirytime)
{
    AUTO_WORLD struct world world = world_new();
    struct record record = record_of(APP, "\"expirytime\":\"2026-11-23T08:00:00.500Z\",", APP_DATA);
    const int64_t expiry_ms = INT64_C(1795420800500);
    struct admission admission;
    admit(&world.rules, &record, expiry_ms - 1, &admission);
    cr_assert_eq(admission.reason, REASON_NONE, "%s", admission.message);
    cr_assert_eq(admission.expires_ms, expiry_ms);
    admission_deinit(&admission);
    admit(&world.rules, &record, expiry_ms, &admission);
    cr_assert_eq(admission.reason, REASON_EXPIRED);
    admission_deinit(&admission);
    free((void *)record.value);
}

Test(admit, age_counts_from_the_record_and_the_earlier_end_applies)
{
    AUTO_WORLD struct world world = world_new();
    struct record record = record_of(APP, "\"expirytime\":\"2026-11-23T08:00:00.500Z\",", APP_DATA);
    struct admission admission;
    world.rules.event_age_max_ms = 60000;
    record.timestamp_ms = NOW_MS;
    admit(&world.rules, &record, NOW_MS, &admission);
    cr_assert_eq(admission.expires_ms, NOW_MS + 60000);
    admission_deinit(&admission);
    admit(&world.rules, &record, NOW_MS + 60000, &admission);
    cr_assert_eq(admission.reason, REASON_EXPIRED);
    admission_deinit(&admission);
    const int64_t odd[] = {-1, INT64_MAX, INT64_MAX - 59999};
    for (size_t i = 0; i < 3; i++) {
        record.timestamp_ms = odd[i];
        admit(&world.rules, &record, NOW_MS, &admission);
        cr_assert_eq(admission.reason, REASON_NONE);
        cr_assert_eq(admission.expires_ms, INT64_C(1795420800500));
        admission_deinit(&admission);
    }
    free((void *)record.value);
}

Test(admit, the_named_merchant_must_have_the_right_mode)
{
    AUTO_WORLD struct world world = world_new();
    expect(&world, APP, "\"mchid\":\"" PARTNER "\",", APP_DATA, REASON_UNKNOWN_MERCHANT);
    expect(&world, APP, "\"mchid\":\"" DIRECT "\",", APP_DATA, REASON_NONE);
    expect(&world, APP, "", APP_DATA, REASON_NONE);
}

Test(admit, the_default_merchant_signs_for_events_without_mchid)
{
    struct merchant *two[] = {keyless("1", MODE_DIRECT, false), keyless("2", MODE_DIRECT, false)};
    AUTO_WORLD struct world undecided = world_with(two, 2);
    expect(&undecided, APP, "", APP_DATA, REASON_UNKNOWN_MERCHANT);
    struct merchant *marked[] = {keyless("1", MODE_DIRECT, false), keyless("2", MODE_DIRECT, true)};
    AUTO_WORLD struct world decided = world_with(marked, 2);
    struct admission admission = admitted(&decided, APP, "", APP_DATA);
    cr_assert_str_eq(admission.mchid, "2");
    admission_deinit(&admission);
}
