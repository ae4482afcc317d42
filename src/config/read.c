#include "presignd/config/read.h"

#include "config/source.h"

#include "presignd/base/mem.h"

#include <stdlib.h>
#include <string.h>

struct reading {
    const struct config_sources *sources;
    config_property_check_fn *check_property;
    struct config_lines lines;
    struct config *config;
};

static const char *main_path(const struct reading *reading)
{
    return reading->sources->path == NULL ? CONFIG_DEFAULT_PATH : reading->sources->path;
}

static void *field_of(void *object, const struct config_key *key)
{
    return (char *)object + key->offset;
}

/* The structure of a plain section. */
static void *part_of(const struct config *config, const struct config_section *section)
{
    return (char *)config + section->offset;
}

/* Programs without keys need a merchant's number and mode alone. */
static bool is_needed(const struct reading *reading, const struct config_key *key)
{
    bool of_keys = key->type == &config_type_path || key->type == &config_type_private_key;
    return key->change == CONFIG_REQUIRED && !(reading->sources->without_keys && of_keys);
}

/* Sets one field, from its line or from the default. `origin` is the section's. */
static void take_key(struct reading *reading, const struct config_group *group,
                     const struct config_key *key, const char *origin, void *object)
{
    const struct config_entry *entry = config_group_entry(group, key->name);
    const char *text = entry == NULL ? key->default_text : entry->value;
    if (entry != NULL) {
        origin = entry->origin;
    }
    if (*text == '\0' && is_needed(reading, key)) {
        config_problem(&reading->lines, origin, "%s is required: %s", key->name, key->help);
        return;
    }
    char *problem = key->type->parse(key, text, reading->sources, field_of(object, key));
    if (problem != NULL) {
        config_problem(&reading->lines, origin, "%s: %s", key->name, problem);
        free(problem);
    }
}

static void take_keys(struct reading *reading, const struct config_section *section,
                      const struct config_group *group, const char *origin, void *object)
{
    for (size_t i = 0; i < section->key_count; i++) {
        take_key(reading, group, &section->keys[i], origin, object);
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
        config_problem(&reading->lines, entry->origin, "%s: %s", entry->name, problem);
        free(problem);
        config_cleanse(value);
        reading->config->properties_lack = true;
        return;
    }
    add_property(reading->config, (struct config_property){.client = client,
                                                           .name = mem_strdup(entry->name),
                                                           .value = value,
                                                           .origin = mem_strdup(entry->origin)});
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
                                                  .value = mem_strdup(key->default_text)});
        }
    }
    for (size_t i = 0; group != NULL && i < group->entry_count; i++) {
        take_property(reading, section->client, &group->entries[i]);
    }
}

static void check_merchant(struct reading *reading, const struct config_merchant *merchant,
                           const char *origin)
{
    const char *id = merchant->wechatpay_public_key_id;
    const char *key = merchant->wechatpay_public_key;
    const char *certificates = merchant->platform_certificates;
    bool with_keys = !reading->sources->without_keys;
    if (with_keys && merchant->serial_no != NULL && merchant->certificate != NULL &&
        *merchant->serial_no == '\0' && *merchant->certificate == '\0') {
        config_problem(&reading->lines, origin,
                       "serial_no or certificate is required: the serial number of the merchant "
                       "API certificate, or the path of its file (apiclient_cert.pem)");
    }
    if (id == NULL || key == NULL || certificates == NULL) {
        return; /* could not be parsed, which is reported already */
    }
    if ((*id == '\0') != (*key == '\0')) {
        config_problem(
            &reading->lines, origin,
            "wechatpay_public_key_id and wechatpay_public_key go together: %s is missing",
            *id == '\0' ? "the id" : "the key");
    } else if (*id == '\0' && strcmp(certificates, "off") == 0 && with_keys) {
        config_problem(&reading->lines, origin,
                       "nothing to verify answers with: wechatpay_public_key_id and "
                       "wechatpay_public_key are required, or platform_certificates");
    }
    if (merchant->apiv3_key != NULL && *merchant->apiv3_key == '\0' &&
        strcmp(certificates, "auto") == 0 && with_keys) {
        config_problem(&reading->lines, origin,
                       "apiv3_key is missing: platform_certificates = auto opens the downloaded "
                       "certificates with it");
    }
}

static void take_merchant(struct reading *reading, const struct config_group *group)
{
    struct config *config = reading->config;
    config->merchants =
        mem_realloc(config->merchants, (config->merchant_count + 1) * sizeof *config->merchants);
    struct config_merchant *merchant = &config->merchants[config->merchant_count++];
    *merchant = (struct config_merchant){.mchid = mem_strdup(group->argument)};
    take_keys(reading, group->section, group, group->origin, merchant);
    check_merchant(reading, merchant, group->origin);
}

