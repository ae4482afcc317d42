#include "presignd/base/mem.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Without stdio, which may allocate its buffer. */
void mem_exhausted(void)
{
    static const char text[] = "presignd: out of memory\n";
    ssize_t unused = write(STDERR_FILENO, text, sizeof text - 1);
    (void)unused;
    abort();
}

static void *checked(void *memory)
{
    if (memory == NULL) {
        mem_exhausted();
    }
    return memory;
}

/* jansson reports exhausted memory as wrong syntax, or not at all. A constructor, so that no
 * program can forget it. */
__attribute__((constructor)) static void take_over_jansson(void)
{
    json_set_alloc_funcs(mem_alloc, free);
}

void *mem_alloc(size_t size)
{
    return checked(malloc(size == 0 ? 1 : size));
}

void *mem_zalloc(size_t count, size_t size)
{
    return checked(calloc(count == 0 ? 1 : count, size == 0 ? 1 : size));
}

void *mem_realloc(void *old, size_t size)
{
    return checked(realloc(old, size == 0 ? 1 : size));
}

void *mem_dup(const void *bytes, size_t size)
{
    char *copy = mem_alloc(size + 1);
    if (size > 0) {
        memcpy(copy, bytes, size);
    }
    copy[size] = '\0';
    return copy;
}

char *mem_strdup(const char *string)
{
    return string == NULL ? NULL : mem_dup(string, strlen(string));
}

char *mem_vprintf(const char *format, va_list arguments)
{
    char *text = NULL;
    return checked(vasprintf(&text, format, arguments) < 0 ? NULL : text);
}

char *mem_printf(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = mem_vprintf(format, arguments);
    va_end(arguments);
    return text;
}

void mem_free_at(void *variable)
{
    void *memory;
    memcpy(&memory, variable, sizeof memory);
    free(memory);
}
