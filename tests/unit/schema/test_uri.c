#include "presignd/base/mem.h"
#include "schema/node.h"

#include <criterion/criterion.h>

struct row {
    const char *base, *reference, *target;
};

#define BASE "http://a/b/c/d;p?q"

/* RFC 3986, section 5.4, and other references of schemas. */
static const struct row rows[] = {
    {BASE, "g:h", "g:h"},
    {BASE, "g", "http://a/b/c/g"},
    {BASE, "./g", "http://a/b/c/g"},
    {BASE, "g/", "http://a/b/c/g/"},
    {BASE, "/g", "http://a/g"},
    {BASE, "//g", "http://g"},
    {BASE, "?y", "http://a/b/c/d;p?y"},
    {BASE, "g?y", "http://a/b/c/g?y"},
    {BASE, "#s", "http://a/b/c/d;p?q#s"},
    {BASE, "g#s", "http://a/b/c/g#s"},
    {BASE, "g?y#s", "http://a/b/c/g?y#s"},
    {BASE, ";x", "http://a/b/c/;x"},
    {BASE, "", "http://a/b/c/d;p?q"},
    {BASE, ".", "http://a/b/c/"},
    {BASE, "./", "http://a/b/c/"},
    {BASE, "..", "http://a/b/"},
    {BASE, "../", "http://a/b/"},
    {BASE, "../g", "http://a/b/g"},
    {BASE, "../..", "http://a/"},
    {BASE, "../../g", "http://a/g"},
    {BASE, "../../../g", "http://a/g"},
    {BASE, "/./g", "http://a/g"},
    {BASE, "/../g", "http://a/g"},
    {BASE, "g.", "http://a/b/c/g."},
    {BASE, "..g", "http://a/b/c/..g"},
    {BASE, "./../g", "http://a/b/g"},
    {BASE, "./g/.", "http://a/b/c/g/"},
    {BASE, "g/./h", "http://a/b/c/g/h"},
    {BASE, "g/../h", "http://a/b/c/h"},
    {BASE, "g;x=1/../y", "http://a/b/c/y"},
    {BASE, "g?y/../x", "http://a/b/c/g?y/../x"},
    {BASE, "g#s/../x", "http://a/b/c/g#s/../x"},
    {"http://a", "g", "http://a/g"},
    {"http://a?q", "", "http://a?q"},
    {"file:///x/y.json", "z.json#/a", "file:///x/z.json#/a"},
    {"urn:example:root", "#/$defs/a", "urn:example:root#/$defs/a"},
    {"urn:example:root", "urn:example:other", "urn:example:other"},
    {"", "http://a/b#", "http://a/b#"},
};

Test(schema_uri, references_resolve_as_in_rfc_3986)
{
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        AUTO_FREE char *target = schema_uri_resolve(rows[i].base, rows[i].reference);
        cr_expect_str_eq(target, rows[i].target, "%s: %s gives %s", rows[i].base, rows[i].reference,
                         target);
    }
}

Test(schema_uri, escapes_are_decoded_or_rejected)
{
    AUTO_FREE char *decoded = schema_uri_decode("a%25b%2fc%E5%BE%AE", 18);
    cr_expect_str_eq(decoded, "a%b/c\xe5\xbe\xae");
    cr_expect_null(schema_uri_decode("%0", 2));
    cr_expect_null(schema_uri_decode("%0g", 3));
    cr_expect_null(schema_uri_decode("%00", 3));
    cr_expect_null(schema_uri_decode("%41", 2));
}
