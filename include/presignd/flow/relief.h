/* Relief: whether an event that waits because of a hold is ended early, since such events fill a
 * partition in which events of other merchants wait. Pure.
 *
 * It is ended early when all of these conditions are true:
 * - The partition is full (its window, or its share of the memory), and therefore is not read.
 * - A hold of the merchant's own has lasted RELIEF_HOLD_MS. While the partition is full, holds that
 *   follow each other add up, and the time between them is subtracted. These are no holds of its
 *   own: the endpoint is down as a whole; a limit; a rate; slow answers (flow/hold.h).
 * - Another merchant, which is not held, was active in that partition: it had an outcome there
 *   within RELIEF_OTHERS_MS before the partition became full, or later.
 *
 * An operator's pause of a merchant or an endpoint counts as such a hold. For a paused endpoint,
 * the merchant's events of other endpoints are others too. While everything is paused, nothing is
 * ended early.
 *
 * The merchant of an unread record is not known. While a partition is full, its unread records are
 * taken to belong to the merchants that were active when reading stopped, however long ago that
 * was. If in fact only the held merchant's records follow, then no other merchant is active when
 * the partition becomes full the next time, and the events wait in Kafka. After a start or a
 * rebalance nothing is known: there is no relief until another merchant had an outcome.
 */
#ifndef PRESIGND_FLOW_RELIEF_H
#define PRESIGND_FLOW_RELIEF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RELIEF_HOLD_MS   30000
#define RELIEF_OTHERS_MS 60000
/* Events that are ended early in one step. */
#define RELIEF_STEP_MAX 64
/* Merchants and endpoints that are remembered for a partition, the latest ones. */
#define RELIEF_SEEN_MAX 8

/* A merchant, by its address, with one of its endpoints. */
struct relief_who {
    const void *merchant;
    size_t endpoint;
};

/* Who had an outcome in a partition, and when the last one was; all zero: none. Moments are of the
 * monotonic clock. */
struct relief_seen {
    struct {
        struct relief_who who;
        int64_t at_ms;
    } items[RELIEF_SEEN_MAX];
};

/* One that is not held had an outcome. */
void relief_note(struct relief_seen *seen, struct relief_who who, int64_t now_ms);
/* When one that is not held (`is_held`) had its last outcome; -1: none. Those of the merchant
 * `except` do not count; it may be NULL. */
int64_t relief_others_ms(const struct relief_seen *seen, const void *except,
                         bool (*is_held)(struct relief_who who, const void *context),
                         const void *context);

struct relief_case {
    int64_t now_ms;
    int64_t full_since_ms; /* since when the partition is full; -1: it is not */
    int64_t held_ms;       /* since when the merchant is held; -1: it is not */
    int64_t others_ms;     /* as relief_others_ms() */
};
bool relief_applies(const struct relief_case *relief);

#endif
