/* Reads JSON that comes from outside (RFC 8259), on jansson, with bounds. */
#ifndef PRESIGND_BASE_JSON_H
#define PRESIGND_BASE_JSON_H

#include <jansson.h>
#include <stddef.h>

/* Nesting that is enough for documents of presignd's own. */
#define JSON_NESTING_MAX 64

/* What json_read() accepts beyond the strict rules, or-ed together. */
enum {
    JSON_READ_NUL = 1,          /* U+0000 in strings */
    JSON_READ_BIG_INTEGERS = 2, /* integers beyond 64 bits, as reals: good for skipping only */
};

/* Reads any JSON value, a bare number or string too. Rejects duplicate members, integers beyond
 * 64 bits, U+0000, lone surrogates, and nesting deeper than `nesting_max` objects and arrays.
 * On failure returns NULL and a static text ("not JSON: …", "JSON with …") that quotes nothing
 * of the input; jansson's own error text quotes it. `why` may be NULL. `bytes` may be NULL. */
json_t *json_read(const char *bytes, size_t len, size_t nesting_max, unsigned options,
                  const char **why) __attribute__((warn_unused_result));

/* The string member `name`, borrowed. "" when it is absent, no string, or holds U+0000. */
const char *json_text(const json_t *object, const char *name);

void json_decref_at(json_t **value);
#define AUTO_JSON __attribute__((cleanup(json_decref_at)))

#endif
