#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long the broker waits for a member to release its partitions. */
#define REBALANCE_MS 8000
/* The unit's WatchdogSec=. */
#define WATCHDOG_MS 30000
/* As daemon.drain_timeout_ms. */
#define DRAIN_MS 20000
/* How many partitions' positions are hidden by an open transaction, in per mille, and for how long.
 */
#define LATE_SHARE 100
#define LATE_MS    20000

/* --- transactions -------------------------------------------------------------------------- */

/* From a submit to its end: the offsets are sent (the broker checks the generation then), the
 * transaction is committed or not, and later the process learns of it. */
struct sim_transaction {
    struct sim_task task;      /* first */
    struct sim_member *member; /* NULL: its process has ended */
    uint32_t generation, joins;
    struct sim_outcome *outcomes;
    size_t outcome_count;
    struct transaction_position *positions;
    size_t position_count;
    bool pending;                          /* offsets sent, not yet decided */
    const struct transaction_batch *batch; /* of the process, valid while that runs */
    enum refusal *refusals;                /* of each outcome */
    bool untransacted;                     /* see "without transactions" */
    uint32_t assignment;                   /* of the member, when it was submitted */
    bool *delivered;                       /* as reported to the process, for each outcome */
    struct transaction_end end;
};

static void transaction_free(struct sim_transaction *transaction)
{
    for (size_t i = 0; i < transaction->position_count; i++) {
        free((char *)transaction->positions[i].metadata);
    }
    free(transaction->positions);
    free(transaction->outcomes);
    free(transaction->refusals);
    free(transaction->delivered);
    free(transaction);
}

static void check_batch(struct sim *sim, const struct sim_member *member,
                        const struct transaction_batch *batch, uint32_t generation)
{
    size_t bytes = 0;
    /* A commit whose end was not known is simply repeated. */
    bool moves = generation != sim->generation || member->untransacted;
    for (size_t i = 0; i < batch->record_count; i++) {
        bytes += batch->records[i].value_len + batch->records[i].key_len;
    }
    for (size_t i = 0; i < batch->position_count; i++) {
        const struct transaction_position *position = &batch->positions[i];
        const struct sim_partition *log = &sim->partitions[position->partition];
        moves = moves || log->restarted || position->offset != log->committed ||
                strcmp(position->metadata, log->metadata) != 0;
    }
    SIM_CHECK(sim, member->transaction == NULL, "two batches at once");
    SIM_CHECK(sim, batch->record_count > 0 && batch->record_count <= TRANSACTION_RECORDS_MAX,
              "a batch of %zu records", batch->record_count);
    SIM_CHECK(sim, bytes <= TRANSACTION_BYTES_MAX || batch->record_count == 1,
              "a batch of %zu bytes", bytes);
    SIM_CHECK(sim, moves, "a batch that moves no position: its end cannot be determined");
}

static int32_t port_route(void *publisher, enum output_topic topic, const void *key, size_t key_len)
{
    (void)publisher;
    uint32_t hash = (uint32_t)topic;
    for (size_t i = 0; i < key_len; i++) {
        hash = hash * 31 + ((const unsigned char *)key)[i];
    }
    return key == NULL ? -1 : (int32_t)(hash % SIM_OUTPUTS);
}

static void send_outcome(struct sim *sim, struct sim_member *member,
                         const struct transaction_record *record, struct sim_outcome *outcome)
{
    log_read_outcome(sim, member->index, record, outcome);
    outcome->topic = record->topic;
    outcome->size = record->key_len + record->value_len;
    outcome->output = port_route(member, record->topic, record->key, record->key_len);
    /* As the publisher does: an outcome without a key goes to a partition with a leader. */
    unsigned shut = sim->weather.shut[outcome->topic];
    while (outcome->output < 0) {
        int32_t any = (int32_t)sim_below(sim, SIM_OUTPUTS);
        bool open = (shut >> any & 1) == 0 || shut == (1u << SIM_OUTPUTS) - 1;
        outcome->output = open ? any : -1;
    }
}

/* The group has a new generation, or its process has joined again. */
static bool is_late(const struct sim *sim, const struct sim_transaction *transaction)
{
    return transaction->generation != sim->generation ||
           (transaction->member != NULL && transaction->joins != transaction->member->joins);
}

