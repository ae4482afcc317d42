/* Text for terminals: colours, and columns that count the width of characters. */
#ifndef PRESIGND_CTL_TERMINAL_H
#define PRESIGND_CTL_TERMINAL_H

#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stddef.h>

enum terminal_colour { PLAIN, BOLD, DIM, RED, GREEN, YELLOW, TERMINAL_COLOURS };

/* Once, before anything else here. Sets a UTF-8 locale for character widths. Finds out whether
 * there are colours: standard output is a terminal, and neither $NO_COLOR nor TERM=dumb forbids
 * them. */
void terminal_init(void);

/* The size of the terminal at standard output; false if it is none, or has none. */
bool terminal_size(size_t *columns, size_t *rows);

/* Columns of valid UTF-8 text: 2 for most Chinese characters (wcwidth(3)). */
size_t terminal_width(const char *text);
/* Appends the text without control characters. A text wider than `width` columns is cut and ends
 * with an ellipsis; `fill` pads a narrower one with spaces. */
void terminal_put(struct buf *out, const char *text, size_t width, bool fill);
/* Appends the words of the text in lines of `width` columns, without control characters; a longer
 * word is broken. The first line continues one of `used` columns, all others begin with `indent`
 * spaces. Returns the columns of the last line. */
size_t terminal_wrap(struct buf *out, const char *text, size_t used, size_t indent, size_t width);
/* As terminal_put(), in a colour if there are colours. */
void terminal_paint(struct buf *out, enum terminal_colour colour, const char *text, size_t width,
                    bool fill);

#endif
