#include "sim.h"

#include <stdlib.h>
#include <string.h>

#define SEED_PARTITIONS_MAX 8

/* --- the world, from the seed -------------------------------------------------------------- */

static uint64_t one_of(struct sim *sim, const unsigned *values, size_t count)
{
    return values[sim_below(sim, count)];
}
#define ONE_OF(sim, ...)                           \
    one_of((sim), (const unsigned[]){__VA_ARGS__}, \
           sizeof((const unsigned[]){__VA_ARGS__}) / sizeof(unsigned))

/* `without`: none of these. `partner`: in the other mode, which no event uses. */
static struct merchants *make_merchants(struct sim *sim, unsigned without, unsigned partner)
{
    struct merchant *items[SIM_MERCHANTS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < sim->merchant_count; i++) {
        if ((without & 1u << i) != 0) {
            continue;
        }
        struct merchant *merchant = items[count++] = mem_zalloc(1, sizeof *merchant);
        merchant->mchid = mem_printf("%zu", i);
        merchant->references = 1;
        merchant->mode = (partner & 1u << i) != 0 ? MODE_PARTNER : MODE_DIRECT;
        merchant->is_default = i == 0;
        merchant->max_in_flight = (unsigned)ONE_OF(sim, 1, 4, 32, 256);
        merchant->rate_per_s = (unsigned)ONE_OF(sim, 0, 0, 0, 50, 500);
    }
    return merchants_new(items, count);
}

static void load_schema(struct sim *sim)
{
    char *error = NULL;
    sim->schemas = schema_set_new(SCHEMA_INTEGERS_AS_WRITTEN);
    json_t *document =
        json_pack("{s:s,s:[s,s],s:{s:{s:s}}}", "type", "object", "required", "plan_id",
                  "out_contract_code", "properties", "plan_id", "type", "integer");
    bool added = schema_set_add(sim->schemas, SCHEMA_BASE "sim.json", document, &error);
    json_decref(document);
    SIM_CHECK(sim, added, "%s", error);
    const struct schema *schema = schema_compile(sim->schemas, SCHEMA_BASE "sim.json", &error);
    SIM_CHECK(sim, schema != NULL, "%s", error);
    for (size_t i = 0; i < ENDPOINT_COUNT; i++) {
        sim->admit[0].requests[i] = sim->admit[1].requests[i] = schema;
    }
    sim->admit[0].event_bytes_max = sim->admit[1].event_bytes_max = SIM_EVENT_BYTES;
}

static void take_merchants(struct sim *sim, struct admit_rules *admit, unsigned without,
                           unsigned partner)
{
    admit->merchants = sim->merchants = make_merchants(sim, without, partner);
    sim->merchants_gone |= without | partner;
}

/* Random rules for a reload. */
static void make_rules(struct sim *sim, unsigned without, unsigned partner)
{
    struct admit_rules *admit = &sim->admit[++sim->rules_used % 2];
    take_merchants(sim, admit, without, partner);
    admit->event_age_max_ms = (int64_t)ONE_OF(sim, 0, 0, 0, 0, 0, 0, 0, 1800000);
    if (admit->event_age_max_ms != 0) {
        sim->age_least_ms = admit->event_age_max_ms;
    }
    sim->rules = (struct pipeline_rules){
        .admit = admit,
        .retry = {.max_attempts = (unsigned)ONE_OF(sim, 1, 3, 6, 20),
                  .base_delay_ms = (int64_t)ONE_OF(sim, 1, 200, 2000),
                  .max_delay_ms = (int64_t)ONE_OF(sim, 500, 30000),
                  .give_up_after_ms = (int64_t)ONE_OF(sim, 5000, 60000, 600000)},
        .limits = {.in_flight = (unsigned)ONE_OF(sim, 3, 16, 128, 512),
                   .host_count = 1 + (unsigned)sim_below(sim, 2),
                   .timeout_ms = (int64_t)ONE_OF(sim, 1000, 10000),
                   .commit_interval_ms = (int64_t)ONE_OF(sim, 1, 5, 100),
                   .hold_unauthorized_ms = (int64_t)ONE_OF(sim, 0, 2000, 60000, 600000)},
        .identity = &sim->identity,
    };
}

/* One key signs for all, and it is in every list. */
static void make_keys(struct sim *sim)
{
    for (size_t i = 0; i < SIM_MERCHANTS_MAX; i++) {
        sim->listed[i] = 1;
    }
}

static void calm_weather(struct sim *sim)
{
    sim->weather = (struct sim_weather){.latency_ms = 20, .spread_ms = 30};
}

