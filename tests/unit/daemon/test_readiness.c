#include "daemon/readiness.h"

#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <string.h>

/* A row each: what is known, what /readyz says ("": ready), what the watchdog hears ("": all is
 * well). */
struct row {
    const char *name;
    struct readiness_facts facts;
    const char *unready, *stuck;
};

#define ALL_WELL .joined = true

static const struct row rows[] = {
    {"all is well", {ALL_WELL}, "", ""},
    {"a stop", {ALL_WELL, .stopping = true}, "stopping", ""},
    {"a drain", {.drain = "drained", .preflight = "x", .id_missing_ms = 60000}, "drained", ""},
    {"a stop of a drained process", {.stopping = true, .drain = "drained"}, "stopping", ""},
    {"before the group is joined", {.joined = false}, "the group is not joined", ""},
    {"why it is not joined",
     {.kafka = "brokers are down"},
     "the group is not joined: brokers are down",
     ""},
    {"something is missing before the join",
     {.preflight = "fencing: none", .subscription = "x", .kafka = "y"},
     "preflight: fencing: none",
     ""},
    {"no right to the requests",
     {ALL_WELL, .subscription = "no right"},
     "requests cannot be read: no right",
     ""},
    {"the subscription is named before the group",
     {.subscription = "no such topic", .kafka = "x"},
     "requests cannot be read: no such topic",
     ""},
    {"the id is acquired again", {ALL_WELL, .id_missing_ms = READINESS_ID_MS - 1}, "", ""},
    {"the id is not ours",
     {ALL_WELL, .id_missing_ms = READINESS_ID_MS, .kafka = "no right to it"},
     "transactions cannot begin: no right to it",
     ""},
    {"the broker takes too little metadata, for as long as you like",
     {ALL_WELL, .metadata = "raise it", .idle_ms = READINESS_HANG_MS},
     "positions cannot be committed: raise it",
     ""},
    {"no host answers", {ALL_WELL, .endpoint_down = true}, "the endpoint is down", ""},
    {"work waits, not for long", {ALL_WELL, .idle_ms = READINESS_IDLE_MS - 1}, "", ""},
    {"work waits and nothing is committed",
     {ALL_WELL, .idle_ms = READINESS_IDLE_MS},
     "work has waited 60 s without a commit",
     ""},
    {"what it waits for",
     {ALL_WELL, .idle_ms = 75000, .waiting = "3 for another attempt"},
     "work has waited 75 s without a commit: 3 for another attempt",
     ""},
    {"Kafka is the first that is named",
     {ALL_WELL, .idle_ms = 75000, .waiting = "3 for another attempt", .kafka = "timed out"},
     "work has waited 75 s without a commit: timed out",
     ""},
    {"one of many holds and refusals is a matter of status",
     {ALL_WELL, .waiting = "3 held"},
     "",
     ""},
    {"ten minutes, and nothing explains it",
     {ALL_WELL, .idle_ms = READINESS_HANG_MS, .stalled_ms = READINESS_HANG_MS},
     "work has waited 600 s without a commit",
     "work has waited 600 s without a commit"},
    {"an hour, and another attempt is waited for",
     {ALL_WELL, .idle_ms = 3600000, .waiting = "1 for another attempt"},
     "work has waited 3600 s without a commit: 1 for another attempt",
     ""},
    {"nearly ten minutes",
     {ALL_WELL, .idle_ms = READINESS_HANG_MS - 1, .stalled_ms = READINESS_HANG_MS - 1},
     "work has waited 599 s without a commit",
     ""},
    {"an hour, and Kafka is away: transactions fail",
     {ALL_WELL, .idle_ms = 3600000, .stalled_ms = 3600000, .kafka = "timed out"},
     "work has waited 3600 s without a commit: timed out",
     ""},
    {"an hour, and Kafka is away: the group is lost",
     {.idle_ms = 3600000, .stalled_ms = 3600000},
     "the group is not joined",
     ""},
    {"an hour, and the id is not ours",
     {ALL_WELL, .idle_ms = 3600000, .stalled_ms = 3600000, .id_missing_ms = 3600000},
     "transactions cannot begin",
     ""},
    {"an hour, and the topic is gone",
     {ALL_WELL, .idle_ms = 3600000, .stalled_ms = 3600000, .subscription = "no such topic"},
     "requests cannot be read: no such topic",
     ""},
    {"an hour, and no host answers",
     {ALL_WELL, .idle_ms = 3600000, .stalled_ms = 3600000, .endpoint_down = true},
     "the endpoint is down",
     ""},
    {"signatures do not come",
     {ALL_WELL, .unsigned_ms = READINESS_UNSIGNED_MS - 1},
     "the signing threads or process have not answered for 59 s",
     ""},
    {"signatures do not come for a minute",
     {ALL_WELL, .unsigned_ms = READINESS_UNSIGNED_MS},
     "the signing threads or process have not answered for 60 s",
     "the signing threads or process have not answered for 60 s"},
    {"a timer of our own was missed",
     {ALL_WELL, .missed = "a call has not ended"},
     "",
     "a call has not ended"},
    {"a timer of our own was missed while Kafka is away",
     {.missed = "a call has not ended"},
     "the group is not joined",
     "a call has not ended"},
};

