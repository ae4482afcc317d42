/* libinih parses a file's lines, but it merges sections of the same name without an error, gives
 * its handler no line numbers (unless built so), and reports only the first wrong line. So
 * next_line() inspects each line before libinih gets it: it counts lines, handles section headings,
 * and notes which lines did not call the handler. */
#include "config/source.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <dirent.h>
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Debian's libinih has this setting as a variable. Elsewhere the limit is built in, usually
 * 200 bytes. */
extern int ini_max_line __attribute__((weak));

enum {
    LINE_MAX_BYTES = 4096,
    PROBLEMS_MAX = 100,
    FILES_MAX = 256,
    NAME_MAX_BYTES = 128,
};

#define BYTE_ORDER_MARK "\xEF\xBB\xBF"

/* A file while libinih parses it. */
struct source {
    struct config_lines *lines;
    const char *path;
    const char *at, *end;
    unsigned number; /* of this source, from 1 */
    unsigned line;
    unsigned ends[2];           /* the first line that ends in LF, and in CR LF; 0: none */
    bool want_key;              /* the current line has to call the handler */
    bool in_section;            /* below a heading */
    struct config_group *group; /* NULL below a wrong heading */
};

void config_problem(struct config_lines *lines, const char *origin, const char *format, ...)
{
    if (++lines->error_count > PROBLEMS_MAX) {
        return;
    }
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    buf_printf(lines->errors, "%s: %s\n", origin, text);
}

void config_problems_end(struct config_lines *lines)
{
    if (lines->error_count > PROBLEMS_MAX) {
        buf_printf(lines->errors, "and %zu more problems\n", lines->error_count - PROBLEMS_MAX);
    }
}

static void problem_here(struct source *source, const char *problem)
{
    AUTO_FREE char *origin = mem_printf("%s:%u", source->path, source->line);
    config_problem(source->lines, origin, "%s", problem);
}

static char *cleaned(const char *text)
{
    AUTO_BUF struct buf out = {0};
    text_clean(&out, text, strlen(text), NAME_MAX_BYTES);
    return buf_take(&out);
}

struct config_entry *config_group_entry(const struct config_group *group, const char *name)
{
    for (size_t i = 0; group != NULL && i < group->entry_count; i++) {
        if (strcmp(group->entries[i].name, name) == 0) {
            return &group->entries[i];
        }
    }
    return NULL;
}

static struct config_group *group_find(struct config_lines *lines, const char *section,
                                       const char *argument)
{
    for (size_t i = 0; i < lines->group_count; i++) {
        struct config_group *group = &lines->groups[i];
        if (strcmp(group->section->name, section) == 0 &&
            (argument == NULL || strcmp(group->argument, argument) == 0)) {
            return group;
        }
    }
    return NULL;
}

struct config_group *config_lines_group(struct config_lines *lines, const char *section)
{
    return group_find(lines, section, NULL);
}

static struct config_group *group_add(struct config_lines *lines,
                                      const struct config_section *section, const char *argument,
                                      const char *origin)
{
    lines->groups = mem_realloc(lines->groups, (lines->group_count + 1) * sizeof *lines->groups);
    struct config_group *group = &lines->groups[lines->group_count++];
    *group = (struct config_group){
        .section = section, .argument = mem_strdup(argument), .origin = mem_strdup(origin)};
    return group;
}

/* The group of a heading, created if it is new; NULL if the heading is wrong. */
static struct config_group *group_open(struct config_lines *lines, const char *heading,
                                       const char *origin)
{
    AUTO_FREE char *shown = cleaned(heading);
    const char *argument;
    const struct config_section *section = config_section_find(heading, &argument);
    if (section == NULL) {
        lines->lacks_groups = true;
        const char *nearest = config_section_nearest(heading);
        config_problem(lines, origin, "unknown section [%s]%s%s%s", shown,
                       nearest == NULL ? "" : ": did you mean [", nearest == NULL ? "" : nearest,
                       nearest == NULL ? "" : "]?");
        return NULL;
    }
    size_t digits = argument == NULL ? 0 : strspn(argument, "0123456789");
    if (argument != NULL && (digits == 0 || digits > 32 || argument[digits] != '\0')) {
        lines->lacks_groups = true;
        config_problem(lines, origin, "[%s] must be [merchant MCHID], an id of 1 to 32 digits",
                       shown);
        return NULL;
    }
    struct config_group *group = group_find(lines, section->name, argument);
    /* The number of other sections is fixed, so this limits merchants. */
    if (group == NULL && lines->group_count >= CONFIG_MERCHANTS_MAX + config_section_count) {
        config_problem(lines, origin, "more than %d merchants", CONFIG_MERCHANTS_MAX);
        return NULL;
    }
    return group != NULL ? group : group_add(lines, section, argument, origin);
}

