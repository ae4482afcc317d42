/* Outcomes that Kafka does not accept because of the record, its partition or its topic. All others
 * are published as usual. */
#include "story.h"

/* Of outcomes for other partitions and topics, from arrival to commit. */
static void expect_outputs_within(const struct story *story, unsigned but_topic, unsigned but,
                                  int64_t most_ms)
{
    for (unsigned topic = 0; topic < OUTPUT_TOPIC_COUNT; topic++) {
        for (unsigned i = 0; i < SIM_OUTPUTS; i++) {
            bool meant = topic == but_topic && (but >> i & 1) != 0;
            int64_t slowest_ms = story->sim->slowest_output_ms[topic][i];
            EXPECT(story, meant || slowest_ms <= most_ms,
                   "an outcome of topic %u, partition %u took %" PRId64 " ms", topic, i,
                   slowest_ms);
        }
    }
}

/* A fifth of the events is invalid. */
static void events_come(struct story *story, unsigned minutes)
{
    struct sim *sim = story->sim;
    for (unsigned second = 0; second < 60 * minutes; second++) {
        for (unsigned i = 0; i < 10; i++) {
            (void)log_produce_one(sim, (unsigned)sim_below(sim, sim->code_count),
                                  i % 5 == 0 ? SIM_NO_ID : SIM_GOOD);
        }
        arrive(story, 0);
        sim_run_until(sim, sim->mono_ms + 1000);
    }
}

/* 10 a second, a third of them to that partition: 6,000 in half an hour, below the windows' bound.
 */
static void output_partition_without_a_leader(void)
{
    struct story story = begin("a partition of the results has no leader for half an hour");
    events_come(&story, 1);
    story.sim->weather.shut[OUTPUT_RESULTS] = 1u << 1;
    events_come(&story, 30);
    expect_outputs_within(&story, OUTPUT_RESULTS, 1u << 1, 1000);
    expect_full_partitions(&story, 0);
    size_t refusals = story.sim->refusals;
    /* Each of the two processes tries it every ten seconds. */
    EXPECT(&story, refusals <= (size_t)2 * (30 * 6 + 10), "%zu transactions were refused",
           refusals);
    story.sim->weather.shut[OUTPUT_RESULTS] = 0;
    events_come(&story, 1);
    EXPECT(&story, story.sim->opens == story.sim->shuts, "%zu opened of %zu", story.sim->opens,
           story.sim->shuts);
    all_end_within(&story, 1);
}

/* Also for outcomes without a key, which have no other partition then. */
static void output_topic_without_any_leader(void)
{
    struct story story = begin("no partition of the failures has a leader for half an hour");
    events_come(&story, 1);
    story.sim->weather.shut[OUTPUT_FAILURES] = (1u << SIM_OUTPUTS) - 1;
    events_come(&story, 30);
    story.sim->weather.shut[OUTPUT_FAILURES] = 0;
    events_come(&story, 1);
    expect_outputs_within(&story, OUTPUT_FAILURES, (1u << SIM_OUTPUTS) - 1, 1000);
    EXPECT(&story, story.sim->opens == story.sim->shuts, "%zu opened of %zu", story.sim->opens,
           story.sim->shuts);
    all_end_within(&story, 1);
}

static void output_topic_refuses_all(void)
{
    struct story story = begin("the failures topic accepts nothing for an hour");
    events_come(&story, 1);
    story.sim->weather.shut_topics = 1u << OUTPUT_FAILURES;
    events_come(&story, 60);
    expect_outputs_within(&story, OUTPUT_FAILURES, 7, 1000);
    EXPECT(&story, story.sim->refusals <= (size_t)2 * (60 + 20), "%zu transactions were refused",
           story.sim->refusals);
    story.sim->weather.shut_topics = 0;
    events_come(&story, 1);
    EXPECT(&story, story.sim->opens == story.sim->shuts, "%zu opened of %zu", story.sim->opens,
           story.sim->shuts);
    all_end_within(&story, 1);
}

/* Calls stop, since results that cannot be published age. Invalid events are completed as usual. */
static void results_topic_refuses_all(void)
{
    struct story story = begin("the results topic accepts nothing for an hour");
    events_come(&story, 1);
    story.sim->weather.shut_topics = 1u << OUTPUT_RESULTS;
    story.calls_then = story.sim->calls;
    events_come(&story, 60);
    expect_calls(&story, (size_t)2 * 3 * 512);
    story.sim->weather.shut_topics = 0;
    all_end_within(&story, 5);
}

/* Each has a key, so that no other outcome is parked with it. */
static void outcomes_refused_for_their_own_sake(void)
{
    struct story story = begin("200 outcomes are rejected for half an hour");
    events_come(&story, 1);
    for (int i = 0; i < 20; i++) {
        for (int j = 0; j < 10; j++) {
            struct sim_event *event =
                log_produce_one(story.sim, 1 + 14 * (unsigned)sim_below(story.sim, 280), SIM_GOOD);
            event->refused = true;
        }
        events_come(&story, 1);
    }
    events_come(&story, 10);
    size_t waiting = story.sim->produced - story.sim->done;
    EXPECT(&story, waiting == 200, "%zu events wait, not 200", waiting);
    EXPECT(&story, story.sim->named >= 200, "%zu were named", story.sim->named);
    /* Halving isolates each one; then one of them is sent after growing pauses. */
    EXPECT(&story, story.sim->refusals <= (size_t)200 * 12, "%zu transactions were refused",
           story.sim->refusals);
    expect_outputs_within(&story, OUTPUT_TOPIC_COUNT, 0, 1500);
    all_end_within(&story, 6);
}

int main(int argc, char **argv)
{
    (void)argc;
    sim_program = argv[0];
    output_partition_without_a_leader();
    output_topic_without_any_leader();
    output_topic_refuses_all();
    results_topic_refuses_all();
    outcomes_refused_for_their_own_sake();
    return 0;
}
