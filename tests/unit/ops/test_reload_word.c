#include "presignd/ops/reload_word.h"

#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <sys/stat.h>
#include <unistd.h>

static void is(const struct reload_word *word, const char *expected)
{
    AUTO_BUF struct buf out = {0};
    struct stat in;
    cr_assert_eq(stat("/proc/self/ns/pid", &in), 0);
    AUTO_FREE char *whole = mem_printf("{\"pid\":%d,\"pid_namespace\":%ju,%s}\n", (int)getpid(),
                                       (uintmax_t)in.st_ino, expected);
    reload_word_json(word, 0, &out);
    cr_assert_str_eq(out.data, whole);
}

Test(reload_word, of_a_process_that_was_never_asked)
{
    is(&(struct reload_word){0},
       "\"started_at\":\"1970-01-01T00:00:00.000Z\",\"count\":0,\"errors\":[]");
}

Test(reload_word, is_the_last_ones)
{
    struct reload_word word = {0};
    reload_word_take(&word,
                     "a.conf:1: \"x\"\n\nkafka.client.id: a\x01"
                     "b\n",
                     1000);
    is(&word, "\"started_at\":\"1970-01-01T00:00:00.000Z\",\"count\":1,\"ok\":false,"
              "\"at\":\"1970-01-01T00:00:01.000Z\","
              "\"errors\":[\"a.conf:1: \\\"x\\\"\",\"kafka.client.id: a b\"]");
    reload_word_take(&word, NULL, 2000);
    is(&word, "\"started_at\":\"1970-01-01T00:00:00.000Z\",\"count\":2,\"ok\":true,"
              "\"at\":\"1970-01-01T00:00:02.000Z\",\"errors\":[]");
    reload_word_deinit(&word);
}
