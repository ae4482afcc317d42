/* Turns: events of one merchant and out_contract_code go one after another, as they came. */
#ifndef PRESIGND_FLOW_KEY_ORDER_H
#define PRESIGND_FLOW_KEY_ORDER_H

#include "presignd/base/list.h"
#include "presignd/base/map.h"

#include <stdbool.h>

struct key_queue;

/* Embedded in whoever takes turns; all zero takes none. */
struct key_order_entry {
    struct list_link link; /* in the turn's queue while it waits */
    struct key_queue *queue;
    bool waiting;
};

struct key_order {
    struct map *map;
};

void key_order_init(struct key_order *order);
/* Everybody must have left. */
void key_order_deinit(struct key_order *order);
/* Sits down. True when it is the seat's turn at once, false when others are before it. */
bool key_order_enter(struct key_order *order, struct key_order_entry *entry, const char *mchid,
                     const char *code) __attribute__((warn_unused_result));
/* Leaves, from the head or from the queue. The seat whose turn has come by that, or NULL. */
struct key_order_entry *key_order_leave(struct key_order *order, struct key_order_entry *entry);

#endif
