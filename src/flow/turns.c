#include "presignd/flow/turns.h"

#include "presignd/base/buf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct turn {
    struct list queue; /* of seats that wait; the one whose turn it is stands outside */
    char *key;
    size_t key_len;
};

void turns_init(struct turns *turns)
{
    turns->map = map_new();
}

void turns_deinit(struct turns *turns)
{
    assert(map_count(turns->map) == 0);
    turns->map = map_free(turns->map);
}

/* The key's halves are told apart by the NUL, which neither can hold. */
bool turns_enter(struct turns *turns, struct turn_seat *seat, const char *mchid, const char *code)
{
    AUTO_BUF struct buf key = {0};
    buf_append(&key, mchid, strlen(mchid) + 1);
    buf_puts(&key, code);
    struct turn *turn = map_get(turns->map, key.data, key.len);
    seat->waiting = turn != NULL;
    if (turn == NULL) {
        turn = mem_zalloc(1, sizeof *turn);
        list_init(&turn->queue);
        turn->key_len = key.len;
        turn->key = buf_take(&key);
        map_set(turns->map, turn->key, turn->key_len, turn);
    } else {
        list_push_back(&turn->queue, &seat->link);
    }
    seat->turn = turn;
    return !seat->waiting;
}

struct turn_seat *turns_leave(struct turns *turns, struct turn_seat *seat)
{
    struct turn *turn = seat->turn;
    bool waited = seat->waiting;
    /* Asked of everyone who leaves, also of those that never sat: most events fail or end without
     * others behind them. */
    if (turn == NULL) {
        return NULL;
    }
    if (waited) {
        list_remove(&turn->queue, &seat->link);
    }
    *seat = (struct turn_seat){0};
    if (waited) {
        return NULL;
    }
    struct list_link *next = list_pop_front(&turn->queue);
    if (next == NULL) { /* a turn without a queue would stay for ever */
        map_remove(turns->map, turn->key, turn->key_len);
        free(turn->key);
        free(turn);
        return NULL;
    }
    struct turn_seat *head = CONTAINER_OF(next, struct turn_seat, link);
    head->waiting = false;
    return head;
}
