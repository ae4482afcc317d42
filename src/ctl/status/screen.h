/* The document of /status.json as text. The table of ops/status_rows.h has its fields, labels,
 * formats and their order; the page /status comes from the same table. */
#ifndef PRESIGND_CTL_STATUS_SCREEN_H
#define PRESIGND_CTL_STATUS_SCREEN_H

#include "presignd/base/buf.h"
#include "presignd/ops/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct screen {
    size_t width;   /* columns of a line; 0: any, and no list is folded */
    int64_t now_ms; /* of the document */
    struct buf out;
};

/* Appends the whole document. Sets `now_ms`. */
void screen_status(struct screen *screen, const json_t *document);

/* The field's value in the object, by the field's kind. */
struct status_value screen_value(const struct status_field *field, const json_t *item);
/* A row of `attention`, in lines of the width; `where` before its subject, or NULL. */
void screen_attention(struct screen *screen, const json_t *row, const char *where);

#endif
