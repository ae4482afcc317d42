/* Patterns: from ECMA-262 with the `u` flag (JSON Schema core, section 6.4) to PCRE2.
 *
 * The dialects share most of their grammar. Translated are \s and `.` (other sets), \u and \x
 * (other notation) and the long names of properties. Syntax of PCRE2 alone (\A, (?i), (*VERB),
 * POSIX classes, a lone brace and more) is an error, as in ECMA-262, section 22.2.1. PCRE2 does not
 * support look-behind of unbounded length. */
#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "schema/node.h"

#include <stdlib.h>
#include <string.h>

/* The atom before the current position in a class: may a range begin with it? */
enum class_state {
    CLASS_START,     /* none, or the end of a range */
    CLASS_CHARACTER, /* yes */
    CLASS_SET,       /* no: \d and the like */
    CLASS_RANGE,     /* the `-` of a range: its end must follow */
};

struct translation {
    const char *at, *end;
    struct buf *out;
    struct buf open; /* the kind of each open group: ASSERTION or GROUP */
    bool in_class;
    enum class_state class_state;
    bool repeatable; /* a quantifier may follow */
    unsigned groups; /* capturing ones */
    unsigned reference_max;
    struct schema_pattern_cost *cost;
    const char *error;
};

enum { GROUP = 'g', ASSERTION = 'a' };

/* Keeps the first error. Returns false. */
static bool fail(struct translation *t, const char *why)
{
    t->error = t->error == NULL ? why : t->error;
    return false;
}

static bool next_is(const struct translation *t, char c)
{
    return t->at < t->end && *t->at == c;
}

/* White space and line ends (ECMA-262, sections 12.2 and 12.3) and their complement, both for use
 * inside a character class. */
#define SPACES                                                                          \
    "\\t\\n\\x{b}\\f\\r \\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}" \
    "\\x{205f}\\x{3000}\\x{feff}"
#define NO_SPACES                                                                  \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}!-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"     \
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}" \
    "\\x{3001}-\\x{fefe}\\x{ff00}-\\x{10ffff}"

/* Long names of general categories (Unicode Standard Annex 44, table 12). PCRE2 knows the short
 * names, the scripts and the binary properties. */
static const struct {
    const char *name;
    const char *pcre2;
} categories[] = {
    {"Letter", "L"},
    {"Cased_Letter", "L&"},
    {"LC", "L&"},
    {"Uppercase_Letter", "Lu"},
    {"Lowercase_Letter", "Ll"},
    {"Titlecase_Letter", "Lt"},
    {"Modifier_Letter", "Lm"},
    {"Other_Letter", "Lo"},
    {"Mark", "M"},
    {"Combining_Mark", "M"},
    {"Nonspacing_Mark", "Mn"},
    {"Spacing_Mark", "Mc"},
    {"Enclosing_Mark", "Me"},
    {"Number", "N"},
    {"Decimal_Number", "Nd"},
    {"digit", "Nd"},
    {"Letter_Number", "Nl"},
    {"Other_Number", "No"},
    {"Punctuation", "P"},
    {"punct", "P"},
    {"Connector_Punctuation", "Pc"},
    {"Dash_Punctuation", "Pd"},
    {"Open_Punctuation", "Ps"},
    {"Close_Punctuation", "Pe"},
    {"Initial_Punctuation", "Pi"},
    {"Final_Punctuation", "Pf"},
    {"Other_Punctuation", "Po"},
    {"Symbol", "S"},
    {"Math_Symbol", "Sm"},
    {"Currency_Symbol", "Sc"},
    {"Modifier_Symbol", "Sk"},
    {"Other_Symbol", "So"},
    {"Separator", "Z"},
    {"Space_Separator", "Zs"},
    {"Line_Separator", "Zl"},
    {"Paragraph_Separator", "Zp"},
    {"Other", "C"},
    {"Control", "Cc"},
    {"cntrl", "Cc"},
    {"Format", "Cf"},
    {"Surrogate", "Cs"},
    {"Private_Use", "Co"},
    {"Unassigned", "Cn"},
};

/* Adds brackets unless it is inside a class. */
static void put_set(struct translation *t, const char *inside)
{
    buf_printf(t->out, t->in_class ? "%s" : "[%s]", inside);
}

