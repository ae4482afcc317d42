#include "presignd/schema/schema.h"

#include "presignd/base/buf.h"
#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define URI "https://test.invalid/schema"

static json_t *parse(const char *text)
{
    json_error_t error;
    json_t *value = json_loads(text, JSON_DECODE_ANY, &error);
    cr_assert_not_null(value, "%s: %s", text, error.text);
    return value;
}

static bool add(struct schema_set *set, const char *uri, const char *text, char **error)
{
    json_t *document = parse(text);
    bool added = schema_set_add(set, uri, document, error);
    json_decref(document);
    return added;
}

/* "INSTANCE KEYWORD ERROR" of each violation, a line each. free(). */
static char *validate_with(unsigned options, const char *schema_text, const char *instance_text)
{
    struct schema_set *set = schema_set_new(options);
    AUTO_FREE char *error = NULL;
    cr_assert(add(set, URI, schema_text, &error), "%s", error);
    const struct schema *schema = schema_compile(set, URI, &error);
    cr_assert_not_null(schema, "%s: %s", schema_text, error);
    json_t *instance = parse(instance_text);
    struct violations found = {0};
    bool valid = schema_validate(schema, instance, &found);
    cr_assert_eq(valid, schema_validate(schema, instance, NULL));
    cr_assert_eq(valid, found.total == 0);
    AUTO_BUF struct buf lines = {0};
    buf_reserve(&lines, 0);
    for (size_t i = 0; i < found.count; i++) {
        buf_printf(&lines, "%s %s %s\n", found.items[i].instance_location,
                   found.items[i].keyword_location, found.items[i].error);
    }
    violations_deinit(&found);
    json_decref(instance);
    schema_set_free(set);
    return buf_take(&lines);
}

struct row {
    const char *schema, *instance, *violations;
};

static void check(unsigned options, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        AUTO_FREE char *found = validate_with(options, rows[i].schema, rows[i].instance);
        cr_expect_str_eq(found, rows[i].violations, "%s of %s gives\n%s", rows[i].schema,
                         rows[i].instance, found);
    }
}

Test(schema, violations_have_locations_and_an_error)
{
    static const struct row rows[] = {
        {"{\"type\": \"integer\"}", "\"1\"", " /type is a string, must be an integer\n"},
        {"{\"type\": \"integer\"}", "1.5",
         " /type is a number with a fraction, must be an integer\n"},
        {"{\"type\": \"integer\"}", "1.0", ""},
        {"{\"type\": [\"string\", \"null\"]}", "[]",
         " /type is an array, must be null or a string\n"},
        {"{\"type\": [\"number\", \"integer\"]}", "{}", " /type is an object, must be a number\n"},
        {"{\"const\": \"1.0\"}", "\"1\"", " /const must be \"1.0\"\n"},
        {"{\"enum\": [\"CNY\"]}", "null", " /enum must be one of [\"CNY\"]\n"},
        {"{\"maximum\": 3}", "4", " /maximum must be at most 3\n"},
        {"{\"minimum\": 1}", "0", " /minimum must be at least 1\n"},
        {"{\"exclusiveMaximum\": 3}", "3", " /exclusiveMaximum must be less than 3\n"},
        {"{\"exclusiveMinimum\": 0.5}", "0.5", " /exclusiveMinimum must be greater than 0.5\n"},
        {"{\"multipleOf\": 0.01}", "0.015", " /multipleOf must be a multiple of 0.01\n"},
        {"{\"maxLength\": 2}", "\"微信A\"", " /maxLength has 3 characters, may have at most 2\n"},
        {"{\"minLength\": 2}", "\"😀\"", " /minLength has 1 character, must have at least 2\n"},
        {"{\"pattern\": \"^a$\"}", "\"a\\n\"", " /pattern does not match the pattern ^a$\n"},
        {"{\"minItems\": 1}", "[]", " /minItems has 0 items, must have at least 1\n"},
        {"{\"maxProperties\": 0}", "{\"a\": 1}",
         " /maxProperties has 1 member, may have at most 0\n"},
        {"{\"uniqueItems\": true}", "[0, {\"a\": 1, \"b\": 2}, 1, {\"b\": 2.0, \"a\": 1}]",
         " /uniqueItems has two equal items, 1 and 3\n"},
        {"{\"contains\": {\"type\": \"null\"}}", "[1, 2]",
         " /contains has 0 items that match, must have at least 1\n"},
        {"{\"required\": [\"a\", \"b\"]}", "{}",
         " /required lacks the member a\n /required lacks the member b\n"},
        {"{\"dependentRequired\": {\"a\": [\"b\"]}}", "{\"a\": 1}",
         " /dependentRequired has the member a but lacks b\n"},
        {"{\"not\": {\"type\": \"null\"}}", "null", " /not matches what it must not\n"},
        {"{\"oneOf\": [true, true]}", "1", " /oneOf matches more than one of the alternatives\n"},
        {"{\"anyOf\": [{\"type\": \"null\"}, {\"minimum\": 2}]}", "1",
         " /anyOf/0/type is an integer, must be null\n /anyOf/1/minimum must be at least 2\n"},
        {"false", "1", "  is not allowed\n"},
    };
    check(0, rows, ARRAY_LENGTH(rows));
}

