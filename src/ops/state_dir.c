#include "presignd/ops/state_dir.h"

#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/ops/messages.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct state_dir {
    char *path;  /* "": none */
    int fd;      /* of the directory; below 0: not open */
    bool failed; /* the last write */
    bool warned;
};

static void warn(struct state_dir *dir, const char *what, int failure)
{
    if (!dir->warned) {
        log_fields(LOG_WARNING, MESSAGE_STATE_DIR, NULL,
                   "daemon.state_dir: %s/%s: %s: nothing is kept over a restart", dir->path, what,
                   failure == EWOULDBLOCK ? "another process uses it" : strerror(failure));
    }
    dir->warned = true;
}

/* False with errno set. EWOULDBLOCK: another process holds it. */
static bool open_directory(struct state_dir *dir)
{
    int fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int failure = errno;
        close(fd);
        errno = failure;
        return false;
    }
    dir->fd = fd;
    return fd >= 0;
}

struct state_dir *state_dir_open(const char *path)
{
    struct state_dir *dir = mem_zalloc(1, sizeof *dir);
    *dir = (struct state_dir){.path = mem_strdup(path), .fd = -1};
    if (state_dir_given(dir) && !open_directory(dir)) {
        warn(dir, "", errno);
    }
    return dir;
}

struct state_dir *state_dir_free(struct state_dir *dir)
{
    if (dir != NULL) {
        if (dir->fd >= 0) {
            close(dir->fd);
        }
        free(dir->path);
        free(dir);
    }
    return NULL;
}

bool state_dir_given(const struct state_dir *dir)
{
    return dir->path[0] != '\0';
}

bool state_dir_works(const struct state_dir *dir)
{
    return dir->fd >= 0 && !dir->failed;
}

/* Only regular files: a FIFO blocks, and a link leads elsewhere. */
static int open_file(const struct state_dir *dir, const char *name)
{
    struct stat file;
    int fd = dir->fd < 0
                 ? -1
                 : openat(dir->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0 && (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode))) {
        close(fd);
        return -1;
    }
    return fd;
}

bool state_dir_read(const struct state_dir *dir, const char *name, struct buf *out)
{
    char bytes[4096];
    size_t before = out->len;
    ssize_t got = 1;
    int fd = open_file(dir, name);
    if (fd < 0) {
        return false;
    }
    while (got > 0 && out->len - before <= STATE_DIR_FILE_MAX) {
        got = TEMP_FAILURE_RETRY(read(fd, bytes, sizeof bytes));
        buf_append(out, bytes, got > 0 ? (size_t)got : 0);
    }
    close(fd);
    if (got != 0) { /* an error, or too long */
        out->len = before;
        return false;
    }
    return true;
}

static bool write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t done = TEMP_FAILURE_RETRY(write(fd, bytes, len));
        if (done <= 0) {
            return false;
        }
        bytes += done;
        len -= (size_t)done;
    }
    return true;
}

/* False with errno set. Without fsync(2), a crash of the system may leave an empty file. */
static bool write_new(int directory, const char *name, const void *bytes, size_t len)
{
    int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return false;
    }
    bool written = fchmod(fd, 0600) == 0 && write_all(fd, bytes, len) && fsync(fd) == 0;
    int failure = errno;
    bool closed = close(fd) == 0;
    errno = written ? errno : failure;
    return written && closed;
}

/* Or a power failure could bring the old file back, or a removed one. EINVAL: this file system has
 * no such thing. */
static bool sync_directory(int directory)
{
    return fsync(directory) == 0 || errno == EINVAL;
}

static bool replace(int directory, const char *name, const void *bytes, size_t len)
{
    AUTO_FREE char *fresh = mem_printf("%s.new", name);
    (void)unlinkat(directory, fresh, 0); /* of a process that was killed */
    if (write_new(directory, fresh, bytes, len) &&
        renameat(directory, fresh, directory, name) == 0 && sync_directory(directory)) {
        return true;
    }
    int failure = errno;
    (void)unlinkat(directory, fresh, 0);
    errno = failure;
    return false;
}

bool state_dir_write(struct state_dir *dir, const char *name, const void *bytes, size_t len)
{
    if (!state_dir_given(dir)) {
        return false;
    }
    bool open = dir->fd >= 0 || open_directory(dir);
    dir->failed = !open || !replace(dir->fd, name, bytes, len);
    if (dir->failed) {
        warn(dir, open ? name : "", errno);
    } else {
        dir->warned = false;
    }
    return !dir->failed;
}

bool state_dir_remove(struct state_dir *dir, const char *name)
{
    if (dir->fd < 0 || (unlinkat(dir->fd, name, 0) == 0 && sync_directory(dir->fd)) ||
        errno == ENOENT) {
        return true;
    }
    warn(dir, name, errno);
    return false;
}

void state_dir_sweep(struct state_dir *dir, bool (*stale)(const void *context, const char *name),
                     const void *context)
{
    int fd = dir->fd < 0 ? -1 : openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listed = fd < 0 ? NULL : fdopendir(fd);
    if (listed == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return;
    }
    struct dirent *file;
    for (int n = 0; n < STATE_DIR_FILES_MAX && (file = readdir(listed)) != NULL; n++) {
        bool is_file = file->d_type == DT_REG || file->d_type == DT_UNKNOWN;
        if (is_file && stale(context, file->d_name)) {
            (void)state_dir_remove(dir, file->d_name);
        }
    }
    (void)closedir(listed);
}
