#include "presignd/schema/violation.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <stdlib.h>
#include <string.h>

/* Names of members come from outside and may be long. */
enum { NAME_BYTES_MAX = 256 };

static char *copy_cut(const char *string)
{
    return string == NULL ? NULL
                          : mem_dup(string, text_utf8_cut(string, strlen(string), NAME_BYTES_MAX));
}

/* Does not cut inside an escape of a JSON Pointer, ~0 or ~1. */
static char *copy_pointer(const char *pointer)
{
    char *copy = copy_cut(pointer);
    size_t len = copy == NULL ? 0 : strlen(copy);
    if (len > 0 && copy[len - 1] == '~') {
        copy[len - 1] = '\0';
    }
    return copy;
}

static void add(struct violations *list, struct violation item)
{
    list->total++;
    if (list->count == VIOLATIONS_MAX) {
        return;
    }
    list->items[list->count++] = (struct violation){
        .attribute = copy_cut(item.attribute),
        .instance_location = copy_pointer(item.instance_location),
        .keyword_location = mem_strdup(item.keyword_location),
        .error = mem_strdup(item.error),
    };
}

void violations_add(struct violations *list, const char *instance_location,
                    const char *keyword_location, const char *error)
{
    add(list, (struct violation){.instance_location = (char *)instance_location,
                                 .keyword_location = (char *)keyword_location,
                                 .error = (char *)error});
}

void violations_add_attribute(struct violations *list, const char *attribute, const char *error)
{
    add(list, (struct violation){.attribute = (char *)attribute, .error = (char *)error});
}

void violations_deinit(struct violations *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].attribute);
        free(list->items[i].instance_location);
        free(list->items[i].keyword_location);
        free(list->items[i].error);
    }
    *list = (struct violations){0};
}
