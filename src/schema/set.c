/* The documents of a set, and the index from URIs to their parts. */
#include "presignd/base/mem.h"
#include "schema/node.h"

#include <stdlib.h>
#include <string.h>

/* Bounds the recursion of the index. */
enum { SCHEMA_NESTING_MAX = 256 };

void *schema_array_grow(void *items, size_t count, size_t item_size)
{
    if (count == 0) {
        return mem_realloc(items, item_size);
    }
    return (count & (count - 1)) == 0 ? mem_realloc(items, 2 * count * item_size) : items;
}

struct schema_resource *schema_set_resource_of(const struct schema_set *set, const json_t *schema,
                                               struct schema_resource *around)
{
    struct schema_resource *own =
        map_get(set->resource_by_root, (const void *)&schema, sizeof(json_t *));
    return own != NULL ? own : around;
}

static struct schema_resource *find_uri(const struct schema_set *set, const char *uri)
{
    return map_get(set->resource_by_uri, uri, strcspn(uri, "#"));
}

/* Each URI names one resource. */
static bool name_resource(struct schema_set *set, struct schema_resource *resource, const char *uri,
                          char **error)
{
    struct schema_resource *other = find_uri(set, uri);
    if (other != NULL && other != resource) {
        *error = mem_printf("the URI %s is given to two schemas", uri);
        return false;
    }
    map_set(set->resource_by_uri, uri, strcspn(uri, "#"), resource);
    return true;
}

/* The set owns the resource, also when the rest of the document fails. */
static struct schema_resource *resource_new(struct schema_set *set, json_t *root, const char *uri,
                                            struct schema_resource *parent)
{
    struct schema_resource *resource = mem_zalloc(1, sizeof *resource);
    resource->uri = mem_dup(uri, strcspn(uri, "#"));
    resource->root = root;
    resource->parent = parent;
    set->resources =
        schema_array_grow(set->resources, set->resource_count, sizeof(struct schema_resource *));
    set->resources[set->resource_count++] = resource;
    map_set(set->resource_by_root, (const void *)&root, sizeof(json_t *), resource);
    return resource;
}

static const struct schema_anchor *find_anchor(const struct schema_resource *resource,
                                               const char *name)
{
    for (size_t i = 0; i < resource->anchor_count; i++) {
        if (strcmp(resource->anchors[i].name, name) == 0) {
            return &resource->anchors[i];
        }
    }
    return NULL;
}

/* $anchor and $dynamicAnchor share one namespace. */
static bool add_anchor(struct schema_resource *resource, json_t *schema, const char *keyword,
                       char **error)
{
    const char *name = json_string_value(json_object_get(schema, keyword));
    if (name == NULL) {
        return true;
    }
    const struct schema_anchor *other = find_anchor(resource, name);
    if (other != NULL) {
        *error = mem_printf("%s has two anchors named %s", resource->uri, name);
        return false;
    }
    resource->anchors =
        schema_array_grow(resource->anchors, resource->anchor_count, sizeof *resource->anchors);
    resource->anchors[resource->anchor_count++] = (struct schema_anchor){
        .name = name, .at = schema, .dynamic = strcmp(keyword, "$dynamicAnchor") == 0};
    return true;
}

/* A schema with an $id is a resource of its own: `*around` becomes that resource. */
static bool enter_resource(struct schema_set *set, json_t *schema, struct schema_resource **around,
                           char **error)
{
    const char *id = json_string_value(json_object_get(schema, "$id"));
    if (id == NULL || (*around)->root == schema) {
        return true;
    }
    AUTO_FREE char *uri = schema_uri_resolve((*around)->uri, id);
    const char *fragment = strchr(uri, '#');
    if (fragment != NULL && fragment[1] != '\0') {
        *error = mem_printf("the $id %s has a fragment", id);
        return false;
    }
    *around = resource_new(set, schema, uri, *around);
    return name_resource(set, *around, uri, error);
}

static bool index_schema(struct schema_set *set, json_t *schema, struct schema_resource *around,
                         int depth, char **error);

static bool index_list(struct schema_set *set, json_t *list, struct schema_resource *around,
                       int depth, char **error)
{
    size_t i;
    json_t *item;
    json_array_foreach (list, i, item) {
        if (!index_schema(set, item, around, depth, error)) {
            return false;
        }
    }
    return true;
}

static bool index_members(struct schema_set *set, json_t *object, struct schema_resource *around,
                          int depth, char **error)
{
    const char *name;
    json_t *member;
    json_object_foreach (object, name, member) {
        if (!index_schema(set, member, around, depth, error)) {
            return false;
        }
    }
    return true;
}

/* Finds $id and anchors. Descends into subschemas only: an $id inside a `const` or `enum` is
 * data. */
static bool index_schema(struct schema_set *set, json_t *schema, struct schema_resource *around,
                         int depth, char **error)
{
    if (!json_is_object(schema)) {
        return true;
    }
    if (depth > SCHEMA_NESTING_MAX) {
        *error = mem_printf("%s is nested more than %d deep", around->uri, SCHEMA_NESTING_MAX);
        return false;
    }
    if (!enter_resource(set, schema, &around, error) ||
        !add_anchor(around, schema, "$anchor", error) ||
        !add_anchor(around, schema, "$dynamicAnchor", error)) {
        return false;
    }
    const char *name;
    json_t *value;
    json_object_foreach (schema, name, value) {
        const struct schema_row *row = schema_row_find(name);
        enum schema_shape shape = row == NULL ? SHAPE_VALUE : row->shape;
        bool fine = true;
        if (shape == SHAPE_SCHEMA) {
            fine = index_schema(set, value, around, depth + 1, error);
        } else if (shape == SHAPE_LIST) {
            fine = index_list(set, value, around, depth + 1, error);
        } else if (shape == SHAPE_MEMBERS) {
            fine = index_members(set, value, around, depth + 1, error);
        }
        if (!fine) {
            return false;
        }
    }
    return true;
}

