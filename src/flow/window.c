#include "presignd/flow/window.h"

#include "presignd/base/text.h"

#include <assert.h>
#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Precedes the set: program, format, and the set's base offset. A tool that copies offsets may copy
 * the metadata to another offset, where the set is wrong. */
#define METADATA_HEAD "presignd/1:%" PRId64 ":"
enum {
    METADATA_HEAD_MAX = sizeof "presignd/1:-9223372036854775808:",
    METADATA_HEAD_LEN = sizeof "presignd/1:9223372036854775807:" - 1, /* offsets are not negative */
    WINDOW_WORDS = WINDOW_SPAN / 64,
};
_Static_assert(WINDOW_METADATA_MAX == METADATA_HEAD_LEN + (WINDOW_SPAN / 8 + 2) / 3 * 4,
               "the head and the set in base64");

static bool is_done(const struct window *window, int64_t offset)
{
    uint64_t bit = (uint64_t)offset % WINDOW_SPAN;
    return (window->done[bit / 64] >> (bit % 64)) & 1;
}

static void set_done(struct window *window, int64_t offset, bool done)
{
    uint64_t bit = (uint64_t)offset % WINDOW_SPAN;
    uint64_t mask = UINT64_C(1) << (bit % 64);
    if (done) {
        window->done[bit / 64] |= mask;
        window->top = offset >= window->top ? offset + 1 : window->top;
    } else {
        window->done[bit / 64] &= ~mask;
    }
}

/* True after every function here, for any offsets and metadata from outside. */
static void check(const struct window *window)
{
    assert(window->base_offset <= window->next);
    assert(window->next - window->base_offset <= WINDOW_SPAN);
    assert(window->top >= window->base_offset);
    assert(window->top - window->base_offset <= WINDOW_SPAN);
}

/* Moves the base offset over done offsets, and clears their bits for later offsets. Not beyond
 * `next`: after a restart, records of done offsets are delivered again, and a record below the base
 * offset looks like a recreated log. */
static void advance(struct window *window)
{
    while (window->base_offset < window->next && is_done(window, window->base_offset)) {
        set_done(window, window->base_offset, false);
        window->base_offset++;
    }
    check(window);
}

/* Bit i of the set is the offset base_offset + i. */
static bool load_set(struct window *window, const char *text)
{
    AUTO_BUF struct buf set = {0};
    if (!text_base64_decode(&set, text, strlen(text)) || set.len > WINDOW_SPAN / 8) {
        return false;
    }
    for (size_t i = 0; i < set.len * 8; i++) {
        if ((unsigned char)set.data[i / 8] >> (i % 8) & 1) {
            set_done(window, window->base_offset + (int64_t)i, true);
        }
    }
    return true;
}

bool window_load(struct window *window, int64_t offset, const char *metadata)
{
    *window =
        (struct window){.base_offset = offset, .next = offset, .top = offset, .span = WINDOW_SPAN};
    if (metadata == NULL || metadata[0] == '\0') {
        return true;
    }
    char head[METADATA_HEAD_MAX];
    size_t head_len = (size_t)snprintf(head, sizeof head, METADATA_HEAD, offset);
    return offset >= 0 && strncmp(metadata, head, head_len) == 0 &&
           load_set(window, metadata + head_len);
}

void window_restart(struct window *window, int64_t offset)
{
    *window =
        (struct window){.base_offset = offset, .next = offset, .top = offset, .span = window->span};
}

int64_t window_span_of(size_t metadata_bytes)
{
    size_t set = metadata_bytes > METADATA_HEAD_LEN ? metadata_bytes - METADATA_HEAD_LEN : 0;
    int64_t span = (int64_t)(set / 4 * 3 * 8);
    return span < WINDOW_SPAN ? span : WINDOW_SPAN;
}

void window_limit(struct window *window, int64_t span)
{
    window->span = span;
}

bool window_wide(const struct window *window)
{
    return window->top - window->base_offset > window->span;
}

/* Offsets below this may be done: the span, or the top of a set that is wider already. */
static int64_t limit(const struct window *window)
{
    int64_t end = window->base_offset + window->span;
    return window->span > 0 && window->top > end ? window->top : end;
}

bool window_widens(const struct window *window, int64_t offset)
{
    return offset > window->base_offset && offset >= limit(window);
}

enum window_arrival window_arrive(struct window *window, int64_t offset)
{
    if (window->base_offset < 0) {
        window_restart(window, offset);
    }
    if (offset < window->next) {
        return offset < window->base_offset ? WINDOW_BEHIND : WINDOW_KNOWN;
    }
    /* If no offset below is unfinished, the gap may be of any size. */
    bool none_open = window->next == window->base_offset && window->span > 0;
    if (none_open && offset - window->base_offset >= WINDOW_SPAN) {
        window_restart(window, offset);
    }
    if (!none_open && offset >= limit(window)) {
        return WINDOW_FULL;
    }
    for (int64_t missing = window->next; missing < offset; missing++) {
        set_done(window, missing, true);
    }
    bool known = is_done(window, offset);
    window->next = offset + 1;
    advance(window);
    return known ? WINDOW_KNOWN : WINDOW_NEW;
}

/* Checks instead of asserts, since offsets come from outside. */
void window_finish(struct window *window, int64_t offset)
{
    if (offset >= window->base_offset && offset < window->next) {
        set_done(window, offset, true);
        advance(window);
    }
}

/* 64 offsets of the ring from that one on; the lowest bit is that offset's. */
static uint64_t word_from(const struct window *window, int64_t offset)
{
    uint64_t bit = (uint64_t)offset % WINDOW_SPAN;
    uint64_t low = window->done[bit / 64], high = window->done[(bit / 64 + 1) % WINDOW_WORDS];
    return bit % 64 == 0 ? low : low >> (bit % 64) | high << (64 - bit % 64);
}

/* Including the base offset: it may be an offset of the loaded set that has not been delivered
 * again. Above the base offset, `top - 1` is the highest done offset, and no bit is set from `top`
 * on. */
void window_encode(const struct window *window, struct buf *out)
{
    check(window);
    size_t bits = (size_t)(window->top - window->base_offset);
    if (bits == 0) {
        buf_puts(out, "");
        return;
    }
    uint64_t set[WINDOW_WORDS];
    for (size_t i = 0; i * 64 < bits; i++) {
        set[i] = htole64(word_from(window, window->base_offset + (int64_t)i * 64));
    }
    buf_printf(out, METADATA_HEAD, window->base_offset);
    text_base64(out, set, (bits + 7) / 8);
}

size_t window_used(const struct window *window)
{
    return window->base_offset < 0 ? 0 : (size_t)(window->next - window->base_offset);
}

size_t window_room(const struct window *window)
{
    int64_t end = limit(window);
    return window->base_offset < 0 ? (size_t)window->span
           : end > window->next    ? (size_t)(end - window->next)
                                   : 0;
}

size_t window_resume(const struct window *window)
{
    return (size_t)window->span / 4 + 1;
}
