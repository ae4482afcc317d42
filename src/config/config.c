/* The configuration, built from the lines of its sources and the table of keys. */
#include "presignd/config/config.h"

#include "config/table.h"

#include "presignd/base/mem.h"

#include <stdlib.h>
#include <string.h>

struct reading {
    const struct config_sources *sources;
    config_property_check_fn *check_property;
    struct config_lines lines;
    struct config *config;
};

/* Where a problem is that no line has. */
static const char *main_path(const struct reading *reading)
{
    return reading->sources->path == NULL ? CONFIG_DEFAULT_PATH : reading->sources->path;
}

static void *field_of(void *object, const struct config_key *key)
{
    return (char *)object + key->offset;
}

static char **string_of(void *object, const struct config_key *key)
{
    return (char **)field_of(object, key);
}

/* Sets one field from its line, or from the default. */
static void take_key(struct reading *reading, const struct config_group *group,
                     const struct config_key *key, const char *where, void *object)
{
    const struct config_entry *entry = config_group_entry(group, key->name);
    const char *text = entry == NULL ? key->default_text : entry->value;
    if (entry != NULL) {
        where = entry->where;
    }
    if (*text == '\0' && (key->flags & CONFIG_REQUIRED) != 0) {
        config_problem(&reading->lines, where, "%s is required: %s", key->name, key->help);
        return;
    }
    char *problem = key->type->parse(key, text, reading->sources, field_of(object, key));
    if (problem != NULL) {
        config_problem(&reading->lines, where, "%s: %s", key->name, problem);
        free(problem);
    }
}

static void take_keys(struct reading *reading, const struct config_section *section,
                      const struct config_group *group, const char *where, void *object)
{
    for (size_t i = 0; i < section->key_count; i++) {
        take_key(reading, group, &section->keys[i], where, object);
    }
}

/* Takes the property's strings. */
static void add_property(struct config *config, struct config_property property)
{
    config->properties =
        mem_realloc(config->properties, (config->property_count + 1) * sizeof *config->properties);
    config->properties[config->property_count++] = property;
}

static void take_property(struct reading *reading, int client, const struct config_entry *entry)
{
    char *value = NULL;
    char *problem =
        config_type_property.parse(NULL, entry->value, reading->sources, (void *)&value);
    if (problem == NULL && reading->check_property != NULL) {
        problem = reading->check_property(client, entry->name, value);
    }
    if (problem != NULL) {
        config_problem(&reading->lines, entry->where, "%s: %s", entry->name, problem);
        free(problem);
        config_cleanse(value);
        reading->config->properties_lack = true;
        return;
    }
    add_property(reading->config, (struct config_property){.client = client,
                                                           .name = mem_strdup(entry->name),
                                                           .value = value,
                                                           .where = mem_strdup(entry->where)});
}

static void take_properties(struct reading *reading, const struct config_section *section,
                            const struct config_group *group)
{
    for (size_t i = 0; i < section->key_count; i++) {
        const struct config_key *key = &section->keys[i];
        if (config_group_entry(group, key->name) == NULL) {
            add_property(reading->config,
                         (struct config_property){.client = section->client,
                                                  .name = mem_strdup(key->name),
                                                  .value = mem_strdup(key->default_text),
                                                  .where = mem_strdup("default")});
        }
    }
    for (size_t i = 0; group != NULL && i < group->entry_count; i++) {
        take_property(reading, section->client, &group->entries[i]);
    }
}

static void check_merchant(struct reading *reading, const struct config_merchant *merchant)
{
    /* A field that could not be parsed is NULL and has been told. */
    const char *id = merchant->wechatpay_public_key_id;
    const char *key = merchant->wechatpay_public_key;
    const char *certificates = merchant->platform_certificates;
    if (id == NULL || key == NULL || certificates == NULL) {
        return;
    }
    if ((*id == '\0') != (*key == '\0')) {
        config_problem(
            &reading->lines, merchant->where,
            "wechatpay_public_key_id and wechatpay_public_key go together: %s is missing",
            *id == '\0' ? "the id" : "the key");
    } else if (*id == '\0' && strcmp(certificates, "off") == 0) {
        config_problem(&reading->lines, merchant->where,
                       "nothing to verify answers with: wechatpay_public_key_id and "
                       "wechatpay_public_key are required, or platform_certificates");
    }
}

static void take_merchant(struct reading *reading, const struct config_group *group)
{
    struct config *config = reading->config;
    config->merchants =
        mem_realloc(config->merchants, (config->merchant_count + 1) * sizeof *config->merchants);
    struct config_merchant *merchant = &config->merchants[config->merchant_count++];
    *merchant = (struct config_merchant){.mchid = mem_strdup(group->argument),
                                         .where = mem_strdup(group->where)};
    take_keys(reading, group->section, group, group->where, merchant);
    check_merchant(reading, merchant);
}

