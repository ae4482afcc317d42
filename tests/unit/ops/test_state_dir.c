#include "presignd/ops/state_dir.h"

#include "unit/directory.h"

#include <sys/syscall.h>

/* In the place of libc's: the file's inode number, in the order of the calls. */
static ino_t synced[8];
static size_t synced_count;

int fsync(int fd)
{
    struct stat file;
    cr_assert_eq(fstat(fd, &file), 0);
    cr_assert_lt(synced_count, ARRAY_LENGTH(synced));
    synced[synced_count++] = file.st_ino;
    return (int)syscall(SYS_fsync, fd);
}

static ino_t inode_of(const char *path)
{
    struct stat file;
    cr_assert_eq(lstat(path, &file), 0);
    return file.st_ino;
}

static struct state_dir *open_at(const struct directory *directory)
{
    return state_dir_open(directory->path);
}

static bool holds(const struct state_dir *dir, const char *name, const char *text)
{
    AUTO_BUF struct buf content = {0};
    return state_dir_read(dir, name, &content) && strcmp(content.data, text) == 0;
}

Test(state_dir, a_file_is_replaced_and_read_again)
{
    AUTO_DIRECTORY struct directory directory;
    struct stat file;
    directory_init(&directory);
    AUTO_FREE char *path = directory_file(&directory, "pauses");
    directory_write(&directory, "pauses.new", "of a process that was killed");
    struct state_dir *dir = open_at(&directory);
    AUTO_BUF struct buf none = {0};
    cr_assert(state_dir_given(dir) && state_dir_works(dir));
    cr_assert_not(state_dir_read(dir, "pauses", &none));
    cr_assert(state_dir_write(dir, "pauses", "a long text", 11));
    cr_assert(state_dir_write(dir, "pauses", "text", 4));
    cr_assert_eq(lstat(path, &file), 0);
    cr_assert_eq(file.st_mode & 07777, 0600);
    state_dir_free(dir);
    dir = open_at(&directory);
    cr_assert(holds(dir, "pauses", "text"));
    cr_assert(state_dir_remove(dir, "pauses") && state_dir_remove(dir, "pauses"));
    cr_assert_not(state_dir_read(dir, "pauses", &none));
    cr_assert_null(state_dir_free(dir));
    cr_assert_null(state_dir_free(NULL));
}

/* The content before the name, or a power failure leaves an empty file or the old one. */
Test(state_dir, what_was_written_or_removed_stays_so)
{
    AUTO_DIRECTORY struct directory directory;
    directory_init(&directory);
    AUTO_FREE char *path = directory_file(&directory, "pauses");
    struct state_dir *dir = open_at(&directory);
    cr_assert(state_dir_write(dir, "pauses", "text", 4));
    cr_assert_eq(synced_count, 2);
    cr_assert(synced[0] == inode_of(path) && synced[1] == inode_of(directory.path));
    cr_assert(state_dir_remove(dir, "pauses") && state_dir_remove(dir, "pauses"));
    cr_assert_eq(synced_count, 3);
    cr_assert_eq(synced[2], inode_of(directory.path));
    state_dir_free(dir);
}

Test(state_dir, only_regular_files_of_some_length_are_read)
{
    AUTO_DIRECTORY struct directory directory;
    directory_init(&directory);
    AUTO_FREE char *fifo = directory_file(&directory, "fifo");
    AUTO_FREE char *target = directory_file(&directory, "target");
    AUTO_FREE char *link = directory_file(&directory, "link");
    AUTO_FREE char *big = mem_zalloc(STATE_DIR_FILE_MAX + 2, 1);
    AUTO_BUF struct buf out = {0};
    memset(big, 'x', STATE_DIR_FILE_MAX + 1);
    directory_write(&directory, "big", big);
    directory_write(&directory, "target", "text");
    cr_assert_eq(mkfifo(fifo, 0600), 0);
    cr_assert_eq(symlink(target, link), 0);
    struct state_dir *dir = open_at(&directory);
    cr_assert(holds(dir, "target", "text"));
    cr_assert_not(state_dir_read(dir, "fifo", &out));
    cr_assert_not(state_dir_read(dir, "link", &out));
    cr_assert_not(state_dir_read(dir, "big", &out));
    cr_assert_eq(out.len, 0);
    state_dir_free(dir);
}

Test(state_dir, without_a_directory_nothing_is_kept)
{
    AUTO_BUF struct buf out = {0};
    struct state_dir *dir = state_dir_open("");
    cr_assert_not(state_dir_given(dir));
    cr_assert_not(state_dir_works(dir));
    cr_assert_not(state_dir_write(dir, "pauses", "text", 4));
    cr_assert_not(state_dir_read(dir, "pauses", &out));
    cr_assert(state_dir_remove(dir, "pauses"));
    state_dir_free(dir);
}

Test(state_dir, a_directory_is_of_one_process)
{
    AUTO_DIRECTORY struct directory directory;
    directory_init(&directory);
    struct state_dir *first = open_at(&directory);
    struct state_dir *second = open_at(&directory);
    cr_assert(state_dir_works(first));
    cr_assert_not(state_dir_works(second));
    cr_assert_not(state_dir_write(second, "pauses", "text", 4));
    state_dir_free(first);
    cr_assert(state_dir_write(second, "pauses", "text", 4), "it is free now");
    cr_assert(state_dir_works(second));
    state_dir_free(second);
}

/* A file where the new one is to be: a directory, which rename(2) does not replace. */
Test(state_dir, a_write_that_fails_keeps_the_old_file)
{
    AUTO_DIRECTORY struct directory directory;
    directory_init(&directory);
    struct state_dir *dir = open_at(&directory);
    cr_assert(state_dir_write(dir, "pauses", "old", 3));
    directory_make(&directory, "pauses.new");
    cr_assert_not(state_dir_write(dir, "pauses", "new", 3));
    cr_assert_not(state_dir_works(dir));
    cr_assert(holds(dir, "pauses", "old"));
    AUTO_FREE char *obstacle = directory_file(&directory, "pauses.new");
    cr_assert_eq(rmdir(obstacle), 0);
    cr_assert(state_dir_write(dir, "pauses", "new", 3));
    cr_assert(state_dir_works(dir) && holds(dir, "pauses", "new"));
    state_dir_free(dir);
}

static bool is_old(const void *context, const char *name)
{
    return strncmp(name, context, strlen(context)) == 0;
}

Test(state_dir, stale_files_are_removed)
{
    AUTO_DIRECTORY struct directory directory;
    directory_init(&directory);
    directory_write(&directory, "old-1", "text");
    directory_write(&directory, "old-2.new", "text");
    directory_write(&directory, "new-1", "text");
    struct state_dir *dir = open_at(&directory);
    AUTO_BUF struct buf out = {0};
    state_dir_sweep(dir, is_old, "old-");
    cr_assert(holds(dir, "new-1", "text"));
    cr_assert_not(state_dir_read(dir, "old-1", &out) || state_dir_read(dir, "old-2.new", &out));
    state_dir_free(dir);
    dir = state_dir_open("");
    state_dir_sweep(dir, is_old, "old-");
    state_dir_free(dir);
}
