/* The order of the stages: pipeline_step() is the table of contents. pipeline_parts.h says which
 * file does each stage. Input from outside between two steps is put into lists here.
 *
 * Three rules:
 * - A job is in one list at a time, and the list is its state.
 * - A window changes only when a record arrives and after a commit. So a discarded event is not
 * lost: its offset is not done, and it is read again.
 * - An orphan (a call in flight whose partition was taken away) holds its key and its in-flight
 * slot until it ends; its outcome is discarded.
 */
#include "presignd/flow/pipeline.h"

#include "flow/pipeline_parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* --- a record comes: decode -> validate -> route ------------------------------------------ */

/* The job fails, enters its merchant's queue, or is blocked behind an earlier event of its key.
 * Records are admitted in the order of the partition, which is the order of a key. */
static void admit_job(struct pipeline *p, struct job *job, struct moment now)
{
    struct admission *admission = &job->admission;
    admit(p->rules.admit, &job->record, now.wall_ms, admission);
    json_decref(admission->event.data); /* later stages need only the body */
    admission->event.data = NULL;
    if (admission->reason != REASON_NONE) {
        job_state_fail(p, job, admission->reason, NULL, now);
        return;
    }
    job_state_set_queue(p, job, admission->merchant);
    admission->merchant = NULL; /* a reload may free it; the queue has the current one */
    if (key_order_enter(&p->key_order, &job->key_entry, admission->mchid,
                        admission->out_contract_code)) {
        job_state_enqueue(p, job, now);
    } else {
        job_state_move(p, job, JOB_BLOCKED);
        job_state_arm(p, job, now);
    }
}

/* A record below the committed offset means that the topic was recreated: the window is not
 * valid. */
static void restart_log(struct pipeline *p, struct partition *partition, int64_t offset)
{
    OBSERVE(p, log_restarted, partition->id, offset);
    window_restart(&partition->window, offset);
}

/* False if the window is full. */
static bool arrive(struct pipeline *p, struct partition *partition, struct job *job,
                   struct moment now)
{
    enum window_arrival arrival = window_arrive(&partition->window, job->record.offset);
    /* Only for the first record of an assignment; later records have increasing offsets. */
    if (arrival == WINDOW_BEHIND && !partition->begun) {
        restart_log(p, partition, job->record.offset);
        arrival = window_arrive(&partition->window, job->record.offset);
    }
    partition->begun = true;
    switch (arrival) {
    case WINDOW_FULL:
        return false;
    case WINDOW_NEW:
        admit_job(p, job, now);
        return true;
    default: /* its outcome was committed before a restart, or it is unfinished */
        job_state_discard(p, job, now);
        return true;
    }
}

bool pipeline_record(struct pipeline *p, const struct record *record)
{
    struct partition *partition = partitions_find(&p->partitions, record->partition);
    if (partition == NULL || p->revoking || p->draining) {
        return true; /* it is not in a window, and will be read again */
    }
    struct moment now = now_of(p);
    struct job *job = job_new(record);
    job->partition = partition;
    list_push_back(&partition->jobs, &job->mine);
    job_state_charge(p, job);
    age_enter(p, job);
    /* One more record may follow a pause. A full share does not delay it, since it is in memory
     * already. While no records are wanted, it waits to be admitted. */
    if (p->all_paused || !list_empty(&partition->overflow) || !arrive(p, partition, job, now)) {
        job_state_move(p, job, JOB_NEW);
    }
    backpressure_update(p, partition);
    return !budget_spent(p, &p->admission);
}

/* Admits the records that came while the window was full or no records were wanted; at least one,
 * also if new records have spent the time budget. */
static void take_overflow(struct pipeline *p, struct partition *partition, struct moment now)
{
    struct list_link *link;
    while ((link = list_first(&partition->overflow)) != NULL) {
        if (!arrive(p, partition, job_of(link), now) || budget_spent(p, &p->admission)) {
            return;
        }
    }
}

