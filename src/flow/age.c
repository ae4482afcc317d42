/* The age of unfinished events, and which are late. Each event whose record has a timestamp is in
 * two heaps in order of it: one of its merchant, or of the events without one; and one of those
 * that are not late. Both cost a few steps for each event, however many there are.
 *
 * What is not read counts as well: a partition that is full has an older event, the one at its base
 * offset; and while no records are wanted, backpressure.c reads the first one of each partition. */
#include "flow/pipeline_parts.h"

/* -1: the record has no timestamp. */
static bool has_age(const struct job *job)
{
    return job->record.timestamp_ms >= 0;
}

static struct heap *ages_of(struct pipeline *p, const struct job *job)
{
    return job->queue == NULL ? &p->ages : &job->queue->ages;
}

void age_enter(struct pipeline *p, struct job *job)
{
    if (has_age(job)) {
        heap_set(&p->ages, &job->age, job->record.timestamp_ms);
        heap_set(&p->punctual, &job->punctual, job->record.timestamp_ms);
    }
}

void age_set_queue(struct pipeline *p, struct job *job)
{
    if (heap_holds(&job->age)) {
        heap_remove(&p->ages, &job->age);
        heap_set(&job->queue->ages, &job->age, job->record.timestamp_ms);
    }
}

void age_leave(struct pipeline *p, struct job *job)
{
    heap_remove(ages_of(p, job), &job->age);
    heap_remove(&p->punctual, &job->punctual);
}

static bool is_late(const struct pipeline *p, int64_t timestamp_ms, struct moment now)
{
    return now.wall_ms - timestamp_ms > p->rules.limits.slo_ms;
}

void age_visible(struct pipeline *p, struct job *job, struct moment now)
{
    if (heap_holds(&job->punctual) && is_late(p, job->punctual.at, now)) {
        p->late++;
    }
    age_leave(p, job);
}

void age_count_late(struct pipeline *p, struct moment now)
{
    struct time_budget budget = {0};
    struct heap_slot *slot;
    while ((slot = heap_first(&p->punctual)) != NULL && is_late(p, slot->at, now)) {
        heap_remove(&p->punctual, slot);
        p->late++;
        if (budget_spent(p, &budget)) {
            break;
        }
    }
}

int64_t age_oldest_ms(const struct pipeline *p)
{
    const struct heap_slot *first = heap_first(&p->ages);
    int64_t oldest_ms = first == NULL ? INT64_MAX : first->at;
    for (size_t i = 0; i < p->queue_count; i++) {
        int64_t at_ms = merchant_queue_oldest_ms(p->queue_table[i]);
        oldest_ms = at_ms < oldest_ms ? at_ms : oldest_ms;
    }
    return oldest_ms;
}
