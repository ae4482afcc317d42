#include "ctl/sandbox/sandbox.h"
#include "presignd/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 1024 * 1024 };

static void close_at(const int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

static bool write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, bytes, len);
        if (written < 0 && errno != EINTR) {
            return false;
        }
        if (written > 0) {
            bytes += written;
            len -= (size_t)written;
        }
    }
    return true;
}

/* Atomic: other programs wait for the file to appear. */
bool sandbox_file_write(const char *path, unsigned mode, const void *bytes, size_t len,
                        char **error)
{
    AUTO_FREE char *fresh = mem_printf("%s.new", path);
    (void)unlink(fresh);
    AUTO(close_at) int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
    if (fd < 0 || !write_all(fd, bytes, len) || rename(fresh, path) != 0) {
        *error = mem_printf("%s: cannot be written: %s", path, strerror(errno));
        return false;
    }
    return true;
}

char *sandbox_file_read(const char *path, char **error)
{
    AUTO(close_at) int fd = open(path, O_RDONLY | O_CLOEXEC);
    AUTO_BUF struct buf text = {0};
    ssize_t got = fd < 0 ? -1 : 1;
    while (got > 0 && text.len <= FILE_MAX) {
        buf_reserve(&text, 4096);
        got = read(fd, text.data + text.len, 4096);
        text.len += got > 0 ? (size_t)got : 0;
    }
    if (got != 0) {
        *error = mem_printf("%s: cannot be read: %s", path, strerror(got > 0 ? EFBIG : errno));
        return NULL;
    }
    text.data[text.len] = '\0';
    return buf_take(&text);
}
