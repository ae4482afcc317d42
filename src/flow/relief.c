#include "presignd/flow/relief.h"

#include <stddef.h>

/* Replaces the item of the same merchant, or the oldest one. */
void relief_note(struct relief_seen *seen, const void *who, int64_t now_ms)
{
    size_t index = 0;
    for (size_t i = 0; i < RELIEF_SEEN_MAX; i++) {
        if (seen->items[i].who == who || seen->items[i].who == NULL) {
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

int64_t relief_others_ms(const struct relief_seen *seen, const void *who,
                         bool (*is_held)(const void *who, const void *context), const void *context)
{
    int64_t last_ms = -1;
    for (size_t i = 0; i < RELIEF_SEEN_MAX && seen->items[i].who != NULL; i++) {
        bool other = seen->items[i].who != who && !is_held(seen->items[i].who, context);
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
