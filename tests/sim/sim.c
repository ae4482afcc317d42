#include "sim.h"

#include "presignd/base/random.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long faults continue after the last event. */
#define AFTERMATH_MS 60000
/* Then everything must end within this time: holds, retries and a backlog at the lowest rate. */
#define LIVENESS_MS (6 * INT64_C(3600000))
/* After that, a restart from the committed offsets must do nothing for so long. */
#define SILENCE_MS 120000
/* A process that wakes up more often without work is spinning. */
#define SPINS_MAX 20

const char *sim_program = "sim";

uint64_t sim_random(struct sim *sim)
{
    return random_next(&sim->random);
}

uint64_t sim_below(struct sim *sim, uint64_t bound)
{
    return sim_random(sim) % bound;
}

bool sim_chance(struct sim *sim, unsigned per_mille)
{
    return sim_below(sim, 1000) < per_mille;
}

static void print_members(const struct sim *sim)
{
    for (size_t i = 0; i < sim->member_count; i++) {
        const struct sim_member *member = &sim->members[i];
        struct pipeline_status status;
        fprintf(stderr, "  member %zu: %s, state %d, %u in flight%s", i,
                member->alive ? "alive" : "dead", (int)member->state, member->in_flight,
                member->transaction != NULL ? ", a transaction" : "");
        if (member->alive) {
            pipeline_status(member->pipeline, &status);
            fprintf(stderr, ", %zu bytes, full %zu, held %zu, down %d; jobs", status.bytes,
                    status.partitions_full, status.merchants_held, status.endpoint_down);
            for (enum job_state state = 0; state < JOB_STATE_COUNT; state++) {
                fprintf(stderr, " %s %zu", job_state_name(state), status.jobs[state]);
            }
            fprintf(stderr, "; next in %" PRId64 " ms",
                    pipeline_next_ms(member->pipeline) - sim->mono_ms);
        }
        fputc('\n', stderr);
    }
}

static void print_command(const struct sim *sim)
{
    if (sim->options.story == NULL) {
        fprintf(stderr, "FAILED: %s --seed %" PRIu64 " --events %zu\n", sim_program,
                sim->options.seed, sim->options.events);
    } else {
        fprintf(stderr, "FAILED: %s: %s\n", sim_program, sim->options.story);
    }
}

void sim_fail(struct sim *sim, const char *format, ...)
{
    char what[512];
    va_list arguments;
    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): clang 14 misses va_start() */
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    (void)fflush(stdout);
    print_command(sim);
    fprintf(stderr, "  after %" PRId64 " ms: %s", sim->mono_ms - SIM_BEGIN_MS, what);
    fprintf(stderr, "\n  %zu of %zu done, %zu calls, %zu commits%s\n", sim->done, sim->produced,
            sim->calls, sim->commits, sim->calm ? ", faults have stopped" : "");
    print_members(sim);
    _Exit(1); /* memory in use is not a leak */
}

/* --- tasks ----------------------------------------------------------------------------------- */

void sim_task_set(struct sim *sim, struct sim_task *task, enum sim_task_kind kind, int member,
                  int64_t after_ms)
{
    task->kind = kind;
    task->member = member;
    task->epoch = member < 0 ? 0 : sim->members[member].epoch;
    heap_set(&sim->tasks, &task->slot, sim->mono_ms + after_ms);
}

void sim_task_new(struct sim *sim, enum sim_task_kind kind, int member, int64_t after_ms)
{
    sim_task_set(sim, mem_zalloc(1, sizeof(struct sim_task)), kind, member, after_ms);
}

static void produce(struct sim *sim)
{
    log_produce(sim, 1 + sim_below(sim, sim->burst_max));
    for (size_t i = 0; i < sim->member_count; i++) {
        sim->members[i].awake = true;
    }
    if (sim->produced < sim->options.events) {
        sim_task_new(sim, SIM_PRODUCE, -1,
                     1 + (int64_t)sim_below(sim, 2 * (uint64_t)sim->produce_pause_ms));
    } else {
        sim_task_new(sim, SIM_CALM, -1, AFTERMATH_MS);
    }
}

/* Tasks that are not embedded. */
static void run_world(struct sim *sim, struct sim_task *task)
{
    switch (task->kind) {
    case SIM_GROUP_CHECK:
        group_check(sim);
        break;
    case SIM_START:
        if (!sim->members[task->member].alive) {
            member_start(sim, &sim->members[task->member]);
        }
        break;
    case SIM_JOIN:
    case SIM_FENCED:
        clients_task(sim, task);
        break;
    case SIM_PRODUCE:
        produce(sim);
        break;
    case SIM_CHAOS:
        if (!sim->calm) {
            chaos_strike(sim);
        }
        break;
    default:
        chaos_end(sim);
    }
    free(task);
}

/* A frozen process receives nothing; only the broker continues. */
static bool postpone(struct sim *sim, struct sim_task *task)
{
    bool delivered = task->kind == SIM_ANSWER || task->kind == SIM_OFFSETS_SENT ||
                     task->kind == SIM_TRANSACTION_ENDED || task->kind == SIM_NOTE ||
                     task->kind == SIM_POSITIONS || task->kind == SIM_JOIN ||
                     task->kind == SIM_FENCED || task->kind == SIM_REFRESHED;
    if (!delivered || sim->members[task->member].frozen_ms <= sim->mono_ms) {
        return false;
    }
    heap_set(&sim->tasks, &task->slot, sim->members[task->member].frozen_ms);
    return true;
}

