/* Partitions are assigned and taken away all together. Unfinished events of lost partitions are
 * discarded: the next owner begins at the committed offsets and reads them again. */
#include "flow/pipeline_parts.h"

void assign_drop_waiting(struct pipeline *p, struct moment now)
{
    /* Blocked jobs first, or each discarded job enqueues the next one of its key. */
    job_state_discard_all(p, &p->jobs[JOB_BLOCKED], now);
    for (size_t i = 0; i < p->queue_count; i++) {
        job_state_discard_all(p, &p->queue_table[i]->probed, now);
        job_state_discard_all(p, &p->queue_table[i]->waiting, now);
    }
    job_state_discard_all(p, &p->jobs[JOB_PAUSED], now);
    job_state_discard_all(p, &p->jobs[JOB_RETRY], now);
    for (size_t i = 0; i < p->partitions.count; i++) {
        job_state_discard_all(p, &p->partitions.items[i].overflow, now);
    }
}

/* The calls continue; hold and merchant queue need their answers. */
static void orphan_all(struct pipeline *p, struct list *from)
{
    LIST_FOREACH (from, link) {
        job_state_orphan(p, job_of(link));
    }
}

/* The batch in progress may still be committed, if the broker accepted its offsets before. Its
 * group metadata prevents a later commit. */
void assign_drop(struct pipeline *p, struct moment now)
{
    assign_drop_waiting(p, now);
    job_state_discard_all(p, &p->jobs[JOB_COMPLETED], now);
    job_state_discard_all(p, &p->jobs[JOB_REFUSED], now);
    suspects_clear(&p->suspects);
    p->deferred = 0;
    orphan_all(p, &p->jobs[JOB_CALLING]);
    orphan_all(p, &p->jobs[JOB_ANSWERED]);
    orphan_all(p, &p->jobs[JOB_PUBLISHING]);
    partitions_deinit(&p->partitions);
    shares_divide(&p->memory, 0);
    p->group_metadata = group_metadata_unref(p->group_metadata);
    p->revoking = false;
    p->all_paused = false;
    p->stopped_since_ms = -1;
}

void assign_limit(struct pipeline *p)
{
    for (size_t i = 0; i < p->partitions.count; i++) {
        window_limit(&p->partitions.items[i].window, p->span);
        if (!p->revoking && !p->draining) {
            backpressure_update(p, &p->partitions.items[i]);
        }
    }
}

void assign_begin(struct pipeline *p, struct group_metadata *group_metadata,
                  const int32_t *partitions, size_t count)
{
    assign_drop(p, now_of(p));
    p->group_metadata = group_metadata_ref(group_metadata);
    partitions_assign(&p->partitions, partitions, count);
    p->all_paused = p->all_paused_ms >= 0; /* before a record comes */
    assign_limit(p);
    shares_divide(&p->memory, count);
}

/* After an invalid set, events that it named are called again. No event is lost. */
void assign_positions(struct pipeline *p, const struct consumer_position *positions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct partition *partition = partitions_find(&p->partitions, positions[i].partition);
        if (partition == NULL) {
            continue;
        }
        if (!window_load(&partition->window, positions[i].offset, positions[i].metadata)) {
            OBSERVE(p, metadata_unreadable, partition->id);
        }
        window_limit(&partition->window, p->span);
    }
}

/* The group waits for the release, so calls in flight get little time. The next owner repeats those
 * that did not end. */
void assign_revoke(struct pipeline *p)
{
    struct moment now = now_of(p);
    p->revoking = true;
    p->revoke_end_ms = now.mono_ms + PIPELINE_REVOKE_GRACE_MS;
    assign_drop_waiting(p, now);
}

static size_t calls(const struct pipeline *p)
{
    size_t own = 0;
    LIST_FOREACH (&p->jobs[JOB_CALLING], link) {
        own += job_of(link)->partition != NULL;
    }
    LIST_FOREACH (&p->jobs[JOB_ANSWERED], link) {
        own += job_of(link)->partition != NULL;
    }
    return own;
}

bool assign_idle(const struct pipeline *p)
{
    return calls(p) == 0 && list_empty(&p->jobs[JOB_COMPLETED]) && !p->publishing &&
           !suspects_undecided(&p->suspects);
}

/* Without the positions of visible outcomes, the next owner would publish these again. So the
 * release waits for them, until the consumer's own bound ends the assignment as `lost`. */
void assign_release(struct pipeline *p, struct moment now)
{
    if (!p->revoking) {
        return;
    }
    bool over = now.mono_ms >= p->revoke_end_ms && !publish_half_done(p);
    if (assign_idle(p) || over) {
        assign_drop(p, now);
        p->ports.release(p->ports.consumer);
    }
}
