/* A simulated world around the real pipeline: logs of partitions, a consumer group, transactions
 * and an endpoint, in virtual time. One seed determines every choice, so a seed repeats a failure.
 *
 *   log.c       events, their records, and the judge of what is committed
 *   group.c     members (processes with a pipeline each), rebalances, transactions
 *   clients.c   replacement of Kafka's clients
 *   endpoint.c  answers to calls, and what must be true when a call begins
 *   lists.c     keys that verify answers, and the lists that bring them
 *   observe.c   what a pipeline reports, and whether that is true
 *   chaos.c     faults, and when they happen
 *   sim.c       time and the loop
 *   main.c      seeds, one after another: the command line
 *   stories.c   long faults, one after another */
#ifndef TESTS_SIM_H
#define TESTS_SIM_H

#include "presignd/base/heap.h"
#include "presignd/flow/pipeline.h"
#include "presignd/flow/progress.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_MEMBERS_MAX     3
#define SIM_PARTITIONS_MAX  200 /* in a story; fewer in a random world */
#define SIM_MERCHANTS_MAX   160
#define SIM_CHAOS_MERCHANTS 4 /* at most, in a random world */
#define SIM_CODES_MAX       4096
#define SIM_EVENT_BYTES     65536
#define SIM_SLOW_MS         9000
#define SIM_TOPIC           "requests"
#define SIM_OUTPUTS         3                /* partitions of each output topic */
#define SIM_BEGIN_MS        INT64_C(1000000) /* on the monotonic clock */

/* The kind of an event's bytes. A GOOD one is called, each of the others fails for one reason. */
enum sim_kind {
    SIM_GOOD,
    SIM_EXPIRING, /* good, with an expirytime */
    SIM_FAT,      /* good, and nearly as large as allowed; the last of those that are called */
    SIM_EMPTY,
    SIM_GARBAGE,
    SIM_NO_ID,
    SIM_FOREIGN_TYPE,
    SIM_BAD_DATA,
    SIM_NO_MERCHANT,
    SIM_TOO_LARGE,
    SIM_KIND_COUNT
};

/* The truth about one record of a log. */
struct sim_event {
    int32_t partition;
    int64_t offset;
    int64_t expires_ms;                    /* wall clock; 0: never */
    int64_t born_ms;                       /* wall clock */
    int64_t arrived_ms;                    /* monotonic */
    uint32_t told_serial[SIM_MEMBERS_MAX]; /* of the last success that each process received */
    uint64_t body_hash;                    /* of its first attempt; 0: not called yet */
    uint32_t final_in;                     /* assignment in which an answer completed it */
    uint16_t code;
    uint16_t told; /* bit set by answer_kind: answers that a pipeline was given */
    uint8_t kind, merchant, outcomes;
    bool refused;  /* its topic rejects its outcome, of any size, until the faults stop */
    bool forged;   /* always answered 401 */
    bool gone;     /* its log was recreated before it was done */
    bool relieved; /* a pipeline reported relief for it */
    /* Without transactions: of its last outcome. */
    uint32_t published_in; /* assignment */
    bool unacknowledged;   /* its sender does not know of it */
    bool in_position;      /* a committed set says that it is done */
};

struct sim_partition {
    int32_t *entries; /* numbers of events, by offset; gaps are offsets without one */
    size_t count, cap;
    int64_t end;
    int64_t committed; /* -1: nothing yet */
    char metadata[TRANSACTION_METADATA_MAX + 1];
    bool restarted;  /* the log was recreated since the last commit */
    bool scribbled;  /* the committed metadata is not valid */
    bool to_restart; /* will be with the next rebalance */
    size_t done_end; /* above the highest entry that has an outcome */
};

/* Group metadata with its generation, and the number of its member's join. */
struct sim_group_metadata {
    struct group_metadata group_metadata; /* first: group_metadata_unref() frees the whole */
    uint32_t generation, joins;
};

struct sim_reading {
    int32_t partition;
    size_t cursor;
    bool paused;
    bool known; /* the pipeline knows its position */
};

enum sim_member_state { SIM_OUT, SIM_ASSIGNED, SIM_REVOKING };
enum sim_note { SIM_NO_NOTE, SIM_TOLD_REVOKE, SIM_TOLD_LOST, SIM_TOLD_ASSIGN };

