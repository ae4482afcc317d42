#include "ctl/kit/outcome_filter.h"

#include "presignd/base/clock.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <stdlib.h>
#include <string.h>

enum { AGE_MAX = 1000000 }; /* of any unit */

const char *outcome_filter_reason_name(size_t index)
{
    size_t reason = index + 1; /* REASON_NONE is 0 */
    return reason < REASON_COUNT ? reason_name((enum reason)reason) : NULL;
}

static struct outcome_filter *filter_of(void *values)
{
    return &((struct outcome_options *)values)->filter;
}

char *outcome_filter_reason(void *values, const char *text)
{
    for (size_t i = 0; outcome_filter_reason_name(i) != NULL; i++) {
        if (strcmp(outcome_filter_reason_name(i), text) == 0) {
            filter_of(values)->reasons[i + 1] = true;
        }
    }
    return NULL;
}

static char *add_word(const char *text, const char **words, size_t *count)
{
    if (*count == OUTCOME_FILTER_WORDS_MAX) {
        return mem_printf("may be given %d times at most", OUTCOME_FILTER_WORDS_MAX);
    }
    words[(*count)++] = text;
    return NULL;
}

char *outcome_filter_merchant(void *values, const char *text)
{
    struct outcome_filter *filter = filter_of(values);
    return add_word(text, filter->merchants, &filter->merchant_count);
}

char *outcome_filter_code(void *values, const char *text)
{
    struct outcome_filter *filter = filter_of(values);
    return add_word(text, filter->codes, &filter->code_count);
}

char *outcome_filter_time(const char *text, int64_t *wall_ms)
{
    int64_t count, unit_s;
    if (text_rfc3339(text, strlen(text), wall_ms)) {
        return NULL;
    }
    if (options_duration(text, &count, &unit_s) && count <= AGE_MAX) {
        *wall_ms = clock_wall_ms() - count * unit_s * 1000;
        return NULL;
    }
    return mem_strdup("give a time (2026-11-25T08:00:00Z) or an age (90m, 12h, 7d)");
}

char *outcome_filter_since(void *values, const char *text)
{
    return outcome_filter_time(text, &filter_of(values)->since_ms);
}

char *outcome_filter_until(void *values, const char *text)
{
    return outcome_filter_time(text, &filter_of(values)->until_ms);
}

bool outcome_filter_any_reason(const struct outcome_filter *filter)
{
    for (size_t i = 0; i < REASON_COUNT; i++) {
        if (filter->reasons[i]) {
            return false;
        }
    }
    return true;
}

static bool reason_allowed(const char *reason, const struct outcome_filter *filter)
{
    for (size_t i = REASON_NONE + 1; i < REASON_COUNT; i++) {
        if (filter->reasons[i] && strcmp(reason_name((enum reason)i), reason) == 0) {
            return true;
        }
    }
    return outcome_filter_any_reason(filter);
}

static bool word_allowed(const char *word, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(words[i], word) == 0) {
            return true;
        }
    }
    return count == 0;
}

bool outcome_filter_takes(const struct outcome_filter *filter, const char *reason,
                          const char *mchid, const char *code, int64_t wall_ms)
{
    return reason_allowed(reason, filter) && wall_ms >= filter->since_ms &&
           wall_ms < filter->until_ms &&
           word_allowed(mchid, filter->merchants, filter->merchant_count) &&
           word_allowed(code, filter->codes, filter->code_count);
}
