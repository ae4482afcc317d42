/* Applies compiled schemas to instances: the walk, its limits, the keywords that apply subschemas,
 * and the set of evaluated members and items that unevaluatedItems and unevaluatedProperties read.
 *
 * Without a list of violations the walk ends at the first failure. With a list it continues and
 * collects; a branch whose failure may not count (anyOf, if, not…) is first tried without the list.
 * While violations are collected, a subschema that fails still passes up what it evaluated.
 * Otherwise members that it knows are reported as unknown as well. */
#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "schema/node.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- Evaluated members and items ---- */

/* Up to 64 members or items need no allocation. */
static void evaluated_init(struct schema_evaluated *set, const json_t *instance)
{
    size_t size = json_is_object(instance) ? json_object_size(instance) : json_array_size(instance);
    *set = (struct schema_evaluated){.words = (size + 63) / 64};
    if (set->words > 1) {
        set->many = mem_zalloc(set->words, sizeof *set->many);
    }
}

static uint64_t *evaluated_bits(struct schema_evaluated *set)
{
    return set->words > 1 ? set->many : &set->few;
}

static void evaluated_add(struct schema_evaluated *set, size_t index)
{
    if (set != NULL) {
        evaluated_bits(set)[index / 64] |= UINT64_C(1) << (index % 64);
    }
}

static bool evaluated_has(struct schema_evaluated *set, size_t index)
{
    return (evaluated_bits(set)[index / 64] >> (index % 64) & 1) != 0;
}

static void evaluated_merge(struct schema_evaluated *into, struct schema_evaluated *from)
{
    for (size_t i = 0; i < from->words; i++) {
        evaluated_bits(into)[i] |= evaluated_bits(from)[i];
    }
}

/* ---- Violations ---- */

/* RFC 6901, section 3. */
static void put_token(struct buf *out, const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (name[i] == '~' || name[i] == '/') {
            buf_puts(out, name[i] == '~' ? "~0" : "~1");
        } else {
            buf_putc(out, name[i]);
        }
    }
}

/* The list runs from the last step to the first, a JSON Pointer the other way. */
static void put_pointer(struct buf *out, const struct schema_location *location)
{
    const struct schema_location *steps[2 * SCHEMA_DEPTH_MAX + 2];
    size_t count = 0;
    for (; location != NULL && count < ARRAY_LENGTH(steps); location = location->parent) {
        steps[count++] = location;
    }
    buf_reserve(out, 0);
    while (count-- > 0) {
        buf_putc(out, '/');
        if (steps[count]->name == NULL) {
            buf_printf(out, "%zu", steps[count]->index);
        } else {
            put_token(out, steps[count]->name, steps[count]->name_len);
        }
    }
}

bool schema_fail(struct schema_run *run, const struct schema_frame *frame, const char *format, ...)
{
    if (run->violations == NULL || run->stopped) {
        return false;
    }
    if (run->violations->count == VIOLATIONS_MAX) { /* saves the formatting */
        run->violations->total++;
        return false;
    }
    va_list arguments;
    va_start(arguments, format);
    AUTO_FREE char *text = mem_vprintf(format, arguments);
    va_end(arguments);
    AUTO_BUF struct buf instance_location = {0};
    AUTO_BUF struct buf keyword_location = {0};
    put_pointer(&instance_location, frame->instance_location);
    put_pointer(&keyword_location, frame->keyword_location);
    violations_add(run->violations, instance_location.data, keyword_location.data, text);
    return false;
}

/* ---- The walk ---- */

/* A branch that is only tried collects nothing: then validate() reports the limit at its end. */
bool schema_stop(struct schema_run *run, const struct schema_frame *frame, const char *limit)
{
    if (!run->stopped) {
        bool reported = frame != NULL && run->violations != NULL;
        run->unreported_limit = reported ? NULL : limit;
        if (reported) {
            schema_fail(run, frame, "%s", limit);
        }
        run->stopped = true;
    }
    return false;
}

