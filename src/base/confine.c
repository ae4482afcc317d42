#include "presignd/base/confine.h"

#include "presignd/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* <linux/landlock.h> of Debian 12 knows less than newer kernels can do, so the ABI is written down
 * here (Documentation/userspace-api/landlock.rst). */
enum { CREATE_VERSION = 1, RULE_PATH_BENEATH = 1 };
enum { NET_FROM = 4, SCOPED_FROM = 6 }; /* ABI versions */
#define FS_READ_FILE (UINT64_C(1) << 2)
#define FS_READ_DIR  (UINT64_C(1) << 3)
#define FS_REFER     (UINT64_C(1) << 13) /* since version 2; denied unless it is handled */
#define NET_ALL      UINT64_C(3)
#define SCOPED_ALL   UINT64_C(3)

struct ruleset_attributes {
    uint64_t handled_fs, handled_net, scoped;
};

struct path_beneath {
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));

/* All rights to files that a version of the ABI has. */
static uint64_t fs_all(int version)
{
    static const unsigned bits[] = {13, 13, 14, 15, 15, 16};
    size_t known = (size_t)version < ARRAY_LENGTH(bits) ? (size_t)version : ARRAY_LENGTH(bits) - 1;
    return (UINT64_C(1) << bits[known]) - 1;
}

/* Below 1: the kernel has none. */
static int version_of_kernel(void)
{
    return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
}

static int create(const struct ruleset_attributes *attributes)
{
    return (int)syscall(SYS_landlock_create_ruleset, attributes, sizeof *attributes, 0);
}

static bool allow_fd(int ruleset, int fd, uint64_t rights)
{
    const struct path_beneath rule = {.allowed = rights, .parent = fd};
    return syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) == 0;
}

/* Binds this thread, and closes the ruleset. */
static bool restrict_self(int ruleset)
{
    bool bound = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                 syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    int error = errno;
    close(ruleset);
    errno = error;
    return bound;
}

bool confine_to_reading(void)
{
    int version = version_of_kernel();
    if (version < 1) {
        return false;
    }
    const struct ruleset_attributes attributes = {.handled_fs = fs_all(version),
                                                  .handled_net = version >= NET_FROM ? NET_ALL : 0,
                                                  .scoped =
                                                      version >= SCOPED_FROM ? SCOPED_ALL : 0};
    int ruleset = create(&attributes);
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool ready = ruleset >= 0 && root >= 0 && allow_fd(ruleset, root, FS_READ_FILE | FS_READ_DIR);
    if (root >= 0) {
        close(root);
    }
    return ready && restrict_self(ruleset);
}

/* --- Everything but one directory --- */

/* Rights that a file cannot have are left out for it. A name that is gone meanwhile, and a link,
 * which is none of the places that it leads to, are skipped. */
static bool allow_at(int ruleset, int directory, const char *name, uint64_t rights)
{
    struct stat status;
    int fd = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT || errno == EACCES;
    }
    bool fine = fstat(fd, &status) == 0;
    if (fine && !S_ISLNK(status.st_mode)) {
        fine = allow_fd(ruleset, fd, S_ISDIR(status.st_mode) ? rights : rights & FS_READ_FILE);
    }
    close(fd);
    return fine;
}

/* Everything in the directory but `except`. What cannot be listed cannot be allowed. */
static bool allow_others(int ruleset, const char *path, const char *except, uint64_t rights)
{
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return errno == EACCES;
    }
    bool fine = true;
    for (const struct dirent *entry; fine && (entry = readdir(directory)) != NULL;) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(name, except) != 0) {
            fine = allow_at(ruleset, dirfd(directory), name, rights);
        }
    }
    closedir(directory);
    return fine;
}

/* `path` is absolute and has no links: each directory above the last name is gone through. */
static bool allow_around(int ruleset, const char *path, uint64_t rights)
{
    bool fine = true;
    for (const char *slash = path; fine && slash != NULL;) {
        const char *name = slash + 1, *next = strchr(name, '/');
        AUTO_FREE char *above =
            slash == path ? mem_strdup("/") : mem_dup(path, (size_t)(slash - path));
        AUTO_FREE char *except =
            next == NULL ? mem_strdup(name) : mem_dup(name, (size_t)(next - name));
        fine = allow_others(ruleset, above, except, rights);
        slash = next;
    }
    return fine;
}

bool confine_from_directory(const char *directory, const char *const *files, size_t count)
{
    int version = version_of_kernel();
    if (version < 1) {
        return false;
    }
    AUTO_FREE char *path = realpath(directory, NULL);
    uint64_t rights = FS_READ_FILE | (version >= 2 ? FS_REFER : 0);
    const struct ruleset_attributes attributes = {.handled_fs = rights};
    int ruleset = path == NULL ? -1 : create(&attributes);
    bool ready = ruleset >= 0 && allow_around(ruleset, path, rights);
    for (size_t i = 0; ready && i < count; i++) {
        ready = allow_at(ruleset, AT_FDCWD, files[i], FS_READ_FILE);
    }
    if (!ready && ruleset >= 0) {
        int error = errno;
        close(ruleset);
        errno = error;
        return false;
    }
    return ready && restrict_self(ruleset);
}
