#include "presignd/flow/share.h"

#include <assert.h>

void shares_init(struct shares *shares, size_t bound)
{
    *shares = (struct shares){.bound = bound};
    shares_divide(shares, 1);
}

void shares_divide(struct shares *shares, size_t owners)
{
    shares->guaranteed = shares->bound / 2 / (owners == 0 ? 1 : owners);
    shares->common_used = shares->used;
}

/* How much of the common half an owner with `used` bytes takes. */
static size_t over_guaranteed(const struct shares *shares, size_t used)
{
    return used > shares->guaranteed ? used - shares->guaranteed : 0;
}

void shares_change(struct shares *shares, struct share *owner, size_t old, size_t new)
{
    size_t common_old = old, common_new = new;
    if (owner != NULL) {
        assert(owner->used >= old);
        common_old = over_guaranteed(shares, owner->used);
        owner->used = owner->used - old + new;
        common_new = over_guaranteed(shares, owner->used);
    }
    assert(shares->used >= old && shares->common_used >= common_old);
    shares->used = shares->used - old + new;
    shares->common_used = shares->common_used - common_old + common_new;
}

/* The guaranteed part, and half of the common part that other owners do not use: then as much
 * remains free as the owner has taken. */
static size_t limit_of(const struct shares *shares, const struct share *owner)
{
    size_t common = shares->bound / 2;
    size_t others = shares->common_used - over_guaranteed(shares, owner->used);
    return shares->guaranteed + (common > others ? (common - others) / 2 : 0);
}

bool share_full(const struct shares *shares, const struct share *owner)
{
    return owner->used > 0 && owner->used >= limit_of(shares, owner);
}

size_t share_excess(const struct shares *shares, const struct share *owner)
{
    size_t resume = limit_of(shares, owner) / 4 * 3;
    return owner->used > resume ? owner->used - resume : 0;
}

bool share_has_room(const struct shares *shares, const struct share *owner)
{
    return share_excess(shares, owner) == 0;
}
