#include "presignd/base/mdoc.h"

#include <criterion/criterion.h>

static void assert_text(const char *text, const char *wanted)
{
    AUTO_BUF struct buf out = {0};
    mdoc_text(&out, text);
    cr_assert_str_eq(out.data, wanted, "%s", out.data);
}

Test(mdoc, each_sentence_begins_a_line)
{
    assert_text("one thing.  Another (with brackets.) And\na third", "One thing.\nAnother (with "
                                                                     "brackets.)\nAnd a third");
    assert_text("at 10.5 s it is over. really?", "At 10.5 s it is over. really?");
    assert_text("  spaces\n  and ends ", "Spaces and ends");
}

Test(mdoc, text_never_becomes_a_macro_or_an_escape)
{
    assert_text(".conf and \\n", "\\&.conf and \\en");
    assert_text("'quoted'", "\\&'quoted'");
    assert_text("FILE's .d directory", "FILE's .d directory");
    /* A line break can move a dot to the start of a line. */
    assert_text("0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 012345678 "
                ".conf",
                "0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 012345678\n"
                "\\&.conf");
}

Test(mdoc, indented_paragraphs_are_literal)
{
    AUTO_BUF struct buf out = {0};
    mdoc_paragraphs(&out, "first\nparagraph.\n\n  {\"a\": 1}\n    .b  \n\nlast\n");
    cr_assert_str_eq(out.data, "First paragraph.\n"
                               ".Bd -literal -offset indent\n{\"a\": 1}\n  .b\n.Ed\n"
                               ".Pp\nLast\n");
}
