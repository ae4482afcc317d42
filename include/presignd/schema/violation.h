/* What is wrong with an event, in the shape of a failure's `errors`. */
#ifndef PRESIGND_SCHEMA_VIOLATION_H
#define PRESIGND_SCHEMA_VIOLATION_H

#include <stddef.h>

/* So many are kept and published; the rest is only counted. */
#define VIOLATIONS_MAX 16

/* Either `attribute` (of the CloudEvent) or both locations (JSON Pointers, RFC 6901). No text
 * quotes a value of the event. Strings are the list's own. */
struct violation {
    char *attribute;
    char *instance_location;
    char *keyword_location;
    char *error;
};

/* All zero is an empty list. */
struct violations {
    struct violation items[VIOLATIONS_MAX];
    size_t count; /* kept in items */
    size_t total; /* found, kept or not */
};

void violations_deinit(struct violations *list);
/* Copies its strings. Names longer than 256 bytes are cut. */
void violations_add(struct violations *list, const char *instance_location,
                    const char *keyword_location, const char *error);
void violations_add_attribute(struct violations *list, const char *attribute, const char *error);

#endif
