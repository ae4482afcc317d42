/* How many records to ask for, and which partitions to pause.
 *
 * Reading is bounded in three ways: a partition by its window, all together by bytes, and events
 * that could be called at once if there were places. The first pauses one partition; the others
 * stop asking, and after a while pause all, since the group gives up on a member that does not
 * poll (max.poll.interval.ms) and its own events come with the same poll. */
#include "pipeline_parts.h"

#include <assert.h>

/* Records asked for at once, at most. */
#define WANTS_MAX 512
/* When all are paused, room for so many lets them go on. */
#define RESUME_WANTS 16

/* Two reasons keep a partition from being read; intake is told of changes only. */
void demand_pause(struct pipeline *p, struct partition *partition)
{
    bool pause = partition->full || p->all_paused;
    if (pause == partition->paused) {
        return;
    }
    partition->paused = pause;
    (pause ? p->ports.pause : p->ports.resume)(p->ports.intake, partition->id);
}

/* True while a merchant's own limits, or its share of the whole, keep its events waiting though
 * there are places for others. Without such places, reading on would only fill memory. */
static bool stands_aside(const struct pipeline *p, const struct lane *lane)
{
    return p->in_flight < p->rules.limits.in_flight &&
           (lane_limited(lane) || !dispatch_has_place(p, lane));
}

/* Events that wait for nothing but a place in the air. With a single merchant nobody else is
 * behind its queue, so there is no use in reading on past its own limit. */
static size_t ready(const struct pipeline *p)
{
    /* While nothing can be called, reading on still finds what fails without a call. */
    if (p->health.down) {
        return 0;
    }
    size_t count = 0;
    LIST_FOREACH (&p->rotation, link) {
        const struct lane *lane = CONTAINER_OF(link, struct lane, link);
        bool alone = merchants_count(p->rules.admit->merchants) == 1 && !lane->held;
        count += alone || !stands_aside(p, lane) ? lane->waiting.count : 0;
    }
    return count;
}

/* Records are asked for before their sizes are known, so each counts as the largest that is
 * allowed: copied, read once more, and once more in its outcome. */
static size_t room_in_bytes(const struct pipeline *p)
{
    const size_t each = sizeof(struct job) + 3 * p->rules.admit->event_bytes_max;
    assert(each > 0);
    size_t left = p->bytes < PIPELINE_BYTES_MAX ? PIPELINE_BYTES_MAX - p->bytes : 0;
    if (left < each) {
        /* However large one may be, one at a time goes through. */
        return p->bytes < PIPELINE_BYTES_MAX / 2;
    }
    return left / each;
}

/* Twice the places, so that a call that ends finds another that is ready. What is settled counts
 * by a part: it leaves with the next transaction, unless those fail. */
static size_t room(const struct pipeline *p)
{
    size_t most = 2 * (size_t)p->rules.limits.in_flight;
    size_t taken = ready(p) + p->settled.count / 4;
    size_t count = taken < most ? most - taken : 0;
    size_t fits = room_in_bytes(p);
    count = fits < count ? fits : count;
    return count < WANTS_MAX ? count : WANTS_MAX;
}

static void pause_all(struct pipeline *p, bool pause)
{
    p->all_paused = pause;
    for (size_t i = 0; i < p->partitions.count; i++) {
        demand_pause(p, &p->partitions.items[i]);
    }
}

/* A pause costs a new fetch, so it ends only when there is room for more than a few. */
static bool roomy(const struct pipeline *p, size_t wanted)
{
    size_t half = p->rules.limits.in_flight / 2;
    size_t enough = half < RESUME_WANTS ? half : RESUME_WANTS;
    return wanted > 0 && wanted >= enough && p->bytes < PIPELINE_BYTES_MAX / 4 * 3;
}

size_t demand_wants(struct pipeline *p)
{
    if (p->session == NULL || p->revoking || p->draining) {
        return 1; /* no record comes, but the group's own events do */
    }
    size_t wanted = room(p);
    int64_t now_ms = now_of(p).mono_ms;
    if (p->all_paused && roomy(p, wanted)) {
        pause_all(p, false);
    }
    if (wanted > 0 && !p->all_paused) {
        p->full_since_ms = -1;
        return wanted;
    }
    if (p->full_since_ms < 0) {
        p->full_since_ms = now_ms;
    }
    /* Not to read for long would look dead to the group; paused, we may go on to ask. */
    if (!p->all_paused && now_ms - p->full_since_ms >= PIPELINE_PAUSE_AFTER_MS) {
        pause_all(p, true);
    }
    return p->all_paused ? 1 : 0;
}
