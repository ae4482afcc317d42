/* Reads schemas from files. A file's name gives its URI. */
#include "presignd/base/json.h"
#include "presignd/base/map.h"
#include "presignd/base/mem.h"
#include "presignd/schema/schema.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Keep a wrong directory from filling the memory. */
enum { SCHEMA_FILE_BYTES_MAX = 1024 * 1024, SCHEMA_FILES_MAX = 1024 };

/* NULL and a reason, which may quote the operator's file. */
static json_t *load(const char *path, char **error)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        *error = mem_printf("%s: cannot be read: %s", path, strerror(errno));
        return NULL;
    }
    if (!S_ISREG(status.st_mode) || status.st_size > SCHEMA_FILE_BYTES_MAX) {
        *error = mem_printf("%s: is not a regular file of at most %d bytes", path,
                            SCHEMA_FILE_BYTES_MAX);
        return NULL;
    }
    json_error_t where;
    json_t *document = json_load_file(path, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
    if (document == NULL) {
        bool marked = strstr(where.text, "\xEF\xBB\xBF") != NULL && where.line <= 1;
        *error =
            marked ? mem_printf("%s: begins with a byte order mark: save it as UTF-8 without one",
                                path)
            : where.line < 0
                ? mem_strdup(where.text)
                : mem_printf("%s:%d:%d: not JSON: %s", path, where.line, where.column, where.text);
    }
    return document;
}

bool schema_set_add_file(struct schema_set *set, const char *path, const char *uri, char **error)
{
    AUTO_JSON json_t *document = load(path, error);
    AUTO_FREE char *why = NULL;
    if (document == NULL) {
        return false;
    }
    *error = NULL;
    if (!schema_set_add(set, uri, document, &why)) {
        *error = mem_printf("%s: %s", path, why);
        return false;
    }
    return true;
}

/* Skips hidden files, which editors create. */
static int is_schema(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return entry->d_name[0] != '.' && len > 5 && strcmp(entry->d_name + len - 5, ".json") == 0;
}

struct names {
    struct dirent **items;
    int count;
};

static void free_names_at(struct names *names)
{
    for (int i = 0; i < names->count; i++) {
        free(names->items[i]);
    }
    free((void *)names->items);
}

/* Skips a name that an earlier directory had. */
static bool add_named(struct schema_set *set, const char *dir, const char *name, struct map *seen,
                      char **error)
{
    AUTO_FREE char *path = mem_printf("%s/%s", dir, name);
    AUTO_FREE char *uri = mem_printf("%s%s", SCHEMA_BASE, name);
    if (map_set(seen, name, strlen(name), set) != NULL) {
        return true;
    }
    if (map_count(seen) > SCHEMA_FILES_MAX) {
        *error = mem_printf("%s: more than %d schemas", dir, SCHEMA_FILES_MAX);
        return false;
    }
    return schema_set_add_file(set, path, uri, error);
}

static bool add_dir(struct schema_set *set, const char *dir, struct map *seen, char **error)
{
    AUTO(free_names_at) struct names names = {0};
    names.count = scandir(dir, &names.items, is_schema, alphasort);
    if (names.count < 0) {
        bool absent = errno == ENOENT;
        names.count = 0;
        *error = absent ? NULL : mem_printf("%s: cannot be read: %s", dir, strerror(errno));
        return absent;
    }
    bool fine = true;
    for (int i = 0; fine && i < names.count; i++) {
        fine = add_named(set, dir, names.items[i]->d_name, seen, error);
    }
    return fine;
}

bool schema_set_add_dir(struct schema_set *set, const char *colon_separated_dirs, char **error)
{
    *error = NULL;
    struct map *seen = map_new();
    AUTO_FREE char *copy = mem_strdup(colon_separated_dirs);
    bool fine = true;
    char *rest = copy;
    for (char *dir = strsep(&rest, ":"); fine && dir != NULL; dir = strsep(&rest, ":")) {
        fine = *dir == '\0' || add_dir(set, dir, seen, error);
    }
    if (fine && map_count(seen) == 0) {
        *error = mem_printf("no schema (*.json) is in %s", colon_separated_dirs);
        fine = false;
    }
    map_free(seen);
    return fine;
}
