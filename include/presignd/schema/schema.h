/* JSON Schema, draft 2020-12: compiles schemas once and applies them to jansson values.
 *
 * https://json-schema.org/draft/2020-12 (core and validation). Applies every keyword of the core,
 * applicator, unevaluated and validation vocabularies. With SCHEMA_ASSERT_FORMATS it asserts the
 * formats of schema/format.h; other formats are annotations. Patterns run on PCRE2 (UTF,
 * interpreted: the systemd unit forbids writable code). The cost of a validation is counted in
 * steps and bounded, whatever the pattern and the value.
 */
#ifndef PRESIGND_SCHEMA_SCHEMA_H
#define PRESIGND_SCHEMA_SCHEMA_H

#include "presignd/base/buf.h"
#include "presignd/schema/violation.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Documents that may refer to each other. Immutable after the last schema_compile(): from then on
 * any number of threads may validate. */
struct schema_set;
/* A compiled schema. Lives as long as its set. */
struct schema;

/* Options of a set, or-ed together. */
enum {
    SCHEMA_ASSERT_FORMATS = 1, /* a string without a known `format` of its schema is invalid */
    /* A number with a point or an exponent is not an integer. In the draft, 1.0 is one. WeChat Pay
     * requires integers, and presignd sends numbers as they were written. */
    SCHEMA_INTEGERS_AS_WRITTEN = 2,
};

struct schema_set *schema_set_new(unsigned options) __attribute__((warn_unused_result));
/* Accepts NULL, returns NULL. */
struct schema_set *schema_set_free(struct schema_set *set);

/* Adds a copy of a document under the absolute `uri`, and its parts under their `$id`s. The order
 * of documents does not matter: references are resolved by schema_compile(). The draft's
 * meta-schemas are always there. On failure false and a reason (free()); then only free the set. */
bool schema_set_add(struct schema_set *set, const char *uri, json_t *document, char **error)
    __attribute__((warn_unused_result));
/* Adds the JSON file at `path`, of at most 1 MiB, under `uri`. Blocks. */
bool schema_set_add_file(struct schema_set *set, const char *path, const char *uri, char **error)
    __attribute__((warn_unused_result));
/* Adds every *.json file of the directories, each under SCHEMA_BASE and its name. If several
 * directories have a name, the first one wins. Skips a directory that does not exist; fails if
 * there is no schema at all. Blocks. SCHEMA_BASE is only a name and never fetched (RFC 2606
 * reserves
 * `.invalid`). */
#define SCHEMA_BASE "https://presignd.invalid/schemas/"
bool schema_set_add_dir(struct schema_set *set, const char *colon_separated_dirs, char **error)
    __attribute__((warn_unused_result));

/* Compiles the schema at `uri`, whose fragment may be a JSON Pointer or an anchor, and all schemas
 * that it refers to. NULL and a reason (free()) when the target of a reference does not exist, a
 * keyword has a wrong value or a pattern does not compile; the set is unchanged then. */
const struct schema *schema_compile(struct schema_set *set, const char *uri, char **error)
    __attribute__((warn_unused_result));
/* Compiles every document of the set. Adds a line to `errors` for each that does not compile, also
 * for those that refer to it: the same line then. */
void schema_compile_all(struct schema_set *set, struct buf *errors);

/* Steps that a validation may take: SCHEMA_STEPS_BASE, and SCHEMA_STEPS_PER_BYTE for each byte of
 * the instance (as compact JSON; each value counts as SCHEMA_VALUE_BYTES at least), at most
 * SCHEMA_STEPS_MAX. A step is a schema applied to a value, an item of a pattern tried, or eight
 * characters read by a pattern. A million steps take about 29 ms: the maximum is 15 ms, and 8 ms
 * for an event of 64 KiB. Patterns that read each character once need 1/8 to 2 steps for a byte. */
#define SCHEMA_STEPS_BASE     20000
#define SCHEMA_STEPS_PER_BYTE 4
#define SCHEMA_STEPS_MAX      500000
#define SCHEMA_VALUE_BYTES    16
/* Depth of schemas applied inside one another. */
#define SCHEMA_DEPTH_MAX 512
/* Backtracking memory of one match. */
#define SCHEMA_MATCH_MEMORY_KIB 32768

/* True if the instance is valid. Otherwise adds its violations, up to the list's limit;
 * `violations` may be NULL. Pure. Reaching a limit above makes the instance invalid, ends the
 * validation and adds a violation. When a string's length is wrong, the rest of that schema is not
 * applied to it. */
bool schema_validate(const struct schema *schema, const json_t *instance,
                     struct violations *violations) __attribute__((warn_unused_result));
/* The steps of a schema_validate() that collects violations; more than allowed if it reached the
 * limit. */
uint64_t schema_steps(const struct schema *schema, const json_t *instance);

#endif
