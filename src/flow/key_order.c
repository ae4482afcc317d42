#include "presignd/flow/key_order.h"

#include "presignd/base/buf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct key_queue {
    struct list queue; /* the entries that wait; the first entry of the key is not in it */
    char *key;
    size_t key_len;
};

void key_order_init(struct key_order *order)
{
    order->map = map_new();
}

void key_order_deinit(struct key_order *order)
{
    assert(map_count(order->map) == 0);
    order->map = map_free(order->map);
}

/* A NUL separates the two parts of the key; neither can contain one. */
bool key_order_enter(struct key_order *order, struct key_order_entry *entry, const char *mchid,
                     const char *code)
{
    AUTO_BUF struct buf key = {0};
    buf_append(&key, mchid, strlen(mchid) + 1);
    buf_puts(&key, code);
    struct key_queue *queue = map_get(order->map, key.data, key.len);
    entry->waiting = queue != NULL;
    if (queue == NULL) {
        queue = mem_zalloc(1, sizeof *queue);
        list_init(&queue->queue);
        queue->key_len = key.len;
        queue->key = buf_take(&key);
        map_set(order->map, queue->key, queue->key_len, queue);
    } else {
        list_push_back(&queue->queue, &entry->link);
    }
    entry->queue = queue;
    return !entry->waiting;
}

struct key_order_entry *key_order_leave(struct key_order *order, struct key_order_entry *entry)
{
    struct key_queue *queue = entry->queue;
    bool waited = entry->waiting;
    if (queue == NULL) {
        return NULL;
    }
    if (waited) {
        list_remove(&queue->queue, &entry->link);
    }
    *entry = (struct key_order_entry){0};
    if (waited) {
        return NULL;
    }
    struct list_link *next = list_pop_front(&queue->queue);
    if (next == NULL) {
        map_remove(order->map, queue->key, queue->key_len);
        free(queue->key);
        free(queue);
        return NULL;
    }
    struct key_order_entry *head = CONTAINER_OF(next, struct key_order_entry, link);
    head->waiting = false;
    return head;
}