void chaos_furnish(struct sim *sim)
{
    sim->events = mem_zalloc(sim->options.events, sizeof *sim->events);
    sim->mono_ms = SIM_BEGIN_MS;
    sim->wall_ms = sim->wall_most_ms = INT64_C(1795000000000);
    for (size_t i = 0; i < sim->partition_count; i++) {
        sim->partitions[i].committed = -1;
    }
    load_schema(sim);
    make_keys(sim);
    calm_weather(sim);
    for (size_t i = 0; i < sim->member_count; i++) {
        sim->members[i].sim = sim;
        sim->members[i].index = (int)i;
        sim_task_new(sim, SIM_START, (int)i, (int64_t)sim_below(sim, 100));
    }
}

void chaos_set_up(struct sim *sim)
{
    sim->partition_count = 1 + sim_below(sim, SEED_PARTITIONS_MAX);
    sim->merchant_count = 1 + sim_below(sim, SIM_CHAOS_MERCHANTS);
    sim->member_count = 1 + sim_below(sim, SIM_MEMBERS_MAX);
    sim->code_count = ONE_OF(sim, 5, 100, 4000);
    sim->bad_share = (unsigned)ONE_OF(sim, 0, 20, 200);
    sim->gap_share = (unsigned)ONE_OF(sim, 0, 50, 900);
    sim->far_gap_share = (unsigned)ONE_OF(sim, 0, 0, 1);
    sim->fat_share = (unsigned)ONE_OF(sim, 0, 0, 0, 0, 0, 0, 0, 200);
    sim->odd_share = (unsigned)ONE_OF(sim, 1, 1, 10);
    sim->observed = sim_chance(sim, 900);
    sim->burst_max = (unsigned)ONE_OF(sim, 20, 400, 4000);
    sim->produce_pause_ms = (int64_t)ONE_OF(sim, 100, 1000);
    sim->chaos_pause_ms = (unsigned)ONE_OF(sim, 500, 5000, 50000);
    sim->identity = (struct complete_identity){
        .cluster_id = "sim", .group_id = "presignd", .failure_original = sim_chance(sim, 800)};
    make_rules(sim, 0, 0);
    chaos_furnish(sim);
    for (size_t i = 0; i < sim->partition_count; i++) {
        sim->partitions[i].end = (int64_t)ONE_OF(sim, 0, 0, 77777);
    }
    sim_task_new(sim, SIM_PRODUCE, -1, 1);
    sim_task_new(sim, SIM_CHAOS, -1, sim->chaos_pause_ms);
}

void chaos_take_down(struct sim *sim)
{
    for (size_t i = 0; i < sim->member_count; i++) {
        if (sim->members[i].alive) {
            member_stop(sim, &sim->members[i]);
        }
    }
    merchants_unref(sim->merchants);
    schema_set_free(sim->schemas);
    log_free(sim);
}

/* --- faults ---------------------------------------------------------------------------------- */

static struct sim_member *any_member(struct sim *sim)
{
    return &sim->members[sim_below(sim, sim->member_count)];
}

static void new_weather(struct sim *sim)
{
    static const unsigned most[ANSWER_KIND_COUNT] = {
        [ANSWER_REJECTED] = 60,     [ANSWER_UNAUTHORIZED] = 5, [ANSWER_RATE_LIMITED] = 150,
        [ANSWER_UNAVAILABLE] = 150, [ANSWER_UNREACHABLE] = 50, [ANSWER_UNVERIFIED] = 50,
        [ANSWER_UNEXPECTED] = 20,   [ANSWER_SIGN_TEST] = 50};
    calm_weather(sim);
    for (enum answer_kind kind = 0; kind < ANSWER_KIND_COUNT; kind++) {
        sim->weather.share[kind] =
            sim_chance(sim, 400) ? (unsigned)sim_below(sim, most[kind] + 1) : 0;
    }
    sim->weather.lost = (unsigned)ONE_OF(sim, 0, 0, 10, 100);
    sim->weather.doubled = (unsigned)ONE_OF(sim, 0, 50);
    sim->weather.retry_after = (unsigned)ONE_OF(sim, 0, 100, 900);
    sim->weather.latency_ms = (int64_t)ONE_OF(sim, 1, 40, 400, 3000);
    sim->weather.spread_ms = (int64_t)ONE_OF(sim, 0, 40, 5000);
    sim->weather.abort_share = (unsigned)ONE_OF(sim, 0, 0, 20, 20, 500, 1000);
    sim->weather.slow_share = (unsigned)ONE_OF(sim, 0, 20, 500);
    for (size_t i = 0; i < OUTPUT_TOPIC_COUNT; i++) {
        sim->weather.shut[i] = sim_chance(sim, 150) ? (unsigned)sim_below(sim, 8) : 0;
        sim->weather.shut_topics |= sim_chance(sim, 60) ? 1u << i : 0;
        sim->weather.size_most[i] = (size_t)ONE_OF(sim, 0, 0, 0, 700, 1500, 5000);
        sim->sizes_bound = sim->sizes_bound || sim->weather.size_most[i] > 0;
    }
}