static void run_task(struct sim *sim, struct sim_task *task)
{
    if (postpone(sim, task)) {
        return;
    }
    heap_remove(&sim->tasks, &task->slot);
    if (task->member >= 0) {
        sim->members[task->member].awake = true;
    }
    switch (task->kind) {
    case SIM_ANSWER:
        endpoint_answer(sim, task);
        break;
    case SIM_OFFSETS_SENT:
    case SIM_COMMITTED:
    case SIM_TRANSACTION_ENDED:
        transaction_step(sim, task);
        break;
    case SIM_NOTE:
        group_note(sim, task);
        break;
    case SIM_POSITIONS:
        group_positions(sim, task);
        break;
    case SIM_REFRESHED:
        lists_refreshed(sim, task);
        break;
    default:
        run_world(sim, task);
    }
}

static void drop_tasks(struct sim *sim)
{
    struct heap_slot *slot;
    while ((slot = heap_first(&sim->tasks)) != NULL) {
        struct sim_task *task = CONTAINER_OF(slot, struct sim_task, slot);
        heap_remove(&sim->tasks, slot);
        if (task->kind == SIM_COMMITTED) {
            transaction_drop(sim, task);
        } else {
            free(task); /* the first member of its owner */
        }
    }
    heap_deinit(&sim->tasks);
}

/* --- time ------------------------------------------------------------------------------------ */

static bool runs(const struct sim *sim, const struct sim_member *member)
{
    return member->alive && member->frozen_ms <= sim->mono_ms;
}

static void run_tasks(struct sim *sim)
{
    const struct heap_slot *slot;
    while ((slot = heap_first(&sim->tasks)) != NULL && slot->at <= sim->mono_ms) {
        run_task(sim, CONTAINER_OF(slot, struct sim_task, slot));
    }
}

/* Until there is nothing to do, or until a round has taken time, so that other tasks are due. */
static void run_member(struct sim *sim, struct sim_member *member)
{
    int64_t begin_ms = sim->mono_ms;
    for (int spins = 0; sim->mono_ms == begin_ms && runs(sim, member) &&
                        (member->awake || member_next_ms(member) <= sim->mono_ms);) {
        spins = member->awake ? 0 : spins + 1;
        SIM_CHECK(sim, spins < SPINS_MAX, "member %d spins", member->index);
        member_run(sim, member);
    }
}

static void run_due(struct sim *sim)
{
    int64_t begin_ms;
    do {
        begin_ms = sim->mono_ms;
        run_tasks(sim);
        for (size_t i = 0; i < sim->member_count; i++) {
            run_member(sim, &sim->members[i]);
        }
    } while (sim->mono_ms != begin_ms);
}

static int64_t next_ms(const struct sim *sim)
{
    const struct heap_slot *slot = heap_first(&sim->tasks);
    int64_t next = slot == NULL ? INT64_MAX : slot->at;
    for (size_t i = 0; i < sim->member_count; i++) {
        const struct sim_member *member = &sim->members[i];
        if (member->alive) {
            int64_t at = runs(sim, member) ? member_next_ms(member) : member->frozen_ms;
            next = at < next ? at : next;
        }
    }
    return next;
}

static void advance(struct sim *sim, int64_t end_ms)
{
    int64_t next = next_ms(sim);
    next = next < end_ms ? next : end_ms;
    SIM_CHECK(sim, next < INT64_MAX, "no progress: every process waits, and no event is scheduled");
    if (next > sim->mono_ms) {
        sim->wall_ms += next - sim->mono_ms;
        sim->mono_ms = next;
    }
    sim->wall_most_ms = sim->wall_ms > sim->wall_most_ms ? sim->wall_ms : sim->wall_most_ms;
}

static bool all_done(const struct sim *sim)
{
    if (!sim->calm || sim->done < sim->options.events) {
        return false;
    }
    for (size_t i = 0; i < sim->member_count; i++) {
        if (!member_idle(&sim->members[i])) {
            return false;
        }
    }
    return true;
}

/* --- a world's life ---------------------------------------------------------------------------
 */

struct sim *sim_new(const struct sim_options *options)
{
    struct sim *sim = mem_zalloc(1, sizeof *sim);
    sim->options = *options;
    sim->random = options->seed;
    return sim;
}

void sim_free(struct sim *sim)
{
    chaos_take_down(sim);
    drop_tasks(sim);
    free(sim);
}

void sim_run_until(struct sim *sim, int64_t mono_ms)
{
    for (run_due(sim); sim->mono_ms < mono_ms; run_due(sim)) {
        advance(sim, mono_ms);
    }
}

void sim_run_to_the_end(struct sim *sim)
{
    for (run_due(sim); !all_done(sim); run_due(sim)) {
        SIM_CHECK(sim, !sim->calm || sim->mono_ms < sim->calm_ms + LIVENESS_MS,
                  "not all events have ended after the faults");
        advance(sim, INT64_MAX);
    }
}

void sim_run_again(struct sim *sim)
{
    size_t calls = sim->calls, commits = sim->commits;
    for (size_t i = 0; i < sim->member_count; i++) {
        member_stop(sim, &sim->members[i]);
        sim_task_new(sim, SIM_START, (int)i, 1);
    }
    sim_run_until(sim, sim->mono_ms + SILENCE_MS);
    SIM_CHECK(sim, sim->calls == calls && sim->commits == commits, "a restart repeated work");
}
