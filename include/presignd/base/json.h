/* Strict reading of JSON from outside (RFC 8259), on jansson. */
#ifndef PRESIGND_BASE_JSON_H
#define PRESIGND_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Any JSON value (a bare number or string too), duplicate members refused, integers within 64
 * bits, no NUL, no lone surrogate, nested at most `nesting_max` deep. NULL and a static reason
 * that quotes nothing. jansson's own error text is never passed on: it quotes its input. */
json_t *json_read(const char *bytes, size_t len, size_t nesting_max, const char **reason)
    __attribute__((warn_unused_result));

void json_decref_at(json_t **value);
#define AUTO_JSON __attribute__((cleanup(json_decref_at)))

#endif
