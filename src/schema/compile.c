/* Compiles schemas to nodes. The first reference to a schema adds its node to the set's list, and
 * schema_compile() compiles the list in order. So cycles need no recursion. */
#include "presignd/base/mem.h"
#include "schema/node.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOCABULARY_BASE "https://json-schema.org/draft/2020-12/vocab/"

static const struct {
    const char *uri;
    unsigned bit;
} vocabularies[] = {
    {VOCABULARY_BASE "core", VOCABULARY_CORE},
    {VOCABULARY_BASE "applicator", VOCABULARY_APPLICATOR},
    {VOCABULARY_BASE "unevaluated", VOCABULARY_UNEVALUATED},
    {VOCABULARY_BASE "validation", VOCABULARY_VALIDATION},
    {VOCABULARY_BASE "meta-data", VOCABULARY_META_DATA},
    {VOCABULARY_BASE "format-annotation", VOCABULARY_FORMAT_ANNOTATION},
    {VOCABULARY_BASE "format-assertion", VOCABULARY_FORMAT_ASSERTION},
    {VOCABULARY_BASE "content", VOCABULARY_CONTENT},
};

/* Those of the standard meta-schema, for a schema without $schema. */
enum { VOCABULARIES_DEFAULT = 0xff & ~VOCABULARY_FORMAT_ASSERTION };

/* Keeps the first error. Returns false. */
__attribute__((format(printf, 2, 3))) static bool fail(struct schema_compiler *compiler,
                                                       const char *format, ...)
{
    if (compiler->error == NULL) {
        va_list arguments;
        va_start(arguments, format);
        compiler->error = mem_vprintf(format, arguments);
        va_end(arguments);
    }
    return false;
}

static bool wrong(struct schema_compiler *compiler, const struct schema *schema,
                  const struct schema_keyword *keyword, const char *must)
{
    return fail(compiler, "%s: the value of %s must be %s", schema->uri, keyword->row->name, must);
}

/* ---- Resources and their vocabularies ---- */

static unsigned vocabulary_bit(const char *uri)
{
    for (size_t i = 0; i < ARRAY_LENGTH(vocabularies); i++) {
        if (strcmp(vocabularies[i].uri, uri) == 0) {
            return vocabularies[i].bit;
        }
    }
    return 0;
}

/* The vocabularies that the meta-schema at `uri` lists (core, section 8.1.2). */
static unsigned meta_schema_vocabularies(struct schema_compiler *compiler,
                                         const struct schema_resource *resource, const char *uri)
{
    struct schema_target meta;
    AUTO_FREE char *why = NULL;
    if (!schema_set_resolve(compiler->set, NULL, uri, &meta, &why)) {
        fail(compiler, "%s: $schema: %s", resource->uri, why);
        return 0;
    }
    json_t *listed = json_object_get(meta.at, "$vocabulary");
    if (listed == NULL) {
        return VOCABULARIES_DEFAULT;
    }
    unsigned bits = VOCABULARY_CORE;
    const char *name;
    json_t *required;
    json_object_foreach (listed, name, required) {
        unsigned bit = vocabulary_bit(name);
        if (bit == 0 && json_is_true(required)) {
            fail(compiler, "%s: its meta-schema %s requires the unknown vocabulary %s",
                 resource->uri, uri, name);
            return 0;
        }
        bits |= bit;
    }
    return bits;
}

/* The nearest $schema applies, of the resource or of one around it. */
static unsigned find_vocabularies(struct schema_compiler *compiler,
                                  const struct schema_resource *resource)
{
    for (; resource != NULL; resource = resource->parent) {
        const char *dialect = json_string_value(json_object_get(resource->root, "$schema"));
        if (dialect != NULL) {
            return meta_schema_vocabularies(compiler, resource, dialect);
        }
    }
    return VOCABULARIES_DEFAULT;
}

static const struct schema *node_at(struct schema_compiler *compiler, json_t *json,
                                    struct schema_resource *around, const char *uri);

/* Once for each resource: finds its vocabularies and makes the targets of $dynamicRef. */
static bool open_resource(struct schema_compiler *compiler, struct schema_resource *resource)
{
    if (resource->vocabularies != 0) {
        return true;
    }
    resource->first_node = compiler->set->node_count;
    resource->vocabularies = find_vocabularies(compiler, resource);
    for (size_t i = 0; resource->vocabularies != 0 && i < resource->anchor_count; i++) {
        struct schema_anchor *anchor = &resource->anchors[i];
        AUTO_FREE char *uri = mem_printf("%s#%s", resource->uri, anchor->name);
        anchor->node = anchor->dynamic ? node_at(compiler, anchor->at, resource, uri) : NULL;
        if (anchor->dynamic && anchor->node == NULL) {
            return false;
        }
    }
    return resource->vocabularies != 0;
}

