/* Many threads validate with one compiled schema without a lock, as schema.h allows. */
#include "presignd/base/mem.h"
#include "presignd/schema/schema.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4, ROUNDS = 500 };

static const struct schema *schema;

/* Threads share the schema only, not the instances. */
static void *work(void *wrong)
{
    json_t *right = json_pack("{s:s, s:i}", "date", "2024-02-29", "n", 3);
    json_t *bad = json_pack("{s:s, s:i, s:n}", "date", "2023-02-29", "n", 0, "more");
    for (int i = 0; i < ROUNDS; i++) {
        struct violations found = {0};
        *(unsigned *)wrong += !schema_validate(schema, right, NULL);
        *(unsigned *)wrong += schema_validate(schema, bad, &found) || found.total != 3;
        violations_deinit(&found);
    }
    json_decref(right);
    json_decref(bad);
    return NULL;
}

int main(void)
{
    static const char uri[] = "https://test.invalid/schema";
    AUTO_FREE char *error = NULL;
    struct schema_set *set = schema_set_new(SCHEMA_ASSERT_FORMATS);
    json_t *document = json_pack("{s:{s:{s:s, s:s}, s:{s:i, s:i}}, s:b}", "properties", "date",
                                 "format", "date", "pattern", "^[0-9-]*$", "n", "minimum", 1,
                                 "multipleOf", 3, "unevaluatedProperties", 0);
    if (!schema_set_add(set, uri, document, &error) ||
        (schema = schema_compile(set, uri, &error)) == NULL) {
        fprintf(stderr, "%s\n", error);
        return EXIT_FAILURE;
    }
    json_decref(document);
    pthread_t threads[THREADS];
    unsigned wrong[THREADS] = {0};
    unsigned total = 0;
    for (size_t i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, work, &wrong[i]) != 0) {
            return EXIT_FAILURE;
        }
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        total += wrong[i];
    }
    schema_set_free(set);
    printf("%u wrong verdicts\n", total);
    return total == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
