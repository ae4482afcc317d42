/* Patterns: from ECMA-262 with the `u` flag (JSON Schema core, section 6.4) to PCRE2.
 *
 * The two dialects share most of their grammar. What differs is translated: \d, \w, \s and `.`
 * mean sets of their own, \u and \x are written otherwise, properties have long names. What only
 * PCRE2 knows (\A, (?i), (*VERB), POSIX classes, a lone brace and more) is a syntax error here as
 * it is there (ECMA-262, section 22.2.1); look-behind of unbounded length is the one thing that
 * PCRE2 cannot do. */
#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "schema/node.h"

#include <stdlib.h>
#include <string.h>

/* What the atom before the place in a class means for a `-` that follows it. */
enum class_state {
    CLASS_START,     /* nothing, or the end of a range */
    CLASS_CHARACTER, /* may begin a range */
    CLASS_SET,       /* \d and the like: may not */
    CLASS_RANGE,     /* a range's `-`: its end must follow */
};

struct translation {
    const char *at, *end;
    struct buf *out;
    struct buf open; /* of each open group its kind: ASSERTION or GROUP */
    bool in_class;
    enum class_state class_state;
    bool repeatable; /* the term before the place takes a quantifier */
    unsigned groups; /* capturing ones */
    unsigned reference_max;
    struct schema_pattern_cost *cost;
    const char *error;
};

enum { GROUP = 'g', ASSERTION = 'a' };

/* The first reason is the one that is told. Always false. */
static bool refuse(struct translation *t, const char *why)
{
    t->error = t->error == NULL ? why : t->error;
    return false;
}

static bool next_is(const struct translation *t, char c)
{
    return t->at < t->end && *t->at == c;
}

/* Inside of a character class, for [ ] or [^ ]. White space and line ends: ECMA-262, sections
 * 12.2 and 12.3. The complement is written out, since it may stand inside a class too. */
#define SPACES                                                                          \
    "\\t\\n\\x{b}\\f\\r \\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}" \
    "\\x{205f}\\x{3000}\\x{feff}"
#define NO_SPACES                                                                  \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}!-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"     \
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}" \
    "\\x{3001}-\\x{fefe}\\x{ff00}-\\x{10ffff}"

/* General categories by their long names (Unicode Standard Annex 44, table 12); PCRE2 knows the
 * short ones, the scripts and the binary properties itself. */
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

/* Brackets unless it stands in some already. */
static void put_set(struct translation *t, const char *inside)
{
    buf_printf(t->out, t->in_class ? "%s" : "[%s]", inside);
}