/* ---- Nodes ---- */

/* Appends a node to the set's list; schema_compile() compiles it later. */
static struct schema *node_new(struct schema_set *set, json_t *json,
                               struct schema_resource *resource, const char *uri)
{
    struct schema *node = mem_zalloc(1, sizeof *node);
    node->resource = resource;
    node->json = json;
    node->uri = mem_strdup(uri);
    node->is_false = json_is_false(json);
    set->nodes = schema_array_grow((void *)set->nodes, set->node_count, sizeof(struct schema *));
    set->nodes[set->node_count++] = node;
    if (json_is_object(json)) { /* jansson's true and false are shared, so no key */
        map_set(set->node_by_json, (const void *)&json, sizeof(json_t *), node);
    }
    return node;
}

/* The node of a schema inside `around`, made if needed; NULL and an error when it is no schema. */
static const struct schema *node_at(struct schema_compiler *compiler, json_t *json,
                                    struct schema_resource *around, const char *uri)
{
    if (!json_is_object(json) && !json_is_boolean(json)) {
        fail(compiler, "%s is not a schema: it is neither an object nor a boolean", uri);
        return NULL;
    }
    const struct schema *known =
        map_get(compiler->set->node_by_json, (const void *)&json, sizeof(json_t *));
    if (known != NULL) {
        return known;
    }
    struct schema_resource *resource = schema_set_resource_of(compiler->set, json, around);
    const struct schema *node = node_new(compiler->set, json, resource, uri);
    return open_resource(compiler, resource) ? node : NULL;
}

static void free_node(struct schema *node)
{
    for (size_t i = 0; i < node->keyword_count; i++) {
        struct schema_keyword *keyword = &node->keywords[i];
        for (size_t j = 0; j < keyword->child_count; j++) {
            schema_pattern_free(keyword->children[j].pattern);
        }
        free(keyword->children);
        schema_pattern_free(keyword->pattern);
    }
    free(node->keywords);
    free(node->uri);
    free(node);
}

void schema_nodes_drop(struct schema_set *set, size_t first)
{
    for (size_t i = first; i < set->node_count; i++) {
        map_remove(set->node_by_json, (const void *)&set->nodes[i]->json, sizeof(json_t *));
        free_node(set->nodes[i]);
    }
    set->node_count = first;
    for (size_t i = 0; i < set->resource_count; i++) {
        if (set->resources[i]->first_node >= first) {
            set->resources[i]->vocabularies = 0;
        }
    }
}

/* The node owns the keyword from the start, so that a failure frees what was compiled. */
static bool compile_keyword(struct schema_compiler *compiler, struct schema *schema,
                            const struct schema_row *row, json_t *value)
{
    struct schema_keyword *keyword = &schema->keywords[schema->keyword_count++];
    keyword->row = row;
    keyword->name_len = strlen(row->name);
    keyword->value = value;
    if (row->compile != NULL && !row->compile(compiler, schema, keyword)) {
        return false;
    }
    schema->keyword_count -= row->apply == NULL; /* only its value is checked */
    return true;
}

/* In the table's order, so that siblings that a keyword needs are compiled before it. */
static bool compile_node(struct schema_compiler *compiler, struct schema *schema)
{
    size_t most = json_object_size(schema->json);
    schema->keywords = mem_zalloc(most, sizeof *schema->keywords);
    for (size_t i = 0; most > 0 && i < schema_row_count; i++) {
        const struct schema_row *row = &schema_rows[i];
        json_t *value = json_object_get(schema->json, row->name);
        bool applies = value != NULL && (row->vocabulary & schema->resource->vocabularies) != 0;
        if (applies && !compile_keyword(compiler, schema, row, value)) {
            return false;
        }
    }
    return true;
}

const struct schema *schema_compile(struct schema_set *set, const char *uri, char **error)
{
    *error = NULL;
    struct schema_target target;
    if (!schema_set_resolve(set, NULL, uri, &target, error)) {
        return NULL;
    }
    struct schema_compiler compiler = {.set = set};
    /* Compiles what this call appends; a failure removes it again. */
    size_t first = set->node_count;
    const struct schema *schema = node_at(&compiler, target.at, target.resource, uri);
    bool fine = schema != NULL;
    for (size_t next = first; fine && next < set->node_count; next++) {
        fine = compile_node(&compiler, set->nodes[next]);
    }
    if (!fine) {
        schema_nodes_drop(set, first);
        *error = compiler.error;
        return NULL;
    }
    return schema;
}

