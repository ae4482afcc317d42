/* Keys that verify answers: none, too late, others than before. No event may fail because of them.
 */
#include "story.h"

static void keys_are_lost(struct story *story)
{
    for (size_t i = 0; i < story->sim->member_count; i++) {
        story->sim->members[i].known[1] = 0;
        story->sim->members[i].awake = true;
    }
}

/* The other merchants have public keys. */
static struct story begin_without_keys(const char *name)
{
    struct story story = begin_wide(name);
    story.sim->weather.lists_gone = true;
    seconds_pass(&story, 2, 0, 5);
    keys_are_lost(&story);
    return story;
}

static void network_comes_back(struct story *story)
{
    story->sim->weather.lists_gone = false;
}

static void start_without_keys(void)
{
    struct story story =
        begin_without_keys("a process begins without keys of a merchant and without network");
    seconds_pass(&story, 530, 5, 5);
    expect_calls_of_one(&story, 0, 0, 0);
    expect_failures(&story, 0, 0);
    expect_others_within(&story, 1, SECOND_MS);
    expect_never_down(&story);
    network_comes_back(&story);
    seconds_pass(&story, 63, 5, 5);
    seconds_pass(&story, 10, 0, 0);
    expect_waiting(&story, 0);
    expect_failures(&story, 0, 0);
    all_end_within(&story, 1);
}

static void no_keys_for_half_an_hour(void)
{
    struct story story = begin_without_keys("a merchant has no key for half an hour");
    seconds_pass(&story, 598, 5, 5);
    expect_failures(&story, 0, 0);
    seconds_pass(&story, 1200, 5, 5);
    expect_waiting(&story, 10);
    expect_failures(&story, 8900, 9000);
    EXPECT(&story, story.sim->outcomes[REASON_UNVERIFIED_ANSWER] == failures(&story),
           "events failed for another reason than the keys");
    expect_calls_of_one(&story, 0, 0, 0);
    expect_others_within(&story, 1, SECOND_MS);
    network_comes_back(&story);
    seconds_pass(&story, 63, 5, 5);
    none_fails_any_more(&story, 5, 5);
}

/* Without a hold the first events wait all the same until the first list has come. */
static void first_list_without_a_hold(void)
{
    struct story story = begin_wide("a process begins without keys and without holds");
    story.sim->rules.limits.hold_unauthorized_ms = 0;
    story.sim->no_lists_kept = true;
    seconds_pass(&story, 30, 5, 5);
    expect_failures(&story, 0, 0);
    expect_waiting(&story, 5);
    all_end_within(&story, 1);
}

static void last_certificate_expires(void)
{
    struct story story = begin_wide("the last certificate of a merchant expires under load");
    story.sim->member_count = 1;
    the_one(&story)->latency_ms = 2 * SECOND_MS;
    seconds_pass(&story, 10, 20, 5);
    keys_are_lost(&story);
    seconds_pass(&story, 10, 20, 5);
    expect_failures(&story, 0, 0);
    expect_waiting(&story, 80);
    expect_others_within(&story, 1, SECOND_MS);
    all_end_within(&story, 1);
}

/* The new certificate signs before any list with it was fetched. */
static void missed_switch(unsigned hosts)
{
    struct story story = begin_wide("a switch to a new certificate was missed, under load");
    story.sim->rules.limits.host_count = hosts;
    seconds_pass(&story, 10, 20, 5);
    size_t calls = story.sim->merchant_calls[1], produced = story.sim->merchant_results[1];
    endpoint_rotate(story.sim, 1);
    seconds_pass(&story, 10, 20, 5);
    expect_failures(&story, 0, 0);
    expect_waiting(&story, 40);
    expect_others_within(&story, 1, SECOND_MS);
    expect_calls_of_one(&story, calls, story.sim->merchant_results[1] - produced,
                        story.sim->merchant_results[1] - produced + 60);
    all_end_within(&story, 1);
}

/* Answers are signed by both keys, and for five minutes no list has the new one. An event whose
 * answer it signed waits, the others go on. */
static void mixed_answers_and_a_late_list(void)
{
    struct story story = begin_wide("some answers are signed by a key that no list has yet");
    seconds_pass(&story, 10, 5, 5);
    the_one(&story)->moved = 100;
    seconds_pass(&story, 300, 5, 5);
    expect_failures(&story, 0, 0);
    expect_waiting(&story, 300);
    expect_others_within(&story, 1, SECOND_MS);
    story.sim->listed[1] |= 2;
    seconds_pass(&story, 125, 5, 5);
    expect_waiting(&story, 10);
    expect_failures(&story, 0, 0);
    all_end_within(&story, 1);
}

/* More and more answers are signed by the other key, then all of them, as in the move to the public
 * key and back. */
static void moves(void)
{
    struct story story = begin_wide("answers move from one key to another within ten minutes");
    seconds_pass(&story, 5, 5, 5);
    for (unsigned minute = 0; minute < 10; minute++) {
        story.sim->listed[1] |= 2;
        the_one(&story)->moved = 100 * minute;
        seconds_pass(&story, 60, 5, 5);
    }
    endpoint_rotate(story.sim, 1);
    the_one(&story)->moved = 0;
    seconds_pass(&story, 60, 5, 5);
    expect_waiting(&story, 10);
    expect_failures(&story, 0, 0);
    expect_others_within(&story, 1, SECOND_MS);
    all_end_within(&story, 1);
}

int main(int argc, char **argv)
{
    (void)argc;
    sim_program = argv[0];
    start_without_keys();
    no_keys_for_half_an_hour();
    first_list_without_a_hold();
    last_certificate_expires();
    missed_switch(1);
    missed_switch(2);
    mixed_answers_and_a_late_list();
    moves();
    return 0;
}