/* The depth bounds schemas that never descend, the steps those that fan out. No frame: the location
 * is long and does not help. */
static bool within_limits(struct schema_run *run)
{
    if (run->depth >= SCHEMA_DEPTH_MAX) {
        return schema_stop(run, NULL, "takes too much to check: the schema is too deep");
    }
    return schema_steps_take(&run->steps, 1) ||
           schema_stop(run, NULL, "takes too many steps to check");
}

/* True when a loop over keywords or subschemas may end because its result is known. */
static bool is_decided(const struct schema_run *run, bool valid)
{
    return run->stopped || (!valid && run->violations == NULL);
}

/* The schema `false`: the keyword that contains it gives the error. */
static bool fail_false(struct schema_run *run, const struct schema_frame *frame)
{
    const struct schema_location *location = frame->keyword_location;
    const struct schema_row *row =
        location == NULL || location->name == NULL ? NULL : schema_row_find(location->name);
    bool has_error = row != NULL && row->false_error != NULL;
    return schema_fail(run, frame, "%s", has_error ? row->false_error : "is not allowed");
}

/* Patterns and formats of a string with a wrong length cost time and add nothing. */
static bool ends_schema(const struct schema_row *row)
{
    return row->on == ON_STRING &&
           (row->apply == schema_apply_max_size || row->apply == schema_apply_min_size);
}

static bool apply_keywords(struct schema_run *run, const struct schema *schema,
                           const struct schema_frame *at)
{
    unsigned type = TYPE_BIT(json_typeof(at->instance));
    bool valid = true;
    for (size_t i = 0; i < schema->keyword_count; i++) {
        const struct schema_keyword *keyword = &schema->keywords[i];
        const struct schema_row *row = keyword->row;
        if ((row->on & type) == 0) {
            continue;
        }
        struct schema_location location = {at->keyword_location, row->name, keyword->name_len, 0};
        struct schema_frame frame = *at;
        frame.keyword_location = &location;
        bool fits = row->apply(run, keyword, &frame);
        valid = fits && valid;
        if (is_decided(run, valid) || (!fits && ends_schema(row))) {
            break;
        }
    }
    return valid && !run->stopped;
}

/* Applies a schema at the frame's locations; adds what it evaluated to outer->evaluated. */
static bool apply_schema(struct schema_run *run, const struct schema *schema,
                         const struct schema_frame *outer)
{
    if (run->stopped || !within_limits(run)) {
        return false;
    }
    if (schema->is_false) {
        return fail_false(run, outer);
    }
    struct schema_scope scope = {run->scope, schema->resource};
    bool enters = run->scope == NULL || run->scope->resource != schema->resource;
    run->scope = enters ? &scope : scope.outer;
    run->depth++;
    struct schema_frame frame = *outer;
    struct schema_evaluated own;
    bool tracks = schema->unevaluated || outer->evaluated != NULL;
    frame.evaluated = tracks ? &own : NULL;
    if (tracks) {
        evaluated_init(&own, frame.instance);
    }
    bool valid = apply_keywords(run, schema, &frame);
    if (tracks) {
        if (outer->evaluated != NULL && (valid || run->violations != NULL)) {
            evaluated_merge(outer->evaluated, &own);
        }
        free(own.many);
    }
    run->depth--;
    run->scope = scope.outer;
    return valid;
}

static uint64_t steps_for(json_t *instance)
{
    const size_t most = (SCHEMA_STEPS_MAX - SCHEMA_STEPS_BASE) / SCHEMA_STEPS_PER_BYTE;
    size_t size = schema_value_size(instance, most);
    return SCHEMA_STEPS_BASE + SCHEMA_STEPS_PER_BYTE * (uint64_t)(size < most ? size : most);
}

