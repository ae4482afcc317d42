/* Shared by the files of the schema engine.
 *
 * set.c indexes documents by URI, compile.c turns their schemas into nodes, validate.c and assert.c
 * apply nodes to instances. keyword.c has the table of keywords.
 */
#ifndef PRESIGND_SCHEMA_NODE_H
#define PRESIGND_SCHEMA_NODE_H

#include "presignd/base/buf.h"
#include "presignd/base/map.h"
#include "presignd/schema/schema.h"
#include "schema/format.h"

#include <stdint.h>

struct schema_pattern;
struct schema_keyword;

/* ---- The set: documents and their index ---- */

enum {
    VOCABULARY_CORE = 1U << 0,
    VOCABULARY_APPLICATOR = 1U << 1,
    VOCABULARY_UNEVALUATED = 1U << 2,
    VOCABULARY_VALIDATION = 1U << 3,
    VOCABULARY_META_DATA = 1U << 4,
    VOCABULARY_FORMAT_ANNOTATION = 1U << 5,
    VOCABULARY_FORMAT_ASSERTION = 1U << 6,
    VOCABULARY_CONTENT = 1U << 7,
};

/* $anchor and $dynamicAnchor of a resource. */
struct schema_anchor {
    const char *name;
    json_t *at;
    bool dynamic;
    const struct schema *node; /* if dynamic, once its resource is compiled */
};

/* A schema resource: a document's root, or a subschema that has an $id. */
struct schema_resource {
    char *uri; /* absolute, without fragment */
    json_t *root;
    struct schema_resource *parent; /* NULL for a document's root */
    struct schema_anchor *anchors;
    size_t anchor_count;
    unsigned vocabularies; /* 0 until the first of its nodes is made */
    size_t first_node;     /* in the set's list, when vocabularies is not 0 */
};

struct schema_set {
    unsigned options;
    json_t **documents;
    size_t document_count;
    struct schema_resource **resources;
    size_t resource_count;
    struct map *resource_by_uri;
    struct map *resource_by_root; /* key: the root's address */
    struct schema **nodes;
    size_t node_count;
    struct map *node_by_json; /* key: the schema's address */
};

/* The target of a reference. */
struct schema_target {
    json_t *at;
    struct schema_resource *resource;
    const struct schema_anchor *anchor; /* NULL unless the reference names an anchor */
};

/* Resolves a reference against `base`; NULL if it is absolute. False and a reason (free()) when the
 * target does not exist. */
bool schema_set_resolve(struct schema_set *set, struct schema_resource *base, const char *reference,
                        struct schema_target *target, char **error)
    __attribute__((warn_unused_result));
/* The resource of a schema inside `around`: its own if it has an $id. */
struct schema_resource *schema_set_resource_of(const struct schema_set *set, const json_t *schema,
                                               struct schema_resource *around);

/* Frees the nodes from index `first` on and resets their resources. */
void schema_nodes_drop(struct schema_set *set, size_t first);

/* The draft's meta-schemas as JSON texts, NULL at the end. */
extern const char *const schema_meta_texts[];

/* RFC 3986, section 5.2, with the fragment. free(). */
char *schema_uri_resolve(const char *base, const char *reference)
    __attribute__((warn_unused_result));
/* Percent-decodes; NULL for a malformed escape or %00. free(). */
char *schema_uri_decode(const char *bytes, size_t len) __attribute__((warn_unused_result));

/* Makes room for one more item after `count` items; the capacity doubles at powers of two. */
void *schema_array_grow(void *items, size_t count, size_t item_size)
    __attribute__((warn_unused_result));

/* ---- Compiled schemas ---- */

/* A subschema of a keyword: by member name, by pattern, or in a list. */
struct schema_child {
    const char *name; /* borrowed; NULL in a list */
    size_t name_len;
    struct schema_pattern *pattern; /* patternProperties; owned */
    const struct schema *node;
};