/* Admits what waits, then resumes full partitions that have room. */
static void refill(struct pipeline *p, struct moment now)
{
    if (p->revoking || p->draining) {
        return;
    }
    for (size_t i = 0; i < p->partitions.count; i++) {
        struct partition *partition = &p->partitions.items[i];
        if (partition->full || !list_empty(&partition->overflow)) {
            if (!p->all_paused) {
                take_overflow(p, partition, now);
            }
            backpressure_update(p, partition);
        }
    }
}

/* --- what else comes from outside -------------------------------------------------------- */

/* Called from within the caller, so the next step reads the answer. */
void pipeline_answered(struct pipeline *p, void *cookie, struct answer *answer)
{
    struct job *job = cookie;
    answer_deinit(&job->answer);
    job->answer = *answer;
    *answer = (struct answer){0};
    job_state_move(p, job, JOB_ANSWERED);
}

void pipeline_batch_ended(struct pipeline *p, const struct transaction_end *end)
{
    publish_ended(p, end);
}

void pipeline_keys_changed(struct pipeline *p, const char *mchid, bool changed)
{
    struct merchant_queue *queue = map_get(p->queues, mchid, strlen(mchid));
    if (queue != NULL) {
        dispatch_keys_changed(p, queue, changed, now_of(p));
    }
}

void pipeline_assigned(struct pipeline *p, struct group_metadata *group_metadata,
                       const int32_t *partitions, size_t count)
{
    assign_begin(p, group_metadata, partitions, count);
}

void pipeline_positions(struct pipeline *p, const struct consumer_position *positions, size_t count)
{
    assign_positions(p, positions, count);
}

void pipeline_revoking(struct pipeline *p)
{
    assign_revoke(p);
}

void pipeline_lost(struct pipeline *p)
{
    assign_drop(p, now_of(p));
}

void pipeline_drain(struct pipeline *p)
{
    p->draining = true;
    assign_drop_waiting(p, now_of(p));
}

void pipeline_undrain(struct pipeline *p)
{
    assert(p->group_metadata == NULL);
    p->draining = false;
}

void pipeline_limit_metadata(struct pipeline *p, size_t bytes)
{
    p->span = window_span_of(bytes);
    assign_limit(p);
}

size_t pipeline_wants(struct pipeline *p)
{
    return backpressure_wants(p);
}

/* --- the step ---------------------------------------------------------------------------- */

/* Answers come first: they free in-flight slots, keys and windows for the later stages of the same
 * step, and their outcomes are published by the transaction that begins in it. All stages use one
 * reading of the clock. */
void pipeline_step(struct pipeline *p)
{
    struct moment now = now_of(p);
    p->work_left = false;
    pausing_end_due(p, now);
    dispatch_read(p, now);
    job_state_wake_due(p, now);
    refill(p, now);
    relieve_full(p, now);
    dispatch_start(p, now);
    publish_begin(p, now);
    age_count_late(p, now);
    assign_release(p, now);
    progress_note(p, now);
    p->admission = (struct time_budget){0};
}

int64_t pipeline_next_ms(const struct pipeline *p)
{
    if (p->work_left) {
        return PIPELINE_AT_ONCE;
    }
    int64_t next = p->relief_ms < p->reopen_ms ? p->relief_ms : p->reopen_ms;
    next = p->pause_end_ms < next ? p->pause_end_ms : next;
    const struct heap_slot *slot = heap_first(&p->due);
    if (slot != NULL && slot->at < next) {
        next = slot->at;
    }
    if (publish_next_ms(p) < next) {
        next = publish_next_ms(p);
    }
    if (p->revoking && !publish_half_done(p) && p->revoke_end_ms < next) {
        next = p->revoke_end_ms;
    }
    /* The conditions must be those of backpressure_wants(), or the loop spins. */
    if (p->stopped_since_ms >= 0 && !p->all_paused && !p->revoking && !p->draining &&
        p->stopped_since_ms + PIPELINE_PAUSE_AFTER_MS < next) {
        next = p->stopped_since_ms + PIPELINE_PAUSE_AFTER_MS;
    }
    return next;
}

