/* A hash map from byte strings to pointers. Keys are copied. The hash is seeded for
 * each map: outsiders who choose keys cannot make chains long. */
#ifndef PRESIGND_BASE_MAP_H
#define PRESIGND_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>

struct map;

struct map *map_new(void);
/* Frees the map, not what its values point to. Accepts NULL, returns NULL. */
struct map *map_free(struct map *map);
size_t map_count(const struct map *map);
/* The value, or NULL. */
void *map_get(const struct map *map, const void *key, size_t len);
/* Inserts or replaces; returns the previous value, or NULL. `value` is not NULL. */
void *map_set(struct map *map, const void *key, size_t len, void *value);
/* Removes the key; returns its value, or NULL. */
void *map_remove(struct map *map, const void *key, size_t len);

#endif