void schema_compile_all(struct schema_set *set, struct buf *errors)
{
    for (size_t i = 0; i < set->document_count; i++) {
        AUTO_FREE char *error = NULL;
        const char *uri = schema_set_resource_of(set, set->documents[i], NULL)->uri;
        if (schema_compile(set, uri, &error) == NULL) {
            buf_printf(errors, "%s\n", error);
        }
    }
}

/* ---- Subschemas ---- */

/* The subschema of a keyword, or the one under a name or number in it. */
static const struct schema *subschema(struct schema_compiler *compiler, struct schema *schema,
                                      const char *keyword, const char *name, json_t *json)
{
    AUTO_FREE char *uri =
        mem_printf("%s%s/%s%s%s", schema->uri, strchr(schema->uri, '#') ? "" : "#", keyword,
                   name == NULL ? "" : "/", name == NULL ? "" : name);
    return node_at(compiler, json, schema->resource, uri);
}

bool schema_compile_subschema(struct schema_compiler *compiler, struct schema *schema,
                              struct schema_keyword *keyword)
{
    keyword->node = subschema(compiler, schema, keyword->row->name, NULL, (json_t *)keyword->value);
    return keyword->node != NULL;
}

bool schema_compile_list(struct schema_compiler *compiler, struct schema *schema,
                         struct schema_keyword *keyword)
{
    size_t count = json_array_size(keyword->value);
    if (count == 0) {
        return wrong(compiler, schema, keyword, "an array with at least one schema");
    }
    keyword->children = mem_zalloc(count, sizeof *keyword->children);
    keyword->child_count = count;
    for (size_t i = 0; i < count; i++) {
        char index[24];
        snprintf(index, sizeof index, "%zu", i);
        keyword->children[i].node = subschema(compiler, schema, keyword->row->name, index,
                                              json_array_get(keyword->value, i));
        if (keyword->children[i].node == NULL) {
            return false;
        }
    }
    return true;
}

/* Sorted for bisection: an instance may have many members that no schema names. */
static int compare_children(const void *a, const void *b)
{
    const struct schema_child *left = a, *right = b;
    return schema_name_compare(left->name, left->name_len, right->name, right->name_len);
}

bool schema_compile_members(struct schema_compiler *compiler, struct schema *schema,
                            struct schema_keyword *keyword)
{
    json_t *value = (json_t *)keyword->value;
    if (!json_is_object(value)) {
        return wrong(compiler, schema, keyword, "an object");
    }
    keyword->children = mem_zalloc(json_object_size(value), sizeof *keyword->children);
    const char *name;
    size_t len;
    json_t *member;
    json_object_keylen_foreach(value, name, len, member)
    {
        const struct schema *node = subschema(compiler, schema, keyword->row->name, name, member);
        if (node == NULL) {
            return false;
        }
        keyword->children[keyword->child_count++] =
            (struct schema_child){.name = name, .name_len = len, .node = node};
    }
    qsort(keyword->children, keyword->child_count, sizeof *keyword->children, compare_children);
    return true;
}

static struct schema_pattern *pattern_of(struct schema_compiler *compiler, struct schema *schema,
                                         struct schema_keyword *keyword, const char *source,
                                         size_t len)
{
    AUTO_FREE char *why = NULL;
    struct schema_pattern *pattern = schema_pattern_new(source, len, &why);
    if (pattern == NULL) {
        fail(compiler, "%s: %s: the pattern %s does not compile: %s", schema->uri,
             keyword->row->name, source, why);
    }
    return pattern;
}

bool schema_compile_pattern_members(struct schema_compiler *compiler, struct schema *schema,
                                    struct schema_keyword *keyword)
{
    if (!schema_compile_members(compiler, schema, keyword)) {
        return false;
    }
    for (size_t i = 0; i < keyword->child_count; i++) {
        struct schema_child *child = &keyword->children[i];
        child->pattern = pattern_of(compiler, schema, keyword, child->name, child->name_len);
        if (child->pattern == NULL) {
            return false;
        }
    }
    return true;
}

