/* The state directory: files that survive a restart and are not in Kafka. All of them may be
 * deleted: a reader takes a missing, damaged or too large file as absent. Without the directory, or
 * when it cannot be written, everything works but is not kept; that is logged once.
 *
 * One process holds a directory, by flock(2). Files have mode 0600 and are replaced by rename(2):
 * after a crash or a power failure a file is the old one or the new one. When state_dir_write() has
 * returned true, it is the new one. The functions block for the disk; call them for what changes
 * seldom. One thread. */
#ifndef PRESIGND_OPS_STATE_DIR_H
#define PRESIGND_OPS_STATE_DIR_H

#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stddef.h>

/* A longer file is not read. */
#define STATE_DIR_FILE_MAX ((size_t)1024 * 1024)

struct state_dir;

/* `path`: an absolute path; "": no directory. Never NULL. */
struct state_dir *state_dir_open(const char *path)
    __attribute__((warn_unused_result, returns_nonnull));
/* Accepts NULL, returns NULL. */
struct state_dir *state_dir_free(struct state_dir *dir);
/* Whether a directory is configured. */
bool state_dir_given(const struct state_dir *dir);
/* Whether the directory is open and the last write succeeded. */
bool state_dir_works(const struct state_dir *dir);

/* `name`: a file's name without a slash, a constant of the program. */

/* Appends the content to `out`. False when there is no such file, or it cannot be read. */
bool state_dir_read(const struct state_dir *dir, const char *name, struct buf *out)
    __attribute__((warn_unused_result));
/* Replaces the file. False when it was not kept; the warning has been logged. */
bool state_dir_write(struct state_dir *dir, const char *name, const void *bytes, size_t len);
/* False when the file is still there, or could come back after a power failure. */
bool state_dir_remove(struct state_dir *dir, const char *name);

/* Removes the files for whose name stale() returns true. Looks at STATE_DIR_FILES_MAX entries of
 * the directory at most, in no order; the next call may find what this one leaves. */
#define STATE_DIR_FILES_MAX 4096
void state_dir_sweep(struct state_dir *dir, bool (*stale)(const void *context, const char *name),
                     const void *context);

#endif
