/* How much memory the events of one owner (a partition) may take of a bound for all. Pure.
 *
 * Half of the bound is divided equally among the owners: that much is guaranteed to each. The
 * other half is common: an owner may take as much of it as it leaves free. This is the dynamic
 * threshold of shared-memory switches (Choudhury and Hahne, "Dynamic Queue Length Thresholds for
 * Shared-Memory Packet Switches", IEEE/ACM Transactions on Networking 6(2), 1998). One owner
 * alone may hold three quarters of the bound; however many fill their shares for good, the
 * guaranteed part of every other owner stays free.
 *
 * The size of a record is known only when it is there, so an owner below its limit takes one more
 * of any size, and an owner that holds nothing takes one in any case: the sum exceeds the bound
 * by one record for each owner at most.
 */
#ifndef PRESIGND_FLOW_SHARE_H
#define PRESIGND_FLOW_SHARE_H

#include <stdbool.h>
#include <stddef.h>

/* All sizes in bytes. */
struct shares {
    size_t bound;
    size_t guaranteed;  /* to each owner */
    size_t used;        /* by all owners, and by what has none any more */
    size_t common_used; /* of the common half */
};

/* One owner's; all zero holds nothing. */
struct share {
    size_t used;
};

/* `shares` is used by nobody yet. */
void shares_init(struct shares *shares, size_t bound);
/* New owners, which hold nothing. What is in use by then (calls whose partition went away) has no
 * owner any more: it takes from the common half until it is given back. 0 owners count as 1. */
void shares_divide(struct shares *shares, size_t owners);
/* Something that took `old` bytes takes `new` bytes now; 0 for what begins or ends. `owner` NULL:
 * it has none any more. The only way in which anything is counted. */
void shares_change(struct shares *shares, struct share *owner, size_t old, size_t new);

/* True when the owner takes no further record. */
bool share_full(const struct shares *shares, const struct share *owner);
/* How much has to be given back until share_roomy(). */
size_t share_excess(const struct shares *shares, const struct share *owner);
/* True when a quarter of what the owner may take is free again, or when it holds nothing. Between
 * this and share_full() nothing changes, since pausing a partition costs a new fetch. */
bool share_roomy(const struct shares *shares, const struct share *owner);

#endif