static void take_sections(struct reading *reading)
{
    for (size_t i = 0; i < config_section_count; i++) {
        const struct config_section *section = &config_sections[i];
        const struct config_group *group = config_lines_group(&reading->lines, section->name);
        if (section->kind == CONFIG_PLAIN) {
            take_keys(reading, section, group, main_path(reading),
                      part_of(reading->config, section));
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

/* With a base_url of its own, for example a sandbox, the real backup host must not be called. */
static void adjust_backup(struct reading *reading)
{
    if (given(reading, "endpoint", "base_url") != NULL &&
        given(reading, "endpoint", "backup_url") == NULL) {
        free(reading->config->endpoint.backup_url);
        reading->config->endpoint.backup_url = mem_strdup("");
    }
}

/* A low max_delay_ms lowers the default of base_delay_ms; it contradicts only a given one. */
static void adjust_delays(struct reading *reading)
{
    struct config *config = reading->config;
    if (config->retry.base_delay_ms <= config->retry.max_delay_ms) {
        return;
    }
    const struct config_entry *base = given(reading, "retry", "base_delay_ms");
    if (base == NULL) {
        config->retry.base_delay_ms = config->retry.max_delay_ms;
    } else if (config->retry.max_delay_ms > 0) { /* 0: reported already */
        config_problem(&reading->lines, base->origin, "base_delay_ms is above max_delay_ms (%lld)",
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
                config_problem(&reading->lines, entry == NULL ? main_path(reading) : entry->origin,
                               "%s and %s must differ", topics[j].key, topics[i].key);
            }
        }
    }
}

static void check_merchants(struct reading *reading)
{
    const struct config *config = reading->config;
    const struct config_merchant *defaults[2] = {NULL, NULL}; /* by mode */
    /* A merchant may be in a file that could not be read, or below a wrong heading. */
    if (config->merchant_count == 0 && !reading->lines.lacks_groups) {
        const char *path = main_path(reading);
        config_problem(&reading->lines, path,
                       "no merchant is configured. Add a file %s.d/NAME.conf with a section "
                       "[merchant MCHID] and its mode, certificate, private_key, "
                       "wechatpay_public_key_id and wechatpay_public_key: see presignd.conf(5)",
                       path);
    }
    for (size_t i = 0; i < config->merchant_count; i++) {
        const struct config_merchant *merchant = &config->merchants[i];
        const struct config_merchant **first = &defaults[merchant->partner];
        if (merchant->is_default && *first != NULL) {
            config_problem(&reading->lines, config_origin(config, "merchant", merchant->mchid, ""),
                           "default = yes: merchant %s (%s) is already the default of this mode",
                           (*first)->mchid, config_origin(config, "merchant", (*first)->mchid, ""));
        } else if (merchant->is_default) {
            *first = merchant;
        }
    }
}

static void add_origin(struct config *config, const struct config_group *group, const char *key,
                       const char *text)
{
    config->origins =
        mem_realloc(config->origins, (config->origin_count + 1) * sizeof *config->origins);
    config->origins[config->origin_count++] = (struct config_origin){
        .section = mem_strdup(group->section->name),
        .argument = mem_strdup(group->argument == NULL ? "" : group->argument),
        .key = mem_strdup(key),
        .text = mem_strdup(text),
    };
}

static void take_origins(struct reading *reading)
{
    reading->config->path = mem_strdup(main_path(reading));
    for (size_t i = 0; i < reading->lines.group_count; i++) {
        const struct config_group *group = &reading->lines.groups[i];
        add_origin(reading->config, group, "", group->origin);
        for (size_t j = 0; j < group->entry_count; j++) {
            add_origin(reading->config, group, group->entries[j].name, group->entries[j].origin);
        }
    }
}

const char *config_origin(const struct config *config, const char *section, const char *argument,
                          const char *key)
{
    const char *best = config->path;
    for (size_t i = 0; i < config->origin_count; i++) {
        const struct config_origin *origin = &config->origins[i];
        if (strcmp(origin->section, section) != 0 || strcmp(origin->argument, argument) != 0) {
            continue;
        }
        if (strcmp(origin->key, key) == 0) {
            return origin->text;
        }
        if (*origin->key == '\0') {
            best = origin->text;
        }
    }
    return best;
}

struct config *config_gather(const struct config_sources *sources,
                             config_property_check_fn *check_property, struct buf *errors)
{
    struct buf warnings = {0};
    struct reading reading = {.sources = sources,
                              .check_property = check_property,
                              .lines = {.errors = errors, .warnings = &warnings},
                              .config = mem_zalloc(1, sizeof *reading.config)};
    config_lines_read(&reading.lines, sources);
    take_origins(&reading);
    take_sections(&reading);
    adjust_backup(&reading);
    adjust_delays(&reading);
    check_topics(&reading);
    check_merchants(&reading);
    reading.config->files_lack = reading.lines.lacks_files;
    reading.config->warnings = warnings.data;
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
            config_cleanse(*(char **)field_of(object, &section->keys[i]));
        }
    }
}

static void free_section(struct config *config, const struct config_section *section)
{
    if (section->kind == CONFIG_PLAIN) {
        free_strings(part_of(config, section), section);
    }
    for (size_t i = 0; section->kind == CONFIG_MERCHANT && i < config->merchant_count; i++) {
        free_strings(&config->merchants[i], section);
        free(config->merchants[i].mchid);
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
        free(config->properties[i].origin);
    }
    for (size_t i = 0; i < config->origin_count; i++) {
        free(config->origins[i].section);
        free(config->origins[i].argument);
        free(config->origins[i].key);
        free(config->origins[i].text);
    }
    free(config->origins);
    free(config->warnings);
    free(config->path);
    free(config->properties);
    free(config->merchants);
    free(config);
    return NULL;
}

static bool same_value(const struct config_key *key, void *a, void *b)
{
    const void *left = field_of(a, key);
    const void *right = field_of(b, key);
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

/* Names the properties of `a` that `b` lacks, and with `values` those that differ. */
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
            if (key->change == CONFIG_RESTART &&
                !same_value(key, part_of(old, section), part_of(new, section))) {
                buf_printf(keys, "%s.%s\n", section->name, key->name);
            }
        }
    }
    name_properties(new, old, true, keys);
    name_properties(old, new, false, keys);
    return keys->len > before;
}
