/* The offset window of one partition: what is done, though it ends out of order.
 *
 * The base offset is the lowest offset that is not known to be done; from it on a set of done
 * offsets. Both are committed together, the base offset as the group's offset and the set in its
 * metadata, so that a restart skips exactly what was published. The set that is written is the
 * one that was loaded plus what is new: a set rebuilt from redelivered records alone would
 * forget. For the same reason the base offset's own bit belongs to it: after a restart the
 * base offset may come to stand on an offset that is done but was not delivered again.
 *
 * A broker may take less metadata than the whole window needs: `span` says how far above the
 * base offset an offset may be done. A set that is wider (it was loaded, or the span was lowered)
 * is kept whole, and gets no wider.
 *
 * Pure. Offsets that never arrive (control records, compaction, aborted records) count as done
 * as soon as a later one arrives.
 */
#ifndef PRESIGND_FLOW_WINDOW_H
#define PRESIGND_FLOW_WINDOW_H

#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Offsets from the base offset on that can be told apart. As a bit set in base64 they take 1368
 * characters of the 4096 bytes that a broker allows for the metadata. */
#define WINDOW_SPAN 8192
/* Bytes of the metadata of a whole window: "presignd/1:", 19 digits, ":", and the set. */
#define WINDOW_METADATA_MAX 1399

struct window {
    int64_t base_offset;             /* lowest offset not done; -1 until the first record tells */
    int64_t next;                    /* one above the highest offset that arrived since the load */
    int64_t top;                     /* one above the highest offset in the set */
    int64_t span;                    /* a done offset is to be so close to the base offset */
    uint64_t done[WINDOW_SPAN / 64]; /* ring, bit (offset % WINDOW_SPAN) */
};

/* From a committed position; offset -1 when nothing was committed. False when the metadata is
 * not ours, damaged, or of another offset: the window then starts without a set (what was done
 * above the base offset is called again), which is worth a warning. */
bool window_load(struct window *window, int64_t offset, const char *metadata);

/* The span whose sets take at most so many bytes of metadata; 0 for less than a set needs. */
int64_t window_span_of(size_t metadata_bytes);
/* After window_load(), which begins with WINDOW_SPAN, or later. 0: no record is taken any more. */
void window_limit(struct window *window, int64_t span);
/* True when the set is wider than the span: it cannot be committed as it is. */
bool window_wide(const struct window *window);
/* True when the set would get too wide if that offset were done now. */
bool window_widens(const struct window *window, int64_t offset);

enum window_arrival {
    WINDOW_NEW,    /* to be worked on */
    WINDOW_KNOWN,  /* done already, or unfinished: skip it */
    WINDOW_FULL,   /* too far above the base offset: pause, offer it again later */
    WINDOW_BEHIND, /* below the base offset: the log was cut or made anew; see window_restart() */
};
/* A record arrived. Offsets between the last one and this one count as done. WINDOW_FULL and
 * WINDOW_BEHIND change nothing. */
enum window_arrival window_arrive(struct window *window, int64_t offset);
/* The position went backwards (the topic was made anew): begin again at that offset. */
void window_restart(struct window *window, int64_t offset);

/* That offset's outcome is committed. Out of the window: nothing happens. */
void window_finish(struct window *window, int64_t offset);

/* The metadata for window->base offset: "" for an empty set. */
void window_encode(const struct window *window, struct buf *out);
/* Offsets between the base offset and the newest, done or not. */
size_t window_used(const struct window *window);
/* How many further offsets fit. */
size_t window_room(const struct window *window);
/* A full window is read into again when so many offsets are free: pausing costs a new fetch. */
size_t window_resume(const struct window *window);

#endif
