/* Log lines and metrics of repeated observations, for each merchant separately. */
#include "daemon/report.h"

#include "daemon/gauges.h"
#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/flow/merchant_queue.h"

#include "unit/flow/world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ONE   "1900000001"
#define OTHER "1900000002"

enum { OFTEN = 100 };

struct scene {
    struct metrics *metrics;
    struct report *report;
    struct pipeline_observer observer;
    FILE *log;
    int was;
};

static void scene_begin(struct scene *scene)
{
    scene->metrics = metrics_new();
    scene->report = report_new(scene->metrics);
    scene->observer = report_observer(scene->report);
    scene->log = tmpfile();
    cr_assert_not_null(scene->log);
    scene->was = dup(STDERR_FILENO);
    cr_assert_geq(dup2(fileno(scene->log), STDERR_FILENO), 0);
}

/* How many lines name the merchant; the scene is over. */
static void scene_end(struct scene *scene, unsigned *one, unsigned *other)
{
    char line[1024];
    cr_assert_geq(dup2(scene->was, STDERR_FILENO), 0);
    close(scene->was);
    rewind(scene->log);
    *one = *other = 0;
    while (fgets(line, sizeof line, scene->log) != NULL) {
        *one += strstr(line, ONE) != NULL;
        *other += strstr(line, OTHER) != NULL;
    }
    (void)fclose(scene->log);
    report_free(scene->report);
    metrics_free(scene->metrics);
}

Test(report, a_merchant_that_is_held_again_and_again_hides_no_other)
{
    struct scene scene;
    unsigned one, other;
    scene_begin(&scene);
    for (int i = 0; i < OFTEN; i++) {
        scene.observer.merchant_held(scene.report, ONE, HOLD_WHY_UNAUTHORIZED, i % 2 == 0);
    }
    scene.observer.merchant_held(scene.report, OTHER, HOLD_WHY_UNAUTHORIZED, true);
    report_tick(scene.report, INT64_MAX / 2); /* the minute is over */
    scene_end(&scene, &one, &other);
    cr_assert_eq(one, 3, "once held, once heard, and the rest as a number: %u", one);
    cr_assert_eq(other, 1);
}

static void fails(struct scene *scene, struct merchant_queue *queue, int64_t offset)
{
    struct job job = {
        .record = {.topic = queue->merchant->mchid, .offset = offset, .timestamp_ms = -1},
        .queue = queue,
        .reason = REASON_REJECTED};
    scene->observer.published(scene->report, &job);
}

typedef void repeated_fn(struct scene *scene, struct merchant_queue *queue, int64_t offset);

/* What repeats for one merchant is told a few times, and hides no other's first. */
static void check_repeated(repeated_fn *repeated)
{
    struct scene scene;
    unsigned one, other;
    struct merchant *merchants[] = {keyless(ONE, MODE_DIRECT, false),
                                    keyless(OTHER, MODE_DIRECT, false)};
    struct merchant_queue queues[2];
    merchant_queue_init(&queues[0], merchants[0]);
    merchant_queue_init(&queues[1], merchants[1]);
    scene_begin(&scene);
    for (int i = 0; i < OFTEN; i++) {
        repeated(&scene, &queues[0], i);
    }
    repeated(&scene, &queues[1], 0);
    scene_end(&scene, &one, &other);
    cr_assert_gt(one, 1);
    cr_assert_lt(one, OFTEN);
    cr_assert_eq(other, 1);
    for (int i = 0; i < 2; i++) {
        merchant_queue_deinit(&queues[i]);
        merchant_unref(merchants[i]);
    }
}

Test(report, a_merchant_whose_events_fail_hides_no_others_first)
{
    log_level_set(LOG_INFO);
    check_repeated(fails);
}

static void end_transaction(struct scene *scene, enum transaction_verdict verdict,
                            const char *last_error, size_t results, size_t failures)
{
    const struct transaction_end end = {.verdict = verdict, .last_error = last_error};
    const size_t outcomes[OUTPUT_TOPIC_COUNT] = {results, failures};
    scene->observer.transaction(scene->observer.context, &end, outcomes);
}

