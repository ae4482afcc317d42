/* Every keyword of draft 2020-12 that takes part in validation, in one table. Annotations that
 * assert nothing (title, default, contentMediaType and the like) need no row. */
#include "presignd/base/mem.h"
#include "schema/node.h"

#include <string.h>

#define CORE        VOCABULARY_CORE
#define APPLICATOR  VOCABULARY_APPLICATOR
#define UNEVALUATED VOCABULARY_UNEVALUATED
#define VALIDATION  VOCABULARY_VALIDATION
#define FORMAT      (VOCABULARY_FORMAT_ANNOTATION | VOCABULARY_FORMAT_ASSERTION)
#define UNKNOWN     "is not a known member"
#define TOO_MANY    "is one item too many"

/* clang-format off */
const struct schema_row schema_rows[] = {
    {"$id", CORE, SHAPE_VALUE, 0, compile_text, NULL, NULL},
    {"$schema", CORE, SHAPE_VALUE, 0, compile_text, NULL, NULL},
    {"$anchor", CORE, SHAPE_VALUE, 0, compile_text, NULL, NULL},
    {"$dynamicAnchor", CORE, SHAPE_VALUE, 0, compile_text, NULL, NULL},
    {"$vocabulary", CORE, SHAPE_VALUE, 0, compile_object, NULL, NULL},
    {"$comment", CORE, SHAPE_VALUE, 0, compile_text, NULL, NULL},
    {"$defs", CORE, SHAPE_MEMBERS, 0, compile_object, NULL, NULL},
    {"contentSchema", VOCABULARY_CONTENT, SHAPE_SCHEMA, 0, NULL, NULL, NULL},

    {"type", VALIDATION, SHAPE_VALUE, ON_ANY, compile_type, apply_type, NULL},
    {"const", VALIDATION, SHAPE_VALUE, ON_ANY, NULL, apply_const, NULL},
    {"enum", VALIDATION, SHAPE_VALUE, ON_ANY, compile_enum, apply_enum, NULL},
    {"multipleOf", VALIDATION, SHAPE_VALUE, ON_NUMBER, compile_divisor, apply_multiple_of, NULL},
    {"maximum", VALIDATION, SHAPE_VALUE, ON_NUMBER, compile_number, apply_maximum, NULL},
    {"exclusiveMaximum", VALIDATION, SHAPE_VALUE, ON_NUMBER, compile_number, apply_exclusive_maximum, NULL},
    {"minimum", VALIDATION, SHAPE_VALUE, ON_NUMBER, compile_number, apply_minimum, NULL},
    {"exclusiveMinimum", VALIDATION, SHAPE_VALUE, ON_NUMBER, compile_number, apply_exclusive_minimum, NULL},
    {"maxLength", VALIDATION, SHAPE_VALUE, ON_STRING, compile_count, apply_max_length, NULL},
    {"minLength", VALIDATION, SHAPE_VALUE, ON_STRING, compile_count, apply_min_length, NULL},
    {"pattern", VALIDATION, SHAPE_VALUE, ON_STRING, compile_pattern, apply_pattern, NULL},
    {"format", FORMAT, SHAPE_VALUE, ON_STRING, compile_format, apply_format, NULL},
    {"maxItems", VALIDATION, SHAPE_VALUE, ON_ARRAY, compile_count, apply_max_items, NULL},
    {"minItems", VALIDATION, SHAPE_VALUE, ON_ARRAY, compile_count, apply_min_items, NULL},
    {"uniqueItems", VALIDATION, SHAPE_VALUE, ON_ARRAY, compile_flag, apply_unique_items, NULL},
    {"maxContains", VALIDATION, SHAPE_VALUE, 0, compile_count, NULL, NULL},
    {"minContains", VALIDATION, SHAPE_VALUE, 0, compile_count, NULL, NULL},
    {"maxProperties", VALIDATION, SHAPE_VALUE, ON_OBJECT, compile_count, apply_max_properties, NULL},
    {"minProperties", VALIDATION, SHAPE_VALUE, ON_OBJECT, compile_count, apply_min_properties, NULL},
    {"required", VALIDATION, SHAPE_VALUE, ON_OBJECT, compile_names, apply_required, NULL},
    {"dependentRequired", VALIDATION, SHAPE_VALUE, ON_OBJECT, compile_dependent_names, apply_dependent_required, NULL},

    {"$ref", CORE, SHAPE_VALUE, ON_ANY, compile_reference, apply_reference, NULL},
    {"$dynamicRef", CORE, SHAPE_VALUE, ON_ANY, compile_dynamic_reference, apply_dynamic_reference, NULL},
    {"allOf", APPLICATOR, SHAPE_LIST, ON_ANY, compile_list, apply_all_of, NULL},
    {"anyOf", APPLICATOR, SHAPE_LIST, ON_ANY, compile_list, apply_any_of, NULL},
    {"oneOf", APPLICATOR, SHAPE_LIST, ON_ANY, compile_list, apply_one_of, NULL},
    {"not", APPLICATOR, SHAPE_SCHEMA, ON_ANY, compile_subschema, apply_not, NULL},
    {"then", APPLICATOR, SHAPE_SCHEMA, 0, compile_subschema, NULL, NULL},
    {"else", APPLICATOR, SHAPE_SCHEMA, 0, compile_subschema, NULL, NULL},
    {"if", APPLICATOR, SHAPE_SCHEMA, ON_ANY, compile_condition, apply_condition, NULL},
    {"dependentSchemas", APPLICATOR, SHAPE_MEMBERS, ON_OBJECT, compile_members, apply_dependent_schemas, NULL},
    {"prefixItems", APPLICATOR, SHAPE_LIST, ON_ARRAY, compile_list, apply_prefix_items, NULL},
    {"items", APPLICATOR, SHAPE_SCHEMA, ON_ARRAY, compile_items, apply_items, TOO_MANY},
    {"contains", APPLICATOR, SHAPE_SCHEMA, ON_ARRAY, compile_contains, apply_contains, NULL},
    {"properties", APPLICATOR, SHAPE_MEMBERS, ON_OBJECT, compile_members, apply_properties, NULL},
    {"patternProperties", APPLICATOR, SHAPE_MEMBERS, ON_OBJECT, compile_pattern_members, apply_pattern_properties, NULL},
    {"additionalProperties", APPLICATOR, SHAPE_SCHEMA, ON_OBJECT, compile_additional, apply_additional_properties, UNKNOWN},
    {"propertyNames", APPLICATOR, SHAPE_SCHEMA, ON_OBJECT, compile_subschema, apply_property_names, NULL},
    {"unevaluatedItems", UNEVALUATED, SHAPE_SCHEMA, ON_ARRAY, compile_unevaluated, apply_unevaluated_items, TOO_MANY},
    {"unevaluatedProperties", UNEVALUATED, SHAPE_SCHEMA, ON_OBJECT, compile_unevaluated, apply_unevaluated_properties, UNKNOWN},
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