/* A line that is not a key's name may be part of a pasted private key. Our keys are lower case. */
static bool may_show(const char *name)
{
    return strlen(name) <= NAME_MAX_BYTES &&
           name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-")] == '\0';
}

static void unknown_key(struct config_lines *lines, const struct config_group *group,
                        const char *name, const char *origin)
{
    const char *section = group->section->name;
    const char *nearest = config_key_nearest(group->section, name);
    const struct config_section *other = config_section_with(name);
    const char *shown = may_show(name) ? name : "(not shown: it does not look like a key)";
    if (other != NULL) {
        config_problem(lines, origin, "unknown key %s in [%s]: it belongs to [%s]", shown, section,
                       other->name);
    } else if (nearest != NULL) {
        config_problem(lines, origin, "unknown key %s in [%s]: did you mean %s?", shown, section,
                       nearest);
    } else {
        config_problem(lines, origin, "unknown key %s in [%s]: presignd.conf(5) lists the keys",
                       shown, section);
    }
}

/* Sets a key's value, over that of an earlier source. `number` is the source's. */
static void entry_set(struct config_lines *lines, struct config_group *group, unsigned number,
                      const char *name, const char *value, const char *origin)
{
    struct config_entry *entry = config_group_entry(group, name);
    if (entry == NULL && group->section->kind != CONFIG_KAFKA &&
        config_key_find(group->section, name) == NULL) {
        unknown_key(lines, group, name, origin);
        return;
    }
    if (entry != NULL && entry->source == number) {
        AUTO_FREE char *shown = cleaned(name);
        config_problem(lines, origin, "%s is given twice, first at %s", shown, entry->origin);
        return;
    }
    if (entry == NULL) {
        if (group->entry_count >= CONFIG_PROPERTIES_MAX) {
            config_problem(lines, origin, "more than %d keys in one section",
                           CONFIG_PROPERTIES_MAX);
            return;
        }
        group->entries =
            mem_realloc(group->entries, (group->entry_count + 1) * sizeof *group->entries);
        entry = &group->entries[group->entry_count++];
        *entry = (struct config_entry){.name = mem_strdup(name)};
    }
    config_cleanse(entry->value);
    free(entry->origin);
    entry->value = mem_strdup(value);
    entry->origin = mem_strdup(origin);
    entry->source = number;
}

/* libinih calls this for each key, before it asks for the next line. */
static int on_key(void *user, const char *section, const char *name, const char *value)
{
    struct source *source = user;
    (void)section; /* cut at 49 bytes, and not updated by wrong headings */
    if (name == NULL || !source->want_key) { /* NULL: some builds announce sections */
        return 1;
    }
    source->want_key = false;
    AUTO_FREE char *origin = mem_printf("%s:%u", source->path, source->line);
    if (!source->in_section) {
        config_problem(source->lines, origin,
                       "a key before the first section: write [daemon] or "
                       "another section above it");
    } else if (*name == '\0') {
        config_problem(source->lines, origin, "a value without a key");
    } else if (source->group != NULL) {
        entry_set(source->lines, source->group, source->number, name, value == NULL ? "" : value,
                  origin);
    }
    return 1;
}

/* Behind a heading's bracket: nothing, or white space and a comment. */
static bool heading_ends(const char *rest)
{
    size_t space = strspn(rest, " \t\r\n");
    return rest[space] == '\0' || (space > 0 && rest[space] == ';');
}