void chaos_crash(struct sim *sim, struct sim_member *member)
{
    if (member->alive) {
        sim->crashes++;
        member_stop(sim, member);
        sim_task_new(sim, SIM_START, member->index, (int64_t)sim_below(sim, 10000));
    }
}

void chaos_configure(struct sim *sim)
{
    for (size_t i = 0; i < sim->member_count; i++) {
        if (sim->members[i].alive) {
            const struct pipeline_rules rules = member_rules(sim, &sim->members[i]);
            pipeline_configure(sim->members[i].pipeline, &rules);
            sim->members[i].awake = true;
        }
    }
}

static void reload(struct sim *sim, unsigned without, unsigned partner)
{
    struct merchants *old = sim->merchants;
    make_rules(sim, without, partner);
    chaos_configure(sim);
    merchants_unref(old);
}

static unsigned some_merchant(struct sim *sim)
{
    return 1u << sim_below(sim, sim->merchant_count);
}

static void jump(struct sim *sim)
{
    sim->wall_ms += (int64_t)sim_below(sim, 7200000) - 3600000;
    sim->wall_most_ms = sim->wall_ms > sim->wall_most_ms ? sim->wall_ms : sim->wall_most_ms;
}

/* The answers of a merchant are signed by another key, all or some of them, or its last certificate
 * expires. */
static void some_rotation(struct sim *sim, size_t merchant)
{
    if (sim_chance(sim, 500)) {
        endpoint_rotate(sim, merchant);
    } else if (sim_chance(sim, 500)) {
        sim->listed[merchant] |= 1u << (sim->signs[merchant] + 1) % 32;
        sim->weather.of[merchant].moved = (unsigned)sim_below(sim, 1000);
    } else {
        any_member(sim)->known[merchant] = 0;
    }
}

/* Faults of random merchants, at one host or both. They last until the next change, so that holds
 * happen at full concurrency. */
static void some_fault(struct sim *sim)
{
    for (size_t i = 0; i < sim->merchant_count; i++) {
        struct sim_merchant_weather *of = &sim->weather.of[i];
        unsigned hosts = 1 + (unsigned)sim_below(sim, 3);
        *of = (struct sim_merchant_weather){0};
        switch (sim_below(sim, 8)) {
        case 0:
            of->hangs = hosts;
            break;
        case 1:
            of->unverifiable = hosts;
            break;
        case 2:
            of->stopped = hosts;
            break;
        case 3:
            of->allowed_per_s = (unsigned)ONE_OF(sim, 1, 10, 100);
            break;
        case 4:
            sim->weather.unauthorized |= 1u << i;
            break;
        case 5:
            some_rotation(sim, i);
            break;
        default:
            break;
        }
        of->retry_after_ms = (int64_t)ONE_OF(sim, 0, 0, 1000, 60000);
    }
    sim->weather.hosts_down = (unsigned)ONE_OF(sim, 0, 0, 0, 1, 2);
    sim->weather.names_gone = (unsigned)ONE_OF(sim, 0, 0, 0, 1, 3);
    sim->weather.shortage = sim_chance(sim, 50);
    sim->weather.lists_gone = sim_chance(sim, 200);
}

/* An operator's lever: of everything, a merchant or the only endpoint, or the end of all pauses. */
static void pull_lever(struct sim *sim, struct sim_member *member)
{
    struct pause pause = {.scope = (enum pause_scope)sim_below(sim, PAUSE_SCOPE_COUNT),
                          .since_ms = sim->wall_ms};
    if (sim_chance(sim, 500)) {
        pause.until_ms = sim->wall_ms + 1 + (int64_t)ONE_OF(sim, 100, 10000, 100000);
    }
    if (pause.scope == PAUSE_MERCHANT) {
        pause.name[0] = (char)('0' + sim_below(sim, sim->merchant_count));
    } else if (pause.scope == PAUSE_ENDPOINT) {
        strcpy(pause.name, "app");
    }
    if (!member->alive) {
        return;
    }
    if (sim_chance(sim, 300)) {
        (void)pipeline_resume(member->pipeline, PAUSE_ALL, "");
    } else if (pipeline_pause(member->pipeline, &pause)) {
        sim->paused = sim->paused || pause.scope != PAUSE_ALL;
    }
    member->awake = true;
}

