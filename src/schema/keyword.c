/* The table of keywords of draft 2020-12. Annotations that assert nothing (title, default,
 * contentMediaType and the like) have no row. */
#include "presignd/base/mem.h"
#include "schema/node.h"

#include <string.h>

#define CONTENT     VOCABULARY_CONTENT
#define CORE        VOCABULARY_CORE
#define APPLICATOR  VOCABULARY_APPLICATOR
#define UNEVALUATED VOCABULARY_UNEVALUATED
#define VALIDATION  VOCABULARY_VALIDATION
#define FORMAT      (VOCABULARY_FORMAT_ANNOTATION | VOCABULARY_FORMAT_ASSERTION)
#define UNKNOWN     "is not a known member"
#define TOO_MANY    "is one item too many"

/* clang-format off */
#define ROW(NAME, VOCABULARY, ...) {.name = NAME, .vocabulary = VOCABULARY, __VA_ARGS__}
const struct schema_row schema_rows[] = {
    ROW("$id", CORE, .compile = schema_compile_text),
    ROW("$schema", CORE, .compile = schema_compile_text),
    ROW("$anchor", CORE, .compile = schema_compile_text),
    ROW("$dynamicAnchor", CORE, .compile = schema_compile_text),
    ROW("$vocabulary", CORE, .compile = schema_compile_object),
    ROW("$comment", CORE, .compile = schema_compile_text),
    ROW("$defs", CORE, .shape = SHAPE_MEMBERS, .compile = schema_compile_object),
    ROW("contentSchema", CONTENT, .shape = SHAPE_SCHEMA),

    ROW("type", VALIDATION, .on = ON_ANY, .compile = schema_compile_type, .apply = schema_apply_type),
    ROW("const", VALIDATION, .on = ON_ANY, .apply = schema_apply_const),
    ROW("enum", VALIDATION, .on = ON_ANY, .compile = schema_compile_enum, .apply = schema_apply_enum),
    ROW("multipleOf", VALIDATION, .on = ON_NUMBER, .compile = schema_compile_divisor, .apply = schema_apply_multiple_of),
    ROW("maximum", VALIDATION, .on = ON_NUMBER, .compile = schema_compile_number, .apply = schema_apply_maximum),
    ROW("exclusiveMaximum", VALIDATION, .on = ON_NUMBER, .compile = schema_compile_number, .apply = schema_apply_exclusive_maximum),
    ROW("minimum", VALIDATION, .on = ON_NUMBER, .compile = schema_compile_number, .apply = schema_apply_minimum),
    ROW("exclusiveMinimum", VALIDATION, .on = ON_NUMBER, .compile = schema_compile_number, .apply = schema_apply_exclusive_minimum),
    ROW("maxLength", VALIDATION, .on = ON_STRING, .compile = schema_compile_count, .apply = schema_apply_max_size),
    ROW("minLength", VALIDATION, .on = ON_STRING, .compile = schema_compile_count, .apply = schema_apply_min_size),
    ROW("pattern", VALIDATION, .on = ON_STRING, .compile = schema_compile_pattern, .apply = schema_apply_pattern),
    ROW("format", FORMAT, .on = ON_STRING, .compile = schema_compile_format, .apply = schema_apply_format),
    ROW("maxItems", VALIDATION, .on = ON_ARRAY, .compile = schema_compile_count, .apply = schema_apply_max_size),
    ROW("minItems", VALIDATION, .on = ON_ARRAY, .compile = schema_compile_count, .apply = schema_apply_min_size),
    ROW("uniqueItems", VALIDATION, .on = ON_ARRAY, .compile = schema_compile_flag, .apply = schema_apply_unique_items),
    ROW("maxContains", VALIDATION, .compile = schema_compile_count),
    ROW("minContains", VALIDATION, .compile = schema_compile_count),
    ROW("maxProperties", VALIDATION, .on = ON_OBJECT, .compile = schema_compile_count, .apply = schema_apply_max_size),
    ROW("minProperties", VALIDATION, .on = ON_OBJECT, .compile = schema_compile_count, .apply = schema_apply_min_size),
    ROW("required", VALIDATION, .on = ON_OBJECT, .compile = schema_compile_names, .apply = schema_apply_required),
    ROW("dependentRequired", VALIDATION, .on = ON_OBJECT, .compile = schema_compile_dependent_names, .apply = schema_apply_dependent_required),

    ROW("$ref", CORE, .on = ON_ANY, .compile = schema_compile_reference, .apply = schema_apply_reference),
    ROW("$dynamicRef", CORE, .on = ON_ANY, .compile = schema_compile_dynamic_reference, .apply = schema_apply_dynamic_reference),
    ROW("allOf", APPLICATOR, .shape = SHAPE_LIST, .on = ON_ANY, .compile = schema_compile_list, .apply = schema_apply_all_of),
    ROW("anyOf", APPLICATOR, .shape = SHAPE_LIST, .on = ON_ANY, .compile = schema_compile_list, .apply = schema_apply_any_of),
    ROW("oneOf", APPLICATOR, .shape = SHAPE_LIST, .on = ON_ANY, .compile = schema_compile_list, .apply = schema_apply_one_of),
    ROW("not", APPLICATOR, .shape = SHAPE_SCHEMA, .on = ON_ANY, .compile = schema_compile_subschema, .apply = schema_apply_not),
    ROW("then", APPLICATOR, .shape = SHAPE_SCHEMA, .compile = schema_compile_subschema),
    ROW("else", APPLICATOR, .shape = SHAPE_SCHEMA, .compile = schema_compile_subschema),
    ROW("if", APPLICATOR, .shape = SHAPE_SCHEMA, .on = ON_ANY, .compile = schema_compile_condition, .apply = schema_apply_condition),
    ROW("dependentSchemas", APPLICATOR, .shape = SHAPE_MEMBERS, .on = ON_OBJECT, .compile = schema_compile_members, .apply = schema_apply_dependent_schemas),
    ROW("prefixItems", APPLICATOR, .shape = SHAPE_LIST, .on = ON_ARRAY, .compile = schema_compile_list, .apply = schema_apply_prefix_items),
    ROW("items", APPLICATOR, .shape = SHAPE_SCHEMA, .on = ON_ARRAY, .compile = schema_compile_items, .apply = schema_apply_items, .false_error = TOO_MANY),
    ROW("contains", APPLICATOR, .shape = SHAPE_SCHEMA, .on = ON_ARRAY, .compile = schema_compile_contains, .apply = schema_apply_contains),
    ROW("properties", APPLICATOR, .shape = SHAPE_MEMBERS, .on = ON_OBJECT, .compile = schema_compile_members, .apply = schema_apply_properties),
    ROW("patternProperties", APPLICATOR, .shape = SHAPE_MEMBERS, .on = ON_OBJECT, .compile = schema_compile_pattern_members, .apply = schema_apply_pattern_properties),
    ROW("additionalProperties", APPLICATOR, .shape = SHAPE_SCHEMA, .on = ON_OBJECT, .compile = schema_compile_additional, .apply = schema_apply_additional_properties, .false_error = UNKNOWN),
    ROW("propertyNames", APPLICATOR, .shape = SHAPE_SCHEMA, .on = ON_OBJECT, .compile = schema_compile_subschema, .apply = schema_apply_property_names),
    ROW("unevaluatedItems", UNEVALUATED, .shape = SHAPE_SCHEMA, .on = ON_ARRAY, .compile = schema_compile_unevaluated, .apply = schema_apply_unevaluated_items, .false_error = TOO_MANY),
    ROW("unevaluatedProperties", UNEVALUATED, .shape = SHAPE_SCHEMA, .on = ON_OBJECT, .compile = schema_compile_unevaluated, .apply = schema_apply_unevaluated_properties, .false_error = UNKNOWN),
};
/* clang-format on */
const size_t schema_row_count = ARRAY_LENGTH(schema_rows);

const struct schema_row *schema_row_find(const char *name)
{
    for (size_t i = 0; i < schema_row_count; i++) {
        if (strcmp(schema_rows[i].name, name) == 0) {
            return &schema_rows[i];
        }
    }
    return NULL;
}

const struct schema_type schema_types[] = {
    {"null", "null", TYPE_BIT(JSON_NULL)},
    {"boolean", "a boolean", TYPE_BIT(JSON_TRUE) | TYPE_BIT(JSON_FALSE)},
    {"string", "a string", TYPE_BIT(JSON_STRING)},
    {"integer", "an integer", TYPE_BIT(JSON_INTEGER)},
    {"number", "a number", ON_NUMBER},
    {"array", "an array", TYPE_BIT(JSON_ARRAY)},
    {"object", "an object", TYPE_BIT(JSON_OBJECT)},
};
const size_t schema_type_count = ARRAY_LENGTH(schema_types);
