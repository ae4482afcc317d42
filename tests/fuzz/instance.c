/* Validates an instance against each shipped schema. */
#include "fuzz.h"

#include "presignd/base/json.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct schema *records[3];
    if (records[0] == NULL) {
        records[0] = fuzz_schema("event.json");
        records[1] = fuzz_schema("result.json");
        records[2] = fuzz_schema("failure.json");
    }
    const char *reason;
    AUTO_JSON json_t *instance = json_read((const char *)data, size, EVENT_NESTING_MAX, 0, &reason);
    for (size_t i = 0; instance != NULL && i < ENDPOINT_COUNT + 3; i++) {
        const struct schema *schema =
            i < ENDPOINT_COUNT ? fuzz_rules()->requests[i] : records[i - ENDPOINT_COUNT];
        struct violations violations = {0};
        bool valid = schema_validate(schema, instance, &violations);
        PROMISE(valid == (violations.total == 0));
        PROMISE(valid == schema_validate(schema, instance, NULL));
        violations_deinit(&violations);
    }
    return 0;
}
