/* The file of pauses that survive a restart. */
#include "daemon/pauses.h"

#include "presignd/base/mem.h"
#include "presignd/ops/state_dir.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

Test(pauses, what_persists_is_read_again)
{
    AUTO_BUF struct buf text = {0};
    struct pauses pauses = {0}, again = {0};
    struct pause one = {.scope = PAUSE_MERCHANT,
                        .name = "1900007291",
                        .since_ms = 1795000000000,
                        .until_ms = 1795000060000,
                        .persist = true,
                        .by = "root",
                        .note = "a \"key\"\n"};
    pauses_set(&pauses, &one);
    pauses_set(&pauses, &(struct pause){.scope = PAUSE_ENDPOINT, .name = "app"});
    pauses_set(&pauses, &(struct pause){.scope = PAUSE_ALL, .persist = true});
    cr_assert_eq(pauses_write(&pauses, &text), 2);
    cr_assert(pauses_read(text.data, text.len, &again), "%s", text.data);
    cr_assert_eq(again.count, 2);
    const struct pause *found = pauses_find(&again, PAUSE_MERCHANT, "1900007291");
    cr_assert_not_null(found);
    cr_assert(found->persist);
    cr_assert_eq(found->since_ms, one.since_ms);
    cr_assert_eq(found->until_ms, one.until_ms);
    cr_assert_str_eq(found->by, one.by);
    cr_assert_str_eq(found->note, one.note);
    cr_assert_not_null(pauses_find(&again, PAUSE_ALL, ""));
    pauses_deinit(&pauses);
    pauses_deinit(&again);
}

#define ENTRY(scope, name, since)                                                           \
    "{\"scope\":\"" scope "\",\"name\":\"" name "\",\"since_ms\":" since ",\"until_ms\":0," \
    "\"by\":\"\",\"note\":\"\"}"

Test(pauses, a_damaged_file_has_none)
{
    static const char *const damaged[] = {
        "",
        "{",
        "[]",
        "{\"version\":2,\"pauses\":[]}",
        "{\"version\":1}",
        "{\"version\":1,\"pauses\":{}}",
        "{\"version\":1,\"pauses\":[1]}",
        "{\"version\":1,\"pauses\":[" ENTRY("all", "", "1") "," ENTRY("topic", "x", "1") "]}",
        "{\"version\":1,\"pauses\":[" ENTRY("all", "", "-1") "]}",
        "{\"version\":1,\"pauses\":[" ENTRY("all", "", "\"1\"") "]}",
        "{\"version\":1,\"pauses\":[" ENTRY("merchant", "123456789012345678901234567890123",
                                            "1") "]}",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(damaged); i++) {
        struct pauses pauses = {0};
        cr_assert_not(pauses_read(damaged[i], strlen(damaged[i]), &pauses), "%s", damaged[i]);
        cr_assert_eq(pauses.count, 0, "%s", damaged[i]);
    }
    struct pauses pauses = {0};
    static const char good[] = "{\"version\":1,\"more\":1,\"pauses\":[" ENTRY("all", "", "1") "]}";
    cr_assert(pauses_read(good, sizeof good - 1, &pauses));
    cr_assert_eq(pauses.count, 1);
    pauses_deinit(&pauses);
}

Test(pauses, too_many_are_damage)
{
    AUTO_BUF struct buf text = {0};
    struct pauses pauses = {0};
    buf_puts(&text, "{\"version\":1,\"pauses\":[");
    for (int i = 0; i <= PAUSES_MAX; i++) {
        buf_printf(&text, "%s{\"scope\":\"merchant\",\"name\":\"%d\"}", i == 0 ? "" : ",", i);
    }
    buf_puts(&text, "]}");
    cr_assert_not(pauses_read(text.data, text.len, &pauses));
    cr_assert_eq(pauses.count, 0);
}

/* A state directory takes the file with the longest texts, of bytes that JSON writes as six. */
Test(pauses, the_largest_file_fits)
{
    AUTO_BUF struct buf text = {0};
    struct pauses pauses = {0}, again = {0};
    struct pause pause = {.scope = PAUSE_MERCHANT, .since_ms = INT64_MAX, .persist = true};
    memset(pause.by, 1, PAUSE_BY_MAX);
    memset(pause.note, 1, PAUSE_NOTE_MAX);
    for (int i = 0; i <= PAUSES_MAX; i++) {
        (void)snprintf(pause.name, sizeof pause.name, "%032d", i);
        pauses_set(&pauses, &pause);
    }
    cr_assert_eq(pauses_write(&pauses, &text), PAUSES_MAX + 1);
    cr_assert_leq(text.len, STATE_DIR_FILE_MAX);
    cr_assert(pauses_read(text.data, text.len, &again));
    cr_assert_eq(again.count, PAUSES_MAX);
    pauses_deinit(&pauses);
    pauses_deinit(&again);
}