/* --- life --------------------------------------------------------------------------------- */

/* Probes do not count against the merchants' shares, so they have a limit of their own. */
static void set_hold_rules(struct pipeline *p)
{
    unsigned quarter = p->rules.limits.in_flight / 4;
    unsigned probes = quarter < HOLD_PROBES_MAX ? quarter : HOLD_PROBES_MAX;
    hold_configure(&p->hold, &(struct hold_rules){
                                 .host_count = p->rules.limits.host_count,
                                 .probes_max = probes > 0 ? probes : 1,
                                 .hold_ms = p->rules.limits.hold_unauthorized_ms,
                                 .base_delay_ms = p->rules.retry.base_delay_ms,
                                 .max_delay_ms = p->rules.retry.max_delay_ms,
                             });
}

struct pipeline *pipeline_new(const struct pipeline_ports *ports,
                              const struct pipeline_observer *observer,
                              const struct pipeline_rules *rules)
{
    struct pipeline *p = mem_zalloc(1, sizeof *p);
    p->ports = *ports;
    p->observer = *observer;
    p->rules = *rules;
    p->queues = map_new();
    p->span = WINDOW_SPAN;
    shares_init(&p->memory, PIPELINE_BYTES_MAX);
    p->stopped_since_ms = -1;
    p->stalled_since_ms = -1;
    p->relief_ms = INT64_MAX;
    p->reopen_ms = INT64_MAX;
    key_order_init(&p->key_order);
    pausing_init(p);
    p->backlog_since_ms = -1;
    hold_init(&p->hold, &(struct hold_rules){.host_count = rules->limits.host_count});
    set_hold_rules(p);
    list_init(&p->rotation);
    for (size_t i = 0; i < JOB_STATE_COUNT; i++) {
        list_init(&p->jobs[i]);
    }
    return p;
}

struct pipeline *pipeline_free(struct pipeline *p)
{
    if (p == NULL) {
        return NULL;
    }
    struct moment now = now_of(p);
    /* Waiting jobs first, so that no discarded job enqueues the next one of its key. */
    assign_drop(p, now);
    job_state_discard_all(p, &p->jobs[JOB_CALLING], now);
    job_state_discard_all(p, &p->jobs[JOB_ANSWERED], now);
    job_state_discard_all(p, &p->jobs[JOB_PUBLISHING], now);
    batch_end(&p->batch);
    batch_deinit(&p->batch);
    suspects_deinit(&p->suspects);
    for (size_t i = 0; i < p->queue_count; i++) {
        merchant_queue_deinit(p->queue_table[i]);
        free(p->queue_table[i]);
    }
    free(p->queue_table);
    map_free(p->queues);
    key_order_deinit(&p->key_order);
    pauses_deinit(&p->pauses);
    heap_deinit(&p->due);
    heap_deinit(&p->ages);
    heap_deinit(&p->punctual);
    free(p);
    return NULL;
}

static void configure_hosts(struct pipeline *p)
{
    bool was_down = hold_down(&p->hold);
    bool changed = p->rules.limits.host_count != p->hold.rules.host_count;
    set_hold_rules(p);
    for (size_t i = 0; changed && i < p->queue_count; i++) {
        hold_merchant_reset_hosts(&p->queue_table[i]->hold);
    }
    if (was_down && !hold_down(&p->hold)) {
        OBSERVE(p, endpoint_down, false); /* nothing is known about the new hosts yet */
    }
}

/* A merchant whose section has not changed keeps its state, held or not. */
static void configure_queue(struct pipeline *p, struct merchant_queue *queue, struct moment now)
{
    struct merchant *merchant = merchants_find(p->rules.admit->merchants, queue->merchant->mchid);
    enum hold_why was = hold_why_held(&queue->hold);
    bool was_gone = queue->gone;
    queue->gone = merchant == NULL;
    bool reset = !queue->gone && merchant_queue_configure(queue, merchant, now.mono_ms);
    bool unholds = p->rules.limits.hold_unauthorized_ms == 0 && hold_is_held(&queue->hold);
    if (!reset && (queue->gone || was_gone || unholds)) {
        hold_merchant_reset(&queue->hold, now.mono_ms);
    }
    if (was != HOLD_WHY_NONE && !hold_is_held(&queue->hold)) {
        OBSERVE(p, merchant_held, queue->merchant->mchid, was, false);
    }
}

