/* The sources as lines: the text of each key, and its origin. */
#ifndef PRESIGND_CONFIG_SOURCE_H
#define PRESIGND_CONFIG_SOURCE_H

#include "config/table.h"

#include "presignd/base/buf.h"

struct config_entry {
    char *name;
    char *value;
    char *origin;    /* FILE:LINE or --set SECTION.KEY */
    unsigned source; /* number of the last source that gave it */
};

/* One section, merged from all sources. */
struct config_group {
    const struct config_section *section;
    char *argument; /* a merchant's id, or NULL */
    char *origin;
    unsigned source;
    struct config_entry *entries;
    size_t entry_count;
};

struct config_lines {
    struct config_group *groups;
    size_t group_count;
    struct buf *errors;
    size_t error_count;
    struct buf *warnings; /* what is read all the same, one line each */
    bool lacks_files;     /* one could not be read */
    bool lacks_groups;    /* they may stand in an unreadable file, or below an invalid heading */
};

/* Appends a problem as one line. Beyond a limit, problems are only counted. */
void config_problem(struct config_lines *lines, const char *origin, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Appends the number of problems that were only counted, if any. */
void config_problems_end(struct config_lines *lines);
/* Reads all sources. `lines` is zero but for `errors` and `warnings`. */
void config_lines_read(struct config_lines *lines, const struct config_sources *sources);
void config_lines_deinit(struct config_lines *lines);
/* The section's group, of merchants the first; NULL when no source has one. */
struct config_group *config_lines_group(struct config_lines *lines, const char *section);
struct config_entry *config_group_entry(const struct config_group *group, const char *name);

#endif
