/* The refresher with a caller that the test answers for. */
#include "presignd/wechatpay/refresher.h"

#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define APIV3_KEY  "0123456789abcdefghijABCDEFGHIJ01"
#define TIMEOUT_MS 10000
enum { MERCHANTS = 40, MANY = 3 * REFRESHER_RUNNING_MAX };

/* ---- The caller: requests wait until the test ends them. ---- */

static struct asked {
    struct caller_get get;
    void *cookie;
} asked[MANY];
static size_t asked_count;
static unsigned host_count = 1;

/* In the place of the library's. */
void caller_get(struct caller *caller, const struct caller_get *get, void *cookie)
{
    (void)caller;
    cr_assert_lt(asked_count, MANY);
    asked[asked_count++] = (struct asked){*get, cookie};
}

unsigned caller_host_count(const struct caller *caller)
{
    (void)caller;
    return host_count;
}

static void end_all(void)
{
    size_t count = asked_count;
    struct asked before[MANY];
    memcpy(before, asked, sizeof before);
    asked_count = 0;
    for (size_t i = 0; i < count; i++) {
        before[i].get.got(before[i].cookie, &(struct caller_got){.reason = "no route"});
    }
}

/* Ends the only one. */
static void end_one(const struct caller_got *got)
{
    cr_assert_eq(asked_count, 1);
    asked_count = 0;
    asked[0].get.got(asked[0].cookie, got);
}

/* The number of the merchant that request `i` is for. */
static long asked_for(size_t i)
{
    return strtol(asked[i].get.merchant->mchid, NULL, 10) - 1900000000;
}

/* ---- The clock, which is far behind the loop's: timers are due at once. ---- */

static int64_t now_ms;

static struct moment take_now(void *context)
{
    (void)context;
    return (struct moment){.mono_ms = now_ms, .wall_ms = now_ms};
}

static const struct clock the_clock = {.now = take_now};

static void stop(void *context)
{
    loop_stop(context, 0);
}

/* Time passes, and what is due happens. */
static void pass(struct loop *loop, int64_t ms)
{
    now_ms += ms;
    loop_step_set(loop, stop, loop);
    for (int rounds = 0; rounds < 3; rounds++) {
        loop_again(loop);
        (void)loop_run(loop);
    }
}

/* ---- The owner. ---- */

static void on_read(void *context, const char *mchid, struct buf *out)
{
    (void)context, (void)mchid, (void)out;
}

static enum refresh_end expected_end = REFRESH_UNREACHABLE;
static int ended_count;

static void on_ended(void *context, const struct refresher_end *end)
{
    (void)context;
    cr_assert_eq(end->verdict.end, expected_end);
    ended_count++;
}

static size_t merchant_count = MERCHANTS;

static struct merchants *make_merchants(void)
{
    struct merchant *items[MERCHANTS];
    for (int i = 0; i < (int)merchant_count; i++) {
        AUTO_FREE char *errors = NULL;
        AUTO_FREE char *mchid = mem_printf("%d", 1900000000 + i);
        items[i] = merchant_new_keyless(&(struct merchant_spec){.mchid = mchid}, &errors);
        cr_assert_not_null(items[i], "%s", errors);
        items[i]->apiv3_key = mem_strdup(APIV3_KEY);
        items[i]->platform_keys = platform_keys_new();
    }
    return merchants_new(items, merchant_count);
}

struct bench {
    struct loop *loop;
    struct merchants *merchants;
    struct refresher *refresher;
};

static void bench_init(struct bench *bench, unsigned running_max)
{
    static const struct refresher_events events = {.read = on_read, .ended = on_ended};
    now_ms = 1000;
    asked_count = 0;
    bench->loop = loop_new();
    cr_assert_not_null(bench->loop);
    bench->merchants = make_merchants();
    bench->refresher = refresher_new(bench->loop, &the_clock, NULL, &events, NULL);
    refresher_configure(bench->refresher, bench->merchants, TIMEOUT_MS, running_max);
    pass(bench->loop, 0);
}

static void bench_deinit(struct bench *bench)
{
    refresher_free(bench->refresher);
    merchants_unref(bench->merchants);
    loop_free(bench->loop);
}
#define AUTO_BENCH __attribute__((cleanup(bench_deinit)))

/* ---- Tests. ---- */

/* No request is answered in time, so the first merchants are due again before the last ones have
 * been asked for once. */
Test(refresher, those_that_have_waited_longest_are_next)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench, REFRESHER_RUNNING_MAX);
    bool seen[MERCHANTS] = {false};
    for (size_t round = 0; round * REFRESHER_RUNNING_MAX < MERCHANTS; round++) {
        cr_assert_eq(asked_count, REFRESHER_RUNNING_MAX);
        for (size_t i = 0; i < asked_count; i++) {
            seen[asked_for(i)] = true;
        }
        pass(bench.loop, 2 * REFRESH_AT_ONCE_MS);
        end_all();
        pass(bench.loop, 2 * REFRESH_AT_ONCE_MS);
    }
    for (int i = 0; i < MERCHANTS; i++) {
        cr_assert(seen[i], "merchant %d was never asked for", i);
    }
}

Test(refresher, a_reload_changes_how_many_run_at_once)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench, 2);
    cr_assert_eq(asked_count, 2);
    refresher_configure(bench.refresher, bench.merchants, TIMEOUT_MS, 1000);
    pass(bench.loop, 0);
    cr_assert_eq(asked_count, REFRESHER_RUNNING_MAX);
    refresher_configure(bench.refresher, bench.merchants, TIMEOUT_MS, 0);
    end_all();
    pass(bench.loop, 0);
    cr_assert_eq(asked_count, 1);
}

Test(refresher, a_host_without_certificates_counts_more_than_one_that_does_not_answer)
{
    static const struct caller_got none = {
        .status = 500,
        .input = {.verify = {.body = "{\"code\":\"SYSTEM_ERROR\"}", .body_len = 23}}};
    AUTO_BENCH struct bench bench;
    host_count = 2;
    merchant_count = 1;
    bench_init(&bench, 1);
    end_one(&none);
    cr_assert_eq(asked[0].get.host, 1);
    expected_end = REFRESH_NONE;
    end_one(&(struct caller_got){.reason = "no route"});
    cr_assert_eq(ended_count, 1);
}

Test(refresher, the_longest_retry_after_of_both_hosts_counts)
{
    static const struct caller_got busy = {.status = 503,
                                           .input = {.verify = {.body = ""}, .retry_after = "300"}};
    AUTO_BENCH struct bench bench;
    host_count = 2;
    merchant_count = 1;
    bench_init(&bench, 1);
    const char *mchid = merchants_at(bench.merchants, 0)->mchid;
    end_one(&busy);
    cr_assert_eq(asked[0].get.host, 1);
    end_one(&(struct caller_got){.reason = "no route"});
    cr_assert(refresher_want(bench.refresher, mchid));
    pass(bench.loop, 299999);
    cr_assert_eq(asked_count, 0);
    pass(bench.loop, 1);
    end_one(&(struct caller_got){.reason = "no route"});
    end_one(&(struct caller_got){.reason = "no route"});
    cr_assert(refresher_want(bench.refresher, mchid));
    pass(bench.loop, REFRESH_AT_ONCE_MS);
    cr_assert_eq(asked_count, 1, "the new refresh has no Retry-After");
}