Test(schema, locations_follow_the_instance_and_the_references)
{
    static const struct row rows[] = {
        {"{\"properties\": {\"a/b\": {\"items\": {\"$ref\": \"#/$defs/~0\"}}}, "
         "\"$defs\": {\"~\": {\"minimum\": 1}}}",
         "{\"a/b\": [1, 0]}", "/a~1b/1 /properties/a~1b/items/$ref/minimum must be at least 1\n"},
        {"{\"properties\": {\"a\": true}, \"additionalProperties\": false}",
         "{\"a\": 1, \"b\": 2, \"~\": 3}",
         "/b /additionalProperties is not a known member\n"
         "/~0 /additionalProperties is not a known member\n"},
        {"{\"prefixItems\": [true], \"items\": false}", "[1, 2]",
         "/1 /items is one item too many\n"},
        {"{\"patternProperties\": {\"^a\": {\"type\": \"null\"}}}", "{\"ab\": 1}",
         "/ab /patternProperties/^a/type is an integer, must be null\n"},
        {"{\"propertyNames\": {\"maxLength\": 1}}", "{\"ab\": 1}",
         "/ab /propertyNames/maxLength has 2 characters, may have at most 1\n"},
        {"{\"if\": {\"type\": \"object\"}, \"then\": {\"required\": [\"a\"]}}", "{}",
         " /then/required lacks the member a\n"},
    };
    check(0, rows, ARRAY_LENGTH(rows));
}

/* A sibling that fails still evaluates its members: only the other one is unknown. */
Test(schema, an_invalid_member_is_not_reported_as_unknown)
{
    static const struct row rows[] = {
        {"{\"$ref\": \"#/$defs/a\", \"unevaluatedProperties\": false, "
         "\"$defs\": {\"a\": {\"properties\": {\"a\": {\"type\": \"null\"}}}}}",
         "{\"a\": 1, \"b\": 2}",
         "/a /$ref/properties/a/type is an integer, must be null\n"
         "/b /unevaluatedProperties is not a known member\n"},
    };
    check(0, rows, ARRAY_LENGTH(rows));
}

Test(schema, integers_as_written_have_no_point_or_exponent)
{
    static const struct row rows[] = {
        {"{\"type\": \"integer\"}", "1", ""},
        {"{\"type\": \"integer\"}", "1.0",
         " /type is written with a point or an exponent, must be an integer\n"},
        {"{\"type\": \"integer\"}", "1e3",
         " /type is written with a point or an exponent, must be an integer\n"},
        {"{\"type\": \"number\"}", "1.0", ""},
        {"{\"type\": \"integer\"}", "\"1\"", " /type is a string, must be an integer\n"},
    };
    check(SCHEMA_INTEGERS_AS_WRITTEN, rows, ARRAY_LENGTH(rows));
}

Test(schema, formats_are_asserted_with_the_option)
{
    static const struct row wrong[] = {
        {"{\"format\": \"date\"}", "\"2023-02-29\"", " /format is not a valid date\n"},
        {"{\"format\": \"no-such\"}", "\"x\"", ""},
    };
    static const struct row annotated[] = {{"{\"format\": \"date\"}", "\"2023-02-29\"", ""}};
    check(SCHEMA_ASSERT_FORMATS, wrong, ARRAY_LENGTH(wrong));
    check(0, annotated, ARRAY_LENGTH(annotated));
}