/* jansson's iterators take no const. The instance is not changed. */
static bool validate(const struct schema *schema, json_t *instance, struct schema_run *run)
{
    struct schema_frame frame = {.instance = instance};
    run->steps.max = steps_for(instance);
    bool valid = apply_schema(run, schema, &frame);
    if (run->unreported_limit != NULL) {
        run->stopped = false;
        schema_fail(run, &frame, "%s", run->unreported_limit);
    }
    return valid;
}

bool schema_validate(const struct schema *schema, const json_t *instance,
                     struct violations *violations)
{
    struct schema_run run = {.violations = violations};
    return validate(schema, (json_t *)instance, &run);
}

uint64_t schema_steps(const struct schema *schema, const json_t *instance)
{
    struct violations violations = {0};
    struct schema_run run = {.violations = &violations};
    (void)validate(schema, (json_t *)instance, &run);
    violations_deinit(&violations);
    return run.steps.used;
}

/* Collects no violations. */
static bool try_schema(struct schema_run *run, const struct schema *schema,
                       const struct schema_frame *frame)
{
    struct violations *violations = run->violations;
    run->violations = NULL;
    bool valid = apply_schema(run, schema, frame);
    run->violations = violations;
    return valid;
}

/* Applies a subschema to the same instance. */
static bool apply_branch(struct schema_run *run, const struct schema *schema,
                         const struct schema_frame *frame, struct schema_location keyword_location)
{
    struct schema_frame branch = *frame;
    branch.keyword_location = &keyword_location;
    return apply_schema(run, schema, &branch);
}

static struct schema_location item_location(const struct schema_location *parent, size_t index)
{
    return (struct schema_location){.parent = parent, .index = index};
}

static struct schema_location child_location(const struct schema_location *parent,
                                             const struct schema_child *child)
{
    return (struct schema_location){parent, child->name, child->name_len, 0};
}

/* Applies a subschema to a member or item. */
static bool apply_below(struct schema_run *run, const struct schema *schema,
                        const struct schema_frame *frame, json_t *instance,
                        struct schema_location step, const struct schema_location *keyword_location)
{
    step.parent = frame->instance_location;
    struct schema_frame below = {instance, &step, keyword_location, NULL};
    return apply_schema(run, schema, &below);
}

/* ---- Keywords for the same instance ---- */

/* Since draft 2019-09 a $ref has siblings like any other keyword. */
bool schema_apply_reference(struct schema_run *run, const struct schema_keyword *keyword,
                            const struct schema_frame *frame)
{
    return apply_schema(run, keyword->node, frame);
}

/* The outermost resource of the scope that has the $dynamicAnchor wins. */
bool schema_apply_dynamic_reference(struct schema_run *run, const struct schema_keyword *keyword,
                                    const struct schema_frame *frame)
{
    const struct schema *node = keyword->node;
    const struct schema_scope *scope = keyword->anchor == NULL ? NULL : run->scope;
    for (; scope != NULL; scope = scope->outer) {
        for (size_t i = 0; i < scope->resource->anchor_count; i++) {
            const struct schema_anchor *anchor = &scope->resource->anchors[i];
            if (anchor->dynamic && strcmp(anchor->name, keyword->anchor) == 0) {
                node = anchor->node;
            }
        }
    }
    return apply_schema(run, node, frame);
}

bool schema_apply_all_of(struct schema_run *run, const struct schema_keyword *keyword,
                         const struct schema_frame *frame)
{
    bool valid = true;
    for (size_t i = 0; i < keyword->child_count && !is_decided(run, valid); i++) {
        valid = apply_branch(run, keyword->children[i].node, frame,
                             item_location(frame->keyword_location, i)) &&
                valid;
    }
    return valid;
}

