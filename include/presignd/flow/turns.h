/* Turns: events of one merchant and out_contract_code go one after another, as they came. */
#ifndef PRESIGND_FLOW_TURNS_H
#define PRESIGND_FLOW_TURNS_H

#include "presignd/base/list.h"
#include "presignd/base/map.h"

#include <stdbool.h>

struct turn;

/* Embedded in whoever takes turns; all zero takes none. */
struct turn_seat {
    struct list_link link; /* in the turn's queue while it waits */
    struct turn *turn;
    bool waiting;
};

struct turns {
    struct map *map;
};

void turns_init(struct turns *turns);
/* Everybody must have left. */
void turns_deinit(struct turns *turns);
/* Sits down. True when it is the seat's turn at once, false when others are before it. */
bool turns_enter(struct turns *turns, struct turn_seat *seat, const char *mchid, const char *code);
/* Leaves, from the head or from the queue. The seat whose turn has come by that, or NULL. */
struct turn_seat *turns_leave(struct turns *turns, struct turn_seat *seat);

#endif
