/* Relief: whether an event that a hold keeps is ended early, because such events fill the
 * partition in which others' events wait. Pure.
 *
 * It is when all of this is so:
 * - the partition is full, by its window or by its share of the memory, and so is not read;
 * - a hold of the merchant's own has lasted RELIEF_HOLD_MS. The endpoint being down as a whole is
 *   nobody's own, and a limit, a rate or a slow answer is no hold (flow/hold.h);
 * - another merchant, which is not held itself, was active in that partition: it had an outcome
 *   there within RELIEF_OTHERS_MS before the partition became full, or since.
 *
 * Nobody knows whose a record is that was not read. While a partition is full, its unread records
 * are therefore taken to be of the merchants that were active when the reading stopped, however
 * long ago that is. When only the held merchant's records follow, the next time that the partition
 * is full finds nobody else active, and Kafka is the queue. After a start nothing is known, so
 * nothing is relieved before another merchant had an outcome.
 */
#ifndef PRESIGND_FLOW_RELIEF_H
#define PRESIGND_FLOW_RELIEF_H

#include <stdbool.h>
#include <stdint.h>

#define RELIEF_HOLD_MS   30000
#define RELIEF_OTHERS_MS 60000
/* Events that are ended early in one step. */
#define RELIEF_STEP_MAX 64
/* Merchants that are remembered for a partition, the latest ones. */
#define RELIEF_SEEN_MAX 4

/* Who had an outcome in a partition, and when last; all zero is nobody. Moments are of the
 * monotonic clock; merchants are told apart by their address. */
struct relief_seen {
    struct {
        const void *who;
        int64_t at_ms;
    } items[RELIEF_SEEN_MAX];
};

/* A merchant that is not held had an outcome. */
void relief_note(struct relief_seen *seen, const void *who, int64_t now_ms);
/* When a merchant other than that one, and for which `is_held` says no, had one last; -1: none. */
int64_t relief_others_ms(const struct relief_seen *seen, const void *who,
                         bool (*is_held)(const void *who, const void *context),
                         const void *context);

struct relief_case {
    int64_t now_ms;
    int64_t full_ms;   /* since when the partition is full; -1: it is not */
    int64_t held_ms;   /* since when the merchant is held; -1: it is not */
    int64_t others_ms; /* as relief_others_ms() */
};
bool relief_applies(const struct relief_case *relief);

#endif
