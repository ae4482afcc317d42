/* Text for terminals: colours, and columns that count the width of characters. */
#ifndef PRESIGND_CTL_TERMINAL_H
#define PRESIGND_CTL_TERMINAL_H

#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum terminal_colour { PLAIN, BOLD, DIM, RED, GREEN, YELLOW, TERMINAL_COLOURS };

/* Sets a UTF-8 locale for character widths. Call it before terminal_width(). */
void terminal_init(void);
/* Whether the stream is a terminal, and neither $NO_COLOR nor TERM=dumb forbids colours. */
bool terminal_colours(FILE *stream);

/* The terminal's size; false if the stream is none, or has none. */
bool terminal_size(FILE *stream, size_t *columns, size_t *rows);

/* Columns of valid UTF-8 text: 2 for most Chinese characters (wcwidth(3)). */
size_t terminal_width(const char *text);
/* Appends the text without control characters. A text wider than `width` columns is cut and ends
 * with an ellipsis; `fill` pads a narrower one with spaces. */
void terminal_put(struct buf *out, const char *text, size_t width, bool fill);
/* Appends the words of the text in lines of `width` columns, without control characters; a longer
 * word is broken. The first line continues one of `used` columns, all others begin with `indent`
 * spaces. Returns the columns of the last line. */
size_t terminal_wrap(struct buf *out, const char *text, size_t used, size_t indent, size_t width);
/* The same in a colour if `colours` is true. */
void terminal_paint(struct buf *out, bool colours, enum terminal_colour colour, const char *text,
                    size_t width, bool fill);

#endif
