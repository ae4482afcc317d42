/* The content of a transaction. Until its commit, its effect on a window is in the pending window:
 * the window itself says what is committed. */
#include "flow/pipeline_parts.h"

#include <assert.h>
#include <stdlib.h>

void batch_deinit(struct batch *batch)
{
    for (size_t i = 0; i < batch->position_cap; i++) {
        buf_deinit(&batch->metadata[i]);
    }
    free(batch->metadata);
    free(batch->records);
    free(batch->record_metadata);
    free(batch->refusals);
    free(batch->delivered);
    free(batch->positions);
    *batch = (struct batch){0};
}

static void add_record(struct batch *batch, const struct job *job)
{
    if (batch->out.record_count == batch->record_cap) {
        batch->record_cap = batch->record_cap == 0 ? 64 : batch->record_cap * 2;
        batch->records = mem_realloc(batch->records, batch->record_cap * sizeof *batch->records);
        batch->record_metadata =
            mem_realloc(batch->record_metadata, batch->record_cap * sizeof *batch->record_metadata);
        batch->refusals = mem_realloc(batch->refusals, batch->record_cap * sizeof *batch->refusals);
        batch->delivered =
            mem_realloc(batch->delivered, batch->record_cap * sizeof *batch->delivered);
    }
    batch->delivered[batch->out.record_count] = job->delivered;
    batch->records[batch->out.record_count++] = (struct transaction_record){
        .topic = job_topic(job),
        .key = job->record.key,
        .key_len = job->record.key_len,
        .value = job->outcome.value.data,
        .value_len = job->outcome.value.len,
        .headers = job->outcome.headers,
        .header_count = job->outcome.header_count,
    };
}

static struct window *pending_of(struct partition *partition)
{
    return partition->in_batch ? &partition->pending : &partition->window;
}

/* A pending window starts as a copy of the window. It includes records that have arrived since the
 * last batch, so gaps below them are committed as done, too. */
static void pending(struct job *job)
{
    struct partition *partition = job->partition;
    if (!partition->in_batch) {
        partition->in_batch = true;
        partition->pending = partition->window;
    }
    window_finish(&partition->pending, job->record.offset);
}

/* The batch owns the texts: the publisher's thread reads them, and the partition may be gone then.
 */
static void reserve_positions(struct batch *batch, size_t count)
{
    if (batch->position_cap >= count) {
        return;
    }
    batch->positions = mem_realloc(batch->positions, count * sizeof *batch->positions);
    batch->metadata = mem_realloc(batch->metadata, count * sizeof *batch->metadata);
    for (size_t i = batch->position_cap; i < count; i++) {
        batch->metadata[i] = (struct buf){0};
    }
    batch->position_cap = count;
}

static void add_positions(struct batch *batch, struct partitions *partitions)
{
    reserve_positions(batch, partitions->count);
    for (size_t i = 0; i < partitions->count; i++) {
        struct partition *partition = &partitions->items[i];
        if (!partition->in_batch) {
            continue;
        }
        /* A commit never moves the base offset back. */
        assert(partition->pending.base_offset >= partition->window.base_offset);
        partition->in_batch = false;
        struct buf *metadata = &batch->metadata[batch->out.position_count];
        metadata->len = 0;
        window_encode(&partition->pending, metadata);
        batch->positions[batch->out.position_count++] = (struct transaction_position){
            .partition = partition->id,
            .offset = partition->pending.base_offset,
            .metadata = metadata->data,
        };
    }
}

static bool must_defer(const struct job *job)
{
    struct partition *partition = job->partition;
    return partition->deferred || window_widens(pending_of(partition), job->record.offset);
}

static void take_jobs(struct pipeline *p, const struct batch_selection *selection)
{
    struct batch *batch = &p->batch;
    size_t bytes = 0, seen = 0;
    batch->deferred = 0;
    LIST_FOREACH_SAFE (&p->jobs[selection->suspect == 0 ? JOB_COMPLETED : JOB_REFUSED], link) {
        struct job *job = job_of(link);
        if (job->suspect != selection->suspect) {
            continue;
        }
        if (seen++ == selection->count || batch->out.record_count == TRANSACTION_RECORDS_MAX) {
            break;
        }
        if (selection->one_topic && batch->out.record_count > 0 &&
            job_topic(job) != batch->records[0].topic) {
            continue;
        }
        if (must_defer(job)) {
            batch->deferred++;
            continue;
        }
        bytes += job_outcome_bytes(job);
        /* A larger one is sent alone; the topic accepts or rejects it. */
        if (bytes > TRANSACTION_BYTES_MAX && batch->out.record_count > 0) {
            break;
        }
        job_state_move(p, job, JOB_PUBLISHING);
        add_record(batch, job);
        pending(job);
    }
}

/* If a pending window is too wide for a commit, empties the batch and defers that partition. This
 * happens only if the broker's limit was lowered. */
static bool undo_wide(struct pipeline *p)
{
    struct partition *wide = NULL;
    for (size_t i = 0; i < p->partitions.count; i++) {
        struct partition *partition = &p->partitions.items[i];
        wide = partition->in_batch && window_wide(&partition->pending) ? partition : wide;
    }
    if (wide == NULL) {
        return false;
    }
    wide->deferred = true;
    batch_undo(p);
    p->batch.out.record_count = 0;
    for (size_t i = 0; i < p->partitions.count; i++) {
        p->partitions.items[i].in_batch = false;
    }
    return true;
}

void batch_fill(struct pipeline *p, const struct batch_selection *selection)
{
    struct batch *batch = &p->batch;
    assert(list_empty(&p->jobs[JOB_PUBLISHING]));
    batch->out =
        (struct transaction_batch){.group_metadata = group_metadata_ref(p->group_metadata)};
    do {
        take_jobs(p, selection);
    } while (undo_wide(p));
    for (size_t i = 0; i < p->partitions.count; i++) {
        p->partitions.items[i].deferred = false;
    }
    add_positions(batch, &p->partitions);
    batch->out.records = batch->records;
    batch->out.record_metadata = batch->record_metadata;
    batch->out.refusals = batch->refusals;
    batch->out.delivered = batch->delivered;
    batch->out.positions = batch->positions;
    assert(batch->out.position_count <= batch->out.record_count);
    assert(batch->out.record_count == p->jobs[JOB_PUBLISHING].count);
}

void batch_commit(struct pipeline *p)
{
    LIST_FOREACH (&p->jobs[JOB_PUBLISHING], link) {
        struct job *job = job_of(link);
        assert(job->state == JOB_PUBLISHING);
        if (job->partition != NULL) { /* otherwise its window is gone, too */
            window_finish(&job->partition->window, job->record.offset);
        }
    }
}

void batch_end(struct batch *batch)
{
    batch->out.group_metadata = group_metadata_unref(batch->out.group_metadata);
}

/* From the back, so that the oldest is the first again. */
void batch_undo(struct pipeline *p)
{
    struct list *jobs = &p->jobs[JOB_PUBLISHING];
    while (!list_empty(jobs)) {
        struct job *job = job_of(jobs->head.prev);
        job_state_move_front(p, job, job->suspect == 0 ? JOB_COMPLETED : JOB_REFUSED);
    }
}
