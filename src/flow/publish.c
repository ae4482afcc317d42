/* Outcomes into transactions: one batch at a time is with the outlet. A window changes only when
 * its batch was committed; whatever else became of it, its outcomes are offered again, and no
 * call is repeated. */
#include "pipeline_parts.h"

#include <assert.h>

/* Pauses between transactions that were aborted. */
#define ABORT_PAUSE_FIRST_MS 10
#define ABORT_PAUSE_MAX_MS   2000

/* Waiting is for outcomes that come soon: with no more in the air than are settled, there is
 * little to wait for. */
int64_t publish_due_ms(const struct pipeline *p)
{
    int64_t paced_ms = pace_next_ms(&p->pace);
    bool most_are_here = p->settled.count >= p->calling.count;
    return most_are_here || paced_ms < p->next_batch_ms ? p->next_batch_ms : paced_ms;
}

/* Without an assignment nothing is settled, as nothing is in hand but orphans. */
void publish_begin(struct pipeline *p, struct moment now)
{
    if (p->publishing || p->session == NULL || list_empty(&p->settled) ||
        now.mono_ms < publish_due_ms(p)) {
        return;
    }
    batch_fill(&p->batch, &p->settled, &p->partitions, p->session);
    pace_begin(&p->pace, p->batch.jobs.count, now.mono_ms);
    p->publishing = true;
    p->next_batch_ms = now.mono_ms + p->rules.limits.commit_interval_ms;
    p->ports.submit(p->ports.outlet, &p->batch.out);
}

/* Orphans among them count as published, too: their assignment went after the broker had taken
 * the commit, and the next owner loads what it says. */
static void committed(struct pipeline *p, struct moment now)
{
    batch_commit(&p->batch);
    p->commits++;
    p->abort_pause_ms = 0;
    struct list_link *link;
    while ((link = list_first(&p->batch.jobs)) != NULL) {
        struct job *job = job_of(link);
        OBSERVE(p, published, job);
        place_forget(p, job, now);
    }
}

/* The topic takes no record of that size: offer a smaller one, or wait for an operator. */
static void shrink(struct pipeline *p, size_t index, const char *trouble, struct moment now)
{
    struct job *job = NULL;
    LIST_FOREACH (&p->batch.jobs, link) {
        if (index-- == 0) {
            job = job_of(link);
            break;
        }
    }
    if (job == NULL) {
        return;
    }
    if (job->partition != NULL && !settle_slim(job, p->rules.identity, now.wall_ms)) {
        job->retry_ms = now.mono_ms + PIPELINE_REFUSED_MS;
        OBSERVE(p, outcome_refused, job, trouble);
        job_move(job, JOB_REFUSED, &p->refused);
        place_arm(p, job, now);
    }
    place_charge(p, job);
}

/* The pause grows with every abort in a row: a broker in trouble is not helped by more of them.
 * A size that is refused is nobody's trouble but one outcome's, so there is no pause then. */
static void not_committed(struct pipeline *p, const struct outlet_end *end, struct moment now)
{
    if (end->verdict == OUTLET_TOO_LARGE) {
        shrink(p, end->record, end->trouble, now);
    } else {
        int64_t pause = p->abort_pause_ms * 2;
        p->abort_pause_ms = pause < ABORT_PAUSE_FIRST_MS ? ABORT_PAUSE_FIRST_MS
                            : pause > ABORT_PAUSE_MAX_MS ? ABORT_PAUSE_MAX_MS
                                                         : pause;
        p->next_batch_ms = now.mono_ms + p->abort_pause_ms;
    }
    /* No partition: the assignment went meanwhile, and the event comes back to the next owner. */
    LIST_FOREACH_SAFE (&p->batch.jobs, link) {
        struct job *job = job_of(link);
        if (job->partition == NULL) {
            place_forget(p, job, now);
        }
    }
    batch_undo(&p->batch, &p->settled);
}

void publish_ended(struct pipeline *p, const struct outlet_end *end)
{
    assert(p->publishing);
    struct moment now = now_of(p);
    p->publishing = false;
    OBSERVE(p, transaction, end, p->batch.jobs.count);
    if (end->verdict == OUTLET_COMMITTED) {
        committed(p, now);
    } else {
        not_committed(p, end, now);
    }
    batch_end(&p->batch);
}
