/* The offset window of one partition: which offsets are done, although they complete out of order.
 * Pure.
 *
 * The base offset is the lowest offset that is not known to be done. A set names the done offsets
 * from the base offset on. Both are committed together: the base offset as the group's offset, the
 * set in its metadata. After a restart, exactly what was published is skipped.
 *
 * The committed set is always the loaded set plus what is new. It includes the bit of the base
 * offset itself: after a restart the base offset may reach an offset that is done but has not been
 * delivered again.
 *
 * A broker may accept less metadata than a full window needs: `span` says how far above the base
 * offset an offset may be done. A set that is wider (it was loaded, or the span was lowered) is
 * kept whole and does not become wider.
 *
 * Offsets that never arrive (control records, compaction, aborted records) count as done as soon as
 * a later one arrives.
 */
#ifndef PRESIGND_FLOW_WINDOW_H
#define PRESIGND_FLOW_WINDOW_H

#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Offsets in a window. As a bit set in base64 they take 1368 characters of the 4096 bytes of
 * metadata that a broker accepts by default. */
#define WINDOW_SPAN 8192
/* Bytes of a full window's metadata: "presignd/1:", 19 digits, ":", and the set. */
#define WINDOW_METADATA_MAX 1399

struct window {
    int64_t base_offset; /* lowest offset not done; -1 before the first record */
    int64_t next;        /* one above the highest offset that arrived since the load */
    int64_t top;         /* one above the highest offset in the set */
    int64_t span;        /* distance from the base offset at which an offset may be done */
    uint64_t done[WINDOW_SPAN / 64]; /* ring, bit (offset % WINDOW_SPAN) */
};

/* From a committed offset; -1: nothing was committed. False if the metadata is not from presignd,
 * damaged, or of another offset. The window then starts without a set, and events above the base
 * offset that were done are called again: log a warning. */
bool window_load(struct window *window, int64_t offset, const char *metadata);

/* The largest span whose sets take at most so many bytes of metadata; 0: no set fits. */
int64_t window_span_of(size_t metadata_bytes);
/* Sets the span, which is WINDOW_SPAN after window_load(). 0: no further record is accepted. */
void window_limit(struct window *window, int64_t span);
/* True if the set is wider than the span, so that it cannot be committed. */
bool window_wide(const struct window *window);
/* True if the set becomes too wide when that offset is done now. */
bool window_widens(const struct window *window, int64_t offset);

enum window_arrival {
    WINDOW_NEW,    /* not done yet */
    WINDOW_KNOWN,  /* done already, or unfinished: skip it */
    WINDOW_FULL,   /* too far above the base offset: pause, try again later */
    WINDOW_BEHIND, /* below the base offset: the log was truncated or recreated; see
                      window_restart() */
};
/* A record arrived. Offsets between the last one and this one count as done. After WINDOW_FULL and
 * WINDOW_BEHIND the window is unchanged. */
enum window_arrival window_arrive(struct window *window, int64_t offset);
/* The topic was recreated: begins again at that offset. */
void window_restart(struct window *window, int64_t offset);

/* That offset's outcome is committed. Without effect outside the window. */
void window_finish(struct window *window, int64_t offset);

/* Appends the metadata for window->base_offset: "" for an empty set. */
void window_encode(const struct window *window, struct buf *out);
/* Offsets from the base offset to the newest one, done or not. */
size_t window_used(const struct window *window);
/* How many further offsets fit. */
size_t window_room(const struct window *window);
/* A paused partition resumes when so many offsets are free, since each pause costs a new fetch. */
size_t window_resume(const struct window *window);

#endif