static void port_submit(void *publisher, const struct transaction_batch *batch)
{
    struct sim_member *member = publisher;
    struct sim *sim = member->sim;
    struct sim_transaction *transaction = mem_zalloc(1, sizeof *transaction);
    transaction->member = member;
    transaction->batch = batch;
    transaction->refusals = mem_zalloc(batch->record_count, sizeof *transaction->refusals);
    transaction->generation = ((struct sim_group_metadata *)batch->group_metadata)->generation;
    transaction->joins = ((struct sim_group_metadata *)batch->group_metadata)->joins;
    transaction->untransacted = member->untransacted;
    transaction->assignment = member->assignment;
    transaction->delivered = mem_zalloc(batch->record_count, sizeof *transaction->delivered);
    memcpy(transaction->delivered, batch->delivered, batch->record_count * sizeof(bool));
    check_batch(sim, member, batch, transaction->generation);
    /* A late batch is rejected unread; its log may be another one by now. Without transactions its
     * records are taken. */
    bool late = is_late(sim, transaction) && (!member->untransacted || sim->restarts > 0);
    transaction->outcome_count = late ? 0 : batch->record_count;
    transaction->outcomes = mem_zalloc(batch->record_count, sizeof *transaction->outcomes);
    for (size_t i = 0; i < transaction->outcome_count; i++) {
        send_outcome(sim, member, &batch->records[i], &transaction->outcomes[i]);
    }
    transaction->position_count = batch->position_count;
    transaction->positions = mem_zalloc(batch->position_count, sizeof *transaction->positions);
    for (size_t i = 0; i < batch->position_count; i++) {
        transaction->positions[i] = batch->positions[i];
        transaction->positions[i].metadata = mem_strdup(batch->positions[i].metadata);
    }
    member->transaction = transaction;
    bool slow = sim_chance(sim, sim->weather.slow_share);
    sim_task_set(sim, &transaction->task, SIM_OFFSETS_SENT, member->index,
                 (int64_t)sim_below(sim, slow ? 3000 : 4));
}

static enum refusal refusal_of(const struct sim *sim, const struct sim_outcome *outcome)
{
    size_t size_most = sim->weather.size_most[outcome->topic];
    return (sim->weather.shut_topics >> outcome->topic & 1) != 0             ? REFUSAL_NO_TOPIC
           : (sim->weather.shut[outcome->topic] >> outcome->output & 1) != 0 ? REFUSAL_NO_LEADER
           : size_most != 0 && outcome->size > size_most                     ? REFUSAL_SIZE
           : outcome->event->refused && !sim->calm                           ? REFUSAL_RECORD
                                                                             : REFUSAL_NONE;
}

/* A broker answers for all records of one partition. Returns how many are refused. */
static size_t refuse(struct sim *sim, struct sim_transaction *transaction)
{
    enum refusal requests[OUTPUT_TOPIC_COUNT][SIM_OUTPUTS] = {{REFUSAL_NONE}};
    size_t refused = 0;
    for (size_t i = 0; i < transaction->outcome_count; i++) {
        const struct sim_outcome *outcome = &transaction->outcomes[i];
        enum refusal refusal = refusal_of(sim, outcome);
        if (refusal != REFUSAL_NONE) {
            requests[outcome->topic][outcome->output] = refusal;
        }
    }
    for (size_t i = 0; i < transaction->outcome_count; i++) {
        const struct sim_outcome *outcome = &transaction->outcomes[i];
        transaction->refusals[i] = requests[outcome->topic][outcome->output];
        refused += transaction->refusals[i] != REFUSAL_NONE;
    }
    sim->refusals += refused > 0;
    return refused;
}

static void tell_records(struct sim_transaction *transaction)
{
    const struct transaction_batch *batch = transaction->batch;
    for (size_t i = 0; i < transaction->outcome_count; i++) {
        batch->delivered[i] = transaction->delivered[i];
        batch->refusals[i] = transaction->refusals[i];
        batch->record_metadata[i] = (struct record_metadata){transaction->outcomes[i].output, -1};
    }
}

static void decide(struct sim *sim, struct sim_transaction *transaction)
{
    if (transaction->member != NULL && transaction->member->fenced) {
        transaction->end.verdict = TRANSACTION_FENCED;
        return;
    }
    transaction->end.refused = refuse(sim, transaction);
    if (transaction->end.refused > 0) {
        transaction->end.verdict = TRANSACTION_RECORDS_REFUSED;
        return;
    }
    if (sim_chance(sim, sim->weather.abort_share)) {
        transaction->end.verdict = TRANSACTION_ABORTED;
        sim->aborts++;
        return;
    }
    sim->commits++;
    transaction->end.verdict = TRANSACTION_COMMITTED;
    for (size_t i = 0; i < transaction->outcome_count; i++) {
        /* Another one's outcome may be there already, but no position: that fences this one. */
        SIM_CHECK(sim, !transaction->outcomes[i].event->in_position,
                  "a done event is published again");
        log_publish_outcome(sim, &transaction->outcomes[i], transaction->assignment, false);
    }
    for (size_t i = 0; i < transaction->position_count; i++) {
        log_commit_position(sim, &transaction->positions[i]);
    }
}

static void tell_later(struct sim *sim, struct sim_transaction *transaction);
static void ended(struct sim *sim, struct sim_transaction *transaction);

