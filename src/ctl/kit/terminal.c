/* Every text is cleaned first: an escape sequence from outside must not reach the terminal. */
#include "ctl/kit/terminal.h"

#include "presignd/base/text.h"

#include <limits.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

/* Bounds what is copied of a long text to print its beginning. */
#define BYTES_PER_COLUMN_MAX 16

/* ECMA-48, section 8.3.117 (SGR). */
static const char *const codes[TERMINAL_COLOURS] = {
    [PLAIN] = "0", [BOLD] = "1", [DIM] = "2", [RED] = "31", [GREEN] = "32", [YELLOW] = "33"};

static bool colours;

/* https://no-color.org: any non-empty value forbids colours. */
static bool has_colours(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) == 1 && (no == NULL || *no == '\0') && term != NULL &&
           strcmp(term, "dumb") != 0;
}

void terminal_init(void)
{
    colours = has_colours();
    /* glibc has it built in since 2.35. */
    if (setlocale(LC_CTYPE, "C.UTF-8") == NULL) {
        (void)setlocale(LC_CTYPE, "");
    }
}

bool terminal_size(size_t *columns, size_t *rows)
{
    struct winsize size;
    if (isatty(STDOUT_FILENO) != 1 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 ||
        size.ws_col == 0 || size.ws_row == 0) {
        return false;
    }
    *columns = size.ws_col;
    *rows = size.ws_row;
    return true;
}

/* The columns of the character at `text`, and its number of bytes (at least 1). */
static size_t character(const char *text, size_t *bytes)
{
    wchar_t wide;
    mbstate_t state = {0};
    size_t len = mbrtowc(&wide, text, strlen(text), &state);
    if (len == 0 || len > MB_LEN_MAX) {
        *bytes = 1;
        return 1;
    }
    int columns = wcwidth(wide);
    *bytes = len;
    return columns < 0 ? 1 : (size_t)columns;
}

size_t terminal_width(const char *text)
{
    size_t width = 0, bytes;
    for (; *text != '\0'; text += bytes) {
        width += character(text, &bytes);
    }
    return width;
}

void terminal_put(struct buf *out, const char *text, size_t width, bool fill)
{
    AUTO_BUF struct buf clean = {0};
    text_clean(&clean, text, strlen(text), (width + 1) * BYTES_PER_COLUMN_MAX);
    const char *at = clean.data == NULL ? "" : clean.data;
    bool cut = terminal_width(at) > width;
    /* `used` can end below `room`: a wide character may not fit into the last column. */
    size_t room = width - (cut && width > 0 ? 1 : 0), used = 0, bytes;
    for (; *at != '\0'; at += bytes) {
        size_t columns = character(at, &bytes);
        if (used + columns > room) {
            break;
        }
        buf_append(out, at, bytes);
        used += columns;
    }
    if (cut && width > 0) {
        buf_puts(out, "…");
        used++;
    }
    for (; fill && used < width; used++) {
        buf_putc(out, ' ');
    }
}

static size_t new_line(struct buf *out, size_t indent)
{
    buf_printf(out, "\n%*s", (int)indent, "");
    return indent;
}

/* A word that is longer than a line is broken. */
static size_t put_word(struct buf *out, const char *word, size_t len, size_t used, size_t indent,
                       size_t width)
{
    size_t bytes;
    for (size_t at = 0; at < len; at += bytes) {
        size_t columns = character(word + at, &bytes);
        if (used + columns > width && used > indent) {
            used = new_line(out, indent);
        }
        buf_append(out, word + at, bytes);
        used += columns;
    }
    return used;
}

size_t terminal_wrap(struct buf *out, const char *text, size_t used, size_t indent, size_t width)
{
    AUTO_BUF struct buf clean = {0};
    text_clean(&clean, text, strlen(text), strlen(text));
    bool space = false; /* before the next word */
    for (const char *at = clean.data == NULL ? "" : clean.data; *at != '\0';) {
        size_t len = strcspn(at, " ");
        AUTO_BUF struct buf word = {0};
        buf_append(&word, at, len);
        if (space && used + 1 + terminal_width(word.data) > width && used > indent) {
            used = new_line(out, indent);
        } else if (space) {
            buf_putc(out, ' ');
            used++;
        }
        used = put_word(out, at, len, used, indent, width);
        space = true;
        at += len + (at[len] == ' ');
    }
    return used;
}

void terminal_paint(struct buf *out, enum terminal_colour colour, const char *text, size_t width,
                    bool fill)
{
    if (!colours || colour == PLAIN) {
        terminal_put(out, text, width, fill);
        return;
    }
    buf_printf(out, "\033[%sm", codes[colour]);
    terminal_put(out, text, width, fill);
    buf_puts(out, "\033[0m");
}