static void take_heading(struct source *source, char *text)
{
    char *end = strchr(text, ']');
    source->in_section = true;
    source->group = NULL;
    if (end == NULL || !heading_ends(end + 1)) {
        problem_here(source, "a section's heading must be [NAME] and nothing else");
        return;
    }
    while (end > text + 1 && strchr(" \t", end[-1]) != NULL) {
        end--;
    }
    *end = '\0';
    text += 1 + strspn(text + 1, " \t");
    AUTO_FREE char *origin = mem_printf("%s:%u", source->path, source->line);
    source->group = group_open(source->lines, text, origin);
    if (source->group == NULL) {
        return;
    }
    if (source->group->source == source->number) {
        config_problem(source->lines, origin, "section [%s] is repeated, first at %s", text,
                       source->group->origin);
    } else {
        free(source->group->origin);
        source->group->origin = mem_strdup(origin);
        source->group->source = source->number;
    }
}

/* Inspects a line. False hides it from libinih. */
static bool look_at(struct source *source, const char *text, size_t len)
{
    if (source->line == 1 && len >= 3 && memcmp(text, BYTE_ORDER_MARK, 3) == 0) {
        text += 3;
        len -= 3;
    }
    size_t space = 0;
    while (space < len && strchr(" \t\r\n\v\f", text[space]) != NULL) {
        space++;
    }
    if (space == len || text[space] == ';' || text[space] == '#') {
        return true;
    }
    if (space > 0) {
        /* libinih appends such a line to the value above, so an indented key gets lost. */
        problem_here(source, "begins with white space: sections and keys begin at the start of "
                             "a line, and a value ends with its line");
        return false;
    }
    if (*text == '[') {
        AUTO_FREE char *copy = mem_dup(text, len);
        take_heading(source, copy);
        return false;
    }
    source->want_key = true;
    return true;
}

static void note_end(struct source *source, const char *text, size_t len)
{
    if (len > 0 && text[len - 1] == '\n') {
        unsigned *first = &source->ends[len > 1 && text[len - 2] == '\r'];
        *first = *first == 0 ? source->line : *first;
    }
}

/* Neither harms here, but other programs that read or change the file trip over them. */
static void warn_of_text(const struct source *source, const char *content)
{
    if (strncmp(content, BYTE_ORDER_MARK, strlen(BYTE_ORDER_MARK)) == 0) {
        buf_printf(source->lines->warnings,
                   "%s:1: begins with a byte order mark: save it as UTF-8 without one\n",
                   source->path);
    }
    const unsigned *ends = source->ends;
    if (ends[0] > 0 && ends[1] > 0) {
        buf_printf(source->lines->warnings,
                   "%s:%u: has two kinds of line ends, LF and CR LF: save it with one of them\n",
                   source->path, ends[0] > ends[1] ? ends[0] : ends[1]);
    }
}

/* As fgets(3), but never splits a line; a hidden line is returned as an empty one. */
static char *next_line(char *out, int size, void *stream)
{
    struct source *source = stream;
    if (source->want_key) {
        source->want_key = false;
        problem_here(source, "is not KEY = VALUE, [SECTION] or a comment");
    }
    if (source->at == source->end) {
        return NULL;
    }
    source->line++;
    const char *text = source->at;
    const char *newline = memchr(text, '\n', (size_t)(source->end - text));
    source->at = newline == NULL ? source->end : newline + 1;
    size_t len = (size_t)(source->at - text);
    note_end(source, text, len);
    bool pass = false;
    if (len >= (size_t)size) {
        AUTO_FREE char *problem = mem_printf("is longer than %d bytes", size - 2);
        problem_here(source, problem);
    } else {
        pass = look_at(source, text, len);
    }
    if (!pass) {
        text = "\n";
        len = 1;
    }
    memcpy(out, text, len);
    out[len] = '\0';
    return out;
}

