/* What the modules of the configuration share: the table of keys, the types of values, and
 * the lines that the sources gave. Nothing outside config*.c includes this. */
#ifndef PRESIGND_CONFIG_TABLE_H
#define PRESIGND_CONFIG_TABLE_H

#include "presignd/config/config.h"

struct config_key;

/* Where a value's text turns into a field (a string is the caller's to free, by
 * config_cleanse()); `sources` tells where credentials lie. NULL, or what is wrong with the
 * value, to be read after the key's name (free()). What may be a secret is not quoted. */
typedef char *config_parse_fn(const struct config_key *key, const char *text,
                              const struct config_sources *sources, void *field);

enum config_store { CONFIG_STORE_STRING, CONFIG_STORE_INT, CONFIG_STORE_BOOL };

struct config_type {
    const char *form; /* what may be written, for the manual; NULL: the range is told */
    enum config_store store;
    config_parse_fn *parse;
};

enum config_flags {
    CONFIG_RESTART = 1,  /* a change needs a restart */
    CONFIG_REQUIRED = 2, /* empty will not do */
};

struct config_key {
    const char *name;
    const struct config_type *type;
    size_t offset;            /* in struct config or struct config_merchant */
    const char *default_text; /* "" where there is none */
    int64_t min, max;         /* integers */
    const char *unit;         /* for the manual */
    unsigned flags;           /* enum config_flags */
    const char *sample;       /* in the sample file; NULL: the default */
    const char *help;         /* one line */
};

enum config_kind { CONFIG_PLAIN, CONFIG_KAFKA, CONFIG_MERCHANT };

struct config_section {
    const char *name;
    enum config_kind kind;
    int client; /* of Kafka properties, as struct config_property has it */
    const struct config_key *keys;
    size_t key_count;
    const char *sample_name; /* NULL: not in the sample file */
    const char *help;        /* a sentence or more */
};

extern const struct config_section config_sections[];
extern const size_t config_section_count;

/* The section that a heading names; for a merchant's, `*argument` is its id within `heading`,
 * else NULL. NULL when there is no such section. */
const struct config_section *config_section_find(const char *heading, const char **argument);
const struct config_key *config_key_find(const struct config_section *section, const char *name);
/* The nearest known name, or NULL when none is near. */
const char *config_section_nearest(const char *heading);
const char *config_key_nearest(const struct config_section *section, const char *name);
/* The section that has a key of this name, or NULL. */
const struct config_section *config_section_holding(const char *name);

/* The types (config_value.c). */
extern const struct config_type config_type_instance, config_type_topic, config_type_paths,
    config_type_path, config_type_bool, config_type_mode, config_type_int, config_type_url,
    config_type_proxy, config_type_listen, config_type_serial, config_type_key_id,
    config_type_apiv3_key, config_type_certificates, config_type_property;

/* A line's effective value, by its key. */
struct config_entry {
    char *name;
    char *value;
    char *where;    /* FILE:LINE or --set SECTION.KEY */
    unsigned given; /* number of the source that gave it last */
};

/* A section as the sources have it, all of them together. */
struct config_group {
    const struct config_section *section;
    char *argument; /* a merchant's id, or NULL */
    char *where;
    unsigned given;
    struct config_entry *entries;
    size_t entry_count;
};

struct config_lines {
    struct config_group *groups;
    size_t group_count;
    struct buf *errors;
    size_t error_count;
    bool lacks_files;  /* one could not be read */
    bool lacks_groups; /* of a file that cannot be read, or under a refused heading */
};

/* Notes a problem, one line; beyond a bound they are only counted. */
void config_problem(struct config_lines *lines, const char *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Says how many were only counted, if any. */
void config_problems_end(struct config_lines *lines);
/* Reads every source into `lines` (all zero but for `errors`), noting what is wrong. */
void config_lines_read(struct config_lines *lines, const struct config_sources *sources);
void config_lines_deinit(struct config_lines *lines);
/* The group of a section, the first of its kind for merchants; NULL when no source has one. */
struct config_group *config_lines_group(struct config_lines *lines, const char *section);
struct config_entry *config_group_entry(const struct config_group *group, const char *name);

/* Reads a whole file of at most `max` bytes with a NUL behind them that `len` does not count.
 * NULL, or what went wrong (free()). The caller cleanses the content. */
char *config_slurp(const char *path, size_t max, char **content, size_t *len)
    __attribute__((warn_unused_result));
/* Overwrites a string before it is freed. Accepts NULL. */
void config_cleanse(char *string);

#endif
