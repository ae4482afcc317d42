/* "Did you mean …?": the known name that is nearest to a misspelt one, by Levenshtein distance. */
#ifndef PRESIGND_BASE_NEAREST_H
#define PRESIGND_BASE_NEAREST_H

#include <stddef.h>

/* Longer names are never suggested, and get no suggestion. */
#define NEAREST_NAME_MAX 40

/* Set `name` and `limit`, then call nearest_consider() for each known name. */
struct nearest {
    const char *name;
    size_t limit;      /* a suggestion's distance is below it, and below the name's length */
    const char *found; /* the nearest candidate, the first of equals; borrowed; NULL: none */
};

void nearest_consider(struct nearest *nearest, const char *candidate);

#endif