Test(schema, numbers_compare_exactly_near_the_limits_of_64_bits)
{
    static const struct row rows[] = {
        {"{\"maximum\": 9223372036854775807}", "9223372036854775807", ""},
        {"{\"maximum\": 9223372036854775806}", "9223372036854775807",
         " /maximum must be at most 9223372036854775806\n"},
        {"{\"const\": 9007199254740993}", "9007199254740992.0",
         " /const must be 9007199254740993\n"},
        {"{\"minimum\": -9223372036854775808}", "-1e300",
         " /minimum must be at least -9223372036854775808\n"},
        {"{\"multipleOf\": 0.0001}", "0.0075", ""},
        {"{\"multipleOf\": 1e-8}", "12391239123", ""},
        {"{\"multipleOf\": 0.123456789}", "1e308",
         " /multipleOf must be a multiple of 0.123456789\n"},
        {"{\"multipleOf\": 3}", "-9", ""},
    };
    check(0, rows, ARRAY_LENGTH(rows));
}

Test(schema, violations_beyond_the_limit_are_counted_only)
{
    struct schema_set *set = schema_set_new(0);
    AUTO_FREE char *error = NULL;
    cr_assert(add(set, URI, "{\"items\": {\"type\": \"null\"}}", &error));
    const struct schema *schema = schema_compile(set, URI, &error);
    json_t *instance = json_array();
    for (int i = 0; i < 100; i++) {
        json_array_append_new(instance, json_integer(i));
    }
    struct violations found = {0};
    cr_assert_not(schema_validate(schema, instance, &found));
    cr_expect_eq(found.count, VIOLATIONS_MAX);
    cr_expect_eq(found.total, 100);
    cr_expect_str_eq(found.items[15].instance_location, "/15");
    violations_deinit(&found);
    json_decref(instance);
    schema_set_free(set);
}

#define TOO_DEEP "  takes too much to check: the schema is too deep\n"

Test(schema, endless_recursion_of_schemas_ends_as_invalid)
{
    static const struct row rows[] = {
        {"{\"$ref\": \"#\"}", "1", TOO_DEEP},
        {"{\"allOf\": [{\"$ref\": \"#\"}, {\"$ref\": \"#\"}]}", "1", TOO_DEEP},
        {"{\"anyOf\": [{\"$ref\": \"#\"}, {\"$ref\": \"#\"}]}", "1", TOO_DEEP},
        {"{\"not\": {\"$ref\": \"#\"}}", "1", TOO_DEEP},
    };
    check(0, rows, ARRAY_LENGTH(rows));
}

#define A50       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ENDLESS   "{\"pattern\": \"^(a+)+$\"}"
#define TOO_LONG  "takes too many steps to compare with the pattern\n"
#define NAME_LONG "has a member whose name takes too many steps to check\n"

/* Without a result the instance is invalid, whatever the branch. */
Test(schema, a_pattern_that_exceeds_the_steps_makes_the_instance_invalid)
{
    static const struct row rows[] = {
        {ENDLESS, "\"" A50 "b\"", " /pattern " TOO_LONG},
        {"{\"not\": " ENDLESS "}", "\"" A50 "b\"", "  " TOO_LONG},
        {"{\"not\": {\"not\": " ENDLESS "}}", "\"" A50 "b\"", "  " TOO_LONG},
        {"{\"anyOf\": [" ENDLESS ", true]}", "\"" A50 "b\"", "  " TOO_LONG},
        {"{\"oneOf\": [" ENDLESS ", true]}", "\"" A50 "b\"", "  " TOO_LONG},
        {"{\"if\": " ENDLESS ", \"then\": false}", "\"" A50 "b\"", "  " TOO_LONG},
        {"{\"contains\": " ENDLESS ", \"minContains\": 0}", "[\"" A50 "b\"]", "  " TOO_LONG},
        {"{\"contains\": {\"not\": " ENDLESS "}}", "[\"" A50 "b\", \"b\"]", "  " TOO_LONG},
        {"{\"propertyNames\": {\"not\": " ENDLESS "}}", "{\"" A50 "b\": 1}", "  " TOO_LONG},
        {"{\"patternProperties\": {\"^(a+)+$\": false}}", "{\"" A50 "b\": 1}",
         " /patternProperties " NAME_LONG},
        {"{\"patternProperties\": {\"^(a+)+$\": true}, \"additionalProperties\": true}",
         "{\"" A50 "b\": 1}", " /patternProperties " NAME_LONG},
        {"{\"not\": {\"patternProperties\": {\"^(a+)+$\": true}}}", "{\"" A50 "b\": 1}",
         "  " NAME_LONG},
    };
    check(0, rows, ARRAY_LENGTH(rows));
}

