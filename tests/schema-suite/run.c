/* Runs the official JSON Schema test suite.
 *
 *     run SUITE-DIRECTORY
 *
 * SUITE-DIRECTORY holds `tests` and `remotes`. Every test of tests/draft2020-12 must pass,
 * also the optional ones, except for the files in `skipped`, which it prints. A group whose schema
 * does not compile fails all of its tests. */
#include "presignd/base/mem.h"
#include "presignd/schema/schema.h"
#include "schema/format.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct tally {
    unsigned passed, failed, skipped;
};

/* Optional files whose features are not supported. Formats that are not in the table
 * (schema/format.h) are skipped, too. */
static const struct {
    const char *path;
    const char *why;
} skipped[] = {
    {"optional/cross-draft.json", "schemas of other drafts are refused"},
    {"optional/dependencies-compatibility.json", "`dependencies` is no keyword of this draft"},
};

/* The daemon rejects integers beyond 64 bits. A file of tests with such integers is read with all
 * integers as reals, which are equal in JSON Schema. */
static json_t *load(const char *path)
{
    size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL;
    json_error_t error;
    json_t *document = json_load_file(path, flags, &error);
    if (document == NULL) {
        printf("%s: read with integers as reals: %s\n", path, error.text);
        document = json_load_file(path, flags | JSON_DECODE_INT_AS_REAL, &error);
    }
    if (document == NULL) {
        printf("%s: %s\n", path, error.text);
    }
    return document;
}

static void add_remotes(struct schema_set *set, const char *dir, const char *uri)
{
    struct dirent **names;
    int count = scandir(dir, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = names[i]->d_name;
        AUTO_FREE char *path = mem_printf("%s/%s", dir, name);
        AUTO_FREE char *name_uri = mem_printf("%s%s", uri, name);
        AUTO_FREE char *error = NULL;
        bool other_version = strncmp(name, "draft", 5) == 0 && strcmp(name, "draft2020-12") != 0;
        struct stat status;
        if (name[0] == '.' || other_version || stat(path, &status) != 0) {
            free(names[i]);
            continue;
        }
        if (S_ISDIR(status.st_mode)) {
            AUTO_FREE char *below = mem_printf("%s/", name_uri);
            add_remotes(set, path, below);
        } else if (!schema_set_add_file(set, path, name_uri, &error)) {
            printf("%s: %s\n", path, error);
        }
        free(names[i]);
    }
    if (count >= 0) {
        free((void *)names);
    }
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? "?" : text;
}

/* Collecting violations does not change the result, and only invalid instances have violations. */
static bool verdict_is(const struct schema *schema, const json_t *data, bool expected)
{
    struct violations found = {0};
    bool collecting = schema_validate(schema, data, &found);
    bool plain = schema_validate(schema, data, NULL);
    bool consistent = collecting == plain && (found.total == 0) == collecting;
    if (!consistent) {
        printf("  the walks disagree: %d, %d, %zu violations\n", collecting, plain, found.total);
    }
    violations_deinit(&found);
    return consistent && plain == expected;
}

static void run_group(const char *path, unsigned options, const char *remotes, const json_t *group,
                      struct tally *tally)
{
    static const char uri[] = "https://suite.invalid/schema";
    struct schema_set *set = schema_set_new(options);
    add_remotes(set, remotes, "http://localhost:1234/");
    AUTO_FREE char *error = NULL;
    const struct schema *schema = NULL;
    if (schema_set_add(set, uri, json_object_get(group, "schema"), &error)) {
        schema = schema_compile(set, uri, &error);
    }
    if (schema == NULL) {
        printf("  %s: %s: %s\n", path, text_of(group, "description"), error);
    }
    size_t i;
    json_t *test;
    json_array_foreach (json_object_get(group, "tests"), i, test) {
        bool expected = json_is_true(json_object_get(test, "valid"));
        if (schema != NULL && verdict_is(schema, json_object_get(test, "data"), expected)) {
            tally->passed++;
            continue;
        }
        tally->failed++;
        printf("  %s: %s: %s: should be %s\n", path, text_of(group, "description"),
               text_of(test, "description"), expected ? "valid" : "invalid");
    }
    schema_set_free(set);
}

static void run_file(const char *suite, const char *path, unsigned options, struct tally *total)
{
    AUTO_FREE char *full_path = mem_printf("%s/tests/draft2020-12/%s", suite, path);
    AUTO_FREE char *remotes = mem_printf("%s/remotes", suite);
    struct tally tally = {0};
    json_t *groups = load(full_path);
    size_t i;
    json_t *group;
    json_array_foreach (groups, i, group) {
        run_group(path, options, remotes, group, &tally);
    }
    tally.failed += json_array_size(groups) == 0; /* an empty file tests nothing */
    json_decref(groups);
    printf("%-40s %4u passed %4u failed\n", path, tally.passed, tally.failed);
    total->passed += tally.passed;
    total->failed += tally.failed;
}

/* Why a file is skipped, or NULL. */
static const char *reason_to_leave_out(const char *path, const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(skipped); i++) {
        if (strcmp(skipped[i].path, path) == 0) {
            return skipped[i].why;
        }
    }
    AUTO_FREE char *format = mem_dup(name, strcspn(name, "."));
    bool unasserted = strncmp(path, "optional/format/", 16) == 0 && format_find(format) == NULL &&
                      strcmp(format, "unknown") != 0;
    return unasserted ? "the format is not asserted" : NULL;
}

/* Runs every *.json file of a directory of tests/draft2020-12. */
static void run_dir(const char *suite, const char *dir, unsigned options, struct tally *total)
{
    AUTO_FREE char *path = mem_printf("%s/tests/draft2020-12/%s", suite, dir);
    struct dirent **names;
    int count = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = names[i]->d_name;
        AUTO_FREE char *below = mem_printf("%s%s", dir, name);
        const char *why = reason_to_leave_out(below, name);
        if (strstr(name, ".json") != NULL && why != NULL) {
            printf("%-40s skipped: %s\n", below, why);
            total->skipped++;
        } else if (strstr(name, ".json") != NULL) {
            run_file(suite, below, options, total);
        }
        free(names[i]);
    }
    if (count >= 0) {
        free((void *)names);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: run SUITE-DIRECTORY\n");
        return EXIT_FAILURE;
    }
    struct tally required = {0}, optional = {0};
    run_dir(argv[1], "", 0, &required);
    run_dir(argv[1], "optional/", 0, &optional);
    run_dir(argv[1], "optional/format/", SCHEMA_ASSERT_FORMATS, &optional);
    printf("required: %u passed, %u failed, 0 skipped\n"
           "optional: %u passed, %u failed, %u files skipped (named above)\n",
           required.passed, required.failed, optional.passed, optional.failed, optional.skipped);
    bool fine = required.failed == 0 && optional.failed == 0 && required.passed > 0;
    return fine ? EXIT_SUCCESS : EXIT_FAILURE;
}