static void expect(const char *row, const char *question, bool yes, struct buf *why,
                   const char *expected)
{
    const char *said = why->data != NULL ? why->data : "";
    cr_expect_eq(yes, expected[0] == '\0', "%s: %s", row, question);
    cr_expect_str_eq(said, expected, "%s: %s says \"%s\"", row, question, said);
}

Test(readiness, each_row)
{
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        AUTO_BUF struct buf unready = {0};
        AUTO_BUF struct buf stuck = {0};
        bool ready = readiness_ready(&rows[i].facts, &unready);
        bool alive = readiness_alive(&rows[i].facts, &stuck);
        expect(rows[i].name, "ready", ready, &unready, rows[i].unready);
        expect(rows[i].name, "alive", alive, &stuck, rows[i].stuck);
    }
}

/* A look each half second, in virtual time. */
static int64_t looks(struct readiness_idle *idle, int64_t from_ms, int64_t span_ms, size_t events,
                     uint64_t commits)
{
    for (int64_t now_ms = from_ms; now_ms <= from_ms + span_ms; now_ms += 500) {
        readiness_sample(idle, events, commits, now_ms);
    }
    return from_ms + span_ms;
}

Test(readiness, it_is_idle_while_events_wait_and_nothing_is_committed)
{
    struct readiness_idle idle = READINESS_IDLE_INIT;
    int64_t now_ms = looks(&idle, 1000, 60000, 3, 7);
    cr_expect_eq(readiness_idle_ms(&idle, now_ms), 60000);
    now_ms = looks(&idle, now_ms + 500, 30000, 3, 8); /* a commit */
    cr_expect_eq(readiness_idle_ms(&idle, now_ms), 30000);
    now_ms = looks(&idle, now_ms + 500, 0, 0, 8); /* a hold keeps what is left */
    cr_expect_eq(readiness_idle_ms(&idle, now_ms), 0);
    now_ms = looks(&idle, now_ms + 500, 10000, 1, 8); /* and lets go */
    cr_expect_eq(readiness_idle_ms(&idle, now_ms), 10000);
}

/* A held merchant's probes: each is an event in flight, with a gap before the next. */
Test(readiness, probes_of_what_is_held_are_no_work_that_waits)
{
    struct readiness_idle idle = READINESS_IDLE_INIT;
    int64_t now_ms = 0;
    for (int i = 0; i < 100; i++) {
        now_ms = looks(&idle, now_ms + 500, 10000, 1, 0);
        cr_expect_lt(readiness_idle_ms(&idle, now_ms), READINESS_IDLE_MS);
        now_ms = looks(&idle, now_ms + 500, 1000, 0, 0);
    }
}