/* A compiled keyword of one schema. Its row's functions know which fields it uses. */
struct schema_keyword {
    const struct schema_row *row;
    size_t name_len;               /* of the row's name */
    const json_t *value;           /* as in the document */
    const struct schema *node;     /* the subschema, or the target of a reference */
    struct schema_child *children; /* owned */
    size_t child_count;
    uint64_t limit, limit_max;
    unsigned types; /* a bit for each jansson type */
    struct schema_pattern *pattern;
    format_fn *format;
    const char *anchor;                                           /* of a dynamic $dynamicRef */
    const struct schema_keyword *properties, *pattern_properties; /* siblings, or NULL */
    const struct schema *then_node, *else_node;
};

struct schema {
    struct schema_resource *resource;
    json_t *json;
    char *uri;        /* with its fragment, for error texts */
    bool is_false;    /* the schema `false` */
    bool unevaluated; /* has unevaluatedItems or unevaluatedProperties */
    struct schema_keyword *keywords;
    size_t keyword_count;
};

/* ---- The table of keywords ---- */

struct schema_compiler {
    struct schema_set *set;
    char *error; /* the first one; owned */
};

struct schema_run;
struct schema_frame;
typedef bool schema_compile_fn(struct schema_compiler *compiler, struct schema *node,
                               struct schema_keyword *keyword);
typedef bool schema_apply_fn(struct schema_run *run, const struct schema_keyword *keyword,
                             const struct schema_frame *frame);

/* Where a keyword's value has subschemas: nowhere, it is one, a list or an object of them. */
enum schema_shape { SHAPE_VALUE, SHAPE_SCHEMA, SHAPE_LIST, SHAPE_MEMBERS };

/* The jansson types that a keyword applies to, a bit each. */
#define TYPE_BIT(type) (1U << (type))
enum {
    ON_OBJECT = TYPE_BIT(JSON_OBJECT),
    ON_ARRAY = TYPE_BIT(JSON_ARRAY),
    ON_STRING = TYPE_BIT(JSON_STRING),
    ON_NUMBER = TYPE_BIT(JSON_INTEGER) | TYPE_BIT(JSON_REAL),
    ON_ANY = 0xff,
};

struct schema_row {
    const char *name;
    unsigned vocabulary;
    enum schema_shape shape;
    unsigned on;                /* ON_… */
    schema_compile_fn *compile; /* NULL: accepts any value */
    schema_apply_fn *apply;     /* NULL: not applied by itself */
    const char *false_error;    /* error of its subschema `false`; NULL: a general one */
};

/* In the order of application: keywords that collect annotations come before those that read
 * them. */
extern const struct schema_row schema_rows[];
extern const size_t schema_row_count;
const struct schema_row *schema_row_find(const char *name);

/* Each checks the keyword's value; false and compiler->error when it is wrong. */
schema_compile_fn schema_compile_subschema, schema_compile_list, schema_compile_members,
    schema_compile_pattern_members, schema_compile_reference, schema_compile_dynamic_reference,
    schema_compile_condition, schema_compile_contains, schema_compile_additional,
    schema_compile_items, schema_compile_unevaluated, schema_compile_type, schema_compile_enum,
    schema_compile_number, schema_compile_divisor, schema_compile_count, schema_compile_pattern,
    schema_compile_flag, schema_compile_names, schema_compile_dependent_names,
    schema_compile_format, schema_compile_text, schema_compile_object;

schema_apply_fn schema_apply_reference, schema_apply_dynamic_reference, schema_apply_all_of,
    schema_apply_any_of, schema_apply_one_of, schema_apply_not, schema_apply_condition,
    schema_apply_dependent_schemas, schema_apply_properties, schema_apply_pattern_properties,
    schema_apply_additional_properties, schema_apply_property_names, schema_apply_prefix_items,
    schema_apply_items, schema_apply_contains, schema_apply_unevaluated_items,
    schema_apply_unevaluated_properties;
schema_apply_fn schema_apply_type, schema_apply_enum, schema_apply_const, schema_apply_multiple_of,
    schema_apply_maximum, schema_apply_exclusive_maximum, schema_apply_minimum,
    schema_apply_exclusive_minimum, schema_apply_max_size, schema_apply_min_size,
    schema_apply_pattern, schema_apply_unique_items, schema_apply_required,
    schema_apply_dependent_required, schema_apply_format;