struct sim_member {
    struct sim *sim;
    int index;
    uint32_t epoch; /* counts processes */
    bool alive, kicked, draining;
    bool leaves;       /* it drains to leave the group, not to end */
    bool leaving;      /* ... and leaves as soon as it has an assignment to give back */
    bool gives_back;   /* ... and its partitions are being released for that */
    bool drained;      /* it has left, and joins again later */
    bool untransacted; /* delivery = at_least_once */
    bool away;         /* its new consumer has not joined yet */
    bool expelled;     /* ... and its partitions have other owners by now */
    uint32_t joins;    /* counts its ids in the group */
    bool fenced;       /* another process uses its name: its next transaction is the last one */
    bool awake;        /* its loop has work */
    int64_t frozen_ms; /* frozen until then */
    int64_t thaw_ms;   /* the latest moment to which a freeze delayed a task */
    int64_t drain_end_ms;
    struct pipeline *pipeline;
    enum sim_member_state state;
    enum sim_note note;
    uint32_t note_generation;
    uint32_t assignment; /* number of the assignment, unique in the world */
    struct sim_group_metadata *group_metadata;
    struct sim_reading readings[SIM_PARTITIONS_MAX];
    size_t reading_count, next_reading;
    struct sim_transaction *transaction;
    unsigned in_flight, merchant_in_flight[SIM_MERCHANTS_MAX];
    size_t answered, called;           /* answers delivered, answers that the pipeline reported */
    bool told_held[SIM_MERCHANTS_MAX]; /* merchants that it reported as held */
    size_t told_held_count;
    bool told_down;                     /* it reported the endpoint as down */
    unsigned known[SIM_MERCHANTS_MAX];  /* bit sets of keys that verify answers */
    bool refreshing[SIM_MERCHANTS_MAX]; /* a list is on its way, or will be */
    int64_t refreshed_ms[SIM_MERCHANTS_MAX];
    uint8_t code_in_flight[SIM_CODES_MAX];
    int64_t code_last[SIM_CODES_MAX]; /* offset called last in this assignment */
};

enum sim_task_kind {
    SIM_ANSWER,
    SIM_OFFSETS_SENT,
    SIM_COMMITTED,
    SIM_TRANSACTION_ENDED,
    SIM_NOTE,
    SIM_POSITIONS,
    SIM_REFRESHED, /* a list of certificates has come, or has not */
    SIM_GROUP_CHECK,
    SIM_START,
    SIM_JOIN,   /* of a new consumer */
    SIM_FENCED, /* a consumer learns that it was */
    SIM_PRODUCE,
    SIM_CHAOS,
    SIM_CALM,
};

struct sim_task {
    struct heap_slot slot;
    enum sim_task_kind kind;
    int member;     /* -1: the world's own */
    uint32_t epoch; /* of the member; a task for an earlier process is dropped */
};

/* What the endpoint does to one merchant at present; bit sets are of hosts. */
struct sim_merchant_weather {
    unsigned hangs;         /* its calls are not answered */
    unsigned unverifiable;  /* no key of ours verifies the answers */
    unsigned stopped;       /* 503 */
    unsigned allowed_per_s; /* 429 beyond; 0: no limit */
    int64_t retry_after_ms; /* of those two; 0: none */
    int64_t latency_ms;     /* 0: as all others */
    bool answered_once; /* the first call after a second without calls is answered; later ones get
                           401 */
    int64_t called_ms;  /* when the last one came */
    unsigned moved;     /* in per mille: answers that the next key has signed */
};

/* What the endpoint does at present, in per mille of the calls. */
struct sim_weather {
    unsigned share[ANSWER_KIND_COUNT];
    unsigned lost;    /* no answer until the time-out */
    unsigned doubled; /* the network sends the request twice: two answers */
    unsigned retry_after;
    int64_t latency_ms, spread_ms;
    bool down;
    unsigned unauthorized; /* bit set of merchants */
    unsigned slow;         /* likewise: each of their calls takes SIM_SLOW_MS */
    unsigned hosts_down;   /* bit set: no listener there */
    unsigned names_gone;   /* bit set: hosts whose name cannot be resolved */
    bool shortage;         /* the processes have no descriptors */
    bool lists_gone;       /* no list of certificates can be fetched */
    unsigned odd_504;      /* one event in so many is always answered 504; 0: none */
    struct sim_merchant_weather of[SIM_MERCHANTS_MAX];
    unsigned abort_share, slow_share;
    unsigned shut_topics;                 /* bit set of output topics that accept nothing */
    unsigned shut[OUTPUT_TOPIC_COUNT];    /* bit sets of their partitions without a leader */
    size_t size_most[OUTPUT_TOPIC_COUNT]; /* of a record; 0: any */
};

struct sim_options {
    uint64_t seed;
    size_t events;
    bool verbose;
    const char *story;                                                    /* NULL: a random world */
    enum { SIM_EXACTLY_ONCE, SIM_ALL_AT_LEAST_ONCE, SIM_MIXED } delivery; /* of the processes */
};

struct sim {
    struct sim_options options;
    uint64_t random;
    int64_t mono_ms, wall_ms, wall_most_ms;
    struct heap tasks;
    int64_t busy_ms;   /* cost of the current round of a process's loop */
    const char *doing; /* for the report of a failure */

