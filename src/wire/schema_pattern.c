/* Patterns: ECMA-262 with the `u` flag (core specification, section 6.4), run by PCRE2.
 *
 * The two dialects share most of their grammar. What differs is translated: \d, \w, \s and `.`
 * mean sets of their own, \u and \x are written otherwise, properties have long names. What only
 * PCRE2 knows (\A, (?i), (*VERB), POSIX classes and more) is no ECMA-262 and does not compile;
 * look-behind of unbounded length is the one thing that PCRE2 cannot do. No JIT: the daemon's unit
 * forbids memory that is both writable and executable. */
#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "presignd/wire/schema_node.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

/* Enough for any sensible pattern on 64 KiB, and over in some tens of milliseconds. */
enum { MATCH_STEPS_MAX = 1000000, MATCH_DEPTH_MAX = 10000, MATCH_HEAP_MAX_KIB = 8192 };

struct schema_pattern {
    pcre2_code *code;
    pcre2_match_context *limits;
};

/* ---- Translation ---- */

struct translation {
    const char *at, *end;
    struct buf out;
    bool in_class;
    const char *error;
};

/* The first reason is the one that is told. Always false. */
static bool refuse(struct translation *t, const char *why)
{
    t->error = t->error == NULL ? why : t->error;
    return false;
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
    buf_printf(&t->out, t->in_class ? "%s" : "[%s]", inside);
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
    buf_printf(&t->out, "\\%c{%s%s}", letter, script, short_name);
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
    buf_printf(&t->out, "\\x{%x}", value);
    return true;
}

static bool put_hex_escape(struct translation *t)
{
    unsigned value;
    if (!take_hex(t, 2, &value)) {
        return refuse(t, "\\x needs two hexadecimal digits");
    }
    buf_printf(&t->out, "\\x{%x}", value);
    return true;
}

/* Letters and digits that mean the same in both dialects. */
static bool put_same(struct translation *t, char c)
{
    static const char same[] = "dDwWtnfr";
    static const char same_outside[] = "bBk123456789";
    bool fine =
        c != '\0' && (strchr(same, c) != NULL || (!t->in_class && strchr(same_outside, c) != NULL));
    if (t->in_class && c == 'b') { /* a backspace */
        buf_puts(&t->out, "\\x{8}");
        return true;
    }
    if (!fine) {
        return refuse(t, "an escape that ECMA-262 does not know");
    }
    buf_printf(&t->out, "\\%c", c);
    return true;
}

static bool put_control(struct translation *t)
{
    int letter = t->at < t->end ? *t->at | 0x20 : 0;
    if (letter < 'a' || letter > 'z') {
        return refuse(t, "\\c needs a letter");
    }
    t->at++;
    buf_printf(&t->out, "\\x{%x}", (unsigned)letter - 'a' + 1U);
    return true;
}

/* `at` is behind the backslash. */
static bool put_escape(struct translation *t)
{
    static const char syntax[] = "^$\\.*+?()[]{}|/";
    if (t->at == t->end) {
        return refuse(t, "ends in a backslash");
    }
    char c = *t->at++;
    switch (c) {
    case 's':
        put_set(t, SPACES);
        return true;
    case 'S':
        put_set(t, NO_SPACES);
        return true;
    case 'v':
        buf_puts(&t->out, "\\x{b}");
        return true;
    case '0':
        if (t->at < t->end && *t->at >= '0' && *t->at <= '9') {
            return refuse(t, "\\0 before a digit");
        }
        buf_puts(&t->out, "\\x{0}");
        return true;
    case 'c':
        return put_control(t);
    case 'p':
    case 'P':
        return put_property(t, c);
    case 'u':
        return put_code_point(t);
    case 'x':
        return put_hex_escape(t);
    default:
        if ((c != '\0' && strchr(syntax, c) != NULL) || (t->in_class && c == '-')) {
            buf_printf(&t->out, "\\%c", c);
            return true;
        }
        return put_same(t, c);
    }
}

/* A group's start: only what both dialects have; `at` is behind the parenthesis. */
static bool put_group(struct translation *t)
{
    static const char *const starts[] = {"?:", "?=", "?!", "?<"};
    buf_putc(&t->out, '(');
    if (t->at < t->end && *t->at == '*') {
        return refuse(t, "nothing to repeat");
    }
    if (t->at == t->end || *t->at != '?') {
        return true;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(starts); i++) {
        if (t->end - t->at >= 2 && memcmp(t->at, starts[i], 2) == 0) {
            buf_puts(&t->out, starts[i]);
            t->at += 2;
            return true;
        }
    }
    return refuse(t, "a group that ECMA-262 does not know");
}