static const struct schema_keyword *sibling(const struct schema *schema, const char *name)
{
    for (size_t i = 0; i < schema->keyword_count; i++) {
        if (strcmp(schema->keywords[i].row->name, name) == 0) {
            return &schema->keywords[i];
        }
    }
    return NULL;
}

/* Only these two siblings decide what is additional (core, section 10.3.2.3). */
bool schema_compile_additional(struct schema_compiler *compiler, struct schema *schema,
                               struct schema_keyword *keyword)
{
    keyword->properties = sibling(schema, "properties");
    keyword->pattern_properties = sibling(schema, "patternProperties");
    return schema_compile_subschema(compiler, schema, keyword);
}

/* Applies to the items after those of prefixItems. */
bool schema_compile_items(struct schema_compiler *compiler, struct schema *schema,
                          struct schema_keyword *keyword)
{
    keyword->limit = json_array_size(json_object_get(schema->json, "prefixItems"));
    return schema_compile_subschema(compiler, schema, keyword);
}

bool schema_compile_unevaluated(struct schema_compiler *compiler, struct schema *schema,
                                struct schema_keyword *keyword)
{
    schema->unevaluated = true;
    return schema_compile_subschema(compiler, schema, keyword);
}

/* `then` and `else` have no effect without `if`, so they belong to its node. */
bool schema_compile_condition(struct schema_compiler *compiler, struct schema *schema,
                              struct schema_keyword *keyword)
{
    json_t *then_json = json_object_get(schema->json, "then");
    json_t *else_json = json_object_get(schema->json, "else");
    keyword->then_node =
        then_json == NULL ? NULL : subschema(compiler, schema, "then", NULL, then_json);
    keyword->else_node =
        else_json == NULL ? NULL : subschema(compiler, schema, "else", NULL, else_json);
    return compiler->error == NULL && schema_compile_subschema(compiler, schema, keyword);
}

/* ---- References ---- */

static bool resolve(struct schema_compiler *compiler, struct schema *schema,
                    struct schema_keyword *keyword, struct schema_target *target)
{
    const char *reference = json_string_value(keyword->value);
    if (reference == NULL) {
        return wrong(compiler, schema, keyword, "a string");
    }
    AUTO_FREE char *why = NULL;
    if (!schema_set_resolve(compiler->set, schema->resource, reference, target, &why)) {
        return fail(compiler, "%s: %s: %s", schema->uri, keyword->row->name, why);
    }
    AUTO_FREE char *uri = schema_uri_resolve(schema->resource->uri, reference);
    keyword->node = node_at(compiler, target->at, target->resource, uri);
    return keyword->node != NULL;
}

bool schema_compile_reference(struct schema_compiler *compiler, struct schema *schema,
                              struct schema_keyword *keyword)
{
    struct schema_target target;
    return resolve(compiler, schema, keyword, &target);
}

/* Dynamic only if it resolves to a $dynamicAnchor (core, section 8.2.3.2). */
bool schema_compile_dynamic_reference(struct schema_compiler *compiler, struct schema *schema,
                                      struct schema_keyword *keyword)
{
    struct schema_target target = {0};
    if (!resolve(compiler, schema, keyword, &target)) {
        return false;
    }
    if (target.anchor != NULL && target.anchor->dynamic) {
        keyword->anchor = target.anchor->name;
    }
    return true;
}

/* ---- Values ---- */

bool schema_compile_text(struct schema_compiler *compiler, struct schema *schema,
                         struct schema_keyword *keyword)
{
    return json_is_string(keyword->value) || wrong(compiler, schema, keyword, "a string");
}

bool schema_compile_object(struct schema_compiler *compiler, struct schema *schema,
                           struct schema_keyword *keyword)
{
    return json_is_object(keyword->value) || wrong(compiler, schema, keyword, "an object");
}

bool schema_compile_flag(struct schema_compiler *compiler, struct schema *schema,
                         struct schema_keyword *keyword)
{
    keyword->limit = json_is_true(keyword->value);
    return json_is_boolean(keyword->value) || wrong(compiler, schema, keyword, "a boolean");
}

bool schema_compile_number(struct schema_compiler *compiler, struct schema *schema,
                           struct schema_keyword *keyword)
{
    return json_is_number(keyword->value) || wrong(compiler, schema, keyword, "a number");
}

bool schema_compile_divisor(struct schema_compiler *compiler, struct schema *schema,
                            struct schema_keyword *keyword)
{
    return json_number_value(keyword->value) > 0 ||
           wrong(compiler, schema, keyword, "a number above 0");
}

