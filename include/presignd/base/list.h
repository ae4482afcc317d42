/* Doubly linked lists. The links are embedded in the members, so inserting cannot fail. */
#ifndef PRESIGND_BASE_LIST_H
#define PRESIGND_BASE_LIST_H

#include "presignd/base/mem.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

struct list_link {
    struct list_link *prev, *next;
};

/* `count` makes bounds and metrics cheap. */
struct list {
    struct list_link head;
    size_t count;
};

static inline void list_init(struct list *list)
{
    list->head.prev = list->head.next = &list->head;
    list->count = 0;
}

static inline bool list_empty(const struct list *list)
{
    return list->count == 0;
}

static inline void list_insert_before(struct list *list, struct list_link *at,
                                      struct list_link *link)
{
    link->prev = at->prev;
    link->next = at;
    at->prev->next = link;
    at->prev = link;
    list->count++;
}

static inline void list_push_back(struct list *list, struct list_link *link)
{
    list_insert_before(list, &list->head, link);
}

static inline void list_push_front(struct list *list, struct list_link *link)
{
    list_insert_before(list, list->head.next, link);
}

static inline void list_remove(struct list *list, struct list_link *link)
{
    assert(list->count > 0 && link->prev->next == link && link->next->prev == link);
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->prev = link->next = NULL;
    list->count--;
}

/* The first link, or NULL. */
static inline struct list_link *list_first(const struct list *list)
{
    return list->count == 0 ? NULL : list->head.next;
}

static inline struct list_link *list_pop_front(struct list *list)
{
    struct list_link *link = list_first(list);
    if (link != NULL) {
        /* Not through link->prev as in list_remove(): static analysers follow this. */
        list->head.next = link->next;
        link->next->prev = &list->head;
        list->count--;
        link->prev = link->next = NULL;
    }
    return link;
}

/* NOLINTBEGIN(bugprone-macro-parentheses): a name that is declared takes none. */
#define LIST_FOREACH(list, link) \
    for (struct list_link *link = (list)->head.next; link != &(list)->head; link = link->next)

/* The body may remove `link`. */
#define LIST_FOREACH_SAFE(list, link)                                           \
    for (struct list_link *link = (list)->head.next, *link##_next = link->next; \
         link != &(list)->head; link = link##_next, link##_next = link->next)
/* NOLINTEND(bugprone-macro-parentheses) */

#endif
