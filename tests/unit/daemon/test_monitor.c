/* What a look gathers. The parts are stand-ins (--wrap). */
#include "daemon/monitor.h"

#include "presignd/base/clock.h"
#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <stdlib.h>

/* Names that --wrap gives. NOLINTBEGIN(bugprone-reserved-identifier) */
void __wrap_pipeline_status(const struct pipeline *p, struct pipeline_status *status);
void __wrap_progress_describe(const struct pipeline *p, struct buf *text);
bool __wrap_progress_moves(const struct pipeline *p, int64_t patience_ms, struct buf *why);
bool __wrap_consumer_joined(const struct consumer *consumer);
const char *__wrap_consumer_last_error(const struct consumer *consumer);
const char *__wrap_consumer_subscription_error(const struct consumer *consumer);
const char *__wrap_report_last_error(const struct report *report);
enum producer_id_state __wrap_publisher_id_state(const struct publisher *publisher);

static enum producer_id_state standing;
static enum job_state state = JOB_COMPLETED;

/* One event is in that state, and no transaction was ever committed. */
void __wrap_pipeline_status(const struct pipeline *p, struct pipeline_status *status)
{
    (void)p;
    *status = (struct pipeline_status){.unexplained = 1};
    status->jobs[state] = 1;
}

void __wrap_progress_describe(const struct pipeline *p, struct buf *text)
{
    (void)p, (void)text;
}

bool __wrap_progress_moves(const struct pipeline *p, int64_t patience_ms, struct buf *why)
{
    (void)p, (void)patience_ms, (void)why;
    return true;
}

bool __wrap_consumer_joined(const struct consumer *consumer)
{
    (void)consumer;
    return true;
}

const char *__wrap_consumer_last_error(const struct consumer *consumer)
{
    (void)consumer;
    return NULL;
}

const char *__wrap_consumer_subscription_error(const struct consumer *consumer)
{
    (void)consumer;
    return NULL;
}

const char *__wrap_report_last_error(const struct report *report)
{
    (void)report;
    return NULL;
}

enum producer_id_state __wrap_publisher_id_state(const struct publisher *publisher)
{
    (void)publisher;
    return standing;
}
/* NOLINTEND(bugprone-reserved-identifier) */

/* The first and only look was some time ago: whoever asks between two looks is answered by what is
 * so now. */
static bool alive_after(enum producer_id_state now, int64_t ago_ms)
{
    struct monitor monitor;
    const struct monitor_sources from = {0};
    int64_t then_ms = clock_now(&clock_system).mono_ms - ago_ms;
    AUTO_BUF struct buf why = {0};
    standing = PRODUCER_ID_HELD;
    monitor_init(&monitor, 0, then_ms);
    monitor_tick(&monitor, &from, then_ms);
    standing = now;
    bool alive = monitor_alive(&monitor, &from, &why);
    cr_expect_eq(alive, why.len == 0);
    return alive;
}

Test(monitor, ten_minutes_without_a_commit_are_told_though_the_last_look_is_past)
{
    cr_expect(alive_after(PRODUCER_ID_HELD, READINESS_HANG_MS - 10000));
    cr_expect_not(alive_after(PRODUCER_ID_HELD, READINESS_HANG_MS));
}

Test(monitor, an_id_that_is_not_ours_explains_them)
{
    cr_expect(alive_after(PRODUCER_ID_WAITING, READINESS_HANG_MS));
    cr_expect(alive_after(PRODUCER_ID_DENIED, READINESS_HANG_MS));
}

/* An event may be tried for days. A restart would restart its time, so that it never ends. */
Test(monitor, an_event_that_waits_for_another_attempt_is_no_hang)
{
    state = JOB_RETRY;
    cr_expect(alive_after(PRODUCER_ID_HELD, 10 * READINESS_HANG_MS));
    state = JOB_CALLING;
    cr_expect(alive_after(PRODUCER_ID_HELD, 10 * READINESS_HANG_MS));
    state = JOB_PUBLISHING;
    cr_expect_not(alive_after(PRODUCER_ID_HELD, READINESS_HANG_MS));
}
