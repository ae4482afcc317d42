/* Which outcomes Kafka refuses, and when each of them is sent again. Pure: works with
 * numbers and times; publish.c keeps the outcomes, in JOB_REFUSED.
 *
 * A case is a set of outcomes that were refused for one cause. There are two kinds:
 * - A group was refused together, because a broker answers for a whole request. At least one
 *   outcome is at fault. The group is sent in halves until each outcome at fault is alone.
 * - A parked case has outcomes of one topic with one cause: each is at fault itself, or its
 *   partition or topic accepts nothing. One of them is sent after a pause. If it is refused, the
 *   pause doubles. If it is accepted, all others are sent.
 *
 * An outcome that is too large (REFUSAL_SIZE) is written again without `original` first, by
 * publish.c. If it is still too large, it is parked. The size is remembered for SUSPECTS_SIZE_MS,
 * so that outcomes of this size are not sent in the meantime.
 *
 * A transaction has outcomes of one case, or of no case. While both wait, they alternate.
 */
#ifndef PRESIGND_FLOW_SUSPECTS_H
#define PRESIGND_FLOW_SUSPECTS_H

#include "presignd/flow/output.h"
#include "presignd/kafka/refusal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first and the longest pause of a parked case, by the scope of the refusal. */
#define SUSPECTS_RECORD_FIRST_MS    10000
#define SUSPECTS_RECORD_MAX_MS      300000
#define SUSPECTS_TOPIC_FIRST_MS     1000
#define SUSPECTS_TOPIC_MAX_MS       60000
#define SUSPECTS_PARTITION_FIRST_MS 500
#define SUSPECTS_PARTITION_MAX_MS   10000
/* How long a rejected size is remembered; the topic's limit may have been raised since. */
#define SUSPECTS_SIZE_MS 600000

struct suspect_case {
    uint32_t id; /* never 0 */
    bool group;
    enum output_topic topic;
    enum refusal refusal;
    int32_t partition; /* that accepts nothing; -1: the cause is the topic or the record, or no
                        * partition accepts an outcome without a key */
    bool keyless;      /* REFUSAL_RECORD: one without a key was rejected */
    size_t take;       /* of a group: how many are sent next */
    int64_t next_ms, pause_ms;
};

/* All zero: no case. */
struct suspects {
    struct suspect_case *cases; /* in the order in which they began */
    size_t count, cap;
    uint32_t last_id;
    bool clean_next; /* the last transaction was of a case */
    struct {
        size_t size; /* the smallest that was rejected alone; 0: none */
        int64_t until_ms;
    } too_large[OUTPUT_TOPIC_COUNT];
};

/* An outcome as it is sent. */
struct suspect_record {
    enum output_topic topic;
    int32_t partition; /* -1: unknown, or any */
    size_t size;
    bool keyless;
};

void suspects_deinit(struct suspects *suspects);
/* Ends all cases, because their outcomes are gone. Keeps the rejected sizes. */
void suspects_clear(struct suspects *suspects);
/* NULL if the case has ended. */
struct suspect_case *suspects_find(const struct suspects *suspects, uint32_t id);
void suspects_end(struct suspects *suspects, uint32_t id);

/* A new group of `count` outcomes. */
uint32_t suspects_group(struct suspects *suspects, enum output_topic topic, enum refusal refusal,
                        size_t count);
/* The parked case for such a refusal. Makes one if there is none, and sets *made. */
uint32_t suspects_park(struct suspects *suspects, const struct suspect_record *record,
                       enum refusal refusal, int64_t now_ms, bool *made);
/* The parked case for an outcome that has not been sent yet; 0: it can be sent. */
uint32_t suspects_match(const struct suspects *suspects, const struct suspect_record *record);

/* A record of that size was rejected alone, or was accepted. */
void suspects_note_size(struct suspects *suspects, const struct suspect_record *record,
                        bool refused, int64_t now_ms);
bool suspects_too_large(const struct suspects *suspects, const struct suspect_record *record,
                        int64_t now_ms);

/* The case whose outcomes are sent now; 0: none. `clean`: outcomes of no case wait, too. */
uint32_t suspects_due(const struct suspects *suspects, bool clean, int64_t now_ms);
/* When the next case is due, possibly in the past; INT64_MAX: no case. */
int64_t suspects_next_ms(const struct suspects *suspects);
/* How many of the case's `count` outcomes to send. */
size_t suspects_take(const struct suspects *suspects, uint32_t id, size_t count);
/* True while there is a group: some of its outcomes may be acceptable. */
bool suspects_undecided(const struct suspects *suspects);

/* A transaction of the case ended; without effect if the case has ended. `left` outcomes are still
 * in it; a case without any ends. A group sends next:
 * - after outcomes were accepted, twice as many as before;
 * - after `refused` of them were rejected again, half of those;
 * - after one was rejected alone and left the group (`refused` is 0), all that are left. */
void suspects_taken(struct suspects *suspects, uint32_t id, size_t left);
void suspects_refused(struct suspects *suspects, uint32_t id, size_t refused, size_t left,
                      int64_t now_ms);
/* The transaction failed for another reason: a parked case waits for the same pause again. */
void suspects_put_off(struct suspects *suspects, uint32_t id, int64_t now_ms);

#endif
