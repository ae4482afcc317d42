/* What a process gives up for good, for itself and for what it starts: rights to files and the
 * like, by Landlock (landlock(7)). The calling thread and those that it makes later are bound, so
 * call it before any thread is made. */
#ifndef PRESIGND_BASE_CONFINE_H
#define PRESIGND_BASE_CONFINE_H

#include <stdbool.h>
#include <stddef.h>

/* From then on files are only read: nothing is written, made, removed or run; descriptors that are
 * open stay as they are. Where the kernel can: no TCP connection, no signal to other processes, no
 * abstract Unix socket. False with errno set: EOPNOTSUPP or ENOSYS where the kernel has no
 * Landlock. */
bool confine_to_reading(void) __attribute__((warn_unused_result));

/* From then on no file below `directory` can be opened for reading but those of `files`. It also
 * binds what does not exist yet in each directory above: that cannot be read either. False with
 * errno set, as above. */
bool confine_from_directory(const char *directory, const char *const *files, size_t count)
    __attribute__((warn_unused_result));

#endif
