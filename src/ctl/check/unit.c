#include "ctl/check/unit.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/config/config.h"

#include <fnmatch.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_BYTES_MAX = 1 << 20, UNITS_MAX = 64 };

/* The first has precedence. */
static const char *const unit_dirs[] = {
    "/etc/systemd/system",     "/run/systemd/system", "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system", "/lib/systemd/system",
};

/* One unit while its files are read. */
struct reading {
    struct unit unit;
    char *config_path; /* NULL: the default */
};

/* --- Values --- */

static void take_name(char out[UNIT_NAME_MAX], const char *value)
{
    (void)snprintf(out, UNIT_NAME_MAX, "%.*s", UNIT_NAME_MAX - 1, value);
}

/* NAME, NAME:PATH, or a glob. A directory's files are NAME_FILE. An empty value clears the list. */
static void take_credential(struct unit *unit, const char *value)
{
    size_t len = strcspn(value, ":");
    struct stat status;
    if (*value == '\0') {
        unit->credentials.len = 0;
        return;
    }
    buf_append(&unit->credentials, value, len);
    buf_putc(&unit->credentials, '\n');
    if (value[len] == ':' && stat(value + len + 1, &status) == 0 && S_ISDIR(status.st_mode)) {
        buf_append(&unit->credentials, value, len);
        buf_puts(&unit->credentials, "_*\n");
    }
}

static void take_groups(struct unit *unit, const char *value)
{
    if (*value == '\0') {
        unit->groups.len = 0;
    }
    buf_printf(&unit->groups, " %s", value);
}

/* SOFT:HARD or one number; the daemon raises the soft limit itself. */
static void take_descriptors(struct unit *unit, const char *value)
{
    const char *colon = strchr(value, ':');
    unit->descriptors = strtoull(colon == NULL ? value : colon + 1, NULL, 10);
}

/* The argument of -c or --config; NULL without one (free()). */
static char *config_argument(const char *command)
{
    AUTO_FREE char *copy = mem_strdup(command);
    char *rest = copy, *word;
    bool next = false;
    while ((word = strsep(&rest, " \t")) != NULL) {
        if (*word == '\0') {
            continue;
        }
        if (next) {
            return mem_strdup(word);
        }
        if (strncmp(word, "--config=", strlen("--config=")) == 0) {
            return mem_strdup(word + strlen("--config="));
        }
        if (strncmp(word, "-c", 2) == 0 && word[2] != '\0') {
            return mem_strdup(word + 2);
        }
        next = strcmp(word, "-c") == 0 || strcmp(word, "--config") == 0;
    }
    return NULL;
}

static void take_command(struct reading *reading, const char *value)
{
    free(reading->config_path);
    reading->config_path = config_argument(value);
}

static bool is_no(const char *value)
{
    return text_equal_nocase(value, "no") || text_equal_nocase(value, "false") ||
           text_equal_nocase(value, "off") || strcmp(value, "0") == 0;
}

static void take_setting(struct reading *reading, const char *name, const char *value)
{
    struct unit *unit = &reading->unit;
    if (fnmatch("*Credential*", name, 0) == 0) { /* Load, Set, Import, ...Encrypted */
        take_credential(unit, value);
    } else if (strcmp(name, "User") == 0) {
        take_name(unit->user, value);
    } else if (strcmp(name, "Group") == 0) {
        take_name(unit->group, value);
    } else if (strcmp(name, "SupplementaryGroups") == 0) {
        take_groups(unit, value);
    } else if (strcmp(name, "LimitNOFILE") == 0) {
        take_descriptors(unit, value);
    } else if (strcmp(name, "ProtectHome") == 0) {
        unit->sees_home = is_no(value);
    } else if (strcmp(name, "PrivateTmp") == 0) {
        unit->sees_tmp = is_no(value);
    } else if (strcmp(name, "ExecStart") == 0 && *value != '\0') {
        take_command(reading, value);
    }
}

/* --- Files --- */

static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t len = strlen(text);
    while (len > 0 && strchr(" \t\r", text[len - 1]) != NULL) {
        text[--len] = '\0';
    }
    return text;
}

/* A whole line, with the lines that continue it. */
static void take_line(struct reading *reading, char *line)
{
    char *equals = strchr(line, '=');
    if (equals != NULL) {
        *equals = '\0';
        take_setting(reading, trim(line), trim(equals + 1));
    }
}

/* A backslash at the end joins the next line by a blank; comments between them are left out
 * (systemd.syntax(7)). */
static void take_text(struct reading *reading, char *text)
{
    AUTO_BUF struct buf joined = {0};
    char *line;
    while ((line = strsep(&text, "\n")) != NULL) {
        char *first = line + strspn(line, " \t\r");
        if (*first == '#' || *first == ';') {
            continue;
        }
        size_t len = strcspn(line, "\r");
        bool goes_on = len > 0 && line[len - 1] == '\\';
        buf_append(&joined, line, goes_on ? len - 1 : len);
        if (goes_on) {
            buf_putc(&joined, ' ');
        } else {
            take_line(reading, joined.data);
            joined.len = 0;
        }
    }
}