bool schema_set_add(struct schema_set *set, const char *uri, json_t *document, char **error)
{
    *error = NULL;
    if (!json_is_object(document) && !json_is_boolean(document)) {
        *error = mem_printf("%s is not a schema: it is neither an object nor a boolean", uri);
        return false;
    }
    /* The index uses addresses of parts as keys, so no part may occur twice. */
    json_t *copy = json_deep_copy(document);
    if (copy == NULL) {
        *error = mem_printf("%s cannot be copied", uri);
        return false;
    }
    set->documents = schema_array_grow(set->documents, set->document_count, sizeof(json_t *));
    set->documents[set->document_count++] = copy;

    const char *id = json_string_value(json_object_get(copy, "$id"));
    AUTO_FREE char *own = schema_uri_resolve(uri, id == NULL ? "" : id);
    struct schema_resource *resource = resource_new(set, copy, own, NULL);
    return name_resource(set, resource, uri, error) && name_resource(set, resource, own, error) &&
           index_schema(set, copy, resource, 0, error);
}

static void add_meta_schemas(struct schema_set *set)
{
    for (const char *const *text = schema_meta_texts; *text != NULL; text++) {
        json_t *document = json_loads(*text, JSON_REJECT_DUPLICATES, NULL);
        const char *id = json_string_value(json_object_get(document, "$id"));
        char *error = NULL;
        if (id == NULL || !schema_set_add(set, id, document, &error)) {
            abort(); /* a bug: they are compiled in */
        }
        json_decref(document);
    }
}

struct schema_set *schema_set_new(unsigned options)
{
    struct schema_set *set = mem_zalloc(1, sizeof *set);
    set->options = options;
    set->resource_by_uri = map_new();
    set->resource_by_root = map_new();
    set->node_by_json = map_new();
    add_meta_schemas(set);
    return set;
}

static void free_resource(struct schema_resource *resource)
{
    free(resource->uri);
    free(resource->anchors);
    free(resource);
}

struct schema_set *schema_set_free(struct schema_set *set)
{
    if (set == NULL) {
        return NULL;
    }
    schema_nodes_drop(set, 0);
    for (size_t i = 0; i < set->resource_count; i++) {
        free_resource(set->resources[i]);
    }
    for (size_t i = 0; i < set->document_count; i++) {
        json_decref(set->documents[i]);
    }
    free((void *)set->nodes);
    free((void *)set->resources);
    free((void *)set->documents);
    map_free(set->resource_by_uri);
    map_free(set->resource_by_root);
    map_free(set->node_by_json);
    free(set);
    return NULL;
}

/* ---- References ---- */

/* Follows one reference token (RFC 6901, section 4); unescapes it in place. */
static json_t *step(json_t *at, char *token)
{
    char *out = token;
    for (const char *in = token; *in != '\0'; in++) {
        bool escape = in[0] == '~' && (in[1] == '0' || in[1] == '1');
        *out++ = (char)(escape ? (in[1] == '0' ? '~' : '/') : *in);
        in += escape;
    }
    *out = '\0';
    if (json_is_object(at)) {
        return json_object_get(at, token);
    }
    char *end;
    unsigned long index = strtoul(token, &end, 10);
    /* No leading zero (RFC 6901, section 4). */
    bool number =
        token[0] >= '0' && token[0] <= '9' && *end == '\0' && (token[0] != '0' || token[1] == '\0');
    return json_is_array(at) && number ? json_array_get(at, index) : NULL;
}

/* `pointer` begins with `/`. An $id on the way changes the target's resource. */
static bool follow(struct schema_set *set, char *pointer, struct schema_target *target)
{
    char *rest = pointer + 1;
    while (rest != NULL && target->at != NULL) {
        char *token = strsep(&rest, "/");
        target->at = step(target->at, token);
        target->resource = schema_set_resource_of(set, target->at, target->resource);
    }
    return target->at != NULL;
}

/* A JSON Pointer begins with a slash, an anchor does not (core, section 8.2.2). */
static bool resolve_fragment(struct schema_set *set, const char *fragment,
                             struct schema_target *target)
{
    AUTO_FREE char *decoded = schema_uri_decode(fragment, strlen(fragment));
    if (decoded == NULL) {
        return false;
    }
    if (decoded[0] == '\0') {
        return true;
    }
    if (decoded[0] == '/') {
        return follow(set, decoded, target);
    }
    target->anchor = find_anchor(target->resource, decoded);
    target->at = target->anchor == NULL ? NULL : target->anchor->at;
    return target->at != NULL;
}

bool schema_set_resolve(struct schema_set *set, struct schema_resource *base, const char *reference,
                        struct schema_target *target, char **error)
{
    AUTO_FREE char *uri = schema_uri_resolve(base == NULL ? "" : base->uri, reference);
    struct schema_resource *resource = find_uri(set, uri);
    if (resource == NULL) {
        *error = mem_printf("%s is not among the schemas", uri);
        return false;
    }
    const char *fragment = strchr(uri, '#');
    *target = (struct schema_target){.at = resource->root, .resource = resource};
    if (fragment != NULL && !resolve_fragment(set, fragment + 1, target)) {
        *error = mem_printf("%s does not exist in its document", uri);
        return false;
    }
    return true;
}
