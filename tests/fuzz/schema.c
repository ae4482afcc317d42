/* Compiles a schema, as from an operator's schema_dir, and applies it to an instance. The input is
 * {"schema": …, "instance": …}, or a schema that is its own instance. */
#include "fuzz.h"

#include "presignd/base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *reason;
    AUTO_JSON json_t *whole = json_read((const char *)data, size, 64, 0, &reason);
    json_t *part = json_object_get(whole, "schema");
    json_t *schema = part != NULL ? part : whole;
    json_t *instance = part != NULL ? json_object_get(whole, "instance") : whole;
    char *error = NULL;
    struct schema_set *set = schema_set_new(SCHEMA_ASSERT_FORMATS);
    if (schema != NULL && schema_set_add(set, SCHEMA_BASE "x.json", schema, &error)) {
        const struct schema *compiled = schema_compile(set, SCHEMA_BASE "x.json", &error);
        PROMISE((compiled == NULL) == (error != NULL));
        struct violations violations = {0};
        if (compiled != NULL && instance != NULL) {
            bool valid = schema_validate(compiled, instance, &violations);
            PROMISE(valid == (violations.total == 0));
            PROMISE(valid == schema_validate(compiled, instance, NULL));
        }
        violations_deinit(&violations);
    }
    free(error);
    schema_set_free(set);
    return 0;
}
