/* Loads the metadata of a committed offset ("OFFSET METADATA" on the first line), then applies an
 * arrival or a completion for each further byte. Whatever the metadata, a window that is committed
 * and loaded again has the same done offsets, and a done offset stays done. */
#include "fuzz.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/flow/window.h"
#include "presignd/kafka/transaction.h"

#include <string.h>

/* The next owner loads the same window from the commit. */
static void expect_reload(const struct window *window)
{
    AUTO_BUF struct buf metadata = {0};
    struct window fresh;
    window_encode(window, &metadata);
    PROMISE(metadata.len <= TRANSACTION_METADATA_MAX);
    PROMISE(window_load(&fresh, window->base_offset, metadata.data));
    PROMISE(fresh.base_offset == window->base_offset);
    PROMISE(memcmp(fresh.done, window->done, sizeof fresh.done) == 0);
}

static void happen(struct window *window, uint8_t what)
{
    int64_t before = window->base_offset;
    bool wide = window_wide(window);
    if (what == 0x7d) {
        window_limit(window, window_span_of(TRANSACTION_METADATA_MIN));
        return;
    }
    if (what & 0x80) {
        int64_t offset = window->base_offset + (what & 0x7f);
        if (!window_widens(window, offset)) {
            window_finish(window, offset);
        }
    } else {
        int64_t step = what == 0x7f ? WINDOW_SPAN / 2 : what == 0x7e ? -1 : what & 7;
        int64_t offset;
        if (__builtin_add_overflow(window->next, step, &offset) || offset < 0) {
            return;
        }
        enum window_arrival arrival = window_arrive(window, offset);
        PROMISE(arrival != WINDOW_NEW || window->next == offset + 1);
    }
    PROMISE(window->base_offset >= before || before < 0);
    PROMISE(window_used(window) <= WINDOW_SPAN);
    PROMISE(window_used(window) + window_room(window) >= (size_t)window->span);
    PROMISE(window_wide(window) <= wide || before < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = data + size, *line_end = memchr(data, '\n', size);
    size_t len = line_end == NULL ? size : (size_t)(line_end - data);
    AUTO_FREE char *line = mem_dup(data, len);
    char *metadata = strchr(line, ' ');
    int64_t offset = -1;
    if (metadata != NULL) {
        *metadata++ = '\0';
    }
    if (!text_int(line, -1, INT64_MAX - 4 * (int64_t)WINDOW_SPAN * (int64_t)size, &offset)) {
        return 0;
    }
    struct window window;
    if (!window_load(&window, offset, metadata)) {
        window_restart(&window, offset);
    }
    for (const uint8_t *at = line_end; at != NULL && ++at < end;) {
        happen(&window, *at);
    }
    if (window.base_offset >= 0) {
        expect_reload(&window);
    }
    return 0;
}
