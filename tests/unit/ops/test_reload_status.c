#include "presignd/ops/reload_status.h"

#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <sys/stat.h>
#include <unistd.h>

static void expect_json(const struct reload_status *status, const char *expected)
{
    AUTO_BUF struct buf out = {0};
    struct stat in;
    cr_assert_eq(stat("/proc/self/ns/pid", &in), 0);
    AUTO_FREE char *whole = mem_printf("{\"pid\":%d,\"pid_namespace\":%ju,%s}\n", (int)getpid(),
                                       (uintmax_t)in.st_ino, expected);
    reload_status_json(status, 0, &out);
    cr_assert_str_eq(out.data, whole);
}

Test(reload_status, without_a_reload)
{
    expect_json(&(struct reload_status){0},
                "\"started_at\":\"1970-01-01T00:00:00.000Z\",\"count\":0,\"errors\":[]");
}

Test(reload_status, of_the_last_reload)
{
    struct reload_status status = {0};
    reload_status_set(&status,
                      "a.conf:1: \"x\"\n\nkafka.client.id: a\x01"
                      "b\n",
                      1000);
    expect_json(&status, "\"started_at\":\"1970-01-01T00:00:00.000Z\",\"count\":1,\"ok\":false,"
                         "\"at\":\"1970-01-01T00:00:01.000Z\","
                         "\"errors\":[\"a.conf:1: \\\"x\\\"\",\"kafka.client.id: a b\"]");
    reload_status_set(&status, NULL, 2000);
    expect_json(&status, "\"started_at\":\"1970-01-01T00:00:00.000Z\",\"count\":2,\"ok\":true,"
                         "\"at\":\"1970-01-01T00:00:02.000Z\",\"errors\":[]");
    reload_status_deinit(&status);
}