static void take_sections(struct reading *reading)
{
    for (size_t i = 0; i < config_section_count; i++) {
        const struct config_section *section = &config_sections[i];
        const struct config_group *group = config_lines_group(&reading->lines, section->name);
        if (section->kind == CONFIG_PLAIN) {
            take_keys(reading, section, group, main_path(reading), reading->config);
        } else if (section->kind == CONFIG_KAFKA) {
            take_properties(reading, section, group);
        }
    }
    for (size_t i = 0; i < reading->lines.group_count; i++) {
        if (reading->lines.groups[i].section->kind == CONFIG_MERCHANT) {
            take_merchant(reading, &reading->lines.groups[i]);
        }
    }
}

static const struct config_entry *given(struct reading *reading, const char *section,
                                        const char *name)
{
    return config_group_entry(config_lines_group(&reading->lines, section), name);
}

/* The real backup host must not be called by somebody who only named a sandbox. */
static void settle_backup(struct reading *reading)
{
    if (given(reading, "endpoint", "base_url") != NULL &&
        given(reading, "endpoint", "backup_url") == NULL) {
        free(reading->config->endpoint.backup_url);
        reading->config->endpoint.backup_url = mem_strdup("");
    }
}

/* A low max_delay_ms alone is no contradiction to a default that nobody wrote. */
static void settle_delays(struct reading *reading)
{
    struct config *config = reading->config;
    if (config->retry.base_delay_ms <= config->retry.max_delay_ms) {
        return;
    }
    const struct config_entry *base = given(reading, "retry", "base_delay_ms");
    if (base == NULL) {
        config->retry.base_delay_ms = config->retry.max_delay_ms;
    } else if (config->retry.max_delay_ms > 0) { /* 0: refused already */
        config_problem(&reading->lines, base->where, "base_delay_ms is above max_delay_ms (%lld)",
                       (long long)config->retry.max_delay_ms);
    }
}

static void check_topics(struct reading *reading)
{
    struct {
        const char *key, *topic;
    } topics[] = {{"requests_topic", reading->config->daemon.requests_topic},
                  {"results_topic", reading->config->daemon.results_topic},
                  {"failures_topic", reading->config->daemon.failures_topic}};
    for (size_t i = 1; i < ARRAY_LENGTH(topics); i++) {
        const struct config_entry *entry = given(reading, "daemon", topics[i].key);
        for (size_t j = 0; j < i; j++) {
            if (topics[i].topic != NULL && topics[j].topic != NULL &&
                strcmp(topics[i].topic, topics[j].topic) == 0) {
                config_problem(&reading->lines, entry == NULL ? main_path(reading) : entry->where,
                               "%s and %s must differ", topics[j].key, topics[i].key);
            }
        }
    }
}

static void check_merchants(struct reading *reading)
{
    const struct config *config = reading->config;
    const struct config_merchant *defaults[2] = {NULL, NULL}; /* by mode */
    /* One that a file has which cannot be read, or whose heading is wrong, is not missing. */
    if (config->merchant_count == 0 && !reading->lines.lacks_groups) {
        config_problem(&reading->lines, main_path(reading),
                       "at least one section [merchant MCHID] is required");
    }
    for (size_t i = 0; i < config->merchant_count; i++) {
        const struct config_merchant *merchant = &config->merchants[i];
        const struct config_merchant **first = &defaults[merchant->partner];
        if (merchant->is_default && *first != NULL) {
            config_problem(&reading->lines, merchant->where,
                           "default = yes: merchant %s (%s) is the default of this mode already",
                           (*first)->mchid, (*first)->where);
        } else if (merchant->is_default) {
            *first = merchant;
        }
    }
}

static void add_place(struct config *config, const struct config_group *group, const char *key,
                      const char *where)
{
    config->places =
        mem_realloc(config->places, (config->place_count + 1) * sizeof *config->places);
    config->places[config->place_count++] = (struct config_place){
        .section = mem_strdup(group->section->name),
        .argument = mem_strdup(group->argument == NULL ? "" : group->argument),
        .key = mem_strdup(key),
        .where = mem_strdup(where),
    };
}

static void take_places(struct reading *reading)
{
    reading->config->path = mem_strdup(main_path(reading));
    for (size_t i = 0; i < reading->lines.group_count; i++) {
        const struct config_group *group = &reading->lines.groups[i];
        add_place(reading->config, group, "", group->where);
        for (size_t j = 0; j < group->entry_count; j++) {
            add_place(reading->config, group, group->entries[j].name, group->entries[j].where);
        }
    }
}

