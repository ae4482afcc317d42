#include "wire/trace.h"

#include "presignd/base/buf.h"
#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <string.h>

/* On the heap without a NUL, so that sanitizers see overreads. */
static bool valid(bool (*test)(const char *, size_t), const char *text)
{
    size_t len = strlen(text);
    AUTO_FREE char *bytes = mem_alloc(len);
    for (size_t i = 0; i < len; i++) {
        bytes[i] = text[i];
    }
    return test(bytes, len);
}

Test(trace, traceparents)
{
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff", true},
        {"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true},
        {"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes", true},
        {"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what-comes", false},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", false},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-", false},
        {"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-010", false},
        {"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false},
        {"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false},
        {"00-00000000000000000000000000000000-00f067aa0ba902b7-01", false},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0", false},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x", false},
        {"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01", false},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01", false},
        {".0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false},
        {"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-\xc3\xa9", false},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        cr_expect_eq(valid(trace_parent_valid, cases[i].text), cases[i].valid, "%s", cases[i].text);
    }
}

Test(trace, tracestates)
{
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {
        {"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", true},
        {"foo=1 \t , \t bar=2, ", true},
        {"foo=1,,bar=2", true},
        {"fw529a3039@dt=FfAAAA", true},
        {"0tenant@system=1", true},
        {"a_-*/9= ~!x", true},
        {"", false},
        {" , ", false},
        {"foo", false},
        {"=1", false},
        {"foo=", false},
        {"foo=1=2", false},
        {"foo =1", false},
        {"FOO=1", false},
        {"foo.bar=1", false},
        {"9foo=1", false},
        {"foo@=1", false},
        {"@foo=1", false},
        {"foo@@bar=1", false},
        {"foo@bar@baz=1", false},
        {"foo=1,foo=2", false},
        {"foo=\xc3\xa9", false},
        {"foo=a\nb", false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        cr_expect_eq(valid(trace_state_valid, cases[i].text), cases[i].valid, "%s", cases[i].text);
    }
    cr_expect_not(trace_state_valid("fo\0=1", 5));
}

static bool state_valid(size_t members, size_t key_len, size_t value_len)
{
    AUTO_BUF struct buf text = {0};
    for (size_t i = 0; i < members; i++) {
        buf_puts(&text, i == 0 ? "" : ",");
        size_t start = text.len;
        buf_printf(&text, "k%zu", i);
        while (text.len - start < key_len) {
            buf_putc(&text, 'z');
        }
        buf_putc(&text, '=');
        for (size_t j = 0; j < value_len; j++) {
            buf_putc(&text, 'v');
        }
    }
    return trace_state_valid(text.data, text.len);
}

Test(trace, tracestates_have_limits)
{
    cr_expect(state_valid(32, 3, 1));
    cr_expect_not(state_valid(33, 3, 1));
    cr_expect(state_valid(1, 256, 256));
    cr_expect_not(state_valid(1, 257, 1));
    cr_expect_not(state_valid(1, 3, 257));
    cr_expect(state_valid(32, 256, 256));
}