/* --- without transactions ------------------------------------------------------------------ */

/* Records arrive whoever sent them. The acknowledgement may be lost. */
static void arrive(struct sim *sim, struct sim_transaction *transaction, size_t index)
{
    const struct sim_outcome *outcome = &transaction->outcomes[index];
    bool lost = sim_chance(sim, sim->weather.abort_share);
    if (!outcome->event->gone) {
        log_publish_outcome(sim, outcome, transaction->assignment, lost);
    }
    transaction->delivered[index] = !lost;
}

/* Returns how many of the records are acknowledged by now. */
static size_t arrive_all(struct sim *sim, struct sim_transaction *transaction)
{
    size_t delivered = 0;
    transaction->end.refused = refuse(sim, transaction);
    for (size_t i = 0; i < transaction->outcome_count; i++) {
        if (transaction->delivered[i]) {
            transaction->end.refused -= transaction->refusals[i] != REFUSAL_NONE;
            transaction->refusals[i] = REFUSAL_NONE;
        } else if (transaction->refusals[i] == REFUSAL_NONE) {
            arrive(sim, transaction, i);
        }
        delivered += transaction->delivered[i];
    }
    return delivered;
}

/* The records have arrived; the consumer's commit follows if all are acknowledged. */
static void records_sent(struct sim *sim, struct sim_transaction *transaction)
{
    size_t delivered = arrive_all(sim, transaction);
    if (transaction->member == NULL) {
        transaction_free(transaction); /* nobody is left to commit */
        return;
    }
    if (transaction->outcome_count == 0 || delivered < transaction->outcome_count) {
        transaction->end.verdict =
            transaction->end.refused > 0 ? TRANSACTION_RECORDS_REFUSED : TRANSACTION_ABORTED;
        sim->aborts++;
        tell_later(sim, transaction);
        return;
    }
    bool slow = sim_chance(sim, sim->weather.slow_share);
    sim_task_set(sim, &transaction->task, SIM_COMMITTED, transaction->task.member,
                 (int64_t)sim_below(sim, slow ? 3000 : 4));
}

/* The group checks the membership. The answer may be lost after it took effect. */
static void decide_positions(struct sim *sim, struct sim_transaction *transaction)
{
    struct sim_member *member = transaction->member;
    bool lost = sim_chance(sim, sim->weather.abort_share);
    bool stale = is_late(sim, transaction) || (member != NULL && member->fenced);
    transaction->end.verdict = stale  ? TRANSACTION_STALE
                               : lost ? TRANSACTION_ABORTED
                                      : TRANSACTION_COMMITTED;
    if (stale || (lost && sim_chance(sim, 500))) {
        return;
    }
    sim->commits++;
    for (size_t i = 0; i < transaction->position_count; i++) {
        log_commit_position(sim, &transaction->positions[i]);
    }
}

/* The consumer is replaced: the batch ends at once, and its commit may still arrive. */
void transaction_abandon(struct sim *sim, struct sim_member *member)
{
    struct sim_transaction *transaction = member->transaction;
    if (transaction == NULL || !transaction->untransacted ||
        transaction->task.kind != SIM_COMMITTED) {
        return;
    }
    heap_remove(&sim->tasks, &transaction->task.slot);
    if (sim_chance(sim, 500)) {
        decide_positions(sim, transaction);
    }
    transaction->end.verdict = TRANSACTION_ABORTED;
    ended(sim, transaction);
}

/* --- the end of a batch ---------------------------------------------------------------- */

static void complete_pending(struct sim *sim, struct sim_transaction *transaction)
{
    transaction->pending = false;
    sim->pending--;
    sim_task_new(sim, SIM_GROUP_CHECK, -1, 0);
}

/* The process may learn of the end much later: the response to a commit was lost. */
static void tell_later(struct sim *sim, struct sim_transaction *transaction)
{
    bool slow = sim_chance(sim, sim->weather.slow_share);
    sim_task_set(sim, &transaction->task, SIM_TRANSACTION_ENDED, transaction->task.member,
                 (int64_t)sim_below(sim, slow ? 20000 : 4));
}

static void offsets_sent(struct sim *sim, struct sim_transaction *transaction)
{
    if (transaction->untransacted) {
        records_sent(sim, transaction);
        return;
    }
    if (is_late(sim, transaction)) {
        transaction->end.verdict = TRANSACTION_STALE;
        tell_later(sim, transaction);
        return;
    }
    transaction->pending = true;
    sim->pending++;
    bool slow = sim_chance(sim, sim->weather.slow_share);
    sim_task_set(sim, &transaction->task, SIM_COMMITTED, transaction->task.member,
                 (int64_t)sim_below(sim, slow ? 3000 : 4));
}

