/* How much memory the events of one owner (a partition) may take, out of a bound for all owners.
 * Pure.
 *
 * Half of the bound is divided equally among the owners; each is guaranteed its part. The other
 * half is common: an owner may take as much of it as remains free afterwards. This is the dynamic
 * threshold of shared-memory switches (Choudhury and Hahne, "Dynamic Queue Length Thresholds for
 * Shared-Memory Packet Switches", IEEE/ACM Transactions on Networking 6(2), 1998). A single
 * owner may hold three quarters of the bound. However many owners fill their shares permanently,
 * the guaranteed part of every other owner stays free.
 *
 * The size of a record is known only after it was read. So an owner below its limit takes one more
 * record of any size, and an owner that holds nothing always takes one. The sum exceeds the bound
 * by at most one record for each owner.
 */
#ifndef PRESIGND_FLOW_SHARE_H
#define PRESIGND_FLOW_SHARE_H

#include <stdbool.h>
#include <stddef.h>

/* All sizes in bytes. */
struct shares {
    size_t bound;
    size_t guaranteed;  /* to each owner */
    size_t used;        /* by all owners, and by what has no owner any more */
    size_t common_used; /* of the common half */
};

/* One owner's; all zero holds nothing. */
struct share {
    size_t used;
};

/* No memory is in use yet. */
void shares_init(struct shares *shares, size_t bound);
/* New owners, which hold nothing. What is still in use (calls whose partition was taken away) has
 * no owner any more; it counts in the common half until it is given back. 0 owners count as 1. */
void shares_divide(struct shares *shares, size_t owners);
/* Something that took `old` bytes takes `new` bytes now; `old` is 0 when it begins, `new` when it
 * ends. `owner` NULL: it has no owner any more. Nothing else changes the counts. */
void shares_change(struct shares *shares, struct share *owner, size_t old, size_t new);

/* True when the owner takes no further record. */
bool share_full(const struct shares *shares, const struct share *owner);
/* How many bytes have to be given back until share_roomy() is true. */
size_t share_excess(const struct shares *shares, const struct share *owner);
/* True when a quarter of what the owner may take is free, or when it holds nothing. A partition is
 * paused at share_full() and resumed only at share_roomy(), since each pause costs a new fetch. */
bool share_has_room(const struct shares *shares, const struct share *owner);

#endif
