#include "sim.h"

#include <stdlib.h>

/* Between two fetches of a merchant's list. */
#define REFRESH_MS 60000
/* How long one takes at most. */
#define LIST_MS 500

struct refresh {
    struct sim_task task; /* first: the task is the refresh */
    unsigned merchant;
};

static unsigned number_of(const struct merchant *merchant)
{
    return (unsigned)strtoul(merchant->mchid, NULL, 10);
}

void lists_begin(struct sim_member *member)
{
    for (size_t i = 0; i < SIM_MERCHANTS_MAX; i++) {
        member->known[i] = member->sim->no_lists_kept ? 0 : member->sim->listed[i];
        member->refreshing[i] = false;
        member->refreshed_ms[i] = member->sim->mono_ms - REFRESH_MS;
    }
}

/* An event may fail because of this. */
bool lists_have_key(void *keys, const struct merchant *merchant, int64_t wall_ms)
{
    const struct sim_member *member = keys;
    struct sim *sim = member->sim;
    (void)wall_ms;
    bool any = member->known[number_of(merchant)] != 0;
    if (!any) {
        sim->merchant_told[number_of(merchant)] |= 1u << ANSWER_UNVERIFIED;
    }
    return any;
}

bool lists_refresh(void *keys, const struct merchant *merchant)
{
    struct sim_member *member = keys;
    struct sim *sim = member->sim;
    unsigned number = number_of(merchant);
    if (!member->refreshing[number]) {
        int64_t left_ms = member->refreshed_ms[number] + REFRESH_MS - sim->mono_ms;
        struct refresh *refresh = mem_zalloc(1, sizeof *refresh);
        refresh->merchant = number;
        member->refreshing[number] = true;
        sim_task_set(sim, &refresh->task, SIM_REFRESHED, member->index,
                     (left_ms > 0 ? left_ms : 0) + (int64_t)sim_below(sim, LIST_MS));
    }
    return true;
}

static void take_list(struct sim_member *member, unsigned merchant, unsigned list)
{
    char mchid[16];
    bool changed = list != member->known[merchant];
    (void)snprintf(mchid, sizeof mchid, "%u", merchant);
    member->known[merchant] = list;
    member->awake = true;
    pipeline_keys_changed(member->pipeline, mchid, changed);
}

void lists_refreshed(struct sim *sim, struct sim_task *task)
{
    unsigned merchant = ((struct refresh *)task)->merchant;
    struct sim_member *member = &sim->members[task->member];
    if (member->alive && member->epoch == task->epoch) {
        member->refreshing[merchant] = false;
        member->refreshed_ms[merchant] = sim->mono_ms;
        take_list(member, merchant,
                  sim->weather.lists_gone ? member->known[merchant] : sim->listed[merchant]);
    }
    free(task);
}

void lists_arrive(struct sim *sim)
{
    for (size_t i = 0; i < sim->member_count; i++) {
        for (unsigned k = 0; sim->members[i].alive && k < sim->merchant_count; k++) {
            take_list(&sim->members[i], k, sim->listed[k]);
        }
    }
}
