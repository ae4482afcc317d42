#include "ctl/kit/schemas.h"

#include "presignd/base/mem.h"
#include "presignd/version.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* In a build tree, the program's directory has CMake's cache: build/PRESET/presignctl. */
static char *tree_dir(void)
{
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
    if (len <= 0) {
        return NULL;
    }
    path[len] = '\0';
    char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return NULL;
    }
    *slash = '\0';
    AUTO_FREE char *cache = mem_printf("%s/CMakeCache.txt", path);
    if (access(cache, R_OK) != 0) {
        return NULL;
    }
    return mem_printf("%s/../../schemas", path);
}

char *schemas_dirs(const char *option)
{
    const char *given = option != NULL ? option : getenv("PRESIGND_SCHEMA_DIR");
    if (given != NULL && *given != '\0') {
        return mem_strdup(given);
    }
    char *tree = tree_dir();
    return tree != NULL ? tree : mem_strdup("/etc/presignd/schemas:" PRESIGND_SCHEMADIR);
}
