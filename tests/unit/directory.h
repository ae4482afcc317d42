/* A temporary directory of small files for one test. */
#ifndef PRESIGND_TESTS_UNIT_DIRECTORY_H
#define PRESIGND_TESTS_UNIT_DIRECTORY_H

#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct directory {
    char path[64];
};

static inline void directory_init(struct directory *directory)
{
    strcpy(directory->path, "/tmp/presignd-test-XXXXXX");
    cr_assert_not_null(mkdtemp(directory->path));
}

static inline char *directory_file(const struct directory *directory, const char *name)
{
    return mem_printf("%s/%s", directory->path, name);
}

static inline void directory_make(const struct directory *directory, const char *name)
{
    AUTO_FREE char *path = directory_file(directory, name);
    cr_assert_eq(mkdir(path, 0700), 0);
}

static inline void directory_write(const struct directory *directory, const char *name,
                                   const char *content)
{
    AUTO_FREE char *path = directory_file(directory, name);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    cr_assert_geq(fputs(content, file), 0);
    cr_assert_eq(fclose(file), 0);
}

static inline int directory_remove_one(const char *path, const struct stat *status, int kind,
                                       struct FTW *walk)
{
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

static inline void directory_deinit(struct directory *directory)
{
    (void)nftw(directory->path, directory_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}
#define AUTO_DIRECTORY __attribute__((cleanup(directory_deinit)))

#endif
