/* Key order: events with the same merchant and out_contract_code are called one after another, in
 * the order in which they came. Pure. */
#ifndef PRESIGND_FLOW_KEY_ORDER_H
#define PRESIGND_FLOW_KEY_ORDER_H

#include "presignd/base/list.h"
#include "presignd/base/map.h"

#include <stdbool.h>

struct key_queue;

/* Embedded in the owner. All zero: in no queue. */
struct key_order_entry {
    struct list_link link; /* in the key's queue while it waits */
    struct key_queue *queue;
    bool waiting;
};

struct key_order {
    struct map *map;
};

void key_order_init(struct key_order *order);
/* All entries must have left. */
void key_order_deinit(struct key_order *order);
/* True if the entry is the first of its key. False if it waits behind others. */
bool key_order_enter(struct key_order *order, struct key_order_entry *entry, const char *mchid,
                     const char *code) __attribute__((warn_unused_result));
/* Leaves the key's queue, from its head or from any other position. Returns the entry that is the
 * first one now because of that, or NULL. Accepts an entry that never entered. */
struct key_order_entry *key_order_leave(struct key_order *order, struct key_order_entry *entry);

#endif