    struct sim_event *events;
    size_t produced;
    struct sim_partition partitions[SIM_PARTITIONS_MAX];
    size_t partition_count, merchant_count, code_count;
    unsigned bad_share, gap_share, fat_share, far_gap_share, odd_share, burst_max;
    int64_t produce_pause_ms;
    int64_t
        garbage_costs_ms; /* to admit a record that is not JSON; everything else costs nothing */

    struct sim_member members[SIM_MEMBERS_MAX];
    size_t member_count;
    uint32_t generation, assignments;
    bool preparing;     /* a rebalance waits for members */
    bool observed;      /* print what the pipelines do */
    bool calm;          /* faults have stopped */
    bool paused;        /* an operator paused a merchant or an endpoint at some time */
    bool sizes_bound;   /* a topic rejected records above a size at some time */
    bool no_lists_kept; /* a process begins without the list of the one before it */
    int64_t rebalance_end_ms;
    unsigned pending; /* transactions whose offsets were sent */
    int owners[SIM_PARTITIONS_MAX];

    struct clock clock;
    struct schema_set *schemas;
    struct merchants *merchants;
    struct admit_rules admit[2]; /* a reload uses the other one */
    struct complete_identity identity;
    struct pipeline_rules rules;
    unsigned rules_used;
    uint16_t merchant_told[SIM_MERCHANTS_MAX]; /* bit set by answer_kind, of all its events */
    double tokens[SIM_MERCHANTS_MAX];          /* of allowed_per_s, counted at tokens_ms */
    int64_t tokens_ms[SIM_MERCHANTS_MAX];
    /* Keys of WeChat Pay, numbered: the one that signs a merchant's answers, and the bit set of
     * those in its list. */
    unsigned signs[SIM_MERCHANTS_MAX], listed[SIM_MERCHANTS_MAX];
    size_t merchant_calls[SIM_MERCHANTS_MAX];
    size_t merchant_done[SIM_MERCHANTS_MAX], merchant_results[SIM_MERCHANTS_MAX];
    unsigned merchants_gone; /* bit set: removed by a reload, now or earlier */
    int64_t age_least_ms;    /* of all max_event_age_ms so far; 0: none */

    struct sim_weather weather;
    unsigned chaos_pause_ms;
    int64_t calm_ms;
    /* For the summary. */
    size_t done, calls, commits, aborts, renewals, rebalances, crashes, pauses, restarts, doubled,
        fenced, scribbles, repeated, left;
    int64_t busy_most_ms; /* of one round */
    size_t paused_seen;   /* rounds with events that a pause holds */
    size_t bytes_most, full_seen, held_seen, down_seen, jobs_most[JOB_STATE_COUNT];
    /* For the stories: outcomes by reason (REASON_NONE: results), and the longest time from arrival
     * to commit, by merchant. */
    size_t outcomes[REASON_COUNT];
    size_t relieved; /* events that were failed early */
    int64_t slowest_ms[SIM_MERCHANTS_MAX];
    int64_t slowest_output_ms[OUTPUT_TOPIC_COUNT][SIM_OUTPUTS];
    size_t refusals;            /* transactions */
    size_t named, shuts, opens; /* as reported */
};

/* sim.c */
/* A random world from options->seed, without running processes. */
struct sim *sim_new(const struct sim_options *options);
void sim_free(struct sim *sim);
/* Runs until that time, or until there is no more work. */
void sim_run_until(struct sim *sim, int64_t mono_ms);
void sim_run_to_the_end(struct sim *sim);
/* A restart from the committed offsets must find no work. */
void sim_run_again(struct sim *sim);
/* Prints the command that repeats the failure. */
extern const char *sim_program;
uint64_t sim_random(struct sim *sim);
uint64_t sim_below(struct sim *sim, uint64_t bound);
bool sim_chance(struct sim *sim, unsigned per_mille);
void sim_fail(struct sim *sim, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));
#define SIM_CHECK(sim, condition, ...)    \
    do {                                  \
        if (!(condition)) {               \
            sim_fail((sim), __VA_ARGS__); \
        }                                 \
    } while (0)
/* A task is embedded in its owner, or allocated by sim_task_new(). */
void sim_task_set(struct sim *sim, struct sim_task *task, enum sim_task_kind kind, int member,
                  int64_t after_ms);
void sim_task_new(struct sim *sim, enum sim_task_kind kind, int member, int64_t after_ms);

/* log.c */
/* Events of this code have no mchid: the first merchant, the default, signs for them. */
bool log_names_no_merchant(const struct sim *sim, unsigned code);
void log_produce(struct sim *sim, size_t count);
/* Code and kind determine its merchant and, unless the code is a multiple of 16, its partition.
 * Borrowed. */