static void check_found(void *context, const struct pipeline_found *found)
{
    static const char *const states[] = {"waiting", "held", "calling", "retry", "completed"};
    struct sim *sim = context;
    size_t known = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(states); i++) {
        known += strcmp(found->state, states[i]) == 0;
    }
    SIM_CHECK(sim, known == 1, "an event is %s", found->state);
    SIM_CHECK(sim, (strcmp(found->state, "held") == 0) == (found->held_by != NULL),
              "an event is %s by %s", found->state, found->held_by);
}

/* `presignctl find`, and the counts of pauses. */
static void ask(struct sim *sim, const struct sim_member *member)
{
    char code[16];
    struct pipeline_status status;
    const struct pauses *pauses = pipeline_pauses(member->pipeline);
    (void)snprintf(code, sizeof code, "C%u", (unsigned)sim_below(sim, sim->code_count));
    (void)pipeline_find(member->pipeline, code, check_found, sim);
    pipeline_status(member->pipeline, &status);
    for (size_t i = 0; i < pauses->count; i++) {
        SIM_CHECK(sim,
                  pipeline_pause_events(member->pipeline, &pauses->items[i]) <=
                      status.held[HOLD_WHY_PAUSED],
                  "a pause holds more events than all pauses");
    }
}

void chaos_strike(struct sim *sim)
{
    struct sim_member *member = any_member(sim);
    if (member->alive) {
        ask(sim, member);
    }
    switch (sim_below(sim, 22)) {
    case 0:
    case 1:
        sim->weather.down = true;
        break;
    case 2:
        sim->weather.unauthorized = (unsigned)sim_below(sim, 1u << sim->merchant_count);
        break;
    case 3:
        group_begin(sim);
        break;
    case 4:
        chaos_crash(sim, member);
        break;
    case 5:
        member->frozen_ms = member->alive ? sim->mono_ms + 1 + (int64_t)sim_below(sim, 40000) : 0;
        member->thaw_ms = member->frozen_ms > member->thaw_ms ? member->frozen_ms : member->thaw_ms;
        break;
    case 6:
        group_kick(sim, member);
        break;
    case 7:
        member_drain(sim, member, sim_chance(sim, 500));
        break;
    case 8:
        jump(sim);
        break;
    case 9:
        reload(sim, sim_chance(sim, 300) ? some_merchant(sim) : 0,
               sim_chance(sim, 100) ? some_merchant(sim) : 0);
        break;
    case 10:
        sim->partitions[sim_below(sim, sim->partition_count)].to_restart = sim_chance(sim, 600);
        break;
    case 11:
        member->fenced = member->alive;
        break;
    case 12: /* both, as when the clock was set; otherwise one of them */
        clients_renew(sim, member, 1 + (unsigned)sim_below(sim, 3));
        break;
    case 13:
        clients_fence(sim, member);
        break;
    case 14:
    case 15:
        some_fault(sim);
        break;
    case 16:
    case 17:
        pull_lever(sim, member);
        break;
    default:
        new_weather(sim); /* also ends lasting faults */
    }
    sim_task_new(sim, SIM_CHAOS, -1,
                 1 + (int64_t)sim_below(sim, 2 * (uint64_t)sim->chaos_pause_ms));
}

static bool all_merchants(const struct sim *sim)
{
    for (size_t i = 0; i < sim->merchant_count; i++) {
        char mchid[] = {(char)('0' + i), '\0'};
        const struct merchant *merchant = merchants_find(sim->merchants, mchid);
        if (merchant == NULL || merchant->mode != MODE_DIRECT) {
            return false;
        }
    }
    return true;
}

/* From now on there are no faults, and everything must end. */
void chaos_end(struct sim *sim)
{
    sim->calm = true;
    sim->calm_ms = sim->mono_ms;
    calm_weather(sim);
    lists_arrive(sim);
    /* A reload ends holds, so only if necessary. */
    if (!all_merchants(sim)) {
        reload(sim, 0, 0);
    }
    for (size_t i = 0; i < sim->member_count; i++) {
        sim->members[i].frozen_ms = 0;
        sim->members[i].fenced = false;
        sim->members[i].awake = true;
        if (sim->members[i].alive) {
            (void)pipeline_resume(sim->members[i].pipeline, PAUSE_ALL, "");
        }
    }
}
