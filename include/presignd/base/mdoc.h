/* mdoc(7), the source of manual pages, from plain text.
 *
 * Written for `mandoc -T lint`: lines of less than 80 bytes, a new line for each sentence,
 * nothing at a line's start that would be a macro. Pure.
 */
#ifndef PRESIGND_BASE_MDOC_H
#define PRESIGND_BASE_MDOC_H

#include "presignd/base/buf.h"

/* Running text: words are kept, spaces and line ends between them are not. Its first letter
 * becomes a capital. Ends without a line's end, so that a full stop can follow. */
void mdoc_text(struct buf *out, const char *text);
/* Lines as they are, between .Bd and .Ed; the last one may lack its line's end. */
void mdoc_literal(struct buf *out, const char *text);
/* Paragraphs, a blank line between two: one whose first line is indented is literal. */
void mdoc_paragraphs(struct buf *out, const char *text);

#endif
