#include "presignd/base/log_ratelimit.h"

#include <criterion/criterion.h>

enum { LINES = 2 };

Test(log_ratelimit, allows_the_first_lines_and_counts_the_rest)
{
    struct log_ratelimit limit = {0};
    cr_assert(log_ratelimit_allows(&limit, LINES, 1000));
    cr_assert(log_ratelimit_allows(&limit, LINES, 1001));
    cr_assert_not(log_ratelimit_allows(&limit, LINES, 2000));
    cr_assert_not(log_ratelimit_allows(&limit, LINES, 3000));
    cr_assert_eq(log_ratelimit_suppressed(&limit, 1000 + LOG_RATELIMIT_MS - 1), 0);
    cr_assert_eq(log_ratelimit_suppressed(&limit, 1000 + LOG_RATELIMIT_MS), 2);
    cr_assert_eq(log_ratelimit_suppressed(&limit, 1000 + LOG_RATELIMIT_MS), 0, "returned once");
}

Test(log_ratelimit, the_next_minute_begins_with_its_first_line)
{
    struct log_ratelimit limit = {0};
    cr_assert(log_ratelimit_allows(&limit, 1, 0));
    cr_assert_not(log_ratelimit_allows(&limit, 1, 0));
    cr_assert_eq(log_ratelimit_suppressed(&limit, LOG_RATELIMIT_MS), 1);
    cr_assert(log_ratelimit_allows(&limit, 1, LOG_RATELIMIT_MS + 5));
    cr_assert_not(log_ratelimit_allows(&limit, 1, LOG_RATELIMIT_MS + 6));
    cr_assert_eq(log_ratelimit_suppressed(&limit, 2 * LOG_RATELIMIT_MS + 4), 0);
    cr_assert_eq(log_ratelimit_suppressed(&limit, 2 * LOG_RATELIMIT_MS + 5), 1);
}

Test(log_ratelimit, a_minute_without_suppressed_lines_returns_0)
{
    struct log_ratelimit limit = {0};
    cr_assert(log_ratelimit_allows(&limit, LINES, 0));
    cr_assert_eq(log_ratelimit_suppressed(&limit, (int64_t)10 * LOG_RATELIMIT_MS), 0);
}