/* A process whose name is used by another one ends, as the daemon does, and is started again. */
static void ended(struct sim *sim, struct sim_transaction *transaction)
{
    struct sim_member *member = transaction->member;
    bool fenced = transaction->end.verdict == TRANSACTION_FENCED ||
                  (transaction->untransacted && member->fenced);
    member->transaction = NULL;
    transaction->end.last_error = "simulated";
    tell_records(transaction);
    pipeline_batch_ended(member->pipeline, &transaction->end);
    transaction_free(transaction);
    if (fenced) {
        sim->fenced++;
        chaos_crash(sim, member);
    }
}

void transaction_step(struct sim *sim, struct sim_task *task)
{
    struct sim_transaction *transaction = CONTAINER_OF(task, struct sim_transaction, task);
    switch (task->kind) {
    case SIM_OFFSETS_SENT:
        offsets_sent(sim, transaction);
        break;
    case SIM_COMMITTED:
        if (transaction->untransacted) {
            decide_positions(sim, transaction);
        } else {
            decide(sim, transaction);
            complete_pending(sim, transaction);
        }
        if (transaction->member == NULL) {
            transaction_free(transaction);
        } else {
            tell_later(sim, transaction);
        }
        break;
    default:
        ended(sim, transaction);
    }
}

void transaction_drop(struct sim *sim, struct sim_task *task)
{
    struct sim_transaction *transaction = CONTAINER_OF(task, struct sim_transaction, task);
    if (transaction->pending) {
        complete_pending(sim, transaction);
    }
    transaction_free(transaction);
}

void transaction_take_back(struct sim *sim, struct sim_member *member)
{
    struct sim_transaction *transaction = member->transaction;
    bool begun =
        transaction != NULL && (transaction->task.kind == SIM_TRANSACTION_ENDED ||
                                (transaction->task.kind == SIM_COMMITTED && sim_chance(sim, 500)));
    if (transaction == NULL || begun) {
        return;
    }
    if (transaction->untransacted) {
        if (transaction->task.kind == SIM_COMMITTED) {
            return; /* the consumer's commit is not the publisher's */
        }
        if (sim_chance(sim, 500)) { /* sent, and no acknowledgement is waited for */
            (void)arrive_all(sim, transaction);
        }
        for (size_t i = 0; i < transaction->outcome_count; i++) {
            bool told = transaction->batch->delivered[i];
            transaction->outcomes[i].event->unacknowledged |= transaction->delivered[i] && !told;
            transaction->delivered[i] = told;
        }
    }
    heap_remove(&sim->tasks, &transaction->task.slot);
    if (transaction->pending) {
        complete_pending(sim, transaction);
    }
    transaction->end.verdict = TRANSACTION_ABORTED;
    sim->aborts++;
    ended(sim, transaction);
    member->awake = true;
}

/* The process is killed during a transaction. A commit that was requested may succeed; any other
 * transaction is aborted. */
static void leave_transaction(struct sim *sim, struct sim_member *member)
{
    struct sim_transaction *transaction = member->transaction;
    if (transaction == NULL) {
        return;
    }
    member->transaction = NULL;
    transaction->member = NULL;
    bool sent = transaction->pending ||
                (transaction->untransacted && transaction->task.kind != SIM_TRANSACTION_ENDED);
    if (sent && sim_chance(sim, 500)) {
        return; /* decided when its time comes */
    }
    heap_remove(&sim->tasks, &transaction->task.slot);
    transaction_drop(sim, &transaction->task);
}

/* --- consumer -------------------------------------------------------------------------------- */

static void set_paused(struct sim_member *member, int32_t partition, bool paused)
{
    member->sim->pauses += paused;
    for (size_t i = 0; i < member->reading_count; i++) {
        struct sim_reading *reading = &member->readings[i];
        if (reading->partition == partition && member->state == SIM_ASSIGNED) {
            SIM_CHECK(member->sim, reading->paused != paused, "partition %d is %s already",
                      partition, paused ? "paused" : "not paused");
            reading->paused = paused;
            member->awake = true; /* records after a resume wake the loop */
        }
    }
}

static void port_pause(void *consumer, int32_t partition)
{
    set_paused(consumer, partition, true);
}

static void port_resume(void *consumer, int32_t partition)
{
    set_paused(consumer, partition, false);
}

void member_leave(struct sim_member *member)
{
    member->state = SIM_OUT;
    member->reading_count = 0;
    if (member->group_metadata != NULL) {
        group_metadata_unref(&member->group_metadata->group_metadata);
        member->group_metadata = NULL;
    }
}

static void port_release(void *consumer)
{
    struct sim_member *member = consumer;
    SIM_CHECK(member->sim, member->state == SIM_REVOKING, "a release without a revocation");
    log_check_release(member->sim, member->assignment);
    member_leave(member);
    sim_task_new(member->sim, SIM_GROUP_CHECK, -1, 0);
}