/* The number of branches that match. Stops at `enough` unless evaluated members are collected. */
static size_t count_matches(struct schema_run *run, const struct schema_keyword *keyword,
                            const struct schema_frame *frame, size_t enough)
{
    size_t matches = 0;
    for (size_t i = 0; i < keyword->child_count && !run->stopped; i++) {
        matches += try_schema(run, keyword->children[i].node, frame);
        if (matches == enough && frame->evaluated == NULL) {
            break;
        }
    }
    return matches;
}

bool schema_apply_any_of(struct schema_run *run, const struct schema_keyword *keyword,
                         const struct schema_frame *frame)
{
    if (count_matches(run, keyword, frame, 1) > 0) {
        return !run->stopped;
    }
    /* No branch matches: report the violations of all. */
    return run->violations != NULL && schema_apply_all_of(run, keyword, frame);
}

bool schema_apply_one_of(struct schema_run *run, const struct schema_keyword *keyword,
                         const struct schema_frame *frame)
{
    size_t matches = count_matches(run, keyword, frame, 2);
    if (matches > 1) {
        return schema_fail(run, frame, "matches more than one of the alternatives");
    }
    if (matches == 1) {
        return !run->stopped;
    }
    return run->violations != NULL && schema_apply_all_of(run, keyword, frame);
}

/* What a negated schema evaluates does not count. */
bool schema_apply_not(struct schema_run *run, const struct schema_keyword *keyword,
                      const struct schema_frame *frame)
{
    struct schema_frame negated = *frame;
    negated.evaluated = NULL;
    bool matches = try_schema(run, keyword->node, &negated);
    return !run->stopped && (!matches || schema_fail(run, frame, "matches what it must not"));
}

bool schema_apply_condition(struct schema_run *run, const struct schema_keyword *keyword,
                            const struct schema_frame *frame)
{
    bool holds = try_schema(run, keyword->node, frame);
    const struct schema *branch = holds ? keyword->then_node : keyword->else_node;
    if (branch == NULL || run->stopped) {
        return !run->stopped;
    }
    /* `then` and `else` are siblings of `if`. */
    return apply_branch(
        run, branch, frame,
        (struct schema_location){frame->keyword_location->parent, holds ? "then" : "else", 4, 0});
}

bool schema_apply_dependent_schemas(struct schema_run *run, const struct schema_keyword *keyword,
                                    const struct schema_frame *frame)
{
    bool valid = true;
    for (size_t i = 0; i < keyword->child_count && !is_decided(run, valid); i++) {
        const struct schema_child *child = &keyword->children[i];
        if (json_object_getn(frame->instance, child->name, child->name_len) != NULL) {
            valid = apply_branch(run, child->node, frame,
                                 child_location(frame->keyword_location, child)) &&
                    valid;
        }
    }
    return valid;
}

/* ---- Keywords for members ---- */

/* An iterator over an object's members, in the order of the text. */
struct member {
    void *iterator;
    size_t index;
    const char *name;
    size_t name_len;
    json_t *value;
};

static bool member_next(json_t *object, struct member *member)
{
    bool first = member->iterator == NULL;
    void *iterator =
        first ? json_object_iter(object) : json_object_iter_next(object, member->iterator);
    if (iterator == NULL) {
        return false;
    }
    *member = (struct member){
        .iterator = iterator,
        .index = first ? 0 : member->index + 1,
        .name = json_object_iter_key(iterator),
        .name_len = json_object_iter_key_len(iterator),
        .value = json_object_iter_value(iterator),
    };
    return true;
}

/* Applies a schema to the member's value, or to `instance` in its place. */
static bool apply_member(struct schema_run *run, const struct schema *schema,
                         const struct schema_frame *frame, const struct member *member,
                         json_t *instance, const struct schema_location *keyword_location)
{
    return apply_below(run, schema, frame, instance,
                       (struct schema_location){NULL, member->name, member->name_len, 0},
                       keyword_location);
}