/* \p{…} or \P{…}; `at` is after the letter. */
static bool put_property(struct translation *t, char letter)
{
    const char *end =
        t->at < t->end && *t->at == '{' ? memchr(t->at, '}', (size_t)(t->end - t->at)) : NULL;
    if (end == NULL) {
        return fail(t, "\\p needs a property in braces");
    }
    static const char *const prefixes[] = {
        "General_Category=", "gc=", "Script=", "sc=", "scx=", "Script_Extensions="};
    AUTO_FREE char *name = mem_dup(t->at + 1, (size_t)(end - t->at - 1));
    t->at = end + 1;
    const char *short_name = name;
    const char *script = "";
    for (size_t i = 0; i < ARRAY_LENGTH(prefixes); i++) {
        size_t len = strlen(prefixes[i]);
        if (strncmp(name, prefixes[i], len) == 0) {
            short_name = name + len;
            script = i < 2 ? "" : i < 4 ? "sc=" : "scx=";
        }
    }
    for (size_t i = 0; i < ARRAY_LENGTH(categories); i++) {
        if (script[0] == '\0' && strcmp(short_name, categories[i].name) == 0) {
            short_name = categories[i].pcre2;
            break;
        }
    }
    buf_printf(t->out, "\\%c{%s%s}", letter, script, short_name);
    return true;
}

/* Reads `count` hexadecimal digits. */
static bool take_hex(struct translation *t, size_t count, unsigned *value)
{
    *value = 0;
    if ((size_t)(t->end - t->at) < count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        int digit = text_hex_value(t->at[i]);
        if (digit < 0) {
            return false;
        }
        *value = *value * 16 + (unsigned)digit;
    }
    t->at += count;
    return true;
}

/* After \u: four digits, a surrogate pair, or digits in braces. */
static bool put_code_point(struct translation *t)
{
    unsigned value = 0, low;
    if (t->at < t->end && *t->at == '{') {
        const char *end = memchr(t->at, '}', (size_t)(t->end - t->at));
        t->at++;
        if (end == NULL || end - t->at > 8 || !take_hex(t, (size_t)(end - t->at), &value)) {
            return fail(t, "\\u{ needs hexadecimal digits and a }");
        }
        t->at++;
    } else if (!take_hex(t, 4, &value)) {
        return fail(t, "\\u needs four hexadecimal digits");
    }
    const char *second = t->at;
    if (value >= 0xd800 && value < 0xdc00 && t->end - second >= 6 &&
        memcmp(second, "\\u", 2) == 0) {
        t->at += 2;
        if (take_hex(t, 4, &low) && low >= 0xdc00 && low < 0xe000) {
            value = 0x10000 + ((value - 0xd800) << 10) + (low - 0xdc00);
        } else {
            t->at = second;
        }
    }
    buf_printf(t->out, "\\x{%x}", value);
    return true;
}

static bool put_hex_escape(struct translation *t)
{
    unsigned value;
    if (!take_hex(t, 2, &value)) {
        return fail(t, "\\x needs two hexadecimal digits");
    }
    buf_printf(t->out, "\\x{%x}", value);
    return true;
}

/* ---- Escapes ---- */

/* Letters with the same meaning in both dialects. */
static bool put_same(struct translation *t, char c)
{
    static const char same[] = "dDwWtnfr";
    if (t->in_class && c == 'b') { /* a backspace */
        buf_puts(t->out, "\\x{8}");
        return true;
    }
    bool boundary = !t->in_class && (c == 'b' || c == 'B');
    if (!boundary && (c == '\0' || strchr(same, c) == NULL)) {
        return fail(t, "an escape that ECMA-262 does not have");
    }
    t->repeatable = !boundary;
    buf_printf(t->out, "\\%c", c);
    return true;
}

/* \1 and so on; `at` is after the first digit. With `u`, two digits are never an octal number. */
static bool put_back_reference(struct translation *t)
{
    unsigned number = (unsigned)(t->at[-1] - '0');
    while (t->at < t->end && text_is_digit(*t->at) && number < 1000) {
        number = number * 10 + (unsigned)(*t->at++ - '0');
    }
    t->reference_max = number > t->reference_max ? number : t->reference_max;
    t->cost->has_back_reference = true;
    buf_printf(t->out, "\\g{%u}", number);
    return true;
}