/* An attacker can make items with one hash, which are compared in pairs: integers near 2^63 have
 * the hash of the real that they round to. */
Test(schema, the_search_for_equal_items_takes_steps)
{
    AUTO_BUF struct buf items = {0};
    for (int i = 0; i < 1000; i++) {
        buf_printf(&items, "%s%lld", i == 0 ? "[" : ",", 9223372036854774784LL + i);
    }
    buf_puts(&items, "]");
    AUTO_FREE char *found = validate_with(0, "{\"uniqueItems\": true}", items.data);
    cr_expect_str_eq(found, " /uniqueItems takes too many steps to look for equal items\n");
}

/* All schemas of an event share its steps. */
Test(schema, patterns_share_their_steps)
{
    static const char pattern[] = "^(?:a|b)*(?:a|b)*(?:a|b)*$";
    AUTO_BUF struct buf schema = {0}, instance = {0};
    buf_puts(&schema, "{\"properties\": {");
    for (int i = 0; i < 10; i++) {
        buf_printf(&schema, "%s\"m%d\": {\"pattern\": \"%s\"}", i == 0 ? "" : ", ", i, pattern);
        buf_printf(&instance, "%s\"m%d\": \"%.*sc\"", i == 0 ? "{" : ", ", i, 24, A50);
    }
    buf_puts(&schema, "}}");
    buf_puts(&instance, "}");
    AUTO_FREE char *found = validate_with(0, schema.data, instance.data);
    cr_expect_not_null(strstr(found, "/m0 /properties/m0/pattern does not match"), "%s", found);
    cr_expect_not_null(strstr(found, TOO_LONG), "%s", found);
    cr_expect_null(strstr(found, "/m9"), "%s", found);
}

/* A repetition of a group needs no depth: a text of an event's maximum size matches. */
Test(schema, a_group_that_repeats_for_each_character_matches_a_long_text)
{
    AUTO_BUF struct buf text = {0};
    buf_puts(&text, "\"");
    for (int i = 0; i < 65000; i++) {
        buf_putc(&text, 'a');
    }
    buf_puts(&text, "&amp;\"");
    AUTO_FREE char *found = validate_with(0, "{\"pattern\": \"^(?:[^<>&]|&amp;)*$\"}", text.data);
    cr_expect_str_eq(found, "");
}

Test(schema, a_string_of_wrong_length_is_not_checked_further)
{
    static const struct row rows[] = {
        {"{\"maxLength\": 3, \"pattern\": \"^b\", \"format\": \"date\"}", "\"aaaa\"",
         " /maxLength has 4 characters, may have at most 3\n"},
        {"{\"maxLength\": 3, \"$ref\": \"#/$defs/p\", \"$defs\": {\"p\": " ENDLESS "}}",
         "\"" A50 "b\"", " /maxLength has 51 characters, may have at most 3\n"},
        {"{\"minLength\": 60, \"not\": " ENDLESS "}", "\"" A50 "b\"",
         " /minLength has 51 characters, must have at least 60\n"},
        /* A failure in one branch does not affect another. */
        {"{\"anyOf\": [{\"maxLength\": 3}, {\"pattern\": \"^a\"}]}", "\"aaaa\"", ""},
    };
    check(SCHEMA_ASSERT_FORMATS, rows, ARRAY_LENGTH(rows));
}

/* RFC 6901, section 3: ~ is followed by 0 or 1. Names are cut at 256 bytes. */
Test(schema, a_pointer_is_not_cut_inside_an_escape)
{
    for (int len = 250; len <= 260; len++) {
        AUTO_BUF struct buf instance = {0};
        buf_puts(&instance, "{\"");
        for (int i = 0; i < len; i++) {
            buf_puts(&instance, i < 248 ? "a" : "/");
        }
        buf_puts(&instance, "\": 1}");
        AUTO_FREE char *found =
            validate_with(0, "{\"additionalProperties\": false}", instance.data);
        const char *end = strchr(found, ' ');
        cr_assert(end != NULL && end - found <= 256 && end[-1] == '1', "%d: %s", len, found);
    }
}