Test(report, a_commit_to_one_topic_does_not_clear_the_trouble_of_the_other)
{
    struct scene scene;
    unsigned one, other;
    scene_begin(&scene);
    end_transaction(&scene, TRANSACTION_ABORTED, "not taken", 3, 0);
    end_transaction(&scene, TRANSACTION_COMMITTED, NULL, 0, 2);
    cr_assert_str_eq(report_last_error(scene.report), "not taken");
    end_transaction(&scene, TRANSACTION_COMMITTED, NULL, 1, 0);
    cr_assert_null(report_last_error(scene.report));
    end_transaction(&scene, TRANSACTION_ABORTED, "not taken", 3, 1);
    report_assigned(scene.report);
    cr_assert_null(report_last_error(scene.report), "went with the assignment");
    scene_end(&scene, &one, &other);
}

static void refuse_outcome(struct scene *scene, struct merchant_queue *queue, int64_t offset)
{
    struct job job = {.record = {.topic = queue->merchant->mchid, .offset = offset},
                      .queue = queue,
                      .refusal = REFUSAL_SIZE};
    scene->observer.outcome_rejected(scene->report, &job, NULL);
}

Test(report, a_topic_that_refuses_every_outcome_does_not_fill_the_log)
{
    check_repeated(refuse_outcome);
}

static void tells_clock(struct scene *scene, enum answer_clock clock, int64_t offset_ms)
{
    struct job job = {.attempts = 1,
                      .answer = {.host = "h", .clock = clock, .clock_offset_ms = offset_ms}};
    scene->observer.called(scene->observer.context, &job);
}

Test(report, a_verified_timestamp_counts_more_than_a_date)
{
    struct scene scene;
    unsigned one, other;
    scene_begin(&scene);
    AUTO_BUF struct buf page = {0};
    metrics_write(scene.metrics, &page);
    cr_expect_null(strstr(page.data, "\npresignd_clock_offset_seconds "), "not known yet");
    cr_assert_eq(report_clock_offset_ms(scene.report), STATUS_NONE);
    tells_clock(&scene, ANSWER_CLOCK_NONE, 1);
    cr_assert_eq(report_clock_offset_ms(scene.report), STATUS_NONE);
    tells_clock(&scene, ANSWER_CLOCK_DATE, 60000);
    cr_assert_eq(report_clock_offset_ms(scene.report), 60000);
    tells_clock(&scene, ANSWER_CLOCK_SIGNED, -1500);
    tells_clock(&scene, ANSWER_CLOCK_DATE, 60000);
    cr_assert_eq(report_clock_offset_ms(scene.report), -1500);
    metrics_write(scene.metrics, &page);
    cr_expect_not_null(strstr(page.data, "\npresignd_clock_offset_seconds -1.5\n"));
    scene_end(&scene, &one, &other);
}

static void is_verified(struct scene *scene, const char *serial)
{
    struct job job = {.attempts = 1, .answer = {.host = "h", .is_signed = serial != NULL}};
    strcpy(job.admission.mchid, ONE);
    if (serial != NULL) {
        job.answer.verified_by = verify_kind_of(serial);
    }
    scene->observer.called(scene->observer.context, &job);
}