static struct consumer_position read_position(struct sim *sim, struct sim_reading *reading)
{
    const struct sim_partition *log = &sim->partitions[reading->partition];
    /* Committed beyond the end, or in a recreated log: auto.offset.reset, earliest. */
    reading->cursor = log->restarted || log->committed < 0 ? 0 : log_find(sim, log, log->committed);
    reading->known = true;
    return (struct consumer_position){
        .partition = reading->partition, .offset = log->committed, .metadata = log->metadata};
}

/* Positions that are not known yet: all, or those without an open transaction of a killed process.
 */
static void tell_positions(struct sim *sim, struct sim_member *member, unsigned late_share)
{
    struct consumer_position positions[SIM_PARTITIONS_MAX] = {0};
    size_t count = 0;
    bool late = false;
    for (size_t i = 0; i < member->reading_count; i++) {
        struct sim_reading *reading = &member->readings[i];
        if (!reading->known && late_share > 0 && sim_chance(sim, late_share)) {
            late = true;
        } else if (!reading->known) {
            positions[count++] = read_position(sim, reading);
        }
    }
    pipeline_positions(member->pipeline, positions, count);
    if (late) {
        sim_task_new(sim, SIM_POSITIONS, member->index, 1 + (int64_t)sim_below(sim, LATE_MS));
    }
}

void group_positions(struct sim *sim, struct sim_task *task)
{
    struct sim_member *member = &sim->members[task->member];
    if (task->epoch == member->epoch && member->state == SIM_ASSIGNED) {
        tell_positions(sim, member, sim->calm ? 0 : LATE_SHARE);
    }
    free(task);
}

static void take_assignment(struct sim *sim, struct sim_member *member)
{
    int32_t ids[SIM_PARTITIONS_MAX];
    member_leave(member);
    for (size_t i = 0; i < sim->partition_count; i++) {
        if (sim->owners[i] == member->index) {
            ids[member->reading_count] = (int32_t)i;
            member->readings[member->reading_count++] =
                (struct sim_reading){.partition = (int32_t)i};
        }
    }
    member->group_metadata = mem_alloc(sizeof *member->group_metadata);
    *member->group_metadata = (struct sim_group_metadata){
        .group_metadata = {.references = 1}, .generation = sim->generation, .joins = member->joins};
    member->state = SIM_ASSIGNED;
    member->assignment = ++sim->assignments;
    for (size_t i = 0; i < SIM_CODES_MAX; i++) {
        member->code_last[i] = -1;
    }
    pipeline_assigned(member->pipeline, &member->group_metadata->group_metadata, ids,
                      member->reading_count);
    tell_positions(sim, member, sim->calm || sim->options.story != NULL ? 0 : LATE_SHARE);
}

static void take_note(struct sim *sim, struct sim_member *member)
{
    enum sim_note note = member->note;
    member->note = SIM_NO_NOTE;
    switch (note) {
    case SIM_TOLD_ASSIGN:
        if (!sim->preparing && member->note_generation == sim->generation) {
            take_assignment(sim, member);
        }
        break;
    case SIM_TOLD_REVOKE:
        member->state = SIM_REVOKING;
        pipeline_revoking(member->pipeline);
        break;
    case SIM_TOLD_LOST:
        if (member->state != SIM_OUT) {
            pipeline_lost(member->pipeline);
        }
        member_leave(member);
        member->kicked = false;
        group_begin(sim);
        break;
    default:
        break;
    }
}

struct fetched {
    struct sim_member *member;
    bool more; /* the owner wants another one in this round */
};

static bool is_paused(const struct sim_member *member, int32_t partition)
{
    for (size_t i = 0; i < member->reading_count; i++) {
        if (member->readings[i].partition == partition) {
            return member->readings[i].paused;
        }
    }
    return true;
}

static void deliver(void *context, const struct record *record)
{
    struct fetched *delivery = context;
    const struct sim_member *member = delivery->member;
    bool discards = member->draining || member->state == SIM_REVOKING;
    delivery->more = pipeline_record(delivery->member->pipeline, record);
    bool all = pauses_find(pipeline_pauses(member->pipeline), PAUSE_ALL, "") != NULL;
    SIM_CHECK(member->sim, discards || !all || is_paused(member, record->partition),
              "more than one record of a partition is read while everything is paused");
}

/* False if there is nothing more to read, or no more is wanted in this round. */
static bool read_one(struct sim *sim, struct sim_member *member, bool *wanted)
{
    for (size_t tried = 0; tried < member->reading_count; tried++) {
        struct sim_reading *reading =
            &member->readings[member->next_reading++ % member->reading_count];
        const struct sim_partition *log = &sim->partitions[reading->partition];
        if (reading->known && !reading->paused && reading->cursor < log->count) {
            const struct sim_event *event = &sim->events[log->entries[reading->cursor++]];
            struct fetched delivery = {.member = member};
            sim->busy_ms += event->kind == SIM_GARBAGE ? sim->garbage_costs_ms : 0;
            log_record(sim, event, deliver, &delivery);
            *wanted = delivery.more;
            return true;
        }
    }
    return false;
}

