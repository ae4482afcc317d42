/* The file of the state directory with the pauses that survive a restart:
 *
 *   {"version": 1, "pauses": [{"scope": "merchant", "name": "1900007291", "since_ms":
 * 1795000000000, "until_ms": 0, "by": "root", "note": "…"}]}
 *
 * Times are of the wall clock; until_ms 0: it does not end by itself. Unknown members are ignored.
 */
#ifndef PRESIGND_DAEMON_PAUSES_H
#define PRESIGND_DAEMON_PAUSES_H

#include "presignd/base/buf.h"
#include "presignd/flow/pause.h"

#include <stdbool.h>
#include <stddef.h>

#define PAUSES_FILE "pauses.json"
/* Pauses in the file, so that it stays below STATE_DIR_FILE_MAX with the longest notes. */
#define PAUSES_MAX 256

/* Appends those that persist, PAUSES_MAX at most. Returns how many persist. */
size_t pauses_write(const struct pauses *pauses, struct buf *out);
/* Reads such a file; `pauses` is empty before. False, and no pause: it is damaged, or another
 * version's. */
bool pauses_read(const char *bytes, size_t len, struct pauses *pauses)
    __attribute__((warn_unused_result));

#endif