static const struct schema_child *find_child(const struct schema_keyword *keyword,
                                             const struct member *member)
{
    size_t low = 0, high = keyword == NULL ? 0 : keyword->child_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct schema_child *child = &keyword->children[middle];
        int order =
            schema_name_compare(member->name, member->name_len, child->name, child->name_len);
        if (order == 0) {
            return child;
        }
        low = order > 0 ? middle + 1 : low;
        high = order < 0 ? middle : high;
    }
    return NULL;
}

static bool apply_child(struct schema_run *run, const struct schema_child *child,
                        const struct schema_frame *frame, const struct member *member)
{
    struct schema_location location = child_location(frame->keyword_location, child);
    evaluated_add(frame->evaluated, member->index);
    return apply_member(run, child->node, frame, member, member->value, &location);
}

/* Iterates over the instance's members, so that violations come in the order of its text. */
bool schema_apply_properties(struct schema_run *run, const struct schema_keyword *keyword,
                             const struct schema_frame *frame)
{
    bool valid = true;
    struct member member = {0};
    while (!is_decided(run, valid) && member_next(frame->instance, &member)) {
        const struct schema_child *child = find_child(keyword, &member);
        if (child != NULL) {
            valid = apply_child(run, child, frame, &member) && valid;
        }
    }
    return valid;
}

/* If the steps run out, the result is unknown and the run ends. */
static bool name_matches(struct schema_run *run, const struct schema_frame *frame,
                         const struct schema_child *child, const struct member *member)
{
    enum schema_match match =
        schema_pattern_match(child->pattern, member->name, member->name_len, &run->steps);
    if (match == MATCH_LIMIT) {
        return schema_stop(run, frame, "has a member whose name takes too many steps to check");
    }
    return match == MATCH_YES;
}

bool schema_apply_pattern_properties(struct schema_run *run, const struct schema_keyword *keyword,
                                     const struct schema_frame *frame)
{
    bool valid = true;
    struct member member = {0};
    while (!is_decided(run, valid) && member_next(frame->instance, &member)) {
        for (size_t i = 0; i < keyword->child_count && !run->stopped; i++) {
            const struct schema_child *child = &keyword->children[i];
            if (name_matches(run, frame, child, &member)) {
                valid = apply_child(run, child, frame, &member) && valid;
            }
        }
    }
    return valid;
}

static bool matches_any(struct schema_run *run, const struct schema_frame *frame,
                        const struct schema_keyword *patterns, const struct member *member)
{
    for (size_t i = 0; patterns != NULL && i < patterns->child_count; i++) {
        if (name_matches(run, frame, &patterns->children[i], member)) {
            return true;
        }
    }
    return false;
}

/* additionalProperties and unevaluatedProperties: applies the subschema to the members that
 * `is_known` does not accept. */
static bool apply_to_unknown(struct schema_run *run, const struct schema_keyword *keyword,
                             const struct schema_frame *frame,
                             bool (*is_known)(struct schema_run *, const struct schema_frame *,
                                              const struct schema_keyword *, const struct member *))
{
    bool valid = true;
    struct member member = {0};
    while (!is_decided(run, valid) && member_next(frame->instance, &member)) {
        if (!is_known(run, frame, keyword, &member)) {
            evaluated_add(frame->evaluated, member.index);
            valid = apply_member(run, keyword->node, frame, &member, member.value,
                                 frame->keyword_location) &&
                    valid;
        }
    }
    return valid;
}

static bool has_schema(struct schema_run *run, const struct schema_frame *frame,
                       const struct schema_keyword *keyword, const struct member *member)
{
    return find_child(keyword->properties, member) != NULL ||
           matches_any(run, frame, keyword->pattern_properties, member);
}

bool schema_apply_additional_properties(struct schema_run *run,
                                        const struct schema_keyword *keyword,
                                        const struct schema_frame *frame)
{
    return apply_to_unknown(run, keyword, frame, has_schema);
}