/* As consumer_poll(): true if there may be more. */
static bool poll(struct sim *sim, struct sim_member *member, size_t records_max)
{
    if (records_max == 0) {
        return false;
    }
    if (member->note != SIM_NO_NOTE) {
        take_note(sim, member);
        return true;
    }
    bool wanted = true;
    while (member->state == SIM_ASSIGNED && records_max > 0 && wanted &&
           read_one(sim, member, &wanted)) {
        records_max--;
    }
    return records_max == 0 || !wanted;
}

/* --- members ------------------------------------------------------------------------------- */

static struct moment clock_read(void *context)
{
    const struct sim *sim = context;
    return (struct moment){.mono_ms = sim->mono_ms + sim->busy_ms,
                           .wall_ms = sim->wall_ms + sim->busy_ms};
}

static uint64_t port_random(void *context)
{
    return sim_random(context);
}

struct pipeline_rules member_rules(const struct sim *sim, const struct sim_member *member)
{
    struct pipeline_rules rules = sim->rules;
    rules.delivery = member->untransacted ? DELIVERY_AT_LEAST_ONCE : DELIVERY_EXACTLY_ONCE;
    return rules;
}

void member_start(struct sim *sim, struct sim_member *member)
{
    struct pipeline_observer observer = {0};
    if (sim->observed) {
        observe_set_up(member, &observer);
    }
    sim->clock = (struct clock){.now = clock_read, .context = sim};
    struct pipeline_ports ports = {
        .consumer = member,
        .pause = port_pause,
        .resume = port_resume,
        .release = port_release,
        .caller = member,
        .call = endpoint_call,
        .publisher = member,
        .submit = port_submit,
        .route = port_route,
        .keys = member,
        .has_keys = lists_have_key,
        .refresh_keys = lists_refresh,
        .clock = &sim->clock,
        .random = port_random,
        .random_context = sim,
    };
    member->epoch++;
    member->alive = member->awake = true;
    member->draining = false;
    member->untransacted = sim->options.delivery == SIM_ALL_AT_LEAST_ONCE ||
                           (sim->options.delivery == SIM_MIXED && sim_chance(sim, 500));
    const struct pipeline_rules rules = member_rules(sim, member);
    member->pipeline = pipeline_new(&ports, &observer, &rules);
    lists_begin(member);
    group_begin(sim);
}

void member_stop(struct sim *sim, struct sim_member *member)
{
    leave_transaction(sim, member);
    member_leave(member);
    member->pipeline = pipeline_free(member->pipeline);
    member->alive = member->kicked = member->draining = member->fenced = false;
    member->away = member->expelled = false;
    member->leaves = member->leaving = member->gives_back = member->drained = false;
    member->note = SIM_NO_NOTE;
    member->frozen_ms = member->thaw_ms = 0;
    member->in_flight = 0;
    memset(member->merchant_in_flight, 0, sizeof member->merchant_in_flight);
    memset(member->code_in_flight, 0, sizeof member->code_in_flight);
    sim_task_new(sim, SIM_GROUP_CHECK, -1, 0);
}

void member_drain(struct sim *sim, struct sim_member *member, bool leaves)
{
    if (member->alive && !member->draining) {
        member->leaves = leaves;
        member->draining = member->awake = true;
        member->drain_end_ms = sim->mono_ms + DRAIN_MS;
        pipeline_drain(member->pipeline);
    }
}

bool member_idle(const struct sim_member *member)
{
    struct pipeline_status status;
    size_t jobs = 0;
    if (!member->alive) {
        return false;
    }
    pipeline_status(member->pipeline, &status);
    for (size_t i = 0; i < JOB_STATE_COUNT; i++) {
        jobs += status.jobs[i];
    }
    return jobs + status.in_flight + status.bytes + status.partitions_full == 0 &&
           member->transaction == NULL && member->state == SIM_ASSIGNED;
}

static void check_status(struct sim *sim, const struct sim_member *member)
{
    struct pipeline_status status;
    pipeline_status(member->pipeline, &status);
    SIM_CHECK(sim, status.in_flight == member->in_flight, "%zu calls are counted, %u are in flight",
              status.in_flight, member->in_flight);
    SIM_CHECK(sim, status.bytes <= PIPELINE_BYTES_MAX + PIPELINE_BYTES_MAX / 2,
              "%zu unfinished bytes", status.bytes);
    SIM_CHECK(sim, status.jobs[JOB_NEW] <= member->reading_count,
              "%zu events came while their windows are full", status.jobs[JOB_NEW]);
    sim->bytes_most = status.bytes > sim->bytes_most ? status.bytes : sim->bytes_most;
    sim->full_seen += status.partitions_full > 0;
    sim->held_seen += status.merchants_held > 0;
    sim->paused_seen += status.jobs[JOB_PAUSED] > 0;
    sim->down_seen += status.endpoint_down;
    for (size_t i = 0; i < JOB_STATE_COUNT; i++) {
        sim->jobs_most[i] = status.jobs[i] > sim->jobs_most[i] ? status.jobs[i] : sim->jobs_most[i];
    }
}

