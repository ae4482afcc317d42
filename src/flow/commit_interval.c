#include "flow/commit_interval.h"

/* The rate is averaged over this time, so a small burst changes little. */
#define HORIZON_MS 500
/* 5 ms at 100 outcomes per second; COMMIT_INTERVAL_MAX_MS from 2000 per second on. */
#define MS_FOR_ONE_PER_MS 50

void commit_interval_begin(struct commit_interval *interval, size_t outcomes, int64_t now_ms)
{
    double passed_ms = (double)(now_ms - interval->begun_ms);
    interval->per_ms =
        (interval->per_ms * HORIZON_MS + (double)outcomes) / (HORIZON_MS + passed_ms);
    interval->begun_ms = now_ms;
}

int64_t commit_interval_next_ms(const struct commit_interval *interval)
{
    double interval_ms = interval->per_ms * MS_FOR_ONE_PER_MS;
    return interval->begun_ms +
           (interval_ms < COMMIT_INTERVAL_MAX_MS ? (int64_t)interval_ms : COMMIT_INTERVAL_MAX_MS);
}
