/* Reads a configuration file, but not the files that it names (without_keys). */
#include "fuzz.h"

#include "presignd/base/mem.h"
#include "presignd/config/read.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char *check_property(int client, const char *name, const char *value)
{
    return client < 0 || strlen(name) + strlen(value) == 1 ? mem_strdup("short") : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("presignd.conf", 0);
    }
    PROMISE(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    AUTO_FREE char *path = mem_printf("/proc/self/fd/%d", fd);
    AUTO_BUF struct buf errors = {0}, sample = {0};
    struct config_sources sources = {.path = path, .without_keys = true};
    struct config *config = config_gather(&sources, check_property, &errors);
    if (errors.len == 0) {
        PROMISE(config->merchant_count <= CONFIG_MERCHANTS_MAX);
        PROMISE(!config_needs_restart(config, config, &sample));
    }
    config_free(config);
    return 0;
}