struct schema_type {
    const char *name;
    const char *text; /* with its article: "an array" */
    unsigned bits;
};
extern const struct schema_type schema_types[];
extern const size_t schema_type_count;

/* ---- Application ---- */

/* A step of a JSON Pointer, linked to the step before it. On the stack. */
struct schema_location {
    const struct schema_location *parent;
    const char *name; /* borrowed; NULL: `index` */
    size_t name_len;
    size_t index;
};

/* The evaluated members or items of one instance, a bit each. */
struct schema_evaluated {
    uint64_t few;   /* up to 64 */
    uint64_t *many; /* more; owned */
    size_t words;
};

/* The dynamic scope: resources entered on the way to a schema, the innermost first. */
struct schema_scope {
    const struct schema_scope *outer;
    const struct schema_resource *resource;
};

/* The steps of a run; schema.h defines a step. */
struct schema_steps {
    uint64_t used, max;
};

/* False when they are used up. */
static inline bool schema_steps_take(struct schema_steps *steps, uint64_t count)
{
    steps->used += count;
    return steps->used <= steps->max;
}

struct schema_run {
    struct violations *violations; /* NULL: not collected */
    const struct schema_scope *scope;
    int depth;
    struct schema_steps steps;
    bool stopped;                 /* a limit was reached: the instance is invalid, the run ends */
    const char *unreported_limit; /* which, until a violation reports it */
};

struct schema_frame {
    json_t *instance;
    const struct schema_location *instance_location;
    const struct schema_location *keyword_location;
    struct schema_evaluated *evaluated; /* NULL: not collected */
};

/* Adds a violation at the frame's locations, if the run collects and was not stopped. Returns
 * false. */
bool schema_fail(struct schema_run *run, const struct schema_frame *frame, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Ends the run as invalid, in whatever branch: with an unknown result no `not` and no other branch
 * may make it valid. Reports `limit` (static) at the frame's locations, or for the whole instance
 * if the frame is NULL. Returns false. */
bool schema_stop(struct schema_run *run, const struct schema_frame *frame, const char *limit);

/* ---- Values ---- */

/* Approximate bytes of the value as JSON; stops counting above `enough`. */
size_t schema_value_size(json_t *value, size_t enough);
/* Orders names of members, shorter ones first: most comparisons read no bytes. */
int schema_name_compare(const char *a, size_t a_len, const char *b, size_t b_len);

/* Compares exactly, also an integer with a real: below 0, 0, above 0. */
int schema_number_compare(const json_t *a, const json_t *b);
/* Compares the shortest decimal texts of both numbers. The divisor is above 0. */
bool schema_number_multiple(const json_t *number, const json_t *divisor);
/* No fraction: true for 1.0 and 1e30. */
bool schema_number_whole(const json_t *number);
/* Equality as in JSON Schema: numbers by value, members in any order. */
bool schema_value_equal(json_t *a, json_t *b);
/* Equal values have equal hashes. */
uint64_t schema_value_hash(json_t *value);

/* ---- Patterns ---- */

/* Cost of a pattern that PCRE2's callouts do not show. */
struct schema_pattern_cost {
    unsigned repeat_min;     /* the largest n of its {n…} */
    bool has_back_reference; /* \1 or \k */
};

/* Translates ECMA-262 with the `u` flag to PCRE2. False and a static reason on a syntax error. */
bool schema_pattern_translate(const char *source, size_t len, struct buf *out,
                              struct schema_pattern_cost *cost, const char **error)
    __attribute__((warn_unused_result));

/* ECMA-262 with the `u` flag, unanchored. NULL and a reason (free()) when it does not compile. */
struct schema_pattern *schema_pattern_new(const char *source, size_t len, char **error)
    __attribute__((warn_unused_result));
struct schema_pattern *schema_pattern_free(struct schema_pattern *pattern);
enum schema_match { MATCH_NO, MATCH_YES, MATCH_LIMIT /* steps or memory ran out */ };
/* Uses up `steps`, and at most SCHEMA_MATCH_MEMORY_KIB of memory. */
enum schema_match schema_pattern_match(const struct schema_pattern *pattern, const char *bytes,
                                       size_t len, struct schema_steps *steps);

#endif
