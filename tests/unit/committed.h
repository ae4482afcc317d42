/* Committed documents that are generated from tables. A test compares them, or with
 * PRESIGND_UPDATE=1 writes them. */
#ifndef PRESIGND_TESTS_UNIT_COMMITTED_H
#define PRESIGND_TESTS_UNIT_COMMITTED_H

#include "presignd/base/buf.h"
#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void committed_read(const char *path, struct buf *out)
{
    FILE *file = fopen(path, "r");
    char bytes[4096];
    size_t got = 1;
    cr_assert_not_null(file, "%s", path);
    while (got > 0) {
        got = fread(bytes, 1, sizeof bytes, file);
        buf_append(out, bytes, got);
    }
    (void)fclose(file);
}

static inline void committed_write(const char *path, const struct buf *text)
{
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file, "%s", path);
    cr_assert_eq(fwrite(text->data, 1, text->len, file), text->len);
    cr_assert_eq(fclose(file), 0);
}

/* The file `name` of the source tree has to hold `text` between the lines `begin` and `end`; both
 * NULL: the whole file. */
static inline void committed_check(const char *name, const char *begin, const char *end,
                                   const struct buf *text)
{
    AUTO_FREE char *path = mem_printf("%s/%s", PRESIGND_SOURCE_DIR, name);
    AUTO_BUF struct buf file = {0};
    AUTO_BUF struct buf wanted = {0};
    if (begin != NULL) {
        committed_read(path, &file);
        const char *from = strstr(file.data, begin);
        const char *to = strstr(file.data, end);
        cr_assert(from != NULL && to != NULL && from < to, "%s: no marks", name);
        buf_append(&wanted, file.data, (size_t)(from - file.data) + strlen(begin));
        buf_append(&wanted, text->data, text->len);
        buf_puts(&wanted, to);
    } else {
        buf_append(&wanted, text->data, text->len);
    }
    if (getenv("PRESIGND_UPDATE") != NULL) {
        committed_write(path, &wanted);
        return;
    }
    buf_deinit(&file);
    committed_read(path, &file);
    cr_assert(file.len == wanted.len && memcmp(file.data, wanted.data, file.len) == 0,
              "%s differs from its table: run this test with PRESIGND_UPDATE=1", name);
}

#endif
