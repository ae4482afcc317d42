/* Runs patterns with PCRE2, within the steps that a validation has left.
 *
 * PCRE2's match limit starts again at each start position and does not count the characters that a
 * loop over one class consumes. So automatic callouts count: each item that is tried is a step, and
 * so are each CHARACTERS_PER_STEP characters between two callouts. No JIT: the systemd unit forbids
 * memory that is both writable and executable. */
#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "schema/node.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

/* A step takes 10 to 60 ns, a character in a loop 1 to 2 ns (PCRE2 10.42). */
enum { CHARACTERS_PER_STEP = 8 };

struct schema_pattern {
    pcre2_code *code;
    struct schema_pattern_cost cost;
};

/* MATCH_UNSET_BACKREF and ALLOW_EMPTY_CLASS are rules of ECMA-262. \C matches parts of characters.
 */
static pcre2_code *compile(const struct buf *source, char **error)
{
    int code;
    size_t offset;
    uint32_t options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_MATCH_UNSET_BACKREF |
                       PCRE2_ALLOW_EMPTY_CLASS | PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)source->data, source->len, options, &code, &offset, NULL);
    if (compiled == NULL) {
        PCRE2_UCHAR message[128];
        pcre2_get_error_message(code, message, sizeof message);
        *error = mem_printf("%s", (char *)message);
    }
    return compiled;
}

struct schema_pattern *schema_pattern_new(const char *source, size_t len, char **error)
{
    AUTO_BUF struct buf translated = {0};
    struct schema_pattern_cost cost;
    const char *why;
    if (!schema_pattern_translate(source, len, &translated, &cost, &why)) {
        *error = mem_strdup(why);
        return NULL;
    }
    pcre2_code *code = compile(&translated, error);
    if (code == NULL) {
        return NULL;
    }
    struct schema_pattern *pattern = mem_zalloc(1, sizeof *pattern);
    *pattern = (struct schema_pattern){.code = code, .cost = cost};
    return pattern;
}

struct schema_pattern *schema_pattern_free(struct schema_pattern *pattern)
{
    if (pattern != NULL) {
        pcre2_code_free(pattern->code);
        free(pattern);
    }
    return NULL;
}

/* ---- Matching ---- */

struct matching {
    const struct schema_pattern *pattern;
    struct schema_steps *steps;
    size_t position; /* at the previous callout */
};

/* The most bytes that a back reference compares. */
static size_t longest_capture(const pcre2_callout_block *block)
{
    size_t longest = 0;
    for (size_t i = 1; i < block->capture_top; i++) {
        size_t start = block->offset_vector[2 * i], end = block->offset_vector[2 * i + 1];
        size_t len = start == PCRE2_UNSET || end < start ? 0 : end - start;
        longest = len > longest ? len : longest;
    }
    return longest;
}

/* PCRE2 calls it before each item. The next callout shows what the item consumed. No callout shows
 * what a repetition or a back reference consumed before it failed, so its maximum is counted. */
static int count_step(pcre2_callout_block *block, void *context)
{
    struct matching *matching = context;
    const struct schema_pattern_cost *cost = &matching->pattern->cost;
    size_t position = block->current_position;
    size_t moved = position > matching->position ? position - matching->position : 0;
    moved += cost->repeat_min + (cost->has_back_reference ? longest_capture(block) : 0);
    matching->position = position;
    return schema_steps_take(matching->steps, 1 + moved / CHARACTERS_PER_STEP)
               ? 0
               : PCRE2_ERROR_CALLOUT;
}

/* One for each match, since threads share the pattern. The steps bound the time, so PCRE2's match
 * and depth limits are at their maximum. */
static pcre2_match_context *context_new(struct matching *matching)
{
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    if (context == NULL) {
        mem_exhausted();
    }
    pcre2_set_match_limit(context, UINT32_MAX);
    pcre2_set_depth_limit(context, UINT32_MAX);
    pcre2_set_heap_limit(context, SCHEMA_MATCH_MEMORY_KIB);
    pcre2_set_callout(context, count_step, matching);
    return context;
}

/* PCRE2 reads the text once for its UTF-8 check and the search for the first character. */
enum schema_match schema_pattern_match(const struct schema_pattern *pattern, const char *bytes,
                                       size_t len, struct schema_steps *steps)
{
    if (!schema_steps_take(steps, 1 + len / CHARACTERS_PER_STEP)) {
        return MATCH_LIMIT;
    }
    struct matching matching = {.pattern = pattern, .steps = steps};
    pcre2_match_context *context = context_new(&matching);
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (data == NULL) {
        mem_exhausted();
    }
    int found = pcre2_match(pattern->code, (PCRE2_SPTR)bytes, len, 0, 0, data, context);
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    if (found == PCRE2_ERROR_NOMEMORY) {
        mem_exhausted();
    }
    return found >= 0 ? MATCH_YES : found == PCRE2_ERROR_NOMATCH ? MATCH_NO : MATCH_LIMIT;
}
