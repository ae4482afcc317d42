#include "presignd/flow/relief.h"

static bool is_same(struct relief_who a, struct relief_who b)
{
    return a.merchant == b.merchant && a.endpoint == b.endpoint;
}

/* Replaces the item of the same one, or the oldest item. */
void relief_note(struct relief_seen *seen, struct relief_who who, int64_t now_ms)
{
    size_t index = 0;
    for (size_t i = 0; i < RELIEF_SEEN_MAX; i++) {
        if (is_same(seen->items[i].who, who) || seen->items[i].who.merchant == NULL) {
            index = i;
            break;
        }
        if (seen->items[i].at_ms < seen->items[index].at_ms) {
            index = i;
        }
    }
    seen->items[index].who = who;
    seen->items[index].at_ms = now_ms;
}

int64_t relief_others_ms(const struct relief_seen *seen, const void *except,
                         bool (*is_held)(struct relief_who who, const void *context),
                         const void *context)
{
    int64_t last_ms = -1;
    for (size_t i = 0; i < RELIEF_SEEN_MAX && seen->items[i].who.merchant != NULL; i++) {
        struct relief_who who = seen->items[i].who;
        bool other = who.merchant != except && !is_held(who, context);
        if (other && seen->items[i].at_ms > last_ms) {
            last_ms = seen->items[i].at_ms;
        }
    }
    return last_ms;
}

bool relief_applies(const struct relief_case *relief)
{
    return relief->full_since_ms >= 0 && relief->held_ms >= 0 && relief->others_ms >= 0 &&
           relief->now_ms - relief->held_ms >= RELIEF_HOLD_MS &&
           relief->full_since_ms - relief->others_ms <= RELIEF_OTHERS_MS;
}
