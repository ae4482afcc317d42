/* The age of events, and which of them are late. */
#include "flow/pipeline_parts.h"
#include "presignd/flow/pipeline.h"

#include "unit/flow/world.h"

#include <criterion/criterion.h>

#define SLO_MS   INT64_C(1000)
#define BEGIN_MS INT64_C(1795000000000)

enum { MANY = 3000 };

struct scene {
    struct clock clock;
    struct moment now;
    struct merchant *merchant;
    struct pipeline *pipeline;
};

static struct moment read_clock(void *context)
{
    return ((struct scene *)context)->now;
}

static void scene_begin(struct scene *scene)
{
    static const struct complete_identity nobody;
    *scene = (struct scene){.now = {.mono_ms = 1000, .wall_ms = BEGIN_MS},
                            .merchant = keyless("1900000001", MODE_DIRECT, false)};
    scene->clock = (struct clock){.now = read_clock, .context = scene};
    const struct pipeline_ports ports = {.clock = &scene->clock};
    const struct pipeline_observer observer = {0};
    const struct pipeline_rules rules = {
        .limits = {.in_flight = 1, .host_count = 1, .slo_ms = SLO_MS}, .identity = &nobody};
    scene->pipeline = pipeline_new(&ports, &observer, &rules);
}

static void scene_end(struct scene *scene)
{
    pipeline_free(scene->pipeline);
    merchant_unref(scene->merchant);
}

/* -1: a record without a timestamp. */
static struct job *enters(struct scene *scene, int64_t timestamp_ms)
{
    const struct record record = {.topic = "t", .timestamp_ms = timestamp_ms};
    struct job *job = job_new(&record);
    age_enter(scene->pipeline, job);
    return job;
}

static void leaves(struct scene *scene, struct job *job, bool visible)
{
    if (visible) {
        age_visible(scene->pipeline, job, scene->now);
    } else {
        age_leave(scene->pipeline, job);
    }
    job_free(job);
}

static struct pipeline_status status_of(const struct scene *scene)
{
    struct pipeline_status status;
    pipeline_status(scene->pipeline, &status);
    return status;
}

Test(age, the_oldest_is_by_timestamp_not_by_arrival)
{
    struct scene scene;
    scene_begin(&scene);
    cr_assert_eq(status_of(&scene).oldest_ms, INT64_MAX);
    struct job *young = enters(&scene, BEGIN_MS - 10);
    struct job *old = enters(&scene, BEGIN_MS - 500);
    struct job *unknown = enters(&scene, -1);
    cr_assert_eq(status_of(&scene).oldest_ms, BEGIN_MS - 500);
    leaves(&scene, old, true);
    cr_assert_eq(status_of(&scene).oldest_ms, BEGIN_MS - 10);
    leaves(&scene, young, false);
    cr_assert_eq(status_of(&scene).oldest_ms, INT64_MAX, "a record without a timestamp has no age");
    leaves(&scene, unknown, true);
    scene_end(&scene);
}

Test(age, a_merchant_has_its_own_oldest)
{
    struct scene scene;
    scene_begin(&scene);
    struct job *own = enters(&scene, BEGIN_MS - 10), *other = enters(&scene, BEGIN_MS - 20);
    job_state_set_queue(scene.pipeline, own, scene.merchant);
    cr_assert_eq(merchant_queue_oldest_ms(own->queue), BEGIN_MS - 10);
    cr_assert_eq(status_of(&scene).oldest_ms, BEGIN_MS - 20);
    leaves(&scene, other, true);
    cr_assert_eq(status_of(&scene).oldest_ms, BEGIN_MS - 10);
    const struct merchant_queue *queue = own->queue;
    leaves(&scene, own, true);
    cr_assert_eq(merchant_queue_oldest_ms(queue), INT64_MAX);
    scene_end(&scene);
}

Test(age, an_event_is_late_once)
{
    struct scene scene;
    scene_begin(&scene);
    struct job *slow = enters(&scene, BEGIN_MS), *quick = enters(&scene, BEGIN_MS);
    struct job *unseen = enters(&scene, BEGIN_MS);
    leaves(&scene, quick, true);
    scene.now.wall_ms += SLO_MS;
    age_count_late(scene.pipeline, scene.now);
    cr_assert_eq(status_of(&scene).late, 0, "in time at the last moment");
    scene.now.wall_ms++;
    leaves(&scene, unseen, true);
    cr_assert_eq(status_of(&scene).late, 1, "visible before the next step counts it");
    age_count_late(scene.pipeline, scene.now);
    age_count_late(scene.pipeline, scene.now);
    leaves(&scene, slow, true);
    cr_assert_eq(status_of(&scene).late, 2);
    leaves(&scene, enters(&scene, BEGIN_MS - SLO_MS), false);
    cr_assert_eq(status_of(&scene).late, 2, "it was dropped; who reads it next counts it");
    scene_end(&scene);
}

/* Each step of the clock is a look at it: a step counts what its time budget permits. */
static struct moment slow_clock(void *context)
{
    struct scene *scene = context;
    scene->now.mono_ms++;
    return scene->now;
}

Test(age, a_step_counts_no_more_than_its_time_permits)
{
    struct scene scene;
    static struct job *jobs[MANY];
    scene_begin(&scene);
    for (int i = 0; i < MANY; i++) {
        jobs[i] = enters(&scene, BEGIN_MS - 2 * SLO_MS);
    }
    scene.clock.now = slow_clock;
    age_count_late(scene.pipeline, scene.now);
    cr_assert_lt(status_of(&scene).late, (uint64_t)2 * PIPELINE_BUDGET_MS);
    cr_assert_eq(pipeline_next_ms(scene.pipeline), PIPELINE_AT_ONCE);
    for (int i = 0; i < MANY; i++) {
        age_count_late(scene.pipeline, scene.now);
    }
    cr_assert_eq(status_of(&scene).late, MANY);
    for (int i = 0; i < MANY; i++) {
        leaves(&scene, jobs[i], true);
    }
    scene_end(&scene);
}
