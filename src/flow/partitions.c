#include "presignd/flow/partitions.h"

#include <assert.h>
#include <stdlib.h>

static int by_id(const void *a, const void *b)
{
    int32_t x = ((const struct partition *)a)->id, y = ((const struct partition *)b)->id;
    return (x > y) - (x < y);
}

void partitions_deinit(struct partitions *table)
{
    for (size_t i = 0; i < table->count; i++) {
        assert(list_empty(&table->items[i].overflow) && list_empty(&table->items[i].jobs));
    }
    free(table->items);
    *table = (struct partitions){0};
}

/* Sorted by id, for bsearch(). */
void partitions_assign(struct partitions *table, const int32_t *ids, size_t count)
{
    partitions_deinit(table);
    table->items = mem_zalloc(count, sizeof *table->items);
    table->count = count;
    for (size_t i = 0; i < count; i++) {
        table->items[i].id = ids[i];
    }
    if (count > 0) {
        qsort(table->items, count, sizeof *table->items, by_id);
    }
    /* After the sort: a list's head points to itself and must not move. */
    for (size_t i = 0; i < count; i++) {
        list_init(&table->items[i].overflow);
        (void)window_load(&table->items[i].window, -1, NULL);
        list_init(&table->items[i].jobs);
        table->items[i].full_since_ms = -1;
    }
}

struct partition *partitions_find(const struct partitions *table, int32_t id)
{
    struct partition key = {.id = id};
    return table->count == 0
               ? NULL
               : bsearch(&key, table->items, table->count, sizeof *table->items, by_id);
}