/* 2.0 is a count, too. Nothing has more than 2^53 items. */
static bool count_of(const json_t *value, uint64_t *count)
{
    double number = json_number_value(value);
    if (!json_is_number(value) || number < 0 || !schema_number_whole(value)) {
        return false;
    }
    *count = number > 0x1p53 ? UINT64_C(1) << 53 : (uint64_t)number;
    return true;
}

bool schema_compile_count(struct schema_compiler *compiler, struct schema *schema,
                          struct schema_keyword *keyword)
{
    return count_of(keyword->value, &keyword->limit) ||
           wrong(compiler, schema, keyword, "an integer from 0 on");
}

/* minContains and maxContains belong to the validation vocabulary, which may be off. Their own rows
 * report wrong values. */
bool schema_compile_contains(struct schema_compiler *compiler, struct schema *schema,
                             struct schema_keyword *keyword)
{
    keyword->limit = 1;
    keyword->limit_max = UINT64_MAX;
    if ((schema->resource->vocabularies & VOCABULARY_VALIDATION) != 0) {
        count_of(json_object_get(schema->json, "minContains"), &keyword->limit);
        count_of(json_object_get(schema->json, "maxContains"), &keyword->limit_max);
    }
    return schema_compile_subschema(compiler, schema, keyword);
}

/* 0 for an unknown name. */
static unsigned type_bits(const json_t *name)
{
    for (size_t i = 0; json_is_string(name) && i < schema_type_count; i++) {
        if (strcmp(schema_types[i].name, json_string_value(name)) == 0) {
            return schema_types[i].bits;
        }
    }
    return 0;
}

/* `limit` is set when a real without a fraction counts as an integer. */
bool schema_compile_type(struct schema_compiler *compiler, struct schema *schema,
                         struct schema_keyword *keyword)
{
    static const char must[] = "the name of a type, or an array of them";
    keyword->limit = (compiler->set->options & SCHEMA_INTEGERS_AS_WRITTEN) == 0;
    keyword->types = type_bits(keyword->value);
    size_t i;
    json_t *name;
    json_array_foreach (keyword->value, i, name) {
        unsigned bits = type_bits(name);
        if (bits == 0) {
            return wrong(compiler, schema, keyword, must);
        }
        keyword->types |= bits;
    }
    return keyword->types != 0 || wrong(compiler, schema, keyword, must);
}

/* An empty array is allowed and matches nothing. */
bool schema_compile_enum(struct schema_compiler *compiler, struct schema *schema,
                         struct schema_keyword *keyword)
{
    return json_is_array(keyword->value) || wrong(compiler, schema, keyword, "an array");
}

bool schema_compile_pattern(struct schema_compiler *compiler, struct schema *schema,
                            struct schema_keyword *keyword)
{
    if (!json_is_string(keyword->value)) {
        return wrong(compiler, schema, keyword, "a string");
    }
    keyword->pattern = pattern_of(compiler, schema, keyword, json_string_value(keyword->value),
                                  json_string_length(keyword->value));
    return keyword->pattern != NULL;
}

bool schema_compile_format(struct schema_compiler *compiler, struct schema *schema,
                           struct schema_keyword *keyword)
{
    if (!json_is_string(keyword->value)) {
        return wrong(compiler, schema, keyword, "a string");
    }
    bool asserted = (compiler->set->options & SCHEMA_ASSERT_FORMATS) != 0 ||
                    (schema->resource->vocabularies & VOCABULARY_FORMAT_ASSERTION) != 0;
    keyword->format = asserted ? format_find(json_string_value(keyword->value)) : NULL;
    return true;
}

static bool is_names(const json_t *value)
{
    size_t i;
    json_t *name;
    json_array_foreach (value, i, name) {
        if (!json_is_string(name)) {
            return false;
        }
    }
    return json_is_array(value);
}

bool schema_compile_names(struct schema_compiler *compiler, struct schema *schema,
                          struct schema_keyword *keyword)
{
    return is_names(keyword->value) || wrong(compiler, schema, keyword, "an array of strings");
}

bool schema_compile_dependent_names(struct schema_compiler *compiler, struct schema *schema,
                                    struct schema_keyword *keyword)
{
    const char *name;
    json_t *names;
    json_object_foreach ((json_t *)keyword->value, name, names) {
        if (!is_names(names)) {
            return wrong(compiler, schema, keyword, "an object of arrays of strings");
        }
    }
    return schema_compile_object(compiler, schema, keyword);
}