/* Nothing hangs in the simulation, so the watchdog must not fire. When a frozen process continues,
 * it first has to process what it missed. */
static void check_progress(struct sim *sim, struct sim_member *member)
{
    AUTO_BUF struct buf why = {0};
    bool moves =
        sim->mono_ms <= member->thaw_ms || progress_moves(member->pipeline, WATCHDOG_MS, &why);
    SIM_CHECK(sim, moves, "no progress: %s", why.data);
}

/* The cost of the round is time that has passed for all. */
static void spend(struct sim *sim)
{
    sim->busy_most_ms = sim->busy_ms > sim->busy_most_ms ? sim->busy_ms : sim->busy_most_ms;
    sim->mono_ms += sim->busy_ms;
    sim->wall_ms += sim->busy_ms;
    sim->wall_most_ms = sim->wall_ms > sim->wall_most_ms ? sim->wall_ms : sim->wall_most_ms;
    sim->busy_ms = 0;
}

/* Its partitions go to others, as when its session had ended. */
static void leave_end(struct sim *sim, struct sim_member *member)
{
    sim->left++;
    member->note = SIM_NO_NOTE;
    member->leaves = member->leaving = member->gives_back = member->kicked = false;
    member->drained = member->away = member->expelled = true;
    group_begin(sim);
    sim_task_new(sim, SIM_JOIN, member->index, 1 + (int64_t)sim_below(sim, 20000));
}

/* A revoke, which the pipeline answers by a release: what has not ended by now gets little time. */
static void leave_begin(struct sim_member *member)
{
    member->leaving = true;
    if (member->state == SIM_ASSIGNED && member->note == SIM_NO_NOTE) {
        member->state = SIM_REVOKING;
        member->gives_back = member->awake = true;
        pipeline_revoking(member->pipeline);
    }
}

/* In between a rebalance may take the partitions, or a new consumer. */
static void drain_run(struct sim *sim, struct sim_member *member)
{
    bool over = pipeline_idle(member->pipeline) || sim->mono_ms >= member->drain_end_ms;
    if (!member->leaves && over) {
        member_stop(sim, member);
        sim_task_new(sim, SIM_START, member->index, 1 + (int64_t)sim_below(sim, 5000));
    } else if (member->gives_back && member->state == SIM_OUT) {
        leave_end(sim, member);
    } else if (member->leaves && (over || member->leaving)) {
        leave_begin(member);
    }
}

/* As the daemon does. */
void member_run(struct sim *sim, struct sim_member *member)
{
    member->awake = false;
    bool more = poll(sim, member, pipeline_wants(member->pipeline));
    pipeline_step(member->pipeline);
    check_status(sim, member);
    observe_check(sim, member);
    check_progress(sim, member);
    spend(sim);
    if ((more && pipeline_wants(member->pipeline) > 0) ||
        pipeline_next_ms(member->pipeline) == PIPELINE_AT_ONCE) {
        member->awake = true;
    }
    if (member->draining && !member->drained) {
        drain_run(sim, member);
    }
}

int64_t member_next_ms(const struct sim_member *member)
{
    int64_t next = pipeline_next_ms(member->pipeline);
    bool waits = member->draining && !member->leaving && !member->drained;
    return waits && member->drain_end_ms < next ? member->drain_end_ms : next;
}

/* --- the group ----------------------------------------------------------------------------- */

struct note {
    struct sim_task task; /* first */
    enum sim_note note;
    uint32_t generation;
};

static void send_note(struct sim *sim, const struct sim_member *member, enum sim_note what,
                      uint64_t within_ms)
{
    struct note *note = mem_zalloc(1, sizeof *note);
    note->note = what;
    note->generation = sim->generation;
    sim_task_set(sim, &note->task, SIM_NOTE, member->index, (int64_t)sim_below(sim, within_ms) + 1);
}

static bool is_waiting(const struct sim_member *member)
{
    return member->state == SIM_OUT && !member->kicked && !member->away;
}

/* A response of the group arrives; the process's loop sees it with the next poll. */
void group_note(struct sim *sim, struct sim_task *task)
{
    struct note *note = CONTAINER_OF(task, struct note, task);
    struct sim_member *member = &sim->members[task->member];
    bool fits = note->note == SIM_TOLD_LOST     ? member->kicked
                : note->note == SIM_TOLD_ASSIGN ? is_waiting(member)
                                                : member->state == SIM_ASSIGNED && sim->preparing;
    if (member->alive && member->epoch == task->epoch && fits &&
        note->generation == sim->generation) {
        member->note = note->note;
        member->note_generation = note->generation;
        member->awake = true;
    }
    free(note);
}