/* \k<name>; the name is copied like other text. */
static bool put_named_reference(struct translation *t)
{
    if (!next_is(t, '<')) {
        return fail(t, "\\k needs a name in < and >");
    }
    t->cost->has_back_reference = true;
    buf_puts(t->out, "\\k");
    return true;
}

static bool put_control(struct translation *t)
{
    int letter = t->at < t->end ? *t->at | 0x20 : 0;
    if (letter < 'a' || letter > 'z') {
        return fail(t, "\\c needs a letter");
    }
    t->at++;
    buf_printf(t->out, "\\x{%x}", (unsigned)letter - 'a' + 1U);
    return true;
}

static bool put_null(struct translation *t)
{
    if (t->at < t->end && text_is_digit(*t->at)) {
        return fail(t, "\\0 before a digit");
    }
    buf_puts(t->out, "\\x{0}");
    return true;
}

/* `at` is after the backslash and `c`. */
static bool put_escaped(struct translation *t, char c)
{
    static const char syntax[] = "^$\\.*+?()[]{}|/";
    switch (c) {
    case 's':
        put_set(t, SPACES);
        return true;
    case 'S':
        put_set(t, NO_SPACES);
        return true;
    case 'v':
        buf_puts(t->out, "\\x{b}");
        return true;
    case '0':
        return put_null(t);
    case 'c':
        return put_control(t);
    case 'p':
    case 'P':
        return put_property(t, c);
    case 'u':
        return put_code_point(t);
    case 'x':
        return put_hex_escape(t);
    case 'k':
        return t->in_class ? put_same(t, c) : put_named_reference(t);
    default:
        if ((c != '\0' && strchr(syntax, c) != NULL) || (t->in_class && c == '-')) {
            buf_printf(t->out, "\\%c", c);
            return true;
        }
        return !t->in_class && c >= '1' && c <= '9' ? put_back_reference(t) : put_same(t, c);
    }
}

/* ---- Classes ---- */

/* A range may not begin or end with a set (section 22.2.1.1). */
static bool add_atom(struct translation *t, bool set)
{
    if (t->class_state == CLASS_RANGE) {
        t->class_state = CLASS_START;
        return !set || fail(t, "a range that ends in a class");
    }
    t->class_state = set ? CLASS_SET : CLASS_CHARACTER;
    return true;
}

static bool put_hyphen(struct translation *t)
{
    bool between = (t->class_state == CLASS_CHARACTER || t->class_state == CLASS_SET) &&
                   t->at < t->end && *t->at != ']';
    if (!between) {
        buf_puts(t->out, "\\-");
        return add_atom(t, false);
    }
    if (t->class_state == CLASS_SET) {
        return fail(t, "a range that begins with a class");
    }
    t->class_state = CLASS_RANGE;
    buf_putc(t->out, '-');
    return true;
}

/* Inside a class. The first byte of a character counts as the atom. */
static bool put_class_character(struct translation *t, char c)
{
    switch (c) {
    case ']':
        t->in_class = false;
        t->repeatable = true;
        buf_putc(t->out, ']');
        return true;
    case '-':
        return put_hyphen(t);
    case '[': /* PCRE2 reads [: as a POSIX class */
        buf_puts(t->out, "\\[");
        return add_atom(t, false);
    default:
        buf_putc(t->out, c);
        return ((unsigned char)c & 0xc0) == 0x80 || add_atom(t, false);
    }
}

static void open_class(struct translation *t)
{
    t->in_class = true;
    t->class_state = CLASS_START;
    buf_putc(t->out, '[');
    if (next_is(t, '^')) {
        buf_putc(t->out, *t->at++);
    }
}

static bool put_escape(struct translation *t)
{
    static const char sets[] = "dDsSwWpP";
    if (t->at == t->end) {
        return fail(t, "ends in a backslash");
    }
    char c = *t->at++;
    t->repeatable = true;
    return put_escaped(t, c) && (!t->in_class || add_atom(t, c != '\0' && strchr(sets, c) != NULL));
}

/* ---- Groups and quantifiers ---- */

