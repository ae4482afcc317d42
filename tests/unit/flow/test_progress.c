/* What a check of the progress costs, and how it names a stalled partition. */
#include "presignd/flow/pipeline.h"
#include "presignd/flow/progress.h"

#include "unit/flow/world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { PARTITIONS = 200, EVENTS = 20, CALLS = 8, PATIENCE_MS = 30000 };

struct scene {
    struct world world;
    struct pipeline *pipeline;
    struct clock clock;
    struct moment now;
    struct group_metadata *group_metadata;
    struct complete_identity identity;
    struct pipeline_rules rules;
};

static struct moment read_clock(void *context)
{
    return ((struct scene *)context)->now;
}

static void note_call(void *context, const struct attempt *attempt, void *cookie)
{
    (void)context, (void)attempt, (void)cookie; /* no answer comes */
}

static uint64_t no_jitter(void *context)
{
    (void)context;
    return 0;
}

static void ignore(void *context, int32_t partition)
{
    (void)context, (void)partition;
}

static void assign(struct scene *scene)
{
    int32_t ids[PARTITIONS];
    struct consumer_position positions[PARTITIONS];
    for (int32_t i = 0; i < PARTITIONS; i++) {
        ids[i] = i;
        positions[i] = (struct consumer_position){.partition = i, .offset = 0, .metadata = ""};
    }
    scene->group_metadata = mem_zalloc(1, sizeof *scene->group_metadata);
    scene->group_metadata->references = 1;
    pipeline_assigned(scene->pipeline, scene->group_metadata, ids, PARTITIONS);
    pipeline_positions(scene->pipeline, positions, PARTITIONS);
}

static void scene_begin(struct scene *scene)
{
    *scene = (struct scene){.world = world_new(), .now = {1000000, INT64_C(1795000000000)}};
    for (size_t i = 0; i < merchants_count(scene->world.merchants); i++) {
        merchants_at(scene->world.merchants, i)->max_in_flight = CALLS;
    }
    scene->clock = (struct clock){.now = read_clock, .context = scene};
    scene->identity = (struct complete_identity){.cluster_id = "c", .group_id = "g"};
    scene->rules = (struct pipeline_rules){
        .admit = &scene->world.rules,
        .retry = {.max_attempts = 3, .max_delay_ms = 1000, .give_up_after_ms = 600000},
        .limits = {.in_flight = CALLS,
                   .host_count = 1,
                   .timeout_ms = 600000,
                   .commit_interval_ms = 1,
                   .hold_unauthorized_ms = 60000},
        .identity = &scene->identity};
    struct pipeline_ports ports = {.consumer = scene,
                                   .pause = ignore,
                                   .resume = ignore,
                                   .caller = scene,
                                   .call = note_call,
                                   .clock = &scene->clock,
                                   .random = no_jitter};
    struct pipeline_observer observer = {.context = scene};
    scene->pipeline = pipeline_new(&ports, &observer, &scene->rules);
    assign(scene);
}

static void scene_end(struct scene *scene)
{
    pipeline_free(scene->pipeline);
    group_metadata_unref(scene->group_metadata);
    world_deinit(&scene->world);
}

static void comes(struct scene *scene, int partition, int offset)
{
    char data[256];
    (void)snprintf(data, sizeof data,
                   "{\"appid\":\"wxd678efh567hg6787\",\"plan_id\":12535,"
                   "\"out_contract_code\":\"p%do%d\",\"contract_display_account\":\"A\","
                   "\"contract_notify_url\":\"https://yourapp.com/notify\"}",
                   partition, offset);
    struct record record = record_of(APP, "", data);
    record.partition = partition;
    record.offset = offset;
    pipeline_record(scene->pipeline, &record);
    free((void *)record.value);
}

static size_t look(struct scene *scene)
{
    AUTO_BUF struct buf why = {0};
    struct pipeline_status status;
    cr_assert(progress_moves(scene->pipeline, PATIENCE_MS, &why), "%s", why.data);
    pipeline_status(scene->pipeline, &status);
    return status.look_steps;
}

Test(progress, a_check_visits_only_partitions_and_calls)
{
    struct scene scene;
    scene_begin(&scene);
    for (int offset = 0; offset < EVENTS; offset++) {
        for (int partition = 0; partition < PARTITIONS; partition++) {
            comes(&scene, partition, offset);
        }
        pipeline_step(scene.pipeline);
    }
    cr_assert_leq(look(&scene), PARTITIONS + CALLS);
    scene.now.mono_ms += INT64_C(10) * PATIENCE_MS; /* each partition is checked closely now */
    pipeline_step(scene.pipeline);
    cr_assert_leq(look(&scene), PARTITIONS + CALLS);
    scene_end(&scene);
}

Test(progress, a_stalled_partition_is_named)
{
    struct scene scene;
    scene_begin(&scene);
    struct progress_oldest oldest;
    cr_assert_not(progress_oldest(scene.pipeline, 7, &oldest));
    comes(&scene, 7, 41);
    comes(&scene, 7, 42);
    pipeline_step(scene.pipeline);
    (void)look(&scene);
    scene.now.mono_ms += PROGRESS_STALLED_MS - 1;
    AUTO_BUF struct buf before = {0};
    progress_describe(scene.pipeline, &before);
    cr_assert(before.data == NULL || strstr(before.data, "still") == NULL, "%s", before.data);
    scene.now.mono_ms += 1;
    AUTO_BUF struct buf after = {0};
    progress_describe(scene.pipeline, &after);
    cr_assert_not_null(after.data);
    cr_assert_not_null(strstr(after.data, "1 partitions stalled, the longest 7 for 60 s: offset "
                                          "41 of merchant " DIRECT " is in state calling"),
                       "%s", after.data);
    cr_assert(progress_oldest(scene.pipeline, 7, &oldest));
    cr_assert_eq(oldest.offset, 41);
    cr_assert_str_eq(oldest.mchid, DIRECT);
    cr_assert_eq(oldest.stalled_ms, PROGRESS_STALLED_MS);
    scene_end(&scene);
}
