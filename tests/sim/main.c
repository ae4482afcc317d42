#include "sim.h"

#include "presignd/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct command {
    int64_t first, last, events, minutes;
    bool verbose, twice, at_least_once, mixed;
};

/* Two runs of a seed that differ anywhere differ in the number of random choices. */
struct digest {
    uint64_t random;
    int64_t mono_ms;
    size_t calls, commits;
};

static void print_seed(const struct sim *sim, int64_t took_ms, int64_t took_us)
{
    printf("seed %" PRIu64 ": %zu partitions, %zu merchants, %zu members, %u in flight: "
           "%zu events, %zu calls, %zu commits, %zu aborts, %zu rebalances, %zu crashes, %zu "
           "renewals, %zu left the group, "
           "%zu logs recreated, %zu pauses, %zu KiB, full %zu, held %zu, down %zu, %" PRId64
           " s virtual, %" PRId64 " ms real\n",
           sim->options.seed, sim->partition_count, sim->merchant_count, sim->member_count,
           sim->rules.limits.in_flight, sim->produced, sim->calls, sim->commits, sim->aborts,
           sim->rebalances, sim->crashes, sim->renewals, sim->left, sim->restarts, sim->pauses,
           sim->bytes_most / 1024, sim->full_seen, sim->held_seen, sim->down_seen, took_ms / 1000,
           took_us / 1000);
    printf("  at most");
    for (enum job_state state = 0; state < JOB_STATE_COUNT; state++) {
        printf(" %s %zu", job_state_name(state), sim->jobs_most[state]);
    }
    printf("; %zu answers doubled, %zu processes fenced, %zu sets of another's, %zu "
           "outcomes repeated\n",
           sim->doubled, sim->fenced, sim->scribbles, sim->repeated);
}

static struct digest run_seed(const struct sim_options *options)
{
    int64_t begun_us = clock_mono_us();
    struct sim *sim = sim_new(options);
    chaos_set_up(sim);
    sim_run_to_the_end(sim);
    int64_t took_ms = sim->mono_ms - SIM_BEGIN_MS;
    sim_run_again(sim);
    struct digest digest = {sim->random, sim->mono_ms, sim->calls, sim->commits};
    if (options->verbose) {
        print_seed(sim, took_ms, clock_mono_us() - begun_us);
    }
    sim_free(sim);
    return digest;
}

/* False if the second run of a seed differs. */
static bool same_again(const struct sim_options *options, const struct digest *first)
{
    struct digest second = run_seed(options);
    bool same = first->random == second.random && first->mono_ms == second.mono_ms &&
                first->calls == second.calls && first->commits == second.commits;
    if (!same) {
        fprintf(stderr, "FAILED: seed %" PRIu64 " made other choices in its second run\n",
                options->seed);
    }
    return same;
}

static int usage(void)
{
    fputs("usage: sim [--seed N | --seeds FIRST LAST | --from N --minutes M] [--events N]\n"
          "           [--twice] [-v] [--at-least-once | --mixed]\n",
          stderr);
    return 64;
}

static bool read_option(struct command *command, int argc, char **argv, int *i)
{
    const char *name = argv[(*i)++];
    int left = argc - *i;
    if (strcmp(name, "-v") == 0) {
        return command->verbose = true;
    }
    if (strcmp(name, "--at-least-once") == 0) {
        return command->at_least_once = true;
    }
    if (strcmp(name, "--mixed") == 0) {
        return command->mixed = true;
    }
    if (strcmp(name, "--twice") == 0) {
        return command->twice = true;
    }
    if (strcmp(name, "--seeds") == 0 && left >= 2) {
        *i += 2;
        return text_int(argv[*i - 2], 0, INT64_MAX / 2, &command->first) &&
               text_int(argv[*i - 1], command->first, INT64_MAX / 2, &command->last);
    }
    if (left < 1) {
        return false;
    }
    const char *value = argv[(*i)++];
    if (strcmp(name, "--seed") == 0) {
        bool ok = text_int(value, 0, INT64_MAX / 2, &command->first);
        command->last = command->first;
        return ok;
    }
    if (strcmp(name, "--from") == 0) {
        command->last = INT64_MAX - 1;
        return text_int(value, 0, INT64_MAX / 2, &command->first);
    }
    return (strcmp(name, "--minutes") == 0 && text_int(value, 1, 100000, &command->minutes)) ||
           (strcmp(name, "--events") == 0 && text_int(value, 1, 100000000, &command->events));
}

/* True if every seed passed, and made the same choices twice if requested. */
static bool run_seeds(const struct command *command, int64_t *seed)
{
    struct sim_options options = {.events = (size_t)command->events,
                                  .verbose = command->verbose,
                                  .delivery = command->at_least_once ? SIM_ALL_AT_LEAST_ONCE
                                              : command->mixed       ? SIM_MIXED
                                                                     : SIM_EXACTLY_ONCE};
    int64_t end_us =
        command->minutes == 0 ? INT64_MAX : clock_mono_us() + command->minutes * INT64_C(60000000);
    while (*seed <= command->last && clock_mono_us() < end_us) {
        options.seed = (uint64_t)(*seed)++;
        struct digest digest = run_seed(&options);
        if (command->twice && !same_again(&options, &digest)) {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    struct command command = {.first = 1, .last = 40, .events = 2000};
    sim_program = argv[0];
    for (int i = 1; i < argc;) {
        if (!read_option(&command, argc, argv, &i)) {
            return usage();
        }
    }
    int64_t begun_us = clock_mono_us(), seed = command.first;
    clock_t begun = clock();
    if (!run_seeds(&command, &seed)) {
        return 1;
    }
    double lives = (double)(seed - command.first) * (double)command.events;
    lives *= command.twice ? 2 : 1;
    /* By CPU time, which other load does not change. */
    double busy_s = (double)(clock() - begun) / CLOCKS_PER_SEC;
    printf("seeds %" PRId64 " to %" PRId64 ": %.0f events in %.1f s, %.0f a minute of one "
           "core\n",
           command.first, seed - 1, lives, (double)(clock_mono_us() - begun_us) / 1e6,
           lives / busy_s * 60);
    return 0;
}