static bool is_evaluated(struct schema_run *, const struct schema_frame *frame,
                         const struct schema_keyword *, const struct member *member)
{
    return evaluated_has(frame->evaluated, member->index);
}

/* The last keyword of its schema: its siblings have added what they evaluated. */
bool schema_apply_unevaluated_properties(struct schema_run *run,
                                         const struct schema_keyword *keyword,
                                         const struct schema_frame *frame)
{
    return apply_to_unknown(run, keyword, frame, is_evaluated);
}

/* The instance is the name; its location is the member's. */
bool schema_apply_property_names(struct schema_run *run, const struct schema_keyword *keyword,
                                 const struct schema_frame *frame)
{
    bool valid = true;
    struct member member = {0};
    while (!is_decided(run, valid) && member_next(frame->instance, &member)) {
        json_t *name = json_stringn_nocheck(member.name, member.name_len);
        if (name == NULL) {
            mem_exhausted();
        }
        valid = apply_member(run, keyword->node, frame, &member, name, frame->keyword_location) &&
                valid;
        json_decref(name);
    }
    return valid;
}

/* ---- Keywords for items ---- */

static bool apply_item(struct schema_run *run, const struct schema *schema,
                       const struct schema_frame *frame, size_t index,
                       const struct schema_location *keyword_location)
{
    return apply_below(run, schema, frame, json_array_get(frame->instance, index),
                       item_location(NULL, index), keyword_location);
}

bool schema_apply_prefix_items(struct schema_run *run, const struct schema_keyword *keyword,
                               const struct schema_frame *frame)
{
    bool valid = true;
    size_t size = json_array_size(frame->instance);
    for (size_t i = 0; i < keyword->child_count && i < size && !is_decided(run, valid); i++) {
        struct schema_location location = item_location(frame->keyword_location, i);
        evaluated_add(frame->evaluated, i);
        valid = apply_item(run, keyword->children[i].node, frame, i, &location) && valid;
    }
    return valid;
}

/* Items after those of prefixItems. */
bool schema_apply_items(struct schema_run *run, const struct schema_keyword *keyword,
                        const struct schema_frame *frame)
{
    bool valid = true;
    size_t size = json_array_size(frame->instance);
    for (size_t i = keyword->limit; i < size && !is_decided(run, valid); i++) {
        evaluated_add(frame->evaluated, i);
        valid = apply_item(run, keyword->node, frame, i, frame->keyword_location) && valid;
    }
    return valid;
}

/* Tries every item, since each one that matches counts as evaluated. */
bool schema_apply_contains(struct schema_run *run, const struct schema_keyword *keyword,
                           const struct schema_frame *frame)
{
    size_t size = json_array_size(frame->instance);
    size_t matches = 0;
    struct violations *violations = run->violations;
    run->violations = NULL;
    for (size_t i = 0; i < size && !run->stopped; i++) {
        if (apply_item(run, keyword->node, frame, i, frame->keyword_location)) {
            evaluated_add(frame->evaluated, i);
            matches++;
        }
    }
    run->violations = violations;
    if (matches < keyword->limit) {
        return schema_fail(run, frame, "has %zu items that match, must have at least %llu", matches,
                           (unsigned long long)keyword->limit);
    }
    if (matches > keyword->limit_max) {
        return schema_fail(run, frame, "has %zu items that match, may have at most %llu", matches,
                           (unsigned long long)keyword->limit_max);
    }
    return !run->stopped;
}

bool schema_apply_unevaluated_items(struct schema_run *run, const struct schema_keyword *keyword,
                                    const struct schema_frame *frame)
{
    bool valid = true;
    size_t size = json_array_size(frame->instance);
    for (size_t i = 0; i < size && !is_decided(run, valid); i++) {
        if (!evaluated_has(frame->evaluated, i)) {
            evaluated_add(frame->evaluated, i);
            valid = apply_item(run, keyword->node, frame, i, frame->keyword_location) && valid;
        }
    }
    return valid;
}