Test(schema, patterns_are_ecma_262)
{
    static const struct {
        const char *pattern, *string;
        bool matches;
    } rows[] = {
        {"^\\\\s$", "\"\\ufeff\"", true},
        {"^[\\\\s]$", "\"\\u2003\"", true},
        {"^[\\\\S]$", "\"\\u00a0\"", false},
        {"^\\\\S$", "\"\\ud83d\\ude00\"", true},
        {"^\\\\v$", "\"\\u000b\"", true},
        {"^\\\\v$", "\"\\n\"", false},
        {"^.$", "\"\\u2028\"", false},
        {"^.$", "\"\\u0085\"", true},
        {"^.$", "\"\\ud83d\\ude00\"", true},
        {"^\\\\d$", "\"\\u0660\"", false},
        {"^\\\\w$", "\"\\u00e9\"", false},
        {"^\\\\p{Letter}\\\\p{Script=Greek}\\\\P{gc=Decimal_Number}$", "\"a\\u03b1b\"", true},
        {"^\\\\u{1F600}\\\\uD83D\\\\uDE00$", "\"\\ud83d\\ude00\\ud83d\\ude00\"", true},
        {"^[\\\\u0000-\\\\uFFFF]*$", "\"a\\u5fae\\uffff\"", true},
        {"^[\\\\u0000-\\\\uFFFF]*$", "\"a\\ud83d\\ude00\"", false},
        {"^[[:alpha:]\\\\]$", "\"a]\"", true},
        {"^[[:alpha:]\\\\]$", "\"b]\"", false},
        {"^\\\\{a,3\\\\}\\\\]$", "\"{a,3}]\"", true},
        {"^a{2}b{1,}c{1,2}?$", "\"aabcc\"", true},
        {"^[a-c\\\\-x-]+$", "\"b-x\"", true},
        {"^[+--]+$", "\"+,-\"", true},
        {"^[-a]+$", "\"-a\"", true},
        {"^[a\\\\u03b1-\\\\u03c9]$", "\"\u03b2\"", true},
        {"^[\u03b1-\u03c9]$", "\"\u03b2\"", true},
        {"^[\\\\d\\\\-x]+$", "\"1-x\"", true},
        {"^(?<!b)(a)(b)\\\\2\\\\1$", "\"abba\"", true},
        {"^[\\\\b]\\\\cJ\\\\x41\\\\0?$", "\"\\b\\nA\"", true},
        {"^(?<y>a)\\\\k<y>(?=b)(?!c)(?:b)$", "\"aab\"", true},
        {"[^]", "\"\"", false},
        {"^[^]$", "\"\\n\"", true},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        AUTO_FREE char *schema = mem_printf("{\"pattern\": \"%s\"}", rows[i].pattern);
        AUTO_FREE char *found = validate_with(0, schema, rows[i].string);
        cr_expect_eq(*found == '\0', rows[i].matches, "%s on %s", rows[i].pattern, rows[i].string);
    }
}

struct broken {
    const char *schema, *error;
};

