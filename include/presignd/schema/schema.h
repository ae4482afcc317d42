/* JSON Schema, draft 2020-12, compiled once and then applied to jansson values.
 *
 * https://json-schema.org/draft/2020-12 (core and validation). Every keyword of the core,
 * applicator, unevaluated and validation vocabularies is applied; `format` is asserted for
 * the names in the format table (schema/format.h) when the set asks for it, otherwise it is an
 * annotation. Patterns are PCRE2's (UTF, interpreted: the unit forbids writable code). What a
 * validation may cost is counted in steps, so that no pattern and no value can take for ever.
 */
#ifndef PRESIGND_SCHEMA_SCHEMA_H
#define PRESIGND_SCHEMA_SCHEMA_H

#include "presignd/base/buf.h"
#include "presignd/schema/violation.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Documents that may refer to each other. Immutable after the last schema_compile(); then any
 * number of threads may validate. */
struct schema_set;
/* One compiled schema; lives as long as its set. */
struct schema;

/* Options of a set, or-ed together. */
enum {
    /* A known `format` that a string does not have makes it invalid. */
    SCHEMA_ASSERT_FORMATS = 1,
    /* To the draft 1.0 is an integer. The API's numbers must be written as integers, and are
     * passed on as they were written: with this option a number with a point or an exponent
     * is none. */
    SCHEMA_INTEGERS_AS_WRITTEN = 2,
};

struct schema_set *schema_set_new(unsigned options) __attribute__((warn_unused_result));
/* Accepts NULL, returns NULL. */
struct schema_set *schema_set_free(struct schema_set *set);

/* Adds a document (which is copied) under the absolute `uri`; its own `$id`s count too. On
 * failure gives false and a reason (free()), and the set is good for nothing but to be freed.
 * References between documents are followed when one is compiled, so they may be added in any
 * order. The draft's meta-schemas are there from the start. */
bool schema_set_add(struct schema_set *set, const char *uri, json_t *document, char **error)
    __attribute__((warn_unused_result));
/* Adds the JSON file at `path`, of at most 1 MiB, under `uri`. Reads the file. */
bool schema_set_add_file(struct schema_set *set, const char *path, const char *uri, char **error)
    __attribute__((warn_unused_result));
/* Adds every *.json file of the directories, each under SCHEMA_BASE and its name. The first
 * directory that has a name decides; one that does not exist is passed over; no schema at all
 * is a failure. The base is a name only: nothing is ever fetched (RFC 2606 keeps `.invalid`
 * from existing). */
#define SCHEMA_BASE "https://presignd.invalid/schemas/"
bool schema_set_add_dir(struct schema_set *set, const char *colon_separated_dirs, char **error)
    __attribute__((warn_unused_result));

/* Compiles the schema at `uri` (a fragment may be a JSON Pointer or an anchor) and all that it
 * refers to. NULL and a reason (free()) when a reference leads nowhere, a keyword has a wrong
 * value or a pattern does not compile; the set stays as it was before. */
const struct schema *schema_compile(struct schema_set *set, const char *uri, char **error)
    __attribute__((warn_unused_result));

/* Compiles every document of the set. Adds a line to `errors` for each that does not compile; files
 * that refer to a broken one add its line again. */
void schema_compile_all(struct schema_set *set, struct buf *errors);

/* The steps of one validation: SCHEMA_STEPS_BASE and SCHEMA_STEPS_PER_BYTE for each byte of the
 * instance (as compact JSON, a value counting SCHEMA_VALUE_BYTES at least), SCHEMA_STEPS_MAX at
 * most. A step is a schema applied to a value, an item of a pattern tried, or eight characters
 * that a pattern reads. A million steps take about 29 ms, so the most is 15 ms, and 8 ms for an
 * event of 64 KiB. Patterns that look at each character once need 1/8 to 2 steps for a byte. */
#define SCHEMA_STEPS_BASE     20000
#define SCHEMA_STEPS_PER_BYTE 4
#define SCHEMA_STEPS_MAX      500000
#define SCHEMA_VALUE_BYTES    16
/* Schemas that refer to one another without descending into the instance. */
#define SCHEMA_DEPTH_MAX 512
/* What a match remembers for going back, in KiB. */
#define SCHEMA_MATCH_MEMORY_KIB 32768

/* True when the instance is valid. Otherwise adds every violation up to the list's limit
 * (NULL: only the verdict is wanted). Pure. A limit above that is met ends the whole validation:
 * invalid, and a violation says so. Once a string's length failed, the rest of that schema is
 * not tried on it. */
bool schema_validate(const struct schema *schema, const json_t *instance,
                     struct violations *violations) __attribute__((warn_unused_result));
/* The steps that schema_validate() takes, all violations wanted; above the limit: it was met. */
uint64_t schema_steps(const struct schema *schema, const json_t *instance);

#endif