/* \p{…} or \P{…}; `at` is behind the letter. */
static bool put_property(struct translation *t, char letter)
{
    const char *end =
        t->at < t->end && *t->at == '{' ? memchr(t->at, '}', (size_t)(t->end - t->at)) : NULL;
    if (end == NULL) {
        return refuse(t, "\\p needs a property in braces");
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

/* `count` hex digits. */
static bool take_hex(struct translation *t, size_t count, unsigned *value)
{
    *value = 0;
    if ((size_t)(t->end - t->at) < count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        char c = t->at[i];
        char low = (char)(c | 0x20);
        if (!(c >= '0' && c <= '9') && !(low >= 'a' && low <= 'f')) {
            return false;
        }
        *value = *value * 16 + (unsigned)(c <= '9' ? c - '0' : low - 'a' + 10);
    }
    t->at += count;
    return true;
}

/* Behind \u: four digits, two such halves of a pair, or any number in braces. */
static bool put_code_point(struct translation *t)
{
    unsigned value = 0, low;
    if (t->at < t->end && *t->at == '{') {
        const char *end = memchr(t->at, '}', (size_t)(t->end - t->at));
        t->at++;
        if (end == NULL || end - t->at > 8 || !take_hex(t, (size_t)(end - t->at), &value)) {
            return refuse(t, "\\u{ needs hexadecimal digits and a }");
        }
        t->at++;
    } else if (!take_hex(t, 4, &value)) {
        return refuse(t, "\\u needs four hexadecimal digits");
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
        return refuse(t, "\\x needs two hexadecimal digits");
    }
    buf_printf(t->out, "\\x{%x}", value);
    return true;
}

/* ---- Escapes ---- */

/* Letters that mean the same in both dialects. */
static bool put_same(struct translation *t, char c)
{
    static const char same[] = "dDwWtnfr";
    if (t->in_class && c == 'b') { /* a backspace */
        buf_puts(t->out, "\\x{8}");
        return true;
    }
    bool boundary = !t->in_class && (c == 'b' || c == 'B');
    if (!boundary && (c == '\0' || strchr(same, c) == NULL)) {
        return refuse(t, "an escape that ECMA-262 does not know");
    }
    t->repeatable = !boundary;
    buf_printf(t->out, "\\%c", c);
    return true;
}

/* \1 and so on; `at` is behind the first digit. Two digits are never an octal number here. */
static bool put_back_reference(struct translation *t)
{
    unsigned number = (unsigned)(t->at[-1] - '0');
    while (t->at < t->end && *t->at >= '0' && *t->at <= '9' && number < 1000) {
        number = number * 10 + (unsigned)(*t->at++ - '0');
    }
    t->reference_max = number > t->reference_max ? number : t->reference_max;
    t->cost->refers_back = true;
    buf_printf(t->out, "\\g{%u}", number);
    return true;
}

/* \k<name>; its name is copied like any text. */
static bool put_named_reference(struct translation *t)
{
    if (!next_is(t, '<')) {
        return refuse(t, "\\k needs a name in < and >");
    }
    t->cost->refers_back = true;
    buf_puts(t->out, "\\k");
    return true;
}

static bool put_control(struct translation *t)
{
    int letter = t->at < t->end ? *t->at | 0x20 : 0;
    if (letter < 'a' || letter > 'z') {
        return refuse(t, "\\c needs a letter");
    }
    t->at++;
    buf_printf(t->out, "\\x{%x}", (unsigned)letter - 'a' + 1U);
    return true;
}

static bool put_null(struct translation *t)
{
    if (t->at < t->end && *t->at >= '0' && *t->at <= '9') {
        return refuse(t, "\\0 before a digit");
    }
    buf_puts(t->out, "\\x{0}");
    return true;
}

/* `at` is behind the backslash and `c`. */
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

/* A class may stand at neither end of a range (section 22.2.1.1). */
static bool add_atom(struct translation *t, bool set)
{
    if (t->class_state == CLASS_RANGE) {
        t->class_state = CLASS_START;
        return !set || refuse(t, "a range that ends in a class");
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
        return refuse(t, "a range that begins with a class");
    }
    t->class_state = CLASS_RANGE;
    buf_putc(t->out, '-');
    return true;
}

/* Inside a class. Of a character beyond ASCII the first byte is the atom. */
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
    case '[': /* would begin a POSIX class, in PCRE2 only */
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
        return refuse(t, "ends in a backslash");
    }
    char c = *t->at++;
    t->repeatable = true;
    return put_escaped(t, c) && (!t->in_class || add_atom(t, c != '\0' && strchr(sets, c) != NULL));
}

/* ---- Groups and quantifiers ---- */

/* A group's start: only what both dialects have; `at` is behind the parenthesis. */
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
           refuse(t, "a group that ECMA-262 does not know");
}

/* With `u` an assertion takes no quantifier. */
static bool close_group(struct translation *t)
{
    if (t->open.len == 0) {
        return refuse(t, "a parenthesis that closes nothing");
    }
    t->repeatable = t->open.data[--t->open.len] == GROUP;
    buf_putc(t->out, ')');
    return true;
}

static bool take_digits(struct translation *t, unsigned *number)
{
    const char *start = t->at;
    for (*number = 0; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++) {
        *number = *number < 1000000 ? *number * 10 + (unsigned)(*t->at - '0') : *number;
    }
    return t->at > start;
}

/* {n}, {n,} or {n,m}; `at` is behind the brace. PCRE2 would take any other for a text. */
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
        return refuse(t, "a brace that is no quantifier");
    }
    t->at++;
    t->cost->repeat_min = min > t->cost->repeat_min ? min : t->cost->repeat_min;
    buf_append(t->out, start, (size_t)(t->at - start));
    return true;
}

/* Of a quantifier a `?` may follow, and nothing else that repeats: a `+` would make it
 * possessive, to PCRE2 alone. */
static bool put_quantifier(struct translation *t, char c)
{
    if (!t->repeatable) {
        return refuse(t, "nothing to repeat");
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
        return refuse(t, "a lone brace or bracket: a backslash must stand before it");
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
        fine = refuse(&t, "a reference to a group that is not there");
    }
    *error = t.error;
    buf_deinit(&t.open);
    return fine;
}
