/* What is known of outcomes that were not taken, and which of them is offered when. Pure: it knows
 * numbers and times, the outcomes themselves are its owner's.
 *
 * A case holds outcomes that share a trouble:
 * - a group: refused together, since a broker answers for a whole request; one of them or more are
 *   to blame. It is offered in halves until those are alone.
 * - a hold: outcomes that are refused by themselves (by topic and kind of refusal), or whose
 *   partition or topic takes nothing. One of them is offered after a pause that doubles; when it
 *   is taken, the case is over and all of them are offered again.
 *
 * Outcomes of a case never share a transaction with those of no case, and transactions of the two
 * sorts alternate while both wait.
 */
#ifndef PRESIGND_FLOW_SUSPECTS_H
#define PRESIGND_FLOW_SUSPECTS_H

#include "presignd/kafka/outlet.h"
#include "presignd/kafka/refusal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Pauses of a hold, by what refuses: the first and the longest. */
#define SUSPECTS_RECORD_FIRST_MS    10000
#define SUSPECTS_RECORD_MAX_MS      300000
#define SUSPECTS_TOPIC_FIRST_MS     1000
#define SUSPECTS_TOPIC_MAX_MS       60000
#define SUSPECTS_PARTITION_FIRST_MS 500
#define SUSPECTS_PARTITION_MAX_MS   10000
/* A size that was refused is believed that long: a topic's setting may be raised. */
#define SUSPECTS_SIZE_MS 600000

struct suspect_case {
    uint32_t id; /* never 0 */
    bool group;
    enum outlet_topic topic;
    enum refusal refusal;
    int32_t partition; /* of the topic, where that is what refuses; -1: the topic or the record
                        * refuses, or no partition takes an outcome without a key */
    bool keyless;      /* REFUSAL_RECORD: one without a key was refused */
    size_t take;       /* of a group: how many are offered next */
    int64_t next_ms, pause_ms;
};

/* All zero knows of no trouble. */
struct suspects {
    struct suspect_case *cases; /* in the order in which they began */
    size_t count, cap;
    uint32_t last_id;
    bool clean_next; /* the last transaction was a suspect's */
    struct {
        size_t size; /* the least that was refused alone; 0: none was */
        int64_t until_ms;
    } too_large[OUTLET_TOPIC_COUNT];
};

/* What an outcome would be sent as. */
struct suspect_record {
    enum outlet_topic topic;
    int32_t partition; /* -1: not known, or any */
    size_t size;
    bool keyless;
};

void suspects_deinit(struct suspects *suspects);
/* No case is left: their outcomes are gone. Sizes stay known. */
void suspects_clear(struct suspects *suspects);
/* NULL when it is over. */
struct suspect_case *suspects_find(const struct suspects *suspects, uint32_t id);
void suspects_end(struct suspects *suspects, uint32_t id);

/* A new group of `count` outcomes. */
uint32_t suspects_group(struct suspects *suspects, enum outlet_topic topic, enum refusal refusal,
                        size_t count);
/* The hold for such a refusal, made when there is none yet (then `*made`). */
uint32_t suspects_hold(struct suspects *suspects, const struct suspect_record *record,
                       enum refusal refusal, int64_t now_ms, bool *made);
/* The hold that keeps such an outcome back before it is offered at all; 0: none does. */
uint32_t suspects_match(const struct suspects *suspects, const struct suspect_record *record);

/* A record of that size was refused alone, or was taken. */
void suspects_note_size(struct suspects *suspects, const struct suspect_record *record,
                        bool refused, int64_t now_ms);
bool suspects_too_large(const struct suspects *suspects, const struct suspect_record *record,
                        int64_t now_ms);

/* The case whose outcomes are offered now; 0: none. `clean` says that others wait as well. */
uint32_t suspects_due(const struct suspects *suspects, bool clean, int64_t now_ms);
/* When some case is due; INT64_MAX: none is waiting. It may be past. */
int64_t suspects_next_ms(const struct suspects *suspects);
/* How many of the case's `count` outcomes to offer. */
size_t suspects_take(const struct suspects *suspects, uint32_t id, size_t count);
/* Outcomes that may yet prove to be nobody's fault. */
bool suspects_untold(const struct suspects *suspects);

/* What became of a case's transaction; of a case that is over, nothing. `left` outcomes are still
 * in it. A group of which some were taken goes on with twice as many; one of which `refused`
 * were refused again, with half of those; one whose culprit was found (0), with all the rest. */
void suspects_taken(struct suspects *suspects, uint32_t id, size_t left);
void suspects_refused(struct suspects *suspects, uint32_t id, size_t refused, size_t left,
                      int64_t now_ms);
/* It was offered, and nothing was said of it: a hold's is offered again after the same pause. */
void suspects_put_off(struct suspects *suspects, uint32_t id, int64_t now_ms);

#endif