Test(report, answers_count_by_the_kind_of_key_that_verified_them)
{
    struct scene scene;
    unsigned one, other;
    char serial[] = "5157";
    struct merchant *merchant = keyless(ONE, MODE_DIRECT, false);
    struct merchants *merchants = merchants_new(&merchant, 1);
    merchant->serial_no = mem_strdup("5157");
    scene_begin(&scene);
    report_merchants(scene.report, merchants);
    cr_assert_null(verified_find(report_verified(scene.report), ONE), "no certificates, no answer");
    is_verified(&scene, "PUB_KEY_ID_01");
    is_verified(&scene, NULL);
    is_verified(&scene, serial);
    is_verified(&scene, "PUB_KEY_ID_01");
    AUTO_BUF struct buf page = {0};
    metrics_write(scene.metrics, &page);
    cr_expect_not_null(strstr(page.data, "presignd_answers_verified_total{mchid=\"" ONE
                                         "\",kind=\"public_key\"} 2\n"));
    cr_expect_not_null(strstr(page.data, "presignd_answers_verified_total{mchid=\"" ONE
                                         "\",kind=\"certificate\"} 1\n"));
    const struct verified_merchant *verified = verified_find(report_verified(scene.report), ONE);
    cr_expect_eq(verified->by, VERIFY_BY_PUBLIC_KEY);
    cr_expect_gt(verified->certificate_ms, 0);
    scene_end(&scene, &one, &other);
    merchants_unref(merchants);
}

/* With the key that WeChat Pay used, so that it can be found on the merchant platform. */
Test(report, a_merchant_with_unverified_answers_is_named_with_the_key_that_is_missing)
{
    struct scene scene;
    unsigned one, other;
    struct job job = {.attempts = 1,
                      .answer = {.host = "h",
                                 .cause = ANSWER_CAUSE_KEYS,
                                 .verify = VERIFY_UNKNOWN_SERIAL,
                                 .serial = "PUB_KEY_ID_" ONE}};
    strcpy(job.admission.mchid, "77");
    scene_begin(&scene);
    scene.observer.called(scene.report, &job);
    scene.observer.merchant_held(scene.report, "77", HOLD_WHY_UNVERIFIED, true);
    strcpy(job.admission.mchid, "78");
    strcpy(job.answer.serial, "a b " ONE); /* anyone's words */
    scene.observer.called(scene.report, &job);
    scene.observer.merchant_held(scene.report, "78", HOLD_WHY_UNVERIFIED, true);
    scene_end(&scene, &one, &other);
    cr_assert_eq(one, 1);
}

/* The journal's words for the two shortages lead to different places. */
Test(report, signatures_that_stay_away_are_no_descriptor_shortage)
{
    struct scene scene;
    unsigned one, other;
    struct job job = {.attempts = 1,
                      .answer = {.host = "h",
                                 .kind = ANSWER_UNREACHABLE,
                                 .cause = ANSWER_CAUSE_SHORTAGE,
                                 .lacks_signature = true}};
    scene_begin(&scene);
    for (int i = 0; i < OFTEN; i++) {
        scene.observer.called(scene.report, &job);
    }
    AUTO_BUF struct buf page = {0};
    metrics_write(scene.metrics, &page);
    cr_expect_not_null(strstr(page.data, "\npresignd_descriptor_shortages_total 0\n"));
    const struct history *history = report_history(scene.report);
    int64_t wall_ms = clock_wall_ms();
    cr_expect_eq(history_newest_calls(history, HISTORY_SHORTAGE, wall_ms), 0);
    job.answer.lacks_signature = false;
    scene.observer.called(scene.report, &job);
    page.len = 0;
    metrics_write(scene.metrics, &page);
    cr_expect_not_null(strstr(page.data, "\npresignd_descriptor_shortages_total 1\n"));
    scene_end(&scene, &one, &other);
}

Test(report, a_merchant_without_keys_is_named_with_what_to_check)
{
    struct scene scene;
    unsigned one, other;
    scene_begin(&scene);
    scene.observer.merchant_held(scene.report, ONE, HOLD_WHY_KEYLESS, true);
    scene.observer.merchant_held(scene.report, ONE, HOLD_WHY_KEYLESS, false);
    scene_end(&scene, &one, &other);
    cr_assert_eq(one, 2, "held, and released");
}

