#include "config/pasted.h"

#include "presignd/base/mem.h"

#include <stdbool.h>
#include <string.h>

static const struct {
    const char *bytes, *name;
} invisible[] = {
    {"\xC2\xA0", "a no-break space (U+00A0)"},
    {"\xC2\xAD", "a soft hyphen (U+00AD)"},
    {"\xE2\x80\x87", "a figure space (U+2007)"},
    {"\xE2\x80\x8B", "a zero width space (U+200B)"},
    {"\xE2\x80\x8E", "a left-to-right mark (U+200E)"},
    {"\xE2\x80\x8F", "a right-to-left mark (U+200F)"},
    {"\xE2\x80\xA8", "a line separator (U+2028)"},
    {"\xE2\x80\xAF", "a narrow no-break space (U+202F)"},
    {"\xE3\x80\x80", "an ideographic space (U+3000)"},
    {"\xEF\xBB\xBF", "a byte order mark (U+FEFF)"},
};

/* Pairs of quotes; typographic ones come from word processors. */
static const struct {
    const char *open, *close;
} quotes[] = {
    {"\"", "\""},
    {"'", "'"},
    {"\xE2\x80\x9C", "\xE2\x80\x9D"},
    {"\xE2\x80\x98", "\xE2\x80\x99"},
};

static bool is_quoted(const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < ARRAY_LENGTH(quotes); i++) {
        size_t open = strlen(quotes[i].open), close = strlen(quotes[i].close);
        if (len >= open + close && strncmp(text, quotes[i].open, open) == 0 &&
            strcmp(text + len - close, quotes[i].close) == 0) {
            return true;
        }
    }
    return false;
}

char *config_pasted_value(const char *text)
{
    if (is_quoted(text)) {
        return mem_strdup("the quotes are part of the value: remove them. A value that has quotes "
                          "goes into a credential (@NAME)");
    }
    for (size_t i = 0; i < ARRAY_LENGTH(invisible); i++) {
        if (strstr(text, invisible[i].bytes) != NULL) {
            return mem_printf("holds %s, which is not visible: type the value again. A value that "
                              "has one goes into a credential (@NAME)",
                              invisible[i].name);
        }
    }
    return NULL;
}

char *config_pasted_file(const char *content)
{
    if (strncmp(content, "\xEF\xBB\xBF", 3) == 0) {
        return mem_strdup("begins with a byte order mark: save it as UTF-8 without one");
    }
    if (content[strspn(content, " \t\r\n")] == '\0') {
        return mem_strdup("is empty: write the value into it");
    }
    if (strchr(content, '\n') != NULL && strstr(content, "-----BEGIN ") == NULL) {
        return mem_strdup("has more than one line: all of it is the value. Write the value alone, "
                          "with one line end at most");
    }
    return NULL;
}
