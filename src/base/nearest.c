#include "presignd/base/nearest.h"

#include <stdint.h>
#include <string.h>

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Wagner and Fischer's algorithm with one row of the table. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NEAREST_NAME_MAX + 1];
    size_t b_len = strlen(b);
    if (strlen(a) > NEAREST_NAME_MAX || b_len > NEAREST_NAME_MAX) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = smaller(replaced, smaller(row[j], row[j - 1]) + 1);
        }
    }
    return row[b_len];
}

void nearest_consider(struct nearest *nearest, const char *candidate)
{
    size_t found = distance(nearest->name, candidate);
    if (found < nearest->limit && found < strlen(nearest->name)) {
        nearest->found = candidate;
        nearest->limit = found;
    }
}
