#include "presignd/flow/pace.h"

/* Over which the rate is averaged: a burst of a few outcomes changes little. */
#define HORIZON_MS 500
/* From a rate to a distance: 5 ms at 100 a second, PACE_MAX_MS from 2000 a second on. */
#define MS_FOR_ONE_PER_MS 50

void pace_begin(struct pace *pace, size_t outcomes, int64_t now_ms)
{
    double passed_ms = (double)(now_ms - pace->begun_ms);
    pace->per_ms = (pace->per_ms * HORIZON_MS + (double)outcomes) / (HORIZON_MS + passed_ms);
    pace->begun_ms = now_ms;
}

int64_t pace_next_ms(const struct pace *pace)
{
    double distance_ms = pace->per_ms * MS_FOR_ONE_PER_MS;
    return pace->begun_ms + (distance_ms < PACE_MAX_MS ? (int64_t)distance_ms : PACE_MAX_MS);
}
