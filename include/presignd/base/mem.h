/* Allocation that cannot fail, clean-up at the end of a scope, and the rule of errors.
 *
 * The rule of errors. A function that can fail returns false, NULL or -1, has warn_unused_result,
 * and says what is wrong in one of three ways, which its header names:
 * - `char **error` is text for people: what, where, what to do. It is set exactly when the function
 *   fails; the caller frees it. `const char **why` is the same with a static text; parsers of
 *   options return the text itself. Several errors are lines of a `struct buf *problems`. No code
 *   compares such texts.
 * - errno is the system's, and only where a system call is the one thing that can fail.
 * - A reason is data: an enum value (reason, kind, verdict, refusal) that decides what happens next
 *   or becomes part of an outcome.
 * Bugs of ours are asserts, which stay on in release builds. Nothing from outside trips one.
 *
 * When memory runs out, the process aborts: systemd starts it again, and Kafka delivers uncommitted
 * events again. Readers cap sizes from outside before they allocate. Out of memory never looks like
 * bad input: library errors that mean it go to mem_exhausted(), and jansson, which does not report
 * it reliably, allocates through mem_alloc() (docs/limits.md).
 */
#ifndef PRESIGND_BASE_MEM_H
#define PRESIGND_BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>

#ifdef NDEBUG
#error "Asserts stay on in release builds: compile with -UNDEBUG."
#endif

/* Writes a message to stderr and aborts. */
void mem_exhausted(void) __attribute__((noreturn, cold));

/* Each returns memory that the caller frees with free(); none returns NULL. */
void *mem_alloc(size_t size) __attribute__((malloc, warn_unused_result));
void *mem_zalloc(size_t count, size_t size) __attribute__((malloc, warn_unused_result));
void *mem_realloc(void *old, size_t size) __attribute__((warn_unused_result));
/* A copy of `size` bytes, and a NUL after them, which `size` does not count. */
void *mem_dup(const void *bytes, size_t size) __attribute__((malloc, warn_unused_result));
/* A copy of a string; NULL gives NULL. */
char *mem_strdup(const char *string) __attribute__((warn_unused_result));
char *mem_printf(const char *format, ...)
    __attribute__((format(printf, 1, 2), malloc, warn_unused_result));
char *mem_vprintf(const char *format, va_list arguments)
    __attribute__((format(printf, 1, 0), malloc, warn_unused_result));

/* Frees what a char * or void * variable holds when it leaves its scope. */
void mem_free_at(void *variable);
#define AUTO_FREE __attribute__((cleanup(mem_free_at)))

/* For other types: AUTO(curl_free_at). */
#define AUTO(function) __attribute__((cleanup(function)))

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* The structure that holds `member` at `pointer`. */
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#endif
