/* A pattern (the first line) and a text (the rest). A pattern that compiles ends within its steps
 * with the same result each time; one that does not compile has an error. */
#include "fuzz.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "schema/node.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *line_end = memchr(data, '\n', size);
    size_t len = line_end == NULL ? size : (size_t)(line_end - data);
    /* Strings from JSON are UTF-8 without U+0000. */
    if (!text_utf8_valid((const char *)data, size) || memchr(data, '\0', size) != NULL) {
        return 0;
    }
    AUTO_FREE char *source = mem_dup(data, len);
    AUTO_FREE char *text =
        line_end == NULL ? mem_strdup("") : mem_dup(line_end + 1, size - len - 1);
    AUTO_FREE char *error = NULL;
    struct schema_pattern *pattern = schema_pattern_new(source, len, &error);
    PROMISE((pattern == NULL) == (error != NULL));
    if (pattern != NULL) {
        struct schema_steps steps[2] = {{.max = SCHEMA_STEPS_BASE}, {.max = SCHEMA_STEPS_BASE}};
        enum schema_match first = schema_pattern_match(pattern, text, strlen(text), &steps[0]);
        PROMISE(first == MATCH_LIMIT || steps[0].used <= steps[0].max);
        PROMISE(first == schema_pattern_match(pattern, text, strlen(text), &steps[1]));
        PROMISE(steps[0].used == steps[1].used);
    }
    schema_pattern_free(pattern);
    return 0;
}
