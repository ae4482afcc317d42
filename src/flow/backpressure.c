/* How many records to read, and which partitions to pause.
 *
 * Each partition is bounded by its window and its share of the memory; at such a bound it is paused
 * alone. While the global in-flight limit is reached, no partition is read, since every further
 * event has to wait. Not reading costs nothing, while a pause costs a new fetch. After
 * PIPELINE_PAUSE_AFTER_MS the consumer must poll nevertheless, for max.poll.interval.ms and for the
 * group's own events. Then the first record of each partition is read, waits, and pauses its
 * partition. While an operator pauses everything, this begins at once. */
#include "flow/pipeline_parts.h"

/* Largest number of records that are read at once. */
#define WANTS_MAX 512
/* Paused partitions resume when so many records are wanted. */
#define RESUME_WANTS 16

/* A partition is paused at a bound, and while a record waits to be admitted. While no records are
 * wanted, its first one waits so: its timestamp is the age of what is not read (flow/age.c). The
 * consumer is told of changes only. */
static void pause(struct pipeline *p, struct partition *partition)
{
    bool paused = partition->full || !list_empty(&partition->overflow);
    if (paused != partition->paused) {
        partition->paused = paused;
        (paused ? p->ports.pause : p->ports.resume)(p->ports.consumer, partition->id);
    }
}

/* The first record that is read while no records are wanted fills nothing. */
static bool overflows(const struct pipeline *p, const struct partition *partition)
{
    return !p->all_paused && !list_empty(&partition->overflow);
}

static bool is_full(const struct pipeline *p, const struct partition *partition)
{
    return overflows(p, partition) || window_room(&partition->window) == 0 ||
           share_full(&p->memory, &partition->memory);
}

static bool may_resume(const struct pipeline *p, const struct partition *partition)
{
    const struct window *window = &partition->window;
    return !overflows(p, partition) && window_room(window) >= window_resume(window) &&
           share_has_room(&p->memory, &partition->memory);
}

void backpressure_update(struct pipeline *p, struct partition *partition)
{
    bool full = partition->full ? !may_resume(p, partition) : is_full(p, partition);
    if (full != partition->full) {
        partition->full = full;
        partition->full_since_ms = full ? now_of(p).mono_ms : -1;
    }
    pause(p, partition);
}

/* Calls that can be in flight at once. */
static size_t in_flight_limit(const struct pipeline *p)
{
    size_t sum = 0;
    const struct merchants *merchants = p->rules.admit->merchants;
    for (size_t i = 0; i < merchants_count(merchants) && sum < p->rules.limits.in_flight; i++) {
        sum += merchants_at(merchants, i)->max_in_flight;
    }
    bool fewer = sum > 0 && sum < p->rules.limits.in_flight;
    return fewer ? sum : p->rules.limits.in_flight;
}

/* Below the in-flight limit, waiting events wait for their merchant, and events of other merchants
 * may follow them: reading goes on. At the limit, twice the limit may wait, so that the next call
 * can begin as soon as one ends. */
static size_t room(const struct pipeline *p)
{
    size_t most = in_flight_limit(p);
    if (p->in_flight < most) {
        return WANTS_MAX;
    }
    size_t count = p->waiting < 2 * most ? 2 * most - p->waiting : 0;
    return count < WANTS_MAX ? count : WANTS_MAX;
}

/* Paused partitions resume only if more than a few records are wanted. */
static bool may_resume_all(const struct pipeline *p, size_t wanted)
{
    if (p->all_paused_ms >= 0) {
        return false;
    }
    size_t most = in_flight_limit(p);
    return wanted >= (most < RESUME_WANTS ? most : RESUME_WANTS);
}

size_t backpressure_wants(struct pipeline *p)
{
    if (p->group_metadata == NULL || p->revoking || p->draining) {
        return 1; /* records are discarded, but the group's own events are needed */
    }
    size_t wanted = p->all_paused_ms >= 0 ? 0 : room(p);
    int64_t now_ms = now_of(p).mono_ms;
    p->all_paused = p->all_paused || p->all_paused_ms >= 0;
    if (p->all_paused && may_resume_all(p, wanted)) {
        p->all_paused = false; /* the next step admits the first records, and resumes */
    }
    if (wanted > 0 && !p->all_paused) {
        p->stopped_since_ms = -1;
        return wanted;
    }
    if (p->stopped_since_ms < 0) {
        p->stopped_since_ms = now_ms;
    }
    if (now_ms - p->stopped_since_ms >= PIPELINE_PAUSE_AFTER_MS) {
        p->all_paused = true;
    }
    return p->all_paused ? 1 : 0;
}
