#include "presignd/base/record.h"

#include <criterion/criterion.h>

Test(record, size_counts_key_value_header_names_and_values)
{
    const struct record_header headers[] = {
        {"ce_id", "1234", 4}, {"empty", "", 0}, {"null", NULL, 0}};
    struct record record = {.key = "k", .key_len = 1, .value = "{}", .value_len = 2};
    cr_assert_eq(record_size(&record), 3);
    record.headers = headers;
    record.header_count = 3;
    cr_assert_eq(record_size(&record), 3 + 9 + 5 + 4);
}

Test(record, size_of_nulls_is_zero)
{
    struct record record = {.topic = "presign.requests"};
    cr_assert_eq(record_size(&record), 0);
}
