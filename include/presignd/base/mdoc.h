/* mdoc(7), the source of manual pages, from plain text.
 *
 * The result passes `mandoc -T lint`: lines of less than 80 bytes, a new line for each sentence, no
 * macro by accident at a line's start. Pure.
 */
#ifndef PRESIGND_BASE_MDOC_H
#define PRESIGND_BASE_MDOC_H

#include "presignd/base/buf.h"

/* Running text: its words are kept, its spaces and line breaks are not. The first letter becomes a
 * capital. The last line is not ended, so that a full stop can follow. */
void mdoc_text(struct buf *out, const char *text);
/* Lines as they are, between .Bd and .Ed; the last one may lack its line break. */
void mdoc_literal(struct buf *out, const char *text);
/* Paragraphs, separated by blank lines. A paragraph whose first line is indented is literal. */
void mdoc_paragraphs(struct buf *out, const char *text);

#endif
