/* A hash map from byte strings to pointers. Keys are copied. Hashes are seeded per map
 * (from getrandom), so that outsiders who choose keys cannot make chains long. */
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
/* Sets or replaces; gives the value that stood there before, or NULL. `value` is not NULL. */
void *map_set(struct map *map, const void *key, size_t len, void *value);
/* Takes the key out; gives the value that stood there, or NULL. */
void *map_remove(struct map *map, const void *key, size_t len);

#endif
