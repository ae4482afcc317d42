/* An allocator that fails when it is told to: it takes malloc(), calloc() and realloc() over in the
 * whole process, the libraries' calls and the C library's own among them. Not together with a
 * sanitizer, which does the same. */
#ifndef PRESIGND_TESTS_MEMORY_ALLOCATOR_H
#define PRESIGND_TESTS_MEMORY_ALLOCATOR_H

#include <stdbool.h>

/* From now on the allocation of that number fails, counted from 1; with `all` those behind it
 * too. 0: none. Any thread's count. */
void allocator_fail(unsigned long number, bool all);
/* Allocations since then. */
unsigned long allocator_count(void);

#endif
