/* The table of sections and keys. */
#ifndef PRESIGND_CONFIG_TABLE_H
#define PRESIGND_CONFIG_TABLE_H

#include "config/value.h"

enum config_kind { CONFIG_PLAIN, CONFIG_KAFKA, CONFIG_MERCHANT };

struct config_section {
    const char *name;
    enum config_kind kind;
    int client;    /* of Kafka properties, as in struct config_property */
    size_t offset; /* of a plain section's structure in struct config */
    const struct config_key *keys;
    size_t key_count;
    const char *heading; /* in the sample file; NULL: not there */
    const char *help;    /* one or more sentences */
};

extern const struct config_section config_sections[];
extern const size_t config_section_count;

/* The section of a heading, or NULL. `*argument` is a merchant's id within `heading`, else NULL. */
const struct config_section *config_section_find(const char *heading, const char **argument);
const struct config_key *config_key_find(const struct config_section *section, const char *name);
/* The section with a key of this name, or NULL. */
const struct config_section *config_section_with(const char *name);
/* The most similar name, for "did you mean"; NULL when none is similar. */
const char *config_section_nearest(const char *heading);
const char *config_key_nearest(const struct config_section *section, const char *name);

#endif
