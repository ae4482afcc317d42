#include "sim.h"

#include "presignd/flow/partitions.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void on_called(void *context, const struct job *job)
{
    struct sim_member *member = context;
    SIM_CHECK(member->sim, job->attempts > 0 && job->answer.kind < ANSWER_KIND_COUNT,
              "a report of a call that never began");
    member->called++;
}

static void on_retrying(void *context, const struct job *job, enum reason reason)
{
    struct sim_member *member = context;
    SIM_CHECK(member->sim, reason != REASON_NONE && reason == retry_rule(job->answer.kind).reason,
              "a report of another attempt for %s", reason_name(reason));
    SIM_CHECK(member->sim, member->state != SIM_REVOKING && !member->draining,
              "another attempt during a revocation");
}

/* A recreated log may have another record there. */
static void on_published(void *context, const struct job *job)
{
    const struct sim_member *member = context;
    struct sim *sim = member->sim;
    if (sim->restarts == 0) {
        SIM_CHECK(sim, log_event_at(sim, job->record.partition, job->record.offset)->outcomes > 0,
                  "told that offset %" PRId64 " is reported as published, which it is not",
                  job->record.offset);
    }
}

static void on_transaction(void *context, const struct transaction_end *end,
                           const size_t outcomes[OUTPUT_TOPIC_COUNT])
{
    struct sim_member *member = context;
    size_t count = outcomes[OUTPUT_RESULTS] + outcomes[OUTPUT_FAILURES];
    SIM_CHECK(member->sim, count > 0 && count <= TRANSACTION_RECORDS_MAX,
              "a report of a transaction of %zu outcomes that ended as %d", count,
              (int)end->verdict);
}

/* An alarm must end before it begins again. */
static void on_merchant_held(void *context, const char *mchid, enum hold_why why, bool held)
{
    (void)why;
    struct sim_member *member = context;
    bool *told = &member->told_held[strtoul(mchid, NULL, 10)];
    SIM_CHECK(member->sim, *told != held, "two reports that merchant %s is %s", mchid,
              held ? "held" : "released");
    *told = held;
    member->told_held_count += held ? 1 : (size_t)-1;
}

/* Only for a merchant that was reported as held or that no host answers; never while the endpoint
 * is down for all. It may be down only by that merchant's report. */
static void on_relieved(void *context, const struct job *job)
{
    const struct sim_member *member = context;
    struct sim *sim = member->sim;
    SIM_CHECK(sim, !member->told_down || !sim->weather.down, "relief while the endpoint is down");
    sim->relieved++;
    if (sim->restarts == 0) {
        log_event_at(sim, job->record.partition, job->record.offset)->relieved = true;
    }
}

/* Once for each, at its time or when its merchant is gone. */
static void on_pause_ended(void *context, const struct pause *pause, bool removed)
{
    const struct sim_member *member = context;
    struct sim *sim = member->sim;
    SIM_CHECK(sim,
              pauses_find(pipeline_pauses(member->pipeline), pause->scope, pause->name) == NULL,
              "a pause is reported as ended and goes on");
    SIM_CHECK(sim, removed || (pause->until_ms != 0 && pause->until_ms <= sim->wall_ms),
              "a pause ended %" PRId64 " ms early", pause->until_ms - sim->wall_ms);
}

static void on_endpoint_down(void *context, bool down)
{
    struct sim_member *member = context;
    SIM_CHECK(member->sim, member->told_down != down, "two reports that the endpoint is %s",
              down ? "down" : "up");
    member->told_down = down;
}

static void on_metadata_unreadable(void *context, int32_t partition)
{
    const struct sim_member *member = context;
    SIM_CHECK(member->sim, member->sim->partitions[partition].scribbled,
              "a report that the metadata of partition %d is not valid", partition);
}

static void on_log_restarted(void *context, int32_t partition, int64_t offset)
{
    const struct sim_member *member = context;
    SIM_CHECK(member->sim, member->sim->partitions[partition].restarted,
              "a report that partition %d begins again at %" PRId64, partition, offset);
}