const char *config_where(const struct config *config, const char *section, const char *argument,
                         const char *key)
{
    const char *where = config->path;
    for (size_t i = 0; i < config->place_count; i++) {
        const struct config_place *place = &config->places[i];
        if (strcmp(place->section, section) != 0 || strcmp(place->argument, argument) != 0) {
            continue;
        }
        if (strcmp(place->key, key) == 0) {
            return place->where;
        }
        if (*place->key == '\0') {
            where = place->where;
        }
    }
    return where;
}

struct config *config_gather(const struct config_sources *sources,
                             config_property_check_fn *check_property, struct buf *errors)
{
    struct reading reading = {.sources = sources,
                              .check_property = check_property,
                              .lines = {.errors = errors},
                              .config = mem_zalloc(1, sizeof *reading.config)};
    config_lines_read(&reading.lines, sources);
    take_sections(&reading);
    settle_backup(&reading);
    settle_delays(&reading);
    check_topics(&reading);
    check_merchants(&reading);
    take_places(&reading);
    reading.config->files_lack = reading.lines.lacks_files;
    config_problems_end(&reading.lines);
    config_lines_deinit(&reading.lines);
    return reading.config;
}

struct config *config_read(const struct config_sources *sources,
                           config_property_check_fn *check_property, struct buf *errors)
{
    size_t clean = errors->len;
    struct config *config = config_gather(sources, check_property, errors);
    return errors->len == clean ? config : config_free(config);
}

static void free_strings(void *object, const struct config_section *section)
{
    for (size_t i = 0; i < section->key_count; i++) {
        if (section->keys[i].type->store == CONFIG_STORE_STRING) {
            config_cleanse(*string_of(object, &section->keys[i]));
        }
    }
}

static void merchant_deinit(struct config_merchant *merchant, const struct config_section *section)
{
    free_strings(merchant, section);
    free(merchant->mchid);
    free(merchant->where);
}

static void free_section(struct config *config, const struct config_section *section)
{
    if (section->kind == CONFIG_PLAIN) {
        free_strings(config, section);
        return;
    }
    for (size_t i = 0; section->kind == CONFIG_MERCHANT && i < config->merchant_count; i++) {
        merchant_deinit(&config->merchants[i], section);
    }
}

struct config *config_free(struct config *config)
{
    if (config == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < config_section_count; i++) {
        free_section(config, &config_sections[i]);
    }
    for (size_t i = 0; i < config->property_count; i++) {
        free(config->properties[i].name);
        config_cleanse(config->properties[i].value);
        free(config->properties[i].where);
    }
    for (size_t i = 0; i < config->place_count; i++) {
        free(config->places[i].section);
        free(config->places[i].argument);
        free(config->places[i].key);
        free(config->places[i].where);
    }
    free(config->places);
    free(config->path);
    free(config->properties);
    free(config->merchants);
    free(config);
    return NULL;
}

static bool same_value(const struct config_key *key, const struct config *a, const struct config *b)
{
    const char *left = (const char *)a + key->offset;
    const char *right = (const char *)b + key->offset;
    switch (key->type->store) {
    case CONFIG_STORE_STRING:
        return strcmp(*(char *const *)left, *(char *const *)right) == 0;
    case CONFIG_STORE_INT:
        return *(const int64_t *)left == *(const int64_t *)right;
    case CONFIG_STORE_BOOL:
        return *(const bool *)left == *(const bool *)right;
    }
    return false;
}

static const struct config_property *find_property(const struct config *config,
                                                   const struct config_property *wanted)
{
    for (size_t i = 0; i < config->property_count; i++) {
        const struct config_property *property = &config->properties[i];
        if (property->client == wanted->client && strcmp(property->name, wanted->name) == 0) {
            return property;
        }
    }
    return NULL;
}

/* Names the properties of `a` that `b` lacks, and with `values` those that it has otherwise. */
static void name_properties(const struct config *a, const struct config *b, bool values,
                            struct buf *keys)
{
    static const char *const sections[] = {"kafka", "kafka.consumer", "kafka.producer"};
    for (size_t i = 0; i < a->property_count; i++) {
        const struct config_property *one = &a->properties[i];
        const struct config_property *other = find_property(b, one);
        if (other == NULL || (values && strcmp(one->value, other->value) != 0)) {
            buf_printf(keys, "%s.%s\n", sections[one->client], one->name);
        }
    }
}

bool config_needs_restart(const struct config *old, const struct config *new, struct buf *keys)
{
    size_t before = keys->len;
    for (size_t i = 0; i < config_section_count; i++) {
        const struct config_section *section = &config_sections[i];
        for (size_t j = 0; section->kind == CONFIG_PLAIN && j < section->key_count; j++) {
            const struct config_key *key = &section->keys[j];
            if ((key->flags & CONFIG_RESTART) != 0 && !same_value(key, old, new)) {
                buf_printf(keys, "%s.%s\n", section->name, key->name);
            }
        }
    }
    name_properties(new, old, true, keys);
    name_properties(old, new, false, keys);
    return keys->len > before;
}
