/* The offset window with a bug in it, for a daemon that the auditor has to convict: an audit
 * that never fails shows nothing. $PRESIGND_PLANT names the bug; without it there is none.
 *
 * Linked before the library, so that the window in there is not taken. The daemon's own sources
 * know nothing of this.
 */
#define window_load   honest_window_load
#define window_finish honest_window_finish
#include "../../src/flow/window.c" /* NOLINT(bugprone-suspicious-include): the point of it */
#undef window_load
#undef window_finish

#include <stdlib.h>

bool window_load(struct window *window, int64_t offset, const char *metadata);
void window_finish(struct window *window, int64_t offset);

static bool planted(const char *bug)
{
    const char *name = getenv("PRESIGND_PLANT");
    return name != NULL && strcmp(name, bug) == 0;
}

/* Forgets at a start what was done above the watermark. */
bool window_load(struct window *window, int64_t offset, const char *metadata)
{
    return honest_window_load(window, offset, planted("drop-set") ? NULL : metadata);
}

/* Commits the highest offset that is done, whatever is open below. */
void window_finish(struct window *window, int64_t offset)
{
    if (planted("highest-offset") && offset >= window->watermark && offset < window->next) {
        int64_t next = window->next;
        window_restart(window, offset + 1);
        window->next = next;
    }
    honest_window_finish(window, offset);
}
