#include "presignd/kafka/library.h"

#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <librdkafka/rdkafka.h>

enum { V2_0_2 = 0x020002ff, V2_3_0 = 0x020300ff, V2_8_0 = 0x020800ff, V2_15_1 = 0x020f01ff };

Test(library, each_version_has_its_own_needs)
{
    static const struct {
        enum library_need need;
        bool v2_0_2, v2_3_0, v2_8_0, v2_15_1;
    } rows[] = {
        {LIBRARY_RETRY_BACKOFF_MAX, false, true, true, true},
        {LIBRARY_GROUP_PROTOCOL, false, false, true, true},
        {LIBRARY_MOCK_WITHOUT_CRC, false, false, false, true},
        {LIBRARY_TIMER_SLACK, true, true, false, false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        cr_expect_eq(library_version_needs(rows[i].need, V2_0_2), rows[i].v2_0_2, "%zu", i);
        cr_expect_eq(library_version_needs(rows[i].need, V2_3_0), rows[i].v2_3_0, "%zu", i);
        cr_expect_eq(library_version_needs(rows[i].need, V2_8_0), rows[i].v2_8_0, "%zu", i);
        cr_expect_eq(library_version_needs(rows[i].need, V2_15_1), rows[i].v2_15_1, "%zu", i);
    }
}

Test(library, the_loaded_version_decides)
{
    cr_assert_eq(library_needs(LIBRARY_GROUP_PROTOCOL), rd_kafka_version() >= 0x020400ff);
}
