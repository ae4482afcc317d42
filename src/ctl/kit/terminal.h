/* Text for people: colours only on a terminal, columns by the width that characters have. */
#ifndef PRESIGND_CTL_TERMINAL_H
#define PRESIGND_CTL_TERMINAL_H

#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum terminal_colour { PLAIN, BOLD, DIM, RED, GREEN, YELLOW, TERMINAL_COLOURS };

/* Makes characters have their width, whatever the locale: before terminal_width(). */
void terminal_init(void);
/* The stream is a terminal, and neither $NO_COLOR nor TERM=dumb speaks against colours. */
bool terminal_colours(FILE *stream);

/* Columns that valid UTF-8 takes: 2 for most of Chinese (wcwidth(3)). */
size_t terminal_width(const char *text);
/* Appends the text without control characters, cut with an ellipsis at `width` columns, and
 * filled with spaces up to them when `fill`. */
void terminal_put(struct buf *out, const char *text, size_t width, bool fill);
/* The same in a colour, when `colours`. */
void terminal_paint(struct buf *out, bool colours, enum terminal_colour colour, const char *text,
                    size_t width, bool fill);

#endif