void group_begin(struct sim *sim)
{
    if (sim->preparing) {
        return;
    }
    sim->preparing = true;
    sim->rebalance_end_ms = sim->mono_ms + REBALANCE_MS;
    for (size_t i = 0; i < sim->member_count; i++) {
        if (sim->members[i].alive && sim->members[i].state == SIM_ASSIGNED) {
            send_note(sim, &sim->members[i], SIM_TOLD_REVOKE, 300);
        }
    }
    sim_task_new(sim, SIM_GROUP_CHECK, -1, 0);
    sim_task_new(sim, SIM_GROUP_CHECK, -1, REBALANCE_MS);
}

/* Assigns the partitions to members, differently each time. */
static void deal(struct sim *sim)
{
    int owners[SIM_MEMBERS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < sim->member_count; i++) {
        if (sim->members[i].alive && !sim->members[i].kicked && !sim->members[i].expelled) {
            owners[count++] = sim->members[i].index;
        }
    }
    for (size_t i = 0; i < sim->partition_count; i++) {
        sim->owners[i] = count == 0 ? -1 : owners[(i + sim->generation) % count];
    }
}

/* Another tool sets the group's offset, with its own metadata. Only where the set was empty:
 * otherwise the set is lost, and its events rightly get a second outcome. */
static void scribble(struct sim *sim, struct sim_partition *partition)
{
    if (sim->calm || partition->metadata[0] != '\0' || partition->restarted ||
        partition->committed < 0 || !sim_chance(sim, 20 * sim->odd_share)) {
        return;
    }
    int64_t here = partition->committed;
    AUTO_BUF struct buf text = {0};
    size_t which = sim_below(sim, 6);
    partition->scribbled = which != 0;
    sim->scribbles++;
    switch (which) {
    case 0:
        buf_printf(&text, "presignd/1:%" PRId64 ":", here);
        break; /* read, and empty */
    case 1:
        buf_printf(&text, "presignd/1:%" PRId64 ":/w==", here + 1);
        break; /* of a copy */
    case 2:
        buf_printf(&text, "presignd/1:%" PRId64 ":%01400d", here, 0);
        break;
    case 3:
        buf_printf(&text, "presignd/1:%" PRId64 ":!", here);
        break;
    case 4:
        buf_puts(&text, "presignd/2:AAAA");
        break;
    default:
        buf_puts(&text, "another tool");
        break;
    }
    memcpy(partition->metadata, text.data, text.len + 1);
}

/* Ends the session of some members whose new consumer has not joined. */
static void expel(struct sim *sim)
{
    for (size_t i = 0; i < sim->member_count; i++) {
        struct sim_member *member = &sim->members[i];
        member->expelled = member->away && (member->expelled || sim_chance(sim, 500));
    }
}

static void complete(struct sim *sim)
{
    sim->preparing = false;
    sim->generation++;
    sim->rebalances++;
    for (size_t i = 0; i < sim->partition_count; i++) {
        if (sim->partitions[i].to_restart) {
            log_restart(sim, &sim->partitions[i]);
        }
        scribble(sim, &sim->partitions[i]);
    }
    expel(sim);
    deal(sim);
    for (size_t i = 0; i < sim->member_count; i++) {
        struct sim_member *member = &sim->members[i];
        if (member->alive) {
            send_note(sim, member, member->kicked ? SIM_TOLD_LOST : SIM_TOLD_ASSIGN,
                      member->kicked ? 3000 : 200);
        }
    }
}

/* Continues when all members have released their partitions or timed out. The next owner of a
 * partition reads stable offsets: no transaction with them is open. */
void group_check(struct sim *sim)
{
    bool overdue = sim->mono_ms >= sim->rebalance_end_ms;
    bool held = false;
    for (size_t i = 0; i < sim->member_count; i++) {
        struct sim_member *member = &sim->members[i];
        if (member->alive && member->state != SIM_OUT && !member->kicked) {
            held = held || !overdue;
        }
    }
    if (!sim->preparing || held || sim->pending > 0) {
        return;
    }
    for (size_t i = 0; i < sim->member_count; i++) {
        struct sim_member *member = &sim->members[i];
        member->kicked = member->alive && member->state != SIM_OUT;
    }
    complete(sim);
}

/* The group removes a member, which continues for a while without knowing. */
void group_kick(struct sim *sim, struct sim_member *member)
{
    if (member->alive && member->state == SIM_ASSIGNED) {
        member->kicked = true;
        group_begin(sim);
    }
}