static void read_file(struct config_lines *lines, const char *path, unsigned number)
{
    char *content = NULL;
    size_t len = 0;
    AUTO_FREE char *problem = config_slurp(path, CONFIG_FILE_MAX, &content, &len);
    if (problem != NULL) {
        lines->lacks_files = lines->lacks_groups = true;
        config_problem(lines, path, "cannot be read: %s", problem);
        return;
    }
    if (&ini_max_line != NULL) {
        ini_max_line = LINE_MAX_BYTES;
    }
    struct source source = {
        .lines = lines, .path = path, .at = content, .end = content + len, .number = number};
    /* Other results name the first wrong line, which is reported already. */
    if (ini_parse_stream(next_line, &source, on_key, &source) == -2) {
        config_problem(lines, path, "not enough memory to read it");
    }
    warn_of_text(&source, content);
    explicit_bzero(content, len);
    free(content);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int ends_in_conf(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return entry->d_name[0] != '.' && len > 5 && strcmp(entry->d_name + len - 5, ".conf") == 0;
}

/* FILE.d/ is optional. Returns the number of the last source. */
static unsigned read_drop_ins(struct config_lines *lines, const char *path, unsigned number)
{
    AUTO_FREE char *directory = mem_printf("%s.d", path);
    struct dirent **names = NULL;
    int count = scandir(directory, &names, ends_in_conf, by_name);
    if (count < 0) {
        if (errno != ENOENT && errno != ENOTDIR) {
            config_problem(lines, directory, "cannot be read: %s", strerror(errno));
        }
        return number;
    }
    if (count > FILES_MAX) {
        config_problem(lines, directory, "holds more than %d files", FILES_MAX);
    }
    for (int i = 0; i < count; i++) {
        if (count <= FILES_MAX) {
            AUTO_FREE char *file = mem_printf("%s/%s", directory, names[i]->d_name);
            read_file(lines, file, ++number);
        }
        free(names[i]);
    }
    free(names);
    return number;
}

/* The point between section and key, or NULL. Names of Kafka's sections contain a point too, so
 * the longest section name counts. */
static const char *set_point(const char *text)
{
    const char *point = strchr(text, '.');
    for (size_t i = 0; i < config_section_count; i++) {
        size_t len = strlen(config_sections[i].name);
        if (point != NULL && len > (size_t)(point - text) &&
            strncmp(text, config_sections[i].name, len) == 0 && text[len] == '.') {
            point = text + len;
        }
    }
    return point;
}

/* Removes white space at both ends, in place. */
static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t len = strlen(text);
    while (len > 0 && strchr(" \t", text[len - 1]) != NULL) {
        text[--len] = '\0';
    }
    return text;
}

static void read_set(struct config_lines *lines, const char *set, unsigned number)
{
    const char *equals = strchr(set, '=');
    AUTO_FREE char *left = equals == NULL ? NULL : mem_dup(set, (size_t)(equals - set));
    const char *point = left == NULL ? NULL : set_point(left);
    if (point == NULL || point == left) {
        config_problem(lines, "--set", "must be SECTION.KEY=VALUE, as daemon.instance=presignd-2");
        return;
    }
    AUTO_FREE char *shown = cleaned(left);
    AUTO_FREE char *origin = mem_printf("--set %s", shown);
    AUTO_FREE char *heading = mem_dup(left, (size_t)(point - left));
    AUTO_FREE char *name = mem_strdup(point + 1);
    struct config_group *group = group_open(lines, trim(heading), origin);
    if (group != NULL) {
        char *value = mem_strdup(equals + 1);
        entry_set(lines, group, number, trim(name), trim(value), origin);
        config_cleanse(value);
    }
}

void config_lines_read(struct config_lines *lines, const struct config_sources *sources)
{
    const char *path = sources->path == NULL ? CONFIG_DEFAULT_PATH : sources->path;
    unsigned number = 1;
    read_file(lines, path, number);
    number = read_drop_ins(lines, path, number);
    /* Each --set is a source of its own, so the later of two for one key wins. */
    for (size_t i = 0; i < sources->set_count; i++) {
        read_set(lines, sources->sets[i], ++number);
    }
}

static void group_deinit(struct config_group *group)
{
    for (size_t i = 0; i < group->entry_count; i++) {
        free(group->entries[i].name);
        config_cleanse(group->entries[i].value);
        free(group->entries[i].origin);
    }
    free(group->entries);
    free(group->argument);
    free(group->origin);
}

void config_lines_deinit(struct config_lines *lines)
{
    for (size_t i = 0; i < lines->group_count; i++) {
        group_deinit(&lines->groups[i]);
    }
    free(lines->groups);
    *lines = (struct config_lines){0};
}
