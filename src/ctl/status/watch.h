/* `presignctl status --watch`: asks instances each second and draws what they answer. */
#ifndef PRESIGND_CTL_STATUS_WATCH_H
#define PRESIGND_CTL_STATUS_WATCH_H

#include "ctl/kit/command.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WATCH_INSTANCES_MAX 16

/* One instance, and what it answered last. */
struct watch_instance {
    const char *address;
    json_t *document; /* NULL: none yet, or the last call failed */
    char *error;      /* why it failed; NULL */
    double rate;      /* outcomes per second between its last two answers; below 0: not known */
};

struct watch_options {
    const char *path; /* of the document */
    int64_t timeout_ms;
    bool json;
};

/* Runs until SIGINT or SIGTERM. On a terminal it redraws the whole screen, at once after a resize;
 * otherwise it prints a line for each instance, or with `json` each document. Returns the exit
 * status. */
int watch_run(const char *const *addresses, size_t count, const struct watch_options *options);

/* The screen: at most `rows` lines of `columns` columns, each ended by a line feed. */
struct buf;
void watch_draw(const struct watch_instance *instances, size_t count, size_t columns, size_t rows,
                struct buf *out);
/* One line of the instance. */
void watch_line(const struct watch_instance *instance, struct buf *out);

#endif
