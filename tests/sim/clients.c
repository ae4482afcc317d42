/* Replacement of Kafka's clients, as kafka/clients.c does it and the pipeline sees it. A new
 * consumer is a static member with the same name and another id. It gets its partitions back at
 * once, unless the group has given them to others. What its process sends under the old id is
 * rejected from then on. */
#include "sim.h"

/* How long a new consumer takes to join: sometimes longer than a session, sometimes so short that a
 * batch of the old one arrives later. */
static const uint64_t join_ms[] = {1, 1, 200, 200, 20000};
/* Until a fenced consumer learns of it, or its commits were rejected for a session. */
#define FENCED_MS 20000

static void replace_consumer(struct sim *sim, struct sim_member *member)
{
    bool had_any = member->state != SIM_OUT;
    member->note = SIM_NO_NOTE;
    member->away = true;
    member->gives_back = false; /* it joins again to leave */
    /* The group removed it, and the old consumer does not learn of that. */
    member->expelled = member->expelled || member->kicked;
    member->kicked = false;
    member_leave(member);
    if (had_any) {
        pipeline_lost(member->pipeline);
    }
    member->awake = true;
    uint64_t most_ms = join_ms[sim_below(sim, sizeof join_ms / sizeof join_ms[0])];
    sim_task_new(sim, SIM_JOIN, member->index, (int64_t)sim_below(sim, most_ms));
    sim_task_new(sim, SIM_GROUP_CHECK, -1, 0);
}

static bool can(const struct sim *sim, const struct sim_member *member)
{
    return member->alive && !member->away && member->frozen_ms <= sim->mono_ms;
}

void clients_renew(struct sim *sim, struct sim_member *member, unsigned which)
{
    if (!can(sim, member)) {
        return;
    }
    sim->renewals++;
    if ((which & SIM_PRODUCER) != 0) {
        transaction_take_back(sim, member);
    }
    if ((which & SIM_CONSUMER) != 0) {
        transaction_abandon(sim, member);
    }
    /* The end of its batch may have ended the process. */
    if ((which & SIM_CONSUMER) != 0 && can(sim, member)) {
        replace_consumer(sim, member);
    }
}

void clients_fence(struct sim *sim, struct sim_member *member)
{
    if (can(sim, member) && member->state == SIM_ASSIGNED) {
        member->joins++;
        sim_task_new(sim, SIM_FENCED, member->index, 1 + (int64_t)sim_below(sim, FENCED_MS));
    }
}

/* Offsets are known when no transaction with them is open; an assignment waits for that. */
static void join(struct sim *sim, struct sim_member *member)
{
    if (!member->expelled && !sim->preparing && sim->pending > 0) {
        sim_task_new(sim, SIM_JOIN, member->index, 1);
        return;
    }
    member->away = false;
    if (member->expelled) {
        member->expelled = false;
        group_begin(sim);
    } else if (!sim->preparing) {
        member->note = SIM_TOLD_ASSIGN;
        member->note_generation = sim->generation;
        member->awake = true;
    }
}

void clients_task(struct sim *sim, struct sim_task *task)
{
    struct sim_member *member = &sim->members[task->member];
    if (!member->alive || member->epoch != task->epoch) {
        return;
    }
    if (task->kind == SIM_FENCED) {
        clients_renew(sim, member, SIM_CONSUMER);
        return;
    }
    /* From the join on, what the old member sends is rejected. Open transactions are waited for. */
    member->joins++;
    if (member->drained) {
        member->drained = member->draining = false;
        pipeline_undrain(member->pipeline);
    }
    join(sim, member);
}
