/* What the journal says of attempts and failures. */
#include "daemon/event_log.h"

#include "presignd/base/buf.h"
#include "presignd/base/log.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef void log_fn(const struct job *job);

/* What the function writes, in `out`. */
static void lines_of(log_fn *log, const struct job *job, struct buf *out)
{
    char line[4096];
    FILE *file = tmpfile();
    cr_assert_not_null(file);
    int was = dup(STDERR_FILENO);
    cr_assert_geq(dup2(fileno(file), STDERR_FILENO), 0);
    log(job);
    cr_assert_geq(dup2(was, STDERR_FILENO), 0);
    close(was);
    rewind(file);
    buf_puts(out, "");
    while (fgets(line, sizeof line, file) != NULL) {
        buf_puts(out, line);
    }
    (void)fclose(file);
}

static struct job job_with(unsigned attempts, struct answer answer)
{
    return (struct job){.record = {.topic = "t", .partition = 2, .offset = 41},
                        .attempts = attempts,
                        .answer = answer};
}

static void expect(log_fn *log, const struct job *job, const char *const *parts)
{
    AUTO_BUF struct buf text = {0};
    lines_of(log, job, &text);
    for (; *parts != NULL; parts++) {
        cr_expect_not_null(strstr(text.data, *parts), "\"%s\" in: %s", *parts, text.data);
    }
}

static void expect_none(log_fn *log, const struct job *job, const char *part)
{
    AUTO_BUF struct buf text = {0};
    lines_of(log, job, &text);
    cr_expect(text.len == 0 || strstr(text.data, part) == NULL, "\"%s\" in: %s", part, text.data);
}

static const struct answer rejection = {
    .kind = ANSWER_REJECTED, .status = 400, .code = "PARAM_ERROR"};

Test(event_log, a_failure_has_the_last_answer_and_its_side)
{
    log_level_set(LOG_INFO);
    struct job job = job_with(2, rejection);
    job.reason = REASON_REJECTED;
    expect(event_log_failure, &job,
           (const char *const[]){"event t/2/41 failed: rejected, attempts 2",
                                 "; the last one ended: rejected, 400 PARAM_ERROR",
                                 "REASON=rejected", "SIDE=sender", "STATUS=400", "CODE=PARAM_ERROR",
                                 "ENDED=rejected", NULL});
}

Test(event_log, a_failure_without_a_call_has_no_answer)
{
    log_level_set(LOG_INFO);
    struct job job = job_with(0, (struct answer){0});
    job.reason = REASON_INVALID_JSON;
    expect(event_log_failure, &job,
           (const char *const[]){"failed: invalid_json, attempts 0", "SIDE=sender", NULL});
    expect_none(event_log_failure, &job, "ENDED");
    expect_none(event_log_failure, &job, "STATUS");
}

Test(event_log, an_attempt_is_logged_at_debug_alone)
{
    struct job job =
        job_with(1, (struct answer){.kind = ANSWER_UNAVAILABLE, .cause = ANSWER_CAUSE_TIMEOUT});
    log_level_set(LOG_INFO);
    expect_none(event_log_attempt, &job, "event");
    log_level_set(LOG_DEBUG);
    expect(event_log_attempt, &job,
           (const char *const[]){"attempt 1 at", "ended: timeout", "ENDED=timeout",
                                 "SIDE=wechatpay", NULL});
}

Test(event_log, a_signature_test_needs_nobody_here)
{
    log_level_set(LOG_DEBUG);
    struct job job = job_with(1, (struct answer){.kind = ANSWER_SIGN_TEST, .status = 200});
    expect(
        event_log_attempt, &job,
        (const char *const[]){"ended: sign_test, 200", "ENDED=sign_test", "SIDE=wechatpay", NULL});
}

/* An answer may claim anything as its code. */
Test(event_log, a_code_that_is_no_word_is_left_out)
{
    log_level_set(LOG_DEBUG);
    struct answer answer = rejection;
    strcpy(answer.code, "o4GgauInH_RCEdvrrNGrntXDuXXX openid");
    struct job job = job_with(1, answer);
    expect_none(event_log_attempt, &job, "openid");
    expect_none(event_log_attempt, &job, "CODE");
}