static bool take_file(struct reading *reading, const char *path)
{
    AUTO_FREE char *bytes = mem_alloc(FILE_BYTES_MAX + 1);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    size_t len = fread(bytes, 1, FILE_BYTES_MAX, file);
    (void)fclose(file);
    bytes[len] = '\0';
    take_text(reading, bytes);
    return true;
}

/* Later ones have precedence. */
static void take_drop_ins(struct reading *reading, const char *name)
{
    for (size_t i = ARRAY_LENGTH(unit_dirs); i-- > 0;) {
        AUTO_FREE char *pattern = mem_printf("%s/%s.d/*.conf", unit_dirs[i], name);
        glob_t found;
        if (glob(pattern, 0, NULL, &found) == 0) {
            for (size_t j = 0; j < found.gl_pathc; j++) {
                (void)take_file(reading, found.gl_pathv[j]);
            }
            globfree(&found);
        }
    }
}

/* --- Units --- */

/* A specifier, as %i, stands for any text. */
static bool runs_with(const struct reading *reading, const char *config_path)
{
    AUTO_BUF struct buf pattern = {0};
    const char *text = reading->config_path == NULL ? CONFIG_DEFAULT_PATH : reading->config_path;
    for (; *text != '\0'; text++) {
        bool specifier = *text == '%' && text[1] != '\0';
        buf_append(&pattern, specifier ? "*" : text, 1);
        text += specifier;
    }
    buf_append(&pattern, "", 1);
    return fnmatch(pattern.data, config_path, 0) == 0;
}

static void merge(struct unit *unit, const struct unit *more, const char *name)
{
    if (!unit->found) {
        take_name(unit->name, name);
    }
    unit->found = true;
    buf_append(&unit->credentials, more->credentials.data, more->credentials.len);
    buf_append(&unit->groups, more->groups.data, more->groups.len);
    if (unit->user[0] == '\0') {
        take_name(unit->user, more->user);
    }
    if (unit->group[0] == '\0') {
        take_name(unit->group, more->group);
    }
    if (more->descriptors > 0 &&
        (unit->descriptors == 0 || more->descriptors < unit->descriptors)) {
        unit->descriptors = more->descriptors;
    }
    unit->sees_home = unit->sees_home || more->sees_home;
    unit->sees_tmp = unit->sees_tmp || more->sees_tmp;
}

static void read_one(struct unit *unit, const char *path, const char *name, const char *config_path)
{
    struct reading reading = {0};
    const char *at = strchr(name, '@');
    if (take_file(&reading, path)) {
        take_drop_ins(&reading, name);
        if (at != NULL) { /* of its instances */
            AUTO_FREE char *instances = mem_printf("%.*s@*.service", (int)(at - name), name);
            take_drop_ins(&reading, instances);
        }
        if (runs_with(&reading, config_path)) {
            merge(unit, &reading.unit, name);
        }
    }
    unit_deinit(&reading.unit);
    free(reading.config_path);
}

/* A unit of that name in a directory before this one replaces it. */
static bool is_replaced(size_t directory, const char *name)
{
    struct stat status;
    for (size_t i = 0; i < directory; i++) {
        AUTO_FREE char *path = mem_printf("%s/%s", unit_dirs[i], name);
        if (stat(path, &status) == 0) {
            return true;
        }
    }
    return false;
}

void unit_read(struct unit *unit, const char *config_path)
{
    for (size_t i = 0; i < ARRAY_LENGTH(unit_dirs); i++) {
        AUTO_FREE char *pattern = mem_printf("%s/presignd*.service", unit_dirs[i]);
        glob_t found;
        if (glob(pattern, 0, NULL, &found) != 0) {
            continue;
        }
        for (size_t j = 0; j < found.gl_pathc && j < UNITS_MAX; j++) {
            const char *name = strrchr(found.gl_pathv[j], '/') + 1;
            if (!is_replaced(i, name)) {
                read_one(unit, found.gl_pathv[j], name, config_path);
            }
        }
        globfree(&found);
    }
}

void unit_deinit(struct unit *unit)
{
    buf_deinit(&unit->credentials);
    buf_deinit(&unit->groups);
}

bool unit_has_credential(const struct unit *unit, const char *name)
{
    AUTO_FREE char *text =
        mem_dup(unit->credentials.len == 0 ? "" : unit->credentials.data, unit->credentials.len);
    char *rest = text, *one;
    while ((one = strsep(&rest, "\n")) != NULL) {
        if (*one != '\0' && fnmatch(one, name, 0) == 0) {
            return true;
        }
    }
    return false;
}
