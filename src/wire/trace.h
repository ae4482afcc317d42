/* Validates the values of W3C Trace Context (https://www.w3.org/TR/trace-context/). Pure. */
#ifndef PRESIGND_WIRE_TRACE_H
#define PRESIGND_WIRE_TRACE_H

#include <stdbool.h>
#include <stddef.h>

/* Limit for a later version, which may be longer than the 55 characters of version 00. */
#define TRACE_PARENT_MAX 512
/* 32 members of 256 + 1 + 256 characters and the commas between them. */
#define TRACE_STATE_MAX 16447

/* Section 3.2.2: version 00, or a later version with the same beginning. */
bool trace_parent_valid(const char *bytes, size_t len);
/* Section 3.3.1: 1 to 32 members with different keys. */
bool trace_state_valid(const char *bytes, size_t len);

#endif
