#include "presignd/base/mdoc.h"

#include "presignd/base/mem.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

/* mandoc(1) warns of longer source lines. */
enum { LINE_MAX_BYTES = 76 };

static const char space[] = " \n";

/* In mdoc(7) a backslash begins an escape, and a dot or quote at a line's start a macro. */
static void escape(struct buf *out, const char *bytes, size_t len)
{
    if (len > 0 && (*bytes == '.' || *bytes == '\'') &&
        (out->len == 0 || out->data[out->len - 1] == '\n')) {
        buf_puts(out, "\\&");
    }
    for (size_t i = 0; i < len; i++) {
        buf_putc(out, bytes[i]);
        if (bytes[i] == '\\') {
            buf_putc(out, 'e');
        }
    }
}

static bool ends_sentence(const char *word, size_t len)
{
    while (len > 1 && word[len - 1] == ')') {
        len--;
    }
    return strchr(".?!", word[len - 1]) != NULL;
}

void mdoc_text(struct buf *out, const char *text)
{
    size_t column = 0;
    bool first = true, sentence = false;
    for (text += strspn(text, space); *text != '\0'; text += strspn(text, space)) {
        size_t len = strcspn(text, space);
        bool begins = isupper((unsigned char)*text) != 0 || *text == '-';
        if (column > 0 && (column + 1 + len > LINE_MAX_BYTES || (sentence && begins))) {
            buf_putc(out, '\n');
            column = 0;
        } else if (column > 0) {
            buf_putc(out, ' ');
        }
        escape(out, text, len);
        if (first && *text >= 'a' && *text <= 'z') {
            out->data[out->len - len] = (char)(*text - 'a' + 'A');
        }
        first = false;
        sentence = ends_sentence(text, len);
        column += 1 + len;
        text += len;
    }
}

void mdoc_literal(struct buf *out, const char *text)
{
    buf_puts(out, ".Bd -literal -offset indent\n");
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        size_t end = len;
        while (end > 0 && text[end - 1] == ' ') {
            end--; /* mandoc(1) warns of trailing spaces */
        }
        escape(out, text, end);
        buf_putc(out, '\n');
        text += len + (text[len] == '\n');
    }
    buf_puts(out, ".Ed\n");
}

/* A literal paragraph, without its indentation. */
static void literal(struct buf *out, const char *paragraph, size_t indent)
{
    AUTO_BUF struct buf lines = {0};
    buf_puts(&lines, "");
    while (*paragraph != '\0') {
        size_t len = strcspn(paragraph, "\n");
        size_t skip = strspn(paragraph, " ");
        skip = skip < indent ? skip : indent;
        buf_append(&lines, paragraph + skip, len - skip);
        buf_putc(&lines, '\n');
        paragraph += len + (paragraph[len] == '\n');
    }
    mdoc_literal(out, lines.data);
}

void mdoc_paragraphs(struct buf *out, const char *text)
{
    for (bool first = true; *text != '\0'; first = false) {
        const char *end = strstr(text, "\n\n");
        size_t len = end == NULL ? strlen(text) : (size_t)(end - text);
        AUTO_FREE char *paragraph = mem_dup(text, len);
        size_t indent = strspn(paragraph, " ");
        if (indent > 0) {
            literal(out, paragraph, indent);
        } else {
            buf_puts(out, first ? "" : ".Pp\n");
            mdoc_text(out, paragraph);
            buf_putc(out, '\n');
        }
        text += end == NULL ? len : len + 2;
    }
}
