#include "daemon/confinement.h"

#include "presignd/base/confine.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* systemd's and others' directories of credentials. Files are not replaced there while the service
 * runs; elsewhere they are, and a replaced one could not be read: see confine_from_directory(). */
static const char RUN[] = "/run/";

static bool is_private(const struct config *config, const char *path)
{
    for (size_t i = 0; i < config->merchant_count; i++) {
        const char *key = config->merchants[i].private_key;
        if (key != NULL && strcmp(key, path) == 0) {
            return true;
        }
    }
    return false;
}

/* Private keys that no confinement hides. */
static size_t by_path(const struct config *config, const char *hidden)
{
    size_t count = 0;
    for (size_t i = 0; i < config->merchant_count; i++) {
        count += !text_lies_in(config->merchants[i].private_key, hidden);
    }
    return count;
}

static bool hide(const struct config *config, const char *directory, const struct buf *named)
{
    AUTO_FREE char *copy = mem_dup(named->len == 0 ? "" : named->data, named->len);
    AUTO_FREE const char **files = mem_zalloc(named->len + 1, sizeof *files);
    size_t count = 0;
    char *rest = copy;
    for (char *path; (path = strsep(&rest, "\n")) != NULL;) {
        if (*path != '\0' && !is_private(config, path)) {
            files[count++] = path;
        }
    }
    return confine_from_directory(directory, files, count);
}

bool confinement_begin(const struct config *config, const char *credentials_dir,
                       const struct buf *named)
{
    bool in_run = credentials_dir != NULL && strncmp(credentials_dir, RUN, strlen(RUN)) == 0;
    bool hidden = !in_run || hide(config, credentials_dir, named);
    if (!hidden) {
        log_warning("this process can still read the credentials, private keys included, for the "
                    "system cannot hide them (Landlock: %s); only their bytes in memory are in "
                    "the signing process alone",
                    strerror(errno));
    }
    size_t left = hidden ? by_path(config, in_run ? credentials_dir : NULL) : 0;
    if (left > 0) {
        log_notice("%zu private keys are given by path: this process does not read them, but "
                   "could; give them as credentials to hide them",
                   left);
    }
    return hidden;
}
