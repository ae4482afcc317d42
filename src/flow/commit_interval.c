#include "flow/commit_interval.h"

/* The rate is averaged over this time, so a small burst changes little. */
#define HORIZON_MS 500
/* Under load: 100 ms from 2000 outcomes per second on. */
#define MS_FOR_ONE_PER_MS 50
/* At low rates half of the interval and a transaction may take so long together. With what the rest
 * of an event takes, fetch, call and a reader's fetch, half of the outcomes are visible within
 * 15 ms. */
#define WAIT_MS 11
/* More outcomes than this do not wait for others when few calls are in flight. */
#define FEW 16
/* Of the last transaction in the average duration. */
#define TOOK_WEIGHT (1.0 / 16)

void commit_interval_begin(struct commit_interval *interval, size_t outcomes, int64_t now_ms)
{
    double passed_ms = (double)(now_ms - interval->begun_ms);
    interval->per_ms =
        (interval->per_ms * HORIZON_MS + (double)outcomes) / (HORIZON_MS + passed_ms);
    interval->begun_ms = now_ms;
}

void commit_interval_end(struct commit_interval *interval, int64_t took_ms)
{
    interval->took_ms += ((double)took_ms - interval->took_ms) * TOOK_WEIGHT;
}

/* 0 when no further outcome is expected within the interval. */
static double low_ms(const struct commit_interval *interval)
{
    double low_ms = 2 * (WAIT_MS - interval->took_ms);
    low_ms = low_ms < COMMIT_INTERVAL_LOW_MS ? low_ms : COMMIT_INTERVAL_LOW_MS;
    return low_ms * interval->per_ms < 1 ? 0 : low_ms;
}

int64_t commit_interval_next_ms(const struct commit_interval *interval, size_t waiting,
                                size_t in_flight)
{
    double interval_ms = low_ms(interval);
    double load_ms = interval->per_ms * MS_FOR_ONE_PER_MS;
    if (in_flight > waiting) {
        interval_ms = load_ms > interval_ms ? load_ms : interval_ms;
    } else if (waiting > FEW) {
        return interval->begun_ms;
    }
    return interval->begun_ms +
           (interval_ms < COMMIT_INTERVAL_MAX_MS ? (int64_t)interval_ms : COMMIT_INTERVAL_MAX_MS);
}
