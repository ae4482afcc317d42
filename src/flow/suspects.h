/* What is known of outcomes that Kafka refused, and which of them is offered when. Pure: it works
 * with numbers and times; its owner keeps the outcomes.
 *
 * A case is a set of outcomes that were refused for one cause. There are two kinds:
 * - A group was refused together, because a broker answers for a whole request. At least one
 *   outcome is at fault. The group is offered in halves until each one at fault is alone.
 * - A hold keeps outcomes of one topic with one kind of refusal: each is at fault itself, or its
 *   partition or topic takes nothing. One of them is offered after a pause. When it is refused
 *   again, the pause doubles. When it is taken, all the others are offered.
 *
 * A transaction has outcomes of one case, or of no case. While both kinds of transactions wait,
 * they alternate.
 */
#ifndef PRESIGND_FLOW_SUSPECTS_H
#define PRESIGND_FLOW_SUSPECTS_H

#include "presignd/flow/output.h"
#include "presignd/kafka/refusal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first and the longest pause of a hold, by what refuses. */
#define SUSPECTS_RECORD_FIRST_MS    10000
#define SUSPECTS_RECORD_MAX_MS      300000
#define SUSPECTS_TOPIC_FIRST_MS     1000
#define SUSPECTS_TOPIC_MAX_MS       60000
#define SUSPECTS_PARTITION_FIRST_MS 500
#define SUSPECTS_PARTITION_MAX_MS   10000
/* How long a refused size is remembered: the topic's setting may have been raised since. */
#define SUSPECTS_SIZE_MS 600000

struct suspect_case {
    uint32_t id; /* never 0 */
    bool group;
    enum output_topic topic;
    enum refusal refusal;
    int32_t partition; /* of the topic, where that is what refuses; -1: the topic or the record
                        * refuses, or no partition takes an outcome without a key */
    bool keyless;      /* REFUSAL_RECORD: one without a key was refused */
    size_t take;       /* of a group: how many are offered next */
    int64_t next_ms, pause_ms;
};

/* All zero: there is no case. */
struct suspects {
    struct suspect_case *cases; /* in the order in which they began */
    size_t count, cap;
    uint32_t last_id;
    bool clean_next; /* the last transaction was a suspect's */
    struct {
        size_t size; /* the least that was refused alone; 0: none was */
        int64_t until_ms;
    } too_large[OUTPUT_TOPIC_COUNT];
};

/* What an outcome would be sent as. */
struct suspect_record {
    enum output_topic topic;
    int32_t partition; /* -1: not known, or any */
    size_t size;
    bool keyless;
};

void suspects_deinit(struct suspects *suspects);
/* Ends all cases, because their outcomes are gone. Refused sizes stay known. */
void suspects_clear(struct suspects *suspects);
/* NULL when the case has ended. */
struct suspect_case *suspects_find(const struct suspects *suspects, uint32_t id);
void suspects_end(struct suspects *suspects, uint32_t id);

/* A new group of `count` outcomes. */
uint32_t suspects_group(struct suspects *suspects, enum output_topic topic, enum refusal refusal,
                        size_t count);
/* The hold for such a refusal. Makes one when there is none yet, and says so in `*made`. */
uint32_t suspects_park(struct suspects *suspects, const struct suspect_record *record,
                       enum refusal refusal, int64_t now_ms, bool *made);
/* The hold for an outcome that has not been offered yet; 0: it can be offered. */
uint32_t suspects_match(const struct suspects *suspects, const struct suspect_record *record);

/* A record of that size was refused alone, or was taken. */
void suspects_note_size(struct suspects *suspects, const struct suspect_record *record,
                        bool refused, int64_t now_ms);
bool suspects_too_large(const struct suspects *suspects, const struct suspect_record *record,
                        int64_t now_ms);

/* The case whose outcomes are offered now; 0: none. `clean`: outcomes of no case wait, too. */
uint32_t suspects_due(const struct suspects *suspects, bool clean, int64_t now_ms);
/* When the next case is due, which may be in the past; INT64_MAX: there is no case. */
int64_t suspects_next_ms(const struct suspects *suspects);
/* How many of the case's `count` outcomes to offer. */
size_t suspects_take(const struct suspects *suspects, uint32_t id, size_t count);
/* True while there is a group: some of its outcomes may not be at fault. */
bool suspects_undecided(const struct suspects *suspects);

/* What became of a transaction of the case; without effect when the case has ended. `left`
 * outcomes are still in it; a case without any ends. A group offers next:
 * - after outcomes were taken, twice as many as before;
 * - after `refused` of them were refused again, half of those;
 * - after one was refused alone and left the group (`refused` is 0), all that are left. */
void suspects_taken(struct suspects *suspects, uint32_t id, size_t left);
void suspects_refused(struct suspects *suspects, uint32_t id, size_t refused, size_t left,
                      int64_t now_ms);
/* The transaction failed for another reason: a hold waits for the same pause once more. */
void suspects_put_off(struct suspects *suspects, uint32_t id, int64_t now_ms);

#endif