Test(report, merchants_that_are_not_configured_count_together)
{
    struct scene scene;
    unsigned one, other;
    struct merchant *merchant = keyless(ONE, MODE_DIRECT, false);
    struct merchants *merchants = merchants_new(&merchant, 1);
    struct job known = {.record.timestamp_ms = -1}, unknown = known;
    strcpy(known.admission.mchid, ONE);
    strcpy(unknown.admission.mchid, OTHER);
    unknown.reason = REASON_UNKNOWN_MERCHANT;
    merchant->serial_no = mem_strdup("5157");
    merchant->certificate_not_after_ms = INT64_C(1852816558000);
    scene_begin(&scene);
    report_merchants(scene.report, merchants);
    scene.observer.published(scene.report, &known);
    scene.observer.published(scene.report, &unknown);
    report_signed(scene.report, merchant);
    AUTO_BUF struct buf page = {0};
    metrics_write(scene.metrics, &page);
    static const char *const lines[] = {
        "presignd_merchant_events_total{mchid=\"" ONE "\",outcome=\"succeeded\"} 1\n",
        "presignd_merchant_events_total{mchid=\"" ONE "\",outcome=\"failed\"} 0\n",
        "presignd_merchant_events_total{mchid=\"other\",outcome=\"failed\"} 1\n",
        "presignd_failures_total{reason=\"unknown_merchant\",side=\"operator\"} 1\n",
        "presignd_merchant_calls_total{mchid=\"" ONE "\",answer=\"rate_limited\"} 0\n",
        "presignd_merchant_signatures_total{mchid=\"" ONE "\",serial=\"5157\"} 1\n",
        "presignd_certificate_expiry_timestamp_seconds{mchid=\"" ONE
        "\",kind=\"merchant\",serial=\"5157\"} 1852816558\n",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(lines); i++) {
        cr_expect_not_null(strstr(page.data, lines[i]), "%s", lines[i]);
    }
    cr_expect_null(strstr(page.data, OTHER));
    scene_end(&scene, &one, &other);
    merchants_unref(merchants);
}

Test(report, gauges_have_the_labels_of_their_rows)
{
    struct scene scene;
    unsigned one, other;
    const struct pipeline_status pipeline = {0};
    const struct status status = {.process.ready = 1};
    AUTO_BUF struct buf page = {0};
    scene_begin(&scene);
    gauges_set(scene.metrics, &pipeline, &status);
    metrics_write(scene.metrics, &page);
    cr_expect_not_null(strstr(page.data, "\npresignd_ready 1\n"));
    cr_expect_not_null(strstr(page.data, "\npresignd_jobs{state=\"waiting\"} 0\n"));
    scene_end(&scene, &one, &other);
}

static struct merchants *automatic(const char *mchid)
{
    static const char *const mchids[] = {ONE, OTHER};
    struct merchant *items[ARRAY_LENGTH(mchids)];
    for (size_t i = 0; i < ARRAY_LENGTH(mchids); i++) {
        items[i] = keyless(mchids[i], MODE_DIRECT, false);
        items[i]->serial_no = mem_strdup("5157");
        items[i]->platform_keys = strcmp(mchids[i], mchid) == 0 ? platform_keys_new() : NULL;
    }
    return merchants_new(items, ARRAY_LENGTH(items));
}

/* The rule of certificates that expire leaves out merchants that have these series. */
Test(report, refreshes_go_with_the_automatic_certificates)
{
    struct scene scene;
    unsigned one, other;
    scene_begin(&scene);
    for (int i = 0; i < 2; i++) {
        const char *mchid = i == 0 ? ONE : OTHER;
        struct merchants *merchants = automatic(mchid);
        report_merchants(scene.report, merchants);
        merchants_unref(merchants);
        for (int k = 0; k < 2; k++) {
            const char *name = k == 0 ? ONE : OTHER;
            AUTO_FREE char *series =
                mem_printf("presignd_certificate_refreshes_total{mchid=\"%s\",end=\"ok\"}", name);
            AUTO_BUF struct buf page = {0};
            metrics_write(scene.metrics, &page);
            cr_expect((strstr(page.data, series) != NULL) == (i == k), "%s", series);
        }
    }
    scene_end(&scene, &one, &other);
}
