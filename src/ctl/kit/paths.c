#include "ctl/kit/paths.h"

#include "presignd/base/mem.h"
#include "presignd/version.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *paths_program_dir(void)
{
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
    path[len < 0 ? 0 : len] = '\0';
    const char *slash = strrchr(path, '/');
    return slash == NULL ? NULL : mem_dup(path, (size_t)(slash - path));
}

/* In a build tree, the program's directory has CMake's cache: build/PRESET/presignctl. */
static char *tree_schemas(void)
{
    AUTO_FREE char *dir = paths_program_dir();
    AUTO_FREE char *cache = mem_printf("%s/CMakeCache.txt", dir == NULL ? "" : dir);
    return access(cache, R_OK) == 0 ? mem_printf("%s/../../schemas", dir) : NULL;
}

char *paths_schemas(const char *option)
{
    const char *given = option != NULL ? option : getenv("PRESIGND_SCHEMA_DIR");
    if (given != NULL && *given != '\0') {
        return mem_strdup(given);
    }
    char *tree = tree_schemas();
    return tree != NULL ? tree : mem_strdup("/etc/presignd/schemas:" PRESIGND_SCHEMADIR);
}