static void on_outcome_rejected(void *context, const struct job *job, const char *last_error)
{
    const struct sim_member *member = context;
    struct sim *sim = member->sim;
    if (sim->restarts == 0) {
        const struct sim_event *event =
            log_event_at(sim, job->record.partition, job->record.offset);
        /* Without a key it may be parked because of another one without a key. */
        bool like_another = (job->refusal == REFUSAL_SIZE && sim->sizes_bound) ||
                            (job->refusal == REFUSAL_RECORD && job->record.key == NULL);
        SIM_CHECK(sim, event->refused || like_another,
                  "a report that the outcome of offset %" PRId64 " is refused", job->record.offset);
    }
    (void)last_error;
    sim->named++;
}

static void on_output_unavailable(void *context, enum output_topic topic, int32_t partition,
                                  enum refusal refusal, const char *last_error)
{
    const struct sim_member *member = context;
    (void)refusal;
    (void)topic;
    (void)partition;
    (void)last_error;
    member->sim->shuts++;
}

static void on_output_available(void *context, enum output_topic topic, int32_t partition,
                                enum refusal refusal)
{
    const struct sim_member *member = context;
    (void)refusal;
    (void)topic;
    (void)partition;
    member->sim->opens++;
}

void observe_set_up(struct sim_member *member, struct pipeline_observer *observer)
{
    member->called = member->answered = 0;
    memset(member->told_held, 0, sizeof member->told_held);
    member->told_held_count = 0;
    member->told_down = false;
    *observer = (struct pipeline_observer){
        .context = member,
        .called = on_called,
        .retrying = on_retrying,
        .published = on_published,
        .transaction = on_transaction,
        .merchant_held = on_merchant_held,
        .pause_ended = on_pause_ended,
        .relieved = on_relieved,
        .endpoint_down = on_endpoint_down,
        .metadata_unreadable = on_metadata_unreadable,
        .log_restarted = on_log_restarted,
        .outcome_rejected = on_outcome_rejected,
        .output_unavailable = on_output_unavailable,
        .output_available = on_output_available,
    };
}

/* Within an assignment a window is never behind the committed offset or beyond its log. */
static void check_window(struct sim *sim, const struct sim_member *member, int32_t id,
                         const struct window *window)
{
    const struct sim_partition *log = &sim->partitions[id];
    SIM_CHECK(sim, window_used(window) <= WINDOW_SPAN && window->base_offset <= window->next,
              "the window of partition %d is %zu wide", id, window_used(window));
    bool current =
        member->group_metadata != NULL && member->group_metadata->generation == sim->generation;
    SIM_CHECK(sim,
              !current || log->restarted || member->transaction != NULL ||
                  member->untransacted ||    /* the answer to its commit may be lost */
                  window->base_offset < 0 || /* its position is not known yet */
                  window->base_offset >= log->committed,
              "the window of partition %d is at %" PRId64 ", behind what is committed", id,
              window->base_offset);
    SIM_CHECK(sim, !current || log->restarted || window->next <= log->end,
              "the window of partition %d is at %" PRId64 ", beyond its log", id, window->next);
}

void observe_check(struct sim *sim, struct sim_member *member)
{
    struct pipeline_status status;
    if (!sim->observed) {
        return;
    }
    pipeline_status(member->pipeline, &status);
    SIM_CHECK(sim, member->called == member->answered, "%zu answers came, %zu were reported",
              member->answered, member->called);
    SIM_CHECK(sim, member->told_down == status.endpoint_down,
              "the endpoint is %s, without a report", status.endpoint_down ? "down" : "up");
    SIM_CHECK(sim, member->told_held_count == status.merchants_held,
              "%zu merchants are held, %zu were reported", status.merchants_held,
              member->told_held_count);
    for (size_t i = 0; i < status.partitions; i++) {
        const struct partition *partition = pipeline_partition(member->pipeline, i);
        check_window(sim, member, partition->id, &partition->window);
    }
}
