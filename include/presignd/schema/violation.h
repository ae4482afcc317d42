/* Errors of an event, as a failure's `errors` lists them. */
#ifndef PRESIGND_SCHEMA_VIOLATION_H
#define PRESIGND_SCHEMA_VIOLATION_H

#include <stddef.h>

/* Kept and published; the rest is only counted. */
#define VIOLATIONS_MAX 16

/* Has either `attribute` (of the CloudEvent) or both locations (JSON Pointers, RFC 6901). Never
 * quotes a value of the event. The list owns the strings. */
struct violation {
    char *attribute;
    char *instance_location;
    char *keyword_location;
    char *error;
};

/* All zero is an empty list. */
struct violations {
    struct violation items[VIOLATIONS_MAX];
    size_t count; /* in items */
    size_t total; /* found */
};

void violations_deinit(struct violations *list);
/* Copy their strings, and cut names to 256 bytes. */
void violations_add(struct violations *list, const char *instance_location,
                    const char *keyword_location, const char *error);
void violations_add_attribute(struct violations *list, const char *attribute, const char *error);

#endif
