#include "daemon/verified.h"

#include "presignd/base/json.h"

#include <criterion/criterion.h>

#define NOW_MS  INT64_C(1795000000000)
#define HOUR_MS VERIFIED_KEEP_MS

static void verified_end(struct verified *verified)
{
    verified_deinit(verified);
}
#define AUTO_VERIFIED __attribute__((cleanup(verified_end)))

static struct buf file_of(const struct verified *verified)
{
    struct buf text = {0};
    verified_write(verified, &text);
    return text;
}

Test(verified, the_last_answer_and_the_last_certificate)
{
    AUTO_VERIFIED struct verified verified;
    verified_init(&verified);
    cr_assert_null(verified_find(&verified, "5"));
    verified_note(&verified, "5", VERIFY_BY_CERTIFICATE, NOW_MS);
    verified_note(&verified, "5", VERIFY_BY_PUBLIC_KEY, NOW_MS + 1000);
    verified_note(&verified, "6", VERIFY_BY_PUBLIC_KEY, NOW_MS);
    const struct verified_merchant *five = verified_find(&verified, "5");
    cr_assert(five->any);
    cr_assert_str_eq(verify_kind_name(five->by), "public_key");
    cr_assert_eq(five->certificate_ms, NOW_MS);
    cr_assert_eq(verified_find(&verified, "6")->certificate_ms, 0,
                 "it has none, or was not watched");
}

Test(verified, without_an_answer_the_time_counts_from_the_first_look)
{
    AUTO_VERIFIED struct verified verified;
    verified_init(&verified);
    verified_watch(&verified, "5", NOW_MS);
    verified_watch(&verified, "5", NOW_MS + HOUR_MS); /* a reload */
    cr_assert_eq(verified_find(&verified, "5")->certificate_ms, NOW_MS);
    cr_assert_not(verified_find(&verified, "5")->any);
}

Test(verified, a_restart_keeps_the_time)
{
    AUTO_VERIFIED struct verified before, after;
    verified_init(&before);
    verified_init(&after);
    verified_note(&before, "5", VERIFY_BY_CERTIFICATE, NOW_MS);
    verified_note(&before, "6", VERIFY_BY_PUBLIC_KEY, NOW_MS);
    verified_note(&before, "7", VERIFY_BY_CERTIFICATE, NOW_MS - HOUR_MS);
    AUTO_BUF struct buf text = file_of(&before);
    AUTO_JSON json_t *list = json_read(text.data, text.len, JSON_NESTING_MAX, 0, NULL);
    verified_watch(&after, "5", NOW_MS + HOUR_MS); /* the start has configured it */
    verified_read(&after, list, NOW_MS + HOUR_MS);
    cr_assert_eq(verified_find(&after, "5")->certificate_ms, NOW_MS);
    cr_assert_eq(verified_find(&after, "7")->certificate_ms, NOW_MS - HOUR_MS);
    cr_assert_not(verified_find(&after, "5")->any, "since the start");
    cr_assert_null(verified_find(&after, "6"));
}

Test(verified, a_file_is_written_when_it_is_an_hour_old)
{
    AUTO_VERIFIED struct verified verified;
    verified_init(&verified);
    cr_assert_not(verified_is_stale(&verified, true));
    verified_note(&verified, "6", VERIFY_BY_PUBLIC_KEY, NOW_MS);
    cr_assert_not(verified_is_stale(&verified, true));
    verified_watch(&verified, "5", NOW_MS);
    cr_assert(verified_is_stale(&verified, false), "a new one at once");
    verified_kept(&verified);
    verified_note(&verified, "5", VERIFY_BY_CERTIFICATE, NOW_MS + HOUR_MS - 1);
    cr_assert_not(verified_is_stale(&verified, false));
    cr_assert(verified_is_stale(&verified, true), "at the end");
    verified_note(&verified, "5", VERIFY_BY_CERTIFICATE, NOW_MS + HOUR_MS);
    cr_assert(verified_is_stale(&verified, false));
}

/* Anyone may have edited it. */
Test(verified, what_is_not_whole_is_left_out)
{
    static const char text[] =
        "[{\"mchid\":\"5\",\"certificate_at\":\"2999-01-01T00:00:00Z\"},"
        "{\"mchid\":\"6\",\"certificate_at\":\"yesterday\"},{\"mchid\":\"7\"},17,"
        "{\"certificate_at\":\"2026-01-01T00:00:00Z\"},"
        "{\"mchid\":\"8\",\"certificate_at\":\"1969-01-01T00:00:00Z\"},"
        "{\"mchid\":\"9\",\"certificate_at\":\"2026-01-01T00:00:00Z\",\"more\":1}]";
    AUTO_VERIFIED struct verified verified;
    AUTO_JSON json_t *list = json_read(text, sizeof text - 1, JSON_NESTING_MAX, 0, NULL);
    verified_init(&verified);
    verified_read(&verified, NULL, NOW_MS);
    verified_read(&verified, list, NOW_MS);
    cr_assert_eq(verified.merchants.count, 1);
    cr_assert_gt(verified_find(&verified, "9")->certificate_ms, 0);
}