struct sim_event *log_produce_one(struct sim *sim, unsigned code, enum sim_kind kind);
void log_restart(struct sim *sim, struct sim_partition *partition);
void log_record(struct sim *sim, const struct sim_event *event,
                void (*deliver)(void *context, const struct record *record), void *context);
struct sim_event *log_event_at(struct sim *sim, int32_t partition, int64_t offset);
/* Index of the first entry at or above the offset. */
size_t log_find(const struct sim *sim, const struct sim_partition *partition, int64_t offset);
/* The content of an outcome, kept until the end of the transaction. */
struct sim_outcome {
    struct sim_event *event;
    enum reason reason; /* REASON_NONE: a result */
    enum output_topic topic;
    int32_t output; /* partition */
    size_t size;
};
void log_read_outcome(struct sim *sim, int member, const struct transaction_record *record,
                      struct sim_outcome *outcome);
void log_commit_outcome(struct sim *sim, const struct sim_outcome *outcome);
/* Without a transaction: visible at once. A second outcome of an event is valid only after the
 * first one's assignment has ended, or when its acknowledgement was lost. */
void log_publish_outcome(struct sim *sim, const struct sim_outcome *outcome, uint32_t assignment,
                         bool unacknowledged);
/* Partitions are released in order: nothing of that assignment is visible whose position is not
 * committed. */
void log_check_release(struct sim *sim, uint32_t assignment);
void log_commit_position(struct sim *sim, const struct transaction_position *position);
void log_free(struct sim *sim);

/* endpoint.c */
void endpoint_call(void *caller, const struct attempt *attempt, void *cookie);
void endpoint_answer(struct sim *sim, struct sim_task *task);
/* Another key signs the merchant's answers from now on: the next one. It is in the list. */
void endpoint_rotate(struct sim *sim, size_t merchant);

/* lists.c */
/* Ports. */
bool lists_have_key(void *keys, const struct merchant *merchant, int64_t wall_ms);
bool lists_refresh(void *keys, const struct merchant *merchant);
/* At the start of a process. */
void lists_begin(struct sim_member *member);
void lists_refreshed(struct sim *sim, struct sim_task *task);
/* All processes have all keys. */
void lists_arrive(struct sim *sim);

/* group.c */
void member_start(struct sim *sim, struct sim_member *member);
void member_stop(struct sim *sim, struct sim_member *member);
/* sim->rules, with the member's delivery. */
struct pipeline_rules member_rules(const struct sim *sim, const struct sim_member *member);
/* `leaves`: it does not end, but leaves the group and joins again later. */
void member_drain(struct sim *sim, struct sim_member *member, bool leaves);
/* One round of the process's loop. */
void member_run(struct sim *sim, struct sim_member *member);
int64_t member_next_ms(const struct sim_member *member);
/* Nothing is unfinished, and all counters are zero. */
bool member_idle(const struct sim_member *member);
void group_begin(struct sim *sim);
void group_kick(struct sim *sim, struct sim_member *member);
void group_check(struct sim *sim);
void group_note(struct sim *sim, struct sim_task *task);
/* Partitions whose positions were not known with the assignment. */
void group_positions(struct sim *sim, struct sim_task *task);
void transaction_step(struct sim *sim, struct sim_task *task);
/* A task of a process that has ended. */
void transaction_drop(struct sim *sim, struct sim_task *task);

/* What a new publisher does with the batch of the old one: it returns the batch, unless the commit
 * was begun; then it reports the end as usual. */
void transaction_take_back(struct sim *sim, struct sim_member *member);
/* Without transactions, a commit under way ends when the consumer is replaced. */
void transaction_abandon(struct sim *sim, struct sim_member *member);
/* Its partitions have other owners. */
void member_leave(struct sim_member *member);

/* clients.c */
enum sim_clients { SIM_CONSUMER = 1, SIM_PRODUCER = 2 };
/* `which`: a bit set of enum sim_clients. */
void clients_renew(struct sim *sim, struct sim_member *member, unsigned which);
/* An old join of its own fences its consumer, which learns of it later. */
void clients_fence(struct sim *sim, struct sim_member *member);
void clients_task(struct sim *sim, struct sim_task *task);

/* observe.c */
void observe_set_up(struct sim_member *member, struct pipeline_observer *observer);
/* After a step: all answers are accounted for, and all windows are within their bounds. */
void observe_check(struct sim *sim, struct sim_member *member);

/* chaos.c */
/* After sizes and rules are set: schema, clocks, no faults, members that start. */
void chaos_furnish(struct sim *sim);
/* The same, with random sizes, rules and faults. */
void chaos_set_up(struct sim *sim);
/* Reloads all processes with sim->rules. */
void chaos_configure(struct sim *sim);
void chaos_crash(struct sim *sim, struct sim_member *member);
void chaos_strike(struct sim *sim);
void chaos_end(struct sim *sim);
void chaos_take_down(struct sim *sim);

#endif