/* Outside a class. A + behind a quantifier would make it possessive, to PCRE2 alone. */
static bool put_plain(struct translation *t, char c)
{
    switch (c) {
    case '.':
        buf_puts(&t->out, "[^\\n\\r\\x{2028}\\x{2029}]");
        return true;
    case '(':
        return put_group(t);
    case '*':
    case '+':
    case '?':
    case '}':
        buf_putc(&t->out, c);
        return t->at == t->end || *t->at != '+' || refuse(t, "nothing to repeat");
    case '[':
        t->in_class = true;
        buf_putc(&t->out, '[');
        if (t->at < t->end && *t->at == '^') {
            buf_putc(&t->out, *t->at++);
        }
        return true;
    default:
        buf_putc(&t->out, c);
        return true;
    }
}

static bool translate(struct translation *t)
{
    while (t->at < t->end) {
        char c = *t->at++;
        bool fine = true;
        if (c == '\\') {
            fine = put_escape(t);
        } else if (!t->in_class) {
            fine = put_plain(t, c);
        } else if (c == '[') {
            buf_puts(&t->out, "\\["); /* begins a POSIX class in PCRE2 only */
        } else {
            t->in_class = c != ']';
            buf_putc(&t->out, c);
        }
        if (!fine) {
            return false;
        }
    }
    return true;
}

/* ---- Compilation and matching ---- */

/* MATCH_UNSET_BACKREF and ALLOW_EMPTY_CLASS are ECMA-262's rules; \C would cut characters. */
static pcre2_code *compile(const struct buf *source, char **error)
{
    int code;
    size_t offset;
    uint32_t options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_MATCH_UNSET_BACKREF |
                       PCRE2_ALLOW_EMPTY_CLASS | PCRE2_NEVER_BACKSLASH_C;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)source->data, source->len, options, &code, &offset, NULL);
    if (compiled == NULL) {
        PCRE2_UCHAR message[128];
        pcre2_get_error_message(code, message, sizeof message);
        *error = mem_printf("%s", (char *)message);
    }
    return compiled;
}

struct schema_pattern *schema_pattern_new(const char *source, size_t len, char **error)
{
    struct translation t = {.at = source, .end = source + len};
    buf_reserve(&t.out, len);
    AUTO_BUF struct buf translated = {0};
    bool fine = translate(&t);
    translated = t.out;
    if (!fine) {
        *error = mem_strdup(t.error);
        return NULL;
    }
    pcre2_code *code = compile(&translated, error);
    if (code == NULL) {
        return NULL;
    }
    struct schema_pattern *pattern = mem_zalloc(1, sizeof *pattern);
    pattern->code = code;
    pattern->limits = pcre2_match_context_create(NULL);
    if (pattern->limits == NULL) {
        mem_exhausted();
    }
    pcre2_set_match_limit(pattern->limits, MATCH_STEPS_MAX);
    pcre2_set_depth_limit(pattern->limits, MATCH_DEPTH_MAX);
    pcre2_set_heap_limit(pattern->limits, MATCH_HEAP_MAX_KIB);
    return pattern;
}

struct schema_pattern *schema_pattern_free(struct schema_pattern *pattern)
{
    if (pattern != NULL) {
        pcre2_match_context_free(pattern->limits);
        pcre2_code_free(pattern->code);
        free(pattern);
    }
    return NULL;
}

/* The match data is made each time, since threads share the pattern; one small allocation. */
enum schema_match schema_pattern_match(const struct schema_pattern *pattern, const char *bytes,
                                       size_t len)
{
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (data == NULL) {
        mem_exhausted();
    }
    int found = pcre2_match(pattern->code, (PCRE2_SPTR)bytes, len, 0, 0, data, pattern->limits);
    pcre2_match_data_free(data);
    if (found >= 0) {
        return MATCH_YES;
    }
    if (found == PCRE2_ERROR_NOMEMORY) {
        mem_exhausted();
    }
    bool limit = found == PCRE2_ERROR_MATCHLIMIT || found == PCRE2_ERROR_DEPTHLIMIT ||
                 found == PCRE2_ERROR_HEAPLIMIT;
    return limit ? MATCH_LIMIT : MATCH_NO;
}
