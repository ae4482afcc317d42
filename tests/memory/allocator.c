#include "allocator.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

/* The C library's own, below the names that are taken over. */
/* NOLINTBEGIN(bugprone-reserved-identifier) */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
/* NOLINTEND(bugprone-reserved-identifier) */

static atomic_ulong count, failing;
static atomic_bool failing_on;

void allocator_fail(unsigned long number, bool all)
{
    atomic_store(&failing, 0);
    atomic_store(&failing_on, all);
    atomic_store(&count, 0);
    atomic_store(&failing, number);
}

unsigned long allocator_count(void)
{
    return atomic_load(&count);
}

static bool fails(void)
{
    unsigned long number = atomic_fetch_add(&count, 1) + 1;
    unsigned long wanted = atomic_load(&failing);
    bool hit = wanted != 0 && (number == wanted || (number > wanted && atomic_load(&failing_on)));
    if (hit) {
        errno = ENOMEM;
    }
    return hit;
}

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): the C library has its own */
void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
    return fails() ? NULL : __libc_calloc(number, size);
}

void *realloc(void *old, size_t size)
{
    return fails() ? NULL : __libc_realloc(old, size);
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