/* The start of a group, if both dialects have it; `at` is after the parenthesis. */
static bool open_group(struct translation *t)
{
    static const struct {
        const char *start;
        char kind;
        bool captures;
    } starts[] = {{"?:", GROUP, false},      {"?=", ASSERTION, false},  {"?!", ASSERTION, false},
                  {"?<=", ASSERTION, false}, {"?<!", ASSERTION, false}, {"?<", GROUP, true},
                  {"", GROUP, true}};
    t->repeatable = false;
    buf_putc(t->out, '(');
    size_t i = 0;
    for (; i < ARRAY_LENGTH(starts); i++) {
        size_t len = strlen(starts[i].start);
        if ((size_t)(t->end - t->at) >= len && memcmp(t->at, starts[i].start, len) == 0) {
            buf_puts(t->out, starts[i].start);
            t->at += len;
            break;
        }
    }
    buf_putc(&t->open, starts[i].kind);
    t->groups += starts[i].captures;
    return !next_is(t, '?') || starts[i].start[0] != '\0' ||
           fail(t, "a group that ECMA-262 does not have");
}

/* With `u` an assertion takes no quantifier. */
static bool close_group(struct translation *t)
{
    if (t->open.len == 0) {
        return fail(t, "an unmatched parenthesis");
    }
    t->repeatable = t->open.data[--t->open.len] == GROUP;
    buf_putc(t->out, ')');
    return true;
}

static bool take_digits(struct translation *t, unsigned *number)
{
    const char *start = t->at;
    for (*number = 0; t->at < t->end && text_is_digit(*t->at); t->at++) {
        *number = *number < 1000000 ? *number * 10 + (unsigned)(*t->at - '0') : *number;
    }
    return t->at > start;
}

/* {n}, {n,} or {n,m}; `at` is after the brace. PCRE2 takes anything else literally. */
static bool put_braces(struct translation *t)
{
    const char *start = t->at;
    unsigned min, max;
    bool fits = take_digits(t, &min);
    if (fits && next_is(t, ',')) {
        t->at++;
        (void)take_digits(t, &max);
    }
    if (!fits || !next_is(t, '}')) {
        return fail(t, "a brace that is not a quantifier");
    }
    t->at++;
    t->cost->repeat_min = min > t->cost->repeat_min ? min : t->cost->repeat_min;
    buf_append(t->out, start, (size_t)(t->at - start));
    return true;
}

/* Only `?` may follow a quantifier. PCRE2 takes `+` as possessive. */
static bool put_quantifier(struct translation *t, char c)
{
    if (!t->repeatable) {
        return fail(t, "nothing to repeat");
    }
    t->repeatable = false;
    buf_putc(t->out, c);
    if (c == '{' && !put_braces(t)) {
        return false;
    }
    if (next_is(t, '?')) {
        buf_putc(t->out, *t->at++);
    }
    return true;
}

/* Outside a class. */
static bool put_plain(struct translation *t, char c)
{
    switch (c) {
    case '.':
        buf_puts(t->out, "[^\\n\\r\\x{2028}\\x{2029}]");
        t->repeatable = true;
        return true;
    case '(':
        return open_group(t);
    case ')':
        return close_group(t);
    case '[':
        open_class(t);
        return true;
    case '*':
    case '+':
    case '?':
    case '{':
        return put_quantifier(t, c);
    case '}':
    case ']':
        return fail(t, "a lone brace or bracket: escape it with a backslash");
    default:
        t->repeatable = c != '^' && c != '$' && c != '|';
        buf_putc(t->out, c);
        return true;
    }
}

bool schema_pattern_translate(const char *source, size_t len, struct buf *out,
                              struct schema_pattern_cost *cost, const char **error)
{
    struct translation t = {.at = source, .end = source + len, .out = out, .cost = cost};
    *cost = (struct schema_pattern_cost){0};
    buf_reserve(out, len);
    bool fine = true;
    while (fine && t.at < t.end) {
        char c = *t.at++;
        fine = c == '\\'    ? put_escape(&t)
               : t.in_class ? put_class_character(&t, c)
                            : put_plain(&t, c);
    }
    if (fine && t.reference_max > t.groups) {
        fine = fail(&t, "a reference to a group that does not exist");
    }
    *error = t.error;
    buf_deinit(&t.open);
    return fine;
}
