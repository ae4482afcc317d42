/* Processor time of checking one request against its schema: bench-schema [SECONDS] */
#include "presignd/schema/schema.h"
#include "bench.h"
#include "presignd/base/mem.h"

#include <string.h>

struct work {
    const struct schema *schema;
    const json_t *instance;
    bool valid; /* the verdict that is right */
};

static bool check(const void *context)
{
    const struct work *work = context;
    struct violations found = {0};
    bool valid = schema_validate(work->schema, work->instance, &found);
    violations_deinit(&found);
    return valid == work->valid;
}

/* The example of the endpoint's own schema, and the same without a member that it needs. */
static bool bench_endpoint(struct schema_set *set, const char *name, double seconds, char **error)
{
    AUTO_FREE char *uri = mem_printf("%s%s.request.json", SCHEMA_BASE, name);
    AUTO_FREE char *path = mem_printf("%s/schemas/%s.request.json", PRESIGND_SOURCE_DIR, name);
    AUTO_FREE char *wrong = mem_printf("%s, a member missing", name);
    const struct schema *schema = schema_compile(set, uri, error);
    json_t *document = json_load_file(path, 0, NULL);
    json_t *instance = json_array_get(json_object_get(document, "examples"), 0);
    AUTO_FREE char *text = json_dumps(instance, JSON_COMPACT);
    if (schema != NULL && text != NULL) {
        printf("%s: %zu bytes\n", name, strlen(text));
        bench(name, check, &(struct work){schema, instance, true}, seconds);
        json_object_del(instance, "plan_id");
        bench(wrong, check, &(struct work){schema, instance, false}, seconds);
    }
    json_decref(document);
    return schema != NULL && text != NULL;
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 1;
    AUTO_FREE char *error = NULL;
    struct schema_set *set = schema_set_new(SCHEMA_ASSERT_FORMATS | SCHEMA_INTEGERS_AS_WRITTEN);
    bool fine = schema_set_add_dir(set, PRESIGND_SOURCE_DIR "/schemas", &error) &&
                bench_endpoint(set, "app", seconds, &error) &&
                bench_endpoint(set, "partner-mini-program", seconds, &error);
    if (!fine) {
        fprintf(stderr, "bench-schema: %s\n", error == NULL ? "a schema has no example" : error);
    }
    schema_set_free(set);
    return fine ? EX_OK : EX_NOINPUT;
}