static const struct broken broken[] = {
    {"{\"type\": \"float\"}", "schema: the value of type must be"},
    {"{\"type\": []}", "the value of type must be"},
    {"{\"properties\": {\"a\": {\"maxLength\": -1}}}", "/properties/a: the value of maxLength"},
    {"{\"minLength\": 1.5}", "must be an integer from 0 on"},
    {"{\"multipleOf\": 0}", "must be a number above 0"},
    {"{\"required\": \"a\"}", "must be an array of strings"},
    {"{\"required\": [1]}", "must be an array of strings"},
    {"{\"dependentRequired\": {\"a\": \"b\"}}", "must be an object of arrays of strings"},
    {"{\"properties\": []}", "must be an object"},
    {"{\"properties\": {\"a\": 1}}", "/properties/a is not a schema"},
    {"{\"items\": [true]}", "/items is not a schema"},
    {"{\"allOf\": []}", "at least one schema"},
    {"{\"uniqueItems\": 1}", "must be a boolean"},
    {"{\"enum\": {}}", "must be an array"},
    {"{\"maximum\": \"1\"}", "must be a number"},
    {"{\"format\": 1}", "must be a string"},
    {"{\"pattern\": 1}", "must be a string"},
    {"{\"pattern\": \"(\"}", "the pattern ( does not compile"},
    {"{\"pattern\": \"\\\\A\"}", "an escape that ECMA-262 does not have"},
    {"{\"pattern\": \"(?i)a\"}", "a group that ECMA-262 does not have"},
    {"{\"pattern\": \"(*LIMIT_MATCH=1)a\"}", "nothing to repeat"},
    {"{\"pattern\": \"a++\"}", "nothing to repeat"},
    {"{\"pattern\": \"^a{,3}$\"}", "a brace that is not a quantifier"},
    {"{\"pattern\": \"a{\"}", "a brace that is not a quantifier"},
    {"{\"pattern\": \"a{1,b}\"}", "a brace that is not a quantifier"},
    {"{\"pattern\": \"a{ 1}\"}", "a brace that is not a quantifier"},
    {"{\"pattern\": \"{\"}", "nothing to repeat"},
    {"{\"pattern\": \"^{1}\"}", "nothing to repeat"},
    {"{\"pattern\": \"a{1}{2}\"}", "nothing to repeat"},
    {"{\"pattern\": \"a{1}+\"}", "nothing to repeat"},
    {"{\"pattern\": \"a*?+\"}", "nothing to repeat"},
    {"{\"pattern\": \"^*\"}", "nothing to repeat"},
    {"{\"pattern\": \"\\\\b+\"}", "nothing to repeat"},
    {"{\"pattern\": \"(?=a)*\"}", "nothing to repeat"},
    {"{\"pattern\": \"(?<!a)?\"}", "nothing to repeat"},
    {"{\"pattern\": \"a|*\"}", "nothing to repeat"},
    {"{\"pattern\": \"a}\"}", "a lone brace or bracket"},
    {"{\"pattern\": \"a]\"}", "a lone brace or bracket"},
    {"{\"pattern\": \"[[:alpha:]]\"}", "a lone brace or bracket"},
    {"{\"pattern\": \"a)\"}", "an unmatched parenthesis"},
    {"{\"pattern\": \"[\\\\d-z]\"}", "a range that begins with a class"},
    {"{\"pattern\": \"[a-\\\\d]\"}", "a range that ends in a class"},
    {"{\"pattern\": \"[b-a]\"}", "does not compile"},
    {"{\"pattern\": \"(a)\\\\2\"}", "a reference to a group that does not exist"},
    {"{\"pattern\": \"(a)\\\\10\"}", "a reference to a group that does not exist"},
    {"{\"pattern\": \"(?<n>a)\\\\k'n'\"}", "k needs a name"},
    {"{\"pattern\": \"\\\\u12\"}", "four hexadecimal digits"},
    {"{\"pattern\": \"\\\\p{NoSuch}\"}", "does not compile"},
    {"{\"pattern\": \"a\\\\\"}", "ends in a backslash"},
    {"{\"patternProperties\": {\"[\": true}}", "the pattern [ does not compile"},
    {"{\"$ref\": \"#/$defs/none\"}", "does not exist in its document"},
    {"{\"$ref\": \"#none\"}", "does not exist in its document"},
    {"{\"allOf\": [true, true], \"$ref\": \"#/allOf/01\"}", "does not exist in its document"},
    {"{\"allOf\": [true, true], \"$ref\": \"#/allOf/+1\"}", "does not exist in its document"},
    {"{\"$ref\": \"#/%zz\"}", "does not exist in its document"},
    {"{\"$ref\": \"other.json\"}", "https://test.invalid/other.json is not among the schemas"},
    {"{\"$ref\": 1}", "must be a string"},
    {"{\"$schema\": \"http://json-schema.org/draft-07/schema#\"}", "is not among the schemas"},
    {"{\"$defs\": 1}", "must be an object"},
};

