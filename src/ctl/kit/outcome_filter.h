/* Which outcomes a command takes: by reason, merchant, contract and time. Options and comparison
 * are the same for all commands. Pure, but for the wall clock that an age counts from.
 */
#ifndef PRESIGND_CTL_OUTCOME_FILTER_H
#define PRESIGND_CTL_OUTCOME_FILTER_H

#include "ctl/kit/config.h"
#include "presignd/flow/reason.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OUTCOME_FILTER_WORDS_MAX = 64 };

struct outcome_filter {
    bool reasons[REASON_COUNT];
    int64_t since_ms, until_ms; /* wall clock; until_ms is excluded. OUTCOME_FILTER_ALL: no limit */
    const char *merchants[OUTCOME_FILTER_WORDS_MAX], *codes[OUTCOME_FILTER_WORDS_MAX];
    size_t merchant_count, code_count;
};

/* Must be the first member of a command's options. */
struct outcome_options {
    struct ctl_config config;
    struct outcome_filter filter;
};

/* Every outcome. */
#define OUTCOME_FILTER_ALL                           \
    {                                                \
        .since_ms = INT64_MIN, .until_ms = INT64_MAX \
    }

char *outcome_filter_reason(void *values, const char *text) __attribute__((warn_unused_result));
char *outcome_filter_merchant(void *values, const char *text) __attribute__((warn_unused_result));
char *outcome_filter_code(void *values, const char *text) __attribute__((warn_unused_result));
char *outcome_filter_since(void *values, const char *text) __attribute__((warn_unused_result));
char *outcome_filter_until(void *values, const char *text) __attribute__((warn_unused_result));
const char *outcome_filter_reason_name(size_t index);

/* Rows for the command's table, after CTL_CONFIG_ROWS. HELP of --reason and --since differs. */
#define OUTCOME_FILTER_REASON_ROW(help)                              \
    OPTION_ROW_EACH(outcome_filter_reason, "reason", "REASON", help, \
                    .choice = outcome_filter_reason_name)
#define OUTCOME_FILTER_MERCHANT_ROW                               \
    OPTION_ROW_EACH(outcome_filter_merchant, "merchant", "MCHID", \
                    "of that merchant; may be repeated")
#define OUTCOME_FILTER_CODE_ROW                                       \
    OPTION_ROW_EACH(outcome_filter_code, "out-contract-code", "CODE", \
                    "of that contract; may be repeated")

/* RFC 3339, or an age: a number and s, m, h or d. An error (free()), or NULL. */
char *outcome_filter_time(const char *text, int64_t *wall_ms) __attribute__((warn_unused_result));

/* No --reason was given. */
bool outcome_filter_any_reason(const struct outcome_filter *filter);
/* `reason`: "" of a result. Absent texts are "". */
bool outcome_filter_takes(const struct outcome_filter *filter, const char *reason,
                          const char *mchid, const char *code, int64_t wall_ms);

#endif