void pipeline_configure(struct pipeline *p, const struct pipeline_rules *rules)
{
    struct moment now = now_of(p);
    p->rules = *rules;
    configure_hosts(p);
    for (size_t i = 0; i < p->queue_count; i++) {
        configure_queue(p, p->queue_table[i], now);
    }
    pausing_configure(p, now);
}

/* --- what others ask ---------------------------------------------------------------------- */

bool pipeline_idle(const struct pipeline *p)
{
    return assign_idle(p);
}

bool pipeline_half_published(const struct pipeline *p)
{
    return publish_half_done(p);
}

/* The list is in the order in which calls began. */
static int64_t oldest_call_ms(const struct pipeline *p)
{
    struct list_link *first = list_first(&p->jobs[JOB_CALLING]);
    return first == NULL ? INT64_MAX : job_of(first)->began_ms;
}

/* Without probes, each of which may time out, and without events between two attempts, since
 * Retry-After may be longer than the watchdog's patience; progress_moves() checks their timers. */
static size_t unexplained(const struct pipeline *p, const struct pipeline_status *status)
{
    const size_t *jobs = status->jobs;
    size_t calls = jobs[JOB_CALLING] + jobs[JOB_ANSWERED];
    calls -= p->hold.probes < calls ? p->hold.probes : calls;
    return status->held[HOLD_WHY_NONE] + calls + publish_ready(p) + jobs[JOB_PUBLISHING];
}

static void count_refused(const struct pipeline *p, struct pipeline_status *status)
{
    LIST_FOREACH (&p->jobs[JOB_REFUSED], link) {
        const struct job *job = job_of(link);
        status->refused[job_topic(job)][job->refusal]++;
    }
}

void pipeline_status(const struct pipeline *p, struct pipeline_status *status)
{
    *status = (struct pipeline_status){
        .in_flight = p->in_flight,
        .oldest_call_ms = oldest_call_ms(p),
        .bytes = p->memory.used,
        .partitions = p->partitions.count,
        .commits = p->commits,
        .deferred = p->deferred,
        .late = p->late,
        .oldest_ms = age_oldest_ms(p),
        .look_steps = p->look_steps,
        .endpoint_down = hold_down(&p->hold),
        .draining = p->draining,
        .revoking = p->revoking,
        .all_paused = p->all_paused_ms >= 0,
    };
    for (size_t i = 0; i < JOB_STATE_COUNT; i++) {
        status->jobs[i] = p->jobs[i].count;
    }
    status->jobs[JOB_WAITING] = p->waiting;
    status->held[HOLD_WHY_PAUSED] = p->jobs[JOB_PAUSED].count;
    count_refused(p, status);
    for (size_t i = 0; i < p->partitions.count; i++) {
        status->partitions_full += p->partitions.items[i].full;
        status->jobs[JOB_NEW] += p->partitions.items[i].overflow.count;
    }
    for (size_t i = 0; i < p->queue_count; i++) {
        const struct merchant_queue *queue = p->queue_table[i];
        size_t waiting = merchant_queue_waiting(queue);
        status->merchants_held += hold_is_held(&queue->hold);
        status->held[hold_why(&p->hold, &queue->hold)] += waiting;
        status->merchants_limited += waiting > 0 && merchant_queue_limited(queue);
    }
    status->unexplained = unexplained(p, status);
}

const struct partition *pipeline_partition(const struct pipeline *p, size_t index)
{
    return &p->partitions.items[index];
}

const struct merchant_queue *pipeline_queue(const struct pipeline *p, const char *mchid)
{
    return map_get(p->queues, mchid, strlen(mchid));
}

const struct hold *pipeline_hold(const struct pipeline *p)
{
    return &p->hold;
}