Test(schema, an_invalid_schema_does_not_compile_and_the_error_has_its_location)
{
    for (size_t i = 0; i < ARRAY_LENGTH(broken); i++) {
        struct schema_set *set = schema_set_new(0);
        AUTO_FREE char *error = NULL;
        cr_assert(add(set, URI, broken[i].schema, &error), "%s", error);
        cr_expect_null(schema_compile(set, URI, &error), "%s", broken[i].schema);
        cr_expect(error != NULL && strstr(error, broken[i].error) != NULL, "%s: %s",
                  broken[i].schema, error);
        schema_set_free(set);
    }
}

Test(schema, documents_with_the_same_uri_are_rejected)
{
    static const struct broken rows[] = {
        {"1", "is not a schema"},
        {"{\"$id\": \"https://test.invalid/first\"}", "is given to two schemas"},
        {"{\"$defs\": {\"a\": {\"$anchor\": \"x\"}, \"b\": {\"$anchor\": \"x\"}}}", "two anchors"},
        {"{\"$defs\": {\"a\": {\"$id\": \"b#c\"}}}", "has a fragment"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct schema_set *set = schema_set_new(0);
        AUTO_FREE char *error = NULL;
        cr_assert(add(set, "https://test.invalid/first", "true", &error));
        cr_expect_not(add(set, URI, rows[i].schema, &error));
        cr_expect(error != NULL && strstr(error, rows[i].error) != NULL, "%s", error);
        schema_set_free(set);
    }
}

/* An invalid document affects neither earlier nor later ones. */
Test(schema, a_failed_compilation_leaves_the_set_as_it_was)
{
    struct schema_set *set = schema_set_new(0);
    AUTO_FREE char *error = NULL;
    cr_assert(add(set, "https://test.invalid/a", "{\"$ref\": \"b\"}", &error));
    cr_assert(add(set, "https://test.invalid/b",
                  "{\"type\": \"null\", \"$defs\": {\"x\": {\"$ref\": \"c\"}}}", &error));
    cr_assert(add(set, "https://test.invalid/bad",
                  "{\"allOf\": [{\"$ref\": \"b#/$defs/x\"}, {\"type\": 1}]}", &error));
    cr_assert(
        add(set, "https://test.invalid/c", "{\"$dynamicAnchor\": \"d\", \"minimum\": 1}", &error));
    const struct schema *first = schema_compile(set, "https://test.invalid/a", &error);
    cr_assert_not_null(first);
    AUTO_FREE char *why = NULL;
    cr_assert_null(schema_compile(set, "https://test.invalid/bad", &why));
    json_t *one = json_integer(0);
    cr_expect_not(schema_validate(first, one, NULL));
    const struct schema *third = schema_compile(set, "https://test.invalid/b#/$defs/x", &error);
    cr_assert_not_null(third);
    cr_expect_not(schema_validate(third, one, NULL));
    cr_expect_eq(third, schema_compile(set, "https://test.invalid/b#/$defs/x", &error));
    json_decref(one);
    schema_set_free(set);
}

Test(schema, the_meta_schema_validates_schemas)
{
    struct schema_set *set = schema_set_new(0);
    AUTO_FREE char *error = NULL;
    const struct schema *meta =
        schema_compile(set, "https://json-schema.org/draft/2020-12/schema", &error);
    cr_assert_not_null(meta, "%s", error);
    json_t *bad = parse("{\"properties\": {\"a\": {\"items\": {\"minLength\": \"1\"}}}}");
    struct violations found = {0};
    cr_assert_not(schema_validate(meta, bad, &found));
    cr_expect_eq(found.total, 1);
    cr_expect_str_eq(found.items[0].instance_location, "/properties/a/items/minLength");
    violations_deinit(&found);
    json_decref(bad);
    schema_set_free(set);
}

/* A subschema with an $id has the dialect of the document around it. */
Test(schema, vocabularies_are_inherited_and_unknown_required_ones_rejected)
{
    struct schema_set *set = schema_set_new(0);
    AUTO_FREE char *error = NULL;
    cr_assert(add(set, "https://test.invalid/meta",
                  "{\"$vocabulary\": {\"https://json-schema.org/draft/2020-12/vocab/core\": true, "
                  "\"https://json-schema.org/draft/2020-12/vocab/applicator\": true, "
                  "\"https://test.invalid/optional\": false}}",
                  &error));
    cr_assert(
        add(set, URI,
            "{\"$schema\": \"https://test.invalid/meta\", \"$ref\": \"inner\", \"minimum\": 5, "
            "\"$defs\": {\"a\": {\"$id\": \"inner\", \"minimum\": 5, \"not\": false}}}",
            &error));
    cr_assert(add(set, "https://test.invalid/strict",
                  "{\"$vocabulary\": {\"https://test.invalid/unknown\": true}}", &error));
    cr_assert(add(set, "https://test.invalid/c", "{\"$schema\": \"strict\"}", &error));
    cr_assert(add(set, "https://test.invalid/d", "{\"$schema\": \"https://test.invalid/strict\"}",
                  &error));
    const struct schema *schema = schema_compile(set, URI, &error);
    cr_assert_not_null(schema, "%s", error);
    json_t *one = json_integer(1);
    cr_expect(schema_validate(schema, one, NULL));
    json_decref(one);
    AUTO_FREE char *relative = NULL;
    AUTO_FREE char *unknown = NULL;
    cr_expect_null(schema_compile(set, "https://test.invalid/c", &relative));
    cr_expect_null(schema_compile(set, "https://test.invalid/d", &unknown));
    cr_expect_not_null(strstr(unknown, "requires the unknown vocabulary"), "%s", unknown);
    schema_set_free(set);
}

/* ---- Directories ---- */

static char root[] = "/tmp/presignd-schema-XXXXXX";

static void write_file(const char *dir, const char *name, const char *text)
{
    AUTO_FREE char *directory = mem_printf("%s/%s", root, dir);
    AUTO_FREE char *path = mem_printf("%s/%s", directory, name);
    mkdir(directory, 0700);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    fputs(text, file);
    cr_assert_eq(fclose(file), 0);
}

static void make_root(void)
{
    cr_assert_not_null(mkdtemp(root));
}

static void remove_root(void)
{
    AUTO_FREE char *command = mem_printf("rm -rf %s", root);
    cr_assert_eq(system(command), 0);
}

TestSuite(schema_dir, .init = make_root, .fini = remove_root);

static struct schema_set *load(const char *dirs, char **error)
{
    struct schema_set *set = schema_set_new(0);
    if (schema_set_add_dir(set, dirs, error)) {
        return set;
    }
    return schema_set_free(set);
}

Test(schema_dir, the_first_directory_with_a_name_wins)
{
    write_file("own", "b.json", "{\"const\": 1}");
    write_file("shipped", "a.json", "{\"$ref\": \"b.json\"}");
    write_file("shipped", "b.json", "{\"const\": 2}");
    write_file("shipped", "README.md", "no schema");
    AUTO_FREE char *dirs = mem_printf("%s/absent:%s/own::%s/shipped", root, root, root);
    AUTO_FREE char *error = NULL;
    struct schema_set *set = load(dirs, &error);
    cr_assert_not_null(set, "%s", error);
    const struct schema *schema = schema_compile(set, SCHEMA_BASE "a.json", &error);
    cr_assert_not_null(schema, "%s", error);
    json_t *one = json_integer(1);
    cr_expect(schema_validate(schema, one, NULL));
    json_decref(one);
    schema_set_free(set);
}

Test(schema_dir, errors_name_the_file)
{
    AUTO_FREE char *dir = mem_printf("%s/d", root);
    AUTO_FREE char *absent = NULL;
    cr_expect_null(load(dir, &absent));
    cr_expect_not_null(strstr(absent, "no schema (*.json) is in"));
    write_file("d", "x.json", "{\"type\":\n  }");
    AUTO_FREE char *syntax = NULL;
    cr_expect_null(load(dir, &syntax));
    cr_expect_not_null(strstr(syntax, "/d/x.json:2:"), "%s", syntax);
    write_file("d", "x.json", "{\"$id\": \"https://json-schema.org/draft/2020-12/schema\"}");
    AUTO_FREE char *clash = NULL;
    cr_expect_null(load(dir, &clash));
    cr_expect_not_null(strstr(clash, "/d/x.json: the URI"), "%s", clash);
    AUTO_FREE char *path = mem_printf("%s/x.json", dir);
    AUTO_FREE char *kind = NULL;
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(mkfifo(path, 0600), 0); /* must not block */
    cr_expect_null(load(dir, &kind));
    cr_expect_not_null(strstr(kind, "/d/x.json: is not a regular file"), "%s", kind);
}
